//! Bytes of a frame behind a trait, so that the kernel's bounds-checked buffer and a slice run the same code.

use crate::checksum::Sum;

/// Most bytes that are summed up in one go: what an ICMPv6 error quotes.
pub const MAX_SUM: usize = 1232;

/// A frame that can be read. Every read is checked: nothing outside the frame is ever returned.
pub trait Packet {
    /// Bytes of the frame, from the first byte of the Ethernet header.
    fn len(&self) -> usize;

    /// `N` bytes at `offset`; `None` when they are not all inside the frame.
    fn array<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// The sum of `len` bytes from `offset`, at most [`MAX_SUM`]; an odd last byte is padded with a zero.
    /// `None` when they are not all inside the frame, or more.
    #[inline(always)]
    fn sum(&self, offset: usize, len: usize) -> Option<Sum> {
        Sum::new().add_packet::<MAX_SUM, Self>(self, offset, len)
    }

    /// Whether there is no byte at all.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A frame that can be written.
pub trait PacketMut: Packet {
    /// `N` bytes at `offset`, to be written; `None` when they are not all inside the frame.
    fn array_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;
}

impl Packet for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn array<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.get(offset..)?.first_chunk()
    }
}

impl PacketMut for [u8] {
    fn array_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.get_mut(offset..)?.first_chunk_mut()
    }
}

/// Bytes `AT..AT + 2` of a header as they stand in memory, lowest address in the lowest bits.
#[inline(always)]
pub(crate) const fn u16_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u16 {
    u16::from_le_bytes(chunk::<AT, 2, N>(bytes))
}

/// Bytes `AT..AT + 4`, as above.
#[inline(always)]
pub(crate) const fn u32_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u32 {
    u32::from_le_bytes(chunk::<AT, 4, N>(bytes))
}

/// Bytes `AT..AT + 8`, as above.
#[inline(always)]
pub(crate) const fn u64_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u64 {
    u64::from_le_bytes(chunk::<AT, 8, N>(bytes))
}

/// Writes bytes `AT..AT + 2` of a header, lowest bits to the lowest address.
#[inline(always)]
pub(crate) fn put16<const AT: usize, const N: usize>(bytes: &mut [u8; N], word: u16) {
    put::<AT, 2, N>(bytes, word.to_le_bytes());
}

/// Writes bytes `AT..AT + 4`, as above.
#[inline(always)]
pub(crate) fn put32<const AT: usize, const N: usize>(bytes: &mut [u8; N], word: u32) {
    put::<AT, 4, N>(bytes, word.to_le_bytes());
}

/// Writes bytes `AT..AT + 8`, as above.
#[inline(always)]
pub(crate) fn put64<const AT: usize, const N: usize>(bytes: &mut [u8; N], word: u64) {
    put::<AT, 8, N>(bytes, word.to_le_bytes());
}

/// `LEN` bytes at `AT`, stored as one word: a header put together in an array first may be stored byte by byte.
#[inline(always)]
fn put<const AT: usize, const LEN: usize, const N: usize>(bytes: &mut [u8; N], word: [u8; LEN]) {
    // Dead code of an instance for another length of header may ask for what is outside.
    if let Some(chunk) = bytes.get_mut(AT..).and_then(<[u8]>::first_chunk_mut) {
        *chunk = word;
    }
}

/// `LEN` bytes at `AT`, loaded as one word: put together from single bytes, they may stay single bytes to the end.
#[inline(always)]
const fn chunk<const AT: usize, const LEN: usize, const N: usize>(bytes: &[u8; N]) -> [u8; LEN] {
    const { assert!(AT + LEN <= N, "outside the header") };
    match bytes.split_at(AT).1.first_chunk() {
        Some(chunk) => *chunk,
        None => [0; LEN],
    }
}
