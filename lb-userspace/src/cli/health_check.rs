//! The flags of a backend's health check, and its wire form.

use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::output::text;
use super::value::{self, millis};

/// Flags of a health check.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Health check")]
pub struct HealthCheckArgs {
    /// What a probe asks: tcp connects, http and https make a request, mysql and pgsql log in, ldap binds, redis pings
    #[arg(long, value_name = "KIND", value_enum)]
    pub check: Option<Kind>,
    /// Port that is probed, 1 to 65535; the forward port when not given
    #[arg(long, value_name = "PORT", value_parser = value::port)]
    pub check_port: Option<NonZeroU16>,
    /// Time between two probes of a server, 50ms to 1h
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub check_interval: Option<Duration>,
    /// Time a probe may take, at most the interval
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub check_timeout: Option<Duration>,
    /// Failed probes in a row that take a server out, 1 to 255
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(NonZeroU8))]
    pub check_fall: Option<NonZeroU8>,
    /// Passed probes in a row that bring it back, 1 to 255
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(NonZeroU8))]
    pub check_rise: Option<NonZeroU8>,
    /// Time between two probes while they speak against what is held of a server, 50ms to the interval
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub check_transient_interval: Option<Duration>,
    /// Begin a probe with a PROXY protocol header, for servers that expect one
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub check_send_proxy: Option<bool>,
    /// User that a probe of a database logs in as, without a password
    #[arg(long, value_name = "USER", value_parser = user)]
    pub check_user: Option<String>,
    /// Name that an HTTPS probe asks for in the handshake
    #[arg(long, value_name = "NAME", value_parser = sni)]
    pub check_sni: Option<String>,
    /// Path that an HTTP probe asks for, beginning with /
    #[arg(long, value_name = "PATH", value_parser = uri)]
    pub check_uri: Option<String>,
    /// Method of an HTTP probe, for example GET or HEAD
    #[arg(long, value_name = "METHOD", value_parser = method)]
    pub check_method: Option<String>,
    /// Status that an HTTP probe expects, 100 to 599; 200 to 399 pass when not given
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(100..=599))]
    pub check_code: Option<u16>,
    /// Host header of an HTTP probe; the server's address when not given
    #[arg(long, value_name = "HOST", value_parser = host)]
    pub check_host: Option<String>,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A TCP connection
    Tcp,
    /// An HTTP/1.1 request
    Http,
    /// The same over TLS; the certificate is not verified
    Https,
    /// A login at MySQL or MariaDB
    Mysql,
    /// The beginning of a login at PostgreSQL
    Pgsql,
    /// An anonymous bind
    Ldap,
    /// A PING
    Redis,
}

impl Kind {
    const ALL: [Self; 7] = [Self::Tcp, Self::Http, Self::Https, Self::Mysql, Self::Pgsql, Self::Ldap, Self::Redis];

    /// The field of the API.
    const fn field(self) -> &'static str {
        match self {
            Self::Tcp => "tcp_config",
            Self::Http => "http_config",
            Self::Https => "https_config",
            Self::Mysql => "mysql_config",
            Self::Pgsql => "pgsql_config",
            Self::Ldap => "ldap_config",
            Self::Redis => "redis_config",
        }
    }

    /// The kind of a health check as the API shows it.
    fn of(check: &Value) -> Self {
        let is = |kind: &&Self| check.get(kind.field()).is_some_and(|config| !config.is_null());
        Self::ALL.iter().find(is).copied().unwrap_or(Self::Tcp)
    }
}

impl HealthCheckArgs {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The flags over what there is (`null` for nothing), as the API takes it.
    ///
    /// # Errors
    /// When flags of an HTTP probe are given for a TCP probe.
    pub fn body(&self, current: &Value, forward_port: u16) -> Result<Map<String, Value>, String> {
        let kept = [
            "port",
            "check_delay",
            "check_timeout",
            "check_max_retries",
            "rise",
            "transient_check_delay",
            "check_send_proxy",
        ];
        let mut body = super::session::keep(current, &kept);
        let port = self.check_port.map(NonZeroU16::get);
        if port.is_some() || !body.contains_key("port") {
            body.insert("port".into(), json!(port.unwrap_or(forward_port)));
        }
        body.extend(self.check_interval.map(|time| ("check_delay".to_owned(), json!(millis(time)))));
        body.extend(self.check_timeout.map(|time| ("check_timeout".to_owned(), json!(millis(time)))));
        body.extend(self.check_fall.map(|count| ("check_max_retries".to_owned(), json!(count))));
        body.extend(self.check_rise.map(|count| ("rise".to_owned(), json!(count))));
        let transient = self.check_transient_interval.map(millis);
        body.extend(transient.map(|time| ("transient_check_delay".to_owned(), json!(time))));
        body.extend(self.check_send_proxy.map(|wanted| ("check_send_proxy".to_owned(), json!(wanted))));
        let kind = self.kind(current);
        body.insert(kind.field().into(), Value::Object(self.config(kind, current)?));
        Ok(body)
    }

