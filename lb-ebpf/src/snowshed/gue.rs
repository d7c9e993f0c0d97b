//! Puts the packet into UDP that goes to the backend ([`lb_common::encapsulation::gue`]).
//!
//! Subprograms, as those of translation are: a packet in plain IP pays for none of this. The headers around the packet vary
//! with the whole flow, also where its source alone picks the server.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::abi::{BackendEntry, ConfigEntry, Reason, ServiceEntry};
use lb_common::encapsulation::{self, ONE_TAG, TWO_TAGS, gue};
use lb_common::hash::FlowHash;
use lb_common::headers::{ETHERNET_LEN, Headers, Inherited};
use lb_ebpf::Frame;

use crate::aside::reply;
use crate::verdict::{Verdict, Way};
use crate::{account, config, nat, steer, transmit};

/// Beside a backend's index: the backend is chosen, [`gue_send`] is next. No verdict has this bit, and no step of `aside`.
pub(crate) const CHOSEN: u64 = 1 << 62;

/// A client's packet, whose headers were handed over, on to its server or answered in its place. Returns what
/// [`crate::judged`] makes of the verdict.
#[inline(always)]
pub(crate) fn forward(context: *mut xdp_md, service: &ServiceEntry, config: &ConfigEntry) -> u64 {
    let mut judged = steered(service, config);
    if judged & CHOSEN != 0 {
        judged = gue_send(context, judged as u32);
    }
    const EMPTY_POOL: u32 = Reason::EmptyPool as u32;
    const TOO_BIG: u32 = Reason::TooBig as u32;
    if judged as u32 != Way::Drop as u32 {
        return judged;
    }
    match (judged >> 32) as u32 {
        EMPTY_POOL => nat::refused(context, service, true),
        TOO_BIG => reply::too_big(context, reply::noted_limit()),
        _ => judged,
    }
}

/// The backend, as [`CHOSEN`] says.
#[inline(never)]
fn steered(service: &ServiceEntry, config: &ConfigEntry) -> u64 {
    let Some(headers) = nat::handed_over() else { return crate::judged(Verdict::drop(Reason::Malformed)) };
    let hash = FlowHash::of(&headers, service.flags, config.hash_key);
    match steer::choose_or_named(service, &headers, hash) {
        Ok(decision) => CHOSEN | u64::from(decision.index),
        Err(reason) => crate::judged(Verdict::drop(reason)),
    }
}

/// Sends the packet whose headers were handed over to a backend.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn gue_send(context: *mut xdp_md, index: u32) -> u64 {
    let context = XdpContext::new(context);
    crate::judged(to_server(Frame::new(&context), index).unwrap_or_else(Verdict::drop))
}

#[inline(always)]
fn to_server(frame: Frame<'_>, index: u32) -> Result<Verdict, Reason> {
    let headers = nat::handed_over().ok_or(Reason::Malformed)?;
    let config = config::get().ok_or(Reason::NoBackend)?;
    let backend = steer::backend(index).ok_or(Reason::NoBackend)?;
    let inherited = Inherited::read(&frame, &headers).ok_or(Reason::Malformed)?;
    let admitted = gue::admit(&headers, inherited.ttl, backend);
    if admitted == Err(Reason::TooBig) {
        reply::note_limit(u32::from(backend.mtu).saturating_sub(gue::overhead(backend) as u32));
    }
    admitted?;
    let (bytes, ingress) = (frame.total_len() as u64, frame.ingress());
    let hash = FlowHash::of_flow(&headers, 0, config.hash_key);
    let recipe = Recipe { headers: &headers, inherited, backend, hash, config };
    // One instance per pair of lengths: every offset is a constant.
    match (gue::overhead(backend), encapsulation::link_len(backend)) {
        (gue::OUTER_V4, ETHERNET_LEN) => wrap::<ETHERNET_LEN, { gue::OUTER_V4 }>(frame, recipe),
        (gue::OUTER_V4, ONE_TAG) => wrap::<ONE_TAG, { gue::OUTER_V4 }>(frame, recipe),
        (gue::OUTER_V4, _) => wrap::<TWO_TAGS, { gue::OUTER_V4 }>(frame, recipe),
        (_, ETHERNET_LEN) => wrap::<ETHERNET_LEN, { gue::OUTER_V6 }>(frame, recipe),
        (_, ONE_TAG) => wrap::<ONE_TAG, { gue::OUTER_V6 }>(frame, recipe),
        _ => wrap::<TWO_TAGS, { gue::OUTER_V6 }>(frame, recipe),
    }
    .ok_or(Reason::NoHeadroom)?;
    account::backend(index, bytes);
    Ok(transmit::through(backend.ifindex, ingress))
}

/// What the outer headers are made from.
#[derive(Clone, Copy)]
struct Recipe<'a> {
    headers: &'a Headers,
    inherited: Inherited,
    backend: &'a BackendEntry,
    hash: FlowHash,
    config: &'a ConfigEntry,
}

/// Makes room and writes; `None` when there is no room.
#[inline(always)]
fn wrap<const LINK: usize, const OUTER: usize>(frame: Frame<'_>, recipe: Recipe<'_>) -> Option<()> {
    let Recipe { headers, inherited, backend, hash, config } = recipe;
    let growth = (LINK + OUTER - headers.link_len) as i32;
    let mut frame = frame.move_start(-growth)?;
    gue::write::<LINK, OUTER, _>(&mut frame, headers, inherited, backend, hash, config)
}
