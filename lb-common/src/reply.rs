//! Answers to packets that go no further: TCP RST, or an ICMP error.

use crate::abi::service::flags;
use crate::checksum::Sum;
use crate::encapsulation::OUTER_TTL;
use crate::headers::{
    AddressWords, ETHERNET_LEN, Family, Headers, IPV4_LEN, IPV6_LEN, TCP_LEN, VLAN_LEN, number, tcp_flag,
};
use crate::icmp::ICMP_LEN;
use crate::packet::{MAX_SUM, Packet, PacketMut};

/// Bytes of a packet that ICMP quotes: the answer stays within 576 bytes (RFC 1812 §4.3.2.3).
pub const QUOTE_V4: usize = 576 - IPV4_LEN - ICMP_LEN;
/// Bytes of a packet that ICMPv6 quotes: the answer stays within 1280 bytes (RFC 4443 §2.4 (c)).
pub const QUOTE_V6: usize = 1280 - IPV6_LEN - ICMP_LEN;
const _: () = assert!(QUOTE_V4 <= MAX_SUM && QUOTE_V6 <= MAX_SUM, "an error's checksum is summed up in one go");

/// What answers a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A TCP segment that resets the connection.
    Reset {
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
        /// Control bits.
        flags: u8,
    },
    /// An ICMP or ICMPv6 error.
    Error {
        /// What it says.
        says: Says,
        /// Bytes of the packet that are quoted.
        quote: usize,
    },
}

/// What an error says (RFC 792, RFC 1191, RFC 4443): type, code, and the four bytes behind the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Says {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four bytes as they stand in memory.
    pub rest: u32,
}

impl Says {
    /// Nobody listens on this port.
    #[inline(always)]
    #[must_use]
    pub const fn port_unreachable(family: Family) -> Self {
        match family {
            Family::V4 => Self { kind: 3, code: 3, rest: 0 },
            Family::V6 => Self { kind: 1, code: 4, rest: 0 },
        }
    }

    /// Nobody speaks this protocol. Of IPv6 a bad parameter: the next header, at byte 6 of the packet.
    #[inline(always)]
    #[must_use]
    pub const fn protocol_unreachable(family: Family) -> Self {
        match family {
            Family::V4 => Self { kind: 3, code: 2, rest: 0 },
            Family::V6 => Self { kind: 4, code: 1, rest: 6_u32.to_be() },
        }
    }

    /// No packet larger than this fits, in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn too_big(family: Family, mtu: u32) -> Self {
        match family {
            Family::V4 => Self { kind: 3, code: 4, rest: mtu.to_be() },
            Family::V6 => Self { kind: 2, code: 0, rest: mtu.to_be() },
        }
    }

    /// The packet's hops are used up.
    #[inline(always)]
    #[must_use]
    pub const fn time_exceeded(family: Family) -> Self {
        match family {
            Family::V4 => Self { kind: 11, code: 0, rest: 0 },
            Family::V6 => Self { kind: 3, code: 0, rest: 0 },
        }
    }
}

impl Reply {
    /// The answer to a packet of a service whose policy is to reject; `None` when the policy is another, or when
    /// nothing may answer: a reset, a broadcast, a source that is no single host (RFC 1122 §3.2.2), a broken header.
    #[inline(always)]
    #[must_use]
    pub fn to<P: Packet + ?Sized>(frame: &P, headers: &Headers, service_flags: u32) -> Option<Self> {
        if service_flags & flags::EMPTY_REJECT == 0 {
            return None;
        }
        Self::closed(frame, headers)
    }

    /// The answer to a packet that nobody listens to; `None` as above.
    #[inline(always)]
    #[must_use]
    pub fn closed<P: Packet + ?Sized>(frame: &P, headers: &Headers) -> Option<Self> {
        match headers.protocol {
            number::TCP if is_answerable(frame, headers)? => Self::reset(frame, headers),
            number::TCP => None,
            number::UDP => Self::error(frame, headers, Says::port_unreachable(headers.family)),
            _ => Self::error(frame, headers, Says::protocol_unreachable(headers.family)),
        }
    }

    /// An error about a packet; `None` as above. The caller has seen that the packet is no error itself, and no piece
    /// other than the first.
    #[inline(always)]
    #[must_use]
    pub fn error<P: Packet + ?Sized>(frame: &P, headers: &Headers, says: Says) -> Option<Self> {
        let most = match headers.family {
            Family::V4 => QUOTE_V4,
            Family::V6 => QUOTE_V6,
        };
        let quote = (headers.ip_len as usize).min(most);
        is_answerable(frame, headers)?.then_some(Self::Error { says, quote })
    }

