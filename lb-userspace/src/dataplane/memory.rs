//! The maps in memory: for tests, and for what-if runs without a kernel.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{
    AclKey, AclPrefix, Address, BackendEntry, ConfigEntry, FlowEntry, FlowKey, NatFlow, ProtectionEntry, QuicKey,
    RangeEntry, RangeKey, ServiceEntry, ServiceKey, Slot, VipEntry, limits, services_map,
};

use super::{
    Attachment, Counters, Dataplane, DataplaneError, FlowCursor, FlowTable, Lineage, Lookup, NatSources, Observed,
    ObservedService, Publish, TrackedFlow, reads_protection, tracked,
};

/// A data plane without a kernel. Tables stand in an arena of ranges, as they do in `SLOTS`.
#[derive(Default)]
pub struct MemoryDataplane {
    contents: Contents,
    arena: Arena,
    writes: u64,
    after_write: Option<Check>,
}

type Check = Box<dyn FnMut(&Contents) + Send>;

/// What the maps hold. Tests alter it behind the reconciler's back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// `CONFIG`.
    pub config: Option<ConfigEntry>,
    /// `EGRESS`.
    pub egress: BTreeSet<u32>,
    /// `SERVICES_V4` and `SERVICES_V6`.
    pub services: BTreeMap<ServiceKey, ServiceEntry>,
    /// `SLOTS`, as far as it was ever used.
    pub slots: Vec<Slot>,
    /// `PROTECTION`, of services that read it.
    pub protection: BTreeMap<u32, ProtectionEntry>,
    /// `VIPS`.
    pub vips: BTreeMap<Address, VipEntry>,
    /// `RANGES`.
    pub ranges: BTreeMap<RangeKey, RangeEntry>,
    /// `QUIC_SERVERS`.
    pub quic: BTreeMap<QuicKey, FlowEntry>,
    /// `ACL`.
    pub acl: BTreeMap<AclKey, u32>,
    /// `NAT_SOURCES` and `NAT_POOL`.
    pub nat_sources: NatSources,
    /// `NAT_INDEX` and `NAT_FLOWS`.
    pub nat_flows: BTreeMap<FlowKey, NatFlow>,
    /// `BACKENDS`, entries in use.
    pub backends: BTreeMap<u32, BackendEntry>,
    /// `FLOWS_PINNED`.
    pub pinned: BTreeMap<FlowKey, FlowEntry>,
    /// `FLOWS_OPENED`.
    pub opened: BTreeMap<FlowKey, FlowEntry>,
    /// The flows' clock ([`lb_common::nat::lifetime::tick`]); it stands still unless a test moves it.
    pub tick: u32,
    /// What was noted of the ledger.
    pub lineage: Lineage,
    /// Where the program is attached.
    pub attachments: Vec<Attachment>,
}

impl Contents {
    /// Slots `offset..offset + len`; empty when they are outside the arena.
    #[must_use]
    pub fn range(&self, offset: u32, len: u32) -> &[Slot] {
        let (offset, len) = (offset as usize, len as usize);
        offset.checked_add(len).and_then(|end| self.slots.get(offset..end)).unwrap_or(&[])
    }
}

impl std::fmt::Debug for MemoryDataplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { contents, arena, writes, after_write: _ } = self;
        let mut debug = f.debug_struct("MemoryDataplane");
        debug.field("contents", contents).field("arena", arena).field("writes", writes).finish_non_exhaustive()
    }
}

impl MemoryDataplane {
    /// An empty data plane of the default sizes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the maps hold.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The same, to tamper with: these are not the reconciler's writes.
    pub const fn contents_mut(&mut self) -> &mut Contents {
        &mut self.contents
    }

    /// Writes since the start.
    #[must_use]
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    /// Calls `check` after every single write from now on.
    pub fn after_each_write(&mut self, check: impl FnMut(&Contents) + Send + 'static) {
        self.after_write = Some(Box::new(check));
    }

    fn written(&mut self) {
        self.writes += 1;
        if let Some(check) = &mut self.after_write {
            check(&self.contents);
        }
    }

