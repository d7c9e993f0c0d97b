//! The model's edges of the protocol: addresses of ours, pieces, ICMP, closed ports.

use lb_common::abi::{Reason, ServiceEntry};

use super::{Judged, Kind, Model, Packet, nat};
use crate::edge::{DROP, INGRESS, NAT_SOURCES, OTHER_INTERFACE, Outcome, PASS, REDIRECT, TX};
use crate::packets::{V4, V6, checksum, transport_checksum};

/// Source, destination, identification and, of IPv4, the protocol.
pub type Piece = ([u8; 16], [u8; 16], [u8; 4], u8);

/// A packet that is no whole packet of a service.
pub(super) fn judge(model: &mut Model, packet: &Packet<'_>, made: &Outcome) -> Judged {
    let passed = match packet.kind {
        Kind::Broken => Reason::Malformed,
        _ if packet.fragment.is_some() => Reason::Fragment,
        Kind::Flow | Kind::Piece => Reason::NoService,
        Kind::Icmp | Kind::Other => Reason::OtherProtocol,
    };
    if packet.v6 && packet.destination[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] {
        return (PASS, passed, None);
    }
    let Some(flags) = model.vips.get(&packet.destination).copied() else {
        if !NAT_SOURCES.contains(&packet.destination) {
            return (PASS, passed, None);
        }
        return to_source(model, packet, passed);
    };
    let [echo, reject, quarantined] = [1, 2, 4].map(|flag| flags & flag != 0);
    if quarantined {
        return (DROP, Reason::Quarantined, None);
    }
    match packet.kind {
        Kind::Broken => (DROP, Reason::BadHeaders, None),
        Kind::Other => closed(packet, reject),
        Kind::Flow => {
            remember(model, packet);
            match model.service_of(packet) {
                Some(service) => model.serve(packet, &service, made),
                None => closed(packet, reject),
            }
        }
        Kind::Piece => piece(model, packet),
        Kind::Icmp => icmp(model, packet, echo),
    }
}

fn to_source(model: &mut Model, packet: &Packet<'_>, passed: Reason) -> Judged {
    match packet.kind {
        Kind::Flow => {
            remember(model, packet);
            nat::back(model, packet)
        }
        Kind::Piece => match recalled(model, packet) {
            Some((ports, protocol)) => {
                let whole = Packet { transport: &ports, protocol, ..*packet };
                match nat::way_back(model, &whole) {
                    Some(_) if packet.ttl() <= 1 => (DROP, Reason::TtlExceeded, None),
                    Some(way) => (TX, Reason::Transmitted, Some(nat::piece(packet, &way))),
                    None if packet.ttl() <= 1 => (DROP, Reason::TtlExceeded, None),
                    None => (DROP, Reason::FragmentUnknown, None),
                }
            }
            None => (PASS, Reason::Fragment, None),
        },
        Kind::Icmp if packet.fragment.is_none() && is_error(packet) => {
            let Some(quote) = quote(packet) else { return (DROP, Reason::IcmpUnknown, None) };
            if packet.ttl() <= 1 {
                return (DROP, Reason::TtlExceeded, None);
            }
            match nat::way_back(model, &quote.flow(packet)) {
                Some(way) => (TX, Reason::Transmitted, Some(nat::error(packet, &quote, &way))),
                None => (DROP, Reason::IcmpUnknown, None),
            }
        }
        _ => (PASS, passed, None),
    }
}

fn remember(model: &mut Model, packet: &Packet<'_>) {
    if let Some(key) = key(packet) {
        model.pieces.insert(key, (packet.transport[..4].try_into().unwrap(), packet.protocol));
    }
}

fn recalled(model: &Model, packet: &Packet<'_>) -> Option<([u8; 4], u8)> {
    model.pieces.get(&key(packet)?).copied()
}

fn key(packet: &Packet<'_>) -> Option<Piece> {
    let protocol = if packet.v6 { 0 } else { packet.protocol };
    Some((packet.source, packet.destination, packet.fragment?, protocol))
}

