//! Properties of address translation, for any input: checksums against recomputation, lifetimes, places.
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::net::IpAddr;

use lb_common::abi::nat::{FIRST_PORT, NAT_WAYS, NatBucket, NatRange, PORTS, marks};
use lb_common::abi::{FlowKey, NatFlow, address_of};
use lb_common::hash::FlowHash;
use lb_common::headers::{AddressWords, Headers, Parsed, parse, tcp_flag};
use lb_common::nat::index::{Entry, NOWHERE, Probe, buckets};
use lb_common::nat::lifetime::{self, Phase, seconds, ticks};
use lb_common::nat::ports::{Fit, Place, index_of};
use lb_common::nat::rewrite::{Delta, Tuple, adjusted, adjusted_udp, translate};
use proptest::prelude::*;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Sum of big-endian words modulo 2¹⁶ − 1, by the definition of RFC 1071.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    words.fold(0, |sum, word| if sum + word > 0xffff { sum + word - 0xffff } else { sum + word })
}

/// One side of a packet: addresses of one IP version, and ports.
#[derive(Clone, Copy, Debug)]
struct Ends {
    source: IpAddr,
    destination: IpAddr,
    ports: [u16; 2],
}

impl Ends {
    fn tuple(&self) -> Tuple {
        let [[a, b], [c, d]] = self.ports.map(u16::to_be_bytes);
        Tuple {
            source: AddressWords::of(&address_of(self.source)),
            destination: AddressWords::of(&address_of(self.destination)),
            ports: u32::from_le_bytes([a, b, c, d]),
        }
    }
}

/// Everything in a packet that a translation leaves alone.
#[derive(Clone, Debug)]
struct Rest {
    protocol: u8,
    ttl: u8,
    options: usize,
    tags: usize,
    /// What follows the ports, the checksum's bytes not counted.
    body: Vec<u8>,
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The frame, with checksums from scratch; as the transport's checksum `checksum` where it is given.
fn frame(ends: &Ends, rest: &Rest, checksum: Option<u16>) -> Vec<u8> {
    let addresses = [octets(ends.source), octets(ends.destination)].concat();
    let mut transport: Vec<u8> = ends.ports.iter().flat_map(|port| port.to_be_bytes()).collect();
    transport.extend(&rest.body);
    let at = if rest.protocol == TCP { 16 } else { 6 };
    if rest.protocol == UDP {
        let len = (transport.len() as u16).to_be_bytes();
        transport[4..6].copy_from_slice(&len);
    }
    transport[at..at + 2].fill(0);
    let pseudo = [&addresses[..], &(transport.len() as u32).to_be_bytes(), &[0, 0, 0, rest.protocol]].concat();
    let computed = match !(sum(&[pseudo, transport.clone()].concat()) as u16) {
        0 if rest.protocol == UDP => 0xffff,
        checksum => checksum,
    };
    transport[at..at + 2].copy_from_slice(&checksum.unwrap_or(computed).to_be_bytes());

    let mut frame = vec![2; 12];
    (0..rest.tags).for_each(|_| frame.extend([0x81, 0, 0, 7]));
    if ends.source.is_ipv4() {
        let header = 20 + 4 * rest.options;
        let mut ip = vec![0x40 | (header / 4) as u8, 0];
        ip.extend(((header + transport.len()) as u16).to_be_bytes());
        ip.extend([0x12, 0x34, 0x40, 0, rest.ttl, rest.protocol, 0, 0]);
        ip.extend(&addresses);
        ip.resize(header, 1);
        let checksum = !(sum(&ip) as u16);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend([8, 0]);
        frame.extend(ip);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((transport.len() as u16).to_be_bytes());
        frame.extend([rest.protocol, rest.ttl]);
        frame.extend(&addresses);
    }
    frame.extend(transport);
    frame
}

fn headers(frame: &[u8]) -> Headers {
    match parse(frame) {
        Ok(Parsed::Flow(headers)) => headers,
        other => panic!("{other:?}: {frame:02x?}"),
    }
}

/// The frame translated, checksums adjusted.
fn translated(frame: &[u8], to: &Ends) -> Vec<u8> {
    let (mut bytes, headers) = (frame.to_vec(), headers(frame));
    let delta = Delta::between(&Tuple::of(&headers), &to.tuple());
    translate(bytes.as_mut_slice(), &headers, &to.tuple(), delta).unwrap();
    bytes
}

/// Words that are often at the edges of ones' complement.
fn word() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(0xffff), Just(1), Just(0xfffe), any::<u16>()]
}

