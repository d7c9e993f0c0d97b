//! The long way through a frame, for what the short ones leave: fragments, IPv6 extension headers, every protocol,
//! and frames that are more than the driver's first buffer.

use super::{
    AddressWords, ETHERNET_LEN, Family, Headers, IPV4_LEN, IPV6_LEN, Malformed, ethertype_at, is_vlan, link, number,
    transport_header,
};
use crate::abi::{Reason, vip::FragmentKey};
use crate::packet::{Packet, u16_at, u32_at, u64_at};

/// Extension headers that are walked.
pub const MAX_EXTENSIONS: u32 = 8;
/// Bytes from the start of the frame within which a transport header must begin.
pub const MAX_TRANSPORT: usize = 511;

/// An IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Addresses, protocol and lengths; ports and TCP control bits of a [`Kind::Flow`] only.
    pub headers: Headers,
    /// What is behind the IP headers.
    pub kind: Kind,
    /// Of a packet that was sent in pieces.
    pub fragment: Option<Fragment>,
    /// Under which reason the packet is passed when its destination is not ours.
    pub reason: Reason,
}

/// What is behind the IP headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP or UDP.
    Flow,
    /// ICMP or ICMPv6.
    Icmp,
    /// A piece other than the first: no header.
    Piece,
    /// Another protocol.
    Other,
    /// Headers that are cut short, too many, or too long.
    Broken,
}

/// A piece of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification, as it stands in memory.
    pub identification: u32,
    /// It carries the packet's beginning.
    pub is_first: bool,
}

impl Walked {
    /// Key of the packet in `FRAGMENTS`, as words in its layout.
    #[inline(always)]
    #[must_use]
    pub const fn fragment_key_words(headers: &Headers, identification: u32) -> [u64; 5] {
        let (source, destination) = (headers.source.0, headers.destination.0);
        let protocol = match headers.family {
            Family::V4 => headers.protocol as u64,
            Family::V6 => 0,
        };
        [source[0], source[1], destination[0], destination[1], identification as u64 | protocol << 32]
    }

    /// Key of the packet in `FRAGMENTS`; `None` of a whole one.
    #[must_use]
    pub fn fragment_key(&self) -> Option<FragmentKey> {
        let fragment = self.fragment?;
        let protocol = match self.headers.family {
            Family::V4 => self.headers.protocol,
            Family::V6 => 0,
        };
        Some(FragmentKey {
            source: self.headers.source.address(),
            destination: self.headers.destination.address(),
            identification: fragment.identification.to_le_bytes(),
            protocol,
            pad: [0; 3],
        })
    }
}

/// Walks the headers of a frame of `len` bytes, of which a packet may hold the first only.
///
/// # Errors
/// Why the frame is passed up whatever is in it: [`Reason::NotIp`], [`Reason::VlanDepth`], or [`Reason::Malformed`]
/// when the IP header itself is broken.
#[inline(always)]
pub fn walk<P: Packet + ?Sized>(packet: &P, len: usize) -> Result<Walked, Reason> {
    let ethertype = ethertype_at(packet, 12).map_err(|Malformed| Reason::Malformed)?;
    match link(packet, ethertype).map_err(|Malformed| Reason::Malformed)? {
        (number::ETHERTYPE_IPV4, link_len) => v4(packet, link_len, len),
        (number::ETHERTYPE_IPV6, link_len) => v6(packet, link_len, len),
        (ethertype, _) if is_vlan(ethertype) => Err(Reason::VlanDepth),
        _ => Err(Reason::NotIp),
    }
}

#[inline(always)]
fn v4<P: Packet + ?Sized>(packet: &P, link_len: usize, len: usize) -> Result<Walked, Reason> {
    const OFFSET: u16 = 0x1fff;
    const MORE: u16 = 0x2000;
    let ip = packet.array::<IPV4_LEN>(link_len).ok_or(Reason::Malformed)?;
    let header_len = usize::from(ip[0] & 0x0f) * 4;
    let ip_len = u16::from_be(u16_at::<2, IPV4_LEN>(ip)) as usize;
    if ip[0] >> 4 != 4 || header_len < IPV4_LEN || ip_len < header_len || link_len + ip_len > len {
        return Err(Reason::Malformed);
    }
    let field = u16::from_be(u16_at::<6, IPV4_LEN>(ip));
    let identification = u32::from(u16_at::<4, IPV4_LEN>(ip));
    let fragment = (field & (OFFSET | MORE) != 0).then_some(Fragment { identification, is_first: field & OFFSET == 0 });
    let headers = Headers {
        family: Family::V4,
        link_len,
        ip_len: ip_len as u32,
        transport: link_len + header_len,
        source: AddressWords::mapped(u32_at::<12, IPV4_LEN>(ip)),
        destination: AddressWords::mapped(u32_at::<16, IPV4_LEN>(ip)),
        ports: 0,
        protocol: ip[9],
        tcp_flags: 0,
    };
    Ok(finish(packet, headers, fragment, false))
}

