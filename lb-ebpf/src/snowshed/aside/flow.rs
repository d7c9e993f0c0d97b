//! A packet to one of our addresses, with ports: to its service's server, as every other.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, Reason, ServiceEntry};
use lb_common::hash::FlowHash;
use lb_common::headers::Headers;
use lb_common::link::LinkHeader;
use lb_common::steer::Decision;
use lb_ebpf::Frame;

use super::{headers_of, next, reply, what};
use crate::verdict::Verdict;
use crate::{account, config, direct, forward, gue, nat, protect, quic, steer, transmit};

/// Finds the service. A verdict, or the [`next`] step.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_service(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    let Some(found) = super::found() else { return crate::judged(Verdict::drop(Reason::BadHeaders)) };
    let headers = headers_of(found);
    let (what, vip) = (found.what, found.vip);
    let Some(service) = super::find_service(found, &headers) else {
        return match what {
            _ if vip == super::ANY_ADDRESS => super::LOOK,
            what::WHOLE => next::CLOSED,
            what::PIECE => crate::judged(Verdict::drop(Reason::ClosedDropped)),
            _ => crate::judged(Verdict::drop(Reason::IcmpUnknown)),
        };
    };
    account::service(service, &headers, Frame::new(&context).total_len() as u64);
    if service.flags & flags::PROTECTED != 0 {
        let judged = protect::check(service, &headers);
        if judged != protect::ADMITTED {
            return judged;
        }
    }
    if service.flags & flags::QUIC != 0 {
        nat::hand_over(&headers);
        if what == what::WHOLE {
            quic::route(context.ctx, service);
        } else {
            quic::forget();
        }
    }
    if service.flags & flags::L2 != 0 {
        return next::DIRECT;
    }
    if service.flags & flags::GUE != 0 {
        return next::GUE;
    }
    if service.flags & flags::NAT == 0 {
        return next::TUNNEL;
    }
    if what != what::WHOLE {
        return next::WAY;
    }
    nat::hand_over(&headers);
    next::FORWARD
}

/// Sends it in a tunnel. A verdict, or the [`next`] step.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_tunnel(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    match tunnel(Frame::new(&context)) {
        Ok(judged) => judged,
        Err(reason) => crate::judged(Verdict::drop(reason)),
    }
}

#[inline(always)]
fn tunnel(frame: Frame<'_>) -> Result<u64, Reason> {
    let found = super::found().ok_or(Reason::BadHeaders)?;
    let (headers, what) = (headers_of(found), found.what);
    let service = super::service_found().ok_or(Reason::NoBackend)?;
    let config = config::get().ok_or(Reason::NoBackend)?;
    let hash = FlowHash::of(&headers, service.flags, config.hash_key);
    let decision = match choose(service, &headers, what, hash)? {
        Some(decision) => decision,
        None => return Ok(next::EMPTY),
    };
    let (bytes, ingress) = (frame.total_len() as u64, frame.ingress());
    match forward::encapsulate(frame, &headers, decision.backend, hash, config) {
        Ok(()) => {}
        Err(Reason::TooBig) if what == what::WHOLE => {
            reply::note_limit(forward::largest(decision.backend));
            return Ok(next::TOO_BIG);
        }
        Err(reason) => return Err(reason),
    }
    account::backend(decision.index, bytes);
    Ok(crate::judged(transmit::through(decision.backend.ifindex, ingress)))
}

/// Sends it as it is. A verdict, or the [`next`] step.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_direct(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    match relink(Frame::new(&context)) {
        Ok(judged) => judged,
        Err(reason) => crate::judged(Verdict::drop(reason)),
    }
}

#[inline(always)]
fn relink(frame: Frame<'_>) -> Result<u64, Reason> {
    let found = super::found().ok_or(Reason::BadHeaders)?;
    let (headers, what) = (headers_of(found), found.what);
    let service = super::service_found().ok_or(Reason::NoBackend)?;
    let config = config::get().ok_or(Reason::NoBackend)?;
    let hash = FlowHash::of(&headers, service.flags, config.hash_key);
    let Some(decision) = choose(service, &headers, what, hash)? else { return Ok(next::EMPTY) };
    match direct::admitted(&headers, decision.backend) {
        Ok(()) => {}
        Err(Reason::TooBig) if what == what::WHOLE => return Ok(next::TOO_BIG),
        Err(reason) => return Err(reason),
    }
    let (bytes, ingress) = (frame.total_len() as u64, frame.ingress());
    nat::relink(frame, &headers, LinkHeader::to(decision.backend))?;
    account::backend(decision.index, bytes);
    Ok(crate::judged(transmit::through(decision.backend.ifindex, ingress)))
}

/// Chooses its server in UDP. A verdict, the [`next`] step, or [`gue::CHOSEN`] with the server's index.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_gue() -> u64 {
    match chosen() {
        Ok(chosen) => chosen,
        Err(reason) => crate::judged(Verdict::drop(reason)),
    }
}

#[inline(always)]
fn chosen() -> Result<u64, Reason> {
    let found = super::found().ok_or(Reason::BadHeaders)?;
    let (headers, what) = (headers_of(found), found.what);
    let service = super::service_found().ok_or(Reason::NoBackend)?;
    let config = config::get().ok_or(Reason::NoBackend)?;
    let hash = FlowHash::of(&headers, service.flags, config.hash_key);
    let Some(decision) = choose(service, &headers, what, hash)? else { return Ok(next::EMPTY) };
    nat::hand_over(&headers);
    Ok(gue::CHOSEN | u64::from(decision.index))
}

/// The backend; `None` where the service has none and its policy is to answer.
#[inline(always)]
fn choose(
    service: &ServiceEntry,
    headers: &Headers,
    what: u32,
    hash: FlowHash,
) -> Result<Option<Decision<&'static BackendEntry>>, Reason> {
    // Anybody may send an error: nothing is noted of its flow.
    let decision = if what == what::ERROR {
        steer::find(service, headers, hash)
    } else {
        steer::choose_or_named(service, headers, hash)
    };
    match decision {
        Ok(decision) => Ok(Some(decision)),
        Err(Reason::EmptyPool) if what == what::WHOLE && service.flags & flags::EMPTY_REJECT != 0 => Ok(None),
        Err(reason) => Err(reason),
    }
}