/// A piece other than the first.
fn piece(model: &mut Model, packet: &Packet<'_>) -> Judged {
    let Some((ports, protocol)) = recalled(model, packet) else { return (DROP, Reason::FragmentUnknown, None) };
    // As long as any transport header: it opens nothing.
    let mut transport = [0; 20];
    transport[..4].copy_from_slice(&ports);
    let whole = Packet { transport: &transport, protocol, ..*packet };
    let Some(service) = model.service_of(&whole) else {
        return (DROP, Reason::ClosedDropped, None);
    };
    if let Some(refused) = counted(model, &whole, &service) {
        return refused;
    }
    if service.flags & 4 != 0 {
        if packet.ttl() <= 1 {
            return (DROP, Reason::TtlExceeded, None);
        }
        return match nat::way_there(model, &whole) {
            None => (DROP, Reason::FragmentUnknown, None),
            Some(Err(reason)) => (DROP, reason, None),
            Some(Ok((way, index))) => sent(model, packet, index, way.ifindex, Some(nat::piece(packet, &way))),
        };
    }
    tunnel(model, &whole, &service, true)
}

/// Counts a packet of a service; what protection makes of it, if that is a refusal.
fn counted(model: &mut Model, packet: &Packet<'_>, service: &ServiceEntry) -> Option<Judged> {
    let stats = model.service_stats.entry(service.id).or_default();
    stats.packets += 1;
    stats.bytes += packet.link.len() as u64;
    let (position, reason) = super::protection::refusal(model, packet, service)?;
    model.service_stats.entry(service.id).or_default().refused[position] += 1;
    Some((DROP, reason, None))
}

/// Into a tunnel, and never answered.
fn tunnel(model: &mut Model, packet: &Packet<'_>, service: &ServiceEntry, notes: bool) -> Judged {
    if service.slots_len == 0 {
        return (DROP, Reason::EmptyPool, None);
    }
    let hash = packet.hash(model.config.unwrap().hash_key, service.flags);
    let tables = (model.opened.clone(), model.pinned.clone());
    let chosen = model.choose(packet, service, hash);
    if !notes {
        (model.opened, model.pinned) = tables;
    }
    let Some((index, backend)) = chosen else { return (DROP, Reason::NoBackend, None) };
    let made = model.made(packet, service, &backend, hash);
    match made {
        Err(reason) => (DROP, reason, None),
        Ok(bytes) => sent(model, packet, index, backend.ifindex, Some(bytes)),
    }
}

fn sent(model: &mut Model, packet: &Packet<'_>, index: u32, ifindex: u32, bytes: Option<Vec<u8>>) -> Judged {
    let stats = model.backend_stats.entry(index).or_default();
    stats.packets += 1;
    stats.bytes += packet.link.len() as u64;
    match ifindex {
        INGRESS => (TX, Reason::Transmitted, bytes),
        OTHER_INTERFACE => (REDIRECT, Reason::Redirected, bytes),
        _ => (DROP, Reason::EgressMissing, bytes),
    }
}

fn icmp(model: &mut Model, packet: &Packet<'_>, echo: bool) -> Judged {
    if packet.fragment.is_some() {
        return (DROP, Reason::FragmentUnknown, None);
    }
    if packet.transport.len() + packet.trailer().len() < 8 {
        return (DROP, Reason::BadHeaders, None);
    }
    let kind = packet.icmp_type();
    let has_extensions = packet.v6 && packet.ip.len() - packet.transport.len() > 40;
    match kind {
        130..=137 | 143 if packet.v6 => (PASS, Reason::Link, None),
        _ if kind == if packet.v6 { 128 } else { 8 } => {
            if echo && !has_extensions && packet.is_answerable() {
                (TX, Reason::EchoAnswered, Some(packet.echo()))
            } else {
                (DROP, Reason::EchoDropped, None)
            }
        }
        _ if is_error(packet) => error(model, packet),
        _ => (DROP, Reason::ClosedDropped, None),
    }
}

fn is_error(packet: &Packet<'_>) -> bool {
    if packet.transport.len() + packet.trailer().len() < 8 {
        return false;
    }
    if packet.v6 { (1..=4).contains(&packet.icmp_type()) } else { [3, 11, 12].contains(&packet.icmp_type()) }
}

