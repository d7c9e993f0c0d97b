//! Backend entries: which index belongs to which server, from the first packet to the reuse of the index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use imbl::OrdMap;
use jiff::Timestamp;
use lb_common::abi::backend::{mode, state};
use lb_common::abi::{BackendEntry, address_of};

use super::moves::Standing;
use crate::model::Forwarding;
use crate::plan::{PlannedServer, Resolution, ServerRef, Unresolved};

/// An entry that is not in use.
pub(super) const FREE: BackendEntry = BackendEntry {
    address: [0; 16],
    next_hop_mac: [0; 6],
    vlan_outer: [0; 2],
    source_mac: [0; 6],
    vlan_inner: [0; 2],
    ifindex: 0,
    mtu: 0,
    port: [0; 2],
    mode: 0,
    state: 0,
    pad: [0; 2],
    generation: 0,
    identity: 0,
};

/// Stable identity of a server in a pool: the same on every start of every agent. Never 0.
#[must_use]
pub fn identity(server: ServerRef, port: u16) -> u64 {
    // FNV-1a (Fowler, Noll, Vo), then a finalizer, so that near addresses do not give near numbers.
    let bytes =
        server.backend.as_uuid().into_bytes().into_iter().chain(address_of(server.address)).chain(port.to_be_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (hash ^ (hash >> 32)).max(1)
}

/// What the map should hold, by index, and what is known of it.
#[derive(Debug)]
pub(super) struct Backends {
    capacity: u32,
    grace: Duration,
    held: BTreeMap<u32, HeldBackend>,
    by_identity: HashMap<u64, u32>,
    /// Indexes that were given back.
    free: BTreeSet<u32>,
    /// From here on no index was ever used.
    fresh: u32,
    /// Last generation of each index that was used.
    generations: HashMap<u32, u32>,
    /// How many published services refer to an index.
    references: HashMap<u32, u32>,
    /// Entries that have to be written.
    pub(super) unwritten: BTreeSet<u32>,
    /// Entries whose server is in no pool any more.
    loose: BTreeSet<u32>,
    egress: BTreeMap<u32, u32>,
    /// For metrics and reports.
    pub(super) directory: OrdMap<u32, ServerRef>,
}

#[derive(Clone, Debug)]
struct HeldBackend {
    /// What the map should hold.
    entry: BackendEntry,
    /// The server, while it is in its pool.
    server: Option<ServerRef>,
    /// The map holds this server's entry, perhaps an older one.
    in_map: bool,
    /// Since when neither plan nor tables refer to it.
    idle_since: Option<Timestamp>,
    /// Interface counted in `egress`; 0 is none.
    egress: u32,
}

/// No index is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    pub(super) capacity: u32,
}

