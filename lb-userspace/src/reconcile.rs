//! The reconciler: the only writer of the maps. It takes no input: every activation reads the newest snapshot,
//! health and node and what the kernel really holds, and applies the difference in a safe order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use jiff::Timestamp;
use lb_common::abi::{ConfigEntry, ServiceKey, address_of, limits};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::dataplane::{Attachment, Dataplane, Lineage, NatSources};
use crate::faults::Faults;
use crate::health::HealthView;
use crate::ledger::Snapshot;
use crate::model::{Family, Forwarding};
use crate::observe::chain;
use crate::plan::{
    NextHops, Node, PlannedNatSource, PlannedServer, Planner, Resolution, ServerRef, ServiceAddress, Shares, Tables,
    Unresolved,
};

mod access;
mod apply;
mod audit;
mod backends;
mod backlog;
mod hold;
mod moves;
mod nat;
mod quic;
mod ranges;
mod run;
mod services;
mod sweep;
mod takeover;
mod vips;

pub use backends::identity;
pub use backlog::{Backlog, Steering, Waiting, Work};
pub use hold::HoldLimit;
pub use services::{address_of_key, key_of};
pub use takeover::health_left_in;

use access::AccessLists;
use apply::Trouble;
use backends::Backends;
use backlog::Tries;
use hold::Hold;
use quic::QuicServers;
use ranges::Ranges;
use services::Services;
use sweep::Sweep;
use takeover::{LeftDown, Succession};
use vips::Vips;

/// First and longest wait before what failed is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What the reconciler reads, newest value each.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The ledger's snapshots.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What the checkers know.
    pub health: watch::Receiver<Arc<HealthView>>,
    /// The ways to the servers.
    pub next_hops: watch::Receiver<Arc<NextHops>>,
    /// What measuring says of servers.
    pub shares: watch::Receiver<Arc<Shares>>,
}

/// How the reconciler works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What `CONFIG` should hold.
    pub config: ConfigEntry,
    /// Key of the slot tables; the same on every edge of a fleet.
    pub seed: u64,
    /// How long a deleted load balancer keeps forwarding.
    pub delete_grace: Duration,
    /// How long a slot that changed its owner is tracked.
    pub moving_window: Duration,
    /// Time between two readings of everything the maps hold; more when a reading takes longer than a hundredth of it.
    pub audit_interval: Duration,
    /// How long a backend entry that nothing refers to any more is kept before its index is given away.
    pub backend_grace: Duration,
    /// Size of `SERVICES`.
    pub max_services: u32,
    /// Size of `BACKENDS`.
    pub max_backends: u32,
    /// Somebody put a backup in the ledger's place: what the maps hold of later generations is taken over once.
    pub ledger_was_restored: bool,
    /// How many services may leave the maps without an approved plan.
    pub hold: HoldLimit,
    /// What a test took away: nothing otherwise.
    pub faults: Faults,
}

impl Settings {
    /// The defaults, around a configuration that has none.
    #[must_use]
    pub fn new(config: ConfigEntry) -> Self {
        Self {
            config,
            seed: config.hash_key[0] ^ config.hash_key[1],
            delete_grace: Duration::from_secs(15 * 60),
            moving_window: Duration::from_secs(3600),
            audit_interval: Duration::from_secs(1),
            backend_grace: Duration::from_secs(5),
            max_services: limits::MAX_SERVICES,
            max_backends: limits::MAX_BACKENDS,
            hold: HoldLimit::default(),
            faults: Faults::default(),
            ledger_was_restored: false,
        }
    }
}

