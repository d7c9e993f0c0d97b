//! Netlink messages to what `state` knows, and the questions that fill it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::state::{Link, Neighbour, Route};

/// `ip route get ADDRESS`.
pub(super) fn ask_route(address: IpAddr) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    message.attributes.push(RouteAttribute::Destination(address.into()));
    RouteNetlinkMessage::GetRoute(message)
}

/// `ip neigh … use`: as if a packet had been sent there, so that the kernel asks, or asks again.
pub(super) fn use_neighbour(ifindex: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = ifindex;
    message.header.flags = NeighbourFlags::Use;
    message.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }));
    RouteNetlinkMessage::NewNeighbour(message)
}

/// A link and its number.
pub(super) fn link(message: &LinkMessage) -> (u32, Link) {
    let up = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let ethernet =
        message.header.link_layer_type == LinkLayerType::Ether && !message.header.flags.contains(LinkFlags::Noarp);
    let mut link = Link { mac: None, mtu: 0, up, vlan: None };
    let (mut below, mut id, mut is_vlan, mut elsewhere) = (None, None, false, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(mac) if ethernet => link.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::Link(ifindex) => below = Some(*ifindex),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => is_vlan = *kind == InfoKind::Vlan,
                        LinkInfo::Data(InfoData::Vlan(data)) => {
                            id = data.iter().find_map(|one| match one {
                                InfoVlan::Id(id) => Some(*id),
                                _ => None,
                            });
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if is_vlan {
        link.vlan = below.zip(id);
        // A VLAN device whose parent is in another namespace cannot be sent through from here.
        if elsewhere || link.vlan.is_none() {
            link.mac = None;
        }
    }
    (message.header.index, link)
}

/// A neighbour; `None` for entries that are none (bridge forwarding entries, proxies), and for those without a state.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(u32, IpAddr, Option<Neighbour>)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    let neighbour = match (message.header.state, mac) {
        (NeighbourState::Failed, _) => Some(Neighbour::Failed),
        (NeighbourState::Incomplete, _) => Some(Neighbour::Asked),
        (NeighbourState::Stale, Some(mac)) => Some(Neighbour::Stale(mac)),
        (
            NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp,
            Some(mac),
        ) => Some(Neighbour::Known(mac)),
        _ => None,
    };
    Some((message.header.ifindex, address?, neighbour))
}

/// The route in an answer to [`ask_route`].
pub(super) fn route(message: &RouteMessage) -> Route {
    match message.header.kind {
        RouteType::Local | RouteType::Anycast => return Route::Local,
        RouteType::Unicast => {}
        _ => return Route::None,
    }
    let (mut device, mut via, mut path_mtu) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => device = Some(*ifindex),
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
                via = Some(IpAddr::V4(*v4));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
                via = Some(IpAddr::V6(*v6));
            }
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => return Route::Encapsulated,
            RouteAttribute::Metrics(metrics) => {
                path_mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let gateway = via.filter(|via| *via != Ipv4Addr::UNSPECIFIED && *via != Ipv6Addr::UNSPECIFIED);
    device.map_or(Route::None, |ifindex| Route::Through { ifindex, gateway, mtu: path_mtu })
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};

    use super::*;
    use crate::netlink::parse;

    /// There and back over the wire, as the kernel would send it.
    fn received(message: LinkMessage) -> (u32, Link) {
        let mut sent = NetlinkMessage::from(RouteNetlinkMessage::NewLink(message));
        sent.finalize();
        let mut bytes = vec![0; sent.buffer_len()];
        sent.serialize(&mut bytes);
        match parse::<RouteNetlinkMessage>(&bytes).unwrap().pop().unwrap().payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => link(&message),
            other => panic!("{other:?}"),
        }
    }

    fn vlan_device(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        let info = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(100)]))];
        message.attributes = vec![
            LinkAttribute::IfName("eth0.100".to_owned()),
            LinkAttribute::Mtu(1496),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
            LinkAttribute::LinkInfo(info),
        ];
        message.attributes.extend(attributes);
        message
    }

    #[test]
    fn a_vlan_device_tells_its_parent_and_its_tag() {
        let mac = Some([2, 0, 0, 0, 0, 1]);
        let device = received(vlan_device(vec![LinkAttribute::Link(2)]));
        assert_eq!(device, (7, Link { mac, mtu: 1496, up: true, vlan: Some((2, 100)) }));
    }

    #[test]
    fn a_vlan_device_whose_parent_is_elsewhere_cannot_be_sent_through() {
        let elsewhere = vec![LinkAttribute::Link(2), LinkAttribute::LinkNetNsId(3)];
        assert_eq!(received(vlan_device(elsewhere)).1.mac, None);
        assert_eq!(received(vlan_device(Vec::new())).1.mac, None);
    }

    #[test]
    fn devices_that_are_down_or_have_no_neighbours_are_seen_as_such() {
        let mut down = vlan_device(vec![LinkAttribute::Link(2)]);
        down.header.flags = LinkFlags::Up;
        assert!(!received(down).1.up);
        let mut silent = vlan_device(vec![LinkAttribute::Link(2)]);
        silent.header.flags |= LinkFlags::Noarp;
        assert_eq!(received(silent).1.mac, None);
        let mut tunnel = vlan_device(Vec::new());
        tunnel.header.link_layer_type = LinkLayerType::Tunnel;
        assert_eq!(received(tunnel).1.mac, None);
    }
}
