//! The model's network address translation: flows in plain maps, packets rewritten field by field.

use lb_common::abi::{BackendEntry, Reason, ServiceEntry};

use super::{Judged, Model, Packet, edges, link_to, quic};
use crate::edge::{DROP, INGRESS, NAT_SOURCES, OTHER_INTERFACE, Outcome, PASS, REDIRECT, TX};
use crate::packets::{checksum, transport_checksum};

/// A translated flow.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Our address and port.
    pub source: ([u8; 16], [u8; 2]),
    /// The server's address and port.
    pub server: ([u8; 16], [u8; 2]),
    pub(super) backend: u32,
    generation: u32,
    /// MACs and tags of the client's last packet, turned around.
    link: Vec<u8>,
    fins: [bool; 2],
    reset: bool,
}

/// A client's packet to a translated service.
pub(super) fn forward(
    model: &mut Model,
    packet: &Packet<'_>,
    service: &ServiceEntry,
    made: &Outcome,
    named: Option<u32>,
) -> Judged {
    let is_tcp = packet.protocol == 6;
    let key = quic::flow_key(model, packet, named);
    let known = model.translated.get(&key).filter(|flow| is_live(model, flow));
    let has_ended = known.is_some_and(Flow::has_ended);
    let index = match known {
        Some(flow) if !(is_tcp && packet.opens() && has_ended) => flow.backend,
        None if is_tcp && !packet.opens() => return refused(packet, service, Reason::NatUnknownFlow),
        _ if named.is_some() => named.unwrap(),
        _ if service.slots_len == 0 => return refused(packet, service, Reason::EmptyPool),
        _ => {
            let hash = packet.hash(model.config.unwrap().hash_key, service.flags);
            let slot = ((u128::from(hash >> 32) * u128::from(service.slots_len)) >> 32) as u32;
            let Some(slot) = model.slots.get(&(service.slots_offset + slot)) else {
                return (DROP, Reason::NoBackend, None);
            };
            slot.0 & 0x00ff_ffff
        }
    };
    let is_new = known.is_none() || (is_tcp && packet.opens() && has_ended);
    let Some(backend) = model.backends.get(&index).copied().filter(|entry| entry.identity != 0) else {
        return (DROP, Reason::NoBackend, None);
    };
    match admit(packet, &backend) {
        Ok(()) => {}
        Err(Reason::TooBig) => return edges::too_big(packet, u32::from(backend.mtu)),
        Err(Reason::TtlExceeded) => return edges::time_exceeded(packet),
        Err(reason) => return (DROP, reason, None),
    }
    if is_new {
        let flow = opened(model, packet, made, index, &backend, port_of(packet, service, &backend));
        let place = flow.source;
        let before = model.translated.insert(key, flow);
        model.left.extend(before.map(|flow| (key, flow)));
        // Whoever had the place that was given has it no more, the tuple's own flow before included.
        model.left.retain(|(_, left)| left.source != place);
    }
    let flow = model.translated.get_mut(&key).unwrap();
    flow.link = turned(packet);
    flow.note(packet, 0);
    let (source, server) = (flow.source, flow.server);
    let stats = model.backend_stats.entry(index).or_default();
    stats.packets += 1;
    stats.bytes += packet.link.len() as u64;
    let bytes = rewritten(packet, &link_to(&backend), source, server);
    match backend.ifindex {
        INGRESS => (TX, Reason::Transmitted, Some(bytes)),
        OTHER_INTERFACE => (REDIRECT, Reason::Redirected, Some(bytes)),
        _ => (DROP, Reason::EgressMissing, Some(bytes)),
    }
}

/// A packet that no service has.
pub(super) fn back(model: &mut Model, packet: &Packet<'_>) -> Judged {
    if !NAT_SOURCES.contains(&packet.destination) {
        return (PASS, Reason::NoService, None);
    }
    let to = (packet.destination, [packet.transport[2], packet.transport[3]]);
    let from = (packet.source, [packet.transport[0], packet.transport[1]]);
    let left = model.left.iter_mut().map(|(key, flow)| (&*key, flow));
    let found = model
        .translated
        .iter_mut()
        .chain(left)
        .find(|(key, flow)| (flow.source, flow.server, key.protocol) == (to, from, packet.protocol));
    let Some((key, flow)) = found else { return (PASS, Reason::NatNoFlow, None) };
    if packet.ttl() <= 1 {
        return edges::time_exceeded(packet);
    }
    flow.note(packet, 1);
    let (vip, client) = ((key.destination, key.destination_port), (key.source, key.source_port));
    (TX, Reason::Transmitted, Some(rewritten(packet, &flow.link, vip, client)))
}

