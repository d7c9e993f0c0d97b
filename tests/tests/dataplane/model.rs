//! What the load balancer should do, written a second time and as plainly as possible: from bytes to bytes.
//!
//! Nothing here comes from `lb-common` but the types that stand in the maps and the names of the reasons.

use std::collections::BTreeMap;

use lb_common::abi::{
    AclKey, BackendEntry, BackendStats, ConfigEntry, FlowEntry, FlowKey, ProtectionEntry, QuicKey, Reason,
    ServiceEntry, ServiceKey, ServiceStats, Slot,
};

use crate::edge::{DROP, INGRESS, OTHER_INTERFACE, Outcome, PASS, REDIRECT, TX};
use crate::packets::{V4, V6, checksum, transport_checksum};

pub mod edges;
pub mod nat;
pub mod protection;
pub mod quic;

/// The maps, and what was counted.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub config: Option<ConfigEntry>,
    pub services: BTreeMap<ServiceKey, ServiceEntry>,
    /// Ranges of ports: address, protocol, first and last port.
    pub ranges: Vec<([u8; 16], u8, u16, u16)>,
    /// Addresses of ours: flags.
    pub vips: BTreeMap<[u8; 16], u32>,
    /// What first pieces said, by source, destination, identification and (of IPv4) protocol: ports and protocol.
    pub pieces: BTreeMap<edges::Piece, ([u8; 4], u8)>,
    pub slots: BTreeMap<u32, Slot>,
    pub backends: BTreeMap<u32, BackendEntry>,
    pub opened: BTreeMap<FlowKey, FlowEntry>,
    pub pinned: BTreeMap<FlowKey, FlowEntry>,
    pub translated: BTreeMap<FlowKey, nat::Flow>,
    /// Those that gave way to another of their tuple: their servers' answers find their place until it is given away.
    pub left: Vec<(FlowKey, nat::Flow)>,
    /// The servers that connection ids name.
    pub quic: BTreeMap<QuicKey, FlowEntry>,
    pub acl: BTreeMap<AclKey, u32>,
    pub protection: BTreeMap<u32, ProtectionEntry>,
    pub taken: BTreeMap<protection::Bucket, u32>,
    pub verdicts: BTreeMap<Reason, u64>,
    pub service_stats: BTreeMap<u32, ServiceStats>,
    pub backend_stats: BTreeMap<u32, BackendStats>,
}

/// XDP's action, the reason, and the frame if it is another than before.
type Judged = (u32, Reason, Option<Vec<u8>>);

/// What is behind the IP headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flow,
    Icmp,
    Piece,
    Other,
    Broken,
}

/// A packet taken apart.
#[derive(Clone, Copy)]
struct Packet<'a> {
    kind: Kind,
    /// Identification of a packet in pieces, as it stands in it.
    fragment: Option<[u8; 4]>,
    link: &'a [u8],
    /// The IP packet, without what follows it in the frame.
    ip: &'a [u8],
    v6: bool,
    source: [u8; 16],
    destination: [u8; 16],
    protocol: u8,
    transport: &'a [u8],
}

impl Model {
    /// What becomes of a frame. The source port of a new translated flow is taken from what the program made of it.
    pub fn run(&mut self, frame: &[u8], made: &Outcome) -> Outcome {
        let (action, reason, bytes) = self.judge(frame, made);
        *self.verdicts.entry(reason).or_default() += 1;
        Outcome { action, bytes: bytes.unwrap_or_else(|| frame.to_vec()) }
    }

