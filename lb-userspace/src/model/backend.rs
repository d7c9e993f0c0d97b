//! A backend: a pool of servers, how packets reach them, and how their health is checked.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BackendId, HealthCheck, Invalid, LbId, Name, Times};

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
    /// Port of the servers.
    pub forward_port: NonZeroU16,
    /// How a server is picked.
    pub algorithm: Algorithm,
    /// What ties a client to a server.
    pub sticky_sessions: StickySessions,
    /// How packets travel to a server.
    pub forwarding: Forwarding,
    /// What a client sees when no server is usable.
    pub on_empty: EmptyPool,
    /// The servers, in ascending order of address, each address once.
    pub servers: Vec<Server>,
    /// How their health is checked.
    pub health_check: HealthCheck,
    /// Idle time the tenant allows a server; kept for the modes that hold flow state.
    pub timeout_server: Option<Duration>,
    /// Created, updated, deleted.
    pub times: Times,
}

/// A server of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// Its share relative to the other servers.
    pub weight: Weight,
    /// It keeps its connections and gets no new ones.
    pub drain: bool,
}

impl Server {
    /// Servers in ascending order of their addresses.
    ///
    /// # Errors
    /// [`Invalid`] when an address is named twice.
    pub fn sorted(mut servers: Vec<Self>) -> Result<Vec<Self>, Invalid> {
        servers.sort_by_key(|server| server.address);
        match servers.windows(2).find(|pair| pair[0].address == pair[1].address) {
            Some(pair) => Err(Invalid::constraint(format!("{} is named twice; once is allowed", pair[0].address))),
            None => Ok(servers),
        }
    }
}

/// Relative share of a server: 1 to 65535, 1 unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(NonZeroU16);

impl Weight {
    /// The weight of a server that was given none.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get() as u32
    }
}

impl TryFrom<u32> for Weight {
    type Error = Invalid;

    fn try_from(weight: u32) -> Result<Self, Invalid> {
        u16::try_from(weight).ok().and_then(NonZeroU16::new).map(Self).ok_or_else(|| {
            Invalid::constraint(format!(
                "weight {weight} is outside 1 to 65535; to stop new connections to a server, drain it"
            ))
        })
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> Self {
        weight.get()
    }
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// By weight, through consistent hashing.
    #[default]
    Roundrobin,
    /// All flows to the first server, in the order of the addresses, that is usable; the others stand by.
    First,
}

/// What ties a client to a server beyond the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StickySessions {
    /// Nothing: each flow is hashed over its full tuple.
    #[default]
    None,
    /// The source address alone is hashed.
    Table,
}

/// How packets travel to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarding {
    /// Addresses and ports are translated, both ways: servers need no set-up, and answer to the edge.
    #[default]
    Nat,
    /// Encapsulated in IPv4 or IPv6; the server unwraps them and answers the client directly.
    Ipip,
    /// As they are, to the server's MAC: it stands on a segment of the edge, has the VIP, and answers the client directly.
    L2,
}

/// What a client sees when no server of the pool is usable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyPool {
    /// TCP RST or ICMP port unreachable: clients fail at once.
    #[default]
    Reject,
    /// Silence.
    Drop,
}

/// Words of the API that are known, but not built.
const UNAVAILABLE: [&str; 4] = ["http", "leastconn", "cookie", "gue"];

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

impl FromStr for Algorithm {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        choose(text, "algorithm", &[("roundrobin", Self::Roundrobin), ("first", Self::First)])
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
    pub const WORDS: [(&'static str, Self); 3] = [("nat", Self::Nat), ("ipip", Self::Ipip), ("l2", Self::L2)];

    /// Name in the API, in files and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Ipip => "ipip",
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

impl FromStr for EmptyPool {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        choose(text, "policy for an empty pool", &[("reject", Self::Reject), ("drop", Self::Drop)])
    }
}
