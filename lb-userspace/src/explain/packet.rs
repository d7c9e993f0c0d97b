//! What the program makes of a client's or a server's packet, byte by byte, from the live maps.
//!
//! Every function of the program that decides or writes is `lb-common`'s and is called here too; what is written a second
//! time is the order of the steps. A test holds it to the kernel program on random packets.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use lb_common::abi::backend::mode;
use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, ConfigEntry, Reason, ServiceEntry, Slot, ip_of, protection, vip};
use lb_common::encapsulation::{self, ONE_TAG, TWO_TAGS, gue};
use lb_common::hash::FlowHash;
use lb_common::headers::{self, ETHERNET_LEN, Family, Headers, IPV4_LEN, IPV6_LEN, Inherited, Parsed, number};
use lb_common::link::LinkHeader;
use lb_common::nat::flow::{self, Standing};
use lb_common::nat::rewrite::{Delta, Tuple, translate};
use lb_common::reply::{Reply, Says};
use lb_common::steer::{self, Tables as _};
use lb_common::{abi::nat::NatFlow, direct};

use super::{Maps, named};
use crate::dataplane::{DataplaneError, Lookup};

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What the program does with it.
    pub action: Action,
    /// What it is counted under. Answers are taken to be within their rates, and services within their limits.
    pub reason: Reason,
    /// Why it is answered in the server's place, as it would be counted were there no answer.
    pub because: Option<Reason>,
    /// The server it goes to, or would go to.
    pub chosen: Option<Chosen>,
    /// What leaves instead of it; `None` of a packet that is passed or dropped.
    pub leaves: Option<Leaves>,
}

/// What the program does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// On to a server, or back to a client.
    Forward,
    /// Up to this machine's own stack, untouched.
    Pass,
    /// Not further.
    Drop,
    /// Answered in the server's place.
    Answer,
}

/// A server, and why it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Index into `BACKENDS`.
    pub index: u32,
    /// What stands there.
    pub backend: BackendEntry,
    /// The port that it gets the packet on: behind a range the one that the client asked for.
    pub port: u16,
    /// A sentence for people.
    pub why: &'static str,
    /// Number and content of the slot, where the packet's hash chose the server.
    pub slot: Option<(u32, Slot)>,
    /// Source of the outer header, where there is one.
    pub outer_source: Option<IpAddr>,
    /// Source and destination that the packet gets, where it is translated.
    pub rewritten: Option<String>,
}

/// A frame that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Bytes that are decided only when it is sent, and 0 here: of a translated flow that is not open yet its source
    /// address and port, and the checksums over them.
    pub open: Vec<Range<usize>>,
}

/// What the program makes of a frame that comes in on one of these interfaces; on any, where none is given. `None` of
/// what is no whole TCP or UDP packet.
///
/// # Errors
/// [`DataplaneError`] when a map cannot be read.
pub fn made(maps: &dyn Lookup, ingress: &[u32], frame: &[u8]) -> Result<Option<Made>, DataplaneError> {
    let Ok(Parsed::Flow(headers)) = headers::parse(frame) else { return Ok(None) };
    let maps = Maps::new(maps);
    let made = Packet { maps: &maps, ingress, frame, headers }.judge();
    maps.finish(Some(made))
}

struct Packet<'a> {
    maps: &'a Maps<'a>,
    ingress: &'a [u32],
    frame: &'a [u8],
    headers: Headers,
}

