//! A flow that needs state: one on a slot that is moving from one backend to another.

use super::Address;

/// Key of the flow tables: the tuple as it stands in the packet. Alignment 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Source address; IPv4 is mapped.
    pub source: Address,
    /// Destination address; IPv4 is mapped.
    pub destination: Address,
    /// Source port, network order.
    pub source_port: [u8; 2],
    /// Destination port, network order.
    pub destination_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Which of a tuple's translated flows: 0 is its own, otherwise one more than the index of the server whose QUIC
    /// connection goes over the same tuple as another server's, lowest byte first. 0 in the tables of moved slots.
    pub via: [u8; 3],
}

/// Value of the flow tables. Void when the backend is down or its generation is another.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    /// Index into `BACKENDS`.
    pub backend: u32,
    /// [`super::BackendEntry::generation`] when the entry was written.
    pub generation: u32,
    /// When a packet of the flow last asked for it, in ticks of the flows' clock ([`crate::nat::lifetime::tick`]). 0 in
    /// `QUIC_SERVERS`, which is of no flow.
    pub seen: u32,
}

impl FlowEntry {
    /// An entry that names a backend, and that nobody has asked for yet.
    #[inline(always)]
    #[must_use]
    pub const fn naming(backend: u32, generation: u32) -> Self {
        Self { backend, generation, seen: 0 }
    }
}

impl FlowKey {
    /// The last four bytes as a word, as [`crate::headers::Headers::last_word`] gives it.
    #[inline(always)]
    #[must_use]
    pub const fn last_word(&self) -> u32 {
        let [a, b, c] = self.via;
        u32::from_le_bytes([self.protocol, a, b, c])
    }
}

const _: () = assert!(size_of::<FlowKey>() == 40 && align_of::<FlowKey>() == 1);
const _: () = assert!(size_of::<FlowEntry>() == 12);
