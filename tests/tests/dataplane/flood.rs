//! A flood of opening packets from ever new sources, on slots that stay.
//!
//! `SNOWSHED_FLOOD` says how many sources; the run of the issue is 5,000,000.

use lb_common::abi::names;

use crate::edge::{Edge, TX, backend};
use crate::forwarding::Pair;
use crate::packets::Frame;

const SYN: u8 = 2;
/// Sources, where nobody says otherwise: many times what a flow table holds.
const SOURCES: usize = 100_000;

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
    let entry = lb_common::abi::FlowEntry { backend: 5, generation: 1 };
    let key = crate::forwarding::flow(1);
    pair.edge.set_flow(names::FLOWS_PINNED, &key, &entry);
    flood(&pair.edge);
    assert_eq!(pair.edge.flows_len(names::FLOWS_OPENED), 0);
    assert_eq!(pair.edge.flows_len(names::FLOWS_PINNED), 1);
    assert_eq!(pair.edge.flow(names::FLOWS_PINNED, &key), Some(entry));
}
