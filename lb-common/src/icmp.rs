//! ICMP and ICMPv6: echo requests of our addresses, and errors that quote a packet of one of our flows.

use crate::abi::Reason;
use crate::checksum::{self, Sum};
use crate::encapsulation::OUTER_TTL;
use crate::headers::walk::{Chain, MAX_TRANSPORT};
use crate::headers::{AddressWords, Family, Headers, IPV4_LEN, IPV6_LEN, TCP_LEN, UDP_LEN, number, tcp_flag};
use crate::nat::rewrite::{Delta, Tuple, adjusted, adjusted_udp};
use crate::packet::{Packet, PacketMut, put16, put32, put64, u16_at, u32_at, u64_at};

/// Length of the header of every message, in bytes.
pub const ICMP_LEN: usize = 8;

/// What a message is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Asks for an answer.
    Echo,
    /// Quotes a packet: unreachable, too big, time exceeded, bad parameter.
    Error,
    /// Neighbour and multicast listener discovery (RFC 4861, RFC 3810): the kernel's.
    Link,
    /// Anything else: nobody here has asked for it.
    Other,
}

impl Message {
    /// The message of a packet whose protocol is its IP version's control messages. `None` when it is cut short.
    #[inline(always)]
    #[must_use]
    pub fn of<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Option<Self> {
        let icmp = packet.array::<ICMP_LEN>(headers.transport)?;
        Some(match (headers.family, icmp[0]) {
            (Family::V4, 8) | (Family::V6, 128) => Self::Echo,
            (Family::V4, 3 | 11 | 12) | (Family::V6, 1..=4) => Self::Error,
            (Family::V6, 130..=137 | 143) => Self::Link,
            _ => Self::Other,
        })
    }
}

/// Turns an echo request into its answer (RFC 792, RFC 4443 §4.2): ends swapped, hops as of a new packet. Everything but
/// the type stays, so the checksums change by what changed. `None` when the frame is not the one that was parsed.
#[inline(always)]
#[must_use]
pub fn answer_echo<P: PacketMut + ?Sized>(frame: &mut P, headers: &Headers) -> Option<()> {
    let icmp = frame.array_mut::<ICMP_LEN>(headers.transport)?;
    let request = u16_at::<0, ICMP_LEN>(icmp);
    let answer = match headers.family {
        Family::V4 => request & 0xff00,
        Family::V6 => request & 0xff00 | 129,
    };
    let sum = checksum::updated(u16_at::<2, ICMP_LEN>(icmp), request, answer);
    put16::<0, ICMP_LEN>(icmp, answer);
    // A message of nothing but zeros has the checksum 0xffff; to every other one whose sum is zero it is as good.
    put16::<2, ICMP_LEN>(icmp, if sum == 0 { 0xffff } else { sum });
    match headers.family {
        Family::V4 => {
            let ip = frame.array_mut::<IPV4_LEN>(headers.link_len)?;
            let old = u16_at::<8, IPV4_LEN>(ip);
            let new = old & 0xff00 | u16::from(OUTER_TTL);
            let sum = checksum::updated(u16_at::<10, IPV4_LEN>(ip), old, new);
            put16::<8, IPV4_LEN>(ip, new);
            put16::<10, IPV4_LEN>(ip, sum);
            put32::<12, IPV4_LEN>(ip, headers.destination.v4());
            put32::<16, IPV4_LEN>(ip, headers.source.v4());
        }
        Family::V6 => {
            let ip = frame.array_mut::<IPV6_LEN>(headers.link_len)?;
            ip[7] = OUTER_TTL;
            put_v6(ip, headers.destination, headers.source);
        }
    }
    Some(())
}

#[inline(always)]
fn put_v6(ip: &mut [u8; IPV6_LEN], source: AddressWords, destination: AddressWords) {
    put64::<8, IPV6_LEN>(ip, source.0[0]);
    put64::<16, IPV6_LEN>(ip, source.0[1]);
    put64::<24, IPV6_LEN>(ip, destination.0[0]);
    put64::<32, IPV6_LEN>(ip, destination.0[1]);
}

