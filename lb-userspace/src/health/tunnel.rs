//! Probes the way traffic goes: connections to the VIP whose packets reach one server as the program would send them.
//!
//! A probe is an ordinary TCP connection of this machine's stack. A mark on its socket routes its packets into a TUN
//! device of the agent, which puts each into the headers that the program would (`lb-common` writes both) and sends the
//! frame out of the server's interface. The server answers the probe's address directly, as it answers clients.
//!
//! ```text
//! probe's socket ── mark ── TUN ── agent: outer header, MAC ── server unwraps, VIP ──▶ probe's socket
//! ```

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use lb_common::abi::backend::{mode, state};
use lb_common::abi::{BackendEntry, ConfigEntry, address_of};
use lb_common::hash::FlowHash;
use lb_common::headers::{self, Inherited, Parsed};
use lb_common::link::LinkHeader;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpSocket;
use tokio::sync::watch;

use super::source_towards;
use crate::dataplane::tun::{self, FrameSocket};
use crate::explain::packet::{relink, wrapped};
use crate::model::Forwarding;
use crate::netlink::Netlink;
use crate::plan::{NextHop, NextHops, Resolution, Unresolved};

/// Name of the device.
pub const INTERFACE: &str = "snowshed-probe";
/// Rules that are taken off at most.
const MAX_RULES: usize = 16;
/// Mark of the probes' sockets, number of their routing table, and priority of the rule that joins the two.
const NUMBER: u32 = 0x5350;
/// Largest packet of a probe: the smallest MTU of IPv6 (RFC 8200 §5), so that every outer header fits everywhere.
const MTU: u32 = 1280;

/// Where a probe's packets go, and in what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Through {
    /// The address that is asked for.
    pub vip: IpAddr,
    /// How traffic for it reaches the server; never [`Forwarding::Nat`].
    pub forwarding: Forwarding,
}

/// A server that packets go to.
#[derive(Clone, Copy, Debug)]
struct Target {
    server: IpAddr,
    forwarding: Forwarding,
}

/// The device, and which probe is whose.
#[derive(Debug)]
pub struct Tunnel {
    /// By the probe's own port, one table for each IP version. Never more than there are ports: an entry stays until its
    /// port has another probe, for what a closed connection still sends.
    targets: [Mutex<HashMap<u16, Target>>; 2],
    next_hops: watch::Receiver<Arc<NextHops>>,
    config: ConfigEntry,
}

/// What carries the packets; to be run beside the probes.
#[derive(Debug)]
pub struct Carrier {
    tunnel: Arc<Tunnel>,
    device: AsyncFd<File>,
    frames: FrameSocket,
}

impl Tunnel {
    /// Makes the device, its routes and rules. `config` has the key of the flow hash and the outer sources.
    ///
    /// # Errors
    /// What of it the kernel refused.
    pub fn open(config: ConfigEntry, next_hops: watch::Receiver<Arc<NextHops>>) -> io::Result<(Arc<Self>, Carrier)> {
        let device = make()?;
        let frames = FrameSocket::open()?;
        route()?;
        let tunnel = Arc::new(Self { targets: Default::default(), next_hops, config });
        Ok((Arc::clone(&tunnel), Carrier { tunnel, device, frames }))
    }

    /// Whether a VIP is this machine's own, too: then its stack sends nothing for it anywhere.
    #[must_use]
    pub fn is_own(vip: IpAddr) -> bool {
        source_towards(vip).is_ok_and(|address| address == vip)
    }

    /// Waits until the way to a server is known.
    ///
    /// # Errors
    /// Why it has none.
    pub async fn way(&self, server: IpAddr, forwarding: Forwarding) -> Result<(), Unresolved> {
        let mut next_hops = self.next_hops.clone();
        loop {
            let found = next_hops.borrow_and_update().get(&server).copied();
            match found {
                Some(Resolution::Resolved(hop)) if forwarding == Forwarding::L2 && hop.via_gateway => {
                    return Err(Unresolved::NotOnLink);
                }
                Some(Resolution::Resolved(_)) => return Ok(()),
                Some(Resolution::Unresolved(Unresolved::Pending)) | None => {}
                Some(Resolution::Unresolved(why)) => return Err(why),
            }
            next_hops.changed().await.map_err(|_| Unresolved::Pending)?;
        }
    }