    /// RFC 9293 §3.10.7.1: a segment to a port that nobody listens on.
    #[inline(always)]
    fn reset<P: Packet + ?Sized>(frame: &P, headers: &Headers) -> Option<Self> {
        if headers.tcp_flags & tcp_flag::RST != 0 {
            return None;
        }
        let tcp = frame.array::<TCP_LEN>(headers.transport)?;
        if headers.tcp_flags & tcp_flag::ACK != 0 {
            let seq = u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]);
            return Some(Self::Reset { seq, ack: 0, flags: tcp_flag::RST });
        }
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let segment = headers.ip_len + headers.link_len as u32 - headers.transport as u32;
        let header_len = u32::from(tcp[12] >> 4) * 4;
        if header_len < TCP_LEN as u32 || header_len > segment {
            return None;
        }
        let controls =
            u32::from(headers.tcp_flags & tcp_flag::SYN != 0) + u32::from(headers.tcp_flags & tcp_flag::FIN != 0);
        let ack = seq.wrapping_add(segment - header_len).wrapping_add(controls);
        Some(Self::Reset { seq: 0, ack, flags: tcp_flag::RST | tcp_flag::ACK })
    }

    /// To how many bytes the frame is cut at its end before anything is written.
    #[inline(always)]
    #[must_use]
    pub const fn keeps(self, headers: &Headers) -> usize {
        match (self, headers.family) {
            (Self::Reset { .. }, Family::V4) => headers.link_len + IPV4_LEN + TCP_LEN,
            (Self::Reset { .. }, Family::V6) => headers.link_len + IPV6_LEN + TCP_LEN,
            (Self::Error { quote, .. }, _) => headers.link_len + quote,
        }
    }

    /// How far the start of the frame moves back after the cut and before anything is written.
    #[inline(always)]
    #[must_use]
    pub const fn growth(self, headers: &Headers) -> usize {
        match (self, headers.family) {
            (Self::Reset { .. }, _) => 0,
            (Self::Error { .. }, Family::V4) => IPV4_LEN + ICMP_LEN,
            (Self::Error { .. }, Family::V6) => IPV6_LEN + ICMP_LEN,
        }
    }

    /// Writes the answer over a frame that was cut and moved. `None` when the frame is shorter than that.
    #[inline(always)]
    #[must_use]
    pub fn write<P: PacketMut + ?Sized>(self, frame: &mut P, headers: &Headers) -> Option<()> {
        turn(frame, headers.link_len, self.growth(headers))?;
        let ip = headers.link_len;
        match (self, headers.family) {
            (Self::Reset { seq, ack, flags }, Family::V4) => {
                *frame.array_mut(ip)? = header_v4(headers, number::TCP, TCP_LEN);
                *frame.array_mut(ip + IPV4_LEN)? = tcp(headers, seq, ack, flags);
            }
            (Self::Reset { seq, ack, flags }, Family::V6) => {
                *frame.array_mut(ip)? = header_v6(headers, number::TCP, TCP_LEN);
                *frame.array_mut(ip + IPV6_LEN)? = tcp(headers, seq, ack, flags);
            }
            (Self::Error { says, quote }, Family::V4) => {
                *frame.array_mut(ip)? = header_v4(headers, number::ICMP, ICMP_LEN + quote);
                let icmp = ip + IPV4_LEN;
                let sum = frame.sum(icmp + ICMP_LEN, quote)?;
                *frame.array_mut(icmp)? = icmp_header(says, sum);
            }
            (Self::Error { says, quote }, Family::V6) => {
                *frame.array_mut(ip)? = header_v6(headers, number::ICMPV6, ICMP_LEN + quote);
                let icmp = ip + IPV6_LEN;
                let sum = pseudo_header(headers, number::ICMPV6, ICMP_LEN + quote);
                let sum = sum.add(frame.sum(icmp + ICMP_LEN, quote)?);
                *frame.array_mut(icmp)? = icmp_header(says, sum);
            }
        }
        Some(())
    }
}

/// Whether a packet came to us alone, and from one host. `None` when the frame is shorter than its link header.
#[inline(always)]
#[must_use]
pub fn is_answerable<P: Packet + ?Sized>(frame: &P, headers: &Headers) -> Option<bool> {
    const GROUP_BIT: u8 = 1;
    // The whole header is checked for: of one byte the compiler makes a check that the verifier does not know.
    let to_many = frame.array::<ETHERNET_LEN>(0)?[0] & GROUP_BIT != 0;
    Some(!to_many && is_host(headers))
}

/// Turns the link header around in its place; tags stay.
#[inline(always)]
#[must_use]
pub fn turn_link<P: PacketMut + ?Sized>(frame: &mut P, link_len: usize) -> Option<()> {
    turn(frame, link_len, 0)
}

/// Whether the source is one host that an answer can reach.
#[inline(always)]
const fn is_host(headers: &Headers) -> bool {
    match headers.family {
        Family::V4 => {
            let first = headers.source.v4() as u8;
            first != 0 && first != 127 && first < 224
        }
        Family::V6 => {
            const LOOPBACK_END: u64 = 1 << 56;
            let [high, low] = headers.source.0;
            high as u8 != 0xff && (high != 0 || (low != 0 && low != LOOPBACK_END))
        }
    }
}