/// Follows the sources and makes the maps hold what the plan says.
pub struct Reconciler<D> {
    dataplane: D,
    settings: Settings,
    sources: Sources,
    planner: Planner,
    /// The newest snapshot that was seen; an older one is never gone back to.
    snapshot: Arc<Snapshot>,
    /// The health that was last planned with.
    health: Arc<HealthView>,
    /// What the maps should hold.
    tables: Arc<Tables>,
    /// The maps were read once.
    is_adopted: bool,
    /// What the maps hold, as last written or observed; `None` is not known.
    config: Option<ConfigEntry>,
    egress: Option<BTreeSet<u32>>,
    nat_sources: Option<NatSources>,
    backends: Backends,
    services: Services,
    access: AccessLists,
    vips: Vips,
    ranges: Ranges,
    quic: QuicServers,
    left_down: LeftDown,
    succession: Succession,
    hold: Hold,
    sweep: Sweep,
    tries: Tries,
    steering: watch::Receiver<Arc<Steering>>,
    /// Services and servers that have to be looked at.
    dirty: BTreeSet<ServiceKey>,
    dirty_servers: BTreeSet<ServerRef>,
    audit_every: Duration,
    audited_at: Option<Timestamp>,
    /// When the program was last seen to be attached: cheap, and so looked at however long an audit takes.
    attached_at: Option<Timestamp>,
    /// What was last noted of the ledger.
    lineage: Lineage,
    backoff: Duration,
    /// `BACKENDS` had no room for a server, and what there is to say about it.
    no_room: Option<String>,
    unresolved: BTreeMap<ServerRef, Unresolved>,
    empty: BTreeSet<ServiceAddress>,
    /// Services whose flows are translated.
    translated: BTreeSet<ServiceAddress>,
    /// Services of QUIC whose connection ids name servers.
    naming: BTreeSet<ServiceAddress>,
    status: Status,
    publisher: Publisher,
    observer: Option<Arc<dyn Observer>>,
}

struct Publisher {
    status: watch::Sender<Arc<Status>>,
    tables: watch::Sender<Arc<Tables>>,
    directory: watch::Sender<Arc<Directory>>,
    backlog: watch::Sender<Arc<Backlog>>,
}

/// Which service and which server the numbers in the maps mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// By index into `SERVICE_STATS`.
    pub services: OrdMap<u32, ServiceAddress>,
    /// By index into `BACKENDS` and `BACKEND_STATS`.
    pub backends: OrdMap<u32, ServerRef>,
}

/// Who wants to know how long things took.
pub trait Observer: Send + Sync {
    /// An activation ended.
    fn activated(&self, took: Duration, has_failed: bool);

    /// A server's change of health reached the maps this long after the probe that decided it.
    fn health_applied(&self, since_probe: Duration);
}

/// What an activation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation {
    /// When the next one is due, if no source changes before.
    pub next: Timestamp,
    /// How long it took to read everything the maps hold, where that was done.
    pub audited_in: Option<Duration>,
}

impl<D: Dataplane> Reconciler<D> {
    /// A reconciler that has not read anything yet.
    pub fn new(dataplane: D, sources: Sources, settings: Settings) -> Self {
        Self {
            dataplane,
            sources,
            planner: Planner::new(settings.seed, settings.delete_grace),
            snapshot: Arc::default(),
            health: Arc::default(),
            tables: Arc::default(),
            is_adopted: false,
            config: None,
            egress: None,
            nat_sources: None,
            backends: Backends::new(settings.max_backends, settings.backend_grace),
            services: Services::new(settings.max_services),
            access: AccessLists::default(),
            vips: Vips::default(),
            ranges: Ranges::default(),
            quic: QuicServers::default(),
            left_down: LeftDown::default(),
            succession: Succession::default(),
            hold: Hold::default(),
            sweep: Sweep::default(),
            tries: Tries::default(),
            steering: watch::Sender::default().subscribe(),
            dirty: BTreeSet::new(),
            dirty_servers: BTreeSet::new(),
            audit_every: settings.audit_interval,
            audited_at: None,
            attached_at: None,
            lineage: Lineage::default(),
            backoff: BACKOFF.0,
            no_room: None,
            unresolved: BTreeMap::new(),
            empty: BTreeSet::new(),
            translated: BTreeSet::new(),
            naming: BTreeSet::new(),
            status: Status::default(),
            publisher: Publisher {
                status: watch::Sender::default(),
                tables: watch::Sender::default(),
                directory: watch::Sender::default(),
                backlog: watch::Sender::default(),
            },
            observer: None,
            settings,
        }
    }