    /// Makes a socket's packets go to a server; to be connected to the VIP then.
    ///
    /// # Errors
    /// When this machine has no address that the server could answer to, or no port left.
    pub fn prepare(&self, socket: &TcpSocket, server: IpAddr, through: Through) -> io::Result<()> {
        SockRef::from(socket).set_mark(NUMBER)?;
        let is_same = server.is_ipv4() == through.vip.is_ipv4();
        let source = if is_same { source_towards(server)? } else { own_address(through.vip)? };
        socket.bind(SocketAddr::new(source, 0))?;
        let port = socket.local_addr()?.port();
        let target = Target { server, forwarding: through.forwarding };
        self.targets(source.is_ipv4()).lock().unwrap_or_else(PoisonError::into_inner).insert(port, target);
        Ok(())
    }

    fn targets(&self, is_v4: bool) -> &Mutex<HashMap<u16, Target>> {
        let [v4, v6] = &self.targets;
        if is_v4 { v4 } else { v6 }
    }

    /// The frame that a probe's packet becomes, and the interface it leaves through. `None` of what is no probe's, or
    /// has no way at the moment: TCP sends it again.
    fn frame(&self, packet: &[u8]) -> Option<(u32, Vec<u8>)> {
        let ethertype = match packet.first()? >> 4 {
            4 => [0x08, 0x00],
            _ => [0x86, 0xdd],
        };
        let frame = [&[0; 12], &ethertype[..], packet].concat();
        let Ok(Parsed::Flow(headers)) = headers::parse(&*frame) else { return None };
        let port = u16::from_be(headers.ports as u16);
        let targets = self.targets(headers.family == headers::Family::V4);
        let target = *targets.lock().unwrap_or_else(PoisonError::into_inner).get(&port)?;
        let hop = match self.next_hops.borrow().get(&target.server) {
            Some(Resolution::Resolved(hop)) => *hop,
            _ => return None,
        };
        let backend = entry(&target, &hop);
        let made = if target.forwarding == Forwarding::L2 {
            relink(&frame, &headers, LinkHeader::to(&backend))
        } else {
            let hash = FlowHash::of(&headers, 0, self.config.hash_key);
            wrapped(&frame, &headers, Inherited::read(&*frame, &headers)?, &backend, hash, &self.config)
        };
        made.map(|frame| (hop.ifindex, frame))
    }
}

/// What stands in `BACKENDS` of a server that is on this hop.
fn entry(target: &Target, hop: &NextHop) -> BackendEntry {
    BackendEntry {
        address: address_of(target.server),
        next_hop_mac: hop.mac,
        vlan_outer: hop.vlan_outer.to_be_bytes(),
        source_mac: hop.source_mac,
        vlan_inner: hop.vlan_inner.to_be_bytes(),
        ifindex: hop.ifindex,
        mtu: hop.mtu,
        port: [0; 2],
        mode: match target.forwarding {
            Forwarding::L2 => mode::L2,
            Forwarding::Gue => mode::GUE,
            Forwarding::Ipip | Forwarding::Nat => mode::IPIP,
        },
        state: state::UP | state::RESOLVED | if target.server.is_ipv4() { state::V4 } else { 0 },
        pad: [0; 2],
        generation: 0,
        identity: 0,
    }
}

/// The device. One that an agent before left goes with its last descriptor, which may take a moment.
fn make() -> io::Result<AsyncFd<File>> {
    const TRIES: u32 = 10;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
    for _ in 1..TRIES {
        match tun::open(INTERFACE) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(PAUSE),
            made => return made,
        }
    }
    tun::open(INTERFACE)
}

