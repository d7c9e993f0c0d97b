//! The edges of the protocol: what addresses of ours do with packets that no service takes at first sight.

use lb_common::abi::service::flags;
use lb_common::abi::vip::flags::{ECHO, QUARANTINED, REJECT};
use lb_common::abi::{BackendEntry, Reason, backend::mode, mapped_v4, names};

use crate::edge::{DROP, Edge, NAT_SOURCES, Outcome, PASS, TX, backend, backend_v6};
use crate::forwarding::{Pair, service};
use crate::packets::{Frame, Ip, Transport, checksum, transport_checksum};

const SYN: u8 = 2;
const ACK: u8 = 16;
const VIP: [u8; 16] = mapped_v4([192, 0, 2, 1]);
const VIP_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// An ICMP or ICMPv6 message from a client to our address, its checksum right.
fn icmp(v6: bool, kind: u8, code: u8, rest: &[u8]) -> Frame {
    let mut frame = Frame::tcp(0, 0);
    if v6 {
        frame = frame.v6();
    }
    let mut payload = [&[kind, code, 0, 0], rest].concat();
    let sum = match &frame.ip {
        Ip::V4(_) => checksum(&payload),
        Ip::V6(ip) => transport_checksum(&[ip.source, ip.destination].concat(), 58, &payload),
    };
    payload[2..4].copy_from_slice(&sum.to_be_bytes());
    Frame { transport: Transport::Other { protocol: if v6 { 58 } else { 1 } }, payload, ..frame }
}

/// The packet that a server would send to the client of `frame`.
fn answer_to(frame: &Frame) -> Frame {
    let mut answer = frame.clone();
    match &mut answer.ip {
        Ip::V4(ip) => std::mem::swap(&mut ip.source, &mut ip.destination),
        Ip::V6(ip) => std::mem::swap(&mut ip.source, &mut ip.destination),
    }
    match &mut answer.transport {
        Transport::Tcp { source, destination, .. } | Transport::Udp { source, destination } => {
            std::mem::swap(source, destination);
        }
        Transport::Other { .. } => {}
    }
    answer
}

/// Whether every checksum of an ICMP frame without tags is right, as its receiver sees it.
fn is_right(bytes: &[u8]) -> bool {
    let ip = &bytes[14..];
    if ip[0] >> 4 == 6 {
        return transport_checksum(&ip[8..40], 58, &ip[40..]) == 0;
    }
    let header = usize::from(ip[0] & 15) * 4;
    checksum(&ip[..header]) == 0 && checksum(&ip[header..]) == 0
}

#[test]
fn echo_is_answered_with_right_checksums_for_every_sum_and_the_carry() {
    let mut pair = Pair::new(&backend(1));
    for v6 in [false, true] {
        let kind = if v6 { 128 } else { 8 };
        let mut tried = 0;
        // Sequence numbers walk the sum through the carry that `+ 8` loses, and through both zeros.
        for sequence in (0..=u16::MAX).step_by(997).chain(0xf7f0..0xf80f).chain([0xf7fe, 0xf7ff, 0xf800, 0xffff]) {
            for id in [[0; 2], [0xff; 2]] {
                let rest = [&id[..], &sequence.to_be_bytes(), &[0; 5][..usize::from(sequence % 5)]].concat();
                let frame = icmp(v6, kind, 0, &rest);
                let Outcome { action, bytes } = pair.run("echo", &frame.bytes());
                assert_eq!(action, TX);
                assert!(is_right(&bytes), "{v6} {rest:02x?}: {bytes:02x?}");
                tried += 1;
            }
        }
        assert!(tried > 150);
    }
    let options = icmp(false, 8, 0, &[1; 60]).with_v4(|ip| ip.options = vec![1; 40]);
    assert!(is_right(&pair.run("options", &options.bytes()).bytes));
    let tagged = Frame { tags: vec![(0x88a8, 5), (0x8100, 6)], ..icmp(true, 128, 0, &[7; 9]) };
    assert_eq!(pair.run("tagged", &tagged.bytes()).action, TX);
    let long = Frame { padding: 3, ..icmp(false, 8, 0, &vec![7; 8_000]) };
    assert_eq!(pair.run("jumbo", &long.bytes()).action, TX);
    assert_eq!(pair.edge.verdicts().len(), 1, "{:?}", pair.edge.verdicts());
}

