//! The planner: snapshot, health and node in, tables out. What it remembers only saves work.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use jiff::{SignedDuration, Timestamp};

use super::access::{self, AccessList};
use super::nat;
use super::policy::Members;
use super::slots;
use super::{
    NextHops, Node, PlannedServer, PlannedService, PlannedVip, Resolution, ServerRef, ServiceAddress, Shares, Tables,
    Unresolved,
};
use crate::health::HealthView;
use crate::ledger::Snapshot;
use crate::model::{
    Acl, Backend, BackendId, Duty, Family, Forwarding, Frontend, FrontendId, Generation, Ip, Lb, LbId, Server,
    StickySessions, Times,
};

/// Plans tables, and remembers the last plan: what did not change is not planned again.
///
/// Architecture Invariant: the memory is invisible. The same inputs give the same tables, whatever was planned before.
#[derive(Debug)]
pub struct Planner {
    seed: u64,
    delete_grace: SignedDuration,
    last: Option<Last>,
}

/// The inputs of the last plan, and what it gave.
#[derive(Debug)]
struct Last {
    snapshot: Snapshot,
    down: BTreeSet<ServerRef>,
    rose: BTreeMap<ServerRef, Timestamp>,
    next_hops: Arc<NextHops>,
    shares: Arc<Shares>,
    now: Timestamp,
    /// What happens by itself: ends of grace periods and drains, steps of slow starts.
    changes: BTreeSet<(Timestamp, LbId)>,
    /// What each load balancer contributes.
    contributions: BTreeMap<LbId, Contribution>,
    /// Pools by the addresses of their servers.
    pools_by_address: BTreeSet<(IpAddr, BackendId)>,
    tables: Arc<Tables>,
}

/// What a load balancer puts into the tables.
#[derive(Debug, Default)]
struct Contribution {
    services: BTreeMap<ServiceAddress, Arc<PlannedService>>,
    vips: BTreeMap<IpAddr, PlannedVip>,
    servers: BTreeMap<ServerRef, PlannedServer>,
    access: BTreeMap<FrontendId, Access>,
    /// When it becomes another one by itself, past and to come: clocks are set back, too.
    changes: BTreeSet<Timestamp>,
}

/// A frontend's rules, and what they were compiled to.
#[derive(Debug)]
struct Access {
    rules: Vec<Arc<Acl>>,
    list: Option<Arc<AccessList>>,
}

impl Access {
    /// Compiles only rules that are not the very ones of the last plan.
    fn of(view: &View<'_>, frontend: &Frontend, before: Option<&Contribution>) -> Self {
        let rules: Vec<Arc<Acl>> =
            view.snapshot.acls_of(frontend.id).filter(|acl| acl.times.is_live()).map(Arc::clone).collect();
        let before = before.and_then(|before| before.access.get(&frontend.id));
        let is_same = |before: &&Self| {
            before.rules.len() == rules.len() && before.rules.iter().zip(&rules).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        match before.filter(is_same) {
            Some(before) => Self { list: before.list.clone(), rules },
            None => Self { list: access::compile(&rules).map(Arc::new), rules },
        }
    }
}

impl Planner {
    /// A planner that has planned nothing yet.
    #[must_use]
    pub fn new(seed: u64, delete_grace: std::time::Duration) -> Self {
        let delete_grace = SignedDuration::try_from(delete_grace).unwrap_or(SignedDuration::MAX);
        Self { seed, delete_grace, last: None }
    }

    /// The tables that an edge should hold now.
    pub fn plan(&mut self, snapshot: &Snapshot, health: &HealthView, node: &Node, now: Timestamp) -> Arc<Tables> {
        let down: BTreeSet<ServerRef> =
            health.servers.iter().filter(|(_, health)| !health.usable).map(|(server, _)| *server).collect();
        let rose: BTreeMap<ServerRef, Timestamp> =
            health.servers.iter().filter_map(|(server, health)| Some((*server, health.rose_at?))).collect();
        let Node { next_hops, shares } = node;
        let view = View { snapshot, down: &down, rose: &rose, next_hops, shares, now };

        let (mut last, stale) = match self.last.take() {
            Some(last) => {
                let stale = last.stale(&view);
                (last, stale)
            }
            None => (Last::empty(), snapshot.lbs().map(|lb| lb.id).collect()),
        };
        let contributions: Vec<(LbId, Contribution)> =
            stale.into_iter().map(|lb| (lb, self.contribution(&view, lb, last.contributions.get(&lb)))).collect();
        let mut tables = last.tables_after(snapshot.generation(), contributions);
        if !last.snapshot.has_nat_sources_of(snapshot) {
            tables.nat_sources = nat::sources(snapshot);
        }
        if !is_same(&last.tables, &tables) {
            last.tables = Arc::new(tables);
        }
        last.snapshot = snapshot.clone();
        last.next_hops = Arc::clone(next_hops);
        last.shares = Arc::clone(shares);
        last.now = now;
        (last.down, last.rose) = (down, rose);
        let tables = Arc::clone(&last.tables);
        self.last = Some(last);
        tables
    }

