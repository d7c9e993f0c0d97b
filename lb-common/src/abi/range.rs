//! Ranges of ports: which service a port belongs to that is none itself. Read only when no service has the packet.

use super::{Address, ServiceKey};

/// Key of `RANGES`, a longest-prefix-match trie: the bits of address and protocol, then those of a port. Alignment 1 but
/// for the length, as the kernel has it (`struct bpf_lpm_trie_key`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RangeKey {
    /// Bits that count: [`RangeKey::OTHER_BITS`] and those of the prefix of the port.
    pub prefix_len: u32,
    /// The address, IPv4 mapped.
    pub address: Address,
    /// IP protocol number: 6 TCP, 17 UDP.
    pub protocol: u8,
    /// Always 0.
    pub pad: u8,
    /// The port, network order; bits beyond the prefix are 0.
    pub port: [u8; 2],
}

/// Value of `RANGES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeEntry {
    /// First port of the range, network order: the key of its service has this port and is of the kind
    /// [`super::service::kind::RANGE`].
    pub first: [u8; 2],
    /// Always 0.
    pub pad: [u8; 2],
}

impl RangeKey {
    /// Bits of address, protocol and padding: they always count.
    pub const OTHER_BITS: u32 = 144;
    /// Bits of a whole key.
    pub const ALL_BITS: u32 = Self::OTHER_BITS + 16;

    /// The prefixes that make up the ports from that of a service's key to `last`, both included: at most 30, in
    /// ascending order. None when `last` comes before the first.
    pub fn covering(service: &ServiceKey, last: u16) -> impl Iterator<Item = Self> + use<> {
        let (address, protocol) = (service.address, service.protocol);
        let (mut next, end) = (u32::from(u16::from_be_bytes(service.port)), u32::from(last));
        core::iter::from_fn(move || {
            if next > end {
                return None;
            }
            // As many ports as the alignment of the first and what is left allow.
            let aligned = if next == 0 { 16 } else { next.trailing_zeros() };
            let free = aligned.min((end - next + 1).ilog2());
            let port = (next as u16).to_be_bytes();
            next += 1 << free;
            Some(Self { prefix_len: Self::ALL_BITS - free, address, protocol, pad: 0, port })
        })
    }

    /// Whether a whole key is within this prefix.
    #[must_use]
    pub fn contains(&self, key: &Self) -> bool {
        let free = Self::ALL_BITS.saturating_sub(self.prefix_len).min(16);
        let prefix = |port: [u8; 2]| u32::from(u16::from_be_bytes(port)) >> free;
        (self.address, self.protocol, prefix(self.port)) == (key.address, key.protocol, prefix(key.port))
    }
}

const _: () = assert!(size_of::<RangeKey>() == 24);
const _: () = assert!(size_of::<RangeEntry>() == 4);
