//! What an edge knows of an address of its own beside its services. Read only when no service has the packet.

use super::Address;

/// Value of `VIPS`, by [`Address`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipEntry {
    /// [`flags`].
    pub flags: u32,
    /// Always 0.
    pub pad: u32,
}

/// Bits of [`VipEntry::flags`].
pub mod flags {
    /// Echo requests are answered.
    pub const ECHO: u32 = 1 << 0;
    /// A packet that no service takes is answered (TCP RST, ICMP unreachable) instead of dropped.
    pub const REJECT: u32 = 1 << 1;
    /// Nothing is answered and nothing forwarded: the tenant is contained.
    pub const QUARANTINED: u32 = 1 << 2;
}

/// Key of `FRAGMENTS`: a packet that was sent in pieces (RFC 791 §3.2; for IPv6 RFC 8200 §4.5). Alignment 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    /// Source address; IPv4 is mapped.
    pub source: Address,
    /// Destination address; IPv4 is mapped.
    pub destination: Address,
    /// Identification as it stands in the packet; of IPv4 two bytes and zeros.
    pub identification: [u8; 4],
    /// IP protocol number; 0 for IPv6, where the first piece alone says it.
    pub protocol: u8,
    /// Always 0.
    pub pad: [u8; 3],
}

/// Value of `FRAGMENTS`: what only the first piece says.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentEntry {
    /// Both ports as they stand in memory.
    pub ports: u32,
    /// Tick (see [`super::nat::TICK_SHIFT`]) at which the first piece came.
    pub seen: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<VipEntry>() == 8);
const _: () = assert!(size_of::<FragmentKey>() == 40 && align_of::<FragmentKey>() == 1);
const _: () = assert!(size_of::<FragmentEntry>() == 12);
