//! A small world: documents by number, health, ways, and an edge with its maps in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use lb_common::abi::backend::state;
use lb_common::abi::protection::Rate;
use lb_common::abi::service::{flags, kind};
use lb_common::abi::{AclPrefix, ConfigEntry, RangeEntry, RangeKey, ServiceEntry, ServiceKey, Slot, address_of};
use lb_userspace::dataplane::memory::Contents;
use lb_userspace::dataplane::{Dataplane, MemoryDataplane};
use lb_userspace::health::{HealthView, ServerHealth};
use lb_userspace::ledger::{ChainHash, Snapshot};
use lb_userspace::model::*;
use lb_userspace::plan::{NextHop, NextHops, Node, Planner, Resolution, ServerRef, ServiceAddress, Shares, Tables};
use lb_userspace::reconcile::{Activation, Reconciler, Settings, Sources, Status, identity, key_of};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) const GRACE: Duration = Duration::from_secs(900);

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(crate) fn times(deleted: Option<i64>) -> Times {
    Times { deleted_at: deleted.map(at), ..Times::created(at(0)) }
}

pub(crate) fn name() -> Name {
    Name::try_from("test".to_owned()).unwrap()
}

pub(crate) fn owner() -> Owner {
    Owner {
        organization: OrganizationId::from_uuid(Uuid::from_u128(1)),
        project: ProjectId::from_uuid(Uuid::from_u128(1)),
    }
}

pub(crate) fn lb(number: u128, deleted: Option<i64>) -> Document {
    Document::Lb(Lb {
        id: LbId::from_uuid(Uuid::from_u128(number)),
        owner: owner(),
        name: name(),
        description: String::new(),
        tags: Tags::default(),
        kind: LbType::S,
        answers_echo: true,
        on_closed_port: ClosedPort::Reject,
        protected: false,
        subscriber: None,
        at_once: false,
        taken_down: None,
        times: times(deleted),
    })
}

pub(crate) fn ip(number: u128, lb: Option<u128>, deleted: Option<i64>) -> Document {
    Document::Ip(Ip {
        id: IpId::from_uuid(Uuid::from_u128(number)),
        owner: owner(),
        address: vip(number),
        lb: lb.map(|lb| LbId::from_uuid(Uuid::from_u128(lb))),
        reverse: String::new(),
        tags: Tags::default(),
        times: times(deleted),
    })
}

pub(crate) fn vip(number: u128) -> IpAddr {
    IpAddr::from([192, 0, (number >> 8) as u8, number as u8])
}

pub(crate) fn server_address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

pub(crate) fn frontend(number: u128, lb: u128, backend: u128, port: u16, deleted: Option<i64>) -> Document {
    Document::Frontend(Frontend {
        id: FrontendId::from_uuid(Uuid::from_u128(number)),
        lb: LbId::from_uuid(Uuid::from_u128(lb)),
        name: name(),
        inbound_port: NonZeroU16::new(port).unwrap(),
        inbound_port_end: None,
        backend: BackendId::from_uuid(Uuid::from_u128(backend)),
        timeout_client: None,
        limits: RateLimits::default(),
        times: times(deleted),
    })
}

/// A rule of frontend `number` for networks 10.0.x.0/24, or a tombstone.
pub(crate) fn acl(number: u128, allows: bool, networks: &[u8], deleted: Option<i64>) -> Document {
    Document::Acl(Acl {
        id: AclId::from_uuid(Uuid::from_u128(number)),
        lb: LbId::from_uuid(Uuid::from_u128(number)),
        frontend: FrontendId::from_uuid(Uuid::from_u128(number)),
        name: name(),
        description: String::new(),
        index: 0,
        action: if allows { AclAction::Allow } else { AclAction::Deny },
        subnets: networks.iter().map(|network| format!("10.0.{network}.0/24").parse().unwrap()).collect(),
        invert: allows,
        times: times(deleted),
    })
}

