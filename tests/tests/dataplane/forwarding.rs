//! A table of packets: what goes in, the verdict, and what comes out, byte by byte.

use std::collections::BTreeMap;

use lb_common::abi::backend::state;
use lb_common::abi::service::flags;
use lb_common::abi::vip::flags::{ECHO, REJECT};
use lb_common::abi::{
    AclKey, BackendEntry, FlowEntry, FlowKey, ProtectionEntry, QuicKey, RangeEntry, RangeKey, Reason, ServiceEntry,
    ServiceKey, Slot, mapped_v4, names,
};

use crate::edge::{CONFIG, DROP, Edge, OTHER_INTERFACE, Outcome, PASS, REDIRECT, TX, backend, backend_v6};
use crate::model::Model;
use crate::packets::{Frame, Ip, Transport, V4};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const VIP_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The load balancer and the model, with the same in their maps.
pub struct Pair {
    pub edge: Edge,
    pub model: Model,
}

impl Pair {
    /// TCP port 80 and UDP port 53 of both VIPs, with a table of three slots for backend 5.
    pub fn new(entry: &BackendEntry) -> Self {
        let mut pair = Self { edge: Edge::new(), model: Model { config: Some(CONFIG), ..Model::default() } };
        pair.edge.allow_egress();
        pair.set_backend(5, entry);
        pair.set_slots(100, &[Slot::to_backend(5); 3]);
        for address in [mapped_v4([192, 0, 2, 1]), VIP_V6] {
            pair.set_vip(address, ECHO | REJECT);
        }
        for (port, protocol) in [(80, 6), (53, 17)] {
            for address in [mapped_v4([192, 0, 2, 1]), VIP_V6] {
                pair.set_service(key(address, port, protocol), service(3, 0));
            }
        }
        pair
    }

    pub fn set_backend(&mut self, index: u32, entry: &BackendEntry) {
        self.edge.set_backend(index, entry);
        self.model.backends.insert(index, *entry);
    }

    pub fn set_slots(&mut self, offset: u32, slots: &[Slot]) {
        self.edge.set_slots(offset, slots);
        self.model.slots.extend((offset..).zip(slots.iter().copied()));
    }

    pub fn set_vip(&mut self, address: [u8; 16], flags: u32) {
        self.edge.set_vip(address, flags);
        self.model.vips.insert(address, flags);
    }

    pub fn set_service(&mut self, key: ServiceKey, entry: ServiceEntry) {
        self.edge.set_service(&key, &entry);
        self.model.services.insert(key, entry);
    }

    /// Gives a server an id in the connection ids of a service.
    pub fn set_quic_server(&mut self, key: QuicKey, entry: FlowEntry) {
        self.edge.set_quic_server(&key, &entry);
        self.model.quic.insert(key, entry);
    }

    /// Leads the ports from that of a key to `last` to one service.
    pub fn set_range(&mut self, key: ServiceKey, last: u16, entry: ServiceEntry) {
        let key = ServiceKey { kind: 1, ..key };
        self.set_service(key, entry);
        for prefix in RangeKey::covering(&key, last) {
            self.edge.set_range(&prefix, RangeEntry { first: key.port, pad: [0; 2] });
        }
        self.model.ranges.push((key.address, key.protocol, u16::from_be_bytes(key.port), last));
    }

    pub fn set_protection(&mut self, id: u32, entry: ProtectionEntry) {
        self.edge.set_protection(id, &entry);
        self.model.protection.insert(id, entry);
    }

    /// Allows (1) or denies (2) a prefix: an address and the bits of it that count, of 128.
    pub fn set_acl(&mut self, acl: u32, address: [u8; 16], bits: u32, verdict: u32) {
        let key = AclKey { prefix_len: 32 + bits, acl, address };
        self.edge.set_acl(&key, verdict);
        self.model.acl.insert(key, verdict);
    }

    /// Sets every service's entry.
    pub fn set_services(&mut self, entry: ServiceEntry) {
        for key in self.model.services.keys().copied().collect::<Vec<_>>() {
            self.set_service(key, entry);
        }
    }

