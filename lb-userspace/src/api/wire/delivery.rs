//! Deliveries on the wire.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::delivery::{Address, Delivery};

/// Answer of `GET /snowshed/v1/deliveries`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeliveryList {
    /// One page.
    pub deliveries: Vec<Delivery>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Somebody who is told of the edge's own alarms: the configuration names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AlarmTarget {
    /// Id of the recipient.
    pub id: Uuid,
    /// Where.
    #[serde(flatten)]
    pub address: Address,
    /// What verifies a webhook's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Answer of `GET /snowshed/v1/alarm-targets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AlarmTargetList {
    /// All of them.
    pub alarm_targets: Vec<AlarmTarget>,
    /// How many there are.
    pub total_count: u64,
}
