//! The kernel's maps: pinned, adopted by the next agent, written in place.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::abi::{
    AclPrefix, Address, BackendEntry, ConfigEntry, FlowEntry, FlowKey, NatFlow, ProtectionEntry, QuicKey, RangeEntry,
    RangeKey, ServiceEntry, ServiceKey, Slot, VipEntry, names,
};

use lb_common::nat::lifetime;

use crate::config::XdpMode;

use super::anchors::Anchors;
use super::arena::{Arena, Range};
use super::attach::Link;
use super::capture::{Capture, Ground};
use super::counters::KernelCounters;
use super::maps::{Backends, Map, Slots, Table};
use super::nat::Nat;
use super::object::{self, LOAD_BALANCER, Object, Sizes};
use super::pins::{Lock, PinDir, setup};
use super::protections::Protections;
use super::services::Services;
use super::versions::{self, Predecessor};
use super::{
    Attachment, Counters, Dataplane, DataplaneError, FlowCursor, FlowTable, Lineage, Lookup, NatSources, Observed,
    ObservedService, Publish, TrackedFlow, sys, tracked,
};

/// How long a range of slots or a backend index waits after its last use. A packet in flight is done with it after
/// microseconds; this leaves room for a virtual machine that is stopped in the middle of one.
pub const GRACE: Duration = Duration::from_secs(2);

/// The note of the ledger that the maps were made from.
const LINEAGE: &str = "lineage";

/// What the kernel's data plane is opened with.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// Where maps, program and links are pinned; on bpffs.
    pub pin_dir: PathBuf,
    /// Interfaces to attach to.
    pub interfaces: Vec<String>,
    /// Where in the receive path the program runs.
    pub xdp_mode: XdpMode,
    /// Sizes of the maps, in entries.
    pub sizes: Sizes,
}

impl KernelConfig {
    /// The pin directory of this version of the ABI below `dataplane.pin_dir`.
    #[must_use]
    pub fn versioned(pin_dir: &Path) -> PathBuf {
        pin_dir.join(format!("v{}", lb_common::abi::ABI_VERSION))
    }
}

/// The maps of this machine's kernel. Dropping it leaves everything in place.
#[derive(Debug)]
pub struct KernelDataplane {
    config: KernelConfig,
    directory: PinDir,
    _lock: Arc<Lock>,
    program: OwnedFd,
    anchors: Anchors,
    /// The program that runs in its place while somebody watches.
    capturing: Option<OwnedFd>,
    /// By interface; also those of interfaces that are no longer in the configuration.
    links: BTreeMap<String, Link>,
    /// Other versions, which forward until [`Dataplane::take_over`].
    predecessors: Vec<Predecessor>,
    services: Services,
    slots: Slots,
    backends: Backends,
    settings: Table<u32, ConfigEntry>,
    opened: Table<FlowKey, FlowEntry>,
    pinned: Table<FlowKey, FlowEntry>,
    egress: Table<u32, u64>,
    protections: Protections,
    nat: Nat,
    vips: Table<Address, VipEntry>,
    ranges: Table<RangeKey, RangeEntry>,
    quic: Table<QuicKey, FlowEntry>,
    counters: Arc<KernelCounters>,
    arena: Arena,
    /// Ranges of the arena that each service owns: table, and previous owners' table.
    tables: BTreeMap<ServiceKey, [Range; 2]>,
    clock: fn() -> Instant,
}

impl KernelDataplane {
    /// Adopts what is pinned, makes what is not, and attaches to the interfaces.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] with what to do about it.
    pub fn open(config: KernelConfig) -> Result<Self, DataplaneError> {
        Self::open_with(config, &LOAD_BALANCER, Instant::now)
    }

    /// [`KernelDataplane::open`] with another object, and another clock.
    ///
    /// # Errors
    /// As [`KernelDataplane::open`].
    pub fn open_with(config: KernelConfig, object: &Object, clock: fn() -> Instant) -> Result<Self, DataplaneError> {
        let directory = PinDir::create(&config.pin_dir)?;
        let lock = Arc::new(directory.lock()?);
        let before = directory.pins()?;
        let opened = Self::open_in(directory.clone(), Arc::clone(&lock), config, object, clock);
        if opened.is_err() {
            // Nothing stays behind of an agent that could not start; what stood there before does. Pins of links are among
            // it: with them the program comes off again.
            if let Err(error) = directory.back_to(&before) {
                log::error!("what this start pinned cannot be removed: {error}");
            }
        }
        drop(lock);
        opened
    }

