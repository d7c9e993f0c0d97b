//! The plan: what the maps should hold, as a pure function of snapshot, health and node.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use jiff::{SignedDuration, Timestamp};

use crate::model::{
    Backend, BackendId, ClosedPort, EmptyPool, Forwarding, FrontendId, Generation, LbId, PrefixV6, Protocol, Quic,
    RateLimits, Weight,
};

pub mod access;
mod nat;
pub mod node;
pub mod planner;
mod policy;
mod score;
pub mod slots;

pub use access::AccessList;
pub use nat::PlannedNatSource;
pub use node::{NextHop, NextHops, Node, Resolution, Shares, Unresolved};
pub use planner::Planner;

/// A server of a pool: what health is known of and traffic is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ServerRef {
    /// The pool.
    pub backend: BackendId,
    /// The server's address.
    pub address: IpAddr,
}

/// Address, port and protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAddress {
    /// The VIP.
    pub address: IpAddr,
    /// The port, or the first of a range.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// A range of ports begins here: it has those that are no service themselves, up to [`PlannedService::last_port`].
    pub is_range: bool,
}

/// `192.0.2.1 80/tcp`; of a range `192.0.2.1 8000+/tcp`.
impl std::fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let range = if self.is_range { "+" } else { "" };
        write!(f, "{} {}{range}/{}", self.address, self.port, self.protocol.as_str())
    }
}

/// What the maps of one edge should hold. Persistent maps: the tables after a change share what did not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Generation of the snapshot.
    pub generation: Generation,
    /// Every service.
    pub services: OrdMap<ServiceAddress, Arc<PlannedService>>,
    /// Every address of ours, and what it does beside its services.
    pub vips: OrdMap<IpAddr, PlannedVip>,
    /// Every server that a service refers to.
    pub servers: OrdMap<ServerRef, PlannedServer>,
    /// Source addresses of translated flows, in the order of their numbers.
    pub nat_sources: Arc<[PlannedNatSource]>,
}

impl Tables {
    /// The services of an address.
    pub fn services_at(&self, address: IpAddr) -> impl Iterator<Item = (&ServiceAddress, &Arc<PlannedService>)> {
        let first = ServiceAddress { address, port: 0, protocol: Protocol::Tcp, is_range: false };
        self.services.range(first..).take_while(move |(service, _)| service.address == address)
    }
}

/// Addresses that a way is needed to: every server that a service refers to.
#[must_use]
pub fn wanted_addresses(tables: &Tables) -> BTreeSet<IpAddr> {
    tables.servers.keys().map(|server| server.address).collect()
}

/// What an address does with packets that no service takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedVip {
    /// Echo requests are answered.
    pub answers_echo: bool,
    /// What a client sees of a port that nobody listens on.
    pub on_closed_port: ClosedPort,
    /// Nothing is answered: the tenant is contained.
    pub quarantined: bool,
}

/// A service and its slot table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedService {
    /// The load balancer, for reports.
    pub lb: LbId,
    /// The frontend, for reports.
    pub frontend: FrontendId,
    /// The last port of a range; the port itself otherwise.
    pub last_port: u16,
    /// What happens when the table is empty.
    pub on_empty: EmptyPool,
    /// How packets travel to its servers.
    pub forwarding: Forwarding,
    /// Hash over the source address only, of IPv6 over so much of it.
    pub source_affinity: Option<PrefixV6>,
    /// How QUIC connection ids name a server.
    pub quic: Option<Quic>,
    /// Nothing is forwarded: the tenant is contained.
    pub quarantined: bool,
    /// Which clients may come; `None` for everybody.
    pub access: Option<Arc<AccessList>>,
    /// How much they may do.
    pub limits: RateLimits,
    /// Every server of the pool, in ascending order; the table refers to them by position.
    pub servers: Vec<ServerRef>,
    /// For each slot the position in `servers`; empty when no server is usable.
    pub slots: Arc<[u16]>,
}

/// A server as the data plane needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedServer {
    /// Port of the server.
    pub port: u16,
    /// How packets travel to it.
    pub forwarding: Forwarding,
    /// Its share.
    pub weight: Weight,
    /// Health holds it for up.
    pub up: bool,
    /// It gets no new connections.
    pub drain: bool,
    /// It stands by.
    pub backup: bool,
    /// Since when it takes flows, where a slow start counts from it.
    pub begun: Option<Timestamp>,
    /// The way to it.
    pub next_hop: Resolution,
}

impl PlannedServer {
    /// When its slow start ends, or ended; `None` where there is none.
    #[must_use]
    pub fn slow_start_until(&self, backend: &Backend) -> Option<Timestamp> {
        let time = SignedDuration::try_from(backend.slow_start?).ok()?;
        self.begun?.checked_add(time).ok()
    }
}