fn ends(v6: bool) -> impl Strategy<Value = Ends> {
    (prop::collection::vec(word(), 16), any::<[u16; 2]>()).prop_map(move |(words, ports)| {
        let address = |words: &[u16]| -> IpAddr {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            match <[u8; 16]>::try_from(bytes) {
                Ok(bytes) => bytes.into(),
                Err(bytes) => <[u8; 4]>::try_from(bytes).unwrap().into(),
            }
        };
        let len = if v6 { 8 } else { 2 };
        Ends { source: address(&words[..len]), destination: address(&words[8..8 + len]), ports }
    })
}

fn rest() -> impl Strategy<Value = Rest> {
    let body = prop::collection::vec(any::<u8>(), 16..80);
    (any::<bool>(), 3u8.., 0usize..4, 0usize..3, body).prop_map(|(tcp, ttl, options, tags, body)| {
        let protocol = if tcp { TCP } else { UDP };
        Rest { protocol, ttl, options, tags, body }
    })
}

fn case() -> impl Strategy<Value = (Ends, Ends, Rest)> {
    any::<bool>().prop_flat_map(|v6| (ends(v6), ends(v6), rest()))
}

/// Lets the checksum of a frame between `ends` come out as the zeros of ones' complement.
fn with_zero_checksum(ends: &Ends, mut rest: Rest) -> Rest {
    let at = if rest.protocol == TCP { 16 } else { 6 } - 4;
    rest.body[at + 2..at + 4].fill(0);
    let bytes = frame(ends, &rest, None);
    let checksum = headers(&bytes).transport + at + 4;
    rest.body[at + 2..at + 4].copy_from_slice(&bytes[checksum..checksum + 2]);
    rest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_translated_packet_is_the_one_written_from_scratch((from, to, rest) in case()) {
        let expected = frame(&to, &Rest { ttl: rest.ttl - 1, ..rest.clone() }, None);
        prop_assert_eq!(translated(&frame(&from, &rest, None), &to), expected);
    }

    #[test]
    fn checksums_that_come_or_become_zero_are_as_from_scratch((from, to, rest) in case(), before: bool) {
        let rest = with_zero_checksum(if before { &from } else { &to }, rest);
        let expected = frame(&to, &Rest { ttl: rest.ttl - 1, ..rest.clone() }, None);
        let zero = if rest.protocol == UDP { 0xffff } else { 0 };
        let at = headers(&expected).transport + if rest.protocol == TCP { 16 } else { 6 };
        let of_zero = if before { frame(&from, &rest, None) } else { expected.clone() };
        prop_assert_eq!(u16::from_be_bytes([of_zero[at], of_zero[at + 1]]), zero);
        prop_assert_eq!(translated(&frame(&from, &rest, None), &to), expected);
    }

    #[test]
    fn a_udp_packet_without_a_checksum_stays_without((from, to, rest) in case()) {
        let rest = Rest { protocol: UDP, ..rest };
        let expected = frame(&to, &Rest { ttl: rest.ttl - 1, ..rest.clone() }, Some(0));
        prop_assert_eq!(translated(&frame(&from, &rest, Some(0)), &to), expected);
    }

    #[test]
    fn a_wrong_checksum_stays_wrong_and_by_as_much((from, to, rest) in case(), wrong in 1u16..) {
        let at = headers(&frame(&from, &rest, None)).transport + if rest.protocol == TCP { 16 } else { 6 };
        let field = |bytes: &[u8]| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let off = |is: u32, should: u32| (is + 0xffff - should % 0xffff) % 0xffff;
        let before = frame(&from, &rest, Some(wrong));
        let error = off(field(&before), field(&frame(&from, &rest, None)));
        let after = translated(&before, &to);
        prop_assert_eq!(off(field(&after), field(&frame(&to, &rest, None))), error);
    }

    #[test]
    fn the_way_back_undoes_the_way_there((from, to, rest) in case()) {
        let there = translated(&frame(&from, &rest, None), &to);
        let seen = headers(&there);
        let delta = Delta::between(&from.tuple(), &to.tuple()).reversed();
        let mut back = there;
        translate(back.as_mut_slice(), &seen, &from.tuple(), delta).unwrap();
        prop_assert_eq!(back, frame(&from, &Rest { ttl: rest.ttl - 2, ..rest }, None));
    }

    #[test]
    fn places_lie_in_their_range_and_their_index_leads_back(
        seed: u64, draw in 0u32..16, first in 0u32..1000, count in 1u32..1000, number in 0u32..66_000,
    ) {
        let place = Place::drawn(seed, draw, NatRange { first, count });
        prop_assert!((first..first + count).contains(&place.source) && place.port >= FIRST_PORT);
        let index = place.index(number);
        prop_assert_eq!(index_of(number, place.port), Some(index));
        prop_assert_eq!((index / PORTS, index % PORTS), (number, u32::from(place.port - FIRST_PORT)));
    }

    #[test]
    fn no_marks_make_a_flow_live_for_ever_or_end_without_a_reason(client: u8, server: u8, tcp: bool, now: u32, age: u32) {
        let age = age % (u32::MAX / 2);
        let flow = NatFlow {
            from_client: client, from_server: server, seen: now.wrapping_sub(age), ..flow(if tcp { TCP } else { UDP })
        };
        if age > ticks(seconds::TCP_ESTABLISHED) {
            prop_assert!(lifetime::is_over(&flow, now));
        }
        if age <= ticks(seconds::TCP_CLOSED) {
            prop_assert!(!lifetime::is_over(&flow, now));
        }
        let ended = client | server;
        if tcp && ended & (marks::RST | marks::FIN) == 0 && client & marks::CONFIRMED != 0 {
            prop_assert_eq!(lifetime::is_over(&flow, now), age > ticks(seconds::TCP_ESTABLISHED));
        }
    }
}

