//! Backends and their servers on the wire.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HealthCheck, HealthCheckSpec, Lb, Millis, Warning};
use crate::model::{Algorithm, BackendId, EmptyPool, Forwarding, PrefixV6, Protocol, StickySessions};
use crate::plan::ServerRef;

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Backend {
    /// Id.
    pub id: BackendId,
    /// Name.
    pub name: String,
    /// `tcp` or `udp`.
    pub forward_protocol: Protocol,
    /// Port of the servers.
    pub forward_port: u16,
    /// How a server is picked.
    pub forward_port_algorithm: Algorithm,
    /// What ties a client to a server.
    pub sticky_sessions: StickySessions,
    /// Always empty: there are no cookies at layer 4.
    #[serde(default)]
    pub sticky_sessions_cookie_name: String,
    /// How health is checked.
    pub health_check: HealthCheck,
    /// Addresses of the servers.
    #[schema(value_type = Vec<String>)]
    pub pool: Vec<IpAddr>,
    /// Snowshed's own: the servers with weight, standby and drain, in the order of `pool`.
    #[serde(default)]
    pub servers: Vec<Server>,
    /// The load balancer it belongs to.
    pub lb: Option<Lb>,
    /// Always false.
    #[serde(default)]
    pub send_proxy_v2: bool,
    /// As it was given, milliseconds, and without effect: see `warnings`.
    pub timeout_server: Option<Millis>,
    /// As it was given, milliseconds, and without effect: see `warnings`.
    #[serde(default)]
    pub timeout_connect: Option<Millis>,
    /// As it was given, milliseconds, and without effect: see `warnings`.
    #[serde(default)]
    pub timeout_tunnel: Option<Millis>,
    /// Always null.
    #[serde(default)]
    pub timeout_queue: Option<Millis>,
    /// Always `on_marked_down_action_none`.
    #[serde(default)]
    pub on_marked_down_action: String,
    /// Always `proxy_protocol_none`.
    #[serde(default)]
    pub proxy_protocol: String,
    /// Always null.
    #[serde(default)]
    pub failover_host: Option<String>,
    /// Always false.
    #[serde(default)]
    pub ssl_bridging: bool,
    /// Always false.
    #[serde(default)]
    pub ignore_ssl_server_verify: bool,
    /// Always 0.
    #[serde(default)]
    pub redispatch_attempt_count: u32,
    /// As it was given, and without effect: see `warnings`.
    #[serde(default)]
    pub max_retries: Option<u32>,
    /// Always 0: no limit.
    #[serde(default)]
    pub max_connections: u32,
    /// Always empty.
    #[serde(default)]
    pub host: String,
    /// Snowshed's own: how packets travel to a server.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// Snowshed's own: what a client sees when no server is usable.
    #[serde(default)]
    pub on_empty: EmptyPool,
    /// Snowshed's own: how many bits of an IPv6 client's address `sticky_sessions: table` goes by.
    #[serde(default)]
    #[schema(value_type = u8, minimum = 1, maximum = 128)]
    pub sticky_prefix_v6: PrefixV6,
    /// Snowshed's own: bytes of the server ids that QUIC connection ids begin with; 0 is none.
    #[serde(default)]
    pub quic_server_id_length: u8,
    /// Snowshed's own: number of the configuration that QUIC connection ids with a server id name.
    #[serde(default)]
    pub quic_config_id: u8,
    /// Snowshed's own: time in which a new or returned server's share rises, milliseconds; null is at once.
    #[serde(default)]
    pub slow_start: Option<Millis>,
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

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Server {
    /// Its address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Its share relative to the other servers.
    pub weight: u32,
    /// It stands by: it gets flows only while no server that does not takes any.
    #[serde(default)]
    pub backup: bool,
    /// It keeps its connections and gets no new ones.
    pub drain: bool,
    /// How long it may drain, milliseconds; null is without end.
    #[serde(default)]
    pub drain_timeout: Option<Millis>,
    /// When its drain ends: from then on it gets nothing at all.
    #[serde(default)]
    pub drain_deadline: Option<Timestamp>,
    /// The id that its QUIC connection ids begin with, as hexadecimal digits; null where they name no server.
    #[serde(default)]
    pub quic_server_id: Option<String>,
}

impl Server {
    /// A server of a backend.
    #[must_use]
    pub fn of(backend: &crate::model::Backend, server: &crate::model::Server) -> Self {
        let reference = ServerRef { backend: backend.id, address: server.address };
        let identity = crate::reconcile::identity(reference, backend.forward_port.get());
        Self {
            address: server.address,
            weight: server.weight.get(),
            backup: server.backup,
            drain: server.drains(),
            drain_timeout: server.drain_timeout().map(Millis),
            drain_deadline: server.deadline(),
            quic_server_id: backend.quic.map(|quic| quic.server_id(identity)),
        }
    }
}

/// A server in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSpec {
    /// Its address; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// 1 to 65535; absent keeps what the server has, or 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// It stands by; absent keeps what the server has, or false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
    /// No new connections; absent keeps what the server has, or false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<bool>,
    /// How long it may drain before it is taken out, 0 for without end; absent keeps what the server has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<Millis>,
}

/// Answer of `GET /lbs/{lb}/backends`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackendList {
    /// One page.
    pub backends: Vec<Backend>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Defines a request with the settings that creation and update share, and fields of its own.