impl Packet<'_> {
    fn judge(&self) -> Made {
        match self.service() {
            Some(service) => self.served(&service),
            None => self.unclaimed(),
        }
    }

    fn served(&self, service: &ServiceEntry) -> Made {
        if let Err(reason) = self.admitted(service) {
            return Made::drop(reason);
        }
        let Some(config) = self.maps.config() else { return Made::drop(Reason::NoBackend) };
        let hash = FlowHash::of(&self.headers, service.flags, config.hash_key);
        if service.flags & flags::L2 != 0 {
            self.relinked(service, hash)
        } else if service.flags & flags::NAT != 0 {
            self.to_server(service, &config, hash)
        } else {
            self.tunnelled(service, &config, hash)
        }
    }

    fn service(&self) -> Option<ServiceEntry> {
        self.maps.service(&self.headers.service_key()).filter(|_| !self.is_disguised())
    }

    /// An IPv6 packet to a mapped address: the maps write IPv4 addresses so, but it is none of theirs.
    fn is_disguised(&self) -> bool {
        self.headers.family == Family::V6 && ip_of(self.headers.destination.address()).is_ipv4()
    }

    /// What stands between the service and its servers, without the limits: they depend on other packets.
    fn admitted(&self, service: &ServiceEntry) -> Result<(), Reason> {
        if service.flags & flags::QUARANTINED != 0 {
            return Err(Reason::Quarantined);
        }
        if service.flags & flags::ACL == 0 {
            return Ok(());
        }
        let list = self.maps.protection(service.id).acl;
        match self.maps.acl(list, self.headers.source.address()) {
            Some(protection::acl::DENY) => Err(Reason::AclDenied),
            _ => Ok(()),
        }
    }

    fn unclaimed(&self) -> Made {
        let destination = self.headers.destination.address();
        let translates = self.maps.config().is_some_and(|config| config.nat_v4.count | config.nat_v6.count != 0);
        if translates && self.maps.is_nat_source(&destination) {
            return self.to_client();
        }
        let range = self.maps.range(&self.headers.service_key()).filter(|_| !self.is_disguised());
        if let Some((_, service)) = range {
            return self.served(&service);
        }
        match self.maps.vip(&destination).filter(|_| !self.is_disguised()) {
            None => Made::pass(Reason::NoService),
            Some(vip) if vip.flags & vip::flags::QUARANTINED != 0 => Made::drop(Reason::Quarantined),
            Some(vip) => {
                let reply = Reply::closed(self.frame, &self.headers).filter(|_| vip.flags & vip::flags::REJECT != 0);
                self.answered(reply, Reason::ClosedRejected, Reason::ClosedDropped)
            }
        }
    }

    /// In a tunnel.
    fn tunnelled(&self, service: &ServiceEntry, config: &ConfigEntry, hash: FlowHash) -> Made {
        let chosen = match self.steered(service, hash) {
            Ok(decision) => self.chosen(service, decision),
            Err(reason) => return self.unsteered(service, reason),
        };
        // The program goes by the service.
        let is_gue = service.flags & flags::GUE != 0;
        let backend = &BackendEntry { mode: if is_gue { mode::GUE } else { mode::IPIP }, ..chosen.backend };
        let Some(inherited) = Inherited::read(self.frame, &self.headers) else { return Made::drop(Reason::Malformed) };
        let admit = if is_gue { gue::admit } else { encapsulation::admit };
        let overhead = if is_gue { gue::overhead } else { encapsulation::outer_len };
        if let Err(reason) = admit(&self.headers, inherited.ttl, backend) {
            let largest = u32::from(backend.mtu).saturating_sub(overhead(backend) as u32);
            return self.refused(reason, largest, chosen);
        }
        match wrapped(self.frame, &self.headers, inherited, backend, hash, config) {
            Some(bytes) => {
                // UDP around the packet varies with the whole flow.
                let hash = if is_gue { FlowHash::of_flow(&self.headers, 0, config.hash_key) } else { hash };
                let outer_source = Some(ip_of(encapsulation::outer_source(config, backend, hash)));
                self.sent(Chosen { outer_source, ..chosen }, Leaves { bytes, open: Vec::new() })
            }
            None => Made { chosen: Some(chosen), ..Made::drop(Reason::NoHeadroom) },
        }
    }

    /// As it is, behind another link header.
    fn relinked(&self, service: &ServiceEntry, hash: FlowHash) -> Made {
        let chosen = match self.steered(service, hash) {
            Ok(decision) => self.chosen(service, decision),
            Err(reason) => return self.unsteered(service, reason),
        };
        if let Err(reason) = direct::admit(&self.headers, &chosen.backend) {
            return self.refused(reason, u32::from(chosen.backend.mtu), chosen);
        }
        match relink(self.frame, &self.headers, LinkHeader::to(&chosen.backend)) {
            Some(bytes) => self.sent(chosen, Leaves { bytes, open: Vec::new() }),
            None => Made { chosen: Some(chosen), ..Made::drop(Reason::NoHeadroom) },
        }
    }

    /// Translated, towards the server.
    fn to_server(&self, service: &ServiceEntry, config: &ConfigEntry, hash: FlowHash) -> Made {
        let headers = &self.headers;
        let Some(inherited) = Inherited::read(self.frame, headers) else { return Made::drop(Reason::Malformed) };
        let named = named::named(self.maps, service, self.frame, headers);
        let via = named.map_or(0, |decision| named::via(self.maps, headers, decision.index));
        let known = self.maps.nat_flow(headers, via).and_then(|(flow, now)| {
            let backend = self.maps.backend(flow.backend)?;
            Some((flow, backend, now))
        });
        let standing = match &known {
            Some((flow, backend, now)) => Standing::of(headers, flow, backend, *now),
            None => Standing::without_flow(headers),
        };
        let follows = known.filter(|_| standing == Standing::Follows);
        let chosen = match (standing, &follows) {
            (_, Some((flow, backend, _))) => Chosen::of_flow(flow, *backend),
            (Standing::Unknown, _) => {
                let reply = Reply::to(self.frame, headers, service.flags);
                return self.answered(reply, Reason::Rejected, Reason::NatUnknownFlow);
            }
            _ => match named.map_or_else(|| steer::owner(self.maps, service, hash), Ok) {
                Ok(decision) => self.chosen(service, decision),
                Err(reason) => return self.unsteered(service, reason),
            },
        };
        match flow::admit(headers, inherited.ttl as u8, &chosen.backend) {
            Ok(()) => {}
            Err(Reason::TtlExceeded) => return Made { chosen: Some(chosen), ..self.time_exceeded() },
            Err(reason) => return self.refused(reason, u32::from(chosen.backend.mtu), chosen),
        }
        let server = SocketAddr::new(ip_of(chosen.backend.address), chosen.port);
        let (source, to, delta) = match &follows {
            Some((flow, backend, _)) => {
                let source = SocketAddr::new(ip_of(flow.source), u16::from_be_bytes(flow.ports[0]));
                (source.to_string(), flow.to_server(backend), flow.delta())
            }
            None => {
                let sources = match headers.family {
                    Family::V4 => config.nat_v4.count,
                    Family::V6 => config.nat_v6.count,
                };
                if sources == 0 {
                    return Made { chosen: Some(chosen), ..Made::drop(Reason::NatNoSource) };
                }
                let flow = NatFlow { ports: [[0; 2], chosen.port.to_be_bytes()], ..NatFlow::FREE };
                let to = flow.to_server(&chosen.backend);
                let source = format!("one of {sources} source addresses, any free port");
                (source, to, Delta::between(&Tuple::of(headers), &to))
            }
        };
        let chosen = Chosen { rewritten: Some(format!("{source} → {server}")), ..chosen };
        match self.translated(&to, delta, LinkHeader::to(&chosen.backend)) {
            Ok(mut bytes) => {
                let open = if follows.is_some() { Vec::new() } else { self.opened_later(&mut bytes) };
                self.sent(chosen, Leaves { bytes, open })
            }
            Err(reason) => Made { chosen: Some(chosen), ..Made::drop(reason) },
        }
    }

    /// Translated, back to the client.
    fn to_client(&self) -> Made {
        let port = u16::from_be((self.headers.ports >> 16) as u16);
        let flow = self.maps.nat_place(&self.headers.destination.address(), port);
        let Some(flow) = flow.filter(|flow| flow.is_from_server(&self.headers)) else {
            return Made::pass(Reason::NatNoFlow);
        };
        match Inherited::read(self.frame, &self.headers).map(|inherited| inherited.ttl) {
            None => return Made::drop(Reason::Malformed),
            Some(0 | 1) => return self.time_exceeded(),
            Some(_) => {}
        }
        match self.translated(&flow.to_client(), flow.delta().reversed(), LinkHeader(flow.link)) {
            Ok(bytes) => self.through(flow.ifindex, None, Leaves { bytes, open: Vec::new() }),
            Err(reason) => Made::drop(reason),
        }
    }

    fn translated(&self, to: &Tuple, delta: Delta, link: LinkHeader) -> Result<Vec<u8>, Reason> {
        let mut frame = self.frame.to_vec();
        translate(&mut *frame, &self.headers, to, delta).ok_or(Reason::Malformed)?;
        relink(&frame, &self.headers, link).ok_or(Reason::NoHeadroom)
    }

    /// Where the source of a flow that is not open yet stands in its packet, and what is summed up over it; set to 0.
    fn opened_later(&self, bytes: &mut [u8]) -> Vec<Range<usize>> {
        let moved = bytes.len() as isize - self.frame.len() as isize;
        let at = |offset: usize| (offset as isize + moved) as usize;
        let (ip, transport) = (at(self.headers.link_len), at(self.headers.transport));
        let source = match self.headers.family {
            Family::V4 => ip + 10..ip + 16,
            Family::V6 => ip + 8..ip + 24,
        };
        let mut open = vec![source, transport..transport + 2];
        let checksum = transport + if self.headers.protocol == number::TCP { 16 } else { 6 };
        // UDP without a checksum stays without one.
        if self.headers.protocol == number::TCP || bytes.get(checksum..checksum + 2) != Some(&[0, 0]) {
            open.push(checksum..checksum + 2);
        }
        for range in &open {
            if let Some(bytes) = bytes.get_mut(range.clone()) {
                bytes.fill(0);
            }
        }
        open
    }

    /// What is told of a server that was decided on.
    fn chosen(&self, service: &ServiceEntry, decision: steer::Decision<BackendEntry>) -> Chosen {
        let (index, backend, why) = (decision.index, decision.backend, decision.path.why());
        let is_range = service.flags & flags::RANGE != 0;
        let port = u16::from_be_bytes(if is_range { self.headers.service_key().port } else { backend.port });
        let slot = Some((decision.slot, decision.owner)).filter(|_| decision.path != steer::Path::ConnectionId);
        Chosen { index, backend, port, why, slot, outer_source: None, rewritten: None }
    }

    /// The server that the packet names, or that the service's table says.
    fn steered(&self, service: &ServiceEntry, hash: FlowHash) -> Result<steer::Decision<BackendEntry>, Reason> {
        let named = named::named(self.maps, service, self.frame, &self.headers);
        named.map_or_else(|| steer::steer(self.maps, service, &self.headers, hash), Ok)
    }

    /// No server was found.
    fn unsteered(&self, service: &ServiceEntry, reason: Reason) -> Made {
        if reason != Reason::EmptyPool {
            return Made::drop(reason);
        }
        self.answered(Reply::to(self.frame, &self.headers, service.flags), Reason::Rejected, reason)
    }

    /// The server cannot be sent this packet, or one larger than `largest`.
    fn refused(&self, reason: Reason, largest: u32, chosen: Chosen) -> Made {
        let made = if reason == Reason::TooBig { self.too_big(largest) } else { Made::drop(reason) };
        Made { chosen: Some(chosen), ..made }
    }

    fn too_big(&self, most: u32) -> Made {
        /// Smallest MTU of IPv6 (RFC 8200 §5): no path may ask for less.
        const LEAST_V6: u32 = 1280;
        let family = self.headers.family;
        let may_say = family == Family::V4 || most >= LEAST_V6;
        let reply = Reply::error(self.frame, &self.headers, Says::too_big(family, most)).filter(|_| may_say);
        self.answered(reply, Reason::TooBigAnswered, Reason::TooBig)
    }

    fn time_exceeded(&self) -> Made {
        let reply = Reply::error(self.frame, &self.headers, Says::time_exceeded(self.headers.family));
        self.answered(reply, Reason::TtlAnswered, Reason::TtlExceeded)
    }

    fn answered(&self, reply: Option<Reply>, sent: Reason, unanswered: Reason) -> Made {
        let Some(reply) = reply else { return Made::drop(unanswered) };
        let written = self.frame.get(..reply.keeps(&self.headers)).and_then(|kept| {
            let mut bytes = moved(kept, reply.growth(&self.headers) as isize)?;
            reply.write(&mut *bytes, &self.headers)?;
            Some(bytes)
        });
        match written {
            Some(bytes) => {
                let leaves = Some(Leaves { bytes, open: Vec::new() });
                Made { action: Action::Answer, reason: sent, because: Some(unanswered), chosen: None, leaves }
            }
            None => Made::drop(Reason::NoHeadroom),
        }
    }

    fn sent(&self, chosen: Chosen, leaves: Leaves) -> Made {
        self.through(chosen.backend.ifindex, Some(chosen), leaves)
    }

    fn through(&self, ifindex: u32, chosen: Option<Chosen>, leaves: Leaves) -> Made {
        let reason = if self.ingress.is_empty() || self.ingress.contains(&ifindex) {
            Reason::Transmitted
        } else if self.maps.has_egress(ifindex) {
            Reason::Redirected
        } else {
            return Made { chosen, ..Made::drop(Reason::EgressMissing) };
        };
        Made { action: Action::Forward, reason, because: None, chosen, leaves: Some(leaves) }
    }
}