    /// Tells an observer how long things take.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Remembers in this file what it holds against the ledger: the next agent holds it too.
    #[must_use]
    pub fn remembering(mut self, path: PathBuf) -> Self {
        self.hold = Hold::remembering(path);
        self
    }

    /// Lets it follow what comes first and what is tried again.
    #[must_use]
    pub fn steered_by(mut self, steering: watch::Receiver<Arc<Steering>>) -> Self {
        self.steering = steering;
        self
    }

    /// What the maps hold and do not hold; changes while much is written, and after every activation.
    #[must_use]
    pub fn backlog(&self) -> watch::Receiver<Arc<Backlog>> {
        self.publisher.backlog.subscribe()
    }

    /// What was last done; changes after every activation.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.publisher.status.subscribe()
    }

    /// What the maps should hold: the next-hop watcher follows it.
    #[must_use]
    pub fn tables(&self) -> watch::Receiver<Arc<Tables>> {
        self.publisher.tables.subscribe()
    }

    /// What the numbers in the maps mean: metrics follow it.
    #[must_use]
    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.publisher.directory.subscribe()
    }

    /// Reads the newest of every source, plans, and writes what differs. Reads everything the maps hold at the first
    /// activation and every [`Settings::audit_interval`] from then on.
    pub fn activate(&mut self, now: Timestamp) -> Activation {
        let mut trouble = Trouble::default();
        self.read_sources(now, &mut trouble);
        let steering = Arc::clone(&self.steering.borrow_and_update());
        self.tries.follow(&steering, |address| self.tables.services.get(address).map(|service| service.lb));
        let mut audited_in = None;
        if self.is_adopted {
            // Changes first: they do not wait for the audit.
            self.apply(now, &mut trouble);
        }
        let is_due = |at: Timestamp| now.duration_since(at).unsigned_abs() >= self.audit_every;
        if self.audited_at.is_none_or(is_due) || !self.is_adopted {
            let (is_first, began) = (!self.is_adopted, Instant::now());
            match self.audit(now) {
                Ok(()) => self.audited_at = Some(now),
                Err(error) => trouble.note(|| chain(&error)),
            }
            audited_in = Some(began.elapsed());
            if self.is_adopted {
                if is_first {
                    // What was found tells which servers the agent before held for down.
                    self.read_sources(now, &mut trouble);
                }
                self.apply(now, &mut trouble);
            }
        }
        let is_due = |at: Timestamp| now.duration_since(at).unsigned_abs() >= self.settings.audit_interval;
        if self.is_adopted && self.attached_at.is_none_or(is_due) {
            match self.attach(now) {
                Ok(()) => self.attached_at = Some(now),
                Err(error) => trouble.note(|| chain(&error)),
            }
        }
        self.take_over(now, &mut trouble);
        self.sweep(now, &mut trouble);
        self.note_lineage(&mut trouble);
        let next = self.conclude(now, &trouble);
        Activation { next, audited_in }
    }

    fn read_sources(&mut self, now: Timestamp, trouble: &mut Trouble) {
        let snapshot = Arc::clone(&self.sources.snapshots.borrow_and_update());
        let (seen, offered) = (self.snapshot.generation(), snapshot.generation());
        if offered >= seen {
            self.snapshot = snapshot;
        } else {
            trouble.note(|| {
                format!("the ledger went back from generation {seen} to {offered}: generation {seen} is kept")
            });
        }
        let health = Arc::clone(&self.sources.health.borrow_and_update());
        self.health = self.left_down.complete(health);
        let node = Node {
            next_hops: Arc::clone(&self.sources.next_hops.borrow_and_update()),
            shares: Arc::clone(&self.sources.shares.borrow_and_update()),
        };
        let tables = self.planner.plan(&self.snapshot, &self.health, &node, now);
        if !Arc::ptr_eq(&tables, &self.tables) {
            self.note_differences(&tables);
            self.tables = tables;
            self.publisher.tables.send_replace(Arc::clone(&self.tables));
        }
    }

    /// Notes what has to be looked at to get from the last plan to the next.
    fn note_differences(&mut self, next: &Tables) {
        let last = Arc::clone(&self.tables);
        for difference in last.services.diff(&next.services) {
            let (address, after) = match difference {
                DiffItem::Add(address, after) | DiffItem::Update { new: (address, after), .. } => {
                    (address, Some(after))
                }
                DiffItem::Remove(address, _) => (address, None),
            };
            self.dirty.insert(key_of(address));
            self.tries.at_once(address);
            if address.is_range {
                self.ranges.look_at(address_of(address.address));
            }
            if after.is_some_and(|service| service.forwarding == Forwarding::Nat) {
                self.translated.insert(*address);
            } else {
                self.translated.remove(address);
            }
            if after.is_some_and(|service| service.quic.is_some()) {
                self.naming.insert(*address);
            } else {
                self.naming.remove(address);
            }
            if after.is_some_and(|service| service.slots.is_empty()) {
                self.empty.insert(*address);
            } else {
                self.empty.remove(address);
            }
        }
        for difference in last.vips.diff(&next.vips) {
            match difference {
                DiffItem::Add(address, _)
                | DiffItem::Update { new: (address, _), .. }
                | DiffItem::Remove(address, _) => {
                    self.vips.look_at(*address);
                }
            }
        }
        let mut left = BTreeSet::new();
        for difference in last.servers.diff(&next.servers) {
            match difference {
                DiffItem::Add(server, planned) => self.note_server(*server, planned),
                DiffItem::Update { old: (server, before), new: (_, planned) } => {
                    if before.port != planned.port {
                        left.extend(self.backends.release(*server, before.port));
                    }
                    self.note_server(*server, planned);
                }
                DiffItem::Remove(server, before) => {
                    left.extend(self.backends.release(*server, before.port));
                    self.dirty_servers.remove(server);
                    self.unresolved.remove(server);
                }
            }
        }
        // Also tables of other pools, which somebody else wrote: nothing may point at a server that is in no pool.
        let points_there = |held: &services::HeldService| held.references.iter().any(|index| left.contains(index));
        let services = self.services.held.iter().filter(|_| !left.is_empty());
        self.dirty.extend(services.filter(|(_, held)| points_there(held)).map(|(key, _)| *key));
    }

    fn note_server(&mut self, server: ServerRef, planned: &PlannedServer) {
        self.dirty_servers.insert(server);
        match planned.next_hop {
            Resolution::Resolved(_) => self.unresolved.remove(&server),
            Resolution::Unresolved(why) => self.unresolved.insert(server, why),
        };
    }

    /// IP versions of which there are services with translation, but no source address for it.
    fn untranslatable(&self) -> Vec<Family> {
        // In their order, IPv4 comes first.
        let (first, last) = (self.translated.first(), self.translated.last());
        let has_source = |family| {
            self.tables.nat_sources.iter().any(|source| source.takes_new && Family::of(source.address) == family)
        };
        let mut families: Vec<Family> = first.into_iter().chain(last).map(|one| Family::of(one.address)).collect();
        families.dedup();
        families.retain(|family| !has_source(*family));
        families
    }

    /// Notes which operation the maps hold by now: the next agent may have another ledger.
    fn note_lineage(&mut self, trouble: &mut Trouble) {
        let generation = self.snapshot.generation();
        let is_held = self.is_adopted && trouble.sentence().is_none() && self.tables.generation == generation;
        if !is_held || self.lineage.generation == generation.0 {
            return;
        }
        let lineage = Lineage { generation: generation.0, head: self.snapshot.head().to_string() };
        match self.dataplane.set_lineage(&lineage) {
            Ok(()) => self.lineage = lineage,
            Err(error) => trouble.note(|| chain(&error)),
        }
    }

    /// Publishes the status; returns when to look again.
    fn conclude(&mut self, now: Timestamp, trouble: &Trouble) -> Timestamp {
        let after = |wait: Duration| now.checked_add(wait).unwrap_or(Timestamp::MAX);
        let due = |at: Option<Timestamp>, every: Duration| {
            at.map_or(now, |at| at.checked_add(every).unwrap_or(Timestamp::MAX))
        };
        let (audit, attachment) = (self.audited_at, self.attached_at);
        let mut next = due(audit, self.audit_every).min(due(attachment, self.settings.audit_interval));
        let error = trouble.sentence();
        if let Some(error) = error.as_ref().filter(|error| self.status.last_error.as_ref() != Some(*error)) {
            log::error!("{error}; trying again until it works");
        }
        self.status.last_error = error;
        if self.status.last_error.is_some() {
            next = after(self.backoff);
            self.backoff = (self.backoff * 2).min(BACKOFF.1);
        } else {
            self.backoff = BACKOFF.0;
            if self.status.applied_at.is_none() || self.status.applied_generation != self.tables.generation.0 {
                self.status.applied_generation = self.tables.generation.0;
                self.status.applied_at = Some(now);
            }
        }
        let changes = [
            self.planner.next_change(),
            self.services.next_change(),
            self.backends.next_change(),
            self.access.next_change(self.settings.backend_grace),
            self.tries.next_change(),
            self.next_sweep(now),
        ];
        // What is due by now was tried; if it failed, the backoff counts.
        next = changes.into_iter().flatten().filter(|at| *at > now).fold(next, Timestamp::min).max(now);

        self.status.held = self.hold.held.iter().map(services::shown).collect();
        self.status.services = self.services.held.len();
        self.status.backends = self.backends.len();
        self.status.unresolved = self.unresolved.iter().map(|(server, why)| (server.address, *why)).collect();
        self.status.exceptions = self.sweep.exceptions();
        self.status.marked_slots = self.services.marked.values().sum();
        self.status.nat_sources = self.tables.nat_sources.to_vec();
        self.status.untranslatable = self.untranslatable();
        self.status.empty_services = self.empty.iter().map(ServiceAddress::to_string).collect();
        self.publish_backlog(None);
        self.publisher.status.send_replace(Arc::new(self.status.clone()));
        let (services, backends) = (&self.services.directory, &self.backends.directory);
        self.publisher.directory.send_if_modified(|directory| {
            let is_same = directory.services.ptr_eq(services) && directory.backends.ptr_eq(backends);
            if !is_same {
                *directory = Arc::new(Directory { services: services.clone(), backends: backends.clone() });
            }
            !is_same
        });
        next
    }
}

