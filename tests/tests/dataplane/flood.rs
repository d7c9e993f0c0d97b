//! A flood of opening packets from ever new sources, on slots that stay and on slots that move.
//!
//! `SNOWSHED_FLOOD` says how many sources; the run of the issue is 5,000,000.

use lb_common::abi::{Slot, names};

use crate::edge::{Edge, Outcome, TX, backend};
use crate::forwarding::{Pair, owner};
use crate::packets::Frame;

const SYN: u8 = 2;
const ACK: u8 = 16;
/// Sources, where nobody says otherwise: many times what a flow table holds.
const SOURCES: usize = 100_000;
/// Connections that are there when the flood begins.
const ESTABLISHED: u16 = 500;

/// One opening packet from each of so many sources; every one must be forwarded.
fn flood(edge: &Edge) {
    let sources = match std::env::var("SNOWSHED_FLOOD") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => tests::vm::scaled(SOURCES),
    };
    let mut frame = Frame::tcp(7, SYN).bytes();
    for source in 0..u32::try_from(sources).unwrap() {
        // Source address behind Ethernet: 11.0.0.0 and upwards. The program checks no sum on the way to a server.
        frame[26..30].copy_from_slice(&(0x0b00_0000 + source).to_be_bytes());
        assert_eq!(edge.run(&frame).action, TX);
    }
}

#[test]
fn a_flood_on_slots_that_stay_leaves_the_flow_tables_unchanged() {
    let mut pair = Pair::new(&backend(1));
    let entry = lb_common::abi::FlowEntry::naming(5, 1);
    let key = crate::forwarding::flow(1);
    pair.edge.set_flow(names::FLOWS_PINNED, &key, &entry);
    flood(&pair.edge);
    assert_eq!(pair.edge.flows_len(names::FLOWS_OPENED), 0);
    assert_eq!(pair.edge.flows_len(names::FLOWS_PINNED), 1);
    assert_eq!(pair.edge.flow(names::FLOWS_PINNED, &key), Some(entry));
}

#[test]
fn a_flood_while_every_slot_is_moving_costs_no_established_connection() {
    let pair = crate::forwarding::moving(Slot::MOVING);
    let send = |port: u16, flags: u8| -> Outcome { pair.edge.run(&Frame::tcp(port, flags).bytes()) };
    // Half began before the slots moved, half since; each was seen to go on.
    for port in 0..ESTABLISHED {
        if port % 2 == 0 {
            assert_eq!(owner(&send(port, SYN)), 2);
        }
        assert_eq!(owner(&send(port, ACK)), if port % 2 == 0 { 2 } else { 1 });
    }
    flood(&pair.edge);
    let entries = pair.edge.flows_len(names::FLOWS_OPENED);
    assert!(entries > 1000, "the test says little: the flood left {entries} entries");
    for port in 0..ESTABLISHED {
        assert_eq!(owner(&send(port, ACK)), if port % 2 == 0 { 2 } else { 1 }, "the connection from port {port}");
    }
}
