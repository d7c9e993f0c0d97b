//! The load balancer in XDP. This file is a packet's life; each stage is a file that owns its maps.
//!
//! parse → service → steer → forward → transmit; every exit has a [`Reason`], and every reason is counted.
#![no_std]
#![no_main]

use aya_ebpf::{macros::xdp, programs::XdpContext};
use lb_common::abi::Reason;
use lb_common::hash::FlowHash;
use lb_common::headers::{self, Headers, Malformed, Parsed};
use lb_common::packet::Packet as _;
use lb_ebpf::Frame;

#[path = "snowshed/account.rs"]
mod account;
#[path = "snowshed/config.rs"]
mod config;
#[path = "snowshed/forward.rs"]
mod forward;
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
    let verdict = handle(Frame::new(&context));
    account::verdict(verdict.reason);
    verdict.way as u32
}

#[inline(always)]
fn handle(frame: Frame<'_>) -> Verdict {
    // Twice the same: the common kind of frame has an instance of its own of all that follows.
    if let Some(headers) = headers::parse_common(&frame) {
        return balance(frame, &headers);
    }
    match headers::parse(&frame) {
        Ok(Parsed::Flow(headers)) => balance(frame, &headers),
        Ok(Parsed::NotOurs(reason)) => Verdict::pass(reason),
        Err(Malformed) => Verdict::pass(Reason::Malformed),
    }
}

#[inline(always)]
fn balance(frame: Frame<'_>, headers: &Headers) -> Verdict {
    let Some(service) = service::find(headers) else { return Verdict::pass(Reason::NoService) };
    let bytes = frame.len() as u64;
    account::service(service, headers, bytes);
    let Some(config) = config::get() else { return Verdict::drop(Reason::NoBackend) };
    let hash = FlowHash::of(headers, service.flags, config.hash_key);
    let decision = match steer::choose(service, headers, hash) {
        Ok(decision) => decision,
        Err(Reason::EmptyPool) => return reject::answer(frame, headers, service),
        Err(reason) => return Verdict::drop(reason),
    };
    let ingress = frame.ingress();
    if let Err(reason) = forward::encapsulate(frame, headers, decision.backend, hash, config) {
        return Verdict::drop(reason);
    }
    account::backend(decision.index, bytes);
    transmit::send(decision.backend, ingress)
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
