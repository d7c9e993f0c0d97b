//! How the health of a pool's servers is checked.

use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// Timing and kind of a pool's probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Port probed on each server.
    pub port: NonZeroU16,
    /// Time between two probes of a server (`check_delay`), [`HealthCheck::MIN_INTERVAL`] or more.
    pub interval: Duration,
    /// Time a probe may take (`check_timeout`), at most the interval.
    pub timeout: Duration,
    /// Failed probes in a row that take a server out (`check_max_retries`).
    pub fall: NonZeroU8,
    /// Passed probes in a row that bring it back.
    pub rise: NonZeroU8,
    /// Time between two probes while they speak against what is held of the server (`transient_check_delay`), so that
    /// it is decided sooner; at most the interval, which holds always where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transient_interval: Option<Duration>,
    /// A probe begins with a PROXY protocol header (version 2, `LOCAL`), for servers that expect one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub send_proxy: bool,
    /// What is asked of the server.
    pub probe: Probe,
}

impl HealthCheck {
    /// Shortest interval.
    pub const MIN_INTERVAL: Duration = Duration::from_millis(50);
    /// Longest interval.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
    /// Interval of a pool that was given none.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
    /// Longest timeout of a pool that was given none.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Failed probes of a pool that was given no number.
    pub const DEFAULT_FALL: NonZeroU8 = NonZeroU8::new(3).expect("3 is not 0");
    /// Passed probes of a pool that was given no number.
    pub const DEFAULT_RISE: NonZeroU8 = NonZeroU8::new(2).expect("2 is not 0");

    /// An interval within the limits.
    ///
    /// # Errors
    /// [`Invalid`] when it is outside them.
    pub fn parse_interval(interval: Duration) -> Result<Duration, Invalid> {
        if (Self::MIN_INTERVAL..=Self::MAX_INTERVAL).contains(&interval) {
            return Ok(interval);
        }
        Err(Invalid::constraint(format!(
            "{interval:?} is outside {:?} to {:?}",
            Self::MIN_INTERVAL,
            Self::MAX_INTERVAL
        )))
    }

    /// An interval while it is undecided.
    ///
    /// # Errors
    /// [`Invalid`] when it is too short, or longer than the interval otherwise.
    pub fn parse_transient(transient: Duration, interval: Duration) -> Result<Duration, Invalid> {
        if (Self::MIN_INTERVAL..=interval).contains(&transient) {
            return Ok(transient);
        }
        Err(Invalid::constraint(format!(
            "{transient:?} is outside {:?} to check_delay ({interval:?})",
            Self::MIN_INTERVAL
        )))
    }

    /// A timeout that ends before the next probe begins.
    ///
    /// # Errors
    /// [`Invalid`] when it is 0 or longer than the interval.
    pub fn parse_timeout(timeout: Duration, interval: Duration) -> Result<Duration, Invalid> {
        if !timeout.is_zero() && timeout <= interval {
            return Ok(timeout);
        }
        Err(Invalid::constraint(format!(
            "{timeout:?} is no timeout here: more than 0 and at most check_delay ({interval:?}) is allowed"
        )))
    }

    /// A number of probes in a row.
    ///
    /// # Errors
    /// [`Invalid`] when it is outside 1 to 255.
    pub fn parse_count(count: i64) -> Result<NonZeroU8, Invalid> {
        u8::try_from(count)
            .ok()
            .and_then(NonZeroU8::new)
            .ok_or_else(|| Invalid::constraint(format!("{count} is outside 1 to 255 probes in a row")))
    }
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Probe {
    /// Passes when a TCP connection is established.
    Tcp,
    /// Passes when an HTTP/1.1 request is answered with the expected status.
    Http {
        /// Path and query, beginning with `/`.
        uri: String,
        /// Method, for example `GET` or `HEAD`.
        method: String,
        /// Expected status; `None` accepts 200 to 399.
        code: Option<u16>,
        /// `Host` header; the server's address when empty.
        host_header: String,
    },
    /// As `Http`, over TLS. The certificate is not verified.
    Https {
        /// Path and query, beginning with `/`.
        uri: String,
        /// Method, for example `GET` or `HEAD`.
        method: String,
        /// Expected status; `None` accepts 200 to 399.
        code: Option<u16>,
        /// `Host` header; the server's address when empty.
        host_header: String,
        /// Name that is asked for in the handshake; none when empty.
        sni: String,
    },
    /// Passes when a MySQL or MariaDB server lets a user without a password in.
    Mysql {
        /// The user.
        user: String,
    },
    /// Passes when a PostgreSQL server asks a user to authenticate.
    Pgsql {
        /// The user.
        user: String,
    },
    /// Passes when an LDAP server takes an anonymous bind.
    Ldap,
    /// Passes when a Redis server answers `PING` with `+PONG`.
    Redis,
}

impl Probe {
    /// Most characters of a path and query.
    pub const MAX_URI_CHARS: usize = 2048;
    /// Most characters of a host header.
    pub const MAX_HOST_CHARS: usize = 255;
    /// Most characters of a database's user.
    pub const MAX_USER_CHARS: usize = 32;
    /// Methods that a probe may use.
    pub const METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