    /// When the last plan changes by itself: a grace period or a drain ends, a slow start goes on.
    #[must_use]
    pub fn next_change(&self) -> Option<Timestamp> {
        let last = self.last.as_ref()?;
        last.changes
            .range((last.now, LbId::from_uuid(uuid::Uuid::max()))..)
            .map(|(at, _)| *at)
            .find(|at| *at > last.now)
    }

    fn contribution(&self, view: &View<'_>, id: LbId, before: Option<&Contribution>) -> Contribution {
        let Some(lb) = view.snapshot.lb(id) else { return Contribution::default() };
        let grace = if lb.at_once { SignedDuration::ZERO } else { self.delete_grace };
        // What somebody has not let go forwards on.
        let is_held = view.snapshot.is_held(id);
        let end =
            |at: Timestamp| if is_held { Timestamp::MAX } else { at.checked_add(grace).unwrap_or(Timestamp::MAX) };
        let ends = lb.times.deleted_at.map(end);
        let mut contribution = Contribution { changes: ends.into_iter().collect(), ..Contribution::default() };
        if ends.is_some_and(|end| end <= view.now) {
            return contribution;
        }
        let addresses: Vec<&Arc<Ip>> = view
            .snapshot
            .ips_of(id)
            .filter(|ip| serves(lb, &ip.times))
            .filter(|ip| view.snapshot.ip_with_address(ip.address).is_some_and(|holder| holder.id == ip.id))
            .collect();
        if addresses.is_empty() {
            return contribution;
        }
        let vip = PlannedVip {
            answers_echo: lb.answers_echo,
            on_closed_port: lb.on_closed_port,
            quarantined: view.snapshot.is_quarantined(lb),
        };
        contribution.vips = addresses.iter().map(|ip| (ip.address, vip)).collect();
        let mut pools: BTreeMap<(BackendId, Option<Family>), Pool> = BTreeMap::new();
        for frontend in view.snapshot.frontends_of(id).filter(|frontend| serves(lb, &frontend.times)) {
            let Some(backend) = view.snapshot.backend(frontend.backend) else { continue };
            if backend.lb != id || !serves(lb, &backend.times) {
                continue;
            }
            let access = Access::of(view, frontend, before);
            let mut services: BTreeMap<Option<Family>, Arc<PlannedService>> = BTreeMap::new();
            for ip in &addresses {
                // Where a server is reached only from its own IP version, each version has a table of its own.
                let family = backend.forwarding.keeps_family().then_some(Family::of(ip.address));
                let service = services.entry(family).or_insert_with(|| {
                    let pool = pools.entry((backend.id, family)).or_insert_with(|| self.pool(view, backend, family));
                    Arc::new(pool.service(view, lb, frontend, backend, access.list.clone()))
                });
                let address = ServiceAddress {
                    address: ip.address,
                    port: frontend.inbound_port.get(),
                    protocol: backend.protocol,
                    is_range: frontend.inbound_port_end.is_some(),
                };
                contribution.services.entry(address).or_insert_with(|| Arc::clone(service));
            }
            contribution.access.insert(frontend.id, access);
        }
        let used: BTreeSet<ServerRef> =
            contribution.services.values().flat_map(|service| service.servers.iter().copied()).collect();
        let pools: Vec<Pool> = pools.into_values().collect();
        contribution.changes.extend(pools.iter().flat_map(|pool| &pool.changes));
        let planned = pools.into_iter().flat_map(|pool| pool.servers);
        contribution.servers = planned.filter(|(server, _)| used.contains(server)).collect();
        contribution
    }

