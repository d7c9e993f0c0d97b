//! A capture: what it asks for, and what it is given. Only the program that captures reads and writes these.

use super::protection::Rate;
use super::{Address, Reason};

/// The one element of `CAPTURE_FILTER`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureFilter {
    /// Time of the monotonic clock after which nothing is captured, in nanoseconds. The agent moves it on while somebody
    /// listens: an agent that was killed leaves no capture behind.
    pub until_ns: u64,
    /// Packets that may be captured, over all CPUs.
    pub rate: Rate,
    /// Reasons of interest, one bit each.
    pub reasons: [u64; 2],
    /// One end of the packet.
    pub client: CaptureEnd,
    /// The other one.
    pub service: CaptureEnd,
    /// Bytes of a packet that are kept at most; up to [`MAX_SNAP`].
    pub snap: u32,
    /// IP protocol number; 0 is any.
    pub protocol: u32,
}

/// An end of packets of interest. Words are as they stand in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureEnd {
    /// Address, IPv4 mapped, under [`CaptureEnd::mask`].
    pub address: [u64; 2],
    /// Bits of the address that count; none is any address.
    pub mask: [u64; 2],
    /// Port; 0 is any.
    pub port: u32,
    /// Always 0.
    pub pad: u32,
}

impl CaptureEnd {
    /// The end of all addresses with a prefix, `len` bits of the mapped form; port 0 is any.
    #[must_use]
    pub fn new(address: Address, len: u8, port: u16) -> Self {
        let bits = if len == 0 { 0 } else { u128::MAX << (128 - u32::from(len.min(128))) };
        let words = |bytes: [u8; 16]| {
            let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
            [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
        };
        let address = u128::from_be_bytes(address) & bits;
        let port = u32::from(u16::from_ne_bytes(port.to_be_bytes()));
        Self { address: words(address.to_be_bytes()), mask: words(bits.to_be_bytes()), port, pad: 0 }
    }
}

impl CaptureFilter {
    /// Whether packets that left for a reason are of interest.
    #[inline(always)]
    #[must_use]
    pub const fn wants(&self, reason: u32) -> bool {
        let word = if reason < 64 { self.reasons[0] } else { self.reasons[1] };
        word >> (reason & 63) & 1 != 0
    }

    /// [`CaptureFilter::reasons`] of these reasons.
    #[must_use]
    pub fn bits(reasons: impl IntoIterator<Item = Reason>) -> [u64; 2] {
        reasons.into_iter().fold([0; 2], |mut bits, reason| {
            let number = reason as u32;
            bits[usize::from(number >= 64)] |= 1 << (number & 63);
            bits
        })
    }
}

/// In front of a packet's bytes in `CAPTURE_EVENTS`: as it came in, and behind that what left in its place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureRecord {
    /// Time of the monotonic clock, in nanoseconds.
    pub time_ns: u64,
    /// Bytes of the packet as it came in.
    pub in_len: u32,
    /// Bytes of it that follow.
    pub in_kept: u32,
    /// Bytes of what was sent; 0 when nothing was.
    pub out_len: u32,
    /// Bytes of it that follow.
    pub out_kept: u32,
    /// Number of the [`Reason`] it left for.
    pub reason: u32,
    /// XDP's action.
    pub action: u32,
    /// Interface it came in on.
    pub ifindex: u32,
    /// Which CPU.
    pub cpu: u32,
}

/// Bytes of a packet that can be kept at most; a power of two less one.
pub const MAX_SNAP: u32 = 2047;

const _: () = assert!(size_of::<CaptureEnd>() == 40);
const _: () = assert!(size_of::<CaptureFilter>() == 128);
const _: () = assert!(size_of::<CaptureRecord>() == 40);
const _: () = assert!((MAX_SNAP + 1).is_power_of_two() && super::limits::MAX_REASONS <= 128);
