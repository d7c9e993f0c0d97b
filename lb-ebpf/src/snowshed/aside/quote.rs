//! What an ICMP error quotes: from here on it goes the way of the flow's own packets.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::abi::Reason;
use lb_common::icmp::Quote;
use lb_ebpf::Frame;

use super::{headers_of, next, what};
use crate::verdict::Verdict;

/// A verdict, or the [`next`] step.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_quote(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    let frame = Frame::new(&context);
    let Some(found) = super::found() else { return crate::judged(Verdict::drop(Reason::BadHeaders)) };
    match Quote::of(&frame, &headers_of(found)) {
        // An error about a flow of another address of ours is nobody's.
        Ok(quote) if quote.headers.destination == found.headers.destination => {
            found.headers = quote.headers;
            found.quoted = [quote.ip as u32, quote.transport as u32];
            if found.what == what::ERROR { next::SERVICE } else { next::WAY }
        }
        _ => crate::judged(Verdict::drop(Reason::IcmpUnknown)),
    }
}
