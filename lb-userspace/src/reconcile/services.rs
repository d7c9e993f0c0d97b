//! Published services: ids, tables, and when their moving slots settle.

use std::collections::{BTreeMap, BTreeSet};

use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use lb_common::abi::protection::Rate;
use lb_common::abi::service::{flags, kind};
use lb_common::abi::{ProtectionEntry, ServiceKey, address_of, ip_of};

use super::moves::Table;
use crate::dataplane::ObservedService;
use crate::model::{EmptyPool, Forwarding, PrefixV6, Protocol, Quic, RateLimits};
use crate::plan::{PlannedService, ServiceAddress};

/// The key of a service in the maps.
#[must_use]
pub fn key_of(service: &ServiceAddress) -> ServiceKey {
    ServiceKey {
        address: address_of(service.address),
        port: service.port.to_be_bytes(),
        protocol: service.protocol.number(),
        kind: if service.is_range { kind::RANGE } else { kind::PORT },
        pad: [0; 4],
    }
}

/// The service of a key; `None` for a key that no plan can have.
#[must_use]
pub fn address_of_key(key: &ServiceKey) -> Option<ServiceAddress> {
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|protocol| protocol.number() == key.protocol)?;
    let port = u16::from_be_bytes(key.port);
    let address = ServiceAddress { address: ip_of(key.address), port, protocol, is_range: key.kind == kind::RANGE };
    (key_of(&address) == *key).then_some(address)
}

/// The key as people read it.
pub(super) fn shown(key: &ServiceKey) -> String {
    address_of_key(key).map_or_else(|| format!("{key:?}"), |address| address.to_string())
}

/// `flags` of a service's entry.
pub(super) fn flags_of(key: &ServiceKey, planned: &PlannedService) -> u32 {
    let range = if key.kind == kind::RANGE { flags::RANGE } else { 0 };
    let reject = if planned.on_empty == EmptyPool::Reject { flags::EMPTY_REJECT } else { 0 };
    let affinity = planned.source_affinity.map_or(0, |prefix| {
        flags::SOURCE_AFFINITY | u32::from(PrefixV6::WHOLE.bits() - prefix.bits()) << flags::HOST_BITS_SHIFT
    });
    let quarantine = if planned.quarantined { flags::QUARANTINED } else { 0 };
    let access = if planned.access.is_some() { flags::ACL } else { 0 };
    let limits = if planned.limits.is_limited() { flags::LIMITED } else { 0 };
    let forwarding = match planned.forwarding {
        Forwarding::Nat => flags::NAT,
        Forwarding::Ipip => 0,
        Forwarding::L2 => flags::L2,
        Forwarding::Gue => flags::GUE,
    };
    let quic = planned.quic.map_or(0, |quic| {
        let (config, len) = (Quic::config_of(Some(quic)), Quic::length_of(Some(quic)));
        flags::QUIC | u32::from(config) << flags::QUIC_CONFIG_SHIFT | u32::from(len) << flags::QUIC_LEN_SHIFT
    });
    quic | range | reject | affinity | quarantine | access | limits | forwarding
}

/// Limits of a service, and the number of its access list; 0 for none.
pub(super) fn protection_of(planned: &PlannedService, acl: u32) -> ProtectionEntry {
    let RateLimits { connections_per_source, connections, packets } = planned.limits;
    ProtectionEntry {
        acl,
        pad: 0,
        source: Rate::per_second(connections_per_source),
        connections: Rate::per_second(connections),
        packets: Rate::per_second(packets),
    }
}

/// The services that the map holds, as last written or observed.
#[derive(Debug)]
pub(super) struct Services {
    capacity: u32,
    pub(super) held: BTreeMap<ServiceKey, HeldService>,
    ids: BTreeSet<u32>,
    next_id: u32,
    settling: BTreeSet<(Timestamp, ServiceKey)>,
    /// How many slots have exceptions, of services without a moving one; only those that have any.
    pub(super) marked: BTreeMap<ServiceKey, usize>,
    /// Flows may have entries that no slot is looked up for: somebody else wrote the maps, or a table with marks was given
    /// up for one without.
    pub(super) has_leftovers: bool,
    /// For metrics and reports.
    pub(super) directory: OrdMap<u32, ServiceAddress>,
    /// Those that the map holds exactly as they were last written.
    pub(super) programmed: OrdSet<ServiceAddress>,
}

/// A service in the map.
#[derive(Clone, Debug)]
pub(super) struct HeldService {
    pub(super) id: u32,
    pub(super) flags: u32,
    pub(super) protection: ProtectionEntry,
    pub(super) generation: u64,
    pub(super) table: Table,
    /// Backend indexes that were counted for this table.
    pub(super) references: Vec<u32>,
    /// The map holds exactly this.
    pub(super) in_map: bool,
    /// When its moving slots settle.
    pub(super) settles_at: Option<Timestamp>,
}

