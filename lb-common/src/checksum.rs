//! The Internet checksum (RFC 1071), whole and incremental.
//!
//! Sums are of 16-bit words as they stand in memory: ones' complement addition does not care about byte order as long
//! as reading and writing agree (RFC 1071 §2 (B)).

use crate::packet::Packet;

/// A running ones' complement sum, not folded yet. Holds 2³² words and more without overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// An empty sum.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// The sum as [`Self::to_bits`] gave it.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The sum as one number, never all ones.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Adds 16 bits as they stand in memory.
    #[inline(always)]
    #[must_use]
    pub const fn add_u16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds 32 bits as they stand in memory.
    #[inline(always)]
    #[must_use]
    pub const fn add_u32(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds 64 bits as they stand in memory.
    #[inline(always)]
    #[must_use]
    pub const fn add_u64(self, word: u64) -> Self {
        self.add_u32(word as u32).add_u32((word >> 32) as u32)
    }

    /// Adds `len` bytes of a packet from `offset`, at most `MAX`; an odd last byte is padded with a zero.
    /// `None` when they are not all inside the packet, or more than `MAX`.
    #[inline(always)]
    #[must_use]
    pub fn add_packet<const MAX: usize, P: Packet + ?Sized>(
        mut self,
        packet: &P,
        offset: usize,
        len: usize,
    ) -> Option<Self> {
        if len > MAX {
            return None;
        }
        // The compiler must not conclude that `done < MAX` always holds: the verifier of Linux 6.1 ends the walk through
        // the loop only at a comparison with a constant.
        let len = core::hint::black_box(len);
        let mut done = 0;
        // The black box keeps the compiler from moving the check of a position over to the packet's end, which the
        // verifier does not allow to be calculated with.
        while done + 4 <= len && done < MAX {
            let at = core::hint::black_box(offset + done);
            self = self.add_u32(u32::from_le_bytes(*packet.array(at)?));
            done += 4;
        }
        if len & 2 != 0 {
            self = self.add_u16(u16::from_le_bytes(*packet.array(offset + done)?));
            done += 2;
        }
        if len & 1 != 0 {
            self = self.add_u16(u16::from(packet.array::<1>(offset + done)?[0]));
        }
        Some(self)
    }

    /// The checksum field, as it stands in memory.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        // A number plus itself with its halves swapped has the sum of the halves, end-around carry included, in its
        // upper half: 64 bits fold to 32, and 32 to 16.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        !((sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16)
    }
}

/// The checksum field after one 16-bit word of what it covers changed (RFC 1624, equation 3).
#[inline(always)]
#[must_use]
pub const fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::new().add_u16(!checksum).add_u16(!old).add_u16(new).checksum()
}
