//! What a server needs beside the decapsulator: the VIPs, and settings that let their packets in.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::cli::failure::Failure;
use crate::netlink::Netlink;

/// A client's full packet and the larger outer header.
const COMFORTABLE_MTU: u32 = 1540;

/// Adds the VIPs that this machine does not have to its loopback interface; those that were added.
pub(super) fn add_missing(vips: &BTreeSet<IpAddr>) -> Result<Vec<IpAddr>, Failure> {
    let missing: Vec<IpAddr> = vips.difference(&addresses()?).copied().collect();
    let loopback = nix::net::if_::if_nametoindex("lo").map_err(|error| Failure::error(format!("no lo: {error}")))?;
    let orders = missing.iter().map(|&vip| add_address(loopback, vip)).collect();
    let answers = Netlink::open().and_then(|mut netlink| netlink.order(orders)).map_err(not_asked)?;
    for (vip, answer) in missing.iter().zip(answers) {
        answer.map_err(|error| {
            Failure::error(format!("adding {vip} to lo: {error}")).help("run as root, or with CAP_NET_ADMIN")
        })?;
    }
    Ok(missing)
}

/// What is missing on this machine, one sentence each, with what to type.
pub(super) fn advice(interface: &str, vips: &BTreeSet<IpAddr>) -> Result<Vec<String>, Failure> {
    let mut advice = Vec::new();
    for vip in vips.difference(&addresses()?) {
        let bits = if vip.is_ipv4() { 32 } else { 128 };
        advice.push(format!(
            "{vip} is no address of this machine, so what is unwrapped for it is dropped: use --add-address, or `ip \
             address add {vip}/{bits} dev lo noprefixroute`"
        ));
    }
    if vips.iter().any(IpAddr::is_ipv4) {
        if setting(interface, "rp_filter") == Some(1) {
            advice.push(format!(
                "rp_filter is strict: clients that are not reached through {interface} are dropped: `sysctl -w \
                 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{interface}.rp_filter=2`"
            ));
        }
        if setting(interface, "arp_ignore") == Some(0) {
            advice.push(format!(
                "this machine answers ARP for the VIPs; where it shares a segment with the edge, clients then bypass \
                 the load balancer: `sysctl -w net.ipv4.conf.{interface}.arp_ignore=1 \
                 net.ipv4.conf.{interface}.arp_announce=2`"
            ));
        }
    }
    if let Some(mtu) = mtu(interface)?.filter(|&mtu| mtu < COMFORTABLE_MTU) {
        advice.push(format!(
            "the MTU of {interface} is {mtu}: wrapped packets of more than {} bytes (IPv4) or {} bytes (IPv6) inside \
             do not fit; raise it to {COMFORTABLE_MTU} here, on the edge and in between, or lower the clients' MSS",
            mtu.saturating_sub(20),
            mtu.saturating_sub(40)
        ));
    }
    Ok(advice)
}

/// Every address of this machine.
fn addresses() -> Result<BTreeSet<IpAddr>, Failure> {
    let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let found = Netlink::open().and_then(|mut netlink| netlink.dump(question)).map_err(not_asked)?;
    let mut addresses = BTreeSet::new();
    for message in found {
        let RouteNetlinkMessage::NewAddress(message) = message else { continue };
        for attribute in message.attributes {
            if let AddressAttribute::Local(address) | AddressAttribute::Address(address) = attribute {
                addresses.insert(address);
            }
        }
    }
    Ok(addresses)
}

fn add_address(ifindex: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.index = ifindex;
    message.header.scope = AddressScope::Universe;
    (message.header.family, message.header.prefix_len) =
        if address.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
    let flags = AddressFlags::Noprefixroute | AddressFlags::Nodad;
    message.attributes =
        vec![AddressAttribute::Local(address), AddressAttribute::Address(address), AddressAttribute::Flags(flags)];
    RouteNetlinkMessage::NewAddress(message)
}

/// The larger of an interface's setting and the one for all, as the kernel combines these two.
fn setting(interface: &str, name: &str) -> Option<u32> {
    let read = |scope: &str| -> Option<u32> {
        let path = Path::new("/proc/sys/net/ipv4/conf").join(scope).join(name);
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    Some(read("all")?.max(read(interface)?))
}

fn mtu(interface: &str) -> Result<Option<u32>, Failure> {
    let Ok(ifindex) = nix::net::if_::if_nametoindex(interface) else { return Ok(None) };
    let link = Netlink::open().and_then(|mut netlink| netlink.link(ifindex)).map_err(not_asked)?;
    Ok(link.and_then(|link| {
        link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        })
    }))
}

fn not_asked(error: std::io::Error) -> Failure {
    Failure::error(format!("the kernel cannot be asked about addresses and links: {error}"))
}
