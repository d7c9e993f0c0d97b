//! `explain`: what the kernel program does with a client's packets, step by step, from the live maps.
//!
//! Hash, slot, steering and encapsulation are the very code the kernel runs (`lb-common`); only the reads of the maps
//! are others.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use lb_common::abi::backend::{mode, state};
use lb_common::abi::service::flags;
use lb_common::abi::vip::{self, VipEntry};
use lb_common::abi::{BackendEntry, ConfigEntry, FlowEntry, Reason, ServiceEntry, Slot, address_of, ip_of, protection};
use lb_common::hash::FlowHash;
use lb_common::headers::{AddressWords, ETHERNET_LEN, Family, Headers, IPV4_LEN, IPV6_LEN, TCP_LEN, UDP_LEN, tcp_flag};
use lb_common::steer::{self, Path, Tables};
use lb_common::{direct, encapsulation};
use serde::Serialize;

use crate::dataplane::{Dataplane, DataplaneError, reads_protection};
use crate::model::Protocol;
use crate::plan::ServiceAddress;
use crate::reconcile::key_of;

mod translate;

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
    /// The outcome in one sentence.
    pub verdict: String,
}

/// One step of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The stage of the program: service, protect, hash, slot, steer, forward or transmit.
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

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// One address is IPv4, the other IPv6.
    #[error(
        "client {client} and service {service} are not of the same IP version: no packet goes from one to the other"
    )]
    Family {
        /// The client.
        client: IpAddr,
        /// The service's address.
        service: IpAddr,
    },
    /// A map could not be read.
    #[error("the maps could not be read")]
    Dataplane(#[from] DataplaneError),
}

/// What happens to a client's packets to a service.
///
/// # Errors
/// [`ExplainError::Family`] when no such packet exists; [`ExplainError::Dataplane`] when a map cannot be read.
pub fn explain(
    dataplane: &dyn Dataplane,
    client: SocketAddr,
    service: ServiceAddress,
) -> Result<Explanation, ExplainError> {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    if client.is_ipv4() != service.address.is_ipv4() {
        return Err(ExplainError::Family { client: client.ip(), service: service.address });
    }
    let mut explanation = Explanation {
        client,
        service: service.to_string(),
        steps: Vec::new(),
        entry: None,
        hash: None,
        slot: None,
        flow: None,
        nat: None,
        opening: Outcome::without_backend("pass", Reason::NoService),
        established: None,
        verdict: String::new(),
    };
    walk(dataplane, service, &mut explanation)?;
    explanation.verdict = explanation.sentence();
    Ok(explanation)
}

/// One line per step, then the outcome.
impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.steps {
            writeln!(f, "{:<9} {}", step.stage, step.what)?;
        }
        f.write_str(&self.verdict)
    }
}

fn walk(
    dataplane: &dyn Dataplane,
    service: ServiceAddress,
    explanation: &mut Explanation,
) -> Result<(), DataplaneError> {
    let Some(entry) = dataplane.service(&key_of(&service))? else {
        explanation.nobody(service, dataplane.vip(&address_of(service.address))?);
        return Ok(());
    };
    explanation.service(&entry);
    if let Err(reason) = explanation.protection(dataplane, &entry)? {
        explanation.opening = Outcome::without_backend("drop", reason);
        return Ok(());
    }
    let Some(config) = dataplane.config()? else {
        explanation.step("hash", "the configuration is missing: the reconciler writes it again".to_owned());
        explanation.opening = Outcome::without_backend("drop", Reason::NoBackend);
        return Ok(());
    };
    let mut headers = headers(explanation.client, service);
    let hash = FlowHash::of(&headers, entry.flags, config.hash_key);
    explanation.hash = Some(format!("{:016x}", hash.0));
    let over = if entry.flags & flags::SOURCE_AFFINITY != 0 { "the source address" } else { "the full tuple" };
    explanation.step("hash", format!("{:016x}, keyed, over {over}", hash.0));

    let maps = Maps { dataplane, failed: RefCell::new(None) };
    if entry.flags & flags::NAT != 0 {
        translate::walk(&maps, &config, &entry, &headers, hash, explanation);
        return maps.failed.into_inner().map_or(Ok(()), Err);
    }
    let opening = steer::steer(&maps, &entry, &headers, hash);
    if let Ok(decision) = &opening {
        explanation.slot(decision.slot, decision.owner, &entry);
        if decision.owner.0 & (Slot::MOVING | Slot::EXCEPTIONS) != 0 {
            explanation.flow(&maps, &headers);
        }
    }
    explanation.opening = outcome(&opening, &headers, hash, &config, &entry);
    explanation.describe("opening");
    if service.protocol == Protocol::Tcp {
        headers.tcp_flags = tcp_flag::ACK;
        let established = outcome(&steer::steer(&maps, &entry, &headers, hash), &headers, hash, &config, &entry);
        if established.backend != explanation.opening.backend {
            explanation.established = Some(established);
            explanation.describe("established");
        }
    }
    maps.failed.into_inner().map_or(Ok(()), Err)
}

