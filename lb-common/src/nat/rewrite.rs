//! Addresses and ports of a packet replaced in place, its checksums kept right.

use crate::checksum::Sum;
use crate::headers::{AddressWords, Family, Headers, IPV4_LEN, IPV6_LEN, TCP_LEN, UDP_LEN, number};
use crate::packet::{PacketMut, put16, put32, put64, u16_at};

/// Both addresses and both ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address.
    pub source: AddressWords,
    /// Destination address.
    pub destination: AddressWords,
    /// Both ports as they stand in memory: the source port is the lower half.
    pub ports: u32,
}

impl Tuple {
    /// The tuple of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn of(headers: &Headers) -> Self {
        Self { source: headers.source, destination: headers.destination, ports: headers.ports }
    }
}

/// What a translation adds to the ones' complement sums that checksums are made of. As sums commute, the same numbers
/// hold for every packet of a flow; the way back adds their complements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Over the addresses: for the IPv4 header's checksum.
    pub addresses: u16,
    /// Over addresses and ports: for the transport's checksum.
    pub transport: u16,
}

impl Delta {
    /// What replacing one tuple by another of the same IP version adds.
    #[inline(always)]
    #[must_use]
    pub const fn between(from: &Tuple, to: &Tuple) -> Self {
        let addresses = Sum::new()
            .add_u64(!from.source.0[0])
            .add_u64(!from.source.0[1])
            .add_u64(!from.destination.0[0])
            .add_u64(!from.destination.0[1])
            .add_u64(to.source.0[0])
            .add_u64(to.source.0[1])
            .add_u64(to.destination.0[0])
            .add_u64(to.destination.0[1]);
        let transport = addresses.add_u32(!from.ports).add_u32(to.ports);
        Self { addresses: !addresses.checksum(), transport: !transport.checksum() }
    }

    /// What the way back adds.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { addresses: !self.addresses, transport: !self.transport }
    }
}

/// A checksum field after the sum it covers changed by `delta` (RFC 1624, equation 3), as whoever sums up the changed
/// bytes writes it: of the two zeros of ones' complement never 0xffff.
#[inline(always)]
#[must_use]
pub const fn adjusted(checksum: u16, delta: u16) -> u16 {
    let adjusted = Sum::new().add_u16(!checksum).add_u16(delta).checksum();
    // Only a sum of nothing but zeros stays at zero, and no packet's sum is one: its protocol is not 0.
    if adjusted == 0xffff { 0 } else { adjusted }
}

/// As [`adjusted`], of UDP: 0 says that the sender gave no checksum (RFC 768; for IPv6 RFC 6935) and stays, and a
/// checksum that comes out as 0 is written as 0xffff.
#[inline(always)]
#[must_use]
pub const fn adjusted_udp(checksum: u16, delta: u16) -> u16 {
    match checksum {
        0 => 0,
        given => match adjusted(given, delta) {
            0 => 0xffff,
            other => other,
        },
    }
}

/// Replaces addresses and ports, adjusts the checksums by `delta` and lowers TTL or hop limit by one; the caller has
/// seen that it is at least 2. `None` when the frame is not the one that was parsed.
#[inline(always)]
#[must_use]
pub fn translate<P: PacketMut + ?Sized>(frame: &mut P, headers: &Headers, to: &Tuple, delta: Delta) -> Option<()> {
    // The transport first: behind it nothing can be missing, so no packet leaves half rewritten.
    match headers.protocol {
        number::TCP => {
            let tcp = frame.array_mut::<TCP_LEN>(headers.transport)?;
            let checksum = adjusted(u16_at::<16, TCP_LEN>(tcp), delta.transport);
            put32::<0, TCP_LEN>(tcp, to.ports);
            put16::<16, TCP_LEN>(tcp, checksum);
        }
        _ => {
            let udp = frame.array_mut::<UDP_LEN>(headers.transport)?;
            let checksum = adjusted_udp(u16_at::<6, UDP_LEN>(udp), delta.transport);
            put32::<0, UDP_LEN>(udp, to.ports);
            put16::<6, UDP_LEN>(udp, checksum);
        }
    }
    translate_addresses(frame, headers, to, delta.addresses)
}

/// As [`translate`], of a piece of a packet that has no transport header: its checksum stands in the first piece.
#[inline(always)]
#[must_use]
pub fn translate_piece<P: PacketMut + ?Sized>(frame: &mut P, headers: &Headers, to: &Tuple) -> Option<()> {
    translate_addresses(frame, headers, to, Delta::between(&Tuple::of(headers), to).addresses)
}

#[inline(always)]
fn translate_addresses<P: PacketMut + ?Sized>(frame: &mut P, headers: &Headers, to: &Tuple, delta: u16) -> Option<()> {
    match headers.family {
        Family::V4 => {
            /// TTL is the lower byte of its word: one less is −1, which is 0xfffe in ones' complement.
            const ONE_HOP: u16 = 0xfffe;
            let ip = frame.array_mut::<IPV4_LEN>(headers.link_len)?;
            let sum = Sum::new().add_u16(delta).add_u16(ONE_HOP);
            let checksum = adjusted(u16_at::<10, IPV4_LEN>(ip), !sum.checksum());
            ip[8] = ip[8].wrapping_sub(1);
            put16::<10, IPV4_LEN>(ip, checksum);
            put32::<12, IPV4_LEN>(ip, to.source.v4());
            put32::<16, IPV4_LEN>(ip, to.destination.v4());
        }
        Family::V6 => {
            let ip = frame.array_mut::<IPV6_LEN>(headers.link_len)?;
            ip[7] = ip[7].wrapping_sub(1);
            put64::<8, IPV6_LEN>(ip, to.source.0[0]);
            put64::<16, IPV6_LEN>(ip, to.source.0[1]);
            put64::<24, IPV6_LEN>(ip, to.destination.0[0]);
            put64::<32, IPV6_LEN>(ip, to.destination.0[1]);
        }
    }
    Some(())
}