    /// Runs both; they must agree on everything.
    pub fn run(&mut self, name: &str, frame: &[u8]) -> Outcome {
        let outcome = self.edge.run(frame);
        assert_eq!(outcome, self.model.run(frame, &outcome), "{name}: {frame:02x?}");
        outcome
    }

    /// Counters of both must agree.
    pub fn check_counters(&self) {
        assert_eq!(self.edge.verdicts().into_iter().collect::<BTreeMap<_, _>>(), self.model.verdicts);
        for id in 0..32 {
            assert_eq!(self.edge.service_stats(id), self.model.service_stats.get(&id).copied().unwrap_or_default());
        }
        for index in 0..32 {
            let expected = self.model.backend_stats.get(&index).copied().unwrap_or_default();
            assert_eq!(self.edge.backend_stats(index), expected, "backend {index}");
        }
    }
}

pub fn key(address: [u8; 16], port: u16, protocol: u8) -> ServiceKey {
    ServiceKey { address, port: port.to_be_bytes(), protocol, kind: 0, pad: [0; 4] }
}

pub fn service(slots_len: u32, flags: u32) -> ServiceEntry {
    ServiceEntry { id: 9, flags, slots_offset: 100, slots_len, previous_offset: 200, previous_len: 2, generation: 1 }
}

fn with(change: impl FnOnce(&mut BackendEntry)) -> BackendEntry {
    let mut entry = backend(1);
    change(&mut entry);
    entry
}

#[test]
fn all_pairs_of_ip_versions_and_tags_leave_as_the_model_says() {
    let tags: [&[(u16, u16)]; 4] = [&[], &[(0x8100, 5)], &[(0x88a8, 6), (0x8100, 7)], &[(0x9100, 6), (0x8100, 7)]];
    for (version, entry) in [(4, backend(1)), (6, backend_v6(1))] {
        for (outer, inner) in [([0, 0], [0, 0]), ([0x20, 9], [0, 0]), ([0, 9], [0xe0, 10])] {
            let mut pair = Pair::new(&BackendEntry { vlan_outer: outer, vlan_inner: inner, ..entry });
            for tags in tags {
                for frame in [Frame::tcp(4000, SYN), Frame::udp(4001)] {
                    for mut frame in [frame.clone(), frame.v6()] {
                        frame.tags = tags.to_vec();
                        let name = format!("outer IPv{version}, tags {tags:?} to {outer:?} {inner:?}");
                        let Outcome { action, bytes } = pair.run(&name, &frame.bytes());
                        assert_eq!(action, TX, "{name}");
                        assert!(bytes.ends_with(&frame.packet()), "{name}");
                    }
                }
            }
            pair.check_counters();
        }
    }
}

/// RFC 4291's mapped addresses belong on no wire; the maps write IPv4 services by them.
#[test]
fn an_ipv6_packet_to_the_mapped_address_of_an_ipv4_service_is_not_that_services() {
    let mut pair = Pair::new(&backend(1));
    let address = lb_common::abi::mapped_v4([192, 0, 2, 1]);
    let frame = Frame::tcp(4000, SYN).v6().with_v6(|ip| ip.destination = address);
    let outcome = pair.run("mapped", &frame.bytes());
    assert_eq!((outcome.action, outcome.bytes), (PASS, frame.bytes()));
    assert_eq!(pair.edge.verdict(Reason::NoService), 1);
}

#[test]
fn an_outer_ipv4_header_is_exactly_this() {
    let mut pair = Pair::new(&backend(1));
    let frame = Frame::tcp(4000, SYN).with_v4(|ip| {
        ip.tos = 0xb9;
        ip.fragment = 0;
    });
    let Outcome { action, bytes } = pair.run("golden", &frame.bytes());
    assert_eq!(action, TX);
    assert_eq!(bytes[..14], [2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 2, 2, 0x08, 0x00]);
    let source: [u8; 4] = bytes[26..30].try_into().unwrap();
    assert_eq!(source[..2], [172, 16]);
    let outer = V4 { source, destination: [10, 0, 0, 1], tos: 0xb9, ttl: 64, id: 0x1234, fragment: 0, options: vec![] };
    assert_eq!(bytes[14..34], outer.header(4, frame.packet().len()));
    assert_eq!(bytes[34..], frame.packet());
}

