//! Network address translation: what goes to the server, what comes back, and whose place goes to whom.

use lb_common::abi::backend::{mode, state};
use lb_common::abi::nat::{NAT_WAYS, NatBucket, PORTS, marks};
use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, FlowKey, NatFlow, Reason, Slot, names};
use lb_common::nat::index::Entry;
use lb_common::nat::lifetime::{seconds, ticks};
use lb_common::nat::ports::index_of;
use tests::vm::scaled;

use crate::edge::{DROP, NAT_SOURCES, OTHER_INTERFACE, Outcome, PASS, REDIRECT, TX, backend, backend_v6};
use crate::forwarding::{Pair, service};
use crate::packets::{Frame, Ip, Transport, V4, V6};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The services of [`Pair::new`], translated to port 8080 of a server.
fn pair(v6: bool, change: impl FnOnce(&mut BackendEntry)) -> Pair {
    let mut entry = if v6 { backend_v6(1) } else { backend(1) };
    entry.mode = mode::NAT;
    entry.port = 8080u16.to_be_bytes();
    change(&mut entry);
    let mut pair = Pair::new(&entry);
    pair.set_services(service(3, flags::NAT));
    pair
}

/// What the server answers to a packet that the edge sent it.
pub fn reply(to: &Outcome, flags: u8) -> Frame {
    let bytes = &to.bytes;
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let v6 = bytes[12..14] == [0x86, 0xdd];
    let (ip, protocol, at) = if v6 {
        let address = |at: usize| bytes[at..at + 16].try_into().unwrap();
        (Ip::V6(V6 { source: address(38), destination: address(22), class: 0, hops: 64 }), bytes[20], 54)
    } else {
        let address = |at: usize| bytes[at..at + 4].try_into().unwrap();
        let (source, destination) = (address(30), address(26));
        let v4 = V4 { source, destination, tos: 0, ttl: 64, id: 9, fragment: 0x4000, options: vec![] };
        (Ip::V4(v4), bytes[23], 34)
    };
    let (source, destination) = (port(at + 2), port(at));
    let transport = match protocol {
        6 => Transport::Tcp { source, destination, seq: 7, ack: 8, flags },
        _ => Transport::Udp { source, destination },
    };
    Frame { tags: vec![], ip, transport, payload: b"hello back".to_vec(), padding: 0 }
}

fn key_of(frame: &Frame) -> FlowKey {
    let (source, destination) = match &frame.ip {
        Ip::V4(ip) => (lb_common::abi::mapped_v4(ip.source), lb_common::abi::mapped_v4(ip.destination)),
        Ip::V6(ip) => (ip.source, ip.destination),
    };
    let (protocol, ports) = match frame.transport {
        Transport::Tcp { source, destination, .. } => (6, [source, destination]),
        Transport::Udp { source, destination } => (17, [source, destination]),
        Transport::Other { .. } => panic!("no ports"),
    };
    let [source_port, destination_port] = ports.map(u16::to_be_bytes);
    FlowKey { source, destination, source_port, destination_port, protocol, via: [0; 3] }
}

fn flow(pair: &Pair, frame: &Frame) -> (u32, NatFlow) {
    pair.edge.nat_flow(&key_of(frame)).unwrap()
}

#[test]
fn packets_go_to_the_server_and_its_answers_back_to_the_client() {
    let tags: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 5)], &[(0x88a8, 6), (0x8100, 7)]];
    for v6 in [false, true] {
        for (outer, inner) in [([0, 0], [0, 0]), ([0x20, 9], [0, 0]), ([0, 9], [0xe0, 10])] {
            for tags in tags {
                for mut frame in [Frame::tcp(4000, SYN), Frame::udp(4001)] {
                    frame = if v6 { frame.v6() } else { frame };
                    frame.tags = tags.to_vec();
                    let name = format!("IPv6 {v6}, tags {tags:?} to {outer:?} {inner:?}");
                    let mut pair = pair(v6, |entry| (entry.vlan_outer, entry.vlan_inner) = (outer, inner));
                    let sent = pair.run(&name, &frame.bytes());
                    assert_eq!(sent.action, TX, "{name}");
                    let untagged =
                        [&sent.bytes[..12], &sent.bytes[sent.bytes.len() - frame.packet().len() - 2..]].concat();
                    let answer = reply(&Outcome { action: TX, bytes: untagged }, SYN | ACK);
                    let back = pair.run(&name, &answer.bytes());
                    assert_eq!(back.action, TX, "{name}");
                    // From the edge to the client, through the VLANs it came from.
                    assert_eq!(back.bytes[..12], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
                    assert_eq!(back.bytes.len(), answer.bytes().len() + 4 * tags.len());
                    pair.check_counters();
                }
            }
        }
    }
}

