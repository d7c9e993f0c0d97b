//! What crosses the kernel line: map keys and values, names, limits and permanent reason numbers.
//!
//! Every type is `repr(C)`, has explicit padding, no `bool`, `enum` or `Option`, and a const-asserted size.
//! Any change of layout or meaning raises [`ABI_VERSION`]: an agent adopts pinned maps only of its own version.

pub mod backend;
pub mod capture;
pub mod config;
pub mod flow;
pub mod nat;
pub mod protection;
pub mod quic;
pub mod range;
pub mod reason;
pub mod service;
pub mod slot;
pub mod stats;
pub mod vip;

pub use backend::BackendEntry;
pub use config::ConfigEntry;
pub use flow::{FlowEntry, FlowKey};
pub use nat::NatFlow;
pub use protection::{AclKey, AclPrefix, ProtectionEntry, SourceKey};
pub use quic::QuicKey;
pub use range::{RangeEntry, RangeKey};
pub use reason::Reason;
pub use service::{ServiceEntry, ServiceKey, ServiceKeyV4};
pub use slot::{SLOTS_PER_ELEMENT, Slot, SlotPair};
pub use stats::{BackendStats, ServiceStats};
pub use vip::{FragmentEntry, FragmentKey, VipEntry};

/// Version of everything in this module; part of the pin directory's name.
pub const ABI_VERSION: u32 = 10;

/// Names of the maps and programs in the object file and in the pin directory.
pub mod names {
    /// Hash: [`super::ServiceKeyV4`] → [`super::ServiceEntry`].
    pub const SERVICES_V4: &str = "SERVICES_V4";
    /// Hash: [`super::ServiceKey`] → [`super::ServiceEntry`].
    pub const SERVICES_V6: &str = "SERVICES_V6";
    /// Array of [`super::SlotPair`], `BPF_F_MMAPABLE`: the arena of all slot tables.
    pub const SLOTS: &str = "SLOTS";
    /// Array, `BPF_F_MMAPABLE`: backend index → [`super::BackendEntry`].
    pub const BACKENDS: &str = "BACKENDS";
    /// Array of one [`super::ConfigEntry`].
    pub const CONFIG: &str = "CONFIG";
    /// LRU hash: [`super::FlowKey`] → [`super::FlowEntry`]; flows opened on a moving slot.
    pub const FLOWS_OPENED: &str = "FLOWS_OPENED";
    /// LRU hash, as above; flows older than the move, pinned to the slot's previous owner. A table of its own, so
    /// that a SYN flood can push out only new flows, never established ones.
    pub const FLOWS_PINNED: &str = "FLOWS_PINNED";
    /// Array, `BPF_F_MMAPABLE`: source number and port → [`super::NatFlow`].
    pub const NAT_FLOWS: &str = "NAT_FLOWS";
    /// Array, mapped into memory: [`super::nat::NatBucket`]s, found by the hash of a client's packet.
    pub const NAT_INDEX: &str = "NAT_INDEX";
    /// Constant of the program, not a map: elements of [`NAT_INDEX`].
    pub const NAT_BUCKETS: &str = "NAT_BUCKETS";
    /// Array of [`super::nat::NatSource`]: source addresses that new flows are given.
    pub const NAT_POOL: &str = "NAT_POOL";
    /// Per-CPU array of one: a packet's headers on their way between the program's parts.
    pub const NAT_PACKET: &str = "NAT_PACKET";
    /// Hash: source address (16 bytes, v4-mapped) → its number; recognises what servers answer.
    pub const NAT_SOURCES: &str = "NAT_SOURCES";
    /// Array: service id → [`super::ProtectionEntry`].
    pub const PROTECTION: &str = "PROTECTION";
    /// Longest-prefix-match trie: [`super::AclKey`] → [`super::protection::acl`].
    pub const ACL: &str = "ACL";
    /// LRU hash: [`super::SourceKey`] → [`crate::bucket::Bucket`]; new connections of each source.
    pub const SOURCES: &str = "SOURCES";
    /// Array: service id → [`super::protection::ServiceBuckets`].
    pub const BUCKETS: &str = "BUCKETS";
    /// Hash: an address of ours (16 bytes, v4-mapped) → [`super::VipEntry`]; read on a miss in the maps of services.
    pub const VIPS: &str = "VIPS";
    /// Longest-prefix-match trie: [`super::RangeKey`] → [`super::RangeEntry`].
    pub const RANGES: &str = "RANGES";
    /// Hash: [`super::QuicKey`] → [`super::FlowEntry`]: the servers that connection ids of QUIC name.
    pub const QUIC_SERVERS: &str = "QUIC_SERVERS";
    /// Per-CPU array of one: the server that the packet at hand names. Not pinned.
    pub const QUIC_NAMED: &str = "QUIC_NAMED";
    /// LRU hash: [`super::FragmentKey`] → [`super::FragmentEntry`].
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Per-CPU array of one: what was found of a packet, on its way between the program's parts. Not pinned.
    pub const ASIDE: &str = "ASIDE";
    /// Per-CPU array of one: where a piece or an error of a translated flow goes, as above.
    pub const WAY: &str = "WAY";
    /// Per-CPU array of one: the largest packet that would fit, from the forwarding to the answer that says so.
    pub const LIMIT: &str = "LIMIT";
    /// Per-CPU array of one [`crate::bucket::Bucket`]: the rate of echo answers. Not pinned.
    pub const ANSWERS: &str = "ANSWERS";
    /// Devmap hash: ifindex → ifindex; interfaces that packets may be redirected to.
    pub const EGRESS: &str = "EGRESS";
    /// Per-CPU array: service id → [`super::ServiceStats`].
    pub const SERVICE_STATS: &str = "SERVICE_STATS";
    /// Per-CPU array: backend index → [`super::BackendStats`].
    pub const BACKEND_STATS: &str = "BACKEND_STATS";
    /// Per-CPU array: [`super::Reason`] number → u64 packets.
    pub const VERDICTS: &str = "VERDICTS";
    /// Per-CPU array of one [`crate::bucket::Bucket`]: the rate of answers. Not pinned, nothing outlives the program.
    pub const REJECTS: &str = "REJECTS";
    /// Array of one [`super::capture::CaptureFilter`]: what is captured. As all maps of captures, of one load only, not pinned.
    pub const CAPTURE_FILTER: &str = "CAPTURE_FILTER";
    /// Ring buffer: [`super::capture::CaptureRecord`]s, each before its packets' bytes.
    pub const CAPTURE_EVENTS: &str = "CAPTURE_EVENTS";
    /// Per-CPU array of one u64: packets of interest that there was no rate or no room for.
    pub const CAPTURE_LOST: &str = "CAPTURE_LOST";
    /// Array of one [`crate::bucket::Bucket`]: the rate of captures.
    pub const CAPTURE_RATE: &str = "CAPTURE_RATE";
    /// Per-CPU array of one: the packet at hand, as it came in.
    pub const CAPTURED: &str = "CAPTURED";
    /// The load balancer's XDP program.
    pub const PROGRAM: &str = "snowshed";
    /// The same, which also captures.
    pub const CAPTURING_PROGRAM: &str = "snowshed_shows";
    /// The server-side decapsulator's XDP program (`snowshed backend attach`).
    pub const DECAP_PROGRAM: &str = "snowshed_decap";
    /// Hash: VIP (16 bytes, v4-mapped) → u32 flags; the addresses the decapsulator unwraps for.
    pub const DECAP_VIPS: &str = "DECAP_VIPS";
    /// Per-CPU array of u64: the decapsulator's counters by [`super::reason::decap`] number.
    pub const DECAP_VERDICTS: &str = "DECAP_VERDICTS";
}

