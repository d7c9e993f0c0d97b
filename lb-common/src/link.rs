//! The Ethernet header and its tags.

use crate::abi::BackendEntry;
use crate::headers::{ETHERNET_LEN, Headers, VLAN_LEN, number};
use crate::packet::{Packet, PacketMut, put16, put32, u16_at, u32_at, u64_at};

/// Length of the Ethernet header with one tag.
pub const ONE_TAG: usize = ETHERNET_LEN + VLAN_LEN;
/// Length of the Ethernet header with two tags.
pub const TWO_TAGS: usize = ETHERNET_LEN + 2 * VLAN_LEN;

/// From whom to whom on the link, and through which VLANs. Two words, as they stand in memory: destination MAC and outer
/// VLAN tag, source MAC and inner VLAN tag (TCI, network order). No outer tag is 0; an inner one stands only beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader(pub [u64; 2]);

/// The six bytes of a MAC in a word.
const MAC: u64 = (1 << 48) - 1;

impl LinkHeader {
    /// Towards a backend.
    #[inline(always)]
    #[must_use]
    pub fn to(backend: &BackendEntry) -> Self {
        let word = |mac: &[u8; 6], tag: &[u8; 2]| {
            u32_at::<0, 6>(mac) as u64 | (u16_at::<4, 6>(mac) as u64) << 32 | (u16_at::<0, 2>(tag) as u64) << 48
        };
        Self([word(&backend.next_hop_mac, &backend.vlan_outer), word(&backend.source_mac, &backend.vlan_inner)])
    }

    /// That of an answer to a packet, back the way it came. `None` when the frame is not the one that was parsed.
    #[inline(always)]
    #[must_use]
    pub fn answering<P: Packet + ?Sized>(frame: &P, headers: &Headers) -> Option<Self> {
        let link = frame.array::<ETHERNET_LEN>(0)?;
        let mut words = [u64_at::<6, ETHERNET_LEN>(link) & MAC, u64_at::<0, ETHERNET_LEN>(link) & MAC];
        if headers.link_len >= ONE_TAG {
            words[0] |= u64::from(u16_at::<14, ONE_TAG>(frame.array(0)?)) << 48;
        }
        if headers.link_len >= TWO_TAGS {
            words[1] |= u64::from(u16_at::<18, TWO_TAGS>(frame.array(0)?)) << 48;
        }
        Some(Self(words))
    }

    /// Length in bytes: [`ETHERNET_LEN`], [`ONE_TAG`] or [`TWO_TAGS`].
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> usize {
        if self.0[0] <= MAC {
            ETHERNET_LEN
        } else if self.0[1] <= MAC {
            ONE_TAG
        } else {
            TWO_TAGS
        }
    }

    /// Writes the header, `LEN` bytes as [`LinkHeader::bytes`] says, to the start of a frame. `None` when the frame is
    /// shorter.
    #[inline(always)]
    #[must_use]
    pub fn write<const LEN: usize, P: PacketMut + ?Sized>(self, frame: &mut P, ethertype: u16) -> Option<()> {
        let link = frame.array_mut::<LEN>(0)?;
        let [destination, source] = self.0;
        put32::<0, LEN>(link, destination as u32);
        put16::<4, LEN>(link, (destination >> 32) as u16);
        put32::<6, LEN>(link, source as u32);
        put16::<10, LEN>(link, (source >> 32) as u16);
        let (outer, inner) = ((destination >> 48) as u16, (source >> 48) as u16);
        // Each kind behind a check of its own: offsets are proven against the length they belong to.
        match LEN {
            ETHERNET_LEN => put16::<12, ETHERNET_LEN>(frame.array_mut(0)?, ethertype.to_be()),
            ONE_TAG => {
                let link = frame.array_mut::<ONE_TAG>(0)?;
                put16::<12, ONE_TAG>(link, number::ETHERTYPE_VLAN.to_be());
                put16::<14, ONE_TAG>(link, outer);
                put16::<16, ONE_TAG>(link, ethertype.to_be());
            }
            _ => {
                let link = frame.array_mut::<TWO_TAGS>(0)?;
                put16::<12, TWO_TAGS>(link, number::ETHERTYPE_QINQ.to_be());
                put16::<14, TWO_TAGS>(link, outer);
                put16::<16, TWO_TAGS>(link, number::ETHERTYPE_VLAN.to_be());
                put16::<18, TWO_TAGS>(link, inner);
                put16::<20, TWO_TAGS>(link, ethertype.to_be());
            }
        }
        Some(())
    }
}