    fn open_in(
        directory: PinDir,
        lock: Arc<Lock>,
        config: KernelConfig,
        object: &Object,
        clock: fn() -> Instant,
    ) -> Result<Self, DataplaneError> {
        let predecessors = versions::beside(&config.pin_dir)?;
        let program = object::adopt_or_load(&directory, object, &config.sizes.shapes())?;
        let anchors = Anchors::hold(&directory, &config.sizes.shapes())?;
        let open = |name| Map::open(name, &directory.pin(name));
        let slots = Slots::new(open(names::SLOTS)?)?;
        let mut dataplane = Self {
            program,
            anchors,
            capturing: None,
            links: BTreeMap::new(),
            predecessors,
            services: Services::open(|name| directory.pin(name))?,
            backends: Backends::new(open(names::BACKENDS)?)?,
            settings: Table::new(open(names::CONFIG)?, "")?,
            opened: Table::new(open(names::FLOWS_OPENED)?, "dataplane.max_flows")?,
            pinned: Table::new(open(names::FLOWS_PINNED)?, "dataplane.max_flows")?,
            egress: Table::new(open(names::EGRESS)?, "")?,
            protections: Protections::open(|name| directory.pin(name))?,
            nat: Nat::open(|name| directory.pin(name))?,
            vips: Table::new(open(names::VIPS)?, "dataplane.max_services")?,
            ranges: Table::new(open(names::RANGES)?, "")?,
            quic: Table::new(open(names::QUIC_SERVERS)?, "")?,
            counters: Arc::new(KernelCounters::open(|name| directory.pin(name))?),
            arena: Arena::new(slots.capacity(), GRACE),
            slots,
            tables: BTreeMap::new(),
            config,
            directory,
            _lock: lock,
            clock,
        };
        dataplane.claim_tables()?;
        dataplane.adopt_links()?;
        for done in dataplane.ensure_attached()? {
            log::info!("{done}");
        }
        object::note_current(&dataplane.directory, object)?;
        Ok(dataplane)
    }

    /// Over which maps a program that captures is loaded; takes no time here.
    #[must_use]
    pub fn capture_ground(&self) -> Ground {
        Ground { pin_dir: self.config.pin_dir.clone(), shapes: self.config.sizes.shapes() }
    }

    /// Lets a program that captures run on every interface. No packet is lost: a link's program is swapped between two of
    /// them.
    ///
    /// # Errors
    /// [`DataplaneError`] when the kernel refuses; nothing is captured then.
    pub fn begin_capture(&mut self, capture: &Capture) -> Result<(), DataplaneError> {
        let program = capture.program.try_clone().map_err(|error| {
            setup("keeping the program".to_owned(), "raise the limit of open files".to_owned(), error)
        })?;
        self.capturing = Some(program);
        self.swap_all().inspect_err(|_| {
            if let Err(error) = self.end_capture() {
                log::error!("the program that captures stays on an interface: {error}; it captures nothing any more");
            }
        })
    }

    /// Lets the program that normally runs do so again.
    ///
    /// # Errors
    /// [`DataplaneError`] when the kernel refuses; the reconciler tries again.
    pub fn end_capture(&mut self) -> Result<(), DataplaneError> {
        self.capturing = None;
        self.swap_all()
    }

