//! The server-side decapsulator: what the load balancer wrapped comes out as the client sent it.

use aya::maps::{HashMap, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::backend::mode;
use lb_common::abi::reason::decap;
use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, mapped_v4, names};

use tests::objects;

use crate::edge::{DROP, Outcome, PASS, TX, backend, backend_v6, run};
use crate::forwarding::{Pair, service};
use crate::packets::{CLIENT_MAC, EDGE_MAC, Frame, Ip, Transport, V4, V6};

const VIP_V4: [u8; 4] = [192, 0, 2, 1];
const VIP_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

struct Decapsulator {
    ebpf: Ebpf,
}

impl Decapsulator {
    fn new() -> Self {
        let mut ebpf = EbpfLoader::new().load_file(objects().join("decap.o")).unwrap();
        let mut vips = HashMap::<_, [u8; 16], u32>::try_from(ebpf.map_mut(names::DECAP_VIPS).unwrap()).unwrap();
        for vip in [mapped_v4(VIP_V4), VIP_V6] {
            vips.insert(vip, 0, 0).unwrap();
        }
        let program: &mut Xdp = ebpf.program_mut(names::DECAP_PROGRAM).unwrap().try_into().unwrap();
        program.load().unwrap();
        Self { ebpf }
    }

    fn run(&self, frame: &[u8]) -> Outcome {
        let program: &Xdp = self.ebpf.program(names::DECAP_PROGRAM).unwrap().try_into().unwrap();
        run(program, frame)
    }

    /// Counters that are not 0.
    fn counters(&self) -> Vec<(u32, u64)> {
        let array = PerCpuArray::<_, u64>::try_from(self.ebpf.map(names::DECAP_VERDICTS).unwrap()).unwrap();
        (0..8).map(|number| (number, array.get(&number, 0).unwrap().iter().sum())).filter(|(_, n)| *n > 0).collect()
    }
}

/// `inner` in a packet of the other host, behind the given tags.
fn wrapped(inner: &Frame, outer_v6: bool, tags: &[(u16, u16)]) -> Frame {
    let protocol = if matches!(inner.ip, Ip::V4(_)) { 4 } else { 41 };
    let ip = if outer_v6 {
        Ip::V6(V6 { source: [0xfd; 16], destination: [0xfc; 16], class: 0, hops: 60 })
    } else {
        Ip::V4(V4 {
            source: [172, 16, 0, 1],
            destination: [10, 0, 0, 1],
            tos: 0,
            ttl: 60,
            id: 1,
            fragment: 0,
            options: Vec::new(),
        })
    };
    Frame { tags: tags.to_vec(), ip, transport: Transport::Other { protocol }, payload: inner.packet(), padding: 0 }
}

#[test]
fn every_pair_of_ip_versions_is_unwrapped_behind_any_tags() {
    let tags: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 7)], &[(0x88a8, 8), (0x8100, 0xe009)]];
    for inner in [Frame::tcp(4000, 2), Frame::udp(4001), Frame::tcp(4002, 16).v6()] {
        for outer_v6 in [false, true] {
            for tags in tags {
                let decapsulator = Decapsulator::new();
                let outcome = decapsulator.run(&wrapped(&inner, outer_v6, tags).bytes());
                let expected = Frame { tags: tags.to_vec(), ..inner.clone() }.bytes();
                assert_eq!(outcome, Outcome { action: PASS, bytes: expected }, "{outer_v6} {tags:?} {inner:?}");
                assert_eq!(decapsulator.counters(), [(decap::UNWRAPPED, 1)]);
            }
        }
    }
}

#[test]
fn an_outer_header_with_options_is_cut_off_whole() {
    let decapsulator = Decapsulator::new();
    let inner = Frame::tcp(4000, 2);
    let frame = wrapped(&inner, false, &[]).with_v4(|ip| ip.options = vec![1; 40]);
    assert_eq!(decapsulator.run(&frame.bytes()), Outcome { action: PASS, bytes: inner.bytes() });
}