#[test]
fn outer_sources_vary_with_the_flow_and_only_with_it() {
    let mut pair = Pair::new(&backend(1));
    let mut source = |port| pair.run("source", &Frame::tcp(port, ACK).bytes()).bytes[26..30].to_vec();
    assert_eq!(source(1), source(1));
    let sources: std::collections::BTreeSet<_> = (0..200).map(&mut source).collect();
    assert!(sources.len() > 190, "{}", sources.len());
}

#[test]
fn packets_that_are_not_for_a_service_are_passed_up_untouched_with_their_reason() {
    let plain = || Frame::tcp(4000, SYN).with_v4(|ip| ip.destination = [192, 0, 2, 2]);
    let plain_v6 = || Frame::tcp(4000, SYN).v6().with_v6(|ip| ip.destination[15] = 2);
    let other = |protocol| Frame { transport: Transport::Other { protocol }, ..plain() };
    let extended = |chain: &[u8], next| {
        let payload = [chain, &Frame::udp(1).packet()[20..]].concat();
        Frame { transport: Transport::Other { protocol: next }, payload, ..plain_v6() }
    };
    let cut = |frame: Frame, to: usize| frame.bytes()[..to].to_vec();
    let patched = |at: usize, value: u8| {
        let mut bytes = plain().bytes();
        bytes[at] = value;
        bytes
    };
    let cases: Vec<(&str, Vec<u8>, Reason)> = vec![
        ("TCP", plain().bytes(), Reason::NoService),
        ("UDP", patched(23, 17), Reason::NoService),
        ("all options", plain().with_v4(|ip| ip.options = vec![1; 40]).bytes(), Reason::NoService),
        ("ARP", patched(13, 6), Reason::NotIp),
        ("an unknown EtherType", patched(12, 0x99), Reason::NotIp),
        ("ICMP", other(1).bytes(), Reason::OtherProtocol),
        ("IPIP", other(4).bytes(), Reason::OtherProtocol),
        ("SCTP", other(132).bytes(), Reason::OtherProtocol),
        ("hop-by-hop options", extended(&[17, 0, 1, 4, 0, 0, 0, 0], 0).bytes(), Reason::NoService),
        ("an IPv6 fragment", extended(&[17, 0, 0, 9, 0, 0, 0, 7], 44).bytes(), Reason::Fragment),
        ("nine extension headers", extended(&[60, 0, 1, 4, 0, 0, 0, 0].repeat(9), 60).bytes(), Reason::Malformed),
        ("encrypted", extended(&[1; 16], 50).bytes(), Reason::OtherProtocol),
        ("a first fragment", plain().with_v4(|ip| ip.fragment = 0x2000).bytes(), Reason::Fragment),
        ("a later fragment", plain().with_v4(|ip| ip.fragment = 1).bytes(), Reason::Fragment),
        ("the last fragment", plain().with_v4(|ip| ip.fragment = 0x1fff).bytes(), Reason::Fragment),
        ("three tags", Frame { tags: vec![(0x8100, 1); 3], ..plain() }.bytes(), Reason::VlanDepth),
        ("version 5", patched(14, 0x55), Reason::Malformed),
        ("a header of 16 bytes", patched(14, 0x44), Reason::Malformed),
        ("a length beyond the frame", patched(16, 1), Reason::Malformed),
        ("a length within the header", patched(17, 19), Reason::Malformed),
        ("TCP of 19 bytes", patched(17, 39), Reason::Malformed),
        ("cut within IP", cut(plain(), 30), Reason::Malformed),
        ("cut within TCP", cut(plain(), 50), Reason::Malformed),
        ("cut within a tag", cut(Frame { tags: vec![(0x8100, 1)], ..plain() }, 16), Reason::Malformed),
        ("IPv6 cut short", cut(plain_v6(), 60), Reason::Malformed),
        ("a frame of 9,000 bytes", Frame { payload: vec![7; 8_900], ..plain() }.bytes(), Reason::NoService),
    ];
    for (name, bytes, reason) in cases {
        let mut pair = Pair::new(&backend(1));
        assert_eq!(pair.run(name, &bytes), Outcome { action: PASS, bytes: bytes.clone() }, "{name}");
        assert_eq!(pair.edge.verdicts(), [(reason, 1)], "{name}");
    }
}