impl Backends {
    pub(super) fn new(capacity: u32, grace: Duration) -> Self {
        Self {
            capacity,
            grace,
            held: BTreeMap::new(),
            by_identity: HashMap::new(),
            free: BTreeSet::new(),
            fresh: 0,
            generations: HashMap::new(),
            references: HashMap::new(),
            unwritten: BTreeSet::new(),
            loose: BTreeSet::new(),
            egress: BTreeMap::new(),
            directory: OrdMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Takes over an entry that somebody else wrote. It stays loose until [`Backends::want`] asks for its server.
    pub(super) fn adopt(&mut self, index: u32, entry: BackendEntry) {
        while self.fresh <= index && self.fresh < self.capacity {
            self.free.insert(self.fresh);
            self.fresh += 1;
        }
        self.free.remove(&index);
        self.by_identity.entry(entry.identity).or_insert(index);
        self.loose.insert(index);
        self.held.insert(index, HeldBackend { entry, server: None, in_map: true, idle_since: None, egress: 0 });
    }

    /// A server is in a pool: it has an index from now on, and its entry is what it should be.
    pub(super) fn want(&mut self, server: ServerRef, planned: &PlannedServer, now: Timestamp) -> Result<(), Exhausted> {
        let identity = identity(server, planned.port);
        let index = match self.by_identity.get(&identity) {
            Some(&index) => index,
            None => self.allocate(identity, now)?,
        };
        self.loose.remove(&index);
        self.directory.insert(index, server);
        let Some(held) = self.held.get_mut(&index) else { return Ok(()) };
        held.server = Some(server);
        held.idle_since = None;
        let mut entry = entry(server, planned, identity, held.entry.generation);
        if planned.next_hop == Resolution::Unresolved(Unresolved::Pending) {
            // Not asked yet, as after a start: the way it had serves on until the answer is known.
            keep_way(&mut entry, &held.entry);
        }
        if held.entry != entry {
            held.entry = entry;
            self.unwritten.insert(index);
        }
        let before = std::mem::replace(&mut held.egress, entry.ifindex);
        if before != entry.ifindex {
            self.count_egress(entry.ifindex);
            self.discount_egress(before);
        }
        Ok(())
    }

    /// A server left its pool. Its entry stays until no table refers to it. Returns its index.
    pub(super) fn release(&mut self, server: ServerRef, port: u16) -> Option<u32> {
        let index = *self.by_identity.get(&identity(server, port))?;
        self.held.get_mut(&index)?.server = None;
        self.loose.insert(index);
        self.directory.remove(&index);
        Some(index)
    }

    /// Index of a server, if the map holds its entry.
    pub(super) fn index_in_map(&self, server: ServerRef, port: u16) -> Option<u32> {
        let index = *self.by_identity.get(&identity(server, port))?;
        self.held.get(&index).filter(|held| held.in_map).map(|_| index)
    }

    pub(super) fn standing(&self, index: u32) -> Standing {
        match self.held.get(&index) {
            Some(HeldBackend { server: Some(_), entry, .. }) if entry.state & state::UP != 0 => Standing::Up,
            Some(HeldBackend { server: Some(_), .. }) => Standing::Down,
            _ => Standing::Gone,
        }
    }

    /// What the map should hold at an index.
    pub(super) fn entry(&self, index: u32) -> Option<&BackendEntry> {
        self.held.get(&index).map(|held| &held.entry)
    }

    /// The map holds what it should at an index.
    pub(super) fn written(&mut self, index: u32) {
        self.unwritten.remove(&index);
        if let Some(held) = self.held.get_mut(&index) {
            held.in_map = true;
        }
    }

    /// Indexes that are believed to be in the map as they should be.
    pub(super) fn settled(&self) -> impl Iterator<Item = (u32, &BackendEntry)> {
        self.held
            .iter()
            .filter(|(index, held)| held.in_map && !self.unwritten.contains(index))
            .map(|(index, held)| (*index, &held.entry))
    }

    pub(super) fn is_held(&self, index: u32) -> bool {
        self.held.contains_key(&index)
    }

    /// The map was found to hold something else.
    pub(super) fn mark_altered(&mut self, index: u32, is_same_server: bool) {
        self.unwritten.insert(index);
        if let Some(held) = self.held.get_mut(&index) {
            held.in_map = is_same_server;
        }
    }

    /// Counts a published table's references.
    pub(super) fn refer(&mut self, indexes: &[u32]) {
        for index in indexes {
            *self.references.entry(*index).or_default() += 1;
        }
    }

    /// The table is published no more.
    pub(super) fn unrefer(&mut self, indexes: &[u32]) {
        for index in indexes {
            if let Some(count) = self.references.get_mut(index) {
                *count -= 1;
                if *count == 0 {
                    self.references.remove(index);
                }
            }
        }
    }

    /// Entries of servers that left while still marked as up: their flows end now.
    pub(super) fn end_unreferenced(&mut self) -> Vec<u32> {
        let mut ended = Vec::new();
        for &index in &self.loose {
            if let Some(held) = self.held.get_mut(&index)
                && held.entry.state & state::UP != 0
                && !self.references.contains_key(&index)
            {
                held.entry.state &= !state::UP;
                ended.push(index);
            }
        }
        self.unwritten.extend(&ended);
        ended
    }

    /// Entries that nothing referred to throughout the grace.
    pub(super) fn due_to_free(&mut self, now: Timestamp) -> Vec<u32> {
        let mut due = Vec::new();
        for &index in &self.loose {
            let Some(held) = self.held.get_mut(&index) else { continue };
            if self.references.contains_key(&index) {
                held.idle_since = None;
                continue;
            }
            let since = *held.idle_since.get_or_insert(now);
            if now.duration_since(since).unsigned_abs() >= self.grace {
                due.push(index);
            }
        }
        due
    }

    /// The entry is free in the map; its index may be given away.
    pub(super) fn freed(&mut self, index: u32) {
        let Some(held) = self.held.remove(&index) else { return };
        self.discount_egress(held.egress);
        self.generations.insert(index, held.entry.generation);
        if self.by_identity.get(&held.entry.identity) == Some(&index) {
            self.by_identity.remove(&held.entry.identity);
        }
        self.loose.remove(&index);
        self.unwritten.remove(&index);
        if index < self.capacity {
            self.free.insert(index);
        }
    }

    /// When the next grace ends.
    pub(super) fn next_change(&self) -> Option<Timestamp> {
        let idle = self.loose.iter().filter_map(|index| self.held.get(index)?.idle_since);
        idle.min().map(|since| since.checked_add(self.grace).unwrap_or(Timestamp::MAX))
    }

    /// Interfaces that the entries send from.
    pub(super) fn egress(&self) -> BTreeSet<u32> {
        self.egress.keys().copied().collect()
    }

    fn allocate(&mut self, identity: u64, now: Timestamp) -> Result<u32, Exhausted> {
        let usable = self.free.iter().find(|index| !self.references.contains_key(index)).copied();
        let index = match usable {
            Some(index) => {
                self.free.remove(&index);
                index
            }
            None => {
                while self.references.contains_key(&self.fresh) && self.fresh < self.capacity {
                    self.free.insert(self.fresh);
                    self.fresh += 1;
                }
                if self.fresh >= self.capacity {
                    return Err(Exhausted { capacity: self.capacity });
                }
                self.fresh += 1;
                self.fresh - 1
            }
        };
        // Raised on every reuse, also after a restart that forgot the last one: seconds since 1970 only grow.
        let seconds = u32::try_from(now.as_second()).unwrap_or(0);
        let last = self.generations.get(&index).copied().unwrap_or(0);
        let generation = seconds.max(last.wrapping_add(1)).max(1);
        self.by_identity.insert(identity, index);
        let entry = BackendEntry { generation, ..FREE };
        self.held.insert(index, HeldBackend { entry, server: None, in_map: false, idle_since: None, egress: 0 });
        Ok(index)
    }

    fn count_egress(&mut self, ifindex: u32) {
        if ifindex != 0 {
            *self.egress.entry(ifindex).or_default() += 1;
        }
    }

    fn discount_egress(&mut self, ifindex: u32) {
        if let Some(count) = self.egress.get_mut(&ifindex) {
            *count -= 1;
            if *count == 0 {
                self.egress.remove(&ifindex);
            }
        }
    }
}

/// Gives an entry the way that another of the same server has.
fn keep_way(entry: &mut BackendEntry, known: &BackendEntry) {
    if known.state & state::RESOLVED != 0 && known.address == entry.address {
        entry.state |= state::RESOLVED;
        entry.next_hop_mac = known.next_hop_mac;
        entry.source_mac = known.source_mac;
        entry.ifindex = known.ifindex;
        entry.mtu = known.mtu;
        entry.vlan_outer = known.vlan_outer;
        entry.vlan_inner = known.vlan_inner;
    }
}

/// The entry of a server.
fn entry(server: ServerRef, planned: &PlannedServer, identity: u64, generation: u32) -> BackendEntry {
    let mut entry = BackendEntry {
        address: address_of(server.address),
        port: planned.port.to_be_bytes(),
        mode: match planned.forwarding {
            Forwarding::Nat => mode::NAT,
            Forwarding::Ipip => mode::IPIP,
            Forwarding::L2 => mode::L2,
            Forwarding::Gue => mode::GUE,
        },
        generation,
        identity,
        ..FREE
    };
    if planned.up {
        entry.state |= state::UP;
    }
    if server.address.is_ipv4() {
        entry.state |= state::V4;
    }
    if let Resolution::Resolved(hop) = planned.next_hop {
        entry.state |= state::RESOLVED;
        entry.next_hop_mac = hop.mac;
        entry.source_mac = hop.source_mac;
        entry.ifindex = hop.ifindex;
        entry.mtu = hop.mtu;
        entry.vlan_outer = hop.vlan_outer.to_be_bytes();
        entry.vlan_inner = hop.vlan_inner.to_be_bytes();
    }
    entry
}
