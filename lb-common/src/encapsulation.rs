//! The outer headers: the Ethernet header and tags of the backend, and IPv4 or IPv6 around the packet.
//!
//! Protocol 4 or 41 in IPv4 (RFC 2003, RFC 4213) or in IPv6 (RFC 2473).

use crate::abi::{Address, BackendEntry, ConfigEntry, Reason, backend::state};
use crate::checksum::Sum;
use crate::hash::FlowHash;
use crate::headers::{AddressWords, ETHERNET_LEN, Family, Headers, IPV4_LEN, IPV6_LEN, Inherited, VLAN_LEN, number};
use crate::packet::{PacketMut, put16, put32, put64, u16_at, u32_at};

pub mod gue;

/// TTL and hop limit of outer headers.
pub const OUTER_TTL: u8 = 64;

/// Length of the Ethernet header with one tag.
pub const ONE_TAG: usize = ETHERNET_LEN + VLAN_LEN;
/// Length of the Ethernet header with two tags.
pub const TWO_TAGS: usize = ETHERNET_LEN + 2 * VLAN_LEN;

/// Whether a packet with this TTL or hop limit can be sent to the backend.
///
/// # Errors
/// [`Reason::NextHopUnresolved`], [`Reason::TtlExceeded`] or [`Reason::TooBig`].
#[inline(always)]
pub fn admit(headers: &Headers, ttl: u32, backend: &BackendEntry) -> Result<(), Reason> {
    admit_with(headers, ttl, backend, outer_len(backend))
}

/// The same for headers of any length.
#[inline(always)]
fn admit_with(headers: &Headers, ttl: u32, backend: &BackendEntry, overhead: usize) -> Result<(), Reason> {
    if backend.state & state::RESOLVED == 0 {
        return Err(Reason::NextHopUnresolved);
    }
    if ttl == 0 {
        return Err(Reason::TtlExceeded);
    }
    if headers.ip_len + overhead as u32 > u32::from(backend.mtu) {
        return Err(Reason::TooBig);
    }
    Ok(())
}

/// Length of the outer IP header that the backend asks for: [`IPV4_LEN`] or [`IPV6_LEN`].
#[inline(always)]
#[must_use]
pub const fn outer_len(backend: &BackendEntry) -> usize {
    if backend.state & state::V4 == 0 { IPV6_LEN } else { IPV4_LEN }
}

/// Length of the link header that the backend asks for: [`ETHERNET_LEN`], [`ONE_TAG`] or [`TWO_TAGS`].
#[inline(always)]
#[must_use]
pub const fn link_len(backend: &BackendEntry) -> usize {
    if u16::from_le_bytes(backend.vlan_outer) == 0 {
        ETHERNET_LEN
    } else if u16::from_le_bytes(backend.vlan_inner) == 0 {
        ONE_TAG
    } else {
        TWO_TAGS
    }
}

/// Writes everything in front of the packet, `LINK` and `OUTER` bytes as the backend asks for. The frame must already
/// start so many bytes before the packet. `None` when the frame is shorter than the headers.
#[inline(always)]
#[must_use]
pub fn write<const LINK: usize, const OUTER: usize, P: PacketMut + ?Sized>(
    frame: &mut P,
    headers: &Headers,
    inherited: Inherited,
    backend: &BackendEntry,
    hash: FlowHash,
    config: &ConfigEntry,
) -> Option<()> {
    // The outer header's end is behind the link header's: one check covers both.
    let outer = frame.array_mut::<OUTER>(LINK)?;
    let destination = AddressWords::of(&backend.address);
    let payload = Payload { len: headers.ip_len as u16, protocol: inner_protocol(headers) };
    let ethertype = if OUTER == IPV6_LEN {
        write_v6(outer.first_chunk_mut()?, payload, inherited, destination, source_v6(config, hash), hash);
        number::ETHERTYPE_IPV6
    } else {
        write_v4(outer.first_chunk_mut()?, payload, inherited, destination.v4(), source_v4(config, hash));
        number::ETHERTYPE_IPV4
    };
    write_link::<LINK>(frame.array_mut(0)?, backend, ethertype);
    Some(())
}

