//! Puts the packet into one that goes to the backend.

use lb_common::abi::{BackendEntry, ConfigEntry, Reason};
use lb_common::encapsulation::{self, ONE_TAG, TWO_TAGS};
use lb_common::hash::FlowHash;
use lb_common::headers::{ETHERNET_LEN, Headers, IPV4_LEN, IPV6_LEN, Inherited};
use lb_ebpf::Frame;

/// What the outer headers are made from.
#[derive(Clone, Copy)]
struct Recipe<'a> {
    headers: &'a Headers,
    inherited: Inherited,
    backend: &'a BackendEntry,
    hash: FlowHash,
    config: &'a ConfigEntry,
}

/// Writes the outer headers in front of the packet.
#[inline(always)]
pub(crate) fn encapsulate(
    frame: Frame<'_>,
    headers: &Headers,
    backend: &BackendEntry,
    hash: FlowHash,
    config: &ConfigEntry,
) -> Result<(), Reason> {
    let inherited = Inherited::read(&frame, headers).ok_or(Reason::Malformed)?;
    encapsulation::admit(headers, inherited.ttl, backend)?;
    let recipe = Recipe { headers, inherited, backend, hash, config };
    // One instance per pair of lengths: every offset is a constant.
    match (encapsulation::outer_len(backend), encapsulation::link_len(backend)) {
        (IPV4_LEN, ETHERNET_LEN) => wrap::<ETHERNET_LEN, IPV4_LEN>(frame, recipe),
        (IPV4_LEN, ONE_TAG) => wrap::<ONE_TAG, IPV4_LEN>(frame, recipe),
        (IPV4_LEN, _) => wrap::<TWO_TAGS, IPV4_LEN>(frame, recipe),
        (_, ETHERNET_LEN) => wrap::<ETHERNET_LEN, IPV6_LEN>(frame, recipe),
        (_, ONE_TAG) => wrap::<ONE_TAG, IPV6_LEN>(frame, recipe),
        _ => wrap::<TWO_TAGS, IPV6_LEN>(frame, recipe),
    }
    .ok_or(Reason::NoHeadroom)
}

/// Largest packet that fits into one to the backend.
#[inline(always)]
pub(crate) fn largest(backend: &BackendEntry) -> u32 {
    u32::from(backend.mtu).saturating_sub(encapsulation::outer_len(backend) as u32)
}

/// Makes room and writes; `None` when there is no room.
#[inline(always)]
fn wrap<const LINK: usize, const OUTER: usize>(frame: Frame<'_>, recipe: Recipe<'_>) -> Option<()> {
    let Recipe { headers, inherited, backend, hash, config } = recipe;
    let growth = (LINK + OUTER - headers.link_len) as i32;
    let mut frame = frame.move_start(-growth)?;
    encapsulation::write::<LINK, OUTER, _>(&mut frame, headers, inherited, backend, hash, config)
}
