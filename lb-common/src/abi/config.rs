//! What is the same for every packet of an edge.

use super::nat::NatRange;

/// The one element of `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Key of the flow hash; the same on every edge of a fleet.
    pub hash_key: [u64; 2],
    /// Outer IPv6 source: the first 8 bytes are kept, the last 8 vary with the flow.
    pub outer_source_v6: [u8; 16],
    /// Outer IPv4 source: the first 2 bytes are kept, the last 2 vary with the flow.
    pub outer_source_v4: [u8; 4],
    /// Always [`super::ABI_VERSION`].
    pub abi_version: u32,
    /// Source addresses of translated IPv4 flows.
    pub nat_v4: NatRange,
    /// Source addresses of translated IPv6 flows.
    pub nat_v6: NatRange,
    /// Whether `RANGES` may hold anything: 0 or 1. Packets that no service has pay for the look-up only then.
    pub ranges: u32,
    /// Always 0.
    pub pad: u32,
}

const _: () = assert!(size_of::<ConfigEntry>() == 64);
