//! Where the flow of a client's tuple is: buckets of one cache line, two for each tuple.
//!
//! The first is nearly always the one, so that an established flow costs one line here and those of its element. There
//! are twice as many entries as places: that both buckets of a new flow are full of living ones does not happen (with
//! every place taken, less than once in 10⁹ flows), and would be counted as exhaustion.

use crate::abi::NatFlow;
use crate::abi::nat::{NAT_WAYS, NatBucket};
use crate::hash::FlowHash;
use crate::headers::{AddressWords, Headers};

/// No place: `NAT_FLOWS` has never so many.
pub const NOWHERE: u32 = u32::MAX;

/// Buckets for so many places.
#[must_use]
pub const fn buckets(places: u32) -> u32 {
    places.div_ceil(NAT_WAYS as u32 / 2)
}

/// Where a tuple may stand, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Elements of `NAT_INDEX`, in the order in which they are looked at.
    pub buckets: [u32; 2],
    /// Never 0.
    pub tag: u32,
}

impl Probe {
    /// Of the hash over a flow's whole tuple, in an index of so many buckets.
    #[inline(always)]
    #[must_use]
    pub const fn of(hash: FlowHash, buckets: u32) -> Self {
        let swapped = FlowHash(hash.0.rotate_left(32));
        Self { buckets: [hash.slot(buckets), swapped.slot(buckets)], tag: (hash.0 >> 16) as u32 | 1 }
    }
}

/// An entry of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    /// Nothing.
    pub const FREE: Self = Self(0);

    /// A flow's tag and its place, index into `NAT_FLOWS`.
    #[inline(always)]
    #[must_use]
    pub const fn new(tag: u32, place: u32) -> Self {
        Self((tag as u64) << 32 | place as u64)
    }

    /// The flow's tag; 0 of a free entry.
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Index into `NAT_FLOWS`.
    #[inline(always)]
    #[must_use]
    pub const fn place(self) -> u32 {
        self.0 as u32
    }
}

impl NatBucket {
    /// Places of the first two entries with a tag, [`NOWHERE`] where there is none; whether one is the packet's flow says [`NatFlow::is_from_client`]. That three
    /// flows of one bucket share 32 bits of their hash is not to be expected; the third would not be found.
    #[inline(always)]
    #[must_use]
    pub fn tagged(&self, tag: u32) -> [u32; 2] {
        let mut found = [NOWHERE; 2];
        for word in self.0.iter().rev() {
            let entry = Entry(*word);
            if entry.tag() == tag {
                found = [entry.place(), found[0]];
            }
        }
        found
    }
}

impl NatFlow {
    /// Whether a packet comes from the flow's client, by way of some server ([`crate::abi::FlowKey::via`]). An element that is
    /// nobody's has no client.
    #[inline(always)]
    #[must_use]
    pub fn is_from_client(&self, headers: &Headers, via: u32) -> bool {
        let [a, b] = self.key.source_port;
        let [c, d] = self.key.destination_port;
        self.protocol == headers.protocol
            && self.key.last_word() == headers.last_word(via)
            && u32::from_le_bytes([a, b, c, d]) == headers.ports
            && AddressWords::of(&self.key.source) == headers.source
            && AddressWords::of(&self.key.destination) == headers.destination
    }
}
