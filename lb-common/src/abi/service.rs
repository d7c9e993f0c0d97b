//! A service: exact address, port and protocol, and where its slot table stands.

use super::Address;

/// Key of `SERVICES`. All bytes, alignment 1: what stands in the packet is what stands in the map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Destination address; IPv4 is mapped.
    pub address: Address,
    /// Destination port, network order.
    pub port: [u8; 2],
    /// IP protocol number: 6 TCP, 17 UDP.
    pub protocol: u8,
    /// Always 0.
    pub pad: u8,
}

/// Value of `SERVICES`; replaced whole in one map update.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Index into `SERVICE_STATS`.
    pub id: u32,
    /// [`flags`].
    pub flags: u32,
    /// First slot of the table in `SLOTS`.
    pub slots_offset: u32,
    /// Slots in the table; 0 means no usable server, and [`flags::EMPTY_REJECT`] decides.
    pub slots_len: u32,
    /// First slot of the previous owners' table in `SLOTS`: read only for a slot that is *moving*.
    pub previous_offset: u32,
    /// Slots in the previous owners' table, which may have another length; 0 when no slot is moving.
    pub previous_len: u32,
    /// Generation of the ledger this table was planned from.
    pub generation: u64,
}

/// Bits of [`ServiceEntry::flags`].
pub mod flags {
    /// A service without a usable server answers (TCP RST, ICMP port unreachable) instead of dropping.
    pub const EMPTY_REJECT: u32 = 1 << 0;
    /// Hash over the source address only (source affinity).
    pub const SOURCE_AFFINITY: u32 = 1 << 1;
}

const _: () = assert!(size_of::<ServiceKey>() == 20 && align_of::<ServiceKey>() == 1);
const _: () = assert!(size_of::<ServiceEntry>() == 32);