    fn swap_all(&self) -> Result<(), DataplaneError> {
        let mut failure = None;
        for link in self.links.values() {
            if let Err(error) = link.swap(self.running()) {
                failure = failure.or(Some(error));
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The program that is to run.
    fn running(&self) -> BorrowedFd<'_> {
        self.capturing.as_ref().unwrap_or(&self.program).as_fd()
    }

    /// Which operation of its ledger the maps pinned in a directory hold; `None` when none was noted there.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] when the directory cannot be read.
    pub fn lineage(pin_dir: &Path) -> Result<Option<Lineage>, DataplaneError> {
        let Some(directory) = PinDir::existing(pin_dir)? else { return Ok(None) };
        let noted = directory.noted(LINEAGE);
        Ok(noted.as_deref().and_then(|text| text.split_once(' ')).and_then(|(generation, head)| {
            Some(Lineage { generation: generation.parse().ok()?, head: head.to_owned() })
        }))
    }

    /// Backend entries there is room for.
    #[must_use]
    pub const fn max_backends(&self) -> u32 {
        self.backends.capacity()
    }

    /// The counters, to be read beside the data plane: a scrape holds up no write.
    #[must_use]
    pub fn counter_reader(&self) -> Arc<KernelCounters> {
        Arc::clone(&self.counters)
    }

    /// Slots that could be handed out now or after the grace period.
    #[must_use]
    pub fn available_slots(&self) -> u64 {
        self.arena.available()
    }

    /// The services, read one by one: the slow way, against which the bulk read is tested.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    pub fn services_one_by_one(&self) -> Result<BTreeMap<ServiceKey, ServiceEntry>, DataplaneError> {
        Ok(self.services.all_one_by_one()?.into_iter().collect())
    }

    /// Takes the ranges of the services found in the map. Where two overlap, the first keeps its own; the other is
    /// observed without a table, and so published again.
    fn claim_tables(&mut self) -> Result<(), DataplaneError> {
        let mut services = self.services.all()?;
        services.sort_by_key(|(key, _)| *key);
        for (key, entry) in services {
            let [table, previous] = ranges_of(&entry);
            if !self.arena.claim(table) {
                continue;
            }
            if self.arena.claim(previous) {
                self.tables.insert(key, [table, previous]);
            } else {
                self.arena.cancel(table);
            }
        }
        Ok(())
    }

    fn adopt_links(&mut self) -> Result<(), DataplaneError> {
        for interface in self.directory.links()? {
            let Some(link) = Link::adopt(&interface, &self.directory.link(&interface))? else {
                log::warn!("{interface}: the pinned link was attached to nothing any more");
                continue;
            };
            if link.swap(self.program.as_fd())? {
                log::info!("{interface}: swapped to this version's program");
            }
            if !self.config.interfaces.contains(&interface) {
                log::warn!(
                    "{interface} is no longer in `dataplane.interfaces` but the program stays attached: take it off \
                     with `snowshed detach --iface {interface}`"
                );
            }
            self.links.insert(interface, link);
        }
        Ok(())
    }

    /// What became of one configured interface; `None` when nothing was amiss.
    fn ensure_interface(&mut self, interface: &str) -> Result<Option<String>, DataplaneError> {
        let mut doing = "attached";
        if let Some(link) = self.links.get(interface) {
            if link.ifindex()?.is_some() {
                if !link.is_pinned() {
                    link.pin_again()?;
                    return Ok(Some(format!("{interface}: the link's pin was gone; pinned again")));
                }
                let swapped = link.swap(self.running())?;
                return Ok(swapped.then(|| format!("{interface}: another program ran there; swapped back")));
            }
            doing = "the program had been taken off; attached again";
            if let Some(link) = self.links.remove(interface) {
                link.forget()?;
            }
        }
        if self.predecessors.iter().any(|predecessor| predecessor.holds(interface)) {
            return Ok(None);
        }
        let pin = self.directory.link(interface);
        let link = Link::attach(self.running(), interface, self.config.xdp_mode, &pin)?;
        let mode = link.attachment().map_or_else(String::new, |attachment| format!(" ({} mode)", attachment.mode));
        self.links.insert(interface.to_owned(), link);
        Ok(Some(format!("{interface}: {doing}{mode}")))
    }

    const fn flows(&self, table: FlowTable) -> &Table<FlowKey, FlowEntry> {
        match table {
            FlowTable::Opened => &self.opened,
            FlowTable::Pinned => &self.pinned,
        }
    }

    fn check_service_id(&self, id: u32) -> Result<(), DataplaneError> {
        let capacity = self.counters.services.capacity();
        if id < capacity {
            return Ok(());
        }
        Err(DataplaneError::OutOfRange { map: names::SERVICE_STATS, index: id, capacity })
    }
}

impl Lookup for KernelDataplane {
    fn service(&self, key: &ServiceKey) -> Result<Option<ServiceEntry>, DataplaneError> {
        self.services.get(key)
    }

    fn range(&self, key: &RangeKey) -> Result<Option<RangeEntry>, DataplaneError> {
        self.ranges.get(key)
    }

    fn quic_server(&self, key: &QuicKey) -> Result<Option<FlowEntry>, DataplaneError> {
        self.quic.get(key)
    }

    fn slot(&self, index: u32) -> Result<Slot, DataplaneError> {
        self.slots.get(index)
    }

    fn backend(&self, index: u32) -> Result<Option<BackendEntry>, DataplaneError> {
        self.backends.get(index)
    }