/// Where a piece or an error of a flow goes: the ends its packets get, the link header and the interface.
pub(super) struct Way {
    from: ([u8; 16], [u8; 2]),
    to: ([u8; 16], [u8; 2]),
    link: Vec<u8>,
    pub(super) ifindex: u32,
}

/// To the server of a client's flow; with the index of its backend.
pub(super) fn way_there(model: &Model, packet: &Packet<'_>) -> Option<Result<(Way, u32), Reason>> {
    let flow = model.translated.get(&packet.flow_key()).filter(|flow| is_live(model, flow))?;
    let backend = model.backends.get(&flow.backend)?;
    if let Err(reason) = admit(packet, backend) {
        return Some(Err(reason));
    }
    let way = Way { from: flow.source, to: flow.server, link: link_to(backend), ifindex: backend.ifindex };
    Some(Ok((way, flow.backend)))
}

/// To the client of a server's flow.
pub(super) fn way_back(model: &Model, packet: &Packet<'_>) -> Option<Way> {
    let to = (packet.destination, [packet.transport[2], packet.transport[3]]);
    let from = (packet.source, [packet.transport[0], packet.transport[1]]);
    let left = model.left.iter().map(|(key, flow)| (key, flow));
    let (key, flow) = model
        .translated
        .iter()
        .chain(left)
        .find(|(key, flow)| (flow.source, flow.server, key.protocol) == (to, from, packet.protocol))?;
    let (vip, client) = ((key.destination, key.destination_port), (key.source, key.source_port));
    Some(Way { from: vip, to: client, link: flow.link.clone(), ifindex: INGRESS })
}

/// A piece without transport header between other ends, one hop older.
pub(super) fn piece(packet: &Packet<'_>, way: &Way) -> Vec<u8> {
    let mut ip = packet.ip.to_vec();
    readdress(&mut ip, packet, way);
    framed(packet, way, &ip)
}

/// An error between other ends, and what it quotes with them.
pub(super) fn error(packet: &Packet<'_>, quote: &edges::Quote, way: &Way) -> Vec<u8> {
    let mut ip = packet.ip.to_vec();
    let link = packet.link_len();
    let (inner, transport) = (quote.ip - link, quote.transport - link);
    // The quoted packet went the other way.
    let (before, is_tcp) = (ip.clone(), quote.is_tcp());
    if packet.v6 {
        ip[inner + 8..inner + 24].copy_from_slice(&way.to.0);
        ip[inner + 24..inner + 40].copy_from_slice(&way.from.0);
    } else {
        ip[inner + 12..inner + 16].copy_from_slice(&way.to.0[12..]);
        ip[inner + 16..inner + 20].copy_from_slice(&way.from.0[12..]);
        let field = carried(
            &before[inner + 10..inner + 12],
            checksum(&before[inner + 12..inner + 20]),
            checksum(&ip[inner + 12..inner + 20]),
        );
        ip[inner + 10..inner + 12].copy_from_slice(&field);
    }
    ip[transport..transport + 2].copy_from_slice(&way.to.1);
    ip[transport + 2..transport + 4].copy_from_slice(&way.from.1);
    let at = transport + if is_tcp { 16 } else { 6 };
    let is_quoted = !is_tcp || transport + 20 <= ip.len();
    if is_quoted && (is_tcp || before[at..at + 2] != [0, 0]) {
        let (addresses, len) = if packet.v6 { (inner + 8, 32) } else { (inner + 12, 8) };
        let sum = |ip: &[u8]| checksum(&[&ip[addresses..addresses + len], &ip[transport..transport + 4]].concat());
        let mut field = carried(&before[at..at + 2], sum(&before), sum(&ip));
        if !is_tcp && field == [0, 0] {
            field = [0xff, 0xff];
        }
        ip[at..at + 2].copy_from_slice(&field);
    }
    let header = packet.ip.len() - packet.transport.len();
    let mut outer = ip.clone();
    readdress(&mut outer, packet, way);
    let sum = |ip: &[u8]| {
        let mut message = ip[header..].to_vec();
        message[2..4].fill(0);
        if packet.v6 { transport_checksum(&ip[8..40], 58, &message) } else { checksum(&message) }
    };
    let field = carried(&packet.ip[header + 2..header + 4], sum(packet.ip), sum(&outer));
    outer[header + 2..header + 4].copy_from_slice(&field);
    framed(packet, way, &outer)
}

