//! The load balancer in XDP. This file is a packet's life; each stage is a file that owns its maps.
//!
//! parse → service → (protect) → steer → forward → transmit, or parse → service → nat → transmit; every exit has a [`Reason`], and
//! every reason is counted.
#![no_std]
#![no_main]

use aya_ebpf::{bindings::xdp_md, macros::xdp, programs::XdpContext};
use lb_common::abi::service::flags;
use lb_common::abi::{ConfigEntry, Reason, ServiceEntry};
use lb_common::hash::FlowHash;
use lb_common::headers::{self, Headers, Malformed, Parsed};
use lb_common::packet::Packet as _;
use lb_ebpf::Frame;

#[path = "snowshed/account.rs"]
mod account;
#[path = "snowshed/aside.rs"]
mod aside;
#[path = "snowshed/capture.rs"]
mod capture;
#[path = "snowshed/config.rs"]
mod config;
#[path = "snowshed/direct.rs"]
mod direct;
#[path = "snowshed/forward.rs"]
mod forward;
#[path = "snowshed/gue.rs"]
mod gue;
#[path = "snowshed/nat.rs"]
mod nat;
#[path = "snowshed/protect.rs"]
mod protect;
#[path = "snowshed/quic.rs"]
mod quic;
#[path = "snowshed/reject.rs"]
mod reject;
#[path = "snowshed/service.rs"]
mod service;
#[path = "snowshed/steer.rs"]
mod steer;
#[path = "snowshed/transmit.rs"]
mod transmit;
#[path = "snowshed/verdict.rs"]
mod verdict;

use verdict::Verdict;

/// The one entry point for traffic. Inlined into what the kernel calls: left to the compiler it is a call more for each packet.
#[xdp(frags)]
#[inline(always)]
fn snowshed(context: XdpContext) -> u32 {
    live(&context) as u32
}

/// The same, for as long as somebody watches: a program of its own, so that the other one has nothing of it.
#[xdp(frags)]
#[inline(always)]
fn snowshed_shows(context: XdpContext) -> u32 {
    capture::capture_before(context.ctx);
    let judged = live(&context);
    capture::capture_after(context.ctx, judged);
    judged as u32
}

/// A packet's life, and the verdict on it as one word.
#[inline(always)]
fn live(context: &XdpContext) -> u64 {
    let mut judged = handle(Frame::new(context), context.ctx);
    // One place, and not one for each kind of frame: the stack is the sum of all that is called.
    if judged & aside::STEP != 0 {
        judged = aside::judge(context.ctx, judged);
    }
    account::verdict((judged >> 32) as u32);
    judged
}

/// A verdict as one word, all that a subprogram can return: XDP's action, and in the upper half the reason.
#[inline(always)]
const fn judged(verdict: Verdict) -> u64 {
    verdict.way as u64 | (verdict.reason as u64) << 32
}

#[inline(always)]
fn handle(frame: Frame<'_>, context: *mut xdp_md) -> u64 {
    // Twice the same: the common kind of frame has an instance of its own of all that follows.
    if let Some(headers) = headers::parse_common(&frame) {
        return balance(frame, &headers, context);
    }
    match headers::parse(&frame) {
        Ok(Parsed::Flow(headers)) => balance(frame, &headers, context),
        Ok(Parsed::NotOurs(reason @ (Reason::NotIp | Reason::VlanDepth))) => judged(Verdict::pass(reason)),
        // Also what seems cut short: the frame may be more than the driver's first buffer.
        Ok(Parsed::NotOurs(_)) | Err(Malformed) => aside::LOOK,
    }
}

#[inline(always)]
fn balance(frame: Frame<'_>, headers: &Headers, context: *mut xdp_md) -> u64 {
    let Some(service) = service::find(headers) else { return unclaimed(headers, context) };
    account::service(service, headers, frame.len() as u64);
    if service.flags & flags::PROTECTED != 0 {
        let judged = protect::check(service, headers);
        if judged != protect::ADMITTED {
            return judged;
        }
    }
    let Some(config) = config::get() else { return judged(Verdict::drop(Reason::NoBackend)) };
    if service.flags & flags::ELSEWHERE != 0 {
        nat::hand_over(headers);
        if service.flags & flags::QUIC != 0 {
            quic::route(context, service);
        }
        if service.flags & flags::L2 != 0 {
            return direct::forward(context, service, config);
        }
        if service.flags & flags::GUE != 0 {
            return gue::forward(context, service, config);
        }
        if service.flags & flags::NAT != 0 {
            return nat::forward(context, service, config);
        }
        return aside::into_tunnel(headers);
    }
    tunnel(frame, headers, service, config, context)
}

/// No service has the packet: a server's answer, something else that is for us, or not ours.
#[inline(always)]
fn unclaimed(headers: &Headers, context: *mut xdp_md) -> u64 {
    if config::translates() {
        nat::hand_over(headers);
        let judged = nat::back(context);
        if judged != crate::judged(Verdict::pass(Reason::NoService)) {
            return judged;
        }
    }
    if config::has_ranges() { aside::look_in_ranges(headers) } else { aside::LOOK }
}

#[inline(always)]
fn tunnel(
    frame: Frame<'_>,
    headers: &Headers,
    service: &ServiceEntry,
    config: &ConfigEntry,
    context: *mut xdp_md,
) -> u64 {
    let bytes = frame.len() as u64;
    let hash = FlowHash::of(headers, service.flags, config.hash_key);
    let decision = match steer::choose(service, headers, hash) {
        Ok(decision) => decision,
        Err(Reason::EmptyPool) => return judged(reject::answer(frame, headers, service, Reason::EmptyPool)),
        Err(reason) => return judged(Verdict::drop(reason)),
    };
    let ingress = frame.ingress();
    match forward::encapsulate(frame, headers, decision.backend, hash, config) {
        Ok(()) => {}
        Err(Reason::TooBig) => return aside::reply::too_big(context, forward::largest(decision.backend)),
        Err(reason) => return judged(Verdict::drop(reason)),
    }
    account::backend(decision.index, bytes);
    judged(transmit::through(decision.backend.ifindex, ingress))
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
