//! Mode `gue`: the packet in UDP, for networks that carry nothing else.

use lb_common::abi::backend::{mode, state};
use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, Reason, Slot};

use crate::edge::{DROP, OTHER_INTERFACE, REDIRECT, TX, backend, backend_v6};
use crate::forwarding::{Pair, service};
use crate::packets::{Frame, V4};

const SYN: u8 = 2;
const ACK: u8 = 16;

fn pair(address: BackendEntry, change: impl FnOnce(&mut BackendEntry)) -> Pair {
    let mut entry = BackendEntry { mode: mode::GUE, ..address };
    change(&mut entry);
    let mut pair = Pair::new(&entry);
    pair.set_services(service(3, flags::GUE));
    pair
}

#[test]
fn packets_of_both_ip_versions_reach_a_server_of_either_behind_any_tags_as_the_model_says() {
    for address in [backend(1), backend_v6(1)] {
        for (outer, inner) in [([0, 0], [0, 0]), ([0x20, 9], [0, 0]), ([0, 9], [0xe0, 10])] {
            let mut pair = pair(address, |entry| (entry.vlan_outer, entry.vlan_inner) = (outer, inner));
            for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 6), (0x8100, 7)]] {
                for frame in
                    [Frame::tcp(4000, SYN), Frame::udp(4001), Frame::tcp(4002, ACK).v6(), Frame::udp(4003).v6()]
                {
                    let outcome = pair.run("gue", &Frame { tags: tags.to_vec(), ..frame.clone() }.bytes());
                    assert_eq!(outcome.action, TX);
                    assert!(outcome.bytes.ends_with(&frame.packet()), "the packet itself stays");
                }
            }
            pair.check_counters();
        }
    }
}

#[test]
fn the_outer_headers_are_exactly_these() {
    let mut pair = pair(backend(1), |_| {});
    let frame = Frame::tcp(4000, SYN);
    let bytes = pair.run("golden", &frame.bytes()).bytes;
    let source: [u8; 4] = bytes[26..30].try_into().unwrap();
    let len = frame.packet().len();
    let outer =
        V4 { source, destination: [10, 0, 0, 1], tos: 0, ttl: 64, id: 0x1234, fragment: 0x4000, options: vec![] };
    assert_eq!(bytes[14..34], outer.header(17, len + 12));
    assert!(u16::from_be_bytes([bytes[34], bytes[35]]) >= 0xc000, "a dynamic port");
    let udp_len = u16::try_from(len + 12).unwrap().to_be_bytes();
    assert_eq!(bytes[36..42], [0x17, 0xc0, udp_len[0], udp_len[1], 0, 0], "port 6080, no checksum");
    assert_eq!(bytes[42..46], [0, 4, 0, 0], "variant 0, IPv4 inside");
    assert_eq!(bytes[46..], frame.packet());
}

#[test]
fn source_ports_vary_with_the_flow_also_where_its_source_picks_the_server() {
    for affinity in [0, flags::SOURCE_AFFINITY] {
        let mut pair = pair(backend_v6(1), |_| {});
        pair.set_services(service(3, flags::GUE | affinity));
        let mut port = |source| pair.run("port", &Frame::tcp(source, ACK).bytes()).bytes[54..56].to_vec();
        assert_eq!(port(1), port(1));
        let ports: std::collections::BTreeSet<_> = (0..200).map(&mut port).collect();
        assert!(ports.len() > 190, "{}", ports.len());
    }
}

#[test]
fn what_cannot_be_sent_leaves_for_its_reason() {
    let frame = Frame::tcp(4000, SYN);
    let length = u16::try_from(frame.packet().len()).unwrap();
    for (address, outer) in [(backend(1), 32), (backend_v6(1), 52)] {
        let mut unresolved = pair(address, |entry| entry.state &= !state::RESOLVED);
        assert_eq!(unresolved.run("unresolved", &frame.bytes()).action, DROP);
        assert_eq!(unresolved.edge.verdict(Reason::NextHopUnresolved), 1);
        let mut exact = pair(address, |entry| entry.mtu = length + outer);
        assert_eq!(exact.run("as large as the MTU", &frame.bytes()).action, TX);
        assert_eq!(exact.edge.verdict(Reason::Transmitted), 1);
        let mut small = pair(address, |entry| entry.mtu = length + outer - 1);
        let told = small.run("larger than the MTU", &frame.bytes());
        assert_eq!((told.action, small.edge.verdict(Reason::TooBigAnswered)), (TX, 1));
        assert_eq!(told.bytes[40..42], (length - 1).to_be_bytes(), "the answer says what fits");
        let mut elsewhere = pair(address, |entry| entry.ifindex = OTHER_INTERFACE);
        assert_eq!(elsewhere.run("another interface", &frame.bytes()).action, REDIRECT);
        let mut empty = pair(address, |_| {});
        empty.set_services(service(0, flags::GUE | flags::EMPTY_REJECT));
        assert_eq!(empty.run("no server, reject", &frame.bytes()).action, TX);
        assert_eq!(empty.edge.verdict(Reason::Rejected), 1);
        empty.set_services(service(0, flags::GUE));
        assert_eq!(empty.run("no server, drop", &frame.bytes()).action, DROP);
        for pair in [unresolved, exact, small, elsewhere, empty] {
            pair.check_counters();
        }
    }
}

#[test]
fn what_comes_another_way_into_the_program_leaves_like_the_rest() {
    let mut pair = pair(backend_v6(1), |_| {});
    let options = Frame::tcp(4000, ACK).with_v4(|ip| ip.options = vec![1; 8]);
    assert_eq!(pair.run("IPv4 options", &options.bytes()).action, TX);
    let first = Frame::udp(4001).with_v4(|ip| ip.fragment = 0x2000);
    let next = Frame::udp(4001).with_v4(|ip| ip.fragment = 0x00b9);
    let ports = [first, next].map(|frame| pair.run("a piece", &frame.bytes()).bytes[54..56].to_vec());
    assert_eq!(ports[0], ports[1], "pieces of one packet take one way");
    pair.check_counters();
}

#[test]
fn moving_slots_are_tracked_as_for_flows_in_plain_ip() {
    let mut pair = pair(backend(1), |_| {});
    pair.set_backend(6, &BackendEntry { mode: mode::GUE, ..backend(2) });
    pair.set_slots(100, &[Slot(6 | Slot::MOVING); 3]);
    pair.set_slots(200, &[Slot::to_backend(5); 2]);
    let server = |outcome: &crate::edge::Outcome| outcome.bytes[5];
    let old = pair.run("a flow from before", &Frame::tcp(4000, ACK).bytes());
    assert_eq!(server(&old), 1, "it stays with the previous owner");
    let new = pair.run("a new flow", &Frame::tcp(4001, SYN).bytes());
    assert_eq!(server(&new), 2);
    let next = pair.run("its next packet", &Frame::tcp(4001, ACK).bytes());
    assert_eq!(server(&next), 2, "which has an entry");
    pair.check_counters();
}
