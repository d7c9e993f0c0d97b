//! The server's side: finds the packet inside IP or GUE, and puts the link header in front of it. Sums over all of the outer
//! packet are not checked: the packet inside has its own.

use crate::abi::Address;
use crate::abi::reason::decap;
use crate::encapsulation::gue;
use crate::headers::{self, AddressWords, ETHERNET_LEN, IPV4_LEN, IPV6_LEN, VLAN_LEN, number};
use crate::packet::{Packet, PacketMut, u16_at, u32_at};

/// A packet inside another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// Ethernet header and VLAN tags, in bytes.
    pub link_len: usize,
    /// Outer IP header, options included, and what else stands in front of the packet, in bytes: what is cut from the
    /// front of the frame.
    pub outer_len: usize,
    /// EtherType of the packet inside.
    pub ethertype: u16,
    /// Where the packet inside goes.
    pub destination: Address,
    /// Whether the packet inside is all there.
    pub complete: bool,
}

/// Finds the packet inside.
///
/// # Errors
/// A number of [`decap`]: not an encapsulated packet, or too short to hold the headers.
#[inline(always)]
pub fn find<P: Packet + ?Sized>(frame: &P) -> Result<Wrapped, u32> {
    let ethertype = headers::ethertype_at(frame, 12).map_err(|_| decap::NOT_ENCAPSULATED)?;
    let (ethertype, link_len) = headers::link(frame, ethertype).map_err(|_| decap::NOT_ENCAPSULATED)?;
    let (protocol, outer_len) = match ethertype {
        number::ETHERTYPE_IPV4 => outer_v4(frame, link_len)?,
        number::ETHERTYPE_IPV6 => {
            let ip = frame.array::<IPV6_LEN>(link_len).ok_or(decap::NOT_ENCAPSULATED)?;
            (ip[6], IPV6_LEN)
        }
        _ => return Err(decap::NOT_ENCAPSULATED),
    };
    let (protocol, outer_len) = match protocol {
        number::UDP => {
            let shim = frame.array::<{ gue::SHIM_LEN }>(link_len + outer_len).ok_or(decap::NOT_ENCAPSULATED)?;
            (gue::inner(shim).ok_or(decap::NOT_ENCAPSULATED)?, outer_len + gue::SHIM_LEN)
        }
        protocol => (protocol, outer_len),
    };
    match protocol {
        number::IPIP => inner_v4(frame, link_len, outer_len),
        number::IPV6 => inner_v6(frame, link_len, outer_len),
        _ => Err(decap::NOT_ENCAPSULATED),
    }
}

/// Writes the link header in front of the packet inside; the caller then cuts [`Wrapped::outer_len`] bytes from the
/// front of the frame. `None` when the frame is shorter than that.
#[inline(always)]
pub fn prepare<P: PacketMut + ?Sized>(frame: &mut P, wrapped: &Wrapped) -> Option<()> {
    const ONE_TAG: usize = ETHERNET_LEN + VLAN_LEN;
    const TWO_TAGS: usize = ETHERNET_LEN + 2 * VLAN_LEN;
    match wrapped.link_len {
        ETHERNET_LEN => prepare_exactly::<ETHERNET_LEN, P>(frame, wrapped),
        ONE_TAG => prepare_exactly::<ONE_TAG, P>(frame, wrapped),
        _ => prepare_exactly::<TWO_TAGS, P>(frame, wrapped),
    }
}

#[inline(always)]
fn prepare_exactly<const LINK: usize, P: PacketMut + ?Sized>(frame: &mut P, wrapped: &Wrapped) -> Option<()> {
    let mut link = *frame.array::<LINK>(0)?;
    let [high, low] = wrapped.ethertype.to_be_bytes();
    link[LINK - 2] = high;
    link[LINK - 1] = low;
    *frame.array_mut::<LINK>(wrapped.outer_len)? = link;
    Some(())
}

/// Protocol and length of an outer IPv4 header. A fragment is left to the kernel, which puts packets together.
#[inline(always)]
fn outer_v4<P: Packet + ?Sized>(frame: &P, link_len: usize) -> Result<(u8, usize), u32> {
    const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;
    let ip = frame.array::<IPV4_LEN>(link_len).ok_or(decap::NOT_ENCAPSULATED)?;
    let len = usize::from(ip[0] & 0x0f) * 4;
    if len < IPV4_LEN || u16::from_be(u16_at::<6, IPV4_LEN>(ip)) & MORE_FRAGMENTS_AND_OFFSET != 0 {
        return Err(decap::NOT_ENCAPSULATED);
    }
    Ok((ip[9], len))
}

#[inline(always)]
fn inner_v4<P: Packet + ?Sized>(frame: &P, link_len: usize, outer_len: usize) -> Result<Wrapped, u32> {
    let inner = link_len + outer_len;
    let ip = frame.array::<IPV4_LEN>(inner).ok_or(decap::MALFORMED)?;
    let total_len = usize::from(u16::from_be(u16_at::<2, IPV4_LEN>(ip)));
    Ok(Wrapped {
        link_len,
        outer_len,
        ethertype: number::ETHERTYPE_IPV4,
        destination: AddressWords::mapped(u32_at::<16, IPV4_LEN>(ip)).address(),
        complete: ip[0] >> 4 == 4 && total_len >= IPV4_LEN && inner + total_len <= frame.len(),
    })
}

#[inline(always)]
fn inner_v6<P: Packet + ?Sized>(frame: &P, link_len: usize, outer_len: usize) -> Result<Wrapped, u32> {
    let inner = link_len + outer_len;
    let ip = frame.array::<IPV6_LEN>(inner).ok_or(decap::MALFORMED)?;
    let payload_len = usize::from(u16::from_be(u16_at::<4, IPV6_LEN>(ip)));
    let mut destination = [0; 16];
    destination.copy_from_slice(&ip[24..40]);
    Ok(Wrapped {
        link_len,
        outer_len,
        ethertype: number::ETHERTYPE_IPV6,
        destination,
        complete: ip[0] >> 4 == 6 && inner + IPV6_LEN + payload_len <= frame.len(),
    })
}
