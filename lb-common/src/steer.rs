//! Which backend a packet goes to, and why. The kernel program and `snowshed explain` run this same code.
//!
//! Nothing is written here: a [`Decision`] says which flow table should learn of the flow, if any.

use core::borrow::Borrow;

use crate::abi::{BackendEntry, FlowEntry, Reason, ServiceEntry, Slot, backend::state};
use crate::hash::FlowHash;
use crate::headers::Headers;

/// Reads of the maps that steering needs.
pub trait Tables {
    /// A backend entry: a reference into the map, or a copy of it.
    type Backend: Borrow<BackendEntry>;

    /// A slot of the arena; `None` outside it.
    fn slot(&self, index: u32) -> Option<Slot>;

    /// A backend entry; `None` outside the map.
    fn backend(&self, index: u32) -> Option<Self::Backend>;

    /// The packet's entry among the flows opened on a moving slot.
    fn opened(&self, headers: &Headers) -> Option<FlowEntry>;

    /// The packet's entry among the established flows of slots that moved.
    fn pinned(&self, headers: &Headers) -> Option<FlowEntry>;
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<B> {
    /// Index of the slot in the service's table.
    pub slot: u32,
    /// The slot's content.
    pub owner: Slot,
    /// Index into `BACKENDS`.
    pub index: u32,
    /// The backend.
    pub backend: B,
    /// How it was chosen.
    pub path: Path,
}

/// How a backend was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The slot is neither moving nor has exceptions: its owner.
    Owner,
    /// The flow was opened on this slot while it was moving: the backend its entry names.
    Opened,
    /// The flow is older than the slot's move, or was seen to go on since: the backend its entry names.
    Pinned,
    /// The flow was opened on this slot while it was moving, and now goes on: the backend its entry names, to be noted
    /// among the pinned flows, out of which no flood of opening packets can push it.
    Confirms,
    /// The slot is moving and this packet opens a flow: the new owner, to be noted among the opened flows.
    OpensFlow,
    /// The slot is moving and the flow began before: the previous owner, to be noted among the pinned flows.
    PinsFlow,
    /// The slot is moving, and its previous owner is gone or down: the new owner.
    PreviousGone,
    /// The slot is moving, and the protocol has no opening packet: the new owner.
    Untracked,
    /// The window is over and the flow has no entry: the owner.
    NoException,
    /// The packet's QUIC connection id names this backend.
    ConnectionId,
}

impl Path {
    /// A sentence for people.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Owner => "the slot's owner",
            Self::Opened => "the flow was opened while the slot was moving, and its entry names this backend",
            Self::Pinned => "the flow was established when the slot moved or since, and its entry names this backend",
            Self::Confirms => {
                "the flow was opened while the slot was moving, goes on, and its entry names this backend"
            }
            Self::OpensFlow => "the slot is moving and the packet opens a flow: the new owner",
            Self::PinsFlow => "the slot is moving and the flow began before: the previous owner",
            Self::PreviousGone => "the slot is moving, but its previous owner is gone or down: the new owner",
            Self::Untracked => "the slot is moving, but the protocol has no opening packet: the new owner",
            Self::NoException => "the slot's move is over and the flow has no entry: the owner",
            Self::ConnectionId => "the QUIC connection id names this server",
        }
    }
}

impl<B: Borrow<BackendEntry>> Decision<B> {
    /// What the flow table named by [`Decision::path`] should hold.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self) -> FlowEntry {
        FlowEntry::naming(self.index, self.backend.borrow().generation)
    }
}

/// Chooses the backend of a packet.
///
/// # Errors
/// [`Reason::EmptyPool`] when the service has no slots; [`Reason::NoBackend`] when the table points outside the maps
/// or at a free entry.
#[inline(always)]
pub fn steer<T: Tables>(
    tables: &T,
    service: &ServiceEntry,
    headers: &Headers,
    hash: FlowHash,
) -> Result<Decision<T::Backend>, Reason> {
    if service.slots_len == 0 {
        return Err(Reason::EmptyPool);
    }
    let slot = hash.slot(service.slots_len);
    let owner = tables.slot(service.slots_offset.wrapping_add(slot)).ok_or(Reason::NoBackend)?;
    let path = if owner.0 & (Slot::MOVING | Slot::EXCEPTIONS) == 0 {
        Path::Owner
    } else {
        match tracked(tables, service, headers, hash, owner) {
            Tracked::Backend { index, backend, path } => return Ok(Decision { slot, owner, index, backend, path }),
            Tracked::Owner(path) => path,
        }
    };
    let index = owner.backend_index();
    let backend = tables.backend(index).filter(in_use).ok_or(Reason::NoBackend)?;
    Ok(Decision { slot, owner, index, backend, path })
}