macro_rules! settings {
    ($(#[$doc:meta])+ $name:ident { $($(#[$field_doc:meta])+ $field:ident: $type:ty,)* }) => {
        $(#[$doc])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
            /// Name; needed.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub name: Option<String>,
            /// `tcp` or `udp`; needed.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub forward_protocol: Option<String>,
            /// Port of the servers, 1 to 65535; needed.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub forward_port: Option<i64>,
            /// `roundrobin`, `first` or `leastconn`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub forward_port_algorithm: Option<String>,
            /// `none` or `table`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub sticky_sessions: Option<String>,
            /// Not built: absent or empty.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub sticky_sessions_cookie_name: Option<String>,
            /// Not built: absent or false.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub send_proxy_v2: Option<bool>,
            /// Kept and shown, without effect (`warnings` of the answer says why): up to 24 hours; 0 is none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub timeout_server: Option<Millis>,
            /// As `timeout_server`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub timeout_connect: Option<Millis>,
            /// As `timeout_server`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub timeout_tunnel: Option<Millis>,
            /// Not built: absent or 0.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub timeout_queue: Option<Millis>,
            /// Only `on_marked_down_action_none`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub on_marked_down_action: Option<String>,
            /// Only `proxy_protocol_none` or `proxy_protocol_unknown`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub proxy_protocol: Option<String>,
            /// Not built: absent or empty.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub failover_host: Option<String>,
            /// Not built: absent or false.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub ssl_bridging: Option<bool>,
            /// Not built: absent or false.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub ignore_ssl_server_verify: Option<bool>,
            /// Not built: absent or 0.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub redispatch_attempt_count: Option<i64>,
            /// As `timeout_server`: up to 2147483647.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub max_retries: Option<i64>,
            /// Not built: absent or 0.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub max_connections: Option<i64>,
            /// Not built: absent or empty.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub host: Option<String>,
            /// Snowshed's own: `nat` (the default), `ipip`, `gue` or `l2`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub forwarding: Option<String>,
            /// Snowshed's own: `reject` or `drop`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub on_empty: Option<String>,
            /// Snowshed's own: 1 to 128, with `sticky_sessions: table`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub sticky_prefix_v6: Option<i64>,
            /// Snowshed's own: bytes of the server ids in QUIC connection ids, 1 to 8, of a backend of UDP; 0 is none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub quic_server_id_length: Option<i64>,
            /// Snowshed's own: 0 to 6, with `quic_server_id_length`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub quic_config_id: Option<i64>,
            /// Snowshed's own: up to an hour; 0 is none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub slow_start: Option<Millis>,
        }
    };
}

settings! {
    /// Body of `POST /lbs/{lb}/backends`.
    CreateBackend {
        /// Health check; a TCP probe of `forward_port` when absent.
        health_check: HealthCheckSpec,
        /// Addresses of the servers; or give `servers`.
        server_ip: Vec<String>,
        /// Snowshed's own: the servers with weight, standby and drain.
        servers: Vec<ServerSpec>,
    }
}

impl CreateBackend {
    /// The settings that creation and update share.
    pub(crate) fn settings(&self) -> UpdateBackend {
        UpdateBackend {
            name: self.name.clone(),
            forward_protocol: self.forward_protocol.clone(),
            forward_port: self.forward_port,
            forward_port_algorithm: self.forward_port_algorithm.clone(),
            sticky_sessions: self.sticky_sessions.clone(),
            sticky_sessions_cookie_name: self.sticky_sessions_cookie_name.clone(),
            send_proxy_v2: self.send_proxy_v2,
            timeout_server: self.timeout_server,
            timeout_connect: self.timeout_connect,
            timeout_tunnel: self.timeout_tunnel,
            timeout_queue: self.timeout_queue,
            on_marked_down_action: self.on_marked_down_action.clone(),
            proxy_protocol: self.proxy_protocol.clone(),
            failover_host: self.failover_host.clone(),
            ssl_bridging: self.ssl_bridging,
            ignore_ssl_server_verify: self.ignore_ssl_server_verify,
            redispatch_attempt_count: self.redispatch_attempt_count,
            max_retries: self.max_retries,
            max_connections: self.max_connections,
            host: self.host.clone(),
            forwarding: self.forwarding.clone(),
            on_empty: self.on_empty.clone(),
            sticky_prefix_v6: self.sticky_prefix_v6,
            quic_server_id_length: self.quic_server_id_length,
            quic_config_id: self.quic_config_id,
            slow_start: self.slow_start,
        }
    }
}

settings! {
    /// Body of `PUT /backends/{id}`, which describes the whole: name, protocol and port are needed; what else Scaleway's API
    /// has is the default of a new backend when absent or null, and Snowshed's own fields, which its tools do not know, are
    /// kept. And of `PATCH`, which keeps everything that is absent or null. Servers and health check have paths of their own.
    UpdateBackend {}
}

/// Body of `POST`, `PUT` and `DELETE /backends/{id}/servers`: `server_ip` or `servers`.
///
/// `POST` adds, and of servers that are there changes what `servers` names; `PUT` leaves exactly these, each keeping
/// what it has and is not told; `DELETE` takes these away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Servers {
    /// Addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_ip: Option<Vec<String>>,
    /// Snowshed's own: addresses with weight, standby and drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<ServerSpec>>,
}
