//! QUIC: packets of a connection follow the id that its server gave it, whatever address the client has by now.

use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, FlowEntry, QuicKey, Reason, ServiceEntry, Slot, backend::mode, backend::state};

use crate::edge::{Outcome, TX, backend, backend_v6};
use crate::forwarding::{Pair, service};
use crate::nat::reply;
use crate::packets::{Frame, Ip, Transport};

/// Bytes of server ids, and the number of their configuration.
const LEN: u8 = 4;
const CONFIG: u8 = 2;
/// Servers: their indexes in the maps.
const SERVERS: std::ops::Range<u32> = 5..9;

/// UDP port 53 of both VIPs goes to four servers, by hash to the first, by connection id to each.
fn pair(v6: bool, mode: u8) -> Pair {
    let entry = |index: u32| {
        let entry = if v6 { backend_v6(index as u8) } else { backend(index as u8) };
        BackendEntry { mode, ..entry }
    };
    let mut pair = Pair::new(&entry(5));
    for index in SERVERS {
        pair.set_backend(index, &entry(index));
        let key = QuicKey { server: id(index, 0), service: 9_u32.to_le_bytes(), len: LEN, config: CONFIG, pad: [0; 2] };
        pair.set_quic_server(key, FlowEntry::naming(index, 1));
    }
    let of_mode = match mode {
        mode::NAT => flags::NAT,
        mode::L2 => flags::L2,
        mode::GUE => flags::GUE,
        _ => 0,
    };
    let shape = u32::from(CONFIG) << flags::QUIC_CONFIG_SHIFT | u32::from(LEN) << flags::QUIC_LEN_SHIFT;
    pair.set_services(service(3, of_mode | flags::QUIC | shape));
    pair
}

/// A server's id, and what follows it in a connection id.
fn id(server: u32, nonce: u8) -> [u8; 8] {
    let [.., last] = server.to_be_bytes();
    [0xa0, 0xa1, 0xa2, last, nonce, nonce, nonce, nonce]
}

/// A packet from a client's port whose short header has such an id in it.
fn short(port: u16, v6: bool, config: u8, id: [u8; 8]) -> Frame {
    let payload = [&[0x43, config << 5 | 8][..], &id, &[0xee; 30]].concat();
    let frame = Frame { payload, ..Frame::udp(port) };
    if v6 { frame.v6() } else { frame }
}

/// The server that a frame went to, by the last byte of an address.
fn server(pair: &Pair, sent: &Outcome, mode: u8) -> u32 {
    assert_eq!(sent.action, TX);
    let at = match (mode, &sent.bytes[12..14]) {
        // The MAC of the next hop is the server's own.
        (mode::L2, _) => 5,
        (_, [0x86, 0xdd]) => 53,
        _ => 33,
    };
    let found = SERVERS.filter(|index| {
        let entry = pair.model.backends[index];
        let last = if mode == mode::L2 { entry.next_hop_mac[5] } else { entry.address[15] };
        last == sent.bytes[at]
    });
    let found: Vec<u32> = found.collect();
    assert_eq!(found.len(), 1, "{found:?}: {:02x?}", sent.bytes);
    found[0]
}

