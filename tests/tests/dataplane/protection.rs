//! What stands between a service and its servers, byte by byte and counter by counter.

use lb_common::abi::protection::{Rate, acl};
use lb_common::abi::service::flags;
use lb_common::abi::{ProtectionEntry, Reason, mapped_v4};

use crate::edge::{DROP, TX, backend};
use crate::forwarding::{Pair, service};
use crate::packets::{Frame, Ip};

const SYN: u8 = 2;
const ACK: u8 = 16;

#[test]
fn a_quarantined_service_forwards_nothing_and_counts_every_packet() {
    let mut pair = Pair::new(&backend(1));
    let frames = [Frame::tcp(4000, SYN), Frame::tcp(4000, ACK), Frame::udp(4001)];
    for flags in [flags::QUARANTINED, flags::QUARANTINED | flags::NAT] {
        pair.set_services(service(3, flags));
        for frame in frames.clone().into_iter().flat_map(|frame| [frame.clone(), frame.v6()]) {
            let outcome = pair.run("quarantined", &frame.bytes());
            assert_eq!((outcome.action, outcome.bytes), (DROP, frame.bytes()));
        }
    }
    assert_eq!(pair.edge.service_stats(9).refused[0], 12);
    assert_eq!(pair.edge.verdict(Reason::Quarantined), 12);
    pair.set_services(service(3, 0));
    assert_eq!(pair.run("lifted", &frames[0].bytes()).action, TX);
    pair.check_counters();
}

/// A SYN from 198.51.100.`number`, or from the IPv6 host of that number in 2001:db8:7::/64.
fn from(number: u8, v6: bool, port: u16) -> Vec<u8> {
    let mut frame = Frame::tcp(port, SYN);
    if v6 {
        frame = frame.v6();
    }
    match &mut frame.ip {
        Ip::V4(ip) => ip.source = [198, 51, 100, number],
        Ip::V6(ip) => ip.source = [0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, number],
    }
    frame.bytes()
}

#[test]
fn the_longest_prefix_of_a_services_own_list_decides() {
    let mut pair = Pair::new(&backend(1));
    pair.set_services(service(3, flags::ACL));
    let entry = ProtectionEntry { acl: 7, ..ProtectionEntry::default() };
    pair.set_protection(9, entry);
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (address, bits) in [(mapped_v4([198, 51, 100, 0]), 96 + 24), (v6, 64)] {
        pair.set_acl(7, address, bits, acl::DENY);
        pair.set_acl(7, address, bits + 6, acl::ALLOW);
        pair.set_acl(8, address, bits + 7, acl::DENY);
    }
    let mut last = v6;
    last[15] = 3;
    pair.set_acl(7, mapped_v4([198, 51, 100, 3]), 128, acl::DENY);
    pair.set_acl(7, last, 128, acl::DENY);
    for (number, v6, action) in [
        (1, false, TX),
        (2, false, TX),
        (3, false, DROP),
        (4, false, DROP),
        (255, false, DROP),
        (1, true, TX),
        (3, true, DROP),
        (4, true, TX),
    ] {
        assert_eq!(pair.run("listed", &from(number, v6, 4000)).action, action, "{number} {v6}");
    }
    pair.set_protection(9, ProtectionEntry { acl: 6, ..entry });
    assert_eq!(pair.run("a list without entries", &from(3, false, 4000)).action, TX);
    pair.set_services(service(3, 0));
    assert_eq!(pair.run("no list", &from(3, true, 4000)).action, TX);
    assert_eq!(pair.edge.verdict(Reason::AclDenied), 4);
    pair.check_counters();
}

#[test]
fn each_limit_counts_what_it_is_of_and_no_other() {
    const RATE: Rate = Rate { interval_ns: 86_400_000_000_000, burst: 3, pad: 0 };
    let none = ProtectionEntry::default();
    let source = ProtectionEntry { source: RATE, ..none };
    let connections = ProtectionEntry { connections: RATE, ..none };
    let packets = ProtectionEntry { packets: RATE, ..none };
    for (entry, reason, of_two_sources, of_one_connection) in [
        (source, Reason::SourceLimited, 6, 8),
        (connections, Reason::ConnectionLimited, 3, 8),
        (packets, Reason::PacketLimited, 3, 3),
    ] {
        for v6 in [false, true] {
            let mut pair = Pair::new(&backend(1));
            pair.set_services(service(3, flags::LIMITED));
            pair.set_protection(9, entry);
            let mut passed = 0;
            for port in 0..5 {
                // One IPv6 /64 is one source.
                for host in if v6 { [1, 1] } else { [1, 2] } {
                    passed += u32::from(pair.run("opens", &from(host, v6, port)).action == TX);
                }
            }
            let expected = if v6 && reason == Reason::SourceLimited { 3 } else { of_two_sources };
            assert_eq!(passed, expected, "{reason:?} {v6}");
            assert_eq!(pair.edge.verdict(reason), u64::from(10 - passed));

            let mut pair = Pair::new(&backend(1));
            pair.set_services(service(3, flags::LIMITED));
            pair.set_protection(9, entry);
            let frames = [Frame::tcp(4000, ACK), Frame::udp(4000)].map(|frame| if v6 { frame.v6() } else { frame });
            let run = |frame: &Frame| u32::from(pair.run("of a connection", &frame.bytes()).action == TX);
            assert_eq!(frames.iter().cycle().take(8).map(run).sum::<u32>(), of_one_connection, "{reason:?} {v6}");
            pair.check_counters();
        }
    }
}
