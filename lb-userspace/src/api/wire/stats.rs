//! What the probes know of the servers, on the wire.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::BackendId;

/// A server of a backend on one edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackendServerStats {
    /// The load balancer's instance on the edge.
    pub instance_id: uuid::Uuid,
    /// The backend.
    pub backend_id: BackendId,
    /// Address of the server.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// Whether it is sent new connections.
    pub server_state: ServerState,
    /// When the probes' verdict last changed; null before the first probe.
    pub server_state_changed_at: Option<Timestamp>,
    /// How the last probe ended.
    pub last_health_check_status: HealthCheckStatus,
}

/// State of a server: Scaleway's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// Out: the probes found it down.
    Stopped,
    /// No probe has ended yet.
    Starting,
    /// In.
    Running,
    /// In, and draining: it keeps its connections and gets no new ones.
    Stopping,
}

/// How the last probe ended: Scaleway's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheckStatus {
    /// None has ended yet.
    Unknown,
    /// As expected.
    Passed,
    /// Not as expected.
    Failed,
}

/// Answer of `GET /lbs/{lb}/backend-stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackendStatsList {
    /// One page.
    pub backend_servers_stats: Vec<BackendServerStats>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Answer of `GET /lbs/{lb}/stats`, which Scaleway deprecates in favour of `backend-stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LbStats {
    /// Every server.
    pub backend_servers_stats: Vec<BackendServerStats>,
}