    /// The servers of one IP version, or all.
    fn pool(&self, view: &View<'_>, backend: &Backend, family: Option<Family>) -> Pool {
        let fits = |server: &&Server| family.is_none_or(|family| Family::of(server.address) == family);
        let mut servers: Vec<(ServerRef, PlannedServer)> = backend
            .servers
            .iter()
            .filter(fits)
            .filter(|server| !server.is_out(view.now))
            .map(|server| view.server(backend, server))
            .collect();
        servers.sort_unstable_by_key(|(server, _)| *server);
        servers.dedup_by_key(|(server, _)| *server);
        if servers.len() > slots::MAX_SERVERS {
            log::error!("backend {}: only the first {} servers are used", backend.id, slots::MAX_SERVERS);
            servers.truncate(slots::MAX_SERVERS);
        }
        let members = Members { backend, servers: &servers, shares: view.shares, now: view.now };
        let slots = members.table(self.seed);
        let changes = backend.servers.iter().filter_map(Server::deadline).chain(members.changes()).collect();
        Pool { slots: slots.into(), servers, changes }
    }
}

/// The inputs of one plan.
struct View<'a> {
    snapshot: &'a Snapshot,
    down: &'a BTreeSet<ServerRef>,
    rose: &'a BTreeMap<ServerRef, Timestamp>,
    next_hops: &'a Arc<NextHops>,
    shares: &'a Arc<Shares>,
    now: Timestamp,
}

impl View<'_> {
    fn server(&self, backend: &Backend, server: &Server) -> (ServerRef, PlannedServer) {
        let reference = ServerRef { backend: backend.id, address: server.address };
        let next_hop = match self.next_hops.get(&server.address).copied() {
            Some(Resolution::Resolved(hop)) if hop.via_gateway && backend.forwarding == Forwarding::L2 => {
                Some(Resolution::Unresolved(Unresolved::NotOnLink))
            }
            known => known,
        };
        let planned = PlannedServer {
            port: backend.forward_port.get(),
            forwarding: backend.forwarding,
            weight: server.weight,
            up: !self.down.contains(&reference),
            drain: server.drains(),
            backup: server.backup,
            begun: backend.slow_start.and_then(|_| self.begun(reference, server)),
            next_hop: next_hop.unwrap_or(Resolution::Unresolved(Unresolved::Pending)),
        };
        (reference, planned)
    }

    /// When a server was added, its drain ended, or it was last seen to come back: the latest of these.
    fn begun(&self, reference: ServerRef, server: &Server) -> Option<Timestamp> {
        let Duty::Serves { since } = server.duty else { return None };
        Some(self.rose.get(&reference).map_or(since, |rose| since.max(*rose)))
    }
}

/// A pool's servers and table, shared by the frontends in front of it.
struct Pool {
    servers: Vec<(ServerRef, PlannedServer)>,
    slots: Arc<[u16]>,
    /// When it becomes another one by itself, past and to come.
    changes: BTreeSet<Timestamp>,
}

impl Pool {
    fn service(
        &self,
        view: &View<'_>,
        lb: &Lb,
        frontend: &Frontend,
        backend: &Backend,
        access: Option<Arc<AccessList>>,
    ) -> PlannedService {
        PlannedService {
            lb: lb.id,
            frontend: frontend.id,
            last_port: frontend.ports().1,
            on_empty: backend.on_empty,
            forwarding: backend.forwarding,
            source_affinity: (backend.sticky_sessions == StickySessions::Table).then_some(backend.sticky_prefix_v6),
            quic: backend.quic,
            quarantined: view.snapshot.is_quarantined(lb),
            access,
            limits: frontend.limits,
            servers: self.servers.iter().map(|(server, _)| *server).collect(),
            slots: Arc::clone(&self.slots),
        }
    }
}

/// Whether something of a load balancer is served: it is not deleted, or was deleted together with it.
fn serves(lb: &Lb, times: &Times) -> bool {
    match (lb.times.deleted_at, times.deleted_at) {
        (_, None) => true,
        (Some(lb), Some(part)) => part >= lb,
        (None, Some(_)) => false,
    }
}

impl Last {
    fn empty() -> Self {
        Self {
            snapshot: Snapshot::default(),
            down: BTreeSet::new(),
            rose: BTreeMap::new(),
            next_hops: Arc::default(),
            shares: Arc::default(),
            now: Timestamp::UNIX_EPOCH,
            changes: BTreeSet::new(),
            contributions: BTreeMap::new(),
            pools_by_address: BTreeSet::new(),
            tables: Arc::default(),
        }
    }

