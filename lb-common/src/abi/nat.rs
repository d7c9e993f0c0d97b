//! A translated flow: one source address and port of ours, and who talks to whom through it.

use super::{Address, FlowKey};

/// First port that flows are given; those below are left to services of other kinds.
pub const FIRST_PORT: u16 = 1024;
/// Ports of one source address, and elements of `NAT_FLOWS` that belong to it.
pub const PORTS: u32 = 65_536 - FIRST_PORT as u32;
/// Clock ticks are nanoseconds of the monotonic clock shifted right by this: 16.8 ms each.
pub const TICK_SHIFT: u32 = 24;

/// Element of `NAT_FLOWS`, two cache lines: the first is all that the way to the server needs.
///
/// The element's index is the flow's place: source number × [`PORTS`] + port − [`FIRST_PORT`]. So no two flows have the
/// same address and port, and the way back needs no search.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatFlow {
    /// Raised each time the element is given to another flow.
    pub id: u32,
    /// Tick of the last packet, either way.
    pub seen: u32,
    /// Index into `BACKENDS`.
    pub backend: u32,
    /// [`super::BackendEntry::generation`] when the flow was opened.
    pub generation: u32,
    /// Our source address.
    pub source: Address,
    /// Our source port and the server's port, network order.
    pub ports: [[u8; 2]; 2],
    /// Sum that the way to the server adds to a checksum over the addresses alone, as it stands in memory.
    pub address_delta: u16,
    /// As above, over addresses and ports.
    pub transport_delta: u16,
    /// IP protocol number; 0 is a free element.
    pub protocol: u8,
    /// [`marks`] that the client's packets left.
    pub from_client: u8,
    /// [`marks`] that the server's packets left.
    pub from_server: u8,
    /// Always 0.
    pub pad: u8,
    /// Interface that the client's packets come in on; answers leave through it.
    pub ifindex: u32,
    /// The way back to the client: [`crate::link::LinkHeader`].
    pub link: [u64; 2],
    /// The client's packets.
    pub key: FlowKey,
    /// Address of the server.
    pub server: Address,
    /// Tick of the first packet.
    pub opened: u32,
    /// What `NAT_INDEX` has of the flow: [`crate::nat::index::Probe::tag`]. Never 0, but in an element that was never used.
    pub tag: u32,
}

impl NatFlow {
    /// An element that is nobody's.
    pub const FREE: Self = Self {
        id: 0,
        seen: 0,
        backend: 0,
        generation: 0,
        source: [0; 16],
        ports: [[0; 2]; 2],
        address_delta: 0,
        transport_delta: 0,
        protocol: 0,
        from_client: 0,
        from_server: 0,
        pad: 0,
        ifindex: 0,
        link: [0; 2],
        key: FlowKey {
            source: [0; 16],
            destination: [0; 16],
            source_port: [0; 2],
            destination_port: [0; 2],
            protocol: 0,
            via: [0; 3],
        },
        server: [0; 16],
        opened: 0,
        tag: 0,
    };
}

/// Bits of [`NatFlow::from_client`] and [`NatFlow::from_server`].
pub mod marks {
    /// A packet came from this side.
    pub const SPOKE: u8 = 1 << 0;
    /// From the client: a TCP segment without SYN after the server spoke; the handshake is over.
    pub const CONFIRMED: u8 = 1 << 1;
    /// TCP FIN.
    pub const FIN: u8 = 1 << 2;
    /// TCP RST.
    pub const RST: u8 = 1 << 3;
    /// TCP FIN before the other side's: this side waits for stray segments, and its port with it.
    pub const FIRST_FIN: u8 = 1 << 4;
}

/// Entries of an element of `NAT_INDEX`.
pub const NAT_WAYS: usize = 8;

/// Element of `NAT_INDEX`, one cache line: where flows are whose tuples belong here, as [`crate::nat::index::Entry`] has it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatBucket(pub [u64; NAT_WAYS]);

/// Element of `NAT_POOL`: a source address, and which elements of `NAT_FLOWS` are its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatSource {
    /// The address; IPv4 is mapped.
    pub address: Address,
    /// Its number: it owns [`PORTS`] elements from number × [`PORTS`].
    pub number: u32,
    /// Always 0.
    pub pad: u32,
}

/// Elements of `NAT_POOL` that new flows of one IP version take their source address from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatRange {
    /// First element.
    pub first: u32,
    /// How many; 0 is none.
    pub count: u32,
}

const _: () = assert!(size_of::<NatFlow>() == 128 && core::mem::offset_of!(NatFlow, key) == 64);
const _: () = assert!(size_of::<NatBucket>() == 64);
const _: () = assert!(size_of::<NatSource>() == 24);
