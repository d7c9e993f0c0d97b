//! Puts the packet on the server's link as it is.
//!
//! A subprogram, as those of translation are: an encapsulated packet pays for none of this.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::abi::{BackendEntry, ConfigEntry, Reason, ServiceEntry};
use lb_common::direct::admit;
use lb_common::hash::FlowHash;
use lb_common::headers::Headers;
use lb_common::link::LinkHeader;
use lb_common::packet::Packet as _;
use lb_ebpf::Frame;

use crate::aside::reply;
use crate::verdict::{Verdict, Way};
use crate::{account, nat, steer, transmit};

/// A client's packet, whose headers were handed over, on to its server or answered in its place. Returns what
/// [`crate::judged`] makes of the verdict.
#[inline(always)]
pub(crate) fn forward(context: *mut xdp_md, service: &ServiceEntry, config: &ConfigEntry) -> u64 {
    let judged = relinked(context, service, config);
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

#[inline(never)]
fn relinked(context: *mut xdp_md, service: &ServiceEntry, config: &ConfigEntry) -> u64 {
    let context = XdpContext::new(context);
    let Some(headers) = nat::handed_over() else { return crate::judged(Verdict::drop(Reason::Malformed)) };
    crate::judged(to_server(Frame::new(&context), &headers, service, config).unwrap_or_else(Verdict::drop))
}

#[inline(always)]
fn to_server(
    frame: Frame<'_>,
    headers: &Headers,
    service: &ServiceEntry,
    config: &ConfigEntry,
) -> Result<Verdict, Reason> {
    let hash = FlowHash::of(headers, service.flags, config.hash_key);
    let decision = steer::choose_or_named(service, headers, hash)?;
    admitted(headers, decision.backend)?;
    let (bytes, ingress) = (frame.len() as u64, frame.ingress());
    nat::relink(frame, headers, LinkHeader::to(decision.backend))?;
    account::backend(decision.index, bytes);
    Ok(transmit::through(decision.backend.ifindex, ingress))
}

/// [`admit`], and notes for the answer what would fit.
#[inline(always)]
pub(crate) fn admitted(headers: &Headers, backend: &BackendEntry) -> Result<(), Reason> {
    let admitted = admit(headers, backend);
    if admitted == Err(Reason::TooBig) {
        reply::note_limit(u32::from(backend.mtu));
    }
    admitted
}
