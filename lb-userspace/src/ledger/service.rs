//! What clients reach of a load balancer, and whether a change takes some of it away. The one definition of "loses
//! service": budgets, plans and the breaker count by it. Pure, on documents alone: what health says is no part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Snapshot;
use crate::model::{Acl, Backend, Family, Forwarding, Frontend, Ip, LbId, Protocol};

/// What clients reach of a load balancer: at each address and protocol, from which port on, by which servers. A port that
/// nobody serves stands with none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service(BTreeMap<(IpAddr, Protocol), BTreeMap<u32, BTreeSet<Way>>>);

/// A way to a server: its address, and the port it is asked at where that is not the one the client asked for. How packets
/// travel there is another matter: a mode that the server does not know looks like any other.
type Way = (IpAddr, Option<u16>);

impl Service {
    /// Whether nothing of it is reached.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.0.values().flat_map(BTreeMap::values).all(BTreeSet::is_empty)
    }
}

/// What clients reach of a load balancer; nothing of a deleted one, of one without an address, and behind an access list
/// that denies everybody. A server that drains is no way for a new client.
#[must_use]
pub fn of(snapshot: &Snapshot, lb: LbId) -> Service {
    let mut service = Service::default();
    if snapshot.lb(lb).is_none_or(|lb| !lb.times.is_live()) {
        return service;
    }
    let frontends: Vec<_> = snapshot.frontends_of(lb).filter(|frontend| frontend.times.is_live()).collect();
    for ip in snapshot.ips_of(lb).filter(|ip| ip.times.is_live()) {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let mut doors: Vec<((u16, u16), BTreeSet<Way>)> = Vec::new();
            for frontend in &frontends {
                let backend = snapshot.backend(frontend.backend);
                if let Some(backend) = backend.filter(|it| it.times.is_live() && it.protocol == protocol) {
                    doors.push((frontend.ports(), ways(snapshot, ip, frontend, backend)));
                }
            }
            if !doors.is_empty() {
                service.0.insert((ip.address, protocol), by_port(&doors));
            }
        }
    }
    service
}

/// Whether clients lose something: a port of an address at which they were served is served no more, or by none of the
/// servers that did.
#[must_use]
pub fn loses(before: &Service, after: &Service) -> bool {
    let nothing = BTreeMap::new();
    before.0.iter().any(|(at, ports)| {
        let now = after.0.get(at).unwrap_or(&nothing);
        ports.keys().chain(now.keys()).any(|port| {
            let (before, after) = (at_port(ports, *port), at_port(now, *port));
            !before.is_empty() && before.is_disjoint(after)
        })
    })
}

/// The ways that a client of an address takes through a frontend.
fn ways(snapshot: &Snapshot, ip: &Ip, frontend: &Frontend, backend: &Backend) -> BTreeSet<Way> {
    let rules = snapshot.acls_of(frontend.id).filter(|acl| acl.times.is_live());
    if !Acl::admit_anybody(rules.map(AsRef::as_ref), ip.address.is_ipv4()) {
        return BTreeSet::new();
    }
    let is_translated = backend.forwarding == Forwarding::Nat && frontend.inbound_port_end.is_none();
    let port = Some(backend.forward_port.get()).filter(|port| is_translated && *port != frontend.inbound_port.get());
    let family = backend.forwarding.keeps_family().then_some(Family::of(ip.address));
    let is_reached = |address: IpAddr| family.is_none_or(|family| family == Family::of(address));
    let servers = backend.servers.iter().filter(|server| !server.drains() && is_reached(server.address));
    servers.map(|server| (server.address, port)).collect()
}

/// The doors of an address as steps: from each of these ports on it is these ways. A port for itself goes before a range.
fn by_port(doors: &[((u16, u16), BTreeSet<Way>)]) -> BTreeMap<u32, BTreeSet<Way>> {
    let edges: BTreeSet<u32> =
        doors.iter().flat_map(|((first, last), _)| [u32::from(*first), u32::from(*last) + 1]).collect();
    let at = |port: u32| {
        let covering = doors.iter().filter(|((first, last), _)| (u32::from(*first)..=u32::from(*last)).contains(&port));
        covering.min_by_key(|((first, last), _)| last - first).map(|(_, ways)| ways.clone()).unwrap_or_default()
    };
    edges.into_iter().map(|port| (port, at(port))).collect()
}

/// The ways at a port: those of the last step at or below it.
fn at_port(steps: &BTreeMap<u32, BTreeSet<Way>>, port: u32) -> &BTreeSet<Way> {
    static NONE: BTreeSet<Way> = BTreeSet::new();
    steps.range(..=port).next_back().map_or(&NONE, |(_, ways)| ways)
}