#[test]
fn a_packet_goes_to_the_server_that_its_connection_id_names_in_every_mode() {
    for v6 in [false, true] {
        for mode in [mode::IPIP, mode::NAT, mode::L2, mode::GUE] {
            let mut pair = pair(v6, mode);
            let name = format!("mode {mode}, IPv6 {v6}");
            for index in SERVERS {
                let frame = short(4000 + index as u16, v6, CONFIG, id(index, 1));
                let sent = pair.run(&name, &frame.bytes());
                assert_eq!(server(&pair, &sent, mode), index, "{name}");
                // From another port and with the server's next id.
                let frame = short(5000 + index as u16, v6, CONFIG, id(index, 2));
                let sent = pair.run(&name, &frame.bytes());
                assert_eq!(server(&pair, &sent, mode), index, "{name}");
            }
            assert_eq!(pair.edge.verdict(Reason::QuicRouted), 8, "{name}");
            // What names nobody goes by its hash, to the owner of every slot.
            for (port, config, id) in [(6000, CONFIG, [0xb0; 8]), (6001, 0, id(7, 1)), (6002, 7, id(7, 1))] {
                let sent = pair.run(&name, &short(port, v6, config, id).bytes());
                assert_eq!(server(&pair, &sent, mode), 5, "{name}, {config}, {id:02x?}");
            }
            assert_eq!(pair.edge.verdict(Reason::QuicStranger), 3, "{name}");
            // An Initial, whatever its id looks like, and a handshake packet.
            for (port, first, goes_to) in [(7000, 0xc3, 5), (7001, 0xe3, 7)] {
                let long = [&[first, 0, 0, 0, 1, 9, CONFIG << 5][..], &id(7, 1), &[0xee; 30]].concat();
                let frame = Frame { payload: long, ..short(port, v6, 0, [0; 8]) };
                let sent = pair.run(&name, &frame.bytes());
                assert_eq!(server(&pair, &sent, mode), goes_to, "{name}, first byte {first:#x}");
            }
            pair.check_counters();
        }
    }
}

#[test]
fn a_server_that_is_down_or_was_replaced_is_named_in_vain() {
    for mode in [mode::IPIP, mode::NAT, mode::L2, mode::GUE] {
        let mut pair = pair(false, mode);
        let entry = pair.model.backends[&7];
        let down = BackendEntry { state: entry.state & !state::UP, ..entry };
        for (port, gone) in [(4000, down), (4001, BackendEntry { generation: 2, ..entry })] {
            pair.set_backend(7, &gone);
            let sent = pair.run("gone", &short(port, false, CONFIG, id(7, 1)).bytes());
            assert_eq!(server(&pair, &sent, mode), 5, "mode {mode}");
        }
        assert_eq!(pair.edge.verdict(Reason::QuicStranger), 2);
        pair.check_counters();
    }
}

#[test]
fn a_service_without_any_server_in_its_table_still_serves_the_connections_that_name_one() {
    for mode in [mode::IPIP, mode::NAT, mode::L2, mode::GUE] {
        let mut pair = pair(false, mode);
        for (key, entry) in pair.model.services.clone() {
            pair.set_service(key, ServiceEntry { slots_len: 0, ..entry });
        }
        let sent = pair.run("drained", &short(4000, false, CONFIG, id(7, 1)).bytes());
        assert_eq!(server(&pair, &sent, mode), 7, "mode {mode}");
        pair.run("nobody", &short(4001, false, CONFIG, [0xb0; 8]).bytes());
        pair.check_counters();
    }
}

#[test]
fn packets_in_pieces_and_with_options_or_on_a_moving_slot_are_as_the_model_says() {
    for mode in [mode::IPIP, mode::NAT, mode::L2, mode::GUE] {
        let mut pair = pair(false, mode);
        pair.set_slots(100, &[Slot(Slot::to_backend(5).0 | Slot::MOVING); 3]);
        let whole = short(4000, false, CONFIG, id(7, 1));
        let first = whole.clone().with_v4(|ip| (ip.fragment, ip.id) = (0x2000, 9));
        let sent = pair.run("first piece", &first.bytes());
        assert_eq!(server(&pair, &sent, mode), 5, "mode {mode}: every piece goes by the hash");
        let rest = whole.clone().with_v4(|ip| (ip.fragment, ip.id) = (5, 9));
        pair.run("another piece", &rest.bytes());
        let options = short(4001, false, CONFIG, id(7, 1)).with_v4(|ip| ip.options = vec![1; 8]);
        pair.run("options", &options.bytes());
        let sent = pair.run("moving", &short(4002, false, CONFIG, id(7, 1)).bytes());
        assert_eq!(server(&pair, &sent, mode), 7, "mode {mode}");
        pair.check_counters();
    }
}