#[test]
fn everything_else_is_passed_up_untouched() {
    let elsewhere = Frame::tcp(4000, 2).with_v4(|ip| ip.destination = [192, 0, 2, 2]);
    let inner = Frame::tcp(4000, 2);
    let arp = [&EDGE_MAC[..], &CLIENT_MAC, &[0x08, 0x06], &[0; 46]].concat();
    let cases = [
        ("an address that is no VIP", wrapped(&elsewhere, false, &[]).bytes(), decap::NOT_OUR_VIP),
        ("a plain packet to the VIP", inner.bytes(), decap::NOT_ENCAPSULATED),
        ("a plain IPv6 packet", inner.clone().v6().bytes(), decap::NOT_ENCAPSULATED),
        ("ARP", arp, decap::NOT_ENCAPSULATED),
        ("a fragment", wrapped(&inner, false, &[]).with_v4(|ip| ip.fragment = 0x2000).bytes(), decap::NOT_ENCAPSULATED),
        ("three tags", wrapped(&inner, false, &[(0x8100, 1); 3]).bytes(), decap::NOT_ENCAPSULATED),
    ];
    for (name, bytes, counter) in cases {
        let decapsulator = Decapsulator::new();
        assert_eq!(decapsulator.run(&bytes), Outcome { action: PASS, bytes: bytes.clone() }, "{name}");
        assert_eq!(decapsulator.counters(), [(counter, 1)], "{name}");
    }
}

#[test]
fn of_udp_only_gue_of_our_kind_is_unwrapped() {
    let inner = Frame::tcp(4000, 2);
    let gue = |port: u16, header: [u8; 4]| {
        let frame = Frame::udp(50_000);
        Frame {
            transport: Transport::Udp { source: 50_000, destination: port },
            payload: [&header[..], &inner.packet()].concat(),
            ..frame.with_v4(|ip| ip.destination = [10, 0, 0, 1])
        }
        .bytes()
    };
    let decapsulator = Decapsulator::new();
    assert_eq!(decapsulator.run(&gue(6080, [0, 4, 0, 0])).bytes[12..], inner.bytes()[12..]);
    let cases = [
        ("another port", gue(6081, [0, 4, 0, 0])),
        ("a control message", gue(6080, [0x20, 4, 0, 0])),
        ("variant 1", gue(6080, [0x45, 0, 0, 0])),
        ("extensions", gue(6080, [1, 4, 0, 0])),
        ("flags", gue(6080, [0, 4, 0x80, 0])),
        ("another protocol", gue(6080, [0, 47, 0, 0])),
    ];
    for (name, bytes) in cases {
        let decapsulator = Decapsulator::new();
        assert_eq!(decapsulator.run(&bytes), Outcome { action: PASS, bytes: bytes.clone() }, "{name}");
        assert_eq!(decapsulator.counters(), [(decap::NOT_ENCAPSULATED, 1)], "{name}");
    }
}

#[test]
fn a_packet_that_is_cut_short_inside_is_dropped() {
    for outer_v6 in [false, true] {
        for inner in [Frame::tcp(4000, 2), Frame::tcp(4000, 2).v6()] {
            let bytes = wrapped(&inner, outer_v6, &[]).bytes();
            let outer_end = if outer_v6 { 54 } else { 34 };
            let decapsulator = Decapsulator::new();
            for cut in 1..bytes.len() - outer_end {
                assert_eq!(decapsulator.run(&bytes[..bytes.len() - cut]).action, DROP, "{cut} bytes missing");
                assert_eq!(decapsulator.counters(), [(decap::MALFORMED, cut as u64)]);
            }
        }
    }
}

#[test]
fn what_the_load_balancer_wraps_comes_out_as_the_client_sent_it() {
    let decapsulator = Decapsulator::new();
    for entry in [backend(1), backend_v6(1)] {
        let frames = [Frame::tcp(4000, 2), Frame::udp(4001), Frame::tcp(4002, 16).v6(), Frame::udp(4003).v6()];
        for (frame, flags) in frames.iter().flat_map(|frame| [(frame, 0), (frame, flags::GUE)]) {
            let mut pair = Pair::new(&BackendEntry { mode: if flags == 0 { mode::IPIP } else { mode::GUE }, ..entry });
            pair.set_services(service(3, flags));
            let sent = pair.run("wrap", &frame.bytes());
            let received = decapsulator.run(&sent.bytes);
            assert_eq!((sent.action, received.action), (TX, PASS));
            assert_eq!(received.bytes[..12], [entry.next_hop_mac, entry.source_mac].concat());
            assert_eq!(received.bytes[12..], frame.bytes()[12..]);
        }
    }
}
