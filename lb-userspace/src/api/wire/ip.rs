//! Flexible IPs on the wire.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{IpId, LbId, OrganizationId, ProjectId};

/// An IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ip {
    /// Id.
    pub id: IpId,
    /// The address.
    #[schema(value_type = String)]
    pub ip_address: IpAddr,
    /// Owner's organization.
    pub organization_id: OrganizationId,
    /// Owner's project.
    pub project_id: ProjectId,
    /// The load balancer it is attached to; also a deleted one, for which it stays reserved.
    pub lb_id: Option<LbId>,
    /// Reverse DNS name; empty for none.
    pub reverse: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Zone.
    pub zone: String,
    /// Snowshed's own: when it was deleted; such things are shown to who asks for them only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Snowshed's own: version of the object, as in the `ETag` header; `If-Match` takes it (in quotes).
    #[serde(default)]
    pub etag: String,
}

/// Answer of `GET /ips`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct IpList {
    /// One page.
    pub ips: Vec<Ip>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Body of `POST /ips`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateIp {
    /// Project; the token's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Organization; deprecated by Scaleway, accepted when it is the token's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// An IPv6 address instead of an IPv4 one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_ipv6: Option<bool>,
    /// Snowshed's own: this very address, one of the edge's pools and free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// Reverse DNS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// Body of `PATCH /ips/{id}`; what is absent is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateIp {
    /// Reverse DNS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse: Option<String>,
    /// The load balancer to attach it to; `null` or `""` detaches it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "super::present")]
    pub lb_id: Option<Option<String>>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}