/// What an error quotes: where its IP and transport headers begin in the frame, and the flow's tuple as its other side
/// sends it.
pub(super) struct Quote {
    pub(super) ip: usize,
    pub(super) transport: usize,
    protocol: u8,
    /// Of the flow's own packets in the error's direction.
    source: [u8; 16],
    destination: [u8; 16],
    ports: [u8; 20],
}

impl Quote {
    pub(super) const fn is_tcp(&self) -> bool {
        self.protocol == 6
    }

    /// The error as a packet of the flow.
    fn flow<'a>(&'a self, packet: &Packet<'a>) -> Packet<'a> {
        let Self { source, destination, protocol, .. } = *self;
        Packet { source, destination, protocol, transport: &self.ports, ..*packet }
    }
}

fn quote(packet: &Packet<'_>) -> Option<Quote> {
    let start = packet.link_len();
    let end = start + packet.ip.len();
    let ip = end - packet.transport.len() + 8;
    let inner = packet.link.get(ip..)?;
    let least = if packet.v6 { 40 } else { 20 };
    if inner.len() < least || inner[0] >> 4 != if packet.v6 { 6 } else { 4 } {
        return None;
    }
    let mut headers = super::Headers { protocol: 0, transport: least, fragment: None, is_first: true };
    if packet.v6 {
        headers.protocol = inner[6];
        headers.walk(inner, packet.link, ip)?;
    } else {
        headers.protocol = inner[9];
        headers.transport = usize::from(inner[0] & 15) * 4;
        headers.is_first = u16::from_be_bytes([inner[6], inner[7]]) & 0x1fff == 0;
    }
    let transport = ip + headers.transport;
    if headers.transport < least || !headers.is_first || ![6, 17].contains(&headers.protocol) {
        return None;
    }
    if transport > 511 || transport + 8 > end {
        return None;
    }
    let address = |at: usize| {
        let mut address = [0; 16];
        if packet.v6 {
            address.copy_from_slice(&inner[8 + at * 16..24 + at * 16]);
        } else {
            address[10..12].fill(0xff);
            address[12..].copy_from_slice(&inner[12 + at * 4..16 + at * 4]);
        }
        address
    };
    let mut ports = [0; 20];
    ports[..2].copy_from_slice(&packet.link[transport + 2..transport + 4]);
    ports[2..4].copy_from_slice(&packet.link[transport..transport + 2]);
    ports[13] = 0x10;
    let (source, destination) = (address(1), address(0));
    (destination == packet.destination).then_some(Quote {
        ip,
        transport,
        protocol: headers.protocol,
        source,
        destination,
        ports,
    })
}

/// An error to one of our addresses.
fn error(model: &mut Model, packet: &Packet<'_>) -> Judged {
    let Some(quote) = quote(packet) else { return (DROP, Reason::IcmpUnknown, None) };
    let flow = quote.flow(packet);
    let Some(service) = model.service_of(&flow) else {
        return (DROP, Reason::IcmpUnknown, None);
    };
    if let Some(refused) = counted(model, &flow, &service) {
        return refused;
    }
    if service.flags & 4 == 0 {
        return tunnel(model, &flow, &service, false);
    }
    if packet.ttl() <= 1 {
        return (DROP, Reason::TtlExceeded, None);
    }
    match nat::way_there(model, &flow) {
        None => (DROP, Reason::IcmpUnknown, None),
        Some(Err(reason)) => (DROP, reason, None),
        Some(Ok((way, index))) => sent(model, packet, index, way.ifindex, Some(nat::error(packet, &quote, &way))),
    }
}

/// Nobody listens.
fn closed(packet: &Packet<'_>, reject: bool) -> Judged {
    let answer = if !reject || !packet.is_answerable() {
        None
    } else if packet.protocol == 6 {
        packet.answer()
    } else if packet.protocol == 17 {
        Some(packet.message(if packet.v6 { [1, 4] } else { [3, 3] }, 0))
    } else if packet.v6 {
        Some(packet.message([4, 1], 6))
    } else {
        Some(packet.message([3, 2], 0))
    };
    answer.map_or((DROP, Reason::ClosedDropped, None), |bytes| (TX, Reason::ClosedRejected, Some(bytes)))
}