#[test]
fn unusual_packets_of_a_service_are_forwarded_all_the_same() {
    let plain = || Frame::tcp(4000, ACK);
    let cases = [
        ("options", plain().with_v4(|ip| ip.options = vec![1; 4])),
        ("all options", plain().with_v4(|ip| ip.options = vec![1; 40])),
        ("a first fragment", plain().with_v4(|ip| ip.fragment = 0x2000)),
        ("Ethernet padding", Frame { payload: Vec::new(), padding: 6, ..plain() }),
        ("no payload", Frame { payload: Vec::new(), ..Frame::udp(7) }),
        ("the last hop", plain().with_v4(|ip| ip.ttl = 1)),
        (
            "options behind two tags",
            Frame { tags: vec![(0x8100, 1); 2], ..plain().with_v4(|ip| ip.options = vec![1; 8]) },
        ),
        ("a traffic class", plain().v6().with_v6(|ip| ip.class = 0xa5)),
    ];
    for (name, frame) in cases {
        let mut pair = Pair::new(&backend(1));
        let Outcome { action, bytes } = pair.run(name, &frame.bytes());
        assert_eq!((action, pair.edge.verdicts()), (TX, vec![(Reason::Transmitted, 1)]), "{name}");
        assert!(bytes[..bytes.len() - frame.padding].ends_with(&frame.packet()), "{name}");
        pair.check_counters();
    }
}

#[test]
fn a_backend_that_cannot_be_reached_has_its_reason() {
    let frame = Frame { payload: vec![7; 1400], ..Frame::tcp(4000, ACK) };
    let len = frame.packet().len() as u16;
    let cases = [
        ("unresolved", with(|b| b.state &= !state::RESOLVED), Reason::NextHopUnresolved),
        ("a free entry", with(|b| b.identity = 0), Reason::NoBackend),
        ("an interface that is not in EGRESS", with(|b| b.ifindex = 4321), Reason::EgressMissing),
    ];
    for (name, entry, reason) in cases {
        let mut pair = Pair::new(&entry);
        assert_eq!(pair.run(name, &frame.bytes()).action, DROP, "{name}");
        assert_eq!(pair.edge.verdicts(), [(reason, 1)], "{name}");
        pair.check_counters();
    }
    for entry in [with(|b| b.mtu = len + 20), BackendEntry { mtu: len + 40, ..backend_v6(1) }] {
        assert_eq!(Pair::new(&entry).run("just fits", &frame.bytes()).action, TX);
    }
    let mut pair = Pair::new(&backend(1));
    pair.run("no hops left", &Frame::tcp(1, ACK).with_v4(|ip| ip.ttl = 0).bytes());
    pair.run("no hops left", &Frame::tcp(1, ACK).v6().with_v6(|ip| ip.hops = 0).bytes());
    assert_eq!(pair.edge.verdicts(), [(Reason::TtlExceeded, 2)]);
    // A backend that is down is still the table's owner: health is the planner's business.
    assert_eq!(Pair::new(&with(|b| b.state &= !state::UP)).run("down", &frame.bytes()).action, TX);
}

#[test]
fn another_interface_is_reached_by_redirect() {
    let mut pair = Pair::new(&with(|b| b.ifindex = OTHER_INTERFACE));
    assert_eq!(pair.run("redirect", &Frame::udp(1).bytes()).action, REDIRECT);
    assert_eq!(pair.edge.verdicts(), [(Reason::Redirected, 1)]);
}