/// Ethernet header and tags, by words: copied byte by byte, it would take as long as all the rest.
#[inline(always)]
fn write_link<const LINK: usize>(link: &mut [u8; LINK], backend: &BackendEntry, ethertype: u16) {
    put32::<0, LINK>(link, u32_at::<0, 6>(&backend.next_hop_mac));
    put16::<4, LINK>(link, u16_at::<4, 6>(&backend.next_hop_mac));
    put32::<6, LINK>(link, u32_at::<0, 6>(&backend.source_mac));
    put16::<10, LINK>(link, u16_at::<4, 6>(&backend.source_mac));
    let (outer, inner) = (u16_at::<0, 2>(&backend.vlan_outer), u16_at::<0, 2>(&backend.vlan_inner));
    match LINK {
        ETHERNET_LEN => put16::<12, LINK>(link, ethertype.to_be()),
        ONE_TAG => {
            put16::<12, LINK>(link, number::ETHERTYPE_VLAN.to_be());
            put16::<14, LINK>(link, outer);
            put16::<16, LINK>(link, ethertype.to_be());
        }
        _ => {
            put16::<12, LINK>(link, number::ETHERTYPE_QINQ.to_be());
            put16::<14, LINK>(link, outer);
            put16::<16, LINK>(link, number::ETHERTYPE_VLAN.to_be());
            put16::<18, LINK>(link, inner);
            put16::<20, LINK>(link, ethertype.to_be());
        }
    }
}

/// What stands behind the outer IP header.
#[derive(Clone, Copy)]
struct Payload {
    /// Bytes.
    len: u16,
    protocol: u8,
}

/// Source of the outer header, for people.
#[must_use]
pub fn outer_source(config: &ConfigEntry, backend: &BackendEntry, hash: FlowHash) -> Address {
    if outer_len(backend) == IPV4_LEN {
        AddressWords::mapped(source_v4(config, hash)).address()
    } else {
        source_v6(config, hash).address()
    }
}

/// Protocol number of the packet inside.
#[inline(always)]
const fn inner_protocol(headers: &Headers) -> u8 {
    match headers.family {
        Family::V4 => number::IPIP,
        Family::V6 => number::IPV6,
    }
}

/// Outer IPv4 source: the configured 16 bits, then 16 of the hash, so that servers spread flows over their queues.
#[inline(always)]
const fn source_v4(config: &ConfigEntry, hash: FlowHash) -> u32 {
    u32_at::<0, 4>(&config.outer_source_v4) & 0xffff | (hash.0 as u32) << 16
}

/// Outer IPv6 source: the configured 64 bits, then the hash.
#[inline(always)]
const fn source_v6(config: &ConfigEntry, hash: FlowHash) -> AddressWords {
    AddressWords([AddressWords::of(&config.outer_source_v6).0[0], hash.0])
}

/// RFC 2003 §3.1; identification and don't-fragment are the packet's own. Addresses as they stand in memory.
#[inline(always)]
fn write_v4(outer: &mut [u8; IPV4_LEN], payload: Payload, inherited: Inherited, destination: u32, source: u32) {
    let total_len = payload.len.wrapping_add(IPV4_LEN as u16);
    let first = 0x45 | inherited.traffic_class << 8 | (total_len.to_be() as u32) << 16;
    let second = inherited.identification | inherited.dont_fragment << 22;
    let third = OUTER_TTL as u32 | u32::from(payload.protocol) << 8;
    let sum = Sum::new().add_u32(first).add_u32(second).add_u32(third).add_u32(source).add_u32(destination);
    put32::<0, IPV4_LEN>(outer, first);
    put32::<4, IPV4_LEN>(outer, second);
    put32::<8, IPV4_LEN>(outer, third | (sum.checksum() as u32) << 16);
    put32::<12, IPV4_LEN>(outer, source);
    put32::<16, IPV4_LEN>(outer, destination);
}

/// RFC 2473 §6.3; the flow label varies with the flow (RFC 6438 §3).
#[inline(always)]
fn write_v6(
    outer: &mut [u8; IPV6_LEN],
    payload: Payload,
    inherited: Inherited,
    destination: AddressWords,
    source: AddressWords,
    hash: FlowHash,
) {
    let label = (hash.0 >> 32) as u32 & 0x000f_ffff;
    let first = (6 << 28 | inherited.traffic_class << 20 | label).to_be();
    let second = u32::from(payload.len.to_be()) | u32::from(payload.protocol) << 16 | u32::from(OUTER_TTL) << 24;
    put32::<0, IPV6_LEN>(outer, first);
    put32::<4, IPV6_LEN>(outer, second);
    put64::<8, IPV6_LEN>(outer, source.0[0]);
    put64::<16, IPV6_LEN>(outer, source.0[1]);
    put64::<24, IPV6_LEN>(outer, destination.0[0]);
    put64::<32, IPV6_LEN>(outer, destination.0[1]);
}