impl Made {
    const fn pass(reason: Reason) -> Self {
        Self { action: Action::Pass, reason, because: None, chosen: None, leaves: None }
    }

    const fn drop(reason: Reason) -> Self {
        Self { action: Action::Drop, reason, because: None, chosen: None, leaves: None }
    }
}

impl Chosen {
    const fn of_flow(flow: &NatFlow, backend: BackendEntry) -> Self {
        let (index, port, why) = (flow.backend, u16::from_be_bytes(flow.ports[1]), "the flow's server");
        Self { index, backend, port, why, slot: None, outer_source: None, rewritten: None }
    }
}

/// The packet inside another to the backend, as its mode wants it. Every mode that puts something around a packet is
/// written here; `None` when the frame is shorter than its headers.
pub(crate) fn wrapped(
    frame: &[u8],
    headers: &Headers,
    inherited: Inherited,
    backend: &BackendEntry,
    hash: FlowHash,
    config: &ConfigEntry,
) -> Option<Vec<u8>> {
    use encapsulation::write;
    if backend.mode == mode::GUE {
        return wrapped_in_gue(frame, headers, inherited, backend, config);
    }
    let (outer, link) = (encapsulation::outer_len(backend), encapsulation::link_len(backend));
    let mut bytes = moved(frame, (link + outer) as isize - headers.link_len as isize)?;
    let into = &mut *bytes;
    match (outer, link) {
        (IPV4_LEN, ETHERNET_LEN) => write::<ETHERNET_LEN, IPV4_LEN, _>(into, headers, inherited, backend, hash, config),
        (IPV4_LEN, ONE_TAG) => write::<ONE_TAG, IPV4_LEN, _>(into, headers, inherited, backend, hash, config),
        (IPV4_LEN, _) => write::<TWO_TAGS, IPV4_LEN, _>(into, headers, inherited, backend, hash, config),
        (_, ETHERNET_LEN) => write::<ETHERNET_LEN, IPV6_LEN, _>(into, headers, inherited, backend, hash, config),
        (_, ONE_TAG) => write::<ONE_TAG, IPV6_LEN, _>(into, headers, inherited, backend, hash, config),
        _ => write::<TWO_TAGS, IPV6_LEN, _>(into, headers, inherited, backend, hash, config),
    }?;
    Some(bytes)
}

