//! Fills the headroom with 0xff, then hands the frame to the program under test: a byte that it forgets to write shows.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::ProgramArray,
    programs::XdpContext,
};
use lb_common::packet::PacketMut as _;
use lb_ebpf::Frame;

/// The program under test.
#[map]
static POISONED: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Bytes of headroom that are filled: more than any outer header.
const HEADROOM: i32 = 96;

#[xdp(frags)]
fn poison(context: XdpContext) -> u32 {
    let Some(mut frame) = Frame::new(&context).move_start(-HEADROOM) else { return xdp_action::XDP_ABORTED };
    let Some(bytes) = frame.array_mut::<{ HEADROOM as usize }>(0) else { return xdp_action::XDP_ABORTED };
    *bytes = [0xff; HEADROOM as usize];
    if frame.move_start(HEADROOM).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: an index inside the array, whose programs are of this one's type.
    let _failed = unsafe { POISONED.tail_call(&context, 0) };
    xdp_action::XDP_ABORTED
}