    fn judge(&mut self, frame: &[u8], made: &Outcome) -> Judged {
        let packet = match take_apart(frame) {
            Ok(packet) => packet,
            Err(reason) => return (PASS, reason, None),
        };
        match packet.kind {
            Kind::Flow if packet.fragment.is_none() => {
                let is_disguised = packet.v6 && packet.destination[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
                match self.services.get(&packet.service_key()).copied().filter(|_| !is_disguised) {
                    Some(service) => self.serve(&packet, &service, made),
                    None => match nat::back(self, &packet) {
                        (PASS, Reason::NoService, _) => match self.range_of(&packet).filter(|_| !is_disguised) {
                            Some(service) => self.serve(&packet, &service, made),
                            None => edges::judge(self, &packet, made),
                        },
                        judged => judged,
                    },
                }
            }
            _ => edges::judge(self, &packet, made),
        }
    }

    /// The service of the range that a packet's port is in.
    fn range_of(&self, packet: &Packet<'_>) -> Option<ServiceEntry> {
        let port = u16::from_be_bytes([packet.transport[2], packet.transport[3]]);
        let (_, _, first, _) = self.ranges.iter().find(|(address, protocol, first, last)| {
            (*address, *protocol) == (packet.destination, packet.protocol) && (*first..=*last).contains(&port)
        })?;
        self.services.get(&ServiceKey { port: first.to_be_bytes(), kind: 1, ..packet.service_key() }).copied()
    }

    /// The service of a packet to an address of ours.
    fn service_of(&self, packet: &Packet<'_>) -> Option<ServiceEntry> {
        self.services.get(&packet.service_key()).copied().or_else(|| self.range_of(packet))
    }

    /// A packet with ports to a service.
    fn serve(&mut self, packet: &Packet<'_>, service: &ServiceEntry, made: &Outcome) -> Judged {
        let frame = packet.link;
        let stats = self.service_stats.entry(service.id).or_default();
        stats.packets += 1;
        stats.bytes += frame.len() as u64;
        stats.opened += u64::from(packet.opens());
        if let Some((position, reason)) = protection::refusal(self, packet, service) {
            self.service_stats.entry(service.id).or_default().refused[position] += 1;
            return (DROP, reason, None);
        }
        let named = quic::named(self, packet, service);
        if service.flags & 4 != 0 {
            return nat::forward(self, packet, service, made, named);
        }
        if service.slots_len == 0 && named.is_none() {
            let answer = (service.flags & 1 != 0).then(|| packet.answer()).flatten();
            return answer.map_or((DROP, Reason::EmptyPool, None), |bytes| (TX, Reason::Rejected, Some(bytes)));
        }
        let hash = packet.hash(self.config.unwrap().hash_key, service.flags);
        let chosen = match named {
            Some(index) => Some((index, self.backends[&index])),
            None => self.choose(packet, service, hash),
        };
        let Some((index, backend)) = chosen else {
            return (DROP, Reason::NoBackend, None);
        };
        match self.made(packet, service, &backend, hash) {
            Err(Reason::TooBig) => {
                let outer = match backend.state & 4 {
                    _ if service.flags & 8 != 0 => 0,
                    0 => 40,
                    _ => 20,
                } + if service.flags & 16 != 0 { 12 } else { 0 };
                edges::too_big(packet, u32::from(backend.mtu).saturating_sub(outer))
            }
            Err(reason) => (DROP, reason, None),
            Ok(bytes) => {
                let stats = self.backend_stats.entry(index).or_default();
                stats.packets += 1;
                stats.bytes += frame.len() as u64;
                match backend.ifindex {
                    INGRESS => (TX, Reason::Transmitted, Some(bytes)),
                    OTHER_INTERFACE => (REDIRECT, Reason::Redirected, Some(bytes)),
                    _ => (DROP, Reason::EgressMissing, Some(bytes)),
                }
            }
        }
    }

    fn choose(&mut self, packet: &Packet<'_>, service: &ServiceEntry, hash: u64) -> Option<(u32, BackendEntry)> {
        let slot_of = |len: u32| ((u128::from(hash >> 32) * u128::from(len)) >> 32) as u32;
        let used = |index: u32| self.backends.get(&index).copied().filter(|entry| entry.identity != 0);
        let up = |index: u32| used(index).filter(|entry| entry.state & 1 != 0);
        let slot = *self.slots.get(&(service.slots_offset + slot_of(service.slots_len)))?;
        let owner = slot.0 & 0x00ff_ffff;
        let (moving, exceptions) = (slot.0 & 1 << 31 != 0, slot.0 & 1 << 30 != 0);
        if moving || exceptions {
            let key = packet.flow_key();
            let live = |table: &BTreeMap<FlowKey, FlowEntry>| {
                let entry = *table.get(&key)?;
                let backend = up(entry.backend).filter(|backend| backend.generation == entry.generation)?;
                Some((entry, backend))
            };
            if let Some((entry, backend)) = live(&self.pinned) {
                return Some((entry.backend, backend));
            }
            if let Some((entry, backend)) = live(&self.opened) {
                if moving && !packet.opens() {
                    self.pinned.insert(key, entry);
                }
                return Some((entry.backend, backend));
            }
            if moving && packet.protocol == 6 && !packet.opens() && service.previous_len > 0 {
                let before = self.slots.get(&(service.previous_offset + slot_of(service.previous_len)));
                if let Some(index) = before.map(|slot| slot.0 & 0x00ff_ffff)
                    && let Some(backend) = up(index)
                {
                    self.pinned.insert(key, FlowEntry::naming(index, backend.generation));
                    return Some((index, backend));
                }
            }
            let backend = used(owner)?;
            if moving && packet.protocol == 6 && packet.opens() {
                self.opened.insert(key, FlowEntry::naming(owner, backend.generation));
            }
            return Some((owner, backend));
        }
        Some((owner, used(owner)?))
    }

    /// The packet as it leaves.
    fn made(
        &self,
        packet: &Packet<'_>,
        service: &ServiceEntry,
        backend: &BackendEntry,
        hash: u64,
    ) -> Result<Vec<u8>, Reason> {
        match service.flags & 24 {
            0 => self.wrap(packet, backend, hash, &[]),
            16 => {
                // Varies with the whole flow, whatever the server is picked by.
                let hash = packet.hash(self.config.unwrap().hash_key, 0);
                let port = 0xc000 | (hash >> 16) as u16 & 0x3fff;
                let len = packet.ip.len() as u16 + 12;
                let udp = [port, 6080, len, 0].map(u16::to_be_bytes).concat();
                let gue = [0, if packet.v6 { 41 } else { 4 }, 0, 0];
                self.wrap(packet, backend, hash, &[&udp[..], &gue].concat())
            }
            _ => relink(packet, backend),
        }
    }

    /// In an IP header, with `shim` between it and the packet.
    fn wrap(&self, packet: &Packet<'_>, backend: &BackendEntry, hash: u64, shim: &[u8]) -> Result<Vec<u8>, Reason> {
        let config = self.config.unwrap();
        let (ip, hops) = (packet.ip, packet.ip[if packet.v6 { 7 } else { 8 }]);
        if backend.state & 2 == 0 {
            return Err(Reason::NextHopUnresolved);
        }
        if hops == 0 {
            return Err(Reason::TtlExceeded);
        }
        let outer_v4 = backend.state & 4 != 0;
        if ip.len() + shim.len() + if outer_v4 { 20 } else { 40 } > usize::from(backend.mtu) {
            return Err(Reason::TooBig);
        }
        let class = if packet.v6 { ip[0] << 4 | ip[1] >> 4 } else { ip[1] };
        let protocol = match (shim, packet.v6) {
            ([], true) => 41,
            ([], false) => 4,
            _ => 17,
        };
        let len = shim.len() + ip.len();
        let mut bytes = link_to(backend);
        if outer_v4 {
            let mut source = config.outer_source_v4;
            source[2..].copy_from_slice(&hash.to_le_bytes()[..2]);
            let header = V4 {
                source,
                destination: backend.address[12..].try_into().unwrap(),
                tos: class,
                ttl: 64,
                id: if packet.v6 { 0 } else { u16::from_be_bytes([ip[4], ip[5]]) },
                fragment: if packet.v6 { 0x4000 } else { u16::from_be_bytes([ip[6] & 0x40, 0]) },
                options: Vec::new(),
            };
            bytes.extend([0x08, 0x00]);
            bytes.extend(header.header(protocol, len));
        } else {
            let mut source = config.outer_source_v6;
            source[8..].copy_from_slice(&hash.to_le_bytes());
            let mut header = V6 { source, destination: backend.address, class, hops: 64 }.header(protocol, len);
            let label = ((hash >> 32) as u32 & 0x000f_ffff).to_be_bytes();
            header[1] |= label[1];
            header[2..4].copy_from_slice(&label[2..]);
            bytes.extend([0x86, 0xdd]);
            bytes.extend(header);
        }
        bytes.extend(shim);
        bytes.extend(ip);
        // What followed the IP packet in the frame still does.
        bytes.extend(packet.trailer());
        Ok(bytes)
    }
}

/// The packet as it is, behind the server's link header.
fn relink(packet: &Packet<'_>, backend: &BackendEntry) -> Result<Vec<u8>, Reason> {
    if backend.state & 2 == 0 {
        return Err(Reason::NextHopUnresolved);
    }
    if packet.ip.len() > usize::from(backend.mtu) {
        return Err(Reason::TooBig);
    }
    let ethertype: &[u8] = if packet.v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] };
    Ok([&link_to(backend), ethertype, packet.ip, packet.trailer()].concat())
}