#[test]
fn an_empty_pool_drops_or_answers_as_its_service_says() {
    let mut pair = Pair::new(&backend(1));
    pair.set_services(service(0, 0));
    for frame in [Frame::tcp(1, SYN), Frame::udp(1), Frame::tcp(1, SYN).v6(), Frame::udp(1).v6()] {
        assert_eq!(pair.run("drop", &frame.bytes()).action, DROP);
    }
    assert_eq!(pair.edge.verdicts(), [(Reason::EmptyPool, 4)]);

    let mut pair = Pair::new(&backend(1));
    pair.set_services(service(0, flags::EMPTY_REJECT));
    for flags in [SYN, ACK, SYN | ACK, FIN | ACK, FIN, SYN | FIN, 0] {
        for frame in [Frame::tcp(1, flags), Frame::tcp(1, flags).v6()] {
            for tags in [vec![], vec![(0x8100, 3)], vec![(0x88a8, 3), (0x8100, 4)]] {
                assert_eq!(pair.run("reset", &Frame { tags, ..frame.clone() }.bytes()).action, TX);
            }
        }
    }
    for len in [0, 1, 2, 3, 519, 520, 521, 522, 1183, 1184, 1185, 1186, 1300] {
        let frame = Frame { payload: (0..len).map(|n| (n % 251) as u8 + 1).collect(), ..Frame::udp(1) };
        for frame in [frame.clone(), frame.v6()] {
            assert_eq!(pair.run("unreachable", &frame.bytes()).action, TX, "{len}");
        }
    }
    let options = Frame::tcp(1, SYN).with_v4(|ip| ip.options = vec![1; 12]);
    assert_eq!(pair.run("options", &options.bytes()).action, TX);
    pair.check_counters();
}

#[test]
fn nothing_answers_a_reset_a_broadcast_or_a_source_that_is_no_host() {
    let mut to_all = Frame::tcp(1, SYN).bytes();
    to_all[..6].fill(0xff);
    let from = |source| Frame::udp(1).with_v4(|ip| ip.source = source).bytes();
    let from_v6 = |source| Frame::udp(1).v6().with_v6(|ip| ip.source = source).bytes();
    let mut loopback = [0; 16];
    loopback[15] = 1;
    let mut multicast = [0; 16];
    multicast[0] = 0xff;
    let mut short = Frame::tcp(1, SYN).bytes();
    short[46] = 0x40;
    let cases = [
        ("a reset", Frame::tcp(1, RST).bytes()),
        ("a reset with ACK", Frame::tcp(1, RST | ACK).v6().bytes()),
        ("a broadcast frame", to_all),
        ("from 0.0.0.0", from([0; 4])),
        ("from loopback", from([127, 0, 0, 1])),
        ("from multicast", from([224, 0, 0, 1])),
        ("from broadcast", from([255; 4])),
        ("from ::", from_v6([0; 16])),
        ("from ::1", from_v6(loopback)),
        ("from ff00::", from_v6(multicast)),
        ("a TCP header of 16 bytes", short),
    ];
    for (name, bytes) in cases {
        let mut pair = Pair::new(&backend(1));
        pair.set_services(service(0, flags::EMPTY_REJECT));
        assert_eq!(pair.run(name, &bytes).action, DROP, "{name}");
        assert_eq!(pair.edge.verdicts(), [(Reason::EmptyPool, 1)], "{name}");
    }
}

#[test]
fn answers_stop_at_the_bucket_s_burst() {
    let mut edge = Edge::with_reject_burst(10);
    edge.set_service(&key(mapped_v4([192, 0, 2, 1]), 53, 17), &service(0, flags::EMPTY_REJECT));
    for _ in 0..25 {
        edge.run(&Frame::udp(1).bytes());
    }
    assert_eq!(edge.verdicts(), [(Reason::Rejected, 10), (Reason::RejectLimited, 15)]);
}

/// New owner 6, previous owner 5; every slot has the given flag.
pub fn moving(flag: u32) -> Pair {
    let mut pair = Pair::new(&backend(1));
    pair.set_backend(6, &backend(2));
    pair.set_slots(100, &[Slot(6 | flag); 3]);
    pair.set_slots(200, &[Slot::to_backend(5); 2]);
    pair
}

pub fn owner(outcome: &Outcome) -> u8 {
    outcome.bytes[33]
}

pub fn flow(port: u16) -> FlowKey {
    FlowKey {
        source: mapped_v4([198, 51, 100, 7]),
        destination: mapped_v4([192, 0, 2, 1]),
        source_port: port.to_be_bytes(),
        destination_port: 80u16.to_be_bytes(),
        protocol: 6,
        via: [0; 3],
    }
}