/// What the reconciler last did; published after every activation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Generation of the ledger that the maps hold; every lower one is applied too.
    pub applied_generation: u64,
    /// When that was reached.
    pub applied_at: Option<Timestamp>,
    /// Services in the maps.
    pub services: usize,
    /// Backend entries in the maps.
    pub backends: usize,
    /// Servers whose next hop is not known, and why.
    pub unresolved: BTreeMap<IpAddr, Unresolved>,
    /// Source addresses of translated flows.
    pub nat_sources: Vec<PlannedNatSource>,
    /// IP versions of which services translate, but no source address is configured: their packets are dropped.
    pub untranslatable: Vec<Family>,
    /// Services without a usable server: `address port/protocol`.
    pub empty_services: Vec<String>,
    /// Services that are held in the maps against the ledger, since too many would leave without an approved plan:
    /// `address port/protocol`.
    #[serde(default)]
    pub held: Vec<String>,
    /// What was found altered by somebody else, and repaired, since the agent started: how often, by map.
    pub repaired: BTreeMap<String, u64>,
    /// The last repairs, newest last, at most 32.
    pub repairs: Vec<Repair>,
    /// Connections that are kept on another server than their slot's, as the last sweep counted them; those of slots that
    /// are still moving are not among them.
    #[serde(default)]
    pub exceptions: u64,
    /// Slots whose moves are over and whose packets are still looked up for such connections.
    #[serde(default)]
    pub marked_slots: usize,
    /// Why the last activation failed; it is tried again.
    pub last_error: Option<String>,
    /// Where the program is attached.
    pub attachments: Vec<Attachment>,
}

/// Something somebody else did to the maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// When it was found.
    pub at: Timestamp,
    /// The map.
    pub map: String,
    /// What was found and what was done.
    pub what: String,
}
