//! The translated flow of a piece or of an ICMP error, and what its packets become.

use aya_ebpf::{bindings::xdp_md, macros::map, maps::PerCpuArray, programs::XdpContext};
use lb_common::abi::{NatFlow, Reason};
use lb_common::headers::{Headers, Inherited};
use lb_common::link::LinkHeader;
use lb_common::nat::flow::{admit, is_live};
use lb_common::nat::ports::index_of;
use lb_common::nat::rewrite::Tuple;
use lb_ebpf::Frame;

use super::{headers_of, next, what};
use crate::verdict::Verdict;
use crate::{nat, steer};

/// Where a packet of a translated flow goes.
pub(super) struct Way {
    /// What the flow's own packets become in this direction.
    pub(super) to: Tuple,
    pub(super) link: LinkHeader,
    pub(super) ifindex: u32,
    /// Index into `BACKENDS`; [`CLIENT`] towards the client.
    pub(super) backend: u32,
}

/// [`Way::backend`] of a packet to the client.
pub(super) const CLIENT: u32 = u32::MAX;

#[map]
static WAY: PerCpuArray<Way> = PerCpuArray::with_max_entries(1, 0);

/// The way that was found.
#[inline(always)]
pub(super) fn found() -> Option<&'static mut Way> {
    // SAFETY: as in the module above.
    WAY.get_ptr_mut(0).map(|way| unsafe { &mut *way })
}

/// A verdict, or the [`next`] step.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_way(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    match find(&Frame::new(&context)) {
        Ok(way) => {
            if let Some(slot) = found() {
                *slot = way;
            }
            next::TRANSLATE
        }
        Err(reason) => crate::judged(Verdict::drop(reason)),
    }
}

#[inline(always)]
fn find(frame: &Frame<'_>) -> Result<Way, Reason> {
    let found = super::found().ok_or(Reason::BadHeaders)?;
    let headers = headers_of(found);
    let unknown = if found.what == what::PIECE { Reason::FragmentUnknown } else { Reason::IcmpUnknown };
    let ttl = Inherited::read(frame, &headers).ok_or(Reason::BadHeaders)?.ttl as u8;
    if ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    match nat::number_of(&headers) {
        Some(number) => to_client(number, &headers).ok_or(unknown),
        None => to_server(&headers, ttl, unknown),
    }
}

#[inline(always)]
fn to_server(headers: &Headers, ttl: u8, unknown: Reason) -> Result<Way, Reason> {
    let flow: &NatFlow = nat::flow_of(headers).ok_or(unknown)?;
    let backend = steer::backend(flow.backend).filter(|backend| is_live(flow, backend)).ok_or(unknown)?;
    admit(headers, ttl, backend)?;
    let (to, link) = (flow.to_server(backend), LinkHeader::to(backend));
    Ok(Way { to, link, ifindex: backend.ifindex, backend: flow.backend })
}

#[inline(always)]
fn to_client(number: u32, headers: &Headers) -> Option<Way> {
    let port = u16::from_be((headers.ports >> 16) as u16);
    let flow: &NatFlow = nat::flow_at(index_of(number, port)?)?;
    if !flow.is_from_server(headers) {
        return None;
    }
    Some(Way { to: flow.to_client(), link: LinkHeader(flow.link), ifindex: flow.ifindex, backend: CLIENT })
}