impl HeldService {
    /// Whether the map holds exactly this.
    pub(super) fn is(&self, observed: &ObservedService) -> bool {
        let entry = &observed.entry;
        (entry.id, entry.flags, entry.generation) == (self.id, self.flags, self.generation)
            && observed.protection == self.protection
            && entry.slots_len as usize == self.table.slots.len()
            && entry.previous_len as usize == self.table.previous.len()
            && *observed.slots == *self.table.slots
            && *observed.previous == *self.table.previous
    }
}

impl Services {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            held: BTreeMap::new(),
            ids: BTreeSet::new(),
            next_id: 0,
            settling: BTreeSet::new(),
            marked: BTreeMap::new(),
            has_leftovers: true,
            directory: OrdMap::new(),
            programmed: OrdSet::new(),
        }
    }

    /// Takes over a service that somebody else wrote. Returns the backend indexes it refers to.
    pub(super) fn adopt(&mut self, key: ServiceKey, observed: &ObservedService, settles_at: Timestamp) -> Vec<u32> {
        let found = Table { slots: observed.slots.as_slice().into(), previous: observed.previous.as_slice().into() };
        let table = found.sane();
        let references = found.references();
        let entry = &observed.entry;
        let id = if entry.id < self.capacity && self.ids.insert(entry.id) { Some(entry.id) } else { self.take_id() };
        let mut held = HeldService {
            id: id.unwrap_or(u32::MAX),
            flags: entry.flags,
            protection: observed.protection,
            generation: entry.generation,
            settles_at: table.is_moving().then_some(settles_at),
            table,
            references: references.clone(),
            in_map: true,
        };
        held.in_map = held.is(observed);
        self.put(key, held);
        references
    }

    /// A table of a later generation than the ledger's, which was restored on purpose: it is written again as the ledger has
    /// it.
    pub(super) fn yield_to(&mut self, generation: u64, key: &ServiceKey) {
        if let Some(held) = self.held.get_mut(key).filter(|held| held.generation > generation) {
            held.generation = generation;
            self.lost(key);
        }
    }

    /// Notes what the map holds from now on.
    pub(super) fn put(&mut self, key: ServiceKey, held: HeldService) {
        self.forget_settling(&key);
        if let Some(before) = self.held.get(&key).filter(|before| before.id != held.id) {
            self.directory.remove(&before.id);
        }
        if let Some(at) = held.settles_at {
            self.settling.insert((at, key));
        }
        let had_marks = self.marked.contains_key(&key) || self.held.get(&key).is_some_and(|it| it.table.is_moving());
        match held.table.marked() {
            0 => drop(self.marked.remove(&key)),
            slots => drop(self.marked.insert(key, slots)),
        }
        self.has_leftovers |= had_marks && !held.table.is_moving() && !self.marked.contains_key(&key);
        if let Some(address) = address_of_key(&key) {
            self.directory.insert(held.id, address);
            if held.in_map {
                self.programmed.insert(address);
            } else {
                self.programmed.remove(&address);
            }
        }
        self.held.insert(key, held);
    }

    /// The service is gone from the map.
    pub(super) fn remove(&mut self, key: &ServiceKey) -> Option<HeldService> {
        self.forget_settling(key);
        let held = self.held.remove(key)?;
        self.has_leftovers |= self.marked.remove(key).is_some() || held.table.is_moving();
        self.give_back_id(held.id);
        if let Some(address) = address_of_key(key) {
            self.programmed.remove(&address);
        }
        Some(held)
    }

    /// Somebody altered or deleted it in the map.
    pub(super) fn lost(&mut self, key: &ServiceKey) {
        if let Some(held) = self.held.get_mut(key) {
            held.in_map = false;
        }
        if let Some(address) = address_of_key(key) {
            self.programmed.remove(&address);
        }
    }

    /// An id that no service has; `None` when there is none. Ids are reused as late as possible: counters go by them.
    pub(super) fn take_id(&mut self) -> Option<u32> {
        for _ in 0..=self.ids.len() {
            let id = self.next_id % self.capacity.max(1);
            self.next_id = id + 1;
            if id < self.capacity && self.ids.insert(id) {
                return Some(id);
            }
        }
        None
    }

    pub(super) fn give_back_id(&mut self, id: u32) {
        self.ids.remove(&id);
        self.directory.remove(&id);
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Services whose moving slots settle now.
    pub(super) fn settling(&self, now: Timestamp) -> Vec<ServiceKey> {
        self.settling.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key).collect()
    }

    pub(super) fn next_change(&self) -> Option<Timestamp> {
        self.settling.first().map(|(at, _)| *at)
    }

    fn forget_settling(&mut self, key: &ServiceKey) {
        if let Some(at) = self.held.get(key).and_then(|held| held.settles_at) {
            self.settling.remove(&(at, *key));
        }
    }
}