/// Moves the link header from `from` to the start of the frame and turns it around; tags stay.
#[inline(always)]
fn turn<P: PacketMut + ?Sized>(frame: &mut P, link_len: usize, from: usize) -> Option<()> {
    const ONE_TAG: usize = ETHERNET_LEN + VLAN_LEN;
    const TWO_TAGS: usize = ETHERNET_LEN + 2 * VLAN_LEN;
    match link_len {
        ETHERNET_LEN => turn_exactly::<ETHERNET_LEN, P>(frame, from),
        ONE_TAG => turn_exactly::<ONE_TAG, P>(frame, from),
        _ => turn_exactly::<TWO_TAGS, P>(frame, from),
    }
}

#[inline(always)]
fn turn_exactly<const LINK: usize, P: PacketMut + ?Sized>(frame: &mut P, from: usize) -> Option<()> {
    let old = *frame.array::<LINK>(from)?;
    let new = frame.array_mut::<LINK>(0)?;
    *new = old;
    new[..6].copy_from_slice(&old[6..12]);
    new[6..12].copy_from_slice(&old[..6]);
    Some(())
}

/// From the packet's destination to its source. Don't-fragment is set, so the identification may be 0 (RFC 6864 §4.1).
#[inline(always)]
fn header_v4(headers: &Headers, protocol: u8, payload: usize) -> [u8; IPV4_LEN] {
    let total_len = (IPV4_LEN + payload) as u16;
    let words = [
        0x45 | u32::from(total_len.to_be()) << 16,
        0x40 << 16,
        u32::from(OUTER_TTL) | u32::from(protocol) << 8,
        headers.destination.v4(),
        headers.source.v4(),
    ];
    let sum = words.iter().fold(Sum::new(), |sum, word| sum.add_u32(*word));
    let mut bytes = [0; IPV4_LEN];
    bytes[0..4].copy_from_slice(&words[0].to_le_bytes());
    bytes[4..8].copy_from_slice(&words[1].to_le_bytes());
    bytes[8..12].copy_from_slice(&(words[2] | u32::from(sum.checksum()) << 16).to_le_bytes());
    bytes[12..16].copy_from_slice(&words[3].to_le_bytes());
    bytes[16..20].copy_from_slice(&words[4].to_le_bytes());
    bytes
}

/// From the packet's destination to its source.
#[inline(always)]
fn header_v6(headers: &Headers, protocol: u8, payload: usize) -> [u8; IPV6_LEN] {
    let second = u32::from((payload as u16).to_be()) | u32::from(protocol) << 16 | u32::from(OUTER_TTL) << 24;
    let mut bytes = [0; IPV6_LEN];
    bytes[0] = 0x60;
    bytes[4..8].copy_from_slice(&second.to_le_bytes());
    bytes[8..24].copy_from_slice(&headers.destination.address());
    bytes[24..40].copy_from_slice(&headers.source.address());
    bytes
}

/// A TCP header without data; numbers in host order.
#[inline(always)]
fn tcp(headers: &Headers, seq: u32, ack: u32, flags: u8) -> [u8; TCP_LEN] {
    let ports = headers.ports.rotate_left(16);
    let (seq, ack) = (seq.to_be(), ack.to_be());
    let control = 0x50 | u32::from(flags) << 8;
    let sum = pseudo_header(headers, number::TCP, TCP_LEN).add_u32(ports).add_u32(seq).add_u32(ack).add_u32(control);
    let mut bytes = [0; TCP_LEN];
    bytes[0..4].copy_from_slice(&ports.to_le_bytes());
    bytes[4..8].copy_from_slice(&seq.to_le_bytes());
    bytes[8..12].copy_from_slice(&ack.to_le_bytes());
    bytes[12..16].copy_from_slice(&control.to_le_bytes());
    bytes[16..18].copy_from_slice(&sum.checksum().to_le_bytes());
    bytes
}

/// ICMP and ICMPv6 headers look the same; `sum` is of everything else that the checksum covers.
#[inline(always)]
fn icmp_header(says: Says, sum: Sum) -> [u8; ICMP_LEN] {
    let Says { kind, code, rest } = says;
    let [low, high] = sum.add_u16(u16::from_le_bytes([kind, code])).add_u32(rest).checksum().to_le_bytes();
    let [a, b, c, d] = rest.to_le_bytes();
    [kind, code, low, high, a, b, c, d]
}

/// RFC 9293 §3.1 and RFC 8200 §8.1: sums of addresses, length and protocol. Both directions have the same.
#[inline(always)]
fn pseudo_header(headers: &Headers, protocol: u8, len: usize) -> Sum {
    let sum = Sum::new().add_u32((len as u32).to_be()).add_u16(u16::from(protocol).to_be());
    match headers.family {
        Family::V4 => sum.add_u32(headers.source.v4()).add_u32(headers.destination.v4()),
        Family::V6 => {
            let (AddressWords(source), AddressWords(destination)) = (headers.source, headers.destination);
            sum.add_u64(source[0]).add_u64(source[1]).add_u64(destination[0]).add_u64(destination[1])
        }
    }
}
