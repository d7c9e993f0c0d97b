//! Measures against harm on the wire: freezes, quarantines and plans.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Generation, LbId, MeasureId, OrganizationId};

/// A freeze (read-only mode).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Freeze {
    /// Id.
    pub id: MeasureId,
    /// Where: `lb:ID`, `project:ID`, `organization:ID`, `token:ID` or `zone`.
    pub place: String,
    /// The verb that is refused; all of them when null.
    pub verb: Option<String>,
    /// Why.
    pub reason: String,
    /// Who put it in force.
    pub by: String,
    /// Since when.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// The operations that led to it, if a budget did.
    #[schema(value_type = Vec<u64>)]
    pub operations: Vec<Generation>,
}

/// Freezes in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FreezeList {
    /// The freezes, the oldest first.
    pub freezes: Vec<Freeze>,
    /// How many.
    pub total_count: u64,
}

/// Body of `POST /snowshed/v1/freezes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateFreeze {
    /// Where: `lb:ID`, `project:ID`, `organization:ID`, `token:ID` or `zone`.
    pub place: Option<String>,
    /// The verb that is refused, such as `lb.delete`; all of them when absent.
    #[serde(default)]
    pub verb: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// How long it lasts, seconds.
    pub lasts_seconds: Option<u64>,
}

/// A quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Quarantine {
    /// Id.
    pub id: MeasureId,
    /// Where: `lb:ID`, `project:ID` or `organization:ID`.
    pub place: String,
    /// Why.
    pub reason: String,
    /// Who put it in force.
    pub by: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Live load balancers there.
    pub load_balancers: u64,
}

/// Quarantines in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QuarantineList {
    /// The quarantines, the oldest first.
    pub quarantines: Vec<Quarantine>,
    /// How many.
    pub total_count: u64,
}

/// Body of `POST /snowshed/v1/quarantines` and of `POST /snowshed/v1/releases`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contain {
    /// Where: `lb:ID`, `project:ID` or `organization:ID`.
    pub place: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// Body of `POST /snowshed/v1/plans`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePlan {
    /// `delete`, `undelete`, `quarantine` or `release`.
    pub action: Option<String>,
    /// `project:ID` or `organization:ID`: nothing outside of it is ever selected.
    pub parent: Option<String>,
    /// Which of its load balancers.
    pub filter: Option<Filter>,
    /// Why.
    pub reason: Option<String>,
    /// Only say what would be planned. The default.
    #[serde(default)]
    pub validate_only: Option<bool>,
}

/// Selects load balancers below a parent: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// These; each must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lb_ids: Option<Vec<String>>,
    /// Those with this label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Those with exactly this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All of the parent, which must be exactly this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// For `quarantine` and `release`: the parent once more, as a whole: what stands in it when the plan is carried out,
    /// and what is made in it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// A plan: what would be done to which load balancers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// Id; null when it was only validated.
    pub id: Option<MeasureId>,
    /// `delete`, `undelete`, `quarantine`, `release` or `recover` (an undo or a restore).
    pub action: String,
    /// The selector it was made from.
    pub selector: String,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub by: String,
    /// SHA-256 over action, ids and versions.
    pub digest: String,
    /// Load balancers.
    pub count: u64,
    /// At most 100 of them.
    pub sample: Vec<PlanSubject>,
    /// Load balancers by organization.
    pub organizations: BTreeMap<OrganizationId, u64>,
    /// Registered dependents by kind.
    pub dependents: BTreeMap<String, u64>,
    /// Packets a second that they carry now.
    pub packets_per_second: f64,
    /// New connections a second that they take now.
    pub connections_per_second: f64,
    /// A second person must approve it.
    pub needs_approval: bool,
    /// Who did.
    pub approved_by: Option<String>,
    /// When it can no longer be carried out.
    pub expires_at: Option<Timestamp>,
    /// When it was carried out.
    pub applied_at: Option<Timestamp>,
    /// A load balancer has changed since: it can no longer be carried out.
    pub stale: bool,
}

/// What an edge holds in its maps against the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Hold {
    /// The services, as far as the token sees their load balancers.
    pub services: Vec<HeldService>,
    /// How many.
    pub total_count: u64,
    /// Releases in force or waiting for approval, the oldest first.
    pub releases: Vec<HoldRelease>,
}

/// A service that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HeldService {
    /// `address port/protocol`; what a release names.
    pub service: String,
    /// Its load balancer; null when the ledger knows none of that address.
    pub lb_id: Option<LbId>,
    /// Name of the load balancer.
    pub lb_name: Option<String>,
    /// Its organization.
    pub organization_id: Option<OrganizationId>,
    /// When it was deleted; null when it is live, and something else would take the service out.
    pub deleted_at: Option<Timestamp>,
}

/// Body of `POST /snowshed/v1/hold/releases`: exactly one of `services` and `count`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseHold {
    /// These, as `GET /snowshed/v1/hold` names them; each must be held.
    #[serde(default)]
    pub services: Option<Vec<String>>,
    /// All that are held, which must be exactly this many.
    #[serde(default)]
    pub count: Option<u64>,
    /// Why.
    pub reason: Option<String>,
}

/// A release of held services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HoldRelease {
    /// Id.
    pub id: MeasureId,
    /// Services that leave the maps.
    pub services: Vec<String>,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub by: String,
    /// A second person must approve it before anything leaves.
    pub needs_approval: bool,
    /// Who did.
    pub approved_by: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// When it ends by itself: what is held from then on is held again.
    pub expires_at: Option<Timestamp>,
}

/// What contains harm right now, as far as the token may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Containment {
    /// Read-only mode.
    pub freezes: Vec<Freeze>,
    /// Quarantines in force.
    pub quarantines: Vec<Quarantine>,
    /// Plans that were neither carried out nor have expired.
    pub plans: Vec<WaitingPlan>,
    /// Releases of held services, in force or waiting for approval.
    pub hold_releases: Vec<HoldRelease>,
    /// What was deleted long ago and is going to be purged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purges: Vec<super::Purge>,
    /// Load balancers that may still leave service in the zone without an approved plan, within the window.
    pub removal_budget_remaining: u64,
}

/// A plan that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WaitingPlan {
    /// Id.
    pub id: MeasureId,
    /// What would be done to each.
    pub action: String,
    /// Load balancers.
    pub count: u64,
    /// Who made it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Nobody has approved it yet, and somebody must.
    pub waits_for_approval: bool,
    /// When it can no longer be carried out.
    pub expires_at: Option<Timestamp>,
}

/// What would break if a place were gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Impact {
    /// The place.
    pub place: String,
    /// Load balancers.
    pub count: u64,
    /// Their addresses.
    pub addresses: u64,
    /// Of the load balancers, those that refuse to be deleted.
    pub protected: u64,
    /// Dependents that hold deletions.
    pub holding: u64,
    /// Load balancers by organization.
    pub organizations: BTreeMap<OrganizationId, u64>,
    /// Registered dependents by kind.
    pub dependents: BTreeMap<String, u64>,
    /// Packets a second that they carry now.
    pub packets_per_second: f64,
    /// New connections a second that they take now.
    pub connections_per_second: f64,
    /// At most 100 of them.
    pub sample: Vec<PlanSubject>,
}

/// A load balancer of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanSubject {
    /// Id.
    pub lb: LbId,
    /// Name.
    pub name: String,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Packets a second that it carries now.
    pub packets_per_second: f64,
}