#[test]
fn echo_is_answered_for_our_addresses_only_and_only_where_the_policy_says_so() {
    let mut pair = Pair::new(&backend(1));
    let request = icmp(false, 8, 0, &[1; 8]);
    let elsewhere = request.clone().with_v4(|ip| ip.destination = [192, 0, 2, 9]);
    assert_eq!(pair.run("not ours", &elsewhere.bytes()).action, PASS);
    for (flags, reason) in [(REJECT, Reason::EchoDropped), (ECHO | QUARANTINED, Reason::Quarantined)] {
        pair.set_vip(VIP, flags);
        assert_eq!(pair.run("policy", &request.bytes()).action, DROP);
        assert_eq!(pair.edge.verdict(reason), 1);
    }
    pair.set_vip(VIP, ECHO);
    let from_nobody = request.clone().with_v4(|ip| ip.source = [0; 4]);
    let mut to_all = request.bytes();
    to_all[..6].fill(0xff);
    for bytes in [from_nobody.bytes(), to_all] {
        assert_eq!(pair.run("unanswerable", &bytes).action, DROP);
    }
    let routed = Frame {
        transport: Transport::Other { protocol: 43 },
        payload: [&[58, 0, 0, 0, 0, 0, 0, 0][..], &icmp(true, 128, 0, &[1; 8]).payload].concat(),
        ..Frame::tcp(0, 0).v6()
    };
    assert_eq!(pair.run("behind a routing header", &routed.bytes()).action, DROP);
    assert_eq!(pair.edge.verdict(Reason::EchoDropped), 4);
}

#[test]
fn echo_answers_stop_at_their_burst() {
    let mut edge = Edge::with_reject_burst(10);
    edge.set_vip(VIP, ECHO);
    for _ in 0..25 {
        edge.run(&icmp(false, 8, 0, &[1; 8]).bytes());
    }
    assert_eq!(edge.verdicts(), [(Reason::EchoAnswered, 10), (Reason::EchoDropped, 15)]);
}

#[test]
fn a_closed_port_of_ours_is_rejected_or_dropped_and_never_passed() {
    let closed = [
        Frame { transport: Transport::Udp { source: 1, destination: 54 }, ..Frame::udp(1) },
        Frame {
            transport: Transport::Tcp { source: 1, destination: 81, seq: 1, ack: 2, flags: SYN },
            ..Frame::tcp(1, SYN)
        },
        Frame { transport: Transport::Other { protocol: 132 }, payload: vec![9; 40], ..Frame::udp(1) },
    ];
    let mut pair = Pair::new(&backend(1));
    for frame in closed.iter().cloned().chain(closed.iter().cloned().map(Frame::v6)) {
        for tags in [vec![], vec![(0x8100, 9)]] {
            assert_eq!(pair.run("reject", &Frame { tags, ..frame.clone() }.bytes()).action, TX);
        }
    }
    assert_eq!(pair.edge.verdicts(), [(Reason::ClosedRejected, 12)]);
    for vip in [VIP, VIP_V6] {
        pair.set_vip(vip, ECHO);
    }
    for frame in closed.iter().cloned().chain(closed.iter().cloned().map(Frame::v6)) {
        assert_eq!(pair.run("drop", &frame.bytes()).action, DROP);
    }
    assert_eq!(pair.edge.verdict(Reason::ClosedDropped), 6);
    let short = |frame: Frame| frame.bytes()[..40].to_vec();
    let cut = [short(Frame::tcp(1, SYN)), short(Frame::udp(1))].map(|mut bytes| {
        bytes[17] = 26;
        bytes
    });
    for bytes in cut {
        assert_eq!(pair.run("cut short", &bytes).action, DROP);
    }
    assert_eq!(pair.edge.verdict(Reason::BadHeaders), 2);
    let timestamp = icmp(false, 13, 0, &[0; 16]);
    assert_eq!(pair.run("a message nobody asked for", &timestamp.bytes()).action, DROP);
    let neighbour = icmp(true, 135, 0, &[0; 20]);
    assert_eq!(pair.run("neighbour discovery is the kernel's", &neighbour.bytes()).action, PASS);
}