impl<'a> Packet<'a> {
    fn trailer(&self) -> &'a [u8] {
        // `link` and `ip` are slices of one frame; the rest of it is kept behind the link slice.
        &self.link[self.link_len() + self.ip.len()..]
    }

    fn link_len(&self) -> usize {
        let mut at = 12;
        while matches!((self.link[at], self.link[at + 1]), (0x81 | 0x91, 0x00) | (0x88, 0xa8)) {
            at += 4;
        }
        at + 2
    }

    fn service_key(&self) -> ServiceKey {
        let port = [self.transport[2], self.transport[3]];
        ServiceKey { address: self.destination, port, protocol: self.protocol, kind: 0, pad: [0; 4] }
    }

    fn flow_key(&self) -> FlowKey {
        FlowKey {
            source: self.source,
            destination: self.destination,
            source_port: [self.transport[0], self.transport[1]],
            destination_port: [self.transport[2], self.transport[3]],
            protocol: self.protocol,
            via: [0; 3],
        }
    }

    fn opens(&self) -> bool {
        self.protocol == 6 && self.transport[13] & 0x12 == 0x02
    }

    /// The formula of the documentation: NH over blocks of four words, SplitMix64's finalizer behind each.
    fn hash(&self, key: [u64; 2], service_flags: u32) -> u64 {
        let source_only = service_flags & 2 != 0;
        let ports = word(self.transport);
        let last = [ports, u32::from(self.protocol), 0, 0];
        let quad = |address: &[u8; 16]| [0, 4, 8, 12].map(|at| word(&address[at..]));
        let (source, destination) = (quad(&self.source), quad(&self.destination));
        let blocks = match (self.v6, source_only) {
            (false, true) => vec![[source[3], 0, 0, 0]],
            (false, false) => vec![[source[3], destination[3], last[0], last[1]]],
            (true, true) => {
                let kept = u128::MAX << (service_flags >> 16 & 0x7f);
                vec![quad(&(u128::from_be_bytes(self.source) & kept).to_be_bytes())]
            }
            (true, false) => vec![source, destination, last],
        };
        let keys = [key[0] as u32, (key[0] >> 32) as u32, key[1] as u32, (key[1] >> 32) as u32];
        blocks.into_iter().fold(0, |state, block| {
            let term = |n: usize| u128::from(block[n].wrapping_add(keys[n]));
            let sum = u128::from(state) + term(0) * term(1) + term(2) * term(3);
            finalize(sum as u64)
        })
    }

    /// RST or port unreachable, whole frame.
    fn answer(&self) -> Option<Vec<u8>> {
        let host = match (self.v6, self.source) {
            (false, s) => s[12] != 0 && s[12] != 127 && s[12] < 224,
            (true, s) => s[0] != 0xff && s[..15] != [0; 15] || s[..15] == [0; 15] && s[15] > 1,
        };
        if !host || self.link[0] & 1 != 0 {
            return None;
        }
        let (payload, protocol) = if self.protocol == 6 { (self.reset()?, 6) } else { self.unreachable() };
        let ip = if self.v6 {
            V6 { source: self.destination, destination: self.source, class: 0, hops: 64 }
                .header(protocol, payload.len())
        } else {
            let v4 = |address: [u8; 16]| address[12..].try_into().unwrap();
            V4 {
                source: v4(self.destination),
                destination: v4(self.source),
                tos: 0,
                ttl: 64,
                id: 0,
                fragment: 0x4000,
                options: Vec::new(),
            }
            .header(protocol, payload.len())
        };
        let link = &self.link[..self.link_len()];
        Some([&link[6..12], &link[..6], &link[12..], &ip, &payload].concat())
    }

    fn pseudo(&self) -> Vec<u8> {
        let from = if self.v6 { 0 } else { 12 };
        [&self.destination[from..], &self.source[from..]].concat()
    }

    fn reset(&self) -> Option<Vec<u8>> {
        let tcp = self.transport;
        let flags = tcp[13];
        if flags & 4 != 0 {
            return None;
        }
        let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        let (seq, ack, answer) = if flags & 0x10 != 0 {
            (number(8), 0, 0x04)
        } else {
            let header = usize::from(tcp[12] >> 4) * 4;
            if header < 20 || header > tcp.len() {
                return None;
            }
            let len = tcp.len() - header + usize::from(flags & 2 != 0) + usize::from(flags & 1 != 0);
            (0, number(4).wrapping_add(len as u32), 0x14)
        };
        let mut segment = [&tcp[2..4], &tcp[0..2], &seq.to_be_bytes(), &ack.to_be_bytes()].concat();
        segment.extend([0x50, answer, 0, 0, 0, 0, 0, 0]);
        let sum = transport_checksum(&self.pseudo(), 6, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        Some(segment)
    }

    fn unreachable(&self) -> (Vec<u8>, u8) {
        let most = if self.v6 { 1280 - 48 } else { 576 - 28 };
        let quote = &self.ip[..self.ip.len().min(most)];
        let mut message = if self.v6 { vec![1, 4] } else { vec![3, 3] };
        message.extend([0; 6]);
        message.extend(quote);
        let sum = if self.v6 { transport_checksum(&self.pseudo(), 58, &message) } else { checksum(&message) };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        (message, if self.v6 { 58 } else { 1 })
    }
}

