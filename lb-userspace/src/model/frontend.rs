//! A frontend: a port of a load balancer's addresses, and the backend pool behind it.

use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BackendId, FrontendId, Invalid, LbId, Name, Times};

/// A port that is listened on; its protocol is the backend's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontend {
    /// Id.
    pub id: FrontendId,
    /// The load balancer it belongs to.
    pub lb: LbId,
    /// Name; not unique.
    pub name: Name,
    /// The port, or the first of a range.
    pub inbound_port: NonZeroU16,
    /// The last port of a range, above the first; `None` for one port. A port that another frontend has for itself is
    /// that one's.
    #[serde(default)]
    pub inbound_port_end: Option<NonZeroU16>,
    /// The backend pool.
    pub backend: BackendId,
    /// Idle time the tenant allows a client; kept for the modes that hold flow state.
    pub timeout_client: Option<Duration>,
    /// How much its clients may do per second.
    #[serde(default)]
    pub limits: RateLimits,
    /// Created, updated, deleted.
    pub times: Times,
}

impl Frontend {
    /// First and last port.
    #[must_use]
    pub fn ports(&self) -> (u16, u16) {
        let first = self.inbound_port.get();
        (first, self.inbound_port_end.map_or(first, NonZeroU16::get))
    }

    /// `80`, or `8000-8999`.
    #[must_use]
    pub fn ports_text(&self) -> String {
        ports_text(self.inbound_port.get(), self.inbound_port_end.map(NonZeroU16::get))
    }
}

/// `80`, or `8000-8999`.
#[must_use]
pub fn ports_text(first: u16, last: Option<u16>) -> String {
    last.map_or_else(|| first.to_string(), |last| format!("{first}-{last}"))
}

/// Limits of a frontend, events per second; 0 is no limit. A second's worth may come at once. Each address of the load
/// balancer counts for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// New TCP connections of each source: an IPv4 address, an IPv6 /64.
    pub connections_per_source: u32,
    /// New TCP connections of all sources together.
    pub connections: u32,
    /// Packets of all sources together.
    pub packets: u32,
}

impl RateLimits {
    /// The highest limit: what comes more often costs more than it protects.
    pub const MAX: u32 = 100_000_000;

    /// A limit.
    ///
    /// # Errors
    /// [`Invalid`] when it is negative or above [`RateLimits::MAX`].
    pub fn parse(limit: i64) -> Result<u32, Invalid> {
        u32::try_from(limit).ok().filter(|limit| *limit <= Self::MAX).ok_or_else(|| {
            Invalid::constraint(format!("{limit} is no limit: 1 to {} per second are, and 0 is none", Self::MAX))
        })
    }

    /// Whether anything is limited.
    #[must_use]
    pub fn is_limited(self) -> bool {
        self != Self::default()
    }
}
