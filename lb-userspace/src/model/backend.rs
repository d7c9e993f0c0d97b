//! A backend: a pool of servers, how packets reach them, and how their health is checked.

use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BackendId, HealthCheck, Invalid, LbId, Name, Proxied, Quic, Server, Times};

/// A pool of servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Id.
    pub id: BackendId,
    /// The load balancer it belongs to.
    pub lb: LbId,
    /// Name; not unique.
    pub name: Name,
    /// Transport protocol of the service; also that of every frontend in front of this pool.
    pub protocol: Protocol,
    /// Port of the servers. Behind a range of ports it is the one that the client asked for instead.
    pub forward_port: NonZeroU16,
    /// How a server is picked.
    pub algorithm: Algorithm,
    /// What ties a client to a server.
    pub sticky_sessions: StickySessions,
    /// How much of an IPv6 client's address ties it.
    pub sticky_prefix_v6: PrefixV6,
    /// The time in which the share of a server that is new or came back rises to what it should be; `None` is at once.
    pub slow_start: Option<Duration>,
    /// How QUIC connection ids name a server; `None` is not at all.
    pub quic: Option<Quic>,
    /// How packets travel to a server.
    pub forwarding: Forwarding,
    /// What a client sees when no server is usable.
    pub on_empty: EmptyPool,
    /// The servers, in ascending order of address, each address once.
    pub servers: Vec<Server>,
    /// How their health is checked.
    pub health_check: HealthCheck,
    /// What was said of a proxy's connections to the servers.
    #[serde(default)]
    pub proxied: Proxied,
    /// Created, updated, deleted.
    pub times: Times,
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP, IP protocol 6.
    Tcp,
    /// UDP, IP protocol 17.
    Udp,
}

impl Protocol {
    /// IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Name in the API, metrics and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// How a server is picked for a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// By weight, through consistent hashing.
    #[default]
    Roundrobin,
    /// All flows to the first server, in the order of the addresses, that is usable; the others stand by.
    First,
    /// As `Roundrobin`, and servers that have more than their share of live flows get fewer new ones
    /// ([`crate::balance`]).
    Leastconn,
}

/// What ties a client to a server beyond the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StickySessions {
    /// Nothing: each flow is hashed over its full tuple.
    #[default]
    None,
    /// The source address alone is hashed, of IPv6 its first [`PrefixV6`] bits.
    Table,
}

/// How many bits of an IPv6 client's address count for [`StickySessions::Table`]: 1 to 128, 128 unless said otherwise.
///
/// Clients change their address within a /64 all the time (RFC 8981): with 64 they keep their server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct PrefixV6(u8);

impl PrefixV6 {
    /// The whole address.
    pub const WHOLE: Self = Self(128);

    /// Bits that count.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl Default for PrefixV6 {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl TryFrom<i64> for PrefixV6 {
    type Error = Invalid;

    fn try_from(bits: i64) -> Result<Self, Invalid> {
        u8::try_from(bits).ok().filter(|bits| (1..=128).contains(bits)).map(Self).ok_or_else(|| {
            Invalid::constraint(format!("prefix length {bits} is outside 1 to 128; 64 is what one client usually has"))
        })
    }
}

impl From<PrefixV6> for i64 {
    fn from(prefix: PrefixV6) -> Self {
        Self::from(prefix.0)
    }
}

/// How packets travel to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Forwarding {
    /// Addresses and ports are translated, both ways: servers need no set-up, and answer to the edge.
    #[default]
    Nat,
    /// Encapsulated in IPv4 or IPv6; the server unwraps them and answers the client directly.
    Ipip,
    /// Encapsulated in UDP, for networks that carry nothing else; the server unwraps them and answers the client directly.
    Gue,
    /// As they are, to the server's MAC: it stands on a segment of the edge, has the VIP, and answers the client directly.
    L2,
}

/// What a client sees when no server of the pool is usable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmptyPool {
    /// TCP RST or ICMP port unreachable: clients fail at once.
    #[default]
    Reject,
    /// Silence.
    Drop,
}

/// Words of the API that are known, but not built.
const UNAVAILABLE: [&str; 2] = ["http", "cookie"];

fn choose<T: Copy>(text: &str, what: &str, choices: &[(&str, T)]) -> Result<T, Invalid> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let available: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
    let available = available.join(" or ");
    Err(Invalid::constraint(if UNAVAILABLE.contains(&text) {
        format!("`{text}` is not available: as {what}, {available} is")
    } else {
        format!("`{text}` is no {what}: {available} is expected")
    }))
}

impl FromStr for Protocol {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        choose(text, "protocol", &[("tcp", Self::Tcp), ("udp", Self::Udp)])
    }
}

impl Algorithm {
    /// Every algorithm by its name in the API and in files.
    pub const WORDS: [(&'static str, Self); 3] =
        [("roundrobin", Self::Roundrobin), ("first", Self::First), ("leastconn", Self::Leastconn)];

    /// Name in the API, in files and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Roundrobin => "roundrobin",
            Self::First => "first",
            Self::Leastconn => "leastconn",
        }
    }
}

impl FromStr for Algorithm {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        choose(text, "algorithm", &Self::WORDS)
    }
}

impl FromStr for StickySessions {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        choose(text, "kind of sticky sessions", &[("none", Self::None), ("table", Self::Table)])
    }
}

impl Forwarding {
    /// Every mode by its name in the API and in files.
    pub const WORDS: [(&'static str, Self); 4] =
        [("nat", Self::Nat), ("ipip", Self::Ipip), ("gue", Self::Gue), ("l2", Self::L2)];

    /// Name in the API, in files and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::L2 => "l2",
        }
    }

    /// Whether packets arrive at the server with its own port: otherwise with the one that the client asked for.
    #[must_use]
    pub const fn translates_ports(self) -> bool {
        matches!(self, Self::Nat)
    }

    /// Whether a server is reached only by clients of its own IP version.
    #[must_use]
    pub const fn keeps_family(self) -> bool {
        matches!(self, Self::Nat)
    }
}

impl FromStr for Forwarding {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        choose(text, "forwarding mode", &Self::WORDS)
    }
}

impl Backend {
    /// Longest slow start.
    pub const MAX_SLOW_START: Duration = Duration::from_secs(3600);

    /// A slow start: up to an hour; 0 is none.
    ///
    /// # Errors
    /// [`Invalid`] when it is longer.
    pub fn parse_slow_start(time: Duration) -> Result<Option<Duration>, Invalid> {
        if time > Self::MAX_SLOW_START {
            return Err(Invalid::constraint(format!("a slow start of {time:?} is longer than 1h; 0 is none")));
        }
        Ok(Some(time).filter(|time| !time.is_zero()))
    }
}

impl FromStr for EmptyPool {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        choose(text, "policy for an empty pool", &[("reject", Self::Reject), ("drop", Self::Drop)])
    }
}
