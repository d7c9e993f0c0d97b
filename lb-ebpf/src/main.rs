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
#[path = "snowshed/config.rs"]
mod config;
#[path = "snowshed/direct.rs"]
mod direct;
#[path = "snowshed/forward.rs"]
mod forward;
#[path = "snowshed/nat.rs"]
mod nat;
#[path = "snowshed/protect.rs"]
mod protect;
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

/// The one entry point.
#[xdp]
fn snowshed(context: XdpContext) -> u32 {
    let judged = handle(Frame::new(&context), context.ctx);
    account::verdict((judged >> 32) as u32);
    judged as u32
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
        Ok(Parsed::NotOurs(reason)) => judged(Verdict::pass(reason)),
        Err(Malformed) => judged(Verdict::pass(Reason::Malformed)),
    }
}

#[inline(always)]
fn balance(frame: Frame<'_>, headers: &Headers, context: *mut xdp_md) -> u64 {
    let Some(service) = service::find(headers) else {
        if !config::get().is_some_and(|config| config.nat_v4.count | config.nat_v6.count != 0) {
            return judged(Verdict::pass(Reason::NoService));
        }
        nat::hand_over(headers);
        return nat::back(context);
    };
    account::service(service, headers, frame.len() as u64);
    if service.flags & flags::PROTECTED != 0 {
        let judged = protect::check(service, headers);
        if judged != protect::ADMITTED {
            return judged;
        }
    }
    let Some(config) = config::get() else { return judged(Verdict::drop(Reason::NoBackend)) };
    if service.flags & (flags::NAT | flags::L2) != 0 {
        nat::hand_over(headers);
        if service.flags & flags::L2 != 0 {
            return direct::forward(context, service, config);
        }
        return nat::forward(context, service, config);
    }
    judged(tunnel(frame, headers, service, config))
}

#[inline(always)]
fn tunnel(frame: Frame<'_>, headers: &Headers, service: &ServiceEntry, config: &ConfigEntry) -> Verdict {
    let bytes = frame.len() as u64;
    let hash = FlowHash::of(headers, service.flags, config.hash_key);
    let decision = match steer::choose(service, headers, hash) {
        Ok(decision) => decision,
        Err(Reason::EmptyPool) => return reject::answer(frame, headers, service, Reason::EmptyPool),
        Err(reason) => return Verdict::drop(reason),
    };
    let ingress = frame.ingress();
    if let Err(reason) = forward::encapsulate(frame, headers, decision.backend, hash, config) {
        return Verdict::drop(reason);
    }
    account::backend(decision.index, bytes);
    transmit::through(decision.backend.ifindex, ingress)
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
