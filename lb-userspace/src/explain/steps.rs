//! The steps of a packet, in words.

use std::net::SocketAddr;

use lb_common::abi::backend::{mode, state};
use lb_common::abi::nat::TICK_SHIFT;
use lb_common::abi::service::flags;
use lb_common::abi::vip::{self, VipEntry};
use lb_common::abi::{BackendEntry, FlowEntry, Reason, ServiceEntry, Slot, ip_of};
use lb_common::encapsulation::{self, gue};
use lb_common::hash::FlowHash;
use lb_common::headers::Headers;
use lb_common::nat::flow::is_live;
use lb_common::nat::lifetime::{self, Phase};
use lb_common::steer::Tables as _;

use super::facts::{
    BackendFacts, Explanation, FlowFacts, NatFacts, NextHopFacts, Outcome, ServiceFacts, SlotFacts, Step,
};
use super::packet::{Action, Chosen, Made};
use super::{Maps, headers};
use crate::dataplane::reads_protection;
use crate::plan::ServiceAddress;
use crate::reconcile::key_of;

impl Explanation {
    pub(super) fn step(&mut self, stage: &'static str, what: String) {
        self.steps.push(Step { stage, what });
    }

    pub(super) fn sentence(&self) -> String {
        match &self.established {
            None => format!("packets go: {}", self.opening.sentence()),
            Some(established) => {
                format!("new connections go: {}; established ones: {}", self.opening.sentence(), established.sentence())
            }
        }
    }

    /// No service has the packet: what its address does with it.
    pub(super) fn nobody(&mut self, service: ServiceAddress, vip: Option<VipEntry>) {
        let Some(vip) = vip else {
            self.step("service", format!("{service} is not in the maps: packets go up to this machine's own stack"));
            return;
        };
        let what = match vip.flags {
            flags if flags & vip::flags::QUARANTINED != 0 => "is quarantined",
            flags if flags & vip::flags::REJECT != 0 => "answers for closed ports",
            _ => "is silent about closed ports",
        };
        self.step("service", format!("{service} is not in the maps; its address is ours and {what}"));
    }

    /// The service of a port: its own, or that of the range it is in.
    pub(super) fn find(&mut self, maps: &Maps<'_>, service: ServiceAddress) -> Option<ServiceEntry> {
        let key = key_of(&service);
        if let Some(entry) = maps.service(&key) {
            return Some(entry);
        }
        let (first, entry) = maps.range(&key)?;
        self.step("service", format!("no service has {service} for itself; it is in the range from {first} on"));
        Some(entry)
    }