#[test]
fn a_translated_packet_is_exactly_this() {
    let mut pair = pair(false, |_| {});
    let frame = Frame::tcp(4000, SYN);
    let Outcome { action, bytes } = pair.run("golden", &frame.bytes());
    assert_eq!(action, TX);
    let port = u16::from_be_bytes([bytes[34], bytes[35]]);
    let mut expected = frame.clone().with_v4(|ip| {
        ip.source = [10, 9, 0, 1];
        ip.destination = [10, 0, 0, 1];
        ip.ttl = 60;
    });
    expected.transport = Transport::Tcp { source: port, destination: 8080, seq: 1000, ack: 2000, flags: SYN };
    assert_eq!(bytes[..14], [2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 2, 2, 0x08, 0x00]);
    assert_eq!(bytes[14..], expected.packet());

    let back = pair.run("golden", &reply(&Outcome { action, bytes }, SYN | ACK).bytes());
    let mut expected = frame.with_v4(|ip| {
        (ip.source, ip.destination) = ([192, 0, 2, 1], [198, 51, 100, 7]);
        (ip.ttl, ip.id) = (63, 9);
    });
    expected.transport = Transport::Tcp { source: 80, destination: 4000, seq: 7, ack: 8, flags: SYN | ACK };
    expected.payload = b"hello back".to_vec();
    assert_eq!(back.bytes[14..], expected.packet());
}

#[test]
fn a_flow_keeps_its_port_and_its_server_through_changes_of_the_table() {
    let mut pair = pair(false, |_| {});
    let syn = pair.run("opens", &Frame::tcp(4000, SYN).bytes());
    pair.set_backend(6, &BackendEntry { mode: mode::NAT, ..backend(2) });
    pair.set_slots(100, &[Slot::to_backend(6); 3]);
    for flags in [SYN, ACK, ACK | 8, FIN | ACK] {
        let sent = pair.run("goes on", &Frame::tcp(4000, flags).bytes());
        assert_eq!(sent.bytes[26..36], syn.bytes[26..36]);
    }
    let other = pair.run("a new one", &Frame::tcp(4001, SYN).bytes());
    assert_eq!(other.bytes[30..34], [10, 0, 0, 2]);
    assert_ne!(other.bytes[34..36], syn.bytes[34..36]);
}

#[test]
fn flows_of_a_server_that_is_down_or_replaced_are_void_at_once() {
    let void: [fn(&mut BackendEntry); 3] =
        [|entry| entry.state &= !state::UP, |entry| entry.generation += 1, |entry| entry.identity = 0];
    for change in void {
        for reject in [0, flags::EMPTY_REJECT] {
            let mut pair = pair(false, |_| {});
            pair.set_services(service(3, flags::NAT | reject));
            pair.run("opens", &Frame::tcp(4000, SYN).bytes());
            pair.run("opens", &Frame::udp(4001).bytes());
            let mut entry = pair.model.backends[&5];
            change(&mut entry);
            pair.set_backend(5, &entry);
            pair.set_backend(6, &BackendEntry { mode: mode::NAT, ..backend(2) });
            pair.set_slots(100, &[Slot::to_backend(6); 3]);
            let refused = pair.run("of a dead server", &Frame::tcp(4000, ACK).bytes());
            assert_eq!(refused.action, if reject == 0 { DROP } else { TX });
            let reason = if reject == 0 { Reason::NatUnknownFlow } else { Reason::Rejected };
            assert_eq!(pair.edge.verdict(reason), 1);
            for again in [Frame::tcp(4000, SYN), Frame::udp(4001)] {
                let sent = pair.run("opens again", &again.bytes());
                assert_eq!(sent.bytes[30..34], [10, 0, 0, 2]);
            }
            assert_eq!(pair.edge.nat_index_len(), 2);
        }
    }
}

