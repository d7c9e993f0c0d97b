//! A service: address, protocol, and one port or a range of them; and where its slot table stands.

use super::Address;

/// Key of `SERVICES_V6`, and a service's key of either family outside the maps. All bytes, alignment 1: what stands in the packet is what stands in the map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Destination address; IPv4 is mapped.
    pub address: Address,
    /// Destination port, network order.
    pub port: [u8; 2],
    /// IP protocol number: 6 TCP, 17 UDP.
    pub protocol: u8,
    /// [`kind`].
    pub kind: u8,
    /// Always 0. Whole words: the kernel compares keys by eight bytes, and what is left over one by one.
    pub pad: [u8; 4],
}

/// Key of `SERVICES_V4`. Two words: the kernel's hash of a long key takes as long as a quarter of all the rest.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKeyV4 {
    /// Destination address.
    pub address: [u8; 4],
    /// Destination port, network order.
    pub port: [u8; 2],
    /// IP protocol number: 6 TCP, 17 UDP.
    pub protocol: u8,
    /// [`kind`].
    pub kind: u8,
}

/// Values of [`ServiceKey::kind`].
pub mod kind {
    /// One port.
    pub const PORT: u8 = 0;
    /// A range, by its first port. Packets find it by way of `RANGES`, and only when their port is no service itself.
    pub const RANGE: u8 = 1;
}

impl ServiceKey {
    /// The key of `SERVICES_V4`; `None` for a service that stands in `SERVICES_V6`.
    #[must_use]
    pub const fn v4(&self) -> Option<ServiceKeyV4> {
        let Self { address: [.., a, b, c, d], port, protocol, kind, pad: _ } = *self;
        match super::ip_of(self.address) {
            core::net::IpAddr::V4(_) => Some(ServiceKeyV4 { address: [a, b, c, d], port, protocol, kind }),
            core::net::IpAddr::V6(_) => None,
        }
    }
}

impl From<ServiceKeyV4> for ServiceKey {
    fn from(key: ServiceKeyV4) -> Self {
        let ServiceKeyV4 { address, port, protocol, kind } = key;
        Self { address: super::mapped_v4(address), port, protocol, kind, pad: [0; 4] }
    }
}

/// Value of `SERVICES_V4` and `SERVICES_V6`; replaced whole in one map update.
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
    /// The servers are of mode `super::super::backend::mode::NAT`: flows are looked up before slots.
    pub const NAT: u32 = 1 << 2;
    /// The servers are of mode `super::super::backend::mode::L2`: packets get a link header and no outer one.
    pub const L2: u32 = 1 << 3;
    /// The servers are of mode `super::super::backend::mode::GUE`: packets get UDP and GUE headers inside the outer one.
    pub const GUE: u32 = 1 << 4;
    /// Where the packets of a service do not take the shortest way: those that do pay for one test.
    pub const ELSEWHERE: u32 = NAT | L2 | GUE | QUIC;
    /// A range of ports: servers get packets on the port that the client asked for, in every mode.
    pub const RANGE: u32 = 1 << 5;
    /// Packets of QUIC go to the server that their connection id names ([`crate::quic`]).
    pub const QUIC: u32 = 1 << 6;
    /// Nothing is forwarded: the tenant is contained.
    pub const QUARANTINED: u32 = 1 << 8;
    /// Clients are looked up in `ACL`.
    pub const ACL: u32 = 1 << 9;
    /// New connections or packets are limited.
    pub const LIMITED: u32 = 1 << 10;
    /// Any of what stands between a service and its servers: packets of a service without pay for one test.
    pub const PROTECTED: u32 = QUARANTINED | ACL | LIMITED;
    /// With [`SOURCE_AFFINITY`], 7 bits from here on: how many low bits of an IPv6 source do not count, 0 to 127.
    pub const HOST_BITS_SHIFT: u32 = 16;
    /// The bits from [`HOST_BITS_SHIFT`] on, shifted to the lowest place.
    pub const HOST_BITS_MASK: u32 = 0x7f;
    /// With [`QUIC`], 3 bits from here on: the configuration of connection ids.
    pub const QUIC_CONFIG_SHIFT: u32 = 24;
    /// The bits from [`QUIC_CONFIG_SHIFT`] on, shifted to the lowest place.
    pub const QUIC_CONFIG_MASK: u32 = 7;
    /// With [`QUIC`], 4 bits from here on: bytes of a server id.
    pub const QUIC_LEN_SHIFT: u32 = 27;
    /// The bits from [`QUIC_LEN_SHIFT`] on, shifted to the lowest place.
    pub const QUIC_LEN_MASK: u32 = 15;
}

const _: () = assert!(size_of::<ServiceKey>() == 24 && align_of::<ServiceKey>() == 1);
const _: () = assert!(size_of::<ServiceKeyV4>() == 8 && align_of::<ServiceKeyV4>() == 1);
const _: () = assert!(size_of::<ServiceEntry>() == 32);