/// What an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The packet that would answer the quoted one: ends swapped, [`Headers::tcp_flags`] of an established connection.
    /// So it has the key of the flow as its other side sends it. `family`, `link_len`, `ip_len` and `transport` are
    /// those of the error itself.
    pub headers: Headers,
    /// Where the quoted IP header begins.
    pub ip: usize,
    /// Where the quoted transport header begins.
    pub transport: usize,
}

impl Quote {
    /// What an error with these headers quotes.
    ///
    /// # Errors
    /// [`Reason::IcmpUnknown`] when that is no TCP or UDP packet's beginning with both ports.
    #[inline(always)]
    pub fn of<P: Packet + ?Sized>(packet: &P, error: &Headers) -> Result<Self, Reason> {
        let ip = error.transport + ICMP_LEN;
        let (transport, protocol, source, destination) = match error.family {
            Family::V4 => {
                const OFFSET: u16 = 0x1fff;
                let header = packet.array::<IPV4_LEN>(ip).ok_or(Reason::IcmpUnknown)?;
                let header_len = usize::from(header[0] & 0x0f) * 4;
                let is_piece = u16::from_be(u16_at::<6, IPV4_LEN>(header)) & OFFSET != 0;
                if header[0] >> 4 != 4 || header_len < IPV4_LEN || is_piece {
                    return Err(Reason::IcmpUnknown);
                }
                let (source, destination) = (u32_at::<12, IPV4_LEN>(header), u32_at::<16, IPV4_LEN>(header));
                (ip + header_len, header[9], AddressWords::mapped(source), AddressWords::mapped(destination))
            }
            Family::V6 => {
                let header = packet.array::<IPV6_LEN>(ip).ok_or(Reason::IcmpUnknown)?;
                if header[0] >> 4 != 6 {
                    return Err(Reason::IcmpUnknown);
                }
                let source = AddressWords([u64_at::<8, IPV6_LEN>(header), u64_at::<16, IPV6_LEN>(header)]);
                let destination = AddressWords([u64_at::<24, IPV6_LEN>(header), u64_at::<32, IPV6_LEN>(header)]);
                let chain = Chain::walk(packet, header[6], ip + IPV6_LEN);
                if chain.is_broken || chain.fragment.is_some_and(|fragment| !fragment.is_first) {
                    return Err(Reason::IcmpUnknown);
                }
                (chain.end, chain.protocol, source, destination)
            }
        };
        if transport > MAX_TRANSPORT || (protocol != number::TCP && protocol != number::UDP) {
            return Err(Reason::IcmpUnknown);
        }
        let transport = bounded(transport);
        // RFC 792: 64 bits behind the quoted header are always there. What is behind the error is not quoted.
        if transport + 8 > error.link_len + error.ip_len as usize {
            return Err(Reason::IcmpUnknown);
        }
        let ports = u32_at::<0, 8>(packet.array::<8>(transport).ok_or(Reason::IcmpUnknown)?).rotate_left(16);
        let tcp_flags = if protocol == number::TCP { tcp_flag::ACK } else { 0 };
        let headers = Headers { source: destination, destination: source, ports, protocol, tcp_flags, ..*error };
        Ok(Self { headers, ip, transport })
    }