#[test]
fn packets_without_a_flow_do_not_open_one_unless_they_may() {
    let mut pair = pair(false, |_| {});
    for flags in [ACK, FIN | ACK, RST, SYN | ACK, 0] {
        assert_eq!(pair.run("unknown", &Frame::tcp(4000, flags).bytes()).action, DROP);
    }
    assert_eq!(pair.edge.verdict(Reason::NatUnknownFlow), 5);
    assert_eq!(pair.edge.nat_index_len(), 0);
    let to_us = |port| {
        let mut frame = Frame::tcp(8080, ACK).with_v4(|ip| {
            (ip.source, ip.destination) = ([10, 0, 0, 1], [10, 9, 0, 1]);
        });
        frame.transport = Transport::Tcp { source: 8080, destination: port, seq: 1, ack: 1, flags: ACK };
        frame.bytes()
    };
    for port in [0, 80, 1023, 1024, 40_000, 65_535] {
        assert_eq!(pair.run("no flow", &to_us(port)).action, PASS);
    }
    assert_eq!(pair.edge.verdict(Reason::NatNoFlow), 6);
}

#[test]
fn only_the_flows_own_server_reaches_its_client() {
    let mut pair = pair(false, |_| {});
    let sent = pair.run("opens", &Frame::udp(4000).bytes());
    let good = reply(&sent, 0);
    let Transport::Udp { source, destination } = good.transport else { panic!("UDP") };
    let stranger = good.clone().with_v4(|ip| ip.source = [10, 0, 0, 2]);
    let other_port = Frame { transport: Transport::Udp { source: source + 1, destination }, ..good.clone() };
    let transport = Transport::Tcp { source, destination, seq: 1, ack: 1, flags: ACK };
    let other_protocol = Frame { transport, ..good.clone() };
    for frame in [stranger, other_port, other_protocol] {
        assert_eq!(pair.run("a stranger", &frame.bytes()).action, PASS);
    }
    assert_eq!(pair.run("the server", &good.bytes()).action, TX);
}

#[test]
fn what_cannot_be_forwarded_leaves_for_its_reason_and_opens_nothing() {
    type Change = fn(&mut BackendEntry);
    let cases: [(Change, Reason); 2] = [
        (|entry| entry.state &= !state::RESOLVED, Reason::NextHopUnresolved),
        (|entry| *entry = BackendEntry { mode: mode::NAT, ..backend_v6(1) }, Reason::NoBackend),
    ];
    for (change, reason) in cases {
        let mut pair = pair(false, change);
        assert_eq!(pair.run("refused", &Frame::tcp(4000, SYN).bytes()).action, DROP);
        assert_eq!((pair.edge.verdict(reason), pair.edge.nat_index_len()), (1, 0), "{reason:?}");
    }
    let mut pair = pair(false, |entry| entry.ifindex = OTHER_INTERFACE);
    for ttl in [0, 1] {
        let frame = Frame::tcp(4000, SYN).with_v4(|ip| ip.ttl = ttl);
        assert_eq!(pair.run("TTL", &frame.bytes()).action, TX);
    }
    assert_eq!((pair.edge.verdict(Reason::TtlAnswered), pair.edge.nat_index_len()), (2, 0));
    assert_eq!(pair.run("elsewhere", &Frame::tcp(4000, SYN).bytes()).action, REDIRECT);
}

#[test]
fn marks_and_times_follow_the_segments() {
    let mut pair = pair(false, |_| {});
    let client = |flags| Frame::tcp(4000, flags);
    let sent = pair.run("SYN", &client(SYN).bytes());
    let (index, first) = flow(&pair, &client(SYN));
    assert_eq!((first.from_client, first.from_server), (marks::SPOKE, 0));
    pair.edge.set_nat_flow(index, &NatFlow { seen: first.seen.wrapping_sub(1_000), ..first });
    pair.run("SYN ACK", &reply(&sent, SYN | ACK).bytes());
    assert!(flow(&pair, &client(SYN)).1.seen >= first.seen, "answers keep a flow alive");
    pair.run("ACK", &client(ACK).bytes());
    pair.run("FIN", &reply(&sent, FIN | ACK).bytes());
    pair.run("FIN", &client(FIN | ACK).bytes());
    let (_, last) = flow(&pair, &client(SYN));
    assert_eq!(last.from_client, marks::SPOKE | marks::CONFIRMED | marks::FIN);
    assert_eq!(last.from_server, marks::SPOKE | marks::FIN | marks::FIRST_FIN);
    let again = pair.run("the same tuple opens again", &client(SYN).bytes());
    assert_ne!(again.bytes[34..36], sent.bytes[34..36], "the server waits with the old port");
    assert_eq!(pair.edge.nat_index_len(), 1);
}

