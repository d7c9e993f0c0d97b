//! What is known of links, neighbours and routes, and the way to each server that follows from it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::plan::{NextHop, NextHops, Resolution, Unresolved};

/// VLAN devices that may stand on each other: what the kernel program can tag.
const MAX_TAGS: usize = 2;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its MAC; `None` when it has no Ethernet header, or asks for no neighbours.
    pub(super) mac: Option<[u8; 6]>,
    /// Largest IP packet, bytes.
    pub(super) mtu: u32,
    /// Up, with carrier.
    pub(super) up: bool,
    /// For a VLAN device, the device below and the VLAN id.
    pub(super) vlan: Option<(u32, u16)>,
}

/// A neighbour's state, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// Confirmed lately, being confirmed, or set by hand.
    Known([u8; 6]),
    /// Not confirmed for a while: good until it fails, but asked again.
    Stale([u8; 6]),
    /// Being asked for the first time.
    Asked,
    /// It did not answer.
    Failed,
}

/// The route to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through a device, to the server itself or to a gateway.
    Through { ifindex: u32, gateway: Option<IpAddr>, mtu: Option<u32> },
    /// There is none.
    None,
    /// To this machine.
    Local,
    /// With an encapsulation of its own.
    Encapsulated,
}

/// Everything known.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) links: BTreeMap<u32, Link>,
    neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
    /// The route to each wanted address that was asked for.
    pub(super) routes: BTreeMap<IpAddr, Route>,
}

impl State {
    /// Notes what the kernel says of a neighbour; whether that is anything new.
    ///
    /// One that failed stays failed while it is asked again, or every attempt would look like a change.
    pub(super) fn set_neighbour(&mut self, ifindex: u32, address: IpAddr, neighbour: Option<Neighbour>) -> bool {
        let key = (ifindex, address);
        let known = self.neighbours.get(&key).copied();
        let noted = match (known, neighbour) {
            (Some(Neighbour::Failed), Some(Neighbour::Asked) | None) => Some(Neighbour::Failed),
            (_, neighbour) => neighbour,
        };
        match noted {
            Some(neighbour) => self.neighbours.insert(key, neighbour),
            None => self.neighbours.remove(&key),
        };
        noted != known
    }

    /// Replaces all neighbours by a complete list.
    pub(super) fn replace_neighbours(&mut self, neighbours: Vec<(u32, IpAddr, Neighbour)>) {
        let listed: BTreeSet<(u32, IpAddr)> =
            neighbours.iter().map(|&(ifindex, address, _)| (ifindex, address)).collect();
        let failed = |neighbour: &Neighbour| *neighbour == Neighbour::Failed;
        self.neighbours.retain(|key, neighbour| listed.contains(key) || failed(neighbour));
        for (ifindex, address, neighbour) in neighbours {
            self.set_neighbour(ifindex, address, Some(neighbour));
        }
    }

    /// Forgets failed neighbours that no route leads to any more.
    pub(super) fn forget_unused(&mut self) {
        let needed: BTreeSet<(u32, IpAddr)> = self.needed().collect();
        self.neighbours.retain(|key, neighbour| *neighbour != Neighbour::Failed || needed.contains(key));
    }

    /// Neighbours that must be asked, or asked again: those on the way to a server whose MAC is not fresh.
    pub(super) fn to_ask(&self) -> BTreeSet<(u32, IpAddr)> {
        let known =
            |key: &(u32, IpAddr)| matches!(self.neighbours.get(key), Some(Neighbour::Known(_) | Neighbour::Asked));
        self.needed().filter(|key| !known(key)).collect()
    }

    /// The way to each address that was asked for.
    pub(super) fn next_hops(&self) -> NextHops {
        self.routes.iter().map(|(&address, route)| (address, self.resolve(address, route))).collect()
    }

    fn needed(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.routes.iter().filter_map(|(&address, route)| match *route {
            Route::Through { ifindex, gateway, .. } => {
                let link = self.links.get(&ifindex)?;
                (link.up && link.mac.is_some()).then_some((ifindex, gateway.unwrap_or(address)))
            }
            Route::None | Route::Local | Route::Encapsulated => None,
        })
    }

