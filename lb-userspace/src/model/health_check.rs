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
}

impl Probe {
    /// Most characters of a path and query.
    pub const MAX_URI_CHARS: usize = 2048;
    /// Most characters of a host header.
    pub const MAX_HOST_CHARS: usize = 255;
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
