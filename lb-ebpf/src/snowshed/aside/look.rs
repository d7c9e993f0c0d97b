//! What the packet is, and whether it is for us.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::abi::Reason;
use lb_common::abi::vip::flags;
use lb_common::headers::walk::{Kind, Walked, walk};
use lb_common::headers::{Family, Headers, IPV6_LEN};
use lb_common::icmp::Message;
use lb_ebpf::Frame;

use super::{next, piece, what};
use crate::verdict::Verdict;
use crate::{config, nat};

/// A verdict for what is not ours or goes no further, otherwise the [`next`] step.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_look(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    let frame = Frame::new(&context);
    match walk(&frame, frame.total_len()) {
        Ok(walked) => look(&frame, &walked).unwrap_or_else(crate::judged),
        Err(reason) => crate::judged(Verdict::pass(reason)),
    }
}

#[inline(always)]
fn look(frame: &Frame<'_>, walked: &Walked) -> Result<u64, Verdict> {
    let Walked { mut headers, kind, fragment, reason } = *walked;
    // RFC 4291's mapped addresses belong on no wire; the maps write IPv4 addresses by them.
    if headers.family == Family::V6 && headers.destination.is_mapped() {
        return Err(Verdict::pass(reason));
    }
    let Some(vip) = super::vip(&headers) else {
        if !config::translates() || !nat::is_source(&headers) {
            return Err(Verdict::pass(reason));
        }
        return answer(frame, walked);
    };
    if vip & flags::QUARANTINED != 0 {
        return Err(Verdict::drop(Reason::Quarantined));
    }
    match kind {
        Kind::Broken => Err(Verdict::drop(Reason::BadHeaders)),
        Kind::Flow => {
            if let Some(fragment) = fragment {
                piece::remember(&headers, fragment.identification);
            }
            super::note(&headers, vip, what::WHOLE);
            Ok(next::SERVICE)
        }
        Kind::Piece => {
            piece::recall(&mut headers, fragment).ok_or(Verdict::drop(Reason::FragmentUnknown))?;
            super::note(&headers, vip, what::PIECE);
            Ok(next::SERVICE)
        }
        Kind::Other => {
            super::note(&headers, vip, what::WHOLE);
            Ok(next::CLOSED)
        }
        Kind::Icmp if fragment.is_some() => Err(Verdict::drop(Reason::FragmentUnknown)),
        Kind::Icmp => message(frame, &headers, vip),
    }
}

/// ICMP for one of our addresses.
#[inline(always)]
fn message(frame: &Frame<'_>, headers: &Headers, vip: u32) -> Result<u64, Verdict> {
    // Answered as they came are only those without extension headers, a routing header among them.
    let is_plain = headers.family == Family::V4 || headers.transport == headers.link_len + IPV6_LEN;
    match Message::of(frame, headers) {
        None => Err(Verdict::drop(Reason::BadHeaders)),
        Some(Message::Link) => Err(Verdict::pass(Reason::Link)),
        Some(Message::Echo) if vip & flags::ECHO != 0 && is_plain => {
            super::note(headers, vip, what::WHOLE);
            Ok(next::ECHO)
        }
        Some(Message::Echo) => Err(Verdict::drop(Reason::EchoDropped)),
        Some(Message::Error) => {
            super::note(headers, vip, what::ERROR);
            Ok(next::QUOTE)
        }
        Some(Message::Other) => Err(Verdict::drop(Reason::ClosedDropped)),
    }
}

/// A packet for a source address of translated flows.
#[inline(always)]
fn answer(frame: &Frame<'_>, walked: &Walked) -> Result<u64, Verdict> {
    let Walked { mut headers, kind, fragment, reason } = *walked;
    match kind {
        Kind::Flow => {
            if let Some(fragment) = fragment {
                piece::remember(&headers, fragment.identification);
            }
            nat::hand_over(&headers);
            Ok(next::BACK)
        }
        Kind::Piece => {
            piece::recall(&mut headers, fragment).ok_or(Verdict::pass(Reason::Fragment))?;
            super::note(&headers, 0, what::PIECE);
            Ok(next::WAY)
        }
        Kind::Icmp if fragment.is_none() && Message::of(frame, &headers) == Some(Message::Error) => {
            super::note(&headers, 0, what::ERROR_TO_SOURCE);
            Ok(next::QUOTE)
        }
        Kind::Icmp | Kind::Other | Kind::Broken => Err(Verdict::pass(reason)),
    }
}