/// Addresses and hops of an IP header, its checksum kept as right as it was.
fn readdress(ip: &mut [u8], packet: &Packet<'_>, way: &Way) {
    if packet.v6 {
        ip[7] -= 1;
        ip[8..24].copy_from_slice(&way.from.0);
        ip[24..40].copy_from_slice(&way.to.0);
        return;
    }
    let header = usize::from(ip[0] & 15) * 4;
    let before = ip.to_vec();
    ip[8] -= 1;
    ip[12..16].copy_from_slice(&way.from.0[12..]);
    ip[16..20].copy_from_slice(&way.to.0[12..]);
    let field = carried(&before[10..12], scratch(&before[..header], 10), scratch(&ip[..header], 10));
    ip[10..12].copy_from_slice(&field);
}

fn framed(packet: &Packet<'_>, way: &Way, ip: &[u8]) -> Vec<u8> {
    let ethertype = if packet.v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&way.link, &ethertype[..], ip, packet.trailer()].concat()
}

/// Whether a flow's server is up and the one it was opened to.
pub fn is_live(model: &Model, flow: &Flow) -> bool {
    let backend = model.backends.get(&flow.backend);
    backend.is_some_and(|entry| entry.identity != 0 && entry.state & 1 != 0 && entry.generation == flow.generation)
}

impl Flow {
    fn has_ended(&self) -> bool {
        self.reset || self.fins == [true; 2]
    }

    fn note(&mut self, packet: &Packet<'_>, side: usize) {
        if packet.protocol == 6 {
            self.fins[side] |= packet.transport[13] & 1 != 0;
            self.reset |= packet.transport[13] & 4 != 0;
        }
    }
}

/// The server's port: behind a range the one that the client asked for.
fn port_of(packet: &Packet<'_>, service: &ServiceEntry, backend: &BackendEntry) -> [u8; 2] {
    if service.flags & 32 != 0 { [packet.transport[2], packet.transport[3]] } else { backend.port }
}

/// The flow that the program opened: its source address and port stand in the packet it made.
fn opened(
    model: &mut Model,
    packet: &Packet<'_>,
    made: &Outcome,
    index: u32,
    backend: &BackendEntry,
    port: [u8; 2],
) -> Flow {
    let at = link_to(backend).len() + 2;
    let transport = at + packet.ip.len() - packet.transport.len();
    let address = if packet.v6 {
        made.bytes[at + 8..at + 24].to_vec()
    } else {
        [&[0; 10][..], &[0xff; 2], &made.bytes[at + 12..at + 16]].concat()
    };
    let source: ([u8; 16], [u8; 2]) =
        (address.try_into().unwrap(), made.bytes[transport..transport + 2].try_into().unwrap());
    assert_eq!(source.0, NAT_SOURCES[usize::from(packet.v6)], "another source address than this IP version's");
    assert!(u16::from_be_bytes(source.1) >= 1024, "a port that is not ours to give");
    let own = packet.flow_key();
    let taken = model.translated.iter().find(|(key, flow)| flow.source == source && **key != own);
    if let Some((key, flow)) = taken {
        let may_be_taken = !is_live(model, flow) || (flow.has_ended() && flow.server != (backend.address, port));
        assert!(may_be_taken, "{source:?} has two flows: {own:?} and {key:?}, {flow:?}");
        let key = *key;
        model.translated.remove(&key);
    }
    Flow {
        source,
        server: (backend.address, port),
        backend: index,
        generation: backend.generation,
        link: Vec::new(),
        fins: [false; 2],
        reset: false,
    }
}