    /// Load balancers whose contribution may have changed.
    fn stale(&self, view: &View<'_>) -> BTreeSet<LbId> {
        let mut stale = view.snapshot.changed_lbs(&self.snapshot);
        let (from, to) = (self.now.min(view.now), self.now.max(view.now));
        if from != to {
            let first = (from, LbId::from_uuid(uuid::Uuid::nil()));
            stale.extend(self.changes.range(first..).take_while(|(at, _)| *at <= to).map(|(_, lb)| *lb));
        }
        let pool_of = |backend: BackendId| view.snapshot.backend(backend).map(|backend| backend.lb);
        stale.extend(self.down.symmetric_difference(view.down).filter_map(|server| pool_of(server.backend)));
        stale.extend(differing(&self.rose, view.rose).into_iter().filter_map(|server| pool_of(server.backend)));
        if !Arc::ptr_eq(&self.shares, view.shares) {
            let other = differing(&self.shares, view.shares);
            stale.extend(other.into_iter().filter_map(|server| pool_of(server.backend)));
        }
        if !Arc::ptr_eq(&self.next_hops, view.next_hops) {
            for address in differing(&self.next_hops, view.next_hops) {
                let first = (address, BackendId::from_uuid(uuid::Uuid::nil()));
                let pools = self.pools_by_address.range(first..).take_while(|(of, _)| *of == address);
                stale.extend(pools.filter_map(|(_, backend)| pool_of(*backend)));
            }
        }
        stale
    }

    /// The tables with new contributions in the place of the old ones. What is gone goes first: an address may pass
    /// from one load balancer to another.
    fn tables_after(&mut self, generation: Generation, contributions: Vec<(LbId, Contribution)>) -> Tables {
        let mut tables = Tables { generation, ..Tables::clone(&self.tables) };
        let mut replaced = Vec::with_capacity(contributions.len());
        for (lb, new) in contributions {
            let old = self.contributions.remove(&lb).unwrap_or_default();
            for at in &old.changes {
                self.changes.remove(&(*at, lb));
            }
            remove_absent(&mut tables.services, &old.services, &new.services);
            remove_absent(&mut tables.vips, &old.vips, &new.vips);
            for server in remove_absent(&mut tables.servers, &old.servers, &new.servers) {
                self.pools_by_address.remove(&(server.address, server.backend));
            }
            replaced.push((lb, old, new));
        }
        for (lb, old, mut new) in replaced {
            self.changes.extend(new.changes.iter().map(|at| (*at, lb)));
            for (address, service) in &mut new.services {
                // An unchanged service stays the very same one: whoever follows the tables sees that at a glance.
                match old.services.get(address) {
                    Some(before) if before == service => *service = Arc::clone(before),
                    _ => {
                        tables.services.insert(*address, Arc::clone(service));
                    }
                }
            }
            for (address, vip) in &new.vips {
                if old.vips.get(address) != Some(vip) {
                    tables.vips.insert(*address, *vip);
                }
            }
            for (server, planned) in &new.servers {
                if old.servers.get(server) != Some(planned) {
                    tables.servers.insert(*server, *planned);
                    self.pools_by_address.insert((server.address, server.backend));
                }
            }
            if !new.vips.is_empty() || !new.changes.is_empty() {
                self.contributions.insert(lb, new);
            }
        }
        tables
    }
}

/// Whether nothing was put into or taken out of the tables.
fn is_same(before: &Tables, after: &Tables) -> bool {
    before.generation == after.generation
        && before.services.ptr_eq(&after.services)
        && before.vips.ptr_eq(&after.vips)
        && before.servers.ptr_eq(&after.servers)
        && before.nat_sources == after.nat_sources
}

/// Removes what was there and is no more; returns the keys.
fn remove_absent<K: Ord + Copy, V: Clone, W>(
    table: &mut OrdMap<K, V>,
    old: &BTreeMap<K, W>,
    new: &BTreeMap<K, W>,
) -> Vec<K> {
    let gone: Vec<K> = old.keys().filter(|key| !new.contains_key(key)).copied().collect();
    for key in &gone {
        table.remove(key);
    }
    gone
}

/// Keys whose values differ, by walking both in step.
fn differing<K: Ord + Copy, V: PartialEq>(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> Vec<K> {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    let mut differing = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some((before, _)), Some((after, _))) => before.cmp(after),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return differing,
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        if before != after {
            differing.extend(before.or(after).map(|(key, _)| *key));
        }
    }
}
