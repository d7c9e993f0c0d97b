//! Sends the finished frame: back where it came from, or out through another interface.

use aya_ebpf::{macros::map, maps::xdp::DevMapHash};
use lb_common::abi::{BackendEntry, Reason, limits};

use crate::verdict::{Verdict, Way};

#[map]
static EGRESS: DevMapHash = DevMapHash::with_max_entries(limits::MAX_EGRESS, 0);

/// Sends towards the backend.
#[inline(always)]
pub(crate) fn send(backend: &BackendEntry, ingress: u32) -> Verdict {
    if backend.ifindex == ingress {
        return Verdict::send_back(Reason::Transmitted);
    }
    match EGRESS.redirect(backend.ifindex, 0) {
        Ok(_) => Verdict { way: Way::SendElsewhere, reason: Reason::Redirected },
        Err(_) => Verdict::drop(Reason::EgressMissing),
    }
}