/// Fills every place of the IPv4 source with flows like this one, of nobody in the index.
fn fill(pair: &mut Pair, like: &NatFlow) {
    pair.edge.fill_nat_flows(0..lb_common::abi::nat::PORTS, like);
}

#[test]
fn a_full_table_evicts_half_open_and_ended_flows_and_never_a_living_one() {
    let opened = Frame::tcp(4000, SYN);
    let mut pair = pair(false, |_| {});
    pair.run("opens", &opened.bytes());
    let (_, half_open) = flow(&pair, &opened);
    let established =
        NatFlow { from_client: 3, from_server: 1, key: FlowKey { via: [1; 3], ..half_open.key }, ..half_open };
    let old = |seconds| NatFlow { seen: half_open.seen.wrapping_sub(ticks(seconds) + 1), ..established };
    let cases = [
        (established, false, 0),
        (NatFlow { generation: established.generation + 1, ..established }, true, 0),
        (old(seconds::TCP_ESTABLISHED), true, 0),
        (NatFlow { from_client: 1, ..established }, true, 1),
        (NatFlow { from_server: marks::SPOKE | marks::RST, ..established }, true, 1),
        (NatFlow { from_server: marks::SPOKE | marks::RST, server: [7; 16], ..established }, true, 0),
    ];
    for (number, (like, gives_way, evicted)) in cases.into_iter().enumerate() {
        fill(&mut pair, &like);
        let before = [Reason::NatEvicted, Reason::NatPortsExhausted].map(|reason| pair.edge.verdict(reason));
        let outcome = pair.edge.run(&Frame::tcp(5000 + number as u16, SYN).bytes());
        let after = [Reason::NatEvicted, Reason::NatPortsExhausted].map(|reason| pair.edge.verdict(reason));
        assert_eq!(outcome.action, if gives_way { TX } else { DROP }, "case {number}");
        assert_eq!([after[0] - before[0], after[1] - before[1]], [evicted, u64::from(!gives_way)], "case {number}");
    }
}

#[test]
fn a_flow_that_gave_way_is_forgotten_and_its_tuple_opens_anew() {
    let opened = Frame::tcp(4000, SYN);
    let mut pair = pair(false, |_| {});
    pair.run("opens", &opened.bytes());
    let (index, half_open) = flow(&pair, &opened);
    // Only this flow gives way: everywhere else are established ones.
    fill(
        &mut pair,
        &NatFlow { from_client: 3, from_server: 1, key: FlowKey { via: [1; 3], ..half_open.key }, ..half_open },
    );
    pair.edge.set_nat_flow(index, &half_open);
    let taken = (5000..=65_000u16).find(|port| pair.edge.run(&Frame::tcp(*port, SYN).bytes()).action == TX).unwrap();
    assert_eq!(flow(&pair, &Frame::tcp(taken, SYN)).0, index);
    assert!(pair.edge.nat_flow(&key_of(&opened)).is_none());
    assert_eq!(pair.edge.nat_index_len(), 1);
    assert_eq!(pair.edge.run(&Frame::tcp(4000, ACK).bytes()).action, DROP);
}

#[test]
fn every_flow_of_a_well_filled_table_is_found_and_none_is_in_the_index_twice() {
    let pair = pair(false, |_| {});
    // A third of the places: none of the places that are drawn for a flow is ever taken from another.
    let flows = scaled(20_000);
    let frames = || {
        (0..flows).map(|number| {
            Frame::udp(1_000 + (number % 50_000) as u16)
                .with_v4(|ip| ip.source = [198, 51, 100, (number / 50_000) as u8])
        })
    };
    for round in 0..2 {
        for frame in frames() {
            assert_eq!(pair.edge.run(&frame.bytes()).action, TX);
        }
        // A flow that cannot be found opens another one.
        let taken = (0..PORTS).filter(|place| pair.edge.nat_place(*place).protocol != 0).count();
        let exhausted = pair.edge.verdict(Reason::NatPortsExhausted) as usize;
        assert_eq!((taken, pair.edge.nat_index_len(), exhausted), (flows, flows, 0), "round {round}");
    }
    for frame in frames() {
        let (place, found) = flow(&pair, &frame);
        assert_eq!(index_of(0, u16::from_be_bytes(found.ports[0])), Some(place));
    }
}