    pub(super) fn service(&mut self, entry: &ServiceEntry) {
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
    pub(super) fn protection(&mut self, maps: &Maps<'_>, entry: &ServiceEntry, is_refused: bool) {
        if entry.flags & flags::QUARANTINED != 0 {
            self.step("protect", "the service is quarantined: nothing is forwarded".to_owned());
            return;
        }
        if !reads_protection(entry.flags) {
            return;
        }
        let protection = maps.protection(entry.id);
        if entry.flags & flags::ACL != 0 {
            let (list, client) = (protection.acl, self.client.ip());
            let says = if is_refused { "denies" } else { "allows" };
            self.step("protect", format!("access list {list} {says} {client}"));
        }
        if entry.flags & flags::LIMITED == 0 || is_refused {
            return;
        }
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

    pub(super) fn hash(&mut self, hash: FlowHash, entry: &ServiceEntry) {
        self.hash = Some(format!("{:016x}", hash.0));
        let host_bits = entry.flags >> flags::HOST_BITS_SHIFT & flags::HOST_BITS_MASK;
        let over = match (entry.flags & flags::SOURCE_AFFINITY, host_bits) {
            (0, _) => "the full tuple".to_owned(),
            (_, host_bits) if host_bits > 0 && self.client.is_ipv6() => {
                format!("the first {} bits of the source address", 128 - host_bits)
            }
            _ => "the source address".to_owned(),
        };
        self.step("hash", format!("{:016x}, keyed, over {over}", hash.0));
    }

    /// How the packet comes to its server: by a translated flow, by its slot, by an entry.
    pub(super) fn way(&mut self, maps: &Maps<'_>, headers: &Headers, made: &Made, entry: &ServiceEntry) {
        if entry.flags & flags::NAT != 0 {
            self.translated(maps, headers);
        }
        let Some((number, slot)) = made.chosen.as_ref().and_then(|chosen| chosen.slot) else { return };
        self.slot(number, slot, entry);
        if entry.flags & flags::NAT == 0 && slot.0 & (Slot::MOVING | Slot::EXCEPTIONS) != 0 {
            self.flow(maps, headers);
        }
    }

    /// The client's translated flow.
    fn translated(&mut self, maps: &Maps<'_>, headers: &Headers) {
        self.nat = maps.nat_flow(headers, 0).map(|(flow, now)| {
            let [source_port, server_port] = flow.ports.map(u16::from_be_bytes);
            NatFacts {
                source: SocketAddr::new(ip_of(flow.source), source_port),
                server: SocketAddr::new(ip_of(flow.server), server_port),
                phase: Phase::of(&flow).label(),
                idle_seconds: (u64::from(lifetime::age(&flow, now)) << TICK_SHIFT) / 1_000_000_000,
                valid: maps.backend(flow.backend).is_some_and(|backend| is_live(&flow, &backend)),
            }
        });
        let what = match &self.nat {
            Some(NatFacts { source, server, phase, idle_seconds, valid }) => {
                let note = if *valid { "" } else { "; void: that server is down or gone" };
                format!("{phase} for {idle_seconds} s, through {source} to server {server}{note}")
            }
            None => "the client has no flow here".to_owned(),
        };
        self.step("flow", what);
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
        let is_valid = |entry: &FlowEntry| {
            let backend = maps.backend(entry.backend);
            backend.is_some_and(|backend| backend.state & state::UP != 0 && backend.generation == entry.generation)
        };
        // As the program looks: a void entry among the pinned flows hides none among the opened ones.
        let (pinned, opened) = (maps.pinned(headers), maps.opened(headers));
        let Some(entry) = pinned.filter(is_valid).or(opened.filter(is_valid)).or(pinned).or(opened) else {
            self.step("steer", "the flow has no entry of its own".to_owned());
            return;
        };
        let valid = is_valid(&entry);
        let note = if valid { "" } else { ", void: that server is down or gone" };
        self.step("steer", format!("the flow has an entry for backend {}{note}", entry.backend));
        self.flow = Some(FlowFacts { backend: entry.backend, generation: entry.generation, valid });
    }

    /// Adds the steps of an outcome.
    pub(super) fn describe(&mut self, packet: &'static str) {
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

impl Outcome {
    /// Nothing leaves.
    pub(super) const fn nothing(action: Action, reason: Reason) -> Self {
        let (reason, remedy) = (reason.label(), reason.remedy());
        Self { action: action.label(), reason, remedy, chosen: None, backend: None, headers: Vec::new() }
    }

    /// An outcome, beside what it is of.
    pub(super) fn and_made(made: Made) -> (Self, Made) {
        let headers = made.leaves.as_ref().map(|leaves| headers(&leaves.bytes, &leaves.open)).unwrap_or_default();
        let chosen = made.chosen.as_ref().map(|chosen| chosen.why);
        let backend = made.chosen.as_ref().map(BackendFacts::of);
        let mut outcome = Self { chosen, backend, headers, ..Self::nothing(made.action, made.reason) };
        if made.because == Some(Reason::NatUnknownFlow) {
            outcome.remedy = "the edge knows no such connection, and only a SYN opens one";
        }
        (outcome, made)
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

impl Action {
    const fn label(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Answer => "reject",
        }
    }
}

impl BackendFacts {
    fn of(chosen: &Chosen) -> Self {
        let entry = &chosen.backend;
        Self {
            index: chosen.index,
            address: ip_of(entry.address),
            port: chosen.port,
            up: entry.state & state::UP != 0,
            generation: entry.generation,
            next_hop: next_hop(entry),
            outer_source: chosen.outer_source,
            rewritten: chosen.rewritten.clone(),
        }
    }
}

fn next_hop(entry: &BackendEntry) -> Option<NextHopFacts> {
    if entry.state & state::RESOLVED == 0 {
        return None;
    }
    let outer_len = match entry.mode {
        mode::NAT | mode::L2 => 0,
        mode::GUE => gue::overhead(entry),
        _ => encapsulation::outer_len(entry),
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

pub(super) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