    /// A path and query.
    ///
    /// # Errors
    /// [`Invalid`] when it does not begin with `/`, is too long, or has blanks or other characters a request line
    /// cannot carry.
    pub fn parse_uri(uri: String) -> Result<String, Invalid> {
        if uri.len() > Self::MAX_URI_CHARS {
            return Err(Invalid::constraint(format!(
                "the path has {} characters; at most {} are allowed",
                uri.len(),
                Self::MAX_URI_CHARS
            )));
        }
        if uri.starts_with('/') && uri.chars().all(|char| char.is_ascii_graphic() && char != '#') {
            return Ok(uri);
        }
        Err(Invalid::format(
            "a path and query is expected, such as `/health?full=1`: it begins with `/` and has only printable ASCII \
             without blanks and `#`",
        ))
    }

    /// A method.
    ///
    /// # Errors
    /// [`Invalid`] when a probe may not use it.
    pub fn parse_method(method: String) -> Result<String, Invalid> {
        if Self::METHODS.contains(&method.as_str()) {
            return Ok(method);
        }
        Err(Invalid::constraint(format!("`{method}` is no method of a probe: {} are", Self::METHODS.join(", "))))
    }

    /// An HTTP status.
    ///
    /// # Errors
    /// [`Invalid`] when it is outside 100 to 599.
    pub fn parse_code(code: i64) -> Result<u16, Invalid> {
        u16::try_from(code)
            .ok()
            .filter(|code| (100..=599).contains(code))
            .ok_or_else(|| Invalid::constraint(format!("{code} is no HTTP status: 100 to 599 are")))
    }

    /// A user of a database.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty, too long, or has other than printable ASCII characters.
    pub fn parse_user(user: String) -> Result<String, Invalid> {
        if user.is_empty() {
            return Err(Invalid::required(
                "a user of the database is needed: one without a password and without rights",
            ));
        }
        if user.len() <= Self::MAX_USER_CHARS && user.chars().all(|char| char.is_ascii_graphic()) {
            return Ok(user);
        }
        Err(Invalid::format(format!(
            "a user is expected, such as `health`: at most {} printable ASCII characters without blanks",
            Self::MAX_USER_CHARS
        )))
    }

    /// A name for TLS's server name indication (RFC 6066 §3); empty for none.
    ///
    /// # Errors
    /// [`Invalid`] when it is no DNS name.
    pub fn parse_sni(sni: String) -> Result<String, Invalid> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if sni.is_empty() || (sni.len() <= 253 && sni.split('.').all(label) && !sni.split('.').all(is_number)) {
            return Ok(sni);
        }
        Err(Invalid::format("a DNS name is expected, such as `www.example.org`, and no address"))
    }

    /// A host header; empty for the server's address.
    ///
    /// # Errors
    /// [`Invalid`] when it is too long or has characters a header cannot carry.
    pub fn parse_host(host: String) -> Result<String, Invalid> {
        if host.len() <= Self::MAX_HOST_CHARS && host.chars().all(|char| char.is_ascii_graphic()) {
            return Ok(host);
        }
        Err(Invalid::format(format!(
            "a host is expected, such as `www.example.org`: at most {} printable ASCII characters without blanks",
            Self::MAX_HOST_CHARS
        )))
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let http = |f: &mut std::fmt::Formatter<'_>, scheme, uri: &str, method: &str, code: Option<u16>, host: &str| {
            write!(f, "{scheme} {method} {uri}")?;
            if !host.is_empty() {
                write!(f, " for {host}")?;
            }
            code.map_or(Ok(()), |code| write!(f, " = {code}"))
        };
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Http { uri, method, code, host_header } => http(f, "http", uri, method, *code, host_header),
            Self::Https { uri, method, code, host_header, sni } => {
                http(f, "https", uri, method, *code, host_header)?;
                if sni.is_empty() { Ok(()) } else { write!(f, " (SNI {sni})") }
            }
            Self::Mysql { user } => write!(f, "mysql as {user}"),
            Self::Pgsql { user } => write!(f, "pgsql as {user}"),
            Self::Ldap => f.write_str("ldap"),
            Self::Redis => f.write_str("redis"),
        }
    }
}

fn is_number(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit())
}