    fn config(&self) -> Result<Option<ConfigEntry>, DataplaneError> {
        Ok(self.settings.get(&0)?.filter(|config| config.abi_version != 0))
    }

    fn pinned(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        self.pinned.get(key)
    }

    fn opened(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        self.opened.get(key)
    }

    fn protection(&self, id: u32) -> Result<ProtectionEntry, DataplaneError> {
        self.protections.get(id)
    }

    fn acl(&self, number: u32, address: Address) -> Result<Option<u32>, DataplaneError> {
        self.protections.acl(number, address)
    }

    fn nat_flow(&self, key: &FlowKey) -> Result<Option<(NatFlow, u32)>, DataplaneError> {
        match self.config()? {
            Some(config) => self.nat.flow(key, config.hash_key),
            None => Ok(None),
        }
    }

    fn vip(&self, address: &Address) -> Result<Option<VipEntry>, DataplaneError> {
        self.vips.get(address)
    }

    fn nat_place(&self, source: &Address, port: u16) -> Result<Option<NatFlow>, DataplaneError> {
        self.nat.place(source, port)
    }

    fn is_nat_source(&self, address: &Address) -> Result<bool, DataplaneError> {
        self.nat.is_source(address)
    }

    fn has_egress(&self, ifindex: u32) -> Result<bool, DataplaneError> {
        Ok(self.egress.keys()?.contains(&ifindex))
    }

    fn attachments(&self) -> Vec<Attachment> {
        let others = self.predecessors.iter().flat_map(Predecessor::attachments);
        self.links.values().filter_map(Link::attachment).chain(others).collect()
    }
}

impl Dataplane for KernelDataplane {
    fn observe(&mut self) -> Result<Observed, DataplaneError> {
        let mut observed = Observed { config: self.config()?, ..Observed::default() };
        observed.egress = self.egress.keys()?.into_iter().collect();
        observed.nat_sources = self.nat.sources()?;
        for (key, entry) in self.services.all()? {
            let [table, previous] = ranges_of(&entry);
            let own = self.tables.get(&key).is_some_and(|ranges| *ranges == [table, previous]);
            let read = |range: Range| if own { self.slots.read(range.offset, range.len) } else { None };
            let (slots, previous) = (read(table).unwrap_or_default(), read(previous).unwrap_or_default());
            let protection = self.protections.of(&entry)?;
            observed.services.insert(key, ObservedService { entry, slots, previous, protection });
        }
        observed.vips = self.vips.all()?.into_iter().collect();
        observed.ranges = self.ranges.all()?.into_iter().collect();
        observed.quic = self.quic.all()?.into_iter().collect();
        observed.acls = self.protections.acls()?;
        for index in 0..self.backends.capacity() {
            if let Some(entry) = self.backends.get(index)? {
                observed.backends.insert(index, entry);
            }
        }
        Ok(observed)
    }

    fn set_config(&mut self, config: &ConfigEntry) -> Result<(), DataplaneError> {
        self.settings.insert(&0, config)
    }

    fn set_egress(&mut self, interfaces: &BTreeSet<u32>) -> Result<(), DataplaneError> {
        let present: BTreeSet<u32> = self.egress.keys()?.into_iter().collect();
        for interface in interfaces.difference(&present) {
            // `struct bpf_devmap_val`: the interface, and no program to run behind it.
            let [i0, i1, i2, i3] = interface.to_ne_bytes();
            self.egress.insert(interface, &u64::from_ne_bytes([i0, i1, i2, i3, 0, 0, 0, 0]))?;
        }
        for interface in present.difference(interfaces) {
            self.egress.remove(interface)?;
        }
        Ok(())
    }

    fn set_nat_sources(&mut self, sources: &NatSources) -> Result<(), DataplaneError> {
        self.nat.set_sources(sources)
    }

    fn write_backend(&mut self, index: u32, entry: &BackendEntry) -> Result<(), DataplaneError> {
        let is_new = self.backends.get(index)?.is_none_or(|before| before.identity != entry.identity);
        if is_new && entry.identity != 0 {
            self.counters.backends.clear(index)?;
        }
        self.backends.set(index, entry)
    }