    /// What was said, or what the other flags mean, or what it is.
    fn kind(&self, current: &Value) -> Kind {
        let was = Kind::of(current);
        if let Some(kind) = self.check {
            return kind;
        }
        match was {
            Kind::Tcp if self.check_sni.is_some() => Kind::Https,
            Kind::Tcp if self.asks_http() => Kind::Http,
            was => was,
        }
    }

    const fn asks_http(&self) -> bool {
        self.check_uri.is_some()
            || self.check_method.is_some()
            || self.check_code.is_some()
            || self.check_host.is_some()
    }

    /// The settings of a kind: those it has, with what was said.
    fn config(&self, kind: Kind, current: &Value) -> Result<Map<String, Value>, String> {
        let is_http = matches!(kind, Kind::Http | Kind::Https);
        if self.asks_http() && !is_http {
            return Err(
                "--check-uri, --check-method, --check-code and --check-host belong to --check http or https".into()
            );
        }
        if self.check_sni.is_some() && kind != Kind::Https {
            return Err("--check-sni belongs to --check https".into());
        }
        let is_database = matches!(kind, Kind::Mysql | Kind::Pgsql);
        if self.check_user.is_some() && !is_database {
            return Err("--check-user belongs to --check mysql or pgsql".into());
        }
        let none = json!({});
        let was = Kind::of(current);
        let is_alike = was == kind || (is_http && matches!(was, Kind::Http | Kind::Https));
        let current = current.get(was.field()).filter(|_| is_alike).unwrap_or(&none);
        let mut config = if is_http { self.http_config(current) } else { Map::new() };
        if kind == Kind::Https {
            config.extend(super::session::keep(current, &["sni"]));
            config.extend(self.check_sni.clone().map(|name| ("sni".to_owned(), json!(name))));
        }
        if is_database {
            config.extend(super::session::keep(current, &["user"]));
            config.extend(self.check_user.clone().map(|user| ("user".to_owned(), json!(user))));
            if config.is_empty() {
                return Err(
                    "--check-user is needed: a user of the database without a password and without rights".into()
                );
            }
        }
        Ok(config)
    }

    fn http_config(&self, current: &Value) -> Map<String, Value> {
        let mut http = super::session::keep(current, &["uri", "method", "code", "host_header"]);
        let uri = self.check_uri.clone().or_else(|| (!http.contains_key("uri")).then(|| "/".to_owned()));
        http.extend(uri.map(|uri| ("uri".to_owned(), json!(uri))));
        http.extend(self.check_method.clone().map(|method| ("method".to_owned(), json!(method))));
        http.extend(self.check_code.map(|code| ("code".to_owned(), json!(code))));
        http.extend(self.check_host.clone().map(|host| ("host_header".to_owned(), json!(host))));
        http
    }
}

/// A health check in one line.
#[must_use]
pub fn summary(check: &Value) -> String {
    use serde::Deserialize as _;
    let Ok(known) = crate::api::wire::HealthCheck::deserialize(check) else { return String::new() };
    let probe = known.probe();
    format!(
        "{probe} on port {}, every {} ms within {} ms, out after {}, back after {}",
        text(check, "/port"),
        text(check, "/check_delay"),
        text(check, "/check_timeout"),
        text(check, "/check_max_retries"),
        text(check, "/rise"),
    )
}

/// A path and query.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn uri(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a path: it begins with / and has no blanks, for example /healthz?full=1"))
}

/// A user of a database.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn user(text: &str) -> Result<String, String> {
    crate::model::Probe::parse_user(text.to_owned()).map_err(|invalid| invalid.help)
}

/// A name for TLS's server name indication.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn sni(text: &str) -> Result<String, String> {
    crate::model::Probe::parse_sni(text.to_owned()).map_err(|invalid| invalid.help)
}

/// A method.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn method(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not an HTTP method: capital letters, for example GET, HEAD or OPTIONS"))
}

/// A value of a `Host` header; empty for the server's address.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn host(text: &str) -> Result<String, String> {
    if text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a host: a name or an address, with a port if need be, for example www.example.com"))
}
