//! The least that can be called an encapsulating load balancer: what the product is measured against.
//!
//! IPv4 and UDP without options or tags; one hash lookup, one slot, one backend, IPIP. No counters, no policy, no
//! checks but the bounds of the frame.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{Array, HashMap},
    programs::XdpContext,
};
use lb_common::packet::{Packet as _, PacketMut as _};
use lb_ebpf::Frame;

/// Destination address and port, as they stand in the packet, and the protocol.
#[repr(C)]
#[derive(Clone, Copy)]
struct Key {
    address: u32,
    port: u16,
    protocol: u16,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Service {
    offset: u32,
    len: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Server {
    address: u32,
    macs: [u8; 12],
}

#[map]
static MINIMAL_SERVICES: HashMap<Key, Service> = HashMap::with_max_entries(65_536, 0);
#[map]
static MINIMAL_SLOTS: Array<u32> = Array::with_max_entries(131_072, 0);
#[map]
static MINIMAL_SERVERS: Array<Server> = Array::with_max_entries(4_096, 0);

/// The whole of it.
#[xdp]
fn minimal(context: XdpContext) -> u32 {
    forward(&context).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn forward(context: &XdpContext) -> Option<u32> {
    let frame = Frame::new(context);
    let bytes = frame.array::<42>(0)?;
    if bytes[12..14] != [0x08, 0x00] || bytes[14] != 0x45 || bytes[23] != 17 {
        return None;
    }
    let source = u32::from_ne_bytes([bytes[26], bytes[27], bytes[28], bytes[29]]);
    let address = u32::from_ne_bytes([bytes[30], bytes[31], bytes[32], bytes[33]]);
    let ports = u32::from_ne_bytes([bytes[34], bytes[35], bytes[36], bytes[37]]);
    let key = Key { address, port: (ports >> 16) as u16, protocol: 17 };
    // SAFETY: a preallocated map that nobody writes while the bench runs.
    let service = unsafe { MINIMAL_SERVICES.get(&key) }?;
    let mut hash = (u64::from(source) << 32 | u64::from(ports)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    let slot = (((hash >> 32) * u64::from(service.len)) >> 32) as u32;
    let server = MINIMAL_SERVERS.get(*MINIMAL_SLOTS.get(service.offset + slot)?)?;
    let total = u16::from_be_bytes([bytes[16], bytes[17]]) + 20;
    let mut frame = frame.move_start(-20)?;
    let outer = frame.array_mut::<34>(0)?;
    outer[0..12].copy_from_slice(&server.macs);
    outer[12..14].copy_from_slice(&[0x08, 0x00]);
    let words: [u32; 5] = [
        0x45 | u32::from(total.to_be()) << 16,
        0,
        64 | 4 << 8,
        u32::from_ne_bytes([172, 16, 0, 0]) | (hash as u32) << 16,
        server.address,
    ];
    let mut sum: u64 = words.iter().map(|word| u64::from(*word)).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    outer[14..18].copy_from_slice(&words[0].to_ne_bytes());
    outer[18..22].copy_from_slice(&words[1].to_ne_bytes());
    outer[22..26].copy_from_slice(&(words[2] | (!sum as u32) << 16).to_ne_bytes());
    outer[26..30].copy_from_slice(&words[3].to_ne_bytes());
    outer[30..34].copy_from_slice(&words[4].to_ne_bytes());
    Some(xdp_action::XDP_TX)
}
