//! Rules of access lists on the wire.

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Frontend;
use crate::model::{AclAction as Action, AclId};

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Acl {
    /// Id.
    pub id: AclId,
    /// Name.
    pub name: String,
    /// Which clients it is about.
    #[serde(rename = "match")]
    pub matches: Option<AclMatch>,
    /// What becomes of them.
    pub action: Option<AclAction>,
    /// The frontend.
    pub frontend: Option<Frontend>,
    /// Place among the frontend's rules: 0 is asked first, and the first that matches decides.
    pub index: u32,
    /// Free text.
    pub description: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// Snowshed's own: when it was deleted; such things are shown to who asks for them only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Snowshed's own: version of the object, as in the `ETag` header; `If-Match` takes it (in quotes).
    #[serde(default)]
    pub etag: String,
}

/// Which clients a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AclMatch {
    /// Networks a client is in.
    #[schema(value_type = Vec<String>)]
    pub ip_subnet: Vec<IpNet>,
    /// Always false.
    #[serde(default)]
    pub ips_edge_services: bool,
    /// Always `acl_http_filter_none`.
    #[serde(default)]
    pub http_filter: String,
    /// Always empty.
    #[serde(default)]
    pub http_filter_value: Vec<String>,
    /// Always null.
    #[serde(default)]
    pub http_filter_option: Option<String>,
    /// It is about clients that are in none of the networks.
    #[serde(default)]
    pub invert: bool,
}

/// What becomes of clients that match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AclAction {
    /// `allow` or `deny`.
    #[serde(rename = "type")]
    pub kind: Action,
    /// Always null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub redirect: Option<()>,
}

/// Answer of `GET` and `PUT /frontends/{id}/acls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AclList {
    /// One page; of `PUT` all of them.
    pub acls: Vec<Acl>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Body of `POST /frontends/{id}/acls`, of `PUT /acls/{id}` (which keeps match and description when they are absent) and
/// of `PATCH` (which keeps everything that is absent).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AclSpec {
    /// Name; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What becomes of clients that match; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<AclActionSpec>,
    /// Place among the frontend's rules, from 0; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which clients it is about; needed of a new rule.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<AclMatchSpec>,
}

/// What becomes of clients that match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AclActionSpec {
    /// `allow` or `deny`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Not built: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<serde_json::Value>,
}

/// Which clients a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AclMatchSpec {
    /// Networks or addresses, IPv4 or IPv6; at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_subnet: Option<Vec<String>>,
    /// Not built: absent or false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ips_edge_services: Option<bool>,
    /// Not built: absent or `acl_http_filter_none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_filter: Option<String>,
    /// Not built: absent or empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_filter_value: Option<Vec<String>>,
    /// Not built: absent or empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_filter_option: Option<String>,
    /// Match clients that are in none of the networks; false when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invert: Option<bool>,
}

/// Body of `PUT /frontends/{id}/acls`: every rule of the frontend; others go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetAcls {
    /// The rules; needed, and empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acls: Option<Vec<AclSpec>>,
}
