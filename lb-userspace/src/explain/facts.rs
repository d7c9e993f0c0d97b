//! What `explain` tells: its answer's shape.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::header::Header;

/// What happens to a client's packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The client: address and port.
    pub client: SocketAddr,
    /// The service: `address port/protocol`.
    pub service: String,
    /// Each step, in the order of the packet.
    pub steps: Vec<Step>,
    /// The service's entry.
    pub entry: Option<ServiceFacts>,
    /// The flow's hash: 16 hexadecimal digits.
    pub hash: Option<String>,
    /// The slot that the hash selects.
    pub slot: Option<SlotFacts>,
    /// The flow's entry in the flow tables, looked up on a slot that is moving or has exceptions.
    pub flow: Option<FlowFacts>,
    /// The translated flow of this client, where the service translates and it has one.
    pub nat: Option<NatFacts>,
    /// Where a packet that opens a flow goes (of UDP: any packet).
    pub opening: Outcome,
    /// Where a packet of an established connection goes, if that is elsewhere.
    pub established: Option<Outcome>,
    /// What becomes of the server's answer, where the flow is translated and open. Of the other modes servers answer the
    /// client directly.
    pub answer: Option<Outcome>,
    /// The outcome in one sentence.
    pub verdict: String,
}

/// One step of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The stage of the program: service, protect, quic, hash, slot, steer, forward or transmit.
    pub stage: &'static str,
    /// What happens there.
    pub what: String,
}

/// A service's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceFacts {
    /// Index into the counters.
    pub id: u32,
    /// Clients are answered when no server is usable.
    pub rejects_when_empty: bool,
    /// The source address alone is hashed.
    pub source_affinity: bool,
    /// Slots in the table.
    pub slots: u32,
    /// Slots in the previous owners' table.
    pub previous_slots: u32,
    /// Generation of the ledger that the table was planned from.
    pub generation: u64,
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SlotFacts {
    /// Its number in the service's table.
    pub number: u32,
    /// Index of its owner.
    pub backend: u32,
    /// It changed its owner within the window.
    pub moving: bool,
    /// It changed its owner before, and flows may have entries.
    pub exceptions: bool,
}

/// A flow's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlowFacts {
    /// Index of the backend.
    pub backend: u32,
    /// The backend's generation when the entry was written.
    pub generation: u32,
    /// The entry counts: the backend is up and of that generation.
    pub valid: bool,
}

/// A translated flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NatFacts {
    /// What the server sees as the client.
    pub source: SocketAddr,
    /// The server: address and port.
    pub server: SocketAddr,
    /// `opening`, `established`, `closing`, `closed` or `time_wait`.
    pub phase: &'static str,
    /// Seconds since its last packet.
    pub idle_seconds: u64,
    /// The flow counts: its server is up and still the one it was opened to.
    pub valid: bool,
}

/// How a packet leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// `forward`, `pass`, `drop` or `reject`.
    pub action: &'static str,
    /// Label of the reason it is counted under; of a forwarded packet `transmitted` or, when it leaves through
    /// another interface than it came from, `redirected`.
    pub reason: &'static str,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: &'static str,
    /// How the backend was chosen.
    pub chosen: Option<&'static str>,
    /// The backend.
    pub backend: Option<BackendFacts>,
    /// The headers of what leaves, outermost first, were this the smallest packet there is: hops 64, don't-fragment,
    /// everything else 0. Empty when nothing leaves.
    pub headers: Vec<Header>,
}

/// A backend entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendFacts {
    /// Its index.
    pub index: u32,
    /// The server.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Health holds it for up.
    pub up: bool,
    /// Generation of the index.
    pub generation: u32,
    /// The way to it; `None` while it is not known.
    pub next_hop: Option<NextHopFacts>,
    /// Source address of the outer header.
    pub outer_source: Option<IpAddr>,
    /// What the packet's addresses and ports become, where they are translated: `source → destination`.
    pub rewritten: Option<String>,
}

/// The way to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextHopFacts {
    /// Egress interface.
    pub ifindex: u32,
    /// Destination MAC.
    pub mac: String,
    /// Source MAC.
    pub source_mac: String,
    /// Largest packet of a client that fits, in bytes of its IP packet.
    pub largest_packet: u16,
    /// VLAN ids, outer first.
    pub vlans: Vec<u16>,
}