pub(crate) fn backend(number: u128, lb: u128, servers: &[(u8, u32, bool)], deleted: Option<i64>) -> Document {
    let port = NonZeroU16::new(80).unwrap();
    Document::Backend(Backend {
        id: BackendId::from_uuid(Uuid::from_u128(number)),
        lb: LbId::from_uuid(Uuid::from_u128(lb)),
        name: name(),
        protocol: Protocol::Tcp,
        forward_port: port,
        algorithm: Algorithm::Roundrobin,
        sticky_sessions: StickySessions::None,
        sticky_prefix_v6: PrefixV6::WHOLE,
        quic: None,
        slow_start: None,
        forwarding: Forwarding::Ipip,
        on_empty: EmptyPool::Reject,
        servers: servers
            .iter()
            .map(|(number, weight, drain)| {
                let make = if *drain { Server::draining } else { Server::serving };
                make(server_address(*number), Weight::try_from(*weight).unwrap(), at(0))
            })
            .collect(),
        health_check: HealthCheck {
            port,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            fall: NonZeroU8::MIN,
            rise: NonZeroU8::MIN,
            transient_interval: None,
            send_proxy: false,
            probe: Probe::Tcp,
        },
        proxied: Proxied::default(),
        times: times(deleted),
    })
}

pub(crate) fn snapshot(generation: u64, documents: &[Document]) -> Snapshot {
    Snapshot::default().after(Generation(generation), ChainHash::GENESIS, documents)
}

pub(crate) fn health(down: &[(u128, u8)]) -> HealthView {
    let sick = ServerHealth {
        up: false,
        usable: false,
        since: at(0),
        rose_at: None,
        decided_at: std::time::Instant::now(),
        last: None,
    };
    let servers = down.iter().map(|(backend, server)| (reference(*backend, *server), sick.clone())).collect();
    HealthView { servers, mass_failure: None }
}

pub(crate) fn reference(backend: u128, server: u8) -> ServerRef {
    ServerRef { backend: BackendId::from_uuid(Uuid::from_u128(backend)), address: server_address(server) }
}

pub(crate) fn service(number: u128, port: u16) -> ServiceAddress {
    ServiceAddress { address: vip(number), port, protocol: Protocol::Tcp, is_range: false }
}

pub(crate) fn resolved(ifindex: u32) -> Resolution {
    Resolution::Resolved(NextHop {
        ifindex,
        mac: [2; 6],
        source_mac: [4; 6],
        mtu: 1500,
        vlan_outer: 0,
        vlan_inner: 0,
        via_gateway: false,
    })
}

pub(crate) const CONFIG: ConfigEntry = ConfigEntry {
    hash_key: [3, 4],
    outer_source_v6: [0xfd; 16],
    outer_source_v4: [10, 9, 0, 0],
    abi_version: lb_common::abi::ABI_VERSION,
    nat_v4: lb_common::abi::nat::NatRange { first: 0, count: 0 },
    nat_v6: lb_common::abi::nat::NatRange { first: 0, count: 0 },
    ranges: 0,
    pad: 0,
};

