//! Health checks on the wire.

use serde::{Deserialize, Serialize};

use super::Millis;

/// How health is checked. Of the `…_config` fields one is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Port probed on each server.
    pub port: u16,
    /// Time between two probes of a server.
    pub check_delay: Millis,
    /// Time a probe may take.
    pub check_timeout: Millis,
    /// Failed probes in a row that take a server out.
    pub check_max_retries: u8,
    /// Snowshed's own: passed probes in a row that bring it back.
    #[serde(default = "one")]
    pub rise: u8,
    /// Always false.
    #[serde(default)]
    pub check_send_proxy: bool,
    /// A connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_config: Option<TcpConfig>,
    /// An HTTP request must be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpConfig>,
}

const fn one() -> u8 {
    1
}

/// No settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpConfig {}

/// An HTTP probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpConfig {
    /// Path and query.
    pub uri: String,
    /// Method.
    pub method: String,
    /// Expected status; null accepts 200 to 399.
    pub code: Option<u16>,
    /// `Host` header; the server's address when empty.
    pub host_header: String,
}

/// A health check in a request; also the body of `PUT /backends/{id}/healthcheck`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheckSpec {
    /// Port; the backend's `forward_port` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// Time between two probes, 50 ms to 1 h; 5 s when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_delay: Option<Millis>,
    /// Time a probe may take, at most `check_delay`; the shorter of 5 s and `check_delay` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_timeout: Option<Millis>,
    /// Failed probes in a row that take a server out, 1 to 255; 3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_max_retries: Option<i64>,
    /// Snowshed's own: passed probes in a row that bring it back, 1 to 255; 2 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<i64>,
    /// Not built: absent or false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_send_proxy: Option<bool>,
    /// Not built: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transient_check_delay: Option<serde_json::Value>,
    /// A connection is enough; the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_config: Option<TcpConfig>,
    /// An HTTP request must be answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpConfigSpec>,
    /// Not built: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_config: Option<serde_json::Value>,
    /// Not built: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql_config: Option<serde_json::Value>,
    /// Not built: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgsql_config: Option<serde_json::Value>,
    /// Not built: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ldap_config: Option<serde_json::Value>,
    /// Not built: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_config: Option<serde_json::Value>,
}

/// An HTTP probe in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfigSpec {
    /// Path and query, beginning with `/`; `/` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Method; `GET` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Expected status, 100 to 599; 200 to 399 pass when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// `Host` header; the server's address when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_header: Option<String>,
}