/// The owner of a flow's slot, whatever the slot's past: for a new flow that is noted in a table of its own.
///
/// # Errors
/// As [`steer`].
#[inline(always)]
pub fn owner<T: Tables>(tables: &T, service: &ServiceEntry, hash: FlowHash) -> Result<Decision<T::Backend>, Reason> {
    if service.slots_len == 0 {
        return Err(Reason::EmptyPool);
    }
    let slot = hash.slot(service.slots_len);
    let owner = tables.slot(service.slots_offset.wrapping_add(slot)).ok_or(Reason::NoBackend)?;
    let index = owner.backend_index();
    let backend = tables.backend(index).filter(in_use).ok_or(Reason::NoBackend)?;
    Ok(Decision { slot, owner, index, backend, path: Path::Owner })
}

/// The backend that a packet's QUIC connection id names; `None` when it does not serve. It has no slot.
#[inline(always)]
pub fn named<T: Tables>(tables: &T, entry: FlowEntry) -> Option<Decision<T::Backend>> {
    let (index, backend) = live(tables, entry)?;
    Some(Decision { slot: 0, owner: Slot::to_backend(index), index, backend, path: Path::ConnectionId })
}

/// Outcome of looking at a slot that is moving or has exceptions.
enum Tracked<B> {
    Backend { index: u32, backend: B, path: Path },
    Owner(Path),
}

#[inline(always)]
fn tracked<T: Tables>(
    tables: &T,
    service: &ServiceEntry,
    headers: &Headers,
    hash: FlowHash,
    owner: Slot,
) -> Tracked<T::Backend> {
    if let Some((index, backend)) = tables.pinned(headers).and_then(|entry| live(tables, entry)) {
        return Tracked::Backend { index, backend, path: Path::Pinned };
    }
    let is_moving = owner.0 & Slot::MOVING != 0;
    if let Some((index, backend)) = tables.opened(headers).and_then(|entry| live(tables, entry)) {
        let path = if is_moving && !headers.opens_flow() { Path::Confirms } else { Path::Opened };
        return Tracked::Backend { index, backend, path };
    }
    if !is_moving {
        return Tracked::Owner(Path::NoException);
    }
    if headers.protocol != crate::headers::number::TCP {
        return Tracked::Owner(Path::Untracked);
    }
    if headers.opens_flow() {
        return Tracked::Owner(Path::OpensFlow);
    }
    match previous(tables, service, hash) {
        Some((index, backend)) => Tracked::Backend { index, backend, path: Path::PinsFlow },
        None => Tracked::Owner(Path::PreviousGone),
    }
}

/// The slot's owner before the move, if it still serves.
#[inline(always)]
fn previous<T: Tables>(tables: &T, service: &ServiceEntry, hash: FlowHash) -> Option<(u32, T::Backend)> {
    if service.previous_len == 0 {
        return None;
    }
    let index = service.previous_offset.wrapping_add(hash.slot(service.previous_len));
    let index = tables.slot(index)?.backend_index();
    let backend = tables.backend(index).filter(is_up)?;
    Some((index, backend))
}

/// An entry is void when its backend is down or its index was given to another server.
#[inline(always)]
fn live<T: Tables>(tables: &T, entry: FlowEntry) -> Option<(u32, T::Backend)> {
    let backend = tables.backend(entry.backend).filter(is_up)?;
    (backend.borrow().generation == entry.generation).then_some((entry.backend, backend))
}

#[inline(always)]
fn in_use<B: Borrow<BackendEntry>>(backend: &B) -> bool {
    backend.borrow().identity != 0
}

#[inline(always)]
pub(crate) fn is_up<B: Borrow<BackendEntry>>(backend: &B) -> bool {
    in_use(backend) && backend.borrow().state & state::UP != 0
}