/// TTL or hop limit of the packet: any that is not used up.
const TTL: u32 = 64;

/// The smallest packet from a client to a service; of TCP the one that opens a connection.
fn headers(client: SocketAddr, service: ServiceAddress) -> Headers {
    let (family, ip_header) = if client.is_ipv4() { (Family::V4, IPV4_LEN) } else { (Family::V6, IPV6_LEN) };
    let (transport_header, tcp_flags) = match service.protocol {
        Protocol::Tcp => (TCP_LEN, tcp_flag::SYN),
        Protocol::Udp => (UDP_LEN, 0),
    };
    let ([a, b], [c, d]) = (client.port().to_be_bytes(), service.port.to_be_bytes());
    Headers {
        family,
        link_len: ETHERNET_LEN,
        ip_len: (ip_header + transport_header) as u32,
        transport: ETHERNET_LEN + ip_header,
        source: AddressWords::of(&address_of(client.ip())),
        destination: AddressWords::of(&address_of(service.address)),
        ports: u32::from_le_bytes([a, b, c, d]),
        protocol: service.protocol.number(),
        tcp_flags,
    }
}

type Decision = Result<steer::Decision<BackendEntry>, Reason>;

/// What the program does after steering.
fn outcome(
    decision: &Decision,
    headers: &Headers,
    hash: FlowHash,
    config: &ConfigEntry,
    service: &ServiceEntry,
) -> Outcome {
    let decision = match decision {
        Ok(decision) => decision,
        Err(Reason::EmptyPool) if service.flags & flags::EMPTY_REJECT != 0 => {
            return Outcome::without_backend("reject", Reason::Rejected);
        }
        Err(reason) => return Outcome::without_backend("drop", *reason),
    };
    let entry = &decision.backend;
    let is_direct = entry.mode == mode::L2;
    let admitted = if is_direct { direct::admit(headers, entry) } else { encapsulation::admit(headers, TTL, entry) };
    let (action, reason) = match admitted {
        Ok(()) => ("forward", Reason::Transmitted),
        Err(reason) => ("drop", reason),
    };
    let chosen = match decision.path {
        // The data plane's one read covers both flow tables.
        Path::Opened | Path::Pinned | Path::Confirms => {
            "the flow has an entry from while the slot was moving, and it names this backend"
        }
        path => path.why(),
    };
    let backend = BackendFacts {
        index: decision.index,
        address: ip_of(entry.address),
        port: u16::from_be_bytes(entry.port),
        up: entry.state & state::UP != 0,
        generation: entry.generation,
        next_hop: next_hop(entry),
        outer_source: (admitted.is_ok() && !is_direct).then(|| ip_of(encapsulation::outer_source(config, entry, hash))),
        rewritten: None,
    };
    Outcome { action, reason: reason.label(), remedy: reason.remedy(), chosen: Some(chosen), backend: Some(backend) }
}

