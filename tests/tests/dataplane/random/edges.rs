//! Random echo requests, ICMP errors and pieces of packets: for our addresses, and of flows that there are.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{ports, vip};
use crate::edge::NAT_SOURCES;
use crate::forwarding::Pair;
use crate::packets::{Frame, Ip, Transport, V4, V6, checksum, transport_checksum};

/// First pieces that others may follow: few, so that these follow soon.
const FIRSTS: usize = 6;

/// An address and a port.
type End = ([u8; 16], u16);

/// A first piece, and the ends of its packet.
struct First {
    whole: Frame,
    from: End,
    to: End,
}

impl First {
    /// Whether the model knows what becomes of its followers. A tuple that opens another flow leaves the one it had to chance:
    /// that goes on translating its server's answers until somebody else is given its place.
    fn is_certain(&self, pair: &Pair) -> bool {
        let end = |(address, port): ([u8; 16], [u8; 2])| (address, u16::from_be_bytes(port));
        let mut flows = pair.model.translated.values();
        !NAT_SOURCES.contains(&self.to.0)
            || flows.any(|flow| (end(flow.server), end(flow.source)) == (self.from, self.to))
    }
}

/// Makes frames; remembers which first pieces it made.
#[derive(Default)]
pub(super) struct Edges {
    firsts: Vec<First>,
}

impl Edges {
    /// One frame, well formed.
    pub(super) fn frame(&mut self, random: &mut StdRng, pair: &Pair) -> Vec<u8> {
        let mut frame = match random.random_range(0..5) {
            0 => echo(random),
            1 | 2 => error(random, pair),
            _ => self.piece(random, pair),
        };
        frame.tags =
            [vec![], vec![], vec![(0x8100, 7)], vec![(0x88a8, 2), (0x8100, 3)]][random.random_range(0..4)].clone();
        frame.padding = [0, 0, 6][random.random_range(0..3)];
        frame.bytes()
    }

    /// A first piece, or one that follows it.
    fn piece(&mut self, random: &mut StdRng, pair: &Pair) -> Frame {
        self.firsts.retain(|first| first.is_certain(pair));
        if self.firsts.is_empty() || random.random_ratio(1, 3) {
            let (from, to, protocol) = tuple(random, pair);
            let whole = packet(random, from, to, protocol);
            if self.firsts.len() == FIRSTS {
                self.firsts.remove(0);
            }
            self.firsts.push(First { whole: whole.clone(), from, to });
            return first_piece(random, whole);
        }
        let whole = self.firsts[random.random_range(0..self.firsts.len())].whole.clone();
        let (offset, more) = (random.random_range(1..185_u16), random.random_range(0..2_u16));
        let data = bytes(random, 64);
        piece_of(whole, offset, more, data)
    }
}

/// The first 24 bytes or more of what is behind the IP header.
fn first_piece(random: &mut StdRng, whole: Frame) -> Frame {
    let header = if matches!(whole.ip, Ip::V4(_)) { 20 } else { 40 };
    let segment = whole.packet()[header..].to_vec();
    let len = (random.random_range(3..=8) * 8).min(segment.len());
    piece_of(whole, 0, 1, segment[..len].to_vec())
}

/// A piece of a packet, `offset` in units of eight bytes. Its identification is the first port of the packet.
fn piece_of(whole: Frame, offset: u16, more: u16, data: Vec<u8>) -> Frame {
    let protocol = whole.transport.protocol();
    let (Transport::Tcp { source: id, .. } | Transport::Udp { source: id, .. }) = whole.transport else {
        unreachable!("a packet with ports")
    };
    match whole.ip {
        Ip::V4(ip) => Frame {
            ip: Ip::V4(V4 { id, fragment: more << 13 | offset, ..ip }),
            transport: Transport::Other { protocol },
            payload: data,
            ..whole
        },
        Ip::V6(_) => {
            let field = (offset << 3 | more).to_be_bytes();
            let header = [&[protocol, 0], &field[..], &[0, 0], &id.to_be_bytes()].concat();
            Frame { transport: Transport::Other { protocol: 44 }, payload: [header, data].concat(), ..whole }
        }
    }
}

/// An echo request to one of our addresses, or another message.
fn echo(random: &mut StdRng) -> Frame {
    let v6 = random.random();
    let kind = if v6 { [128, 128, 128, 129, 135, 143] } else { [8, 8, 8, 0, 13, 5] }[random.random_range(0..6)];
    let rest = bytes(random, 80);
    let (source, ours) = (client(random, v6), vip(v6, random.random_range(0..9)));
    message(random, source, ours, [kind, 0], &rest)
}

