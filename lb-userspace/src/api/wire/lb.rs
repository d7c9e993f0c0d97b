//! Load balancers on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ip, Subscriber, WaitsFor};
use crate::model::{LbId, MeasureId, OrganizationId, ProjectId};

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Lb {
    /// Id.
    pub id: LbId,
    /// Name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Where it stands.
    pub status: LbStatus,
    /// The load balancer on each edge.
    pub instances: Vec<Instance>,
    /// Owner's organization.
    pub organization_id: OrganizationId,
    /// Owner's project.
    pub project_id: ProjectId,
    /// Its addresses.
    pub ip: Vec<Ip>,
    /// Labels.
    pub tags: Vec<String>,
    /// Frontends, deleted ones not counted.
    pub frontend_count: u32,
    /// Backends, deleted ones not counted.
    pub backend_count: u32,
    /// `LB-S`, `LB-GP-M`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Who is told when its state changes.
    #[serde(default)]
    pub subscriber: Option<Subscriber>,
    /// Always `ssl_compatibility_level_intermediate`: TLS is not terminated.
    pub ssl_compatibility_level: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// Always 0: private networks are not built.
    pub private_network_count: u32,
    /// Always 0: routes are not built.
    pub route_count: u32,
    /// Zone.
    pub zone: String,
    /// Snowshed's own: its addresses answer echo requests.
    #[serde(default)]
    pub answers_echo: bool,
    /// Snowshed's own: what a client sees of a port that nobody listens on: `reject` or `drop`.
    #[serde(default)]
    pub on_closed_port: String,
    /// Snowshed's own: generation of the last change to it, its addresses, frontends or backends.
    #[serde(default)]
    pub generation: u64,
    /// Snowshed's own: generation the data plane holds.
    #[serde(default)]
    pub applied_generation: u64,
    /// Snowshed's own: it refuses to be deleted.
    #[serde(default)]
    pub protected: bool,
    /// Snowshed's own: when it was deleted; until it is purged it can be brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Snowshed's own: Trust & Safety removed it, and brings it back or nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_down: Option<TakenDown>,
    /// Snowshed's own: deleted, it forwards on until these dependents let go (`snowshed dependent release ID`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<WaitsFor>,
    /// Snowshed's own: version of the object, as in the `ETag` header; `If-Match` takes it (in quotes).
    #[serde(default)]
    pub etag: String,
}

/// The removal of a load balancer by Trust & Safety or an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TakenDown {
    /// The plan that did it: name it when you ask.
    pub plan_id: MeasureId,
    /// Why.
    pub reason: String,
}

/// Status of a load balancer: Scaleway's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LbStatus {
    /// The data plane holds its last change.
    Ready,
    /// The last change is on its way to the data plane.
    Pending,
    /// Stopped.
    Stopped,
    /// Failed.
    Error,
    /// Quarantined: nothing is forwarded to its servers.
    Locked,
    /// Changing its type.
    Migrating,
    /// About to be made.
    ToCreate,
    /// Being made.
    Creating,
    /// Deleted; it can still be brought back.
    ToDelete,
    /// Being purged.
    Deleting,
    /// A word this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl LbStatus {
    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ready => "ready",
            Self::Pending => "pending",
            Self::Stopped => "stopped",
            Self::Error => "error",
            Self::Locked => "locked",
            Self::Migrating => "migrating",
            Self::ToCreate => "to_create",
            Self::Creating => "creating",
            Self::ToDelete => "to_delete",
            Self::Deleting => "deleting",
        }
    }
}

/// A load balancer on one edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Instance {
    /// Id: the same for the same load balancer and zone.
    pub id: uuid::Uuid,
    /// Where it stands.
    pub status: InstanceStatus,
    /// First address of the load balancer; empty when it has none.
    pub ip_address: String,
    /// When the load balancer was made.
    pub created_at: Option<Timestamp>,
    /// When the load balancer last changed.
    pub updated_at: Option<Timestamp>,
    /// Zone.
    pub zone: String,
}

/// Status of an instance: Scaleway's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceStatus {
    /// Its tables are in the kernel.
    Ready,
    /// Its tables are on their way.
    Pending,
    /// Taken out of the kernel.
    Stopped,
    /// Failed.
    Error,
    /// Locked.
    Locked,
    /// Changing its type.
    Migrating,
    /// A word this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Answer of `GET /lbs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LbList {
    /// One page.
    pub lbs: Vec<Lb>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Body of `POST /lbs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateLb {
    /// Project; the token's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Organization; deprecated by Scaleway, accepted when it is the token's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Name; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Existing IP to attach; deprecated by Scaleway in favour of `ip_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_id: Option<String>,
    /// Existing IPs to attach: at most one IPv4 and one IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_ids: Option<Vec<String>>,
    /// Reserve an IPv4 address when no existing one is attached; true when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assign_flexible_ip: Option<bool>,
    /// Reserve an IPv6 address when no existing one is attached; false when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assign_flexible_ipv6: Option<bool>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// `LB-S` when absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only `ssl_compatibility_level_unknown` or `ssl_compatibility_level_intermediate`: TLS is not terminated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl_compatibility_level: Option<String>,
    /// Snowshed's own: its addresses answer echo requests; true when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers_echo: Option<bool>,
    /// Snowshed's own: what a client sees of a port that nobody listens on: `reject` (a TCP reset, an ICMP error) when
    /// absent, or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_closed_port: Option<String>,
    /// Snowshed's own: it refuses to be deleted; false when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
}

/// Body of `PUT /lbs/{id}`, which describes the whole: the name is needed, description and labels are empty when absent or
/// null, and Snowshed's own fields, which Scaleway's tools do not know, are kept. And of `PATCH`, which keeps everything
/// that is absent or null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateLb {
    /// Name; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// As in [`CreateLb`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl_compatibility_level: Option<String>,
    /// As in [`CreateLb`]; kept when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers_echo: Option<bool>,
    /// As in [`CreateLb`]; kept when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_closed_port: Option<String>,
    /// Snowshed's own: it refuses to be deleted; kept when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
}

/// Body of `POST /lbs/{id}/migrate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MigrateLb {
    /// The type it changes to; needed.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A type of load balancer on offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LbTypeInfo {
    /// Name to give as `type`.
    pub name: String,
    /// `available`.
    pub stock_status: String,
    /// Megabits per second that the type is limited to; 0 is no limit.
    #[serde(default)]
    pub bandwidth: u64,
    /// Servers may stand anywhere.
    #[serde(default)]
    pub multicloud: bool,
    /// What it is.
    pub description: String,
    /// Zone.
    pub zone: String,
}

/// Answer of `GET /lb-types`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LbTypeList {
    /// One page.
    pub lb_types: Vec<LbTypeInfo>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