/// The map that holds a service.
#[must_use]
pub const fn services_map(key: &ServiceKey) -> &'static str {
    if key.v4().is_some() { names::SERVICES_V4 } else { names::SERVICES_V6 }
}

/// Default map sizes, in entries; the agent may set others when it creates the maps.
pub mod limits {
    /// Services (address + port + protocol) of each IP version.
    pub const MAX_SERVICES: u32 = 65_536;
    /// Backend entries (a server in a pool).
    pub const MAX_BACKENDS: u32 = 131_072;
    /// Slots in the arena, over all services and the ranges waiting for their grace period.
    pub const MAX_SLOTS: u32 = 16_777_216;
    /// Entries of each of the two flow tables.
    pub const MAX_FLOWS: u32 = 131_072;
    /// Places of translated flows: two source addresses.
    pub const MAX_NAT_FLOWS: u32 = 131_072;
    /// Elements of `NAT_INDEX` for them.
    pub const MAX_NAT_BUCKETS: u32 = crate::nat::index::buckets(MAX_NAT_FLOWS);
    /// Source addresses of translated flows.
    pub const MAX_NAT_SOURCES: u32 = 1_024;
    /// Source addresses of one IP version: `NAT_POOL` has them of IPv4 in its first half, those of IPv6 in the second.
    pub const MAX_NAT_SOURCES_PER_FAMILY: u32 = MAX_NAT_SOURCES / 2;
    /// Prefixes of all ACLs together, as compiled.
    pub const MAX_ACL_PREFIXES: u32 = 1_048_576;
    /// Sources whose new connections are counted: the longest unseen one is forgotten first.
    pub const MAX_SOURCES: u32 = 65_536;
    /// Prefixes of all port ranges together, at most 30 for each.
    pub const MAX_RANGES: u32 = 262_144;
    /// Servers of all services that go by connection ids.
    pub const MAX_QUIC_SERVERS: u32 = 65_536;
    /// Packets in pieces that are followed at the same time.
    pub const MAX_FRAGMENTS: u32 = 16_384;
    /// Interfaces to redirect to.
    pub const MAX_EGRESS: u32 = 256;
    /// Room for reason numbers.
    pub const MAX_REASONS: u32 = 128;
    /// VIPs a decapsulator unwraps for.
    pub const MAX_DECAP_VIPS: u32 = 4_096;
}

/// An address as 16 bytes: IPv6 as it is, IPv4 mapped (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2).
pub type Address = [u8; 16];

/// First 12 bytes of every mapped IPv4 address.
pub const V4_MAPPED_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Maps an IPv4 address (network order) into an [`Address`].
#[inline(always)]
pub const fn mapped_v4(v4: [u8; 4]) -> Address {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// The [`Address`] of a standard library address.
#[must_use]
pub fn address_of(ip: core::net::IpAddr) -> Address {
    match ip {
        core::net::IpAddr::V4(v4) => mapped_v4(v4.octets()),
        core::net::IpAddr::V6(v6) => v6.octets(),
    }
}

/// The standard library address of an [`Address`]; mapped IPv4 comes back as IPv4.
#[must_use]
pub const fn ip_of(address: Address) -> core::net::IpAddr {
    core::net::Ipv6Addr::from_octets(address).to_canonical()
}
