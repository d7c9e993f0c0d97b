//! Purges as the API shows them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{LbId, MeasureId, OrganizationId, ProjectId};

/// What was deleted long ago and will leave the ledger's snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Purge {
    /// Id.
    pub id: MeasureId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Whose it is.
    pub project_id: ProjectId,
    /// Documents by kind.
    pub documents: BTreeMap<String, u64>,
    /// At most 100 of the load balancers; until it is carried out `undelete` brings one back and calls it off.
    pub lb_ids: Vec<LbId>,
    /// At most 100 of the addresses that are free afterwards.
    pub addresses: Vec<String>,
    /// Why.
    pub reason: String,
    /// It is not carried out before.
    pub not_before: Timestamp,
    /// When it can no longer be carried out: another one is announced then.
    pub expires_at: Option<Timestamp>,
    /// When it was carried out.
    pub applied_at: Option<Timestamp>,
    /// It was called off.
    pub ended_at: Option<Timestamp>,
    /// Why it will be called off, if it will.
    pub stale: Option<String>,
}

/// Purges that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PurgeList {
    /// The oldest first.
    pub purges: Vec<Purge>,
    /// How many.
    pub total_count: u64,
}