    fn flows_mut(&mut self, table: FlowTable) -> &mut BTreeMap<FlowKey, FlowEntry> {
        match table {
            FlowTable::Opened => &mut self.contents.opened,
            FlowTable::Pinned => &mut self.contents.pinned,
        }
    }

    /// The slots of a service, if they are its own.
    fn own(&self, key: &ServiceKey, offset: u32, len: u32) -> Vec<Slot> {
        let is_own = self.arena.owned.get(key).is_some_and(|&(start, size)| {
            start <= offset && u64::from(offset) + u64::from(len) <= u64::from(start) + u64::from(size)
        });
        if is_own { self.contents.range(offset, len).to_vec() } else { Vec::new() }
    }
}

impl Lookup for MemoryDataplane {
    fn service(&self, key: &ServiceKey) -> Result<Option<ServiceEntry>, DataplaneError> {
        Ok(self.contents.services.get(key).copied())
    }

    fn range(&self, key: &RangeKey) -> Result<Option<RangeEntry>, DataplaneError> {
        let found = self.contents.ranges.iter().filter(|(prefix, _)| prefix.contains(key));
        Ok(found.max_by_key(|(prefix, _)| prefix.prefix_len).map(|(_, entry)| *entry))
    }

    fn quic_server(&self, key: &QuicKey) -> Result<Option<FlowEntry>, DataplaneError> {
        Ok(self.contents.quic.get(key).copied())
    }

    fn slot(&self, index: u32) -> Result<Slot, DataplaneError> {
        if index >= limits::MAX_SLOTS {
            return Err(DataplaneError::OutOfRange { map: "SLOTS", index, capacity: limits::MAX_SLOTS });
        }
        Ok(self.contents.slots.get(index as usize).copied().unwrap_or(Slot(0)))
    }

    fn backend(&self, index: u32) -> Result<Option<BackendEntry>, DataplaneError> {
        check_backend(index)?;
        Ok(self.contents.backends.get(&index).copied())
    }

    fn config(&self) -> Result<Option<ConfigEntry>, DataplaneError> {
        Ok(self.contents.config)
    }

    fn pinned(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        Ok(self.contents.pinned.get(key).copied())
    }

    fn opened(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        Ok(self.contents.opened.get(key).copied())
    }

    fn protection(&self, id: u32) -> Result<ProtectionEntry, DataplaneError> {
        Ok(self.contents.protection.get(&id).copied().unwrap_or_default())
    }

    fn acl(&self, number: u32, address: Address) -> Result<Option<u32>, DataplaneError> {
        let matches = |key: &AclKey| {
            let differing = u128::from_be_bytes(key.address) ^ u128::from_be_bytes(address);
            key.acl == number && differing.leading_zeros() + AclKey::NUMBER_BITS >= key.prefix_len
        };
        let found = self.contents.acl.iter().filter(|(key, _)| matches(key)).max_by_key(|(key, _)| key.prefix_len);
        Ok(found.map(|(_, verdict)| *verdict))
    }

    fn nat_flow(&self, key: &FlowKey) -> Result<Option<(NatFlow, u32)>, DataplaneError> {
        // Here time stands still: every flow has been seen just now.
        Ok(self.contents.nat_flows.get(key).map(|flow| (*flow, flow.seen)))
    }

    fn vip(&self, address: &Address) -> Result<Option<VipEntry>, DataplaneError> {
        Ok(self.contents.vips.get(address).copied())
    }

    fn nat_place(&self, source: &Address, port: u16) -> Result<Option<NatFlow>, DataplaneError> {
        let stands = |flow: &&NatFlow| flow.source == *source && flow.ports[0] == port.to_be_bytes();
        Ok(self.contents.nat_flows.values().find(stands).copied())
    }

    fn is_nat_source(&self, address: &Address) -> Result<bool, DataplaneError> {
        Ok(self.contents.nat_sources.known.contains_key(address))
    }

    fn has_egress(&self, ifindex: u32) -> Result<bool, DataplaneError> {
        Ok(self.contents.egress.contains(&ifindex))
    }