#[test]
fn on_a_moving_slot_new_flows_go_to_the_new_owner_and_old_ones_stay() {
    let mut pair = moving(Slot::MOVING);
    assert_eq!(owner(&pair.run("opens", &Frame::tcp(1, SYN).bytes())), 2);
    assert_eq!(owner(&pair.run("goes on", &Frame::tcp(1, ACK).bytes())), 2);
    assert_eq!(owner(&pair.run("is older", &Frame::tcp(2, ACK).bytes())), 1);
    assert_eq!(owner(&pair.run("stays", &Frame::tcp(2, ACK).bytes())), 1);
    assert_eq!(owner(&pair.run("SYN-ACK opens nothing", &Frame::tcp(3, SYN | ACK).bytes())), 1);
    assert_eq!(owner(&pair.run("UDP", &Frame::udp(4).bytes())), 2);
    let entry = |backend| Some(FlowEntry::naming(backend, 1));
    assert_eq!(pair.edge.flow(names::FLOWS_OPENED, &flow(1)), entry(6));
    assert_eq!(pair.edge.flow(names::FLOWS_PINNED, &flow(1)), entry(6), "it goes on: a flood cannot push it out");
    assert_eq!(pair.edge.flow(names::FLOWS_PINNED, &flow(2)), entry(5));
    assert_eq!(pair.edge.flow(names::FLOWS_OPENED, &flow(2)), None);
    let udp = FlowKey { protocol: 17, destination_port: 53u16.to_be_bytes(), ..flow(4) };
    assert_eq!(pair.edge.flow(names::FLOWS_OPENED, &udp).or(pair.edge.flow(names::FLOWS_PINNED, &udp)), None);
    pair.run("over IPv6", &Frame::tcp(1, SYN).v6().bytes());
    pair.run("over IPv6", &Frame::tcp(2, ACK).v6().bytes());
    // After the window: entries count, nothing is noted.
    pair.set_slots(100, &[Slot(6 | Slot::EXCEPTIONS); 3]);
    assert_eq!(owner(&pair.run("opened before", &Frame::tcp(1, ACK).bytes())), 2);
    assert_eq!(owner(&pair.run("pinned before", &Frame::tcp(2, ACK).bytes())), 1);
    assert_eq!(owner(&pair.run("unknown", &Frame::tcp(9, ACK).bytes())), 2);
    assert_eq!(pair.edge.flow(names::FLOWS_PINNED, &flow(9)), None);
    pair.check_counters();
}

#[test]
fn an_entry_remembers_when_its_flow_asked_for_it_last_and_nothing_asks_where_no_slot_is_marked() {
    let mut pair = moving(Slot::EXCEPTIONS);
    pair.edge.set_flow(names::FLOWS_PINNED, &flow(1), &FlowEntry::naming(5, 1));
    pair.model.pinned.insert(flow(1), FlowEntry::naming(5, 1));
    assert_eq!(pair.edge.seen(names::FLOWS_PINNED, &flow(1)), Some(0));
    pair.run("another flow", &Frame::tcp(2, ACK).bytes());
    assert_eq!(pair.edge.seen(names::FLOWS_PINNED, &flow(1)), Some(0));
    pair.run("the flow", &Frame::tcp(1, ACK).bytes());
    let first = pair.edge.seen(names::FLOWS_PINNED, &flow(1)).unwrap();
    assert!(first > 0, "this machine has run for longer than a tick");
    // The clock goes on.
    let later = || pair.edge.seen(names::FLOWS_PINNED, &flow(1)).unwrap();
    tests::wait::until("a later tick", std::time::Duration::from_secs(10), || {
        pair.edge.run(&Frame::tcp(1, ACK).bytes());
        later() != first
    })
    .unwrap();
    let last = later();
    assert!(last.wrapping_sub(first) < u32::MAX / 2);
    pair.set_slots(100, &[Slot(6); 3]);
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(40));
        assert_eq!(owner(&pair.edge.run(&Frame::tcp(1, ACK).bytes())), 2);
    }
    assert_eq!(pair.edge.seen(names::FLOWS_PINNED, &flow(1)), Some(last));
    // An entry that is noted is seen.
    let mut pair = moving(Slot::MOVING);
    pair.run("opens", &Frame::tcp(1, SYN).bytes());
    assert!(pair.edge.seen(names::FLOWS_OPENED, &flow(1)).unwrap() >= first);
}