/// An error about a packet of a flow: to the address of ours that the flow's packets carry on that side.
fn error(random: &mut StdRng, pair: &Pair) -> Frame {
    let (from, to, protocol) = tuple(random, pair);
    let v6 = from.0[..10] != [0; 10];
    // The quoted packet went the other way than the flow's packets to us do.
    let quoted = packet(random, to, from, protocol).packet();
    let least = if v6 { 48 } else { 28 };
    let len = if random.random_ratio(1, 8) { 0 } else { least };
    let quoted = &quoted[..random.random_range(len..=quoted.len())];
    let kind = if v6 { [1, 2, 3, 4] } else { [3, 3, 11, 12] }[random.random_range(0..4)];
    let rest = [&random.random::<[u8; 4]>()[..], quoted].concat();
    let router = client(random, v6);
    let code = random.random_range(0..5);
    message(random, router, to.0, [kind, code], &rest)
}

/// Who sends to us, to what, and the protocol: a client to a service, or one of the ends of a translated flow.
fn tuple(random: &mut StdRng, pair: &Pair) -> (End, End, u8) {
    let flows = &pair.model.translated;
    if !flows.is_empty() && random.random_ratio(2, 3) {
        let (key, flow) = flows.iter().nth(random.random_range(0..flows.len())).unwrap();
        let end = |(address, port): ([u8; 16], [u8; 2])| (address, u16::from_be_bytes(port));
        if random.random() {
            return (end((key.source, key.source_port)), end((key.destination, key.destination_port)), key.protocol);
        }
        return (end(flow.server), end(flow.source), key.protocol);
    }
    let v6 = random.random();
    let (client, port) = (client(random, v6), random.random_range(0..400));
    ((client, port), (vip(v6, random.random_range(0..9)), ports(random)), [6, 17][random.random_range(0..2)])
}

fn client(random: &mut StdRng, v6: bool) -> [u8; 16] {
    let mut client = vip(v6, random.random_range(0..4));
    client[if v6 { 5 } else { 12 }] = [7, 7, 198][random.random_range(0..3)];
    client
}

/// A packet with ports.
fn packet(random: &mut StdRng, from: End, to: End, protocol: u8) -> Frame {
    let (source, destination) = (from.1, to.1);
    let transport = if protocol == 6 {
        let flags = [16, 16, 2, 24][random.random_range(0..4)];
        Transport::Tcp { source, destination, seq: random.random(), ack: random.random(), flags }
    } else {
        Transport::Udp { source, destination }
    };
    let payload = bytes(random, 64);
    Frame { tags: vec![], ip: ip(random, from.0, to.0), transport, payload, padding: 0 }
}

fn ip(random: &mut StdRng, source: [u8; 16], destination: [u8; 16]) -> Ip {
    if source[..10] != [0; 10] {
        return Ip::V6(V6 { source, destination, class: random.random(), hops: random.random_range(0..9) });
    }
    let v4 = |address: [u8; 16]| address[12..].try_into().unwrap();
    Ip::V4(V4 {
        source: v4(source),
        destination: v4(destination),
        tos: random.random(),
        ttl: random.random_range(0..9),
        id: random.random(),
        fragment: 0,
        options: vec![1; [0, 0, 0, 4, 40][random.random_range(0..5)]],
    })
}

/// An ICMP or ICMPv6 message, its checksum mostly right.
fn message(random: &mut StdRng, source: [u8; 16], destination: [u8; 16], kind: [u8; 2], rest: &[u8]) -> Frame {
    let ip = ip(random, source, destination);
    let mut payload = [&kind, &[0, 0], rest].concat();
    let sum = match &ip {
        Ip::V4(_) => checksum(&payload),
        Ip::V6(_) => transport_checksum(&[source, destination].concat(), 58, &payload),
    };
    let sum = if random.random_ratio(1, 8) { random.random() } else { sum };
    payload[2..4].copy_from_slice(&sum.to_be_bytes());
    let protocol = if matches!(ip, Ip::V4(_)) { 1 } else { 58 };
    Frame { tags: vec![], ip, transport: Transport::Other { protocol }, payload, padding: 0 }
}

fn bytes(random: &mut StdRng, most: usize) -> Vec<u8> {
    (0..random.random_range(0..=most)).map(|_| random.random()).collect()
}