#[test]
fn an_error_about_a_flow_reaches_the_flows_server_in_a_tunnel() {
    for entry in [backend(1), backend_v6(1)] {
        let mut pair = Pair::new(&entry);
        for v6 in [false, true] {
            for flow in [Frame::tcp(4000, ACK), Frame::udp(4001)] {
                let flow = if v6 { flow.v6() } else { flow };
                let quoted = answer_to(&flow).packet();
                let kinds: &[(u8, u8)] = if v6 {
                    &[(1, 0), (1, 4), (2, 0), (3, 0), (4, 1)]
                } else {
                    &[(3, 0), (3, 1), (3, 3), (3, 4), (11, 0), (12, 0)]
                };
                for (kind, code) in kinds {
                    for len in [if v6 { 48 } else { 28 }, quoted.len()] {
                        let rest = [&[0, 0, 5, 0][..], &quoted[..len]].concat();
                        let error = icmp(v6, *kind, *code, &rest);
                        let Outcome { action, bytes } = pair.run("error", &error.bytes());
                        assert_eq!(action, TX, "{kind} {code}");
                        assert!(bytes.ends_with(&error.packet()), "the server gets it as it is");
                    }
                }
            }
        }
        assert_eq!(pair.edge.verdicts().len(), 1, "{:?}", pair.edge.verdicts());
        pair.check_counters();
    }
}

#[test]
fn an_error_follows_its_flow_on_a_moving_slot_and_notes_nothing() {
    use lb_common::abi::Slot;
    let mut pair = Pair::new(&backend(1));
    pair.set_backend(6, &backend(2));
    pair.set_slots(100, &[Slot(6 | Slot::MOVING); 3]);
    pair.set_slots(200, &[Slot::to_backend(5); 2]);
    let error = |port| {
        let quoted = answer_to(&Frame::tcp(port, ACK)).packet();
        icmp(false, 3, 4, &[&[0, 0, 5, 0][..], &quoted].concat()).bytes()
    };
    pair.run("opens", &Frame::tcp(1, SYN).bytes());
    assert_eq!(pair.run("new flow", &error(1)).bytes[33], 2);
    assert_eq!(pair.run("old flow", &error(2)).bytes[33], 1);
    let key = lb_common::abi::FlowKey {
        source: mapped_v4([198, 51, 100, 7]),
        destination: VIP,
        source_port: 2_u16.to_be_bytes(),
        destination_port: 80_u16.to_be_bytes(),
        protocol: 6,
        via: [0; 3],
    };
    assert_eq!(pair.edge.flow(names::FLOWS_PINNED, &key), None);
}

#[test]
fn errors_that_quote_no_flow_of_ours_are_dropped_and_counted() {
    let mut pair = Pair::new(&backend(1));
    let of = |flow: &Frame| answer_to(flow).packet();
    let flow = Frame::tcp(4000, ACK);
    let mut piece = of(&flow);
    piece[7] = 1;
    let mut other = of(&flow);
    other[9] = 47;
    let elsewhere = answer_to(&flow).with_v4(|ip| ip.source = [192, 0, 2, 9]).packet();
    let closed = Frame { transport: Transport::Udp { source: 1, destination: 99 }, ..Frame::udp(1) };
    for quoted in [&of(&flow)[..27], &piece, &other, &elsewhere, &of(&closed), &[]] {
        let error = icmp(false, 3, 3, &[&[0; 4][..], quoted].concat());
        assert_eq!(pair.run("unknown", &error.bytes()).action, DROP);
    }
    assert_eq!(pair.edge.verdicts(), [(Reason::IcmpUnknown, 6)]);
    // Ethernet padding is no quote.
    let error = Frame { padding: 40, ..icmp(false, 3, 3, &[&[0; 4][..], &of(&flow)[..24]].concat()) };
    assert_eq!(pair.run("padding", &error.bytes()).action, DROP);
}

