//! Pieces and ICMP errors of translated flows, both ways: what the flow's whole packets do not need.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::abi::Reason;
use lb_common::headers::walk::MAX_TRANSPORT;
use lb_common::icmp::Quote;
use lb_common::nat::rewrite::translate_piece;
use lb_ebpf::Frame;

use super::{headers_of, way, what};
use crate::verdict::Verdict;
use crate::{account, nat, transmit};

/// Always a verdict.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_translate(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    crate::judged(send(Frame::new(&context)).unwrap_or_else(Verdict::drop))
}

#[inline(always)]
fn send(mut frame: Frame<'_>) -> Result<Verdict, Reason> {
    let found = super::found().ok_or(Reason::BadHeaders)?;
    let way = way::found().ok_or(Reason::BadHeaders)?;
    let headers = headers_of(found);
    let (bytes, ingress) = (frame.total_len() as u64, frame.ingress());
    if found.what == what::PIECE {
        translate_piece(&mut frame, &headers, &way.to)
    } else {
        let [ip, transport] = found.quoted.map(|offset| offset as usize & MAX_TRANSPORT);
        Quote { headers, ip, transport }.translate(&mut frame, &way.to)
    }
    .ok_or(Reason::BadHeaders)?;
    nat::relink(frame, &headers, way.link)?;
    if way.backend != way::CLIENT {
        account::backend(way.backend, bytes);
    }
    Ok(transmit::through(way.ifindex, ingress))
}