    fn resolve(&self, address: IpAddr, route: &Route) -> Resolution {
        match *route {
            Route::None => Resolution::Unresolved(Unresolved::NoRoute),
            Route::Local => Resolution::Unresolved(Unresolved::Local),
            Route::Encapsulated => Resolution::Unresolved(Unresolved::UnsupportedDevice),
            Route::Through { ifindex, gateway, mtu } => self
                .through(ifindex, gateway.unwrap_or(address), mtu)
                .map(|hop| NextHop { via_gateway: gateway.is_some(), ..hop })
                .map_or_else(Resolution::Unresolved, Resolution::Resolved),
        }
    }

    fn through(&self, ifindex: u32, neighbour: IpAddr, route_mtu: Option<u32>) -> Result<NextHop, Unresolved> {
        let link = self.links.get(&ifindex).ok_or(Unresolved::Pending)?;
        let source_mac = link.mac.ok_or(Unresolved::UnsupportedDevice)?;
        let (egress, tags) = self.below(ifindex)?;
        let mac = match self.neighbours.get(&(ifindex, neighbour)) {
            Some(Neighbour::Known(mac) | Neighbour::Stale(mac)) => *mac,
            Some(Neighbour::Failed) => return Err(Unresolved::NoNeighbour),
            Some(Neighbour::Asked) | None => return Err(Unresolved::Pending),
        };
        let mtu = route_mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
        let mut tags = tags.into_iter().rev();
        Ok(NextHop {
            ifindex: egress,
            mac,
            source_mac,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            vlan_outer: tags.next().unwrap_or(0),
            vlan_inner: tags.next().unwrap_or(0),
            via_gateway: false,
        })
    }