/// A pair whose services translate.
fn translating(v6: bool) -> Pair {
    let mut pair = Pair::new(&backend(1));
    let entry = if v6 { backend_v6(1) } else { backend(1) };
    pair.set_backend(5, &BackendEntry { mode: mode::NAT, port: 8080_u16.to_be_bytes(), ..entry });
    pair.set_services(service(3, flags::NAT));
    pair
}

#[test]
fn errors_about_translated_flows_are_translated_both_ways_with_what_they_quote() {
    for v6 in [false, true] {
        for flow in [Frame::tcp(4000, SYN), Frame::udp(4001)] {
            let flow = Frame { payload: vec![7; 31], ..flow };
            let flow = if v6 { flow.v6() } else { flow };
            let mut pair = translating(v6);
            let sent = pair.run("opens", &flow.bytes());
            let least = if v6 { 48 } else { 28 };
            let message = |quoted: &[u8]| [&[0, 0, 5, 0][..], quoted].concat();
            let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
            // From the client's side: it quotes what we sent to the client.
            let quoted = answer_to(&flow).packet();
            for len in [least, least + 7, quoted.len() - 1, quoted.len()] {
                let error = icmp(v6, kind, code, &message(&quoted[..len]));
                let Outcome { action, bytes } = pair.run("to the server", &error.bytes());
                assert_eq!(action, TX);
                assert!(is_right(&bytes), "{v6} {len}: {bytes:02x?}");
            }
            // From the server's side: it quotes what we sent to the server.
            let quoted = &sent.bytes[14..];
            for len in [least, least + 7, quoted.len() - 1, quoted.len()] {
                let mut error = icmp(v6, kind, code, &message(&quoted[..len]));
                match &mut error.ip {
                    Ip::V4(ip) => ip.destination = NAT_SOURCES[0][12..].try_into().unwrap(),
                    Ip::V6(ip) => ip.destination = NAT_SOURCES[1],
                }
                if let Ip::V6(ip) = &error.ip {
                    error.payload[2..4].fill(0);
                    let sum = transport_checksum(&[ip.source, ip.destination].concat(), 58, &error.payload);
                    error.payload[2..4].copy_from_slice(&sum.to_be_bytes());
                }
                let Outcome { action, bytes } = pair.run("to the client", &error.bytes());
                assert_eq!(action, TX);
                assert!(is_right(&bytes), "{v6} {len}: {bytes:02x?}");
                let at = 14 + if v6 { 40 } else { 20 } + 8;
                let original = flow.packet();
                // All but hops and checksum of the quoted IP header is again what the client sent.
                let same = if v6 { 8..48 } else { 12..28 };
                assert_eq!(bytes[at..][same.clone()], original[same], "{v6}");
            }
        }
    }
}

#[test]
fn errors_of_strangers_about_translated_flows_go_nowhere() {
    let mut pair = translating(false);
    let sent = pair.run("opens", &Frame::udp(4001).bytes());
    let mut quoted = sent.bytes[14..].to_vec();
    quoted[16..20].copy_from_slice(&[10, 0, 0, 2]);
    let error = icmp(false, 3, 3, &[&[0; 4][..], &quoted].concat())
        .with_v4(|ip| ip.destination = NAT_SOURCES[0][12..].try_into().unwrap());
    assert_eq!(pair.run("another server", &error.bytes()).action, DROP);
    let unknown = icmp(false, 3, 3, &[&[0; 4][..], &answer_to(&Frame::udp(4002)).packet()].concat());
    assert_eq!(pair.run("another client", &unknown.bytes()).action, DROP);
    assert_eq!(pair.edge.verdict(Reason::IcmpUnknown), 2);
    let flow = answer_to(&Frame::udp(4001)).packet();
    let spent = icmp(false, 3, 3, &[&[0; 4][..], &flow].concat()).with_v4(|ip| ip.ttl = 1);
    assert_eq!(pair.run("no hops left", &spent.bytes()).action, DROP);
    assert_eq!(pair.edge.verdict(Reason::TtlExceeded), 1);
}