/// MACs and tags towards a backend.
fn link_to(backend: &BackendEntry) -> Vec<u8> {
    let mut bytes = [backend.next_hop_mac, backend.source_mac].concat();
    match (backend.vlan_outer, backend.vlan_inner) {
        ([0, 0], _) => {}
        (outer, [0, 0]) => bytes.extend([[0x81, 0x00], outer].concat()),
        (outer, inner) => bytes.extend([[0x88, 0xa8], outer, [0x81, 0x00], inner].concat()),
    }
    bytes
}

/// From a frame to its parts, or why the kernel gets it.
fn take_apart(frame: &[u8]) -> Result<Packet<'_>, Reason> {
    let ethertype =
        |at: usize| frame.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]])).ok_or(Reason::Malformed);
    let tag = |ethertype: u16| [0x8100, 0x88a8, 0x9100].contains(&ethertype);
    let mut at = 12;
    while tag(ethertype(at)?) {
        at += 4;
        if at > 20 {
            return Err(Reason::VlanDepth);
        }
    }
    let v6 = match ethertype(at)? {
        0x0800 => false,
        0x86dd => true,
        _ => return Err(Reason::NotIp),
    };
    let rest = &frame[at + 2..];
    let need = if v6 { 40 } else { 20 };
    if rest.len() < need || rest[0] >> 4 != if v6 { 6 } else { 4 } {
        return Err(Reason::Malformed);
    }
    let (header, len) = if v6 {
        (40, 40 + usize::from(u16::from_be_bytes([rest[4], rest[5]])))
    } else {
        (usize::from(rest[0] & 15) * 4, usize::from(u16::from_be_bytes([rest[2], rest[3]])))
    };
    if header < need || len < header || len > rest.len() {
        return Err(Reason::Malformed);
    }
    let ip = &rest[..len];
    let mut end = Headers { protocol: rest[if v6 { 6 } else { 9 }], transport: header, fragment: None, is_first: true };
    let mut is_broken = false;
    if v6 {
        is_broken = end.walk(ip, frame, at + 2).is_none();
    } else if u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 {
        end.fragment = Some([ip[4], ip[5], 0, 0]);
        end.is_first = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff == 0;
    }
    let Headers { protocol, transport, fragment, is_first } = end;
    let transport = ip.get(transport..).unwrap_or(&[]);
    let is_short = |least: usize| transport.len() < least;
    let kind = match protocol {
        _ if is_broken => Kind::Broken,
        _ if !is_first => Kind::Piece,
        6 if is_short(20) => Kind::Broken,
        17 if is_short(8) => Kind::Broken,
        6 | 17 => Kind::Flow,
        1 if !v6 => Kind::Icmp,
        58 if v6 => Kind::Icmp,
        _ => Kind::Other,
    };
    let address = |at: usize| {
        let mut address = [0; 16];
        if v6 {
            address.copy_from_slice(&ip[8 + at * 16..24 + at * 16]);
        } else {
            address[10..12].fill(0xff);
            address[12..].copy_from_slice(&ip[12 + at * 4..16 + at * 4]);
        }
        address
    };
    Ok(Packet { kind, fragment, link: frame, ip, v6, source: address(0), destination: address(1), protocol, transport })
}

