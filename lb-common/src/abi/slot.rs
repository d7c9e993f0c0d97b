//! A slot of a service's table: which backend, and flag bits.

/// Value of `SLOTS`: two slots, because the kernel gives each element of an array at least eight bytes. Slot `index` of
/// the arena is slot `index % 2` of element `index / 2`.
pub type SlotPair = [Slot; SLOTS_PER_ELEMENT as usize];

/// Slots in an element of `SLOTS`.
pub const SLOTS_PER_ELEMENT: u32 = 2;

const _: () = assert!(size_of::<SlotPair>() == 8);

/// A slot of a service's table.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    /// The low bits are the index into `BACKENDS`.
    pub const INDEX_MASK: u32 = (1 << 24) - 1;

    /// The slot changed its owner within the window: look in the flow tables, and note what is not there.
    pub const MOVING: u32 = 1 << 31;
    /// The window is over, entries may live on: look in the flow tables, note nothing.
    pub const EXCEPTIONS: u32 = 1 << 30;

    /// A slot that points at a backend.
    #[must_use]
    #[inline(always)]
    pub const fn to_backend(index: u32) -> Self {
        Self(index & Self::INDEX_MASK)
    }

    /// Index into `BACKENDS`.
    #[must_use]
    #[inline(always)]
    pub const fn backend_index(self) -> u32 {
        self.0 & Self::INDEX_MASK
    }
}