    fn attachments(&self) -> Vec<Attachment> {
        self.contents.attachments.clone()
    }
}

impl Dataplane for MemoryDataplane {
    fn observe(&mut self) -> Result<Observed, DataplaneError> {
        let services = self.contents.services.iter().map(|(key, &entry)| {
            let slots = self.own(key, entry.slots_offset, entry.slots_len);
            let previous = self.own(key, entry.previous_offset, entry.previous_len);
            let protection = if reads_protection(entry.flags) { self.contents.protection.get(&entry.id) } else { None };
            (*key, ObservedService { entry, slots, previous, protection: protection.copied().unwrap_or_default() })
        });
        let mut acls: BTreeMap<u32, Vec<AclPrefix>> = BTreeMap::new();
        for (key, verdict) in &self.contents.acl {
            acls.entry(key.acl).or_default().extend(AclPrefix::of(key, *verdict));
        }
        acls.values_mut().for_each(|lines| lines.sort_unstable());
        Ok(Observed {
            config: self.contents.config,
            egress: self.contents.egress.clone(),
            services: services.collect(),
            vips: self.contents.vips.clone(),
            ranges: self.contents.ranges.clone(),
            quic: self.contents.quic.clone(),
            acls,
            backends: self.contents.backends.clone(),
            nat_sources: self.contents.nat_sources.clone(),
        })
    }

    fn set_config(&mut self, config: &ConfigEntry) -> Result<(), DataplaneError> {
        self.contents.config = Some(*config);
        self.written();
        Ok(())
    }

    fn set_egress(&mut self, interfaces: &BTreeSet<u32>) -> Result<(), DataplaneError> {
        self.contents.egress.clone_from(interfaces);
        self.written();
        Ok(())
    }

    fn set_nat_sources(&mut self, sources: &NatSources) -> Result<(), DataplaneError> {
        self.contents.nat_sources.clone_from(sources);
        self.written();
        Ok(())
    }

    fn write_backend(&mut self, index: u32, entry: &BackendEntry) -> Result<(), DataplaneError> {
        check_backend(index)?;
        if entry.identity == 0 {
            self.contents.backends.remove(&index);
        } else {
            self.contents.backends.insert(index, *entry);
        }
        self.written();
        Ok(())
    }

    fn write_acl(&mut self, number: u32, before: &[AclPrefix], after: &[AclPrefix]) -> Result<(), DataplaneError> {
        for line in before.iter().filter(|line| !after.contains(line)) {
            self.contents.acl.remove(&line.key(number));
        }
        self.contents.acl.extend(after.iter().map(|line| (line.key(number), line.verdict)));
        self.written();
        Ok(())
    }

    fn publish_service(&mut self, key: &ServiceKey, service: &Publish<'_>) -> Result<(), DataplaneError> {
        if self.contents.services.len() >= limits::MAX_SERVICES as usize && !self.contents.services.contains_key(key) {
            return Err(DataplaneError::Full {
                map: services_map(key),
                capacity: limits::MAX_SERVICES,
                setting: "dataplane.max_services",
            });
        }
        let (slots_len, previous_len) = (service.slots.len() as u32, service.previous.len() as u32);
        let offset = self.arena.take(slots_len + previous_len)?;
        let end = (offset + slots_len + previous_len) as usize;
        if self.contents.slots.len() < end {
            self.contents.slots.resize(end, Slot(0));
        }
        let (start, middle) = (offset as usize, (offset + slots_len) as usize);
        self.contents.slots[start..middle].copy_from_slice(service.slots);
        self.contents.slots[middle..end].copy_from_slice(service.previous);
        let entry = ServiceEntry {
            id: service.id,
            flags: service.flags,
            slots_offset: offset,
            slots_len,
            previous_offset: if previous_len == 0 { 0 } else { offset + slots_len },
            previous_len,
            generation: service.generation,
        };
        if reads_protection(service.flags) {
            self.contents.protection.insert(service.id, service.protection);
        }
        self.contents.services.insert(*key, entry);
        if let Some((offset, len)) = self.arena.owned.insert(*key, (offset, slots_len + previous_len)) {
            self.arena.give_back(offset, len);
        }
        self.written();
        Ok(())
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), DataplaneError> {
        self.contents.services.remove(key);
        if let Some((offset, len)) = self.arena.owned.remove(key) {
            self.arena.give_back(offset, len);
        }
        self.written();
        Ok(())
    }

