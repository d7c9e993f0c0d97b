//! Mode `l2`: the packet as the client sent it, in the server's link header.

use lb_common::abi::backend::{mode, state};
use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, Reason, Slot};

use crate::edge::{DROP, OTHER_INTERFACE, REDIRECT, TX, backend, backend_v6};
use crate::forwarding::{Pair, service};
use crate::packets::Frame;

const SYN: u8 = 2;
const ACK: u8 = 16;

fn pair(change: impl FnOnce(&mut BackendEntry)) -> Pair {
    let mut entry = BackendEntry { mode: mode::L2, ..backend(1) };
    change(&mut entry);
    let mut pair = Pair::new(&entry);
    pair.set_services(service(3, flags::L2));
    pair
}

#[test]
fn packets_of_both_ip_versions_reach_a_server_of_either_unchanged_but_for_the_link_header() {
    for address in [backend(1), backend_v6(1)] {
        for (outer, inner) in [([0, 0], [0, 0]), ([0x20, 9], [0, 0]), ([0, 9], [0xe0, 10])] {
            let mut pair = pair(|entry| {
                *entry = BackendEntry { mode: mode::L2, vlan_outer: outer, vlan_inner: inner, ..address };
            });
            for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 6), (0x8100, 7)]] {
                for frame in
                    [Frame::tcp(4000, SYN), Frame::udp(4001), Frame::tcp(4002, ACK).v6(), Frame::udp(4003).v6()]
                {
                    let frame = Frame { tags: tags.to_vec(), ..frame };
                    let outcome = pair.run("l2", &frame.bytes());
                    assert_eq!(outcome.action, TX);
                    assert_eq!(outcome.bytes[..6], address.next_hop_mac);
                    assert!(outcome.bytes.ends_with(&frame.packet()), "the packet itself stays");
                }
            }
            pair.check_counters();
        }
    }
}

#[test]
fn what_cannot_be_put_on_the_link_leaves_for_its_reason() {
    let frame = Frame::tcp(4000, SYN);
    let length = u16::try_from(frame.packet().len()).unwrap();
    let mut unresolved = pair(|entry| entry.state &= !state::RESOLVED);
    assert_eq!(unresolved.run("unresolved", &frame.bytes()).action, DROP);
    assert_eq!(unresolved.edge.verdict(Reason::NextHopUnresolved), 1);
    let mut exact = pair(|entry| entry.mtu = length);
    assert_eq!(exact.run("as large as the MTU", &frame.bytes()).action, TX);
    let mut small = pair(|entry| entry.mtu = length - 1);
    assert_eq!(small.run("larger than the MTU", &frame.bytes()).action, TX);
    assert_eq!(small.edge.verdict(Reason::TooBigAnswered), 1);
    let mut elsewhere = pair(|entry| entry.ifindex = OTHER_INTERFACE);
    assert_eq!(elsewhere.run("another interface", &frame.bytes()).action, REDIRECT);
    let mut empty = pair(|_| {});
    empty.set_services(service(0, flags::L2 | flags::EMPTY_REJECT));
    assert_eq!(empty.run("no server, reject", &frame.bytes()).action, TX);
    assert_eq!(empty.edge.verdict(Reason::Rejected), 1);
    empty.set_services(service(0, flags::L2));
    assert_eq!(empty.run("no server, drop", &frame.bytes()).action, DROP);
    for pair in [unresolved, exact, small, elsewhere, empty] {
        pair.check_counters();
    }
}

#[test]
fn moving_slots_are_tracked_as_for_encapsulated_flows() {
    let mut pair = pair(|_| {});
    pair.set_backend(6, &BackendEntry { mode: mode::L2, ..backend(2) });
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