impl Carrier {
    /// Carries packets for ever.
    pub async fn run(self) {
        let mut packet = vec![0; MTU as usize];
        loop {
            let Ok(mut ready) = self.device.readable().await else { return };
            match ready.try_io(|device| device.get_ref().read(&mut packet)) {
                Ok(Ok(len)) => self.carry(packet.get(..len).unwrap_or_default()),
                Ok(Err(error)) => {
                    log::error!("the probes' device {INTERFACE} cannot be read ({error}): probes through tunnels fail");
                    return;
                }
                Err(_not_yet) => {}
            }
        }
    }

    fn carry(&self, packet: &[u8]) {
        let Some((ifindex, frame)) = self.tunnel.frame(packet) else { return };
        if let Err(error) = self.frames.send(ifindex, &frame) {
            // As a packet that is lost on the way; the probe's outcome tells.
            log::debug!("a probe's packet was not sent: {error}");
        }
    }
}

/// Every address of this machine.
pub(crate) fn own_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let addresses = nix::ifaddrs::getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    });
    Ok(addresses.collect())
}

/// An address of this machine of the VIP's version, which others can answer to: that towards it, or else any.
pub(crate) fn own_address(vip: IpAddr) -> io::Result<IpAddr> {
    if let Ok(address) = source_towards(vip) {
        return Ok(address);
    }
    let addresses = own_addresses()?;
    let is_global = |address: &IpAddr| match address {
        IpAddr::V4(v4) => vip.is_ipv4() && !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => vip.is_ipv6() && !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let version = if vip.is_ipv4() { 4 } else { 6 };
    let none = || io::Error::new(io::ErrorKind::AddrNotAvailable, format!("this machine has no IPv{version} address"));
    addresses.into_iter().find(is_global).ok_or_else(none)
}

/// Brings the device up, and routes what has the mark into it.
fn route() -> io::Result<()> {
    let ifindex = nix::net::if_::if_nametoindex(INTERFACE)?;
    let mut netlink = Netlink::open()?;
    let mut link = LinkMessage::default();
    link.header.index = ifindex;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes.push(LinkAttribute::Mtu(MTU));
    first_error(netlink.order(vec![RouteNetlinkMessage::SetLink(link)])?)?;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        // Rules are not replaced but piled up: an agent that was killed left one.
        let _was_none = netlink.order(vec![RouteNetlinkMessage::DelRule(rule(family))])?;
        let made = first_error(netlink.order(vec![
            RouteNetlinkMessage::NewRoute(default_route(family, ifindex)),
            RouteNetlinkMessage::NewRule(rule(family)),
        ])?);
        match made {
            // A machine without IPv6 has no VIPs of it, either.
            Err(error) if family == AddressFamily::Inet6 => {
                log::warn!("probes through tunnels work for IPv4 VIPs only: the kernel takes no IPv6 route ({error})");
            }
            made => made?,
        }
    }
    Ok(())
}

/// Takes the rules of the probes' mark off, which outlive the agent; whether there was one.
///
/// # Errors
/// When the kernel cannot be asked, or refuses.
pub fn unroute() -> io::Result<bool> {
    let mut netlink = Netlink::open()?;
    let mut was_any = false;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        // An agent that was killed while it made its own may have left two.
        for _ in 0..MAX_RULES {
            match first_error(netlink.order(vec![RouteNetlinkMessage::DelRule(rule(family))])?) {
                Ok(()) => was_any = true,
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EAFNOSUPPORT)) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(was_any)
}

fn first_error(answers: Vec<crate::netlink::Answer>) -> io::Result<()> {
    answers.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}

fn rule(family: AddressFamily) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Priority(NUMBER),
        RuleAttribute::FwMark(NUMBER),
        RuleAttribute::FwMask(u32::MAX),
        RuleAttribute::Table(NUMBER),
    ];
    rule
}

fn default_route(family: AddressFamily, ifindex: u32) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Oif(ifindex), RouteAttribute::Table(NUMBER)];
    route
}