    fn write_vip(&mut self, address: &Address, entry: Option<&VipEntry>) -> Result<(), DataplaneError> {
        match entry {
            Some(entry) => self.contents.vips.insert(*address, *entry),
            None => self.contents.vips.remove(address),
        };
        self.written();
        Ok(())
    }

    fn write_range(&mut self, key: &RangeKey, entry: Option<&RangeEntry>) -> Result<(), DataplaneError> {
        match entry {
            Some(entry) => self.contents.ranges.insert(*key, *entry),
            None => self.contents.ranges.remove(key),
        };
        self.written();
        Ok(())
    }

    fn write_quic_server(&mut self, key: &QuicKey, entry: Option<&FlowEntry>) -> Result<(), DataplaneError> {
        match entry {
            Some(entry) => self.contents.quic.insert(*key, *entry),
            None => self.contents.quic.remove(key),
        };
        self.written();
        Ok(())
    }

    fn read_flows(&mut self, cursor: &mut FlowCursor) -> Result<Vec<TrackedFlow>, DataplaneError> {
        let mut flows = Vec::new();
        while let Some((table, _)) = cursor.place() {
            let entries = self.flows_mut(table).clone();
            let now = self.contents.tick;
            flows.extend(entries.into_iter().map(|(key, entry)| tracked::told(table, key, entry, now)));
            *cursor = FlowCursor::behind(table);
        }
        Ok(flows)
    }

    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey) -> Result<(), DataplaneError> {
        self.flows_mut(table).remove(key);
        self.written();
        Ok(())
    }

    fn set_lineage(&mut self, lineage: &Lineage) -> Result<(), DataplaneError> {
        self.contents.lineage.clone_from(lineage);
        Ok(())
    }

    fn counters(&mut self) -> Result<Counters, DataplaneError> {
        Ok(Counters::default())
    }
}

fn check_backend(index: u32) -> Result<(), DataplaneError> {
    if index < limits::MAX_BACKENDS {
        Ok(())
    } else {
        Err(DataplaneError::OutOfRange { map: "BACKENDS", index, capacity: limits::MAX_BACKENDS })
    }
}

/// Which parts of `SLOTS` are in use.
#[derive(Debug, Default)]
struct Arena {
    /// The range of each service: offset and length.
    owned: BTreeMap<ServiceKey, (u32, u32)>,
    /// Ranges that were given back: offset and length; neighbours are joined.
    free: BTreeMap<u32, u32>,
    /// Everything from here on was never used.
    end: u32,
}

impl Arena {
    fn take(&mut self, len: u32) -> Result<u32, DataplaneError> {
        let fitting = self.free.iter().find(|(_, size)| **size >= len).map(|(offset, size)| (*offset, *size));
        if let Some((offset, size)) = fitting {
            self.free.remove(&offset);
            if size > len {
                self.free.insert(offset + len, size - len);
            }
            return Ok(offset);
        }
        if limits::MAX_SLOTS - self.end < len {
            return Err(DataplaneError::Full {
                map: "SLOTS",
                capacity: limits::MAX_SLOTS,
                setting: "dataplane.max_slots",
            });
        }
        let offset = self.end;
        self.end += len;
        Ok(offset)
    }

    fn give_back(&mut self, mut offset: u32, mut len: u32) {
        if len == 0 {
            return;
        }
        if let Some(after) = self.free.remove(&(offset + len)) {
            len += after;
        }
        if let Some((&before, &size)) = self.free.range(..offset).next_back()
            && before + size == offset
        {
            offset = before;
            len += size;
        }
        self.free.insert(offset, len);
    }
}