/// A packet that does not fit.
pub(super) fn too_big(packet: &Packet<'_>, most: u32) -> Judged {
    if !packet.is_answerable() || (packet.v6 && most < 1280) {
        return (DROP, Reason::TooBig, None);
    }
    let bytes = packet.message(if packet.v6 { [2, 0] } else { [3, 4] }, most);
    (TX, Reason::TooBigAnswered, Some(bytes))
}

/// A packet without hops.
pub(super) fn time_exceeded(packet: &Packet<'_>) -> Judged {
    if !packet.is_answerable() {
        return (DROP, Reason::TtlExceeded, None);
    }
    let bytes = packet.message(if packet.v6 { [3, 0] } else { [11, 0] }, 0);
    (TX, Reason::TtlAnswered, Some(bytes))
}

impl Packet<'_> {
    fn icmp_type(&self) -> u8 {
        self.link[self.link_len() + self.ip.len() - self.transport.len()]
    }

    fn is_answerable(&self) -> bool {
        let host = match (self.v6, self.source) {
            (false, s) => s[12] != 0 && s[12] != 127 && s[12] < 224,
            (true, s) => s[0] != 0xff && s[..15] != [0; 15] || s[..15] == [0; 15] && s[15] > 1,
        };
        host && self.link[0] & 1 == 0
    }

    /// The whole frame of an error about this packet.
    fn message(&self, [kind, code]: [u8; 2], rest: u32) -> Vec<u8> {
        let most = if self.v6 { 1280 - 48 } else { 576 - 28 };
        let mut message = vec![kind, code, 0, 0];
        message.extend(rest.to_be_bytes());
        message.extend(&self.ip[..self.ip.len().min(most)]);
        let sum = if self.v6 { transport_checksum(&self.pseudo(), 58, &message) } else { checksum(&message) };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let ip = if self.v6 {
            V6 { source: self.destination, destination: self.source, class: 0, hops: 64 }.header(58, message.len())
        } else {
            let v4 = |address: [u8; 16]| address[12..].try_into().unwrap();
            let (source, destination) = (v4(self.destination), v4(self.source));
            V4 { source, destination, tos: 0, ttl: 64, id: 0, fragment: 0x4000, options: Vec::new() }
                .header(1, message.len())
        };
        let link = &self.link[..self.link_len()];
        [&link[6..12], &link[..6], &link[12..], &ip, &message].concat()
    }

    /// The answer to an echo request; its checksums as wrong as the request's were.
    fn echo(&self) -> Vec<u8> {
        let header = self.ip.len() - self.transport.len();
        let mut ip = self.ip.to_vec();
        if self.v6 {
            ip[7] = 64;
            ip[8..24].copy_from_slice(&self.destination);
            ip[24..40].copy_from_slice(&self.source);
        } else {
            ip[8] = 64;
            ip[12..16].copy_from_slice(&self.destination[12..]);
            ip[16..20].copy_from_slice(&self.source[12..]);
            let (before, after) = (nat::scratch(&self.ip[..header], 10), nat::scratch(&ip[..header], 10));
            let field = nat::carried(&self.ip[10..12], before, after);
            ip[10..12].copy_from_slice(&field);
        }
        ip[header] = if self.v6 { 129 } else { 0 };
        let mut field = nat::carried(
            &self.ip[header + 2..header + 4],
            checksum(&[&self.ip[header..header + 2], &[0; 2]].concat()),
            checksum(&[&ip[header..header + 2], &[0; 2]].concat()),
        );
        if field == [0, 0] {
            field = [0xff, 0xff];
        }
        ip[header + 2..header + 4].copy_from_slice(&field);
        let link = &self.link[..self.link_len()];
        [&link[6..12], &link[..6], &link[12..], &ip, self.trailer()].concat()
    }
}
