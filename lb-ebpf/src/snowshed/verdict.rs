//! How a packet leaves. Facts and reasons only: `main.rs` alone knows XDP's actions.

use aya_ebpf::bindings::xdp_action;
use lb_common::abi::Reason;

/// The one way out: what becomes of the packet, and why.
#[derive(Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) way: Way,
    pub(crate) reason: Reason,
}

/// What becomes of a packet.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Way {
    /// Up to the kernel, untouched.
    Pass = xdp_action::XDP_PASS,
    /// Not further.
    Drop = xdp_action::XDP_DROP,
    /// Out through the interface it came from.
    SendBack = xdp_action::XDP_TX,
    /// Out through the interface that was set up for the redirect.
    SendElsewhere = xdp_action::XDP_REDIRECT,
}

impl Verdict {
    /// Up to the kernel, untouched.
    #[inline(always)]
    pub(crate) const fn pass(reason: Reason) -> Self {
        Self { way: Way::Pass, reason }
    }

    /// Not further.
    #[inline(always)]
    pub(crate) const fn drop(reason: Reason) -> Self {
        Self { way: Way::Drop, reason }
    }

    /// Out through the interface it came from.
    #[inline(always)]
    pub(crate) const fn send_back(reason: Reason) -> Self {
        Self { way: Way::SendBack, reason }
    }
}
