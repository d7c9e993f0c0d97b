//! What measuring itself costs, and what sending a frame back costs at least.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::packet::{Packet as _, PacketMut as _};
use lb_ebpf::Frame;

/// Does nothing; its time is what the kernel's clock reads cost.
#[xdp]
fn empty(_context: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Swaps the MAC addresses and sends the frame back: the least that any forwarding program does.
#[xdp]
fn send_back(context: XdpContext) -> u32 {
    let mut frame = Frame::new(&context);
    let Some(macs) = frame.array::<12>(0).copied() else { return xdp_action::XDP_DROP };
    let Some(new) = frame.array_mut::<12>(0) else { return xdp_action::XDP_DROP };
    new[..6].copy_from_slice(&macs[6..]);
    new[6..].copy_from_slice(&macs[..6]);
    xdp_action::XDP_TX
}
