//! How a packet leaves. Facts and reasons only: `main.rs` alone knows XDP's actions.

use lb_common::abi::Reason;

/// The one way out.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// Up to the kernel, untouched.
    Pass(Reason),
    /// Not further.
    Drop(Reason),
    /// Out through the interface it came from.
    SendBack(Reason),
    /// Out through the interface that was set up for the redirect.
    SendElsewhere,
}

impl Verdict {
    /// Why.
    #[inline(always)]
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::Pass(reason) | Self::Drop(reason) | Self::SendBack(reason) => reason,
            Self::SendElsewhere => Reason::Redirected,
        }
    }
}
