//! Frontends on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Backend, Lb, Millis, Warning};
use crate::model::FrontendId;

/// A frontend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Frontend {
    /// Id.
    pub id: FrontendId,
    /// Name.
    pub name: String,
    /// The port that is listened on, or the first of a range.
    pub inbound_port: u16,
    /// Snowshed's own: the last port of a range; null for one port.
    #[serde(default)]
    pub inbound_port_end: Option<u16>,
    /// The backend behind it; its `forward_protocol` is the frontend's protocol.
    pub backend: Option<Backend>,
    /// The load balancer it belongs to.
    pub lb: Option<Lb>,
    /// As it was given, milliseconds, and without effect: see `warnings`.
    pub timeout_client: Option<Millis>,
    /// Always null: TLS is not terminated.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub certificate: Option<()>,
    /// Always empty.
    #[serde(default)]
    pub certificate_ids: Vec<String>,
    /// Always false.
    #[serde(default)]
    pub enable_http3: bool,
    /// Always false.
    #[serde(default)]
    pub enable_access_logs: bool,
    /// New connections per second of each client (an IPv4 address, an IPv6 /64); 0 is no limit.
    #[serde(default)]
    pub connection_rate_limit: u32,
    /// Snowshed's own: new connections per second of all clients together, at each address; 0 is no limit.
    #[serde(default)]
    pub service_connection_rate_limit: u32,
    /// Snowshed's own: packets per second of all clients together, at each address; 0 is no limit.
    #[serde(default)]
    pub packet_rate_limit: u32,
    /// Snowshed's own: what is kept and has no effect at layer 4, each with its reason.
    #[serde(default)]
    pub warnings: Vec<Warning>,
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

/// Answer of `GET /lbs/{lb}/frontends`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FrontendList {
    /// One page.
    pub frontends: Vec<Frontend>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Body of `POST /lbs/{lb}/frontends`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateFrontend {
    /// Name; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port, 1 to 65535; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound_port: Option<i64>,
    /// Snowshed's own: the last port of a range, above `inbound_port` and up to 65535; 0 is one port. Absent, a change of
    /// `inbound_port` makes it one port, and everything else keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound_port_end: Option<i64>,
    /// Id of the backend, of the same load balancer; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_id: Option<String>,
    /// Kept and shown, without effect (`warnings` of the answer says why): up to 24 hours; 0 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_client: Option<Millis>,
    /// Not built: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_id: Option<String>,
    /// Not built: absent or empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_ids: Option<Vec<String>>,
    /// Not built: absent or false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_http3: Option<bool>,
    /// New connections per second of each client; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_rate_limit: Option<i64>,
    /// New connections per second of all clients together, at each address; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_connection_rate_limit: Option<i64>,
    /// Packets per second of all clients together, at each address; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet_rate_limit: Option<i64>,
    /// Not built: absent or false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_access_logs: Option<bool>,
}

/// Body of `PUT /frontends/{id}`, which describes the whole: name, port and backend are needed; what else Scaleway's API has
/// is the default of a new frontend when absent or null, and Snowshed's own fields, which its tools do not know, are kept.
/// And of `PATCH`, which keeps everything that is absent or null.
pub type UpdateFrontend = CreateFrontend;
