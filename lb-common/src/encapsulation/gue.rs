//! Generic UDP encapsulation, variant 0 (draft-ietf-intarea-gue-09 §3, Linux's `ip fou add port 6080 gue`): an IP header, UDP
//! and four bytes around the packet.
//!
//! ```text
//! IPv4 or IPv6 │ UDP: source varies, destination 6080 │ variant 0, data, no extensions │ protocol 4 or 41 │ flags 0 │ packet
//! ```
//!
//! The UDP source port varies with the flow from 49152 on (§5.11.1), so that routers and network cards spread flows as they do
//! those of any UDP. The UDP checksum is zero: over IPv4 that is anybody's choice (RFC 768); over IPv6 it is what RFC 6935
//! and 6936 allow a tunnel whose packets inside carry checksums of their own, and what Linux's GUE devices take. A sum over
//! the whole packet for each packet would cost more than all the rest.

use super::{BackendEntry, ConfigEntry, FlowHash, Headers, Inherited, PacketMut, Payload, Reason};
use super::{admit_with, inner_protocol, outer_len, source_v4, source_v6, write_link, write_v4, write_v6};
use crate::headers::{AddressWords, IPV4_LEN, IPV6_LEN, UDP_LEN, number};
use crate::packet::{put16, put32};

/// The port that GUE listens on (IANA).
pub const PORT: u16 = 6080;

/// Length of the GUE header without extensions.
pub const GUE_LEN: usize = 4;

/// Length of what stands between the outer IP header and the packet.
pub const SHIM_LEN: usize = UDP_LEN + GUE_LEN;

/// Length of all headers around the packet, IPv4.
pub const OUTER_V4: usize = IPV4_LEN + SHIM_LEN;
/// Length of all headers around the packet, IPv6.
pub const OUTER_V6: usize = IPV6_LEN + SHIM_LEN;

/// Length of all headers around the packet that the backend asks for: [`OUTER_V4`] or [`OUTER_V6`].
#[inline(always)]
#[must_use]
pub const fn overhead(backend: &BackendEntry) -> usize {
    outer_len(backend) + SHIM_LEN
}

/// Whether a packet with this TTL or hop limit can be sent to the backend.
///
/// # Errors
/// As [`super::admit`].
#[inline(always)]
pub fn admit(headers: &Headers, ttl: u32, backend: &BackendEntry) -> Result<(), Reason> {
    admit_with(headers, ttl, backend, overhead(backend))
}

/// Source port of the UDP header: of the dynamic ports, by the flow. What the outer source address has of the hash
/// are other bits.
#[inline(always)]
#[must_use]
pub const fn source_port(hash: FlowHash) -> u16 {
    0xc000 | (hash.0 >> 16) as u16 & 0x3fff
}

/// As [`super::write`], `OUTER` being [`OUTER_V4`] or [`OUTER_V6`].
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
    let len = (headers.ip_len as u16).wrapping_add(SHIM_LEN as u16);
    let payload = Payload { len, protocol: number::UDP };
    let ethertype = if OUTER == OUTER_V6 {
        write_v6(outer.first_chunk_mut()?, payload, inherited, destination, source_v6(config, hash), hash);
        number::ETHERTYPE_IPV6
    } else {
        write_v4(outer.first_chunk_mut()?, payload, inherited, destination.v4(), source_v4(config, hash));
        number::ETHERTYPE_IPV4
    };
    write_shim(outer.last_chunk_mut()?, len, inner_protocol(headers), hash);
    write_link::<LINK>(frame.array_mut(0)?, backend, ethertype);
    Some(())
}

#[inline(always)]
fn write_shim(shim: &mut [u8; SHIM_LEN], len: u16, protocol: u8, hash: FlowHash) {
    put16::<0, SHIM_LEN>(shim, source_port(hash).to_be());
    put16::<2, SHIM_LEN>(shim, PORT.to_be());
    put16::<4, SHIM_LEN>(shim, len.to_be());
    put16::<6, SHIM_LEN>(shim, 0);
    // Variant, control bit and length of the extensions are 0, and so are the flags.
    put32::<8, SHIM_LEN>(shim, u32::from(protocol) << 8);
}

/// Protocol of the packet inside, from the bytes behind the outer IP header. `None` when they are not what [`write`]
/// writes: another port, a control message, a later variant or extensions are the kernel's, if anybody's.
#[inline(always)]
#[must_use]
pub fn inner(shim: &[u8; SHIM_LEN]) -> Option<u8> {
    let [_, _, port_high, port_low, _, _, _, _, variant, protocol, flags_high, flags_low] = *shim;
    let is_ours = u16::from_be_bytes([port_high, port_low]) == PORT && variant | flags_high | flags_low == 0;
    is_ours.then_some(protocol)
}
