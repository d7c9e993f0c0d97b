//! The decapsulator for servers: unwraps what the load balancer wrapped, and passes it up.
//!
//! Only packets whose inner destination is one of the server's VIPs are touched.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{HashMap, PerCpuArray},
    programs::XdpContext,
};
use lb_common::abi::reason::decap::{MALFORMED, NOT_OUR_VIP, UNWRAPPED};
use lb_common::abi::{Address, limits};
use lb_common::decapsulation;
use lb_ebpf::{Frame, OnStack};

#[map]
static DECAP_VIPS: HashMap<Address, u32> = HashMap::with_max_entries(limits::MAX_DECAP_VIPS, 0);

#[map]
static DECAP_VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(limits::MAX_REASONS, 0);

/// The one entry point.
#[xdp(frags)]
fn snowshed_decap(context: XdpContext) -> u32 {
    let verdict = match handle(Frame::new(&context)) {
        Ok(()) => UNWRAPPED,
        Err(verdict) => verdict,
    };
    if let Some(counter) = DECAP_VERDICTS.get_ptr_mut(verdict) {
        // SAFETY: this CPU's own element; XDP programs on one CPU do not interrupt each other.
        unsafe { *counter += 1 }
    }
    match verdict {
        MALFORMED => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn handle(mut frame: Frame<'_>) -> Result<(), u32> {
    let wrapped = decapsulation::find(&frame)?;
    let key = OnStack(wrapped.destination);
    // SAFETY: the map is preallocated; only the presence of the key matters.
    if unsafe { DECAP_VIPS.get(&key.0) }.is_none() {
        return Err(NOT_OUR_VIP);
    }
    if !wrapped.complete {
        return Err(MALFORMED);
    }
    decapsulation::prepare(&mut frame, &wrapped).ok_or(MALFORMED)?;
    frame.move_start(wrapped.outer_len as i32).map(|_| ()).ok_or(MALFORMED)
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
