//! Health checks on the wire.

use serde::{Deserialize, Serialize};

use super::Millis;
use crate::model::{self, Probe};

/// How health is checked. Of the `…_config` fields one is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// A probe begins with a PROXY protocol header.
    #[serde(default)]
    pub check_send_proxy: bool,
    /// Time between two probes while they speak against what is held of the server, as Scaleway writes it: `0.5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transient_check_delay: Option<String>,
    /// A connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_config: Option<NoConfig>,
    /// An HTTP request must be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpConfig>,
    /// The same over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_config: Option<HttpsConfig>,
    /// A MySQL or MariaDB server must let a user in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql_config: Option<UserConfig>,
    /// A PostgreSQL server must ask a user to authenticate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pgsql_config: Option<UserConfig>,
    /// An LDAP server must take an anonymous bind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ldap_config: Option<NoConfig>,
    /// A Redis server must answer `PING`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis_config: Option<NoConfig>,
}

/// An HTTPS probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HttpsConfig {
    /// Path and query.
    pub uri: String,
    /// Method.
    pub method: String,
    /// Expected status; null accepts 200 to 399.
    pub code: Option<u16>,
    /// `Host` header; the server's address when empty.
    pub host_header: String,
    /// Name that is asked for in the handshake; none when empty.
    pub sni: String,
}

/// A database's probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UserConfig {
    /// The user.
    pub user: String,
}

impl From<&model::HealthCheck> for HealthCheck {
    fn from(check: &model::HealthCheck) -> Self {
        let mut shown = Self {
            port: check.port.get(),
            check_delay: Millis(check.interval),
            check_timeout: Millis(check.timeout),
            check_max_retries: check.fall.get(),
            rise: check.rise.get(),
            check_send_proxy: check.send_proxy,
            transient_check_delay: check.transient_interval.map(|delay| format!("{}s", delay.as_secs_f64())),
            tcp_config: None,
            http_config: None,
            https_config: None,
            mysql_config: None,
            pgsql_config: None,
            ldap_config: None,
            redis_config: None,
        };
        match check.probe.clone() {
            Probe::Tcp => shown.tcp_config = Some(NoConfig {}),
            Probe::Http { uri, method, code, host_header } => {
                shown.http_config = Some(HttpConfig { uri, method, code, host_header });
            }
            Probe::Https { uri, method, code, host_header, sni } => {
                shown.https_config = Some(HttpsConfig { uri, method, code, host_header, sni });
            }
            Probe::Mysql { user } => shown.mysql_config = Some(UserConfig { user }),
            Probe::Pgsql { user } => shown.pgsql_config = Some(UserConfig { user }),
            Probe::Ldap => shown.ldap_config = Some(NoConfig {}),
            Probe::Redis => shown.redis_config = Some(NoConfig {}),
        }
        shown
    }
}

impl HealthCheck {
    /// What a probe asks.
    #[must_use]
    pub fn probe(&self) -> Probe {
        if let Some(HttpConfig { uri, method, code, host_header }) = self.http_config.clone() {
            return Probe::Http { uri, method, code, host_header };
        }
        if let Some(HttpsConfig { uri, method, code, host_header, sni }) = self.https_config.clone() {
            return Probe::Https { uri, method, code, host_header, sni };
        }
        if let Some(UserConfig { user }) = self.mysql_config.clone() {
            return Probe::Mysql { user };
        }
        if let Some(UserConfig { user }) = self.pgsql_config.clone() {
            return Probe::Pgsql { user };
        }
        match (self.ldap_config, self.redis_config) {
            (Some(_), _) => Probe::Ldap,
            (None, Some(_)) => Probe::Redis,
            (None, None) => Probe::Tcp,
        }
    }
}

const fn one() -> u8 {
    1
}

/// No settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// An HTTP probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// A probe begins with a PROXY protocol header (version 2); false when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_send_proxy: Option<bool>,
    /// Time between two probes while they speak against what is held of the server, 50 ms to `check_delay`; null takes
    /// it away, `check_delay` holds then.
    #[serde(deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub transient_check_delay: Option<Option<Millis>>,
    /// A connection is enough; the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_config: Option<NoConfig>,
    /// An HTTP request must be answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpConfigSpec>,
    /// The same over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_config: Option<HttpsConfigSpec>,
    /// A MySQL or MariaDB server must let a user in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql_config: Option<UserConfigSpec>,
    /// A PostgreSQL server must ask a user to authenticate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgsql_config: Option<UserConfigSpec>,
    /// An LDAP server must take an anonymous bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ldap_config: Option<NoConfig>,
    /// A Redis server must answer `PING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_config: Option<NoConfig>,
}

/// An HTTPS probe in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpsConfigSpec {
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
    /// Name that is asked for in the handshake; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
}

/// A database's probe in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UserConfigSpec {
    /// The user; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// An HTTP probe in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