#[inline(always)]
fn v6<P: Packet + ?Sized>(packet: &P, link_len: usize, len: usize) -> Result<Walked, Reason> {
    let ip = packet.array::<IPV6_LEN>(link_len).ok_or(Reason::Malformed)?;
    let ip_len = u16::from_be(u16_at::<4, IPV6_LEN>(ip)) as usize + IPV6_LEN;
    if ip[0] >> 4 != 6 || link_len + ip_len > len {
        return Err(Reason::Malformed);
    }
    let headers = Headers {
        family: Family::V6,
        link_len,
        ip_len: ip_len as u32,
        transport: link_len + IPV6_LEN,
        source: AddressWords([u64_at::<8, IPV6_LEN>(ip), u64_at::<16, IPV6_LEN>(ip)]),
        destination: AddressWords([u64_at::<24, IPV6_LEN>(ip), u64_at::<32, IPV6_LEN>(ip)]),
        ports: 0,
        protocol: ip[6],
        tcp_flags: 0,
    };
    let chain = Chain::walk(packet, headers.protocol, headers.transport);
    let headers = Headers { transport: chain.end, protocol: chain.protocol, ..headers };
    Ok(finish(packet, headers, chain.fragment, chain.is_broken))
}

/// What ends a chain of IPv6 extension headers (RFC 8200 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) protocol: u8,
    /// Where the header of that protocol begins.
    pub(crate) end: usize,
    pub(crate) fragment: Option<Fragment>,
    /// It does not end within [`MAX_EXTENSIONS`], [`MAX_TRANSPORT`] or the frame.
    pub(crate) is_broken: bool,
}

impl Chain {
    #[inline(always)]
    pub(crate) fn walk<P: Packet + ?Sized>(packet: &P, protocol: u8, start: usize) -> Self {
        const FRAGMENT: u8 = 44;
        const AUTHENTICATION: u8 = 51;
        let mut chain = Self { protocol, end: start, fragment: None, is_broken: true };
        for _ in 0..MAX_EXTENSIONS {
            if !is_walked(chain.protocol) {
                return Self { is_broken: false, ..chain };
            }
            let Some(header) = packet.array::<8>(chain.end) else { return chain };
            let bytes = match chain.protocol {
                FRAGMENT => {
                    // Offset in units of eight bytes, two bits reserved, more fragments.
                    let field = u16::from_be(u16_at::<2, 8>(header));
                    let is_first = field >> 3 == 0;
                    // Of a packet in one piece (RFC 6946) the header says nothing.
                    if field & 1 != 0 || !is_first {
                        chain.fragment = Some(Fragment { identification: u32_at::<4, 8>(header), is_first });
                    }
                    8
                }
                AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
                _ => (usize::from(header[1]) + 1) * 8,
            };
            chain.protocol = header[0];
            if chain.end + bytes > MAX_TRANSPORT {
                return chain;
            }
            // The mask says to the verifier what the comparison said.
            chain.end = core::hint::black_box(chain.end + bytes) & MAX_TRANSPORT;
            if chain.fragment.is_some_and(|fragment| !fragment.is_first) {
                return Self { is_broken: false, ..chain };
            }
        }
        Self { is_broken: is_walked(chain.protocol), ..chain }
    }
}

/// Hop-by-hop and destination options, routing, fragment, authentication, mobility, HIP, shim6. Not ESP: what follows is
/// not to be read.
#[inline(always)]
const fn is_walked(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

#[inline(always)]
fn finish<P: Packet + ?Sized>(packet: &P, mut headers: Headers, fragment: Option<Fragment>, is_broken: bool) -> Walked {
    let mut kind = Kind::Other;
    if is_broken {
        kind = Kind::Broken;
    } else if fragment.is_some_and(|fragment| !fragment.is_first) {
        kind = Kind::Piece;
    } else if headers.protocol == number::TCP || headers.protocol == number::UDP {
        // The whole length of the first piece stands in its IP header.
        let len = (headers.link_len + headers.ip_len as usize).wrapping_sub(headers.transport);
        kind = match transport_header(packet, headers.transport, headers.protocol, len) {
            Ok((ports, tcp_flags)) if len <= headers.ip_len as usize => {
                (headers.ports, headers.tcp_flags) = (ports, tcp_flags);
                Kind::Flow
            }
            _ => Kind::Broken,
        };
    } else if headers.protocol == icmp_of(headers.family) {
        kind = Kind::Icmp;
    }
    let reason = match kind {
        Kind::Broken => Reason::Malformed,
        _ if fragment.is_some() => Reason::Fragment,
        Kind::Flow | Kind::Piece => Reason::NoService,
        Kind::Icmp | Kind::Other => Reason::OtherProtocol,
    };
    Walked { headers, kind, fragment, reason }
}

/// The protocol of an IP version's control messages.
#[inline(always)]
#[must_use]
pub const fn icmp_of(family: Family) -> u8 {
    match family {
        Family::V4 => number::ICMP,
        Family::V6 => number::ICMPV6,
    }
}

const _: () = assert!(ETHERNET_LEN + 8 + IPV6_LEN < MAX_TRANSPORT);
