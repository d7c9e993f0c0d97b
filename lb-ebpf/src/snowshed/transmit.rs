//! Sends the finished frame: back where it came from, or out through another interface.

use aya_ebpf::{macros::map, maps::xdp::DevMapHash};
use lb_common::abi::{Reason, limits};

use crate::verdict::{Verdict, Way};

#[map]
static EGRESS: DevMapHash = DevMapHash::with_max_entries(limits::MAX_EGRESS, 0);

/// Sends out through an interface.
#[inline(always)]
pub(crate) fn through(ifindex: u32, ingress: u32) -> Verdict {
    if ifindex == ingress {
        return Verdict::send_back(Reason::Transmitted);
    }
    match EGRESS.redirect(ifindex, 0) {
        Ok(_) => Verdict { way: Way::SendElsewhere, reason: Reason::Redirected },
        Err(_) => Verdict::drop(Reason::EgressMissing),
    }
}