#[test]
fn entries_of_a_dead_or_replaced_backend_are_void() {
    for (name, change) in [
        ("down", (|b| b.state &= !state::UP) as fn(&mut BackendEntry)),
        ("replaced", |b| b.generation = 2),
        ("freed", |b| b.identity = 0),
    ] {
        let mut pair = moving(Slot::EXCEPTIONS);
        pair.edge.set_flow(names::FLOWS_PINNED, &flow(1), &FlowEntry::naming(5, 1));
        pair.model.pinned.insert(flow(1), FlowEntry::naming(5, 1));
        assert_eq!(owner(&pair.run(name, &Frame::tcp(1, ACK).bytes())), 1, "{name}");
        pair.set_backend(5, &with(change));
        assert_eq!(owner(&pair.run(name, &Frame::tcp(1, ACK).bytes())), 2, "{name}");
    }
}

#[test]
fn a_dead_previous_owner_gets_nothing() {
    for change in [(|b| b.state &= !state::UP) as fn(&mut BackendEntry), |b| b.identity = 0] {
        let mut pair = moving(Slot::MOVING);
        pair.set_backend(5, &with(change));
        assert_eq!(owner(&pair.run("older flow", &Frame::tcp(1, ACK).bytes())), 2);
        assert_eq!(pair.edge.flow(names::FLOWS_PINNED, &flow(1)), None);
    }
    let mut pair = moving(Slot::MOVING);
    pair.set_services(ServiceEntry { previous_len: 0, ..service(3, 0) });
    assert_eq!(owner(&pair.run("no previous table", &Frame::tcp(1, ACK).bytes())), 2);
}

#[test]
fn source_affinity_sends_all_flows_of_a_client_to_one_server() {
    let mut pair = Pair::new(&backend(1));
    for index in 0..8u8 {
        pair.set_backend(10 + u32::from(index), &backend(index));
    }
    let slots = (0..251).map(|slot| Slot::to_backend(10 + slot % 8)).collect::<Vec<_>>();
    pair.set_slots(100, &slots);
    let mut servers = |flags| {
        pair.set_services(service(251, flags));
        let frames = (0..100).map(Frame::udp);
        frames.map(|frame| owner(&pair.run("client", &frame.bytes()))).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(servers(0), 8);
    assert_eq!(servers(flags::SOURCE_AFFINITY), 1);
}

#[test]
fn a_prefix_ties_ipv6_clients_that_share_it_to_one_server_and_no_others() {
    let mut pair = Pair::new(&backend(1));
    for index in 0..8u8 {
        pair.set_backend(10 + u32::from(index), &backend(index));
    }
    let slots = (0..251).map(|slot| Slot::to_backend(10 + slot % 8)).collect::<Vec<_>>();
    pair.set_slots(100, &slots);
    let mut servers = |host_bits: u32, byte: usize| {
        pair.set_services(service(251, flags::SOURCE_AFFINITY | host_bits << flags::HOST_BITS_SHIFT));
        let frames = (0..100u8).map(|client| Frame::udp(4000).v6().with_v6(|ip| ip.source[byte] = client));
        frames.map(|frame| owner(&pair.run("client", &frame.bytes()))).collect::<std::collections::BTreeSet<_>>().len()
    };
    for (host_bits, byte, expected) in
        [(0, 15, 8), (64, 15, 1), (64, 8, 1), (64, 7, 8), (72, 7, 1), (72, 6, 8), (8, 14, 8)]
    {
        assert_eq!(servers(host_bits, byte), expected, "{host_bits} bits do not count, byte {byte} differs");
    }
}

#[test]
fn the_frame_of_the_tests_is_what_it_claims_to_be() {
    let Ip::V4(ip) = Frame::tcp(1, SYN).ip else { panic!("IPv4") };
    assert_eq!(crate::packets::checksum(&ip.header(6, 25)), 0);
}
