//! What stands between a service and its servers: which clients may come, and how often.

use super::Address;

/// Element of `PROTECTION`, by service id. Read only when the service's flags say so.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtectionEntry {
    /// Which entries of `ACL` are the service's; 0 is none.
    pub acl: u32,
    /// Always 0.
    pub pad: u32,
    /// New connections of each source: an IPv4 address, an IPv6 /64.
    pub source: Rate,
    /// New connections of the service.
    pub connections: Rate,
    /// Packets of the service.
    pub packets: Rate,
}

/// A limit of so many per second.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds per event; 0 is no limit.
    pub interval_ns: u64,
    /// Events that may come at once.
    pub burst: u32,
    /// Always 0.
    pub pad: u32,
}

impl Rate {
    /// So many per second, and a second's worth at once; 0 is no limit.
    #[must_use]
    pub const fn per_second(events: u32) -> Self {
        if events == 0 {
            return Self { interval_ns: 0, burst: 0, pad: 0 };
        }
        Self { interval_ns: 1_000_000_000 / events as u64, burst: events, pad: 0 }
    }
}

/// Key of `ACL`, a longest-prefix-match trie: the bits of the ACL's number, then those of an address. Alignment 1 but
/// for the length, as the kernel has it (`struct bpf_lpm_trie_key`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclKey {
    /// Bits that count: [`AclKey::NUMBER_BITS`] and those of the prefix of the (mapped) address.
    pub prefix_len: u32,
    /// Number of the ACL.
    pub acl: u32,
    /// The address, IPv4 mapped; bits beyond the prefix are 0.
    pub address: Address,
}

impl AclKey {
    /// Bits of the ACL's number: they always count.
    pub const NUMBER_BITS: u32 = 32;
    /// Bits of a whole key.
    pub const ALL_BITS: u32 = Self::NUMBER_BITS + 128;
}

/// A line of a list, as it stands in `ACL` under the list's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclPrefix {
    /// The address, IPv4 mapped; bits beyond the prefix are 0.
    pub address: Address,
    /// Bits of the address that count, 0 to 128.
    pub bits: u32,
    /// [`acl`].
    pub verdict: u32,
}

impl AclPrefix {
    /// The line's key in the list of a number.
    #[must_use]
    pub const fn key(&self, number: u32) -> AclKey {
        AclKey { prefix_len: AclKey::NUMBER_BITS + self.bits, acl: number, address: self.address }
    }

    /// The line of an entry; `None` for a key that spans lists.
    #[must_use]
    pub const fn of(key: &AclKey, verdict: u32) -> Option<Self> {
        match key.prefix_len.checked_sub(AclKey::NUMBER_BITS) {
            Some(bits) => Some(Self { address: key.address, bits, verdict }),
            None => None,
        }
    }
}

/// Values of `ACL`. An address that nothing matches is allowed.
pub mod acl {
    /// Goes on.
    pub const ALLOW: u32 = 1;
    /// Dropped.
    pub const DENY: u32 = 2;
}

/// Key of `SOURCES`: one source of one service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    /// An IPv4 address (mapped), or the first 64 bits of an IPv6 one and zeros.
    pub prefix: Address,
    /// Id of the service.
    pub service: u32,
    /// Always 0.
    pub pad: u32,
}

/// Element of `BUCKETS`, by service id; only the program writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceBuckets {
    /// New connections.
    pub connections: crate::bucket::Bucket,
    /// Packets.
    pub packets: crate::bucket::Bucket,
}

const _: () = assert!(size_of::<ProtectionEntry>() == 56);
const _: () = assert!(size_of::<AclKey>() == 24);
const _: () = assert!(size_of::<SourceKey>() == 24);
const _: () = assert!(size_of::<ServiceBuckets>() == 16);