#[test]
fn what_does_not_fit_is_answered_with_what_would() {
    let frame = Frame { payload: vec![7; 1400], ..Frame::tcp(4000, ACK) };
    let len = frame.packet().len() as u16;
    for (outer, entry) in [(20, backend(1)), (40, backend_v6(1))] {
        let mut pair = Pair::new(&BackendEntry { mtu: len + outer - 1, ..entry });
        let Outcome { action, bytes } = pair.run("one byte too big", &frame.bytes());
        assert_eq!((action, bytes[34], bytes[35]), (TX, 3, 4));
        assert_eq!(bytes[40..42], (len - 1).to_be_bytes());
        assert!(is_right(&bytes));
    }
    let v6 = frame.clone().v6();
    let len = v6.packet().len() as u16;
    let mut pair = Pair::new(&BackendEntry { mtu: len + 19, ..backend(1) });
    let Outcome { action, bytes } = pair.run("IPv6", &v6.bytes());
    assert_eq!((action, bytes[54], bytes[55]), (TX, 2, 0));
    assert_eq!(bytes[58..62], u32::from(len - 1).to_be_bytes());
    assert!(is_right(&bytes));
    pair.set_backend(5, &BackendEntry { mtu: 1299, ..backend(1) });
    assert_eq!(pair.run("IPv6 wants 1280 bytes of every path", &v6.bytes()).action, DROP);
    assert_eq!(pair.edge.verdict(Reason::TooBig), 1);
    let mut pair = translating(false);
    pair.set_backend(5, &BackendEntry { mode: mode::NAT, mtu: 1000, ..backend(1) });
    let Outcome { action, bytes } =
        pair.run("translated", &Frame { payload: vec![7; 1400], ..Frame::tcp(1, SYN) }.bytes());
    assert_eq!((action, &bytes[40..42]), (TX, &1000_u16.to_be_bytes()[..]));
    assert_eq!(pair.edge.nat_index_len(), 0);
}

#[test]
fn hops_that_are_used_up_where_we_route_are_answered() {
    for v6 in [false, true] {
        let mut pair = translating(v6);
        for hops in [0, 1] {
            let frame = Frame::tcp(4000, SYN);
            let frame = if v6 { frame.v6().with_v6(|ip| ip.hops = hops) } else { frame.with_v4(|ip| ip.ttl = hops) };
            let Outcome { action, bytes } = pair.run("TTL", &frame.bytes());
            assert_eq!(action, TX);
            assert!(is_right(&bytes));
        }
        assert_eq!(pair.edge.verdicts(), [(Reason::TtlAnswered, 2)]);
    }
}

/// A UDP packet in two pieces, the first with the header.
fn pieces(v6: bool) -> [Frame; 2] {
    let whole = Frame { payload: (0..=255).collect(), ..Frame::udp(4001) };
    if !v6 {
        let segment = whole.packet()[20..].to_vec();
        let piece = |at: usize, end: usize, more| Frame {
            transport: Transport::Other { protocol: 17 },
            payload: segment[at..end].to_vec(),
            ..whole.clone().with_v4(|ip| ip.fragment = more | (at / 8) as u16)
        };
        return [piece(0, 128, 0x2000), piece(128, segment.len(), 0)];
    }
    let whole = whole.v6();
    let segment = whole.packet()[40..].to_vec();
    let piece = |at: usize, end: usize, more: u16| Frame {
        transport: Transport::Other { protocol: 44 },
        payload: [&[17, 0], &(at as u16 | more).to_be_bytes()[..], &[1, 2, 3, 4], &segment[at..end]].concat(),
        ..whole.clone()
    };
    [piece(0, 128, 1), piece(128, segment.len(), 0)]
}