/// Where the IP headers end.
struct Headers {
    protocol: u8,
    transport: usize,
    fragment: Option<[u8; 4]>,
    is_first: bool,
}

impl Headers {
    /// Walks IPv6 extension headers: at most eight, within the frame, the transport within its first 512 bytes. `None`
    /// when they do not end so.
    fn walk(&mut self, ip: &[u8], frame: &[u8], link: usize) -> Option<()> {
        let _ = ip;
        for walked in 0.. {
            if ![0, 43, 44, 51, 60, 135, 139, 140].contains(&self.protocol) || !self.is_first {
                return Some(());
            }
            if walked == 8 {
                return None;
            }
            // What is behind the IP packet may be read here, as the program does; the packet is then broken all the same.
            let header: [u8; 8] = frame.get(link + self.transport..)?.get(..8)?.try_into().ok()?;
            let bytes = match self.protocol {
                44 => {
                    let field = u16::from_be_bytes([header[2], header[3]]);
                    if field & 0xfff9 != 0 {
                        self.fragment = Some(header[4..].try_into().ok()?);
                    }
                    self.is_first = field >> 3 == 0;
                    8
                }
                51 => (usize::from(header[1]) + 2) * 4,
                _ => (usize::from(header[1]) + 1) * 8,
            };
            self.protocol = header[0];
            self.transport += bytes;
            if link + self.transport > 511 {
                return None;
            }
        }
        None
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

fn finalize(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