/// Everything the reconciler reads, and the time.
pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
    pub(crate) down: BTreeSet<(u128, u8)>,
    /// Servers that came back, and when.
    pub(crate) rose: BTreeMap<(u128, u8), Timestamp>,
    pub(crate) hops: NextHops,
    pub(crate) now: Timestamp,
    snapshots: watch::Sender<Arc<Snapshot>>,
    health: watch::Sender<Arc<HealthView>>,
    next_hops: watch::Sender<Arc<NextHops>>,
    /// What leastconn's measuring says.
    pub(crate) shares: Arc<Shares>,
    sent_shares: watch::Sender<Arc<Shares>>,
    /// For each service the identities that a plan ever gave it.
    pub(crate) allowed: Arc<Mutex<BTreeMap<ServiceKey, BTreeSet<u64>>>>,
    /// The lines of every access list that was ever planned.
    pub(crate) lists: Arc<Mutex<BTreeSet<Vec<AclPrefix>>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            snapshot: Snapshot::default(),
            down: BTreeSet::new(),
            rose: BTreeMap::new(),
            hops: (1..=9).map(|server| (server_address(server), resolved(2))).collect(),
            now: at(0),
            snapshots: watch::Sender::default(),
            health: watch::Sender::default(),
            next_hops: watch::Sender::default(),
            shares: Arc::default(),
            sent_shares: watch::Sender::default(),
            allowed: Arc::default(),
            lists: Arc::default(),
        }
    }

    /// One operation.
    pub(crate) fn put(&mut self, documents: &[Document]) {
        let generation = Generation(self.snapshot.generation().0 + 1);
        self.snapshot = self.snapshot.after(generation, ChainHash::GENESIS, documents);
    }

    /// A load balancer with one address, one port and one pool, all of the same number.
    pub(crate) fn put_service(&mut self, number: u128, servers: &[(u8, u32, bool)]) {
        self.put(&[
            lb(number, None),
            ip(number, Some(number), None),
            frontend(number, number, number, 80, None),
            backend(number, number, servers, None),
        ]);
    }

    pub(crate) fn flip(&mut self, pool: u128, server: u8) {
        if !self.down.remove(&(pool, server)) {
            self.down.insert((pool, server));
        }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).unwrap();
    }

    /// What a checker knows that has probed every server.
    pub(crate) fn health(&self) -> HealthView {
        let mut view = health(&self.down.iter().copied().collect::<Vec<_>>());
        let sick = health(&[(1, 1)]).servers.into_values().next().unwrap();
        let well = ServerHealth { up: true, usable: true, ..sick };
        for (pool, server) in (1..=8).flat_map(|pool| (1..=9).map(move |server| (pool, server))) {
            let health = view.servers.entry(reference(pool, server)).or_insert_with(|| well.clone());
            health.rose_at = self.rose.get(&(pool, server)).copied();
        }
        view
    }

    pub(crate) fn node(&self) -> Node {
        Node { next_hops: Arc::new(self.hops.clone()), shares: Arc::clone(&self.shares) }
    }

    /// What a planner without a memory says.
    pub(crate) fn plan(&self) -> Arc<Tables> {
        Planner::new(settings().seed, GRACE).plan(&self.snapshot, &self.health(), &self.node(), self.now)
    }

    /// Takes the checker's and the watcher's knowledge away: they have just been started, too.
    pub(crate) fn forget_observations(&self) {
        self.health.send_replace(Arc::default());
        self.next_hops.send_replace(Arc::default());
    }

    /// Sends the present state to the reconciler, and notes what it allows.
    pub(crate) fn announce(&self) {
        let mut allowed = self.allowed.lock().unwrap();
        let tables = self.plan();
        for (address, service) in &tables.services {
            let identities = service.servers.iter().map(|server| identity(*server, tables.servers[server].port));
            allowed.entry(key_of(address)).or_default().extend(identities);
            self.lists.lock().unwrap().extend(service.access.iter().map(|list| list.lines.to_vec()));
        }
        self.next_hops.send_replace(Arc::new(self.hops.clone()));
        self.sent_shares.send_replace(Arc::clone(&self.shares));
        self.health.send_replace(Arc::new(self.health()));
        // Last: who sees this generation applied knows that the rest was read, too.
        self.snapshots.send_replace(Arc::new(self.snapshot.clone()));
    }

    pub(crate) fn send_snapshot(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    pub(crate) fn sources(&self) -> Sources {
        Sources {
            snapshots: self.snapshots.subscribe(),
            health: self.health.subscribe(),
            next_hops: self.next_hops.subscribe(),
            shares: self.sent_shares.subscribe(),
        }
    }

    /// A reconciler that has seen nothing: a freshly started agent.
    pub(crate) fn agent<D: Dataplane>(&self, dataplane: D) -> Reconciler<D> {
        Reconciler::new(dataplane, self.sources(), settings())
    }

    pub(crate) fn agent_with<D: Dataplane>(&self, dataplane: D, change: impl FnOnce(&mut Settings)) -> Reconciler<D> {
        let mut settings = settings();
        change(&mut settings);
        Reconciler::new(dataplane, self.sources(), settings)
    }

    pub(crate) fn activate<D: Dataplane>(&self, agent: &mut Reconciler<D>) -> Activation {
        self.announce();
        agent.activate(self.now)
    }

    /// Activates once; nothing may go wrong.
    pub(crate) fn settle<D: Dataplane>(&self, agent: &mut Reconciler<D>) -> Arc<Status> {
        self.activate(agent);
        let status = Arc::clone(&agent.status().borrow());
        assert_eq!(status.last_error, None);
        status
    }
}