const SERVER: [u8; 16] = [9; 16];

fn flow(protocol: u8) -> NatFlow {
    NatFlow {
        id: 1,
        seen: 0,
        backend: 0,
        generation: 0,
        source: [1; 16],
        ports: [[4, 0], [0, 80]],
        address_delta: 0,
        transport_delta: 0,
        protocol,
        from_client: 0,
        from_server: 0,
        pad: 0,
        ifindex: 0,
        link: [0; 2],
        key: FlowKey {
            source: [2; 16],
            destination: [3; 16],
            source_port: [0, 1],
            destination_port: [0, 2],
            protocol,
            via: [0; 3],
        },
        server: SERVER,
        opened: 0,
        tag: 1,
    }
}

#[derive(Clone, Copy)]
enum Segment {
    Client(u8),
    Server(u8),
}

/// The phase of a TCP flow after these segments.
fn after(segments: &[Segment]) -> NatFlow {
    let mut flow = flow(TCP);
    for segment in segments {
        match *segment {
            Segment::Client(flags) => flow.from_client = lifetime::after_client(&flow, flags),
            Segment::Server(flags) => flow.from_server = lifetime::after_server(&flow, flags),
        }
    }
    flow
}

#[test]
fn a_connection_passes_through_its_phases() {
    use Segment::{Client, Server};
    use tcp_flag::{ACK, FIN, RST, SYN};
    let opened = [Client(SYN), Server(SYN | ACK), Client(ACK)];
    let then = |more: &[Segment]| Phase::of(&after(&[&opened[..], more].concat()));
    assert_eq!(Phase::of(&flow(0)), Phase::Free);
    assert_eq!(Phase::of(&after(&opened[..1])), Phase::Opening);
    assert_eq!(Phase::of(&after(&opened[..2])), Phase::Opening, "a SYN flood's flows are answered, too");
    assert_eq!(Phase::of(&after(&[Client(SYN), Client(ACK)])), Phase::Opening);
    assert_eq!(Phase::of(&after(&[Client(SYN), Server(SYN | ACK), Client(SYN)])), Phase::Opening);
    assert_eq!(then(&[]), Phase::Established);
    assert_eq!(then(&[Client(ACK), Server(ACK)]), Phase::Established);
    assert_eq!(then(&[Client(FIN | ACK)]), Phase::Closing);
    assert_eq!(then(&[Server(FIN | ACK), Client(ACK)]), Phase::Closing);
    assert_eq!(then(&[Client(FIN | ACK), Server(FIN | ACK), Client(ACK)]), Phase::Closed);
    assert_eq!(then(&[Server(FIN | ACK), Client(FIN | ACK), Server(ACK)]), Phase::TimeWait);
    assert_eq!(then(&[Client(RST)]), Phase::Closed);
    assert_eq!(Phase::of(&after(&[Client(SYN), Server(RST | ACK)])), Phase::Closed);
}

#[test]
fn every_phase_has_its_lifetime() {
    use Segment::{Client, Server};
    use tcp_flag::{ACK, FIN, RST, SYN};
    let opened = [Client(SYN), Server(SYN | ACK), Client(ACK)];
    let tcp = |more: &[Segment]| after(&[&opened[..], more].concat());
    let answered = |protocol| NatFlow { from_server: marks::SPOKE, ..flow(protocol) };
    for (flow, expected) in [
        (after(&opened[..1]), 60),
        (tcp(&[]), 7_440),
        (tcp(&[Client(FIN)]), 240),
        (tcp(&[Client(FIN), Server(FIN)]), 10),
        (tcp(&[Server(FIN), Client(FIN)]), 60),
        (tcp(&[Server(RST)]), 10),
        (flow(UDP), 30),
        (answered(UDP), 300),
    ] {
        let last = ticks(expected);
        assert!(!lifetime::is_over(&flow, last), "{:?}", Phase::of(&flow));
        assert!(lifetime::is_over(&flow, last + 1), "{:?}", Phase::of(&flow));
        let wraps = NatFlow { seen: u32::MAX - 5, ..flow };
        assert!(!lifetime::is_over(&wraps, last - 6) && lifetime::is_over(&wraps, last - 4));
        assert!(!lifetime::is_over(&NatFlow { seen: 7, ..flow }, 6), "another CPU's clock is ahead");
    }
    assert!(lifetime::is_over(&flow(0), 0));
}

