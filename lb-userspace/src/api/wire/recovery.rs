//! Undo and restore: what is asked, and the plan that is answered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Kind, MeasureId, OperationId};
use crate::recovery::Conflict;

/// `POST /snowshed/v1/undo`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// Id or number of the operation.
    pub operation: Option<String>,
    /// The plan that is agreed to; without it the plan is made and nothing is changed.
    pub plan: Option<String>,
    /// Keep the plan, so that a second person can approve it: `POST /snowshed/v1/plans/{id}/approve`, then `…/apply`.
    #[serde(default)]
    pub keep: Option<bool>,
    /// Why, for the ledger.
    pub reason: Option<String>,
}

/// `POST /snowshed/v1/restore`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// A time or the number of an operation.
    pub at: Option<String>,
    /// `lb:ID`, `project:ID` or `organization:ID`.
    pub scope: Option<String>,
    /// The plan that is agreed to; without it the plan is made and nothing is changed.
    pub plan: Option<String>,
    /// Keep the plan, so that a second person can approve it: `POST /snowshed/v1/plans/{id}/approve`, then `…/apply`.
    #[serde(default)]
    pub keep: Option<bool>,
    /// Why, for the ledger.
    pub reason: Option<String>,
}

/// What a recovery would do, or did.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecoveryPlan {
    /// Names these changes: give it back to have them made. Other changes, or subjects that changed, have another.
    pub plan: String,
    /// What it is, for example `undo of operation 7`.
    pub what: String,
    /// Whether it was carried out.
    pub applied: bool,
    /// The operation that carried it out.
    pub operation: Option<OperationId>,
    /// Generation of the ledger: after it when it was carried out, else the one it was planned from.
    pub generation: u64,
    /// Documents that change.
    pub changes: usize,
    /// Of these, deleted ones that live again.
    pub revived: usize,
    /// Of these, ones that become tombstones.
    pub deleted: usize,
    /// Documents that are as they were already.
    pub unchanged: usize,
    /// Load balancers that are touched.
    pub load_balancers: usize,
    /// Organizations that own them.
    pub organizations: usize,
    /// Of the load balancers, those that lose service: deleted, or with less to reach than now.
    #[serde(default)]
    pub out_of_service: usize,
    /// That is more than the budget has left: keep it (`keep`), and have a second person approve it.
    #[serde(default)]
    pub needs_approval: bool,
    /// Id of the plan that was kept.
    #[serde(default)]
    pub plan_id: Option<MeasureId>,
    /// When the kept plan can no longer be carried out.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Registered dependents of these load balancers, by kind.
    #[serde(default)]
    pub dependents: BTreeMap<String, u64>,
    /// Documents that are kept as they are, and why.
    pub conflicts: Vec<Conflict>,
    /// At most 100 of the changes.
    pub sample: Vec<RecoverySample>,
}

/// A change of a plan.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecoverySample {
    /// Kind of the document.
    pub kind: Kind,
    /// Its id.
    pub id: uuid::Uuid,
    /// Its name or address, or the name of the load balancer it belongs to.
    #[serde(default)]
    pub name: String,
    /// `revive`, `delete` or `change`.
    pub action: String,
}