pub(crate) fn settings() -> Settings {
    Settings { delete_grace: GRACE, ..Settings::new(CONFIG) }
}

pub(crate) type Shared = Arc<Mutex<MemoryDataplane>>;

pub(crate) fn contents(dataplane: &Shared) -> Contents {
    dataplane.lock().unwrap().contents().clone()
}

pub(crate) fn tamper(dataplane: &Shared, change: impl FnOnce(&mut Contents)) {
    change(dataplane.lock().unwrap().contents_mut());
}

pub(crate) fn writes(dataplane: &Shared) -> u64 {
    dataplane.lock().unwrap().writes()
}

/// Panics when, after any single write, a service points at an entry that is free or not its own.
pub(crate) fn watch_every_write(world: &World, dataplane: &Shared) {
    let (allowed, lists) = (Arc::clone(&world.allowed), Arc::clone(&world.lists));
    dataplane.lock().unwrap().after_each_write(move |contents| {
        let allowed = allowed.lock().unwrap();
        for (key, entry) in &contents.ranges {
            let (address, protocol) = (key.address, key.protocol);
            let service = ServiceKey { address, port: entry.first, protocol, kind: kind::RANGE, pad: [0; 4] };
            assert!(contents.services.contains_key(&service), "{key:?} leads to nothing");
            assert_eq!(contents.config.map(|config| config.ranges), Some(1), "nobody looks for ranges");
        }
        for (key, entry) in &contents.services {
            let Some(allowed) = allowed.get(key) else { continue };
            if entry.flags & flags::ACL != 0 {
                let lines = lines_of(contents, entry);
                assert!(lists.lock().unwrap().contains(&lines), "a list is half written: {lines:?}");
            }
            let slots = contents.range(entry.slots_offset, entry.slots_len);
            assert_eq!(slots.len(), entry.slots_len as usize);
            let previous = contents.range(entry.previous_offset, entry.previous_len);
            let indexes: BTreeSet<u32> = slots.iter().chain(previous).map(|slot| slot.backend_index()).collect();
            for index in indexes {
                let found = contents.backends.get(&index).map(|entry| entry.identity);
                assert!(
                    found.is_some_and(|identity| allowed.contains(&identity)),
                    "a slot points at entry {index}, which is {found:?}"
                );
            }
        }
    });
}

/// The lines of a service's access list.
fn lines_of(contents: &Contents, entry: &ServiceEntry) -> Vec<AclPrefix> {
    let number = contents.protection[&entry.id].acl;
    let own = contents.acl.iter().filter(|(key, _)| key.acl == number);
    let mut lines: Vec<AclPrefix> = own.filter_map(|(key, verdict)| AclPrefix::of(key, *verdict)).collect();
    lines.sort_unstable();
    lines
}

