//! A backend entry: one server of one pool, and everything needed to send it a packet.

use super::Address;

/// Value of `BACKENDS`: exactly one cache line.
///
/// MAC addresses start on 8-byte boundaries so that each is written by one store.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendEntry {
    /// The server's address; IPv4 is mapped. Destination of the outer header.
    pub address: Address,
    /// Destination MAC: the server or the gateway towards it.
    pub next_hop_mac: [u8; 6],
    /// Outer VLAN tag to send with (TCI, network order); 0 is untagged.
    pub vlan_outer: [u8; 2],
    /// Source MAC: of the egress interface.
    pub source_mac: [u8; 6],
    /// Inner VLAN tag to send with (TCI, network order), only beside an outer one; 0 is none.
    pub vlan_inner: [u8; 2],
    /// Interface to send from, as the kernel numbers it.
    pub ifindex: u32,
    /// Largest IP packet the egress path takes, outer headers included, in bytes.
    pub mtu: u16,
    /// Port of the server, network order (used by modes that translate ports).
    pub port: [u8; 2],
    /// [`mode`].
    pub mode: u8,
    /// [`state`] bits.
    pub state: u8,
    /// Always 0.
    pub pad: [u8; 2],
    /// Raised each time the index is given to another server.
    pub generation: u32,
    /// Stable identity of (pool, server), by which an agent finds its entries again; 0 is a free entry.
    pub identity: u64,
}

/// Values of [`BackendEntry::mode`]; 0 is a free entry.
pub mod mode {
    /// Plain encapsulation: protocol 4 (IPv4) or 41 (IPv6) in IPv4 or IPv6 (RFC 2003, RFC 2473, RFC 4213).
    pub const IPIP: u8 = 1;
    /// Addresses and ports are translated both ways: the server sees our source address and its own port.
    pub const NAT: u8 = 2;
    /// The packet as it is, in a link header to the server, which stands on the edge's segment and has the VIP.
    pub const L2: u8 = 3;
    /// Generic UDP encapsulation: [`crate::encapsulation::gue`].
    pub const GUE: u8 = 4;
}

/// Bits of [`BackendEntry::state`].
pub mod state {
    /// The health checker holds the server for up (kept here so that a new agent starts from it).
    pub const UP: u8 = 1 << 0;
    /// MACs and ifindex are valid; otherwise packets leave with `Reason::NextHopUnresolved`.
    pub const RESOLVED: u8 = 1 << 1;
    /// `address` is a mapped IPv4 address.
    pub const V4: u8 = 1 << 2;
}

const _: () = assert!(size_of::<BackendEntry>() == 64);