fn admit(packet: &Packet<'_>, backend: &BackendEntry) -> Result<(), Reason> {
    if (backend.state & 4 == 0) != packet.v6 {
        return Err(Reason::NoBackend);
    }
    if backend.state & 2 == 0 {
        return Err(Reason::NextHopUnresolved);
    }
    if packet.ttl() <= 1 {
        return Err(Reason::TtlExceeded);
    }
    if packet.ip.len() > usize::from(backend.mtu) {
        return Err(Reason::TooBig);
    }
    Ok(())
}

fn refused(packet: &Packet<'_>, service: &ServiceEntry, reason: Reason) -> Judged {
    let answer = (service.flags & 1 != 0).then(|| packet.answer()).flatten();
    answer.map_or((DROP, reason, None), |bytes| (TX, Reason::Rejected, Some(bytes)))
}

/// MACs and tags of an answer. Tags of other kinds come back as the standard ones.
fn turned(packet: &Packet<'_>) -> Vec<u8> {
    let link = &packet.link[..packet.link_len() - 2];
    let mut bytes = [&link[6..12], &link[..6]].concat();
    match link[12..] {
        [] | [_, _, 0, 0] | [_, _, 0, 0, ..] => {}
        [_, _, a, b] | [_, _, a, b, _, _, 0, 0] => bytes.extend([0x81, 0x00, a, b]),
        [_, _, a, b, _, _, c, d] => bytes.extend([0x88, 0xa8, a, b, 0x81, 0x00, c, d]),
        _ => panic!("tags are four bytes each"),
    }
    bytes
}

/// The packet between other ends, one hop older.
fn rewritten(packet: &Packet<'_>, link: &[u8], from: ([u8; 16], [u8; 2]), to: ([u8; 16], [u8; 2])) -> Vec<u8> {
    let header = packet.ip.len() - packet.transport.len();
    let mut ip = packet.ip.to_vec();
    if packet.v6 {
        ip[7] -= 1;
        ip[8..24].copy_from_slice(&from.0);
        ip[24..40].copy_from_slice(&to.0);
    } else {
        ip[8] -= 1;
        ip[12..16].copy_from_slice(&from.0[12..]);
        ip[16..20].copy_from_slice(&to.0[12..]);
        let field = carried(&packet.ip[10..12], scratch(&packet.ip[..header], 10), scratch(&ip[..header], 10));
        ip[10..12].copy_from_slice(&field);
    }
    ip[header..header + 2].copy_from_slice(&from.1);
    ip[header + 2..header + 4].copy_from_slice(&to.1);
    let at = header + if packet.protocol == 6 { 16 } else { 6 };
    let sum = |ip: &[u8]| {
        let addresses = if packet.v6 { &ip[8..40] } else { &ip[12..20] };
        let mut segment = ip[header..].to_vec();
        segment[at - header..at - header + 2].fill(0);
        transport_checksum(addresses, packet.protocol, &segment)
    };
    if packet.protocol == 6 || packet.ip[at..at + 2] != [0, 0] {
        let mut field = carried(&packet.ip[at..at + 2], sum(packet.ip), sum(&ip));
        if packet.protocol == 17 && field == [0, 0] {
            field = [0xff, 0xff];
        }
        ip[at..at + 2].copy_from_slice(&field);
    }
    let ethertype = if packet.v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    [link, &ethertype, &ip, packet.trailer()].concat()
}

/// Checksum of bytes, without that of the field itself.
pub(super) fn scratch(bytes: &[u8], field: usize) -> u16 {
    let mut bytes = bytes.to_vec();
    bytes[field..field + 2].fill(0);
    checksum(&bytes)
}

/// A checksum field, as wrong after the change as it was before.
pub(super) fn carried(field: &[u8], right_before: u16, right_after: u16) -> [u8; 2] {
    let field = u32::from(u16::from_be_bytes([field[0], field[1]]));
    let after = (field + 0xffff - u32::from(right_before) % 0xffff + u32::from(right_after)) % 0xffff;
    (after as u16).to_be_bytes()
}

impl Packet<'_> {
    pub(super) fn ttl(&self) -> u8 {
        self.ip[if self.v6 { 7 } else { 8 }]
    }
}