/// Checks that the maps hold what the plan says: no more, no less.
pub(crate) fn assert_holds(contents: &Contents, tables: &Tables) {
    let ranges: BTreeMap<RangeKey, RangeEntry> = tables
        .services
        .iter()
        .filter(|(address, _)| address.is_range)
        .flat_map(|(address, planned)| {
            let key = key_of(address);
            let entry = RangeEntry { first: key.port, pad: [0; 2] };
            RangeKey::covering(&key, planned.last_port).map(move |prefix| (prefix, entry))
        })
        .collect();
    assert_eq!(contents.config, Some(ConfigEntry { ranges: u32::from(!ranges.is_empty()), ..CONFIG }));
    assert_eq!(contents.ranges, ranges);
    let keys: BTreeSet<ServiceKey> = tables.services.keys().map(key_of).collect();
    assert_eq!(contents.services.keys().copied().collect::<BTreeSet<_>>(), keys);
    let ids: BTreeSet<u32> = contents.services.values().map(|entry| entry.id).collect();
    assert_eq!(ids.len(), keys.len(), "service ids are shared");

    let vips = tables.vips.iter().map(|(address, vip)| {
        let reject = vip.on_closed_port == ClosedPort::Reject;
        let flags = u32::from(vip.answers_echo) | u32::from(reject) << 1 | u32::from(vip.quarantined) << 2;
        (lb_common::abi::address_of(*address), lb_common::abi::VipEntry { flags, pad: 0 })
    });
    assert_eq!(contents.vips, vips.collect());

    let mut numbers = BTreeSet::new();
    for (address, planned) in &tables.services {
        let entry = contents.services[&key_of(address)];
        let slots = contents.range(entry.slots_offset, entry.slots_len);
        let owners: Vec<u64> = slots.iter().map(|slot| contents.backends[&slot.backend_index()].identity).collect();
        let expected: Vec<u64> = planned
            .slots
            .iter()
            .map(|position| planned.servers[usize::from(*position)])
            .map(|server| identity(server, tables.servers[&server].port))
            .collect();
        assert_eq!(owners, expected, "{address}");
        let (limits, access) = (planned.limits, planned.access.as_ref());
        let bits = [(planned.quarantined, 0x100), (access.is_some(), 0x200), (limits.packets > 0, 0x400)];
        let bits: u32 = bits.into_iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum();
        let range = if address.is_range { flags::RANGE } else { 0 };
        assert_eq!(entry.flags, 1 | bits | range, "reject when empty, no affinity");
        if let Some(list) = access {
            assert_eq!(lines_of(contents, &entry), *list.lines, "{address}");
            numbers.insert(contents.protection[&entry.id].acl);
        }
        if limits.packets > 0 {
            assert_eq!(contents.protection[&entry.id].packets, Rate::per_second(limits.packets));
        }
        let is_moving = slots.iter().any(|slot| slot.0 & Slot::MOVING != 0);
        assert_eq!(is_moving, entry.previous_len > 0, "{address}: a previous table is there while slots move");
    }

    // A list stays for a grace period after its last service.
    let unused = contents.acl.keys().filter(|key| !numbers.contains(&key.acl)).count();
    assert!(unused == 0 || contents.acl.len() < 200, "{unused} lines of no list");

    let expected: BTreeSet<u64> =
        tables.servers.iter().map(|(server, planned)| identity(*server, planned.port)).collect();
    let found: BTreeMap<u64, _> = contents.backends.values().map(|entry| (entry.identity, entry)).collect();
    assert_eq!(found.len(), contents.backends.len(), "a server has two entries");
    assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), expected);
    let mut egress = BTreeSet::new();
    for (server, planned) in &tables.servers {
        let entry = found[&identity(*server, planned.port)];
        assert_eq!(entry.address, address_of(server.address));
        assert_eq!(entry.state & state::UP != 0, planned.up);
        let ifindex = match planned.next_hop {
            Resolution::Resolved(hop) => hop.ifindex,
            Resolution::Unresolved(_) => 0,
        };
        assert_eq!((entry.state & state::RESOLVED != 0, entry.ifindex), (ifindex != 0, ifindex));
        egress.extend((ifindex != 0).then_some(ifindex));
    }
    assert_eq!(contents.egress, egress);
}
