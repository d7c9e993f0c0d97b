//! Service and flow → backend.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, LruHashMap},
};
use lb_common::abi::service::flags;
use lb_common::abi::{
    BackendEntry, FlowEntry, FlowKey, Reason, SLOTS_PER_ELEMENT, ServiceEntry, Slot, SlotPair, limits,
};
use lb_common::hash::FlowHash;
use lb_common::headers::Headers;
use lb_common::steer::{self, Decision, Path, Tables};

use crate::{nat, quic};

#[map]
static SLOTS: Array<SlotPair> = Array::with_max_entries(limits::MAX_SLOTS / SLOTS_PER_ELEMENT, BPF_F_MMAPABLE);

#[map]
static BACKENDS: Array<BackendEntry> = Array::with_max_entries(limits::MAX_BACKENDS, BPF_F_MMAPABLE);

#[map]
static FLOWS_OPENED: LruHashMap<FlowKey, FlowEntry> = LruHashMap::with_max_entries(limits::MAX_FLOWS, 0);

#[map]
static FLOWS_PINNED: LruHashMap<FlowKey, FlowEntry> = LruHashMap::with_max_entries(limits::MAX_FLOWS, 0);

/// The kernel's maps.
struct Maps;

impl Tables for Maps {
    type Backend = &'static BackendEntry;

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        let pair = SLOTS.get(index / SLOTS_PER_ELEMENT)?;
        pair.get((index % SLOTS_PER_ELEMENT) as usize).copied()
    }

    #[inline(always)]
    fn backend(&self, index: u32) -> Option<&'static BackendEntry> {
        BACKENDS.get(index)
    }

    #[inline(always)]
    fn opened(&self, headers: &Headers) -> Option<FlowEntry> {
        entry(&FLOWS_OPENED, headers)
    }

    #[inline(always)]
    fn pinned(&self, headers: &Headers) -> Option<FlowEntry> {
        entry(&FLOWS_PINNED, headers)
    }
}

/// Chooses the backend, and notes the flow where its slot is moving.
#[inline(always)]
pub(crate) fn choose(
    service: &ServiceEntry,
    headers: &Headers,
    hash: FlowHash,
) -> Result<Decision<&'static BackendEntry>, Reason> {
    let decision = steer::steer(&Maps, service, headers, hash)?;
    match decision.path {
        Path::OpensFlow => note(&FLOWS_OPENED, headers, decision.entry()),
        Path::PinsFlow | Path::Confirms => note(&FLOWS_PINNED, headers, decision.entry()),
        _ => {}
    }
    Ok(decision)
}

/// As [`choose`], where a packet's QUIC connection id may name the backend.
#[inline(always)]
pub(crate) fn choose_or_named(
    service: &ServiceEntry,
    headers: &Headers,
    hash: FlowHash,
) -> Result<Decision<&'static BackendEntry>, Reason> {
    if service.flags & flags::QUIC != 0
        && let Some(decision) = quic::named()
    {
        return Ok(decision);
    }
    choose(service, headers, hash)
}

/// The backend of an entry that a connection id named, if it serves.
#[inline(always)]
pub(crate) fn named(entry: FlowEntry) -> Option<Decision<&'static BackendEntry>> {
    steer::named(&Maps, entry)
}

/// Chooses the backend and notes nothing.
#[inline(always)]
pub(crate) fn find(
    service: &ServiceEntry,
    headers: &Headers,
    hash: FlowHash,
) -> Result<Decision<&'static BackendEntry>, Reason> {
    steer::steer(&Maps, service, headers, hash)
}

/// The owner of a new flow's slot, or the server that its packet names.
#[inline(always)]
pub(crate) fn owner(service: &ServiceEntry, hash: FlowHash) -> Result<Decision<&'static BackendEntry>, Reason> {
    if service.flags & flags::QUIC != 0
        && let Some(decision) = quic::named()
    {
        return Ok(decision);
    }
    steer::owner(&Maps, service, hash)
}

/// A backend entry; `None` outside the map.
#[inline(always)]
pub(crate) fn backend(index: u32) -> Option<&'static BackendEntry> {
    BACKENDS.get(index)
}

#[inline(always)]
fn entry(flows: &LruHashMap<FlowKey, FlowEntry>, headers: &Headers) -> Option<FlowEntry> {
    let words = headers.flow_key_words();
    // SAFETY: the words are the bytes of a key, whose alignment is 1.
    let found = flows.get_ptr_mut(unsafe { &*(&raw const words).cast::<FlowKey>() })?;
    let now = nat::now();
    // SAFETY: the kernel found the element, which stays readable and writable while the program runs. Should it be reused
    // for another flow meanwhile, the packet goes where that flow goes: a wrong server once, never a wrong read.
    unsafe {
        // Written once a tick and not at every packet: its line is many CPUs' own otherwise.
        if (*found).seen != now {
            (*found).seen = now;
        }
        Some(*found)
    }
}

#[inline(always)]
fn note(flows: &LruHashMap<FlowKey, FlowEntry>, headers: &Headers, entry: FlowEntry) {
    let words = headers.flow_key_words();
    // SAFETY: the words are the bytes of a key, whose alignment is 1.
    let key = unsafe { &*(&raw const words).cast::<FlowKey>() };
    let entry = FlowEntry { seen: nat::now(), ..entry };
    // An LRU table makes room by itself. Where it cannot (another CPU holds its lock), the flow's next packet tries
    // again: this one goes the right way in any case.
    let _ = flows.insert(key, &entry, 0);
}