#[test]
fn through_translation_a_client_that_changes_its_port_keeps_its_server_and_gets_the_answers_there() {
    for v6 in [false, true] {
        let mut pair = pair(v6, mode::NAT);
        let sent = pair.run("first", &short(4000, v6, CONFIG, id(7, 1)).bytes());
        assert_eq!(server(&pair, &sent, mode::NAT), 7);
        let moved = pair.run("moved", &short(4001, v6, CONFIG, id(7, 1)).bytes());
        assert_eq!(server(&pair, &moved, mode::NAT), 7);
        let back = pair.run("answer", &reply(&moved, 0).bytes());
        let at = if v6 { 54 } else { 34 };
        assert_eq!(back.bytes[at..at + 4], [0, 53, 0x0f, 0xa1], "from the service to the client's new port");
        // The next packet from there has a flow of its own already.
        pair.run("again", &short(4001, v6, CONFIG, id(7, 2)).bytes());
        assert_eq!(pair.edge.nat_index_len(), 2);
        pair.check_counters();
    }
}

#[test]
fn through_translation_two_connections_of_one_socket_each_keep_their_server() {
    let mut pair = pair(false, mode::NAT);
    // The tuple's own flow goes to the first server, by hash.
    let initial = [&[0xc0, 0, 0, 0, 1, 8][..], &[0x55; 40]].concat();
    let initial = Frame { payload: initial, ..short(4000, false, 0, [0; 8]) };
    let own = pair.run("initial", &initial.bytes());
    assert_eq!(server(&pair, &own, mode::NAT), 5);
    let mut answered = Vec::new();
    for index in [7, 5, 8, 7, 5, 8] {
        let sent = pair.run("named", &short(4000, false, CONFIG, id(index, 3)).bytes());
        assert_eq!(server(&pair, &sent, mode::NAT), index);
        let back = pair.run("answer", &reply(&sent, 0).bytes());
        assert_eq!(back.bytes[34..38], [0, 53, 0x0f, 0xa0], "to the one client");
        answered.push(sent.bytes[34..36].to_vec());
    }
    assert_eq!(answered[..3], answered[3..], "each connection keeps its source port");
    assert_eq!(pair.edge.nat_index_len(), 3);
    // The flow beside it is not the tuple's own: what names nobody still goes there.
    let again = pair.run("initial again", &initial.bytes());
    assert_eq!((server(&pair, &again, mode::NAT), &again.bytes[34..36]), (5, &own.bytes[34..36]));
    // When the first server goes down, the tuple's own flow is void, and the others stay as they are.
    let entry = pair.model.backends[&5];
    pair.set_backend(5, &BackendEntry { state: entry.state & !state::UP, ..entry });
    pair.set_slots(100, &[Slot::to_backend(6); 3]);
    for index in [7, 8] {
        let sent = pair.run("named", &short(4000, false, CONFIG, id(index, 4)).bytes());
        assert_eq!(server(&pair, &sent, mode::NAT), index);
        assert!(answered.contains(&sent.bytes[34..36].to_vec()), "the flow it had");
    }
    pair.check_counters();
}

#[test]
fn of_a_service_that_does_not_go_by_connection_ids_they_count_for_nothing() {
    for mode in [mode::IPIP, mode::NAT, mode::L2, mode::GUE] {
        let mut pair = pair(false, mode);
        for (key, entry) in pair.model.services.clone() {
            pair.set_service(key, ServiceEntry { flags: entry.flags & !flags::QUIC, ..entry });
        }
        let sent = pair.run("plain", &short(4000, false, CONFIG, id(7, 1)).bytes());
        assert_eq!(server(&pair, &sent, mode), 5);
        assert_eq!(pair.edge.verdict(Reason::QuicRouted) + pair.edge.verdict(Reason::QuicStranger), 0);
    }
}

#[test]
fn tcp_to_a_service_that_goes_by_connection_ids_is_nothing_special() {
    let mut pair = pair(false, mode::IPIP);
    let frame = Frame { payload: short(1, false, CONFIG, id(7, 1)).payload, ..Frame::tcp(4000, 16) };
    assert!(matches!((&frame.ip, &frame.transport), (Ip::V4(_), Transport::Tcp { .. })));
    let sent = pair.run("tcp", &frame.bytes());
    assert_eq!(server(&pair, &sent, mode::IPIP), 5);
    pair.check_counters();
}
