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
    /// Always 0.
    pub pad: [u8; 3],
}

/// Value of the flow tables. Void when the backend is down or its generation is another.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    /// Index into `BACKENDS`.
    pub backend: u32,
    /// [`super::BackendEntry::generation`] when the entry was written.
    pub generation: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 40 && align_of::<FlowKey>() == 1);
const _: () = assert!(size_of::<FlowEntry>() == 8);