#[test]
fn pieces_follow_their_first_piece() {
    for v6 in [false, true] {
        let [first, rest] = pieces(v6);
        let mut pair = Pair::new(&backend(1));
        assert_eq!(pair.run("no first piece yet", &rest.bytes()).action, DROP);
        assert_eq!(pair.edge.verdict(Reason::FragmentUnknown), 1);
        let source = |outcome: Outcome| {
            assert_eq!(outcome.action, TX);
            outcome.bytes[26..30].to_vec()
        };
        let one = source(pair.run("first", &first.bytes()));
        assert_eq!(one, source(pair.run("rest", &rest.bytes())), "the same flow");
        let other = match rest.clone().ip {
            Ip::V4(_) => rest.clone().with_v4(|ip| ip.id = 7),
            Ip::V6(_) => Frame { payload: [&rest.payload[..4], &[9; 4], &rest.payload[8..]].concat(), ..rest.clone() },
        };
        assert_eq!(pair.run("of another packet", &other.bytes()).action, DROP);
        pair.check_counters();

        let mut pair = translating(v6);
        let sent = pair.run("first", &first.bytes());
        let follows = pair.run("rest", &rest.bytes());
        assert_eq!((sent.action, follows.action), (TX, TX));
        let addresses = if v6 { 22..54 } else { 26..34 };
        assert_eq!(sent.bytes[addresses.clone()], follows.bytes[addresses]);
        if !v6 {
            assert_eq!(checksum(&follows.bytes[14..34]), 0);
        }
    }
}

#[test]
fn a_first_piece_without_all_of_its_header_is_dropped() {
    let mut pair = Pair::new(&backend(1));
    let tiny = Frame {
        transport: Transport::Other { protocol: 6 },
        payload: vec![0; 16],
        ..Frame::tcp(1, SYN).with_v4(|ip| ip.fragment = 0x2000)
    };
    assert_eq!(pair.run("tiny", &tiny.bytes()).action, DROP);
    assert_eq!(pair.edge.verdicts(), [(Reason::BadHeaders, 1)]);
}

#[test]
fn extension_headers_are_walked_within_a_bound() {
    let udp = Frame::udp(4001).v6();
    let behind = |chain: &[u8], next| Frame {
        transport: Transport::Other { protocol: next },
        payload: [chain, &udp.packet()[40..]].concat(),
        ..udp.clone()
    };
    let options = |next: u8, len: u8| [&[next, len][..], &vec![0; usize::from(len) * 8 + 6]].concat();
    let eight = [options(60, 0).repeat(7), options(17, 0)].concat();
    let nine = [options(60, 0).repeat(8), options(17, 0)].concat();
    let cases: [(&str, Frame, u32); 7] = [
        ("hop-by-hop", behind(&options(17, 0), 0), TX),
        ("destination options", behind(&options(17, 3), 60), TX),
        ("authentication", behind(&[&[17, 2][..], &[0; 14]].concat(), 51), TX),
        ("eight", behind(&eight, 60), TX),
        ("nine", behind(&nine, 60), DROP),
        ("too long", behind(&options(17, 60), 60), DROP),
        ("beyond the frame", behind(&[17, 255, 0, 0, 0, 0, 0, 0], 60), DROP),
    ];
    for (name, frame, action) in cases {
        for mut pair in [Pair::new(&backend(1)), translating(true)] {
            let outcome = pair.run(name, &frame.bytes());
            assert_eq!(outcome.action, action, "{name}");
            pair.check_counters();
        }
    }
}

#[test]
fn a_frame_of_more_than_one_buffer_is_forwarded_whole() {
    for v6 in [false, true] {
        let frame = Frame { payload: (0..8_800).map(|n| n as u8).collect(), ..Frame::tcp(4000, ACK) };
        let frame = if v6 { frame.v6() } else { frame };
        let mut pair = Pair::new(&BackendEntry { mtu: 9_000, ..backend(1) });
        let Outcome { action, bytes } = pair.run("jumbo", &frame.bytes());
        assert_eq!(action, TX);
        assert!(bytes.ends_with(&frame.packet()));
        pair.check_counters();
    }
}
