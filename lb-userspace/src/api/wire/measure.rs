//! Measures against harm on the wire: freezes, quarantines and plans.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Generation, LbId, MeasureId, OrganizationId};

/// A freeze (read-only mode).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Id.
    pub id: MeasureId,
    /// Where: `lb:ID`, `project:ID`, `organization:ID`, `token:NAME` or `zone`.
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
    pub operations: Vec<Generation>,
}

/// Freezes in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeList {
    /// The freezes, the oldest first.
    pub freezes: Vec<Freeze>,
    /// How many.
    pub total_count: u64,
}

/// Body of `POST /snowshed/v1/freezes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateFreeze {
    /// Where: `lb:ID`, `project:ID`, `organization:ID`, `token:NAME` or `zone`.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineList {
    /// The quarantines, the oldest first.
    pub quarantines: Vec<Quarantine>,
    /// How many.
    pub total_count: u64,
}

/// Body of `POST /snowshed/v1/quarantines` and of `POST /snowshed/v1/releases`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contain {
    /// Where: `lb:ID`, `project:ID` or `organization:ID`.
    pub place: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// Body of `POST /snowshed/v1/plans`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreatePlan {
    /// `delete`, `quarantine` or `release`.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A plan: what would be done to which load balancers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Id; null when it was only validated.
    pub id: Option<MeasureId>,
    /// `delete`, `quarantine` or `release`.
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

/// A load balancer of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