    /// The device below all VLAN devices, and their ids, the innermost first.
    fn below(&self, ifindex: u32) -> Result<(u32, Vec<u16>), Unresolved> {
        let (mut device, mut tags) = (ifindex, Vec::new());
        loop {
            let link = self.links.get(&device).ok_or(Unresolved::UnsupportedDevice)?;
            if !link.up {
                return Err(Unresolved::LinkDown);
            }
            let Some((below, id)) = link.vlan else { break };
            if tags.len() == MAX_TAGS {
                return Err(Unresolved::UnsupportedDevice);
            }
            tags.push(id);
            device = below;
        }
        Ok((device, tags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "10.0.0.9";
    const GATEWAY: &str = "10.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(mac: u8) -> Link {
        Link { mac: Some([mac; 6]), mtu: 1500, up: true, vlan: None }
    }

    /// eth0 (2), a VLAN device 100 (3) on it, one more with 200 (4) on that, one more with 300 (5), a tunnel (6).
    fn state() -> State {
        let mut state = State::default();
        state.links.insert(2, link(2));
        state.links.insert(3, Link { vlan: Some((2, 100)), ..link(3) });
        state.links.insert(4, Link { vlan: Some((3, 200)), mtu: 1496, ..link(4) });
        state.links.insert(5, Link { vlan: Some((4, 300)), ..link(5) });
        state.links.insert(6, Link { mac: None, ..link(6) });
        for ifindex in 2..6 {
            state.set_neighbour(ifindex, ip(SERVER), Some(Neighbour::Known([9; 6])));
        }
        state
    }

    fn way(state: &mut State, route: Route) -> Resolution {
        state.routes.insert(ip(SERVER), route);
        state.next_hops()[&ip(SERVER)]
    }

    fn through(ifindex: u32) -> Route {
        Route::Through { ifindex, gateway: None, mtu: None }
    }

    fn hop(ifindex: u32, source: u8, vlan_outer: u16, vlan_inner: u16, mtu: u16) -> Resolution {
        let (mac, source_mac) = ([9; 6], [source; 6]);
        Resolution::Resolved(NextHop { ifindex, mac, source_mac, mtu, vlan_outer, vlan_inner, via_gateway: false })
    }

    #[test]
    fn the_tags_of_vlan_devices_are_given_outermost_first() {
        let mut state = state();
        assert_eq!(way(&mut state, through(2)), hop(2, 2, 0, 0, 1500));
        assert_eq!(way(&mut state, through(3)), hop(2, 3, 100, 0, 1500));
        assert_eq!(way(&mut state, through(4)), hop(2, 4, 100, 200, 1496));
        assert_eq!(way(&mut state, through(5)), Resolution::Unresolved(Unresolved::UnsupportedDevice));
    }

    #[test]
    fn each_reason_for_no_next_hop_is_told_apart() {
        let mut state = state();
        let unresolved = Resolution::Unresolved;
        assert_eq!(way(&mut state, Route::None), unresolved(Unresolved::NoRoute));
        assert_eq!(way(&mut state, Route::Local), unresolved(Unresolved::Local));
        assert_eq!(way(&mut state, Route::Encapsulated), unresolved(Unresolved::UnsupportedDevice));
        assert_eq!(way(&mut state, through(6)), unresolved(Unresolved::UnsupportedDevice));
        assert_eq!(way(&mut state, through(77)), unresolved(Unresolved::Pending));
        let behind = Route::Through { ifindex: 2, gateway: Some(ip(GATEWAY)), mtu: None };
        assert_eq!(way(&mut state, behind), unresolved(Unresolved::Pending));
        state.set_neighbour(2, ip(GATEWAY), Some(Neighbour::Asked));
        assert_eq!(way(&mut state, behind), unresolved(Unresolved::Pending));
        state.set_neighbour(2, ip(GATEWAY), Some(Neighbour::Failed));
        assert_eq!(way(&mut state, behind), unresolved(Unresolved::NoNeighbour));
        state.links.get_mut(&2).unwrap().up = false;
        assert_eq!(way(&mut state, behind), unresolved(Unresolved::LinkDown));
        assert_eq!(way(&mut state, through(3)), unresolved(Unresolved::LinkDown), "the device below is down");
    }

    #[test]
    fn the_smaller_of_route_and_device_mtu_counts() {
        let mut state = state();
        let route = |mtu| Route::Through { ifindex: 2, gateway: None, mtu };
        assert_eq!(way(&mut state, route(Some(1400))), hop(2, 2, 0, 0, 1400));
        assert_eq!(way(&mut state, route(Some(9000))), hop(2, 2, 0, 0, 1500));
        state.links.get_mut(&2).unwrap().mtu = 100_000;
        assert_eq!(way(&mut state, route(None)), hop(2, 2, 0, 0, u16::MAX));
    }

    #[test]
    fn a_failed_neighbour_stays_failed_until_it_answers() {
        let mut state = state();
        state.routes.insert(ip(SERVER), through(2));
        assert!(state.set_neighbour(2, ip(SERVER), Some(Neighbour::Failed)));
        assert!(!state.set_neighbour(2, ip(SERVER), Some(Neighbour::Asked)));
        assert!(!state.set_neighbour(2, ip(SERVER), None));
        state.replace_neighbours(Vec::new());
        state.forget_unused();
        assert_eq!(state.next_hops()[&ip(SERVER)], Resolution::Unresolved(Unresolved::NoNeighbour));
        assert_eq!(state.to_ask(), BTreeSet::from([(2, ip(SERVER))]));
        assert!(state.set_neighbour(2, ip(SERVER), Some(Neighbour::Known([9; 6]))));
        assert_eq!(state.to_ask(), BTreeSet::new());
        state.set_neighbour(2, ip(SERVER), Some(Neighbour::Failed));
        state.routes.clear();
        state.forget_unused();
        assert!(state.neighbours.is_empty());
    }

    #[test]
    fn stale_neighbours_are_used_and_asked_again() {
        let mut state = state();
        state.set_neighbour(2, ip(SERVER), Some(Neighbour::Stale([9; 6])));
        assert_eq!(way(&mut state, through(2)), hop(2, 2, 0, 0, 1500));
        assert_eq!(state.to_ask(), BTreeSet::from([(2, ip(SERVER))]));
    }
}
