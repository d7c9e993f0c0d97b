//! The packet generator: for live frames of `BPF_PROG_TEST_RUN`, whose contents are those of an earlier packet.
//!
//! Every byte that anybody reads is written anew for each packet.

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
    /// First bytes behind the UDP header.
    payload: [u8; PAYLOAD],
}

#[map]
static GENERATOR: Array<Generator> = Array::with_max_entries(1, 0);

const PAYLOAD: usize = 12;
const HEADERS: usize = 42 + PAYLOAD;
const FRAME_LEN: u16 = 64;
/// An ICMP error: link header, IP header, ICMP header, and the IP and UDP headers that it quotes.
const ERROR_LEN: usize = 14 + 20 + 8 + 28;

/// A UDP packet of the next flow, out through the interface of the test run.
#[xdp]
fn generate(context: XdpContext) -> u32 {
    let Some((generator, flow)) = next() else { return xdp_action::XDP_ABORTED };
    let mut frame = Frame::new(&context);
    let Some(bytes) = frame.array_mut::<HEADERS>(0) else { return xdp_action::XDP_ABORTED };
    *bytes = headers(generator, flow);
    xdp_action::XDP_TX
}

/// A router's error about a packet that a server sent to the next flow's client.
#[xdp]
fn generate_errors(context: XdpContext) -> u32 {
    let Some((generator, flow)) = next() else { return xdp_action::XDP_ABORTED };
    let mut frame = Frame::new(&context);
    let Some(bytes) = frame.array_mut::<ERROR_LEN>(0) else { return xdp_action::XDP_ABORTED };
    let quoted = headers(generator, flow);
    bytes[0..14].copy_from_slice(&quoted[0..14]);
    let router = (0xc612_0000 + (flow & 0xff)).to_be_bytes();
    bytes[14..34].copy_from_slice(&ip_header([0, (ERROR_LEN - 14) as u8], 1, router, generator.address));
    // Destination unreachable, host unreachable.
    bytes[34..42].copy_from_slice(&[3, 1, 0, 0, 0, 0, 0, 0]);
    let client = [quoted[26], quoted[27], quoted[28], quoted[29]];
    bytes[42..62].copy_from_slice(&ip_header([0, 50], 17, generator.address, client));
    bytes[62..64].copy_from_slice(&generator.port);
    bytes[64..66].copy_from_slice(&quoted[34..36]);
    bytes[66..70].copy_from_slice(&[0, 30, 0, 0]);
    xdp_action::XDP_TX
}

/// The generator, and the next flow.
#[inline(always)]
fn next() -> Option<(&'static Generator, u32)> {
    // SAFETY: one process runs one generator.
    let generator = unsafe { &mut *GENERATOR.get_ptr_mut(0)? };
    generator.sent = generator.sent.wrapping_add(1);
    // The golden ratio steps over the flows without any order a cache or a branch predictor could learn.
    let spread = generator.sent.wrapping_mul(0x9e37_79b1);
    let flow = ((u64::from(spread) * u64::from(generator.flows)) >> 32) as u32;
    Some((generator, flow))
}

/// An IPv4 header without options.
#[inline(always)]
fn ip_header(len: [u8; 2], protocol: u8, source: [u8; 4], destination: [u8; 4]) -> [u8; 20] {
    let mut bytes = [0x45, 0, len[0], len[1], 0, 1, 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[12..16].copy_from_slice(&source);
    bytes[16..20].copy_from_slice(&destination);
    let sum = Sum::new()
        .add_u32(0x45 | u32::from(len[1]) << 24 | u32::from(len[0]) << 16)
        .add_u32(0x0040_0100)
        .add_u32(64 | u32::from(protocol) << 8)
        .add_u32(u32::from_le_bytes(source))
        .add_u32(u32::from_le_bytes(destination));
    bytes[10..12].copy_from_slice(&sum.checksum().to_le_bytes());
    bytes
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
    bytes[14..34].copy_from_slice(&ip_header(ip_len, 17, source, generator.address));
    bytes[34..36].copy_from_slice(&port);
    bytes[36..38].copy_from_slice(&generator.port);
    bytes[38..42].copy_from_slice(&[0, (FRAME_LEN - 34) as u8, 0, 0]);
    bytes[42..HEADERS].copy_from_slice(&generator.payload);
    bytes
}