#[test]
fn an_entry_of_a_flow_that_is_no_more_gives_way_where_its_buckets_are_full() {
    let mut pair = pair(false, |_| {});
    let frame = Frame::udp(4000);
    let probe = pair.edge.nat_probe(&key_of(&frame));
    // Entries of places that nobody has: what a change of the sources leaves behind.
    let stale = Entry::new(probe.tag ^ 2, 7).0;
    for bucket in probe.buckets {
        pair.edge.set_nat_bucket(bucket, NatBucket([stale; NAT_WAYS]));
    }
    let sent = pair.run("opens", &frame.bytes());
    assert_eq!(pair.run("goes on", &frame.bytes()).bytes, sent.bytes);
    assert_eq!(pair.edge.nat_flow(&key_of(&frame)).unwrap().1.tag, probe.tag);
    // Those of living flows stay, and the packet has no place.
    let living = NatFlow { protocol: 17, tag: probe.tag ^ 2, ..NatFlow::FREE };
    pair.edge.set_nat_flow(7, &living);
    for bucket in probe.buckets {
        pair.edge.set_nat_bucket(bucket, NatBucket([stale; NAT_WAYS]));
    }
    assert_eq!(pair.edge.run(&frame.bytes()).action, DROP);
    assert_eq!(pair.edge.verdict(Reason::NatPortsExhausted), 1);
}

#[test]
fn without_a_source_address_nothing_is_translated() {
    let mut pair = pair(false, |_| {});
    let mut config = crate::edge::CONFIG;
    config.nat_v4.count = 0;
    pair.edge.set_config(&config);
    assert_eq!(pair.edge.run(&Frame::tcp(4000, SYN).bytes()).action, DROP);
    assert_eq!(pair.edge.verdict(Reason::NatNoSource), 1);
    config.nat_v6.count = 0;
    pair.edge.set_config(&config);
    let to_us = Frame::udp(4000).with_v4(|ip| ip.destination = NAT_SOURCES[0][12..].try_into().unwrap());
    assert_eq!(pair.edge.run(&to_us.bytes()).action, PASS);
    assert_eq!(pair.edge.verdict(Reason::NoService), 1);
}

#[test]
fn a_udp_flow_that_was_quiet_for_too_long_is_a_new_one() {
    let mut pair = pair(false, |_| {});
    let frame = Frame::udp(4000);
    pair.run("opens", &frame.bytes());
    let (index, opened) = flow(&pair, &frame);
    for (quiet, is_new) in [(seconds::UDP_OPENING - 5, false), (seconds::UDP_OPENING + 5, true)] {
        pair.edge.set_nat_flow(index, &NatFlow { seen: opened.seen.wrapping_sub(ticks(quiet)), ..opened });
        let sent = pair.edge.run(&frame.bytes());
        // In the same tick the same places are drawn: it may even get its own again.
        let (place, found) = flow(&pair, &frame);
        assert_eq!((place, found.id) != (index, opened.id), is_new, "after {quiet} s");
        assert_eq!(pair.edge.run(&reply(&sent, 0).bytes()).action, TX, "after {quiet} s");
    }
    assert_eq!(pair.edge.nat_index_len(), 1);
}

#[test]
fn the_flow_tables_of_direct_return_learn_nothing_of_translated_flows() {
    let mut pair = pair(false, |_| {});
    pair.set_slots(100, &[Slot(5 | Slot::MOVING); 3]);
    pair.run("opens", &Frame::tcp(4000, SYN).bytes());
    for name in [names::FLOWS_OPENED, names::FLOWS_PINNED] {
        assert!(pair.edge.flow(name, &key_of(&Frame::tcp(4000, SYN))).is_none());
    }
}
