//! The packet generator: for live frames of `BPF_PROG_TEST_RUN`, whose contents are those of an earlier packet.
//!
//! Every header byte is written anew for each packet.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::Array,
    programs::XdpContext,
};
use lb_common::checksum::Sum;
use lb_common::packet::PacketMut as _;
use lb_ebpf::Frame;

/// What to send.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Generator {
    /// Flows to go around, at least 1.
    flows: u32,
    /// Packets sent.
    sent: u32,
    /// Destination address, as it stands in the packet.
    address: [u8; 4],
    /// Destination port, as it stands in the packet.
    port: [u8; 2],
    /// Destination MAC.
    mac: [u8; 6],
}

#[map]
static GENERATOR: Array<Generator> = Array::with_max_entries(1, 0);

const HEADERS: usize = 42;
const FRAME_LEN: u16 = 64;

/// A UDP packet of the next flow, out through the interface of the test run.
#[xdp]
fn generate(context: XdpContext) -> u32 {
    let Some(generator) = GENERATOR.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: one process runs one generator.
    let generator = unsafe { &mut *generator };
    generator.sent = generator.sent.wrapping_add(1);
    // The golden ratio steps over the flows without any order a cache or a branch predictor could learn.
    let spread = generator.sent.wrapping_mul(0x9e37_79b1);
    let flow = ((u64::from(spread) * u64::from(generator.flows)) >> 32) as u32;
    let mut frame = Frame::new(&context);
    let Some(bytes) = frame.array_mut::<HEADERS>(0) else { return xdp_action::XDP_ABORTED };
    *bytes = headers(generator, flow);
    xdp_action::XDP_TX
}

#[inline(always)]
fn headers(generator: &Generator, flow: u32) -> [u8; HEADERS] {
    let mut bytes = [0; HEADERS];
    bytes[0..6].copy_from_slice(&generator.mac);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip_len = (FRAME_LEN - 14).to_be_bytes();
    // Sources 10.0.0.0 and up, 4,096 ports each.
    let source = (0x0a00_0000 + (flow >> 12)).to_be_bytes();
    let port = (1024 + (flow & 0xfff) as u16).to_be_bytes();
    bytes[14..26].copy_from_slice(&[0x45, 0, ip_len[0], ip_len[1], 0, 1, 0x40, 0, 64, 17, 0, 0]);
    bytes[26..30].copy_from_slice(&source);
    bytes[30..34].copy_from_slice(&generator.address);
    let sum = Sum::new()
        .add_u32(0x45 | u32::from(ip_len[1]) << 24 | u32::from(ip_len[0]) << 16)
        .add_u32(0x0040_0100)
        .add_u32(64 | 17 << 8)
        .add_u32(u32::from_le_bytes(source))
        .add_u32(u32::from_le_bytes(generator.address));
    bytes[24..26].copy_from_slice(&sum.checksum().to_le_bytes());
    bytes[34..36].copy_from_slice(&port);
    bytes[36..38].copy_from_slice(&generator.port);
    bytes[38..42].copy_from_slice(&[0, (FRAME_LEN - 34) as u8, 0, 0]);
    bytes
}