    fn publish_service(&mut self, key: &ServiceKey, service: &Publish<'_>) -> Result<(), DataplaneError> {
        self.check_service_id(service.id)?;
        if self.services.get(key)?.is_none_or(|before| before.id != service.id) {
            self.counters.services.clear(service.id)?;
        }
        let now = (self.clock)();
        let len_of = |slots: &[Slot]| u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let (slots_len, previous_len) = (len_of(service.slots), len_of(service.previous));
        let Some(range) = self.arena.allocate(slots_len.saturating_add(previous_len), now) else {
            let (map, capacity) = (names::SLOTS, self.arena.capacity());
            return Err(DataplaneError::Full { map, capacity, setting: "dataplane.max_slots" });
        };
        let (table, previous) = range.split_at(slots_len);
        let entry = ServiceEntry {
            id: service.id,
            flags: service.flags,
            slots_offset: table.offset,
            slots_len,
            previous_offset: previous.offset,
            previous_len,
            generation: service.generation,
        };
        let written = self
            .slots
            .write(table.offset, service.slots)
            .and_then(|()| self.slots.write(previous.offset, service.previous))
            .and_then(|()| self.protections.write(&entry, &service.protection))
            .and_then(|()| self.services.insert(key, &entry));
        if let Err(error) = written {
            self.arena.cancel(range);
            return Err(error);
        }
        for old in self.tables.insert(*key, ranges_of(&entry)).into_iter().flatten() {
            self.arena.release(old, now);
        }
        Ok(())
    }

    fn write_acl(&mut self, number: u32, before: &[AclPrefix], after: &[AclPrefix]) -> Result<(), DataplaneError> {
        self.protections.write_acl(number, before, after)
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), DataplaneError> {
        self.services.remove(key)?;
        let now = (self.clock)();
        for old in self.tables.remove(key).into_iter().flatten() {
            self.arena.release(old, now);
        }
        Ok(())
    }

    fn write_vip(&mut self, address: &Address, entry: Option<&VipEntry>) -> Result<(), DataplaneError> {
        match entry {
            Some(entry) => self.vips.insert(address, entry),
            None => self.vips.remove(address).map(drop),
        }
    }

    fn write_range(&mut self, key: &RangeKey, entry: Option<&RangeEntry>) -> Result<(), DataplaneError> {
        match entry {
            Some(entry) => self.ranges.insert(key, entry),
            None => self.ranges.remove(key).map(drop),
        }
    }

    fn write_quic_server(&mut self, key: &QuicKey, entry: Option<&FlowEntry>) -> Result<(), DataplaneError> {
        match entry {
            Some(entry) => self.quic.insert(key, entry),
            None => self.quic.remove(key).map(drop),
        }
    }

    fn read_flows(&mut self, cursor: &mut FlowCursor) -> Result<Vec<TrackedFlow>, DataplaneError> {
        let Some((table, mut place)) = cursor.place() else { return Ok(Vec::new()) };
        let (entries, is_last) = self.flows(table).next(&mut place)?;
        *cursor = if is_last { FlowCursor::behind(table) } else { FlowCursor::At(table, place) };
        let now = lifetime::tick(sys::monotonic_ns());
        Ok(entries.into_iter().map(|(key, entry)| tracked::told(table, key, entry, now)).collect())
    }

    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey) -> Result<(), DataplaneError> {
        self.flows(table).remove(key).map(drop)
    }

    fn set_lineage(&mut self, lineage: &Lineage) -> Result<(), DataplaneError> {
        self.directory.note(LINEAGE, &format!("{} {}", lineage.generation, lineage.head))
    }

    fn counters(&mut self) -> Result<Counters, DataplaneError> {
        self.counters.read()
    }

    fn take_over(&mut self) -> Result<Vec<String>, DataplaneError> {
        let mut done = Vec::new();
        while let Some(predecessor) = self.predecessors.last_mut() {
            let program = self.capturing.as_ref().unwrap_or(&self.program).as_fd();
            predecessor.hand_over(program, &self.directory, &mut self.links)?;
            if let Some(predecessor) = self.predecessors.pop() {
                done.push(predecessor.remove()?);
            }
        }
        Ok(done)
    }

    fn ensure_attached(&mut self) -> Result<Vec<String>, DataplaneError> {
        let (mut done, mut failure) = match self.anchors.ensure() {
            Ok(done) => (done, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        for interface in self.config.interfaces.clone() {
            match self.ensure_interface(&interface) {
                Ok(repair) => done.extend(repair),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(done),
        }
    }
}

fn ranges_of(entry: &ServiceEntry) -> [Range; 2] {
    let range = |offset, len| if len == 0 { Range::default() } else { Range { offset, len } };
    [range(entry.slots_offset, entry.slots_len), range(entry.previous_offset, entry.previous_len)]
}