    /// Rewrites a translated flow's error and what it quotes: the error then goes as the flow's own packets go, `to`, and
    /// quotes one that went the other way. Hops are lowered by one; the caller has seen that there are at least 2. `None`
    /// when the frame is not the one that was parsed.
    #[inline(always)]
    #[must_use]
    pub fn translate<P: PacketMut + ?Sized>(&self, frame: &mut P, to: &Tuple) -> Option<()> {
        // What is quoted has the ends of the flow's packets swapped: replacing them adds the same to every sum.
        let delta = Delta::between(&Tuple::of(&self.headers), to);
        // The message's own checksum covers the quoted addresses and ports, and the quoted checksums.
        let mut sum = Sum::new().add_u16(delta.transport);
        sum = sum.add_u32(self.quoted_transport(frame, to.ports.rotate_left(16), delta.transport)?);
        sum = sum.add_u32(self.quoted_ip(frame, to, delta.addresses)?);
        let link_len = self.headers.link_len;
        match self.headers.family {
            Family::V4 => {
                /// As in [`crate::nat::rewrite::translate`].
                const ONE_HOP: u16 = 0xfffe;
                let ip = frame.array_mut::<IPV4_LEN>(link_len)?;
                let before = Sum::new().add_u32(!u32_at::<12, IPV4_LEN>(ip)).add_u32(!u32_at::<16, IPV4_LEN>(ip));
                let after = before.add_u32(to.source.v4()).add_u32(to.destination.v4()).add_u16(ONE_HOP);
                let checksum = adjusted(u16_at::<10, IPV4_LEN>(ip), !after.checksum());
                ip[8] = ip[8].wrapping_sub(1);
                put16::<10, IPV4_LEN>(ip, checksum);
                put32::<12, IPV4_LEN>(ip, to.source.v4());
                put32::<16, IPV4_LEN>(ip, to.destination.v4());
            }
            Family::V6 => {
                let ip = frame.array_mut::<IPV6_LEN>(link_len)?;
                // Beside the message the checksum covers both addresses (RFC 4443 §2.3).
                sum = sum.add_u64(!u64_at::<8, IPV6_LEN>(ip)).add_u64(!u64_at::<16, IPV6_LEN>(ip));
                sum = sum.add_u64(!u64_at::<24, IPV6_LEN>(ip)).add_u64(!u64_at::<32, IPV6_LEN>(ip));
                sum = sum.add_u64(to.source.0[0]).add_u64(to.source.0[1]);
                sum = sum.add_u64(to.destination.0[0]).add_u64(to.destination.0[1]);
                ip[7] = ip[7].wrapping_sub(1);
                put_v6(ip, to.source, to.destination);
            }
        }
        let icmp = frame.array_mut::<ICMP_LEN>(bounded(self.headers.transport))?;
        let checksum = adjusted(u16_at::<2, ICMP_LEN>(icmp), !sum.checksum());
        put16::<2, ICMP_LEN>(icmp, checksum);
        Some(())
    }

    /// Ports and checksum of the quoted transport header; what the checksum field adds to a sum over it. A field that is
    /// not quoted, or that says there is no checksum, adds nothing.
    #[inline(always)]
    fn quoted_transport<P: PacketMut + ?Sized>(&self, frame: &mut P, ports: u32, delta: u16) -> Option<u32> {
        let change = if self.headers.protocol == number::TCP {
            let is_quoted = self.transport + TCP_LEN <= self.headers.link_len + self.headers.ip_len as usize;
            match frame.array_mut::<TCP_LEN>(bounded(self.transport)) {
                Some(tcp) if is_quoted => {
                    let before = u16_at::<16, TCP_LEN>(tcp);
                    let after = adjusted(before, delta);
                    put16::<16, TCP_LEN>(tcp, after);
                    u32::from(!before) + u32::from(after)
                }
                _ => 0,
            }
        } else {
            let udp = frame.array_mut::<UDP_LEN>(bounded(self.transport))?;
            let before = u16_at::<6, UDP_LEN>(udp);
            let after = adjusted_udp(before, delta);
            put16::<6, UDP_LEN>(udp, after);
            u32::from(!before) + u32::from(after)
        };
        put32::<0, 8>(frame.array_mut(bounded(self.transport))?, ports);
        Some(change)
    }

    /// Addresses and checksum of the quoted IP header; what its checksum field adds to a sum over it.
    #[inline(always)]
    fn quoted_ip<P: PacketMut + ?Sized>(&self, frame: &mut P, to: &Tuple, delta: u16) -> Option<u32> {
        match self.headers.family {
            Family::V4 => {
                let ip = frame.array_mut::<IPV4_LEN>(bounded(self.ip))?;
                let before = u16_at::<10, IPV4_LEN>(ip);
                let after = adjusted(before, delta);
                put16::<10, IPV4_LEN>(ip, after);
                put32::<12, IPV4_LEN>(ip, to.destination.v4());
                put32::<16, IPV4_LEN>(ip, to.source.v4());
                Some(u32::from(!before) + u32::from(after))
            }
            Family::V6 => {
                put_v6(frame.array_mut::<IPV6_LEN>(bounded(self.ip))?, to.destination, to.source);
                Some(0)
            }
        }
    }
}

/// An offset that is at most [`MAX_TRANSPORT`], said again: kept on the stack in between, the verifier forgets it.
#[inline(always)]
fn bounded(offset: usize) -> usize {
    core::hint::black_box(offset) & MAX_TRANSPORT
}