fn wrapped_in_gue(
    frame: &[u8],
    headers: &Headers,
    inherited: Inherited,
    backend: &BackendEntry,
    config: &ConfigEntry,
) -> Option<Vec<u8>> {
    use gue::{OUTER_V4, OUTER_V6, write};
    let hash = FlowHash::of_flow(headers, 0, config.hash_key);
    let (outer, link) = (gue::overhead(backend), encapsulation::link_len(backend));
    let mut bytes = moved(frame, (link + outer) as isize - headers.link_len as isize)?;
    let into = &mut *bytes;
    match (outer, link) {
        (OUTER_V4, ETHERNET_LEN) => write::<ETHERNET_LEN, OUTER_V4, _>(into, headers, inherited, backend, hash, config),
        (OUTER_V4, ONE_TAG) => write::<ONE_TAG, OUTER_V4, _>(into, headers, inherited, backend, hash, config),
        (OUTER_V4, _) => write::<TWO_TAGS, OUTER_V4, _>(into, headers, inherited, backend, hash, config),
        (_, ETHERNET_LEN) => write::<ETHERNET_LEN, OUTER_V6, _>(into, headers, inherited, backend, hash, config),
        (_, ONE_TAG) => write::<ONE_TAG, OUTER_V6, _>(into, headers, inherited, backend, hash, config),
        _ => write::<TWO_TAGS, OUTER_V6, _>(into, headers, inherited, backend, hash, config),
    }?;
    Some(bytes)
}

/// The packet behind another link header.
pub(crate) fn relink(frame: &[u8], headers: &Headers, link: LinkHeader) -> Option<Vec<u8>> {
    let mut bytes = moved(frame, link.bytes() as isize - headers.link_len as isize)?;
    let (into, ethertype) = (&mut *bytes, headers.family.ethertype());
    match link.bytes() {
        ETHERNET_LEN => link.write::<ETHERNET_LEN, _>(into, ethertype),
        ONE_TAG => link.write::<ONE_TAG, _>(into, ethertype),
        _ => link.write::<TWO_TAGS, _>(into, ethertype),
    }?;
    Some(bytes)
}

/// A frame that begins so many bytes earlier, or later.
fn moved(frame: &[u8], growth: isize) -> Option<Vec<u8>> {
    match usize::try_from(growth) {
        Ok(room) => Some([&vec![0; room], frame].concat()),
        Err(_) => frame.get(growth.unsigned_abs()..).map(<[u8]>::to_vec),
    }
}