#[test]
fn a_new_flow_takes_no_place_of_a_living_one() {
    use Segment::{Client, Server};
    use tcp_flag::{ACK, FIN, RST, SYN};
    let opened = [Client(SYN), Server(SYN | ACK), Client(ACK)];
    let fit = |flow: &NatFlow, port| Fit::of(flow, &SERVER, [0, port], 1);
    let closed = after(&[Client(SYN), Server(RST)]);
    let cases = [
        (flow(0), Fit::Vacant),
        (closed, Fit::Yields),
        (after(&[&opened[..], &[Server(FIN), Client(FIN)]].concat()), Fit::Yields),
        (after(&opened[..1]), Fit::Yields),
        (flow(UDP), Fit::Yields),
        (after(&opened), Fit::Taken),
        (after(&[&opened[..], &[Client(FIN)]].concat()), Fit::Taken),
    ];
    for (flow, expected) in cases {
        assert_eq!(fit(&flow, 80), expected);
        let idle = NatFlow { seen: 1u32.wrapping_sub(ticks(seconds::TCP_ESTABLISHED) + 1), ..flow };
        assert_eq!(fit(&idle, 80), Fit::Vacant);
    }
    assert_eq!(fit(&closed, 81), Fit::Vacant);
    assert_eq!(Fit::of(&closed, &[8; 16], [0, 80], 1), Fit::Vacant);
}

#[test]
fn draws_of_a_flow_are_all_different_and_spread_over_every_source() {
    let range = NatRange { first: 3, count: 4 };
    let drawn = |seed| (0..16).map(|draw| Place::drawn(seed, draw, range)).collect::<Vec<_>>();
    let mut sources = [0; 4];
    for seed in 0..1_000u64 {
        let places = drawn(seed << 32);
        sources[places[0].source as usize - 3] += 1;
        let different = places.iter().map(|place| place.index(place.source)).collect::<std::collections::BTreeSet<_>>();
        assert!(different.len() >= 15, "{places:?}");
    }
    assert!(sources.iter().all(|count| (180..320).contains(count)), "{sources:?}");
}

#[test]
fn every_checksum_and_delta_gives_what_a_sum_from_scratch_gives() {
    // 2¹⁶ deltas at the edges of every checksum, and the edges of the deltas at every checksum.
    let edges = [0, 1, 2, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff];
    for any in 0..=0xffffu16 {
        for edge in edges {
            for (checksum, delta) in [(any, edge), (edge, any)] {
                let sum = (u32::from(!checksum) + u32::from(delta)) % 0xffff;
                // Of a real packet's sum the zero is 0xffff, so its checksum is 0.
                let expected = if sum == 0 { 0 } else { !(sum as u16) };
                assert_eq!(adjusted(checksum, delta), expected, "{checksum:04x} {delta:04x}");
                let udp = if checksum == 0 {
                    0
                } else if expected == 0 {
                    0xffff
                } else {
                    expected
                };
                assert_eq!(adjusted_udp(checksum, delta), udp, "{checksum:04x} {delta:04x}");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_probe_stays_within_the_index_and_its_tag_is_never_that_of_a_free_entry(hash: u64, places in 1u32..=1 << 24) {
        let probe = Probe::of(FlowHash(hash), buckets(places));
        prop_assert!(probe.buckets.iter().all(|bucket| *bucket < buckets(places)));
        prop_assert!(buckets(places) as usize * NAT_WAYS >= 2 * places as usize);
        prop_assert_ne!(probe.tag, Entry::FREE.tag());
    }

    #[test]
    fn a_bucket_tells_the_first_two_places_with_a_tag(entries: [(u8, u32); NAT_WAYS], tag in 1u8..4) {
        let bucket = NatBucket(entries.map(|(tag, place)| Entry::new(u32::from(tag % 4), place).0));
        let mut places = entries.iter().filter(|entry| entry.0 % 4 == tag).map(|entry| entry.1);
        let first = places.next().unwrap_or(NOWHERE);
        prop_assert_eq!(bucket.tagged(u32::from(tag)), [first, places.next().unwrap_or(NOWHERE)]);
    }
}