fn next_hop(entry: &BackendEntry) -> Option<NextHopFacts> {
    if entry.state & state::RESOLVED == 0 {
        return None;
    }
    let outer_len = match (entry.mode, entry.state & state::V4) {
        (mode::NAT | mode::L2, _) => 0,
        (_, 0) => IPV6_LEN,
        _ => IPV4_LEN,
    };
    let vlans = [entry.vlan_outer, entry.vlan_inner].map(u16::from_be_bytes);
    Some(NextHopFacts {
        ifindex: entry.ifindex,
        mac: mac(entry.next_hop_mac),
        source_mac: mac(entry.source_mac),
        largest_packet: entry.mtu.saturating_sub(outer_len as u16),
        vlans: vlans.into_iter().filter(|tag| *tag != 0).map(|tag| tag & 0x0fff).collect(),
    })
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

impl Outcome {
    const fn without_backend(action: &'static str, reason: Reason) -> Self {
        Self { action, reason: reason.label(), remedy: reason.remedy(), chosen: None, backend: None }
    }

    fn sentence(&self) -> String {
        let server = self.backend.as_ref().map(|backend| backend.address.to_string());
        let remedy = if self.remedy.is_empty() { String::new() } else { format!(": {}", self.remedy) };
        match (self.action, server) {
            ("forward", Some(server)) => format!("to server {server}"),
            ("pass", _) => format!("passed to this machine's own stack ({})", self.reason),
            ("reject", _) => format!("answered with a reset or port unreachable ({}){remedy}", self.reason),
            (_, Some(server)) => format!("for server {server}, but dropped ({}){remedy}", self.reason),
            _ => format!("dropped ({}){remedy}", self.reason),
        }
    }
}

impl Explanation {
    fn step(&mut self, stage: &'static str, what: String) {
        self.steps.push(Step { stage, what });
    }

    fn sentence(&self) -> String {
        match &self.established {
            None => format!("packets go: {}", self.opening.sentence()),
            Some(established) => {
                format!("new connections go: {}; established ones: {}", self.opening.sentence(), established.sentence())
            }
        }
    }

    /// No service has the packet: what its address does with it.
    fn nobody(&mut self, service: ServiceAddress, vip: Option<VipEntry>) {
        let Some(vip) = vip else {
            self.step("service", format!("{service} is not in the maps: packets go up to this machine's own stack"));
            return;
        };
        let (what, action, reason) = match vip.flags {
            flags if flags & vip::flags::QUARANTINED != 0 => ("is quarantined", "drop", Reason::Quarantined),
            flags if flags & vip::flags::REJECT != 0 => ("answers for closed ports", "reject", Reason::ClosedRejected),
            _ => ("is silent about closed ports", "drop", Reason::ClosedDropped),
        };
        self.step("service", format!("{service} is not in the maps; its address is ours and {what}"));
        self.opening = Outcome::without_backend(action, reason);
    }

    fn service(&mut self, entry: &ServiceEntry) {
        let facts = ServiceFacts {
            id: entry.id,
            rejects_when_empty: entry.flags & flags::EMPTY_REJECT != 0,
            source_affinity: entry.flags & flags::SOURCE_AFFINITY != 0,
            slots: entry.slots_len,
            previous_slots: entry.previous_len,
            generation: entry.generation,
        };
        let what = format!(
            "{} is service {} of generation {}, {} slots",
            self.service, facts.id, facts.generation, facts.slots
        );
        self.step("service", what);
        self.entry = Some(facts);
    }

    /// What stands between the service and its servers. Whether a limit is reached depends on other packets.
    fn protection(
        &mut self,
        dataplane: &dyn Dataplane,
        entry: &ServiceEntry,
    ) -> Result<Result<(), Reason>, DataplaneError> {
        if entry.flags & flags::QUARANTINED != 0 {
            self.step("protect", "the service is quarantined: nothing is forwarded".to_owned());
            return Ok(Err(Reason::Quarantined));
        }
        if !reads_protection(entry.flags) {
            return Ok(Ok(()));
        }
        let protection = dataplane.protection(entry.id)?;
        if entry.flags & flags::ACL != 0 {
            let (list, client) = (protection.acl, self.client.ip());
            let verdict = dataplane.acl(list, address_of(client))?;
            if verdict == Some(protection::acl::DENY) {
                self.step("protect", format!("access list {list} denies {client}"));
                return Ok(Err(Reason::AclDenied));
            }
            self.step("protect", format!("access list {list} allows {client}"));
        }
        if entry.flags & flags::LIMITED != 0 {
            for (rate, what) in [
                (protection.source, "new connections of each source"),
                (protection.connections, "new connections of all sources"),
                (protection.packets, "packets of all sources"),
            ] {
                if let Some(per_second) = 1_000_000_000_u64.checked_div(rate.interval_ns) {
                    let what = format!("at most {per_second} {what} per second, {} at once", rate.burst);
                    self.step("protect", what);
                }
            }
        }
        Ok(Ok(()))
    }

    fn slot(&mut self, number: u32, slot: Slot, entry: &ServiceEntry) {
        let facts = SlotFacts {
            number,
            backend: slot.backend_index(),
            moving: slot.0 & Slot::MOVING != 0,
            exceptions: slot.0 & Slot::EXCEPTIONS != 0,
        };
        let note = match facts {
            SlotFacts { moving: true, .. } => ", moving: it changed its owner within the window",
            SlotFacts { exceptions: true, .. } => ", with exceptions: it changed its owner before",
            _ => "",
        };
        self.step("slot", format!("{number} of {}: entry {}{note}", entry.slots_len, facts.backend));
        self.slot = Some(facts);
    }

    fn flow(&mut self, maps: &Maps<'_>, headers: &Headers) {
        let Some(entry) = maps.opened(headers) else {
            self.step("steer", "the flow has no entry of its own".to_owned());
            return;
        };
        let valid = maps
            .backend(entry.backend)
            .is_some_and(|backend| backend.state & state::UP != 0 && backend.generation == entry.generation);
        let note = if valid { "" } else { ", void: that server is down or gone" };
        self.step("steer", format!("the flow has an entry for backend {}{note}", entry.backend));
        self.flow = Some(FlowFacts { backend: entry.backend, generation: entry.generation, valid });
    }

    /// Adds the steps of an outcome.
    fn describe(&mut self, packet: &'static str) {
        let outcome = if packet == "established" { self.established.clone() } else { Some(self.opening.clone()) };
        let Some(outcome) = outcome else { return };
        let of = if self.established.is_some() { "an established connection: " } else { "" };
        let Some(backend) = &outcome.backend else {
            self.step("steer", format!("{of}{}", outcome.sentence()));
            return;
        };
        let health = if backend.up { "up" } else { "down" };
        let why = outcome.chosen.unwrap_or_default();
        self.step("steer", format!("{of}{why}: entry {}, server {}, {health}", backend.index, backend.address));
        let becomes = match (&backend.rewritten, backend.outer_source) {
            (Some(rewritten), _) => Some(format!("translated to {rewritten}")),
            (None, Some(source)) => Some(format!("outer header {source} → {}", backend.address)),
            (None, None) if outcome.action == "forward" => Some("the packet as it is".to_owned()),
            (None, None) => None,
        };
        match (&backend.next_hop, becomes) {
            (Some(hop), Some(becomes)) => {
                self.step("forward", format!("{becomes}, packets up to {} bytes", hop.largest_packet));
                let vlans: Vec<String> = hop.vlans.iter().map(|vlan| format!(", VLAN {vlan}")).collect();
                self.step("transmit", format!("interface {} to {}{}", hop.ifindex, hop.mac, vlans.concat()));
            }
            _ => self.step("forward", outcome.sentence()),
        }
    }
}

/// The live maps as steering reads them. What could not be read is kept.
struct Maps<'a> {
    dataplane: &'a dyn Dataplane,
    failed: RefCell<Option<DataplaneError>>,
}

impl Maps<'_> {
    fn read<T>(&self, result: Result<Option<T>, DataplaneError>) -> Option<T> {
        match result {
            Ok(value) => value,
            // The kernel finds nothing there, either.
            Err(DataplaneError::OutOfRange { .. }) => None,
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

impl Tables for Maps<'_> {
    type Backend = BackendEntry;

    fn slot(&self, index: u32) -> Option<Slot> {
        self.read(self.dataplane.slot(index).map(Some))
    }

    fn backend(&self, index: u32) -> Option<BackendEntry> {
        self.read(self.dataplane.backend(index))
    }

    fn opened(&self, headers: &Headers) -> Option<FlowEntry> {
        self.read(self.dataplane.flow(&headers.flow_key()))
    }

    fn pinned(&self, _: &Headers) -> Option<FlowEntry> {
        None
    }
}
