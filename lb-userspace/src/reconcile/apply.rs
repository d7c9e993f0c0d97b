//! The writes, in an order in which no packet ever meets a table that points at nothing: source addresses of translated flows, configuration, egress,
//! backends, services published, ranges of ports, services removed, servers that connection ids name, backends freed.
//!
//! A write that fails does not stop the others; what it was to do stays noted and is tried again.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use lb_common::abi::service::kind;
use lb_common::abi::{ConfigEntry, FlowEntry, ServiceKey, names, services_map};

use super::backlog::{Backlog, STEP, Work};
use super::moves::Table;
use super::services::{HeldService, address_of_key, flags_of, key_of, protection_of, shown};
use super::{Reconciler, backends, nat, quic};
use crate::dataplane::{Dataplane, DataplaneError, NatSources, Publish};
use crate::observe::chain;
use crate::plan::{PlannedService, ServerRef};
use crate::recovery::heal::Fault;

/// What went wrong in one activation.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    count: usize,
    first: Option<String>,
}

impl Trouble {
    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some(what());
        }
    }

    /// The first, and how many more; `None` when nothing went wrong.
    pub(super) fn sentence(&self) -> Option<String> {
        let first = self.first.clone()?;
        Some(if self.count == 1 { first } else { format!("{first} (and {} more)", self.count - 1) })
    }
}

impl<D: Dataplane> Reconciler<D> {
    /// Writes everything that is noted as different.
    pub(super) fn apply(&mut self, now: Timestamp, trouble: &mut Trouble) {
        let sources = nat::maps_of(&self.tables.nat_sources);
        let grown = self.nat_sources.as_ref().map_or_else(|| sources.clone(), |present| nat::grown(present, &sources));
        self.apply_nat_sources(grown, trouble);
        let config = nat::with_ranges(self.settings.config, &sources);
        let ranges = u32::from(self.ranges.are_needed(&self.tables));
        if self.apply_config(ConfigEntry { ranges, ..config }, trouble) {
            self.apply_nat_sources(sources, trouble);
        }
        self.want_servers(now, trouble);
        let egress = self.interfaces_out();
        let grown = self.egress.iter().flatten().chain(&egress).copied().collect();
        self.apply_egress(grown, trouble);
        let are_backends_written = self.write_backends(trouble);

        if let Err(error) = self.access.complete_all(&mut self.dataplane) {
            trouble.note(|| chain(&error));
        }
        self.dirty.extend(self.services.settling(now));
        self.hold(now, trouble);
        self.write_services(now, trouble);
        self.write_quic_servers(trouble);
        self.apply_config(ConfigEntry { ranges: u32::from(self.ranges.are_needed(&self.tables)), ..config }, trouble);

        // Behind the services: an address stays ours until its last one is gone.
        let services = &self.services.held;
        let service_of = |address| {
            let first = ServiceKey { address, port: [0; 2], protocol: 0, kind: kind::PORT, pad: [0; 4] };
            services.range(first..).next().map(|(key, _)| key).filter(|key| key.address == address)
        };
        if let Err(error) = self.vips.apply(&self.tables, service_of, &mut self.dataplane) {
            trouble.note(|| chain(&error));
        }
        if !self.backends.end_unreferenced().is_empty() {
            self.write_backends(trouble);
        }
        self.free_backends(now, trouble);
        let before = now.checked_sub(self.settings.backend_grace).unwrap_or(Timestamp::MIN);
        if let Err(error) = self.access.remove_idle(before, &mut self.dataplane) {
            trouble.note(|| chain(&error));
        }
        if are_backends_written {
            self.apply_egress(self.interfaces_out(), trouble);
        }
    }

    /// Writes the services that are noted, those with the most weight first; what failed waits.
    fn write_services(&mut self, now: Timestamp, trouble: &mut Trouble) {
        let order = self.in_order();
        let mut work = Work { since: now, total: order.len(), done: 0 };
        let (staying, leaving): (Vec<_>, Vec<_>) = order.into_iter().partition(|key| self.planned(key).is_some());
        for key in staying {
            self.write_service(key, &mut work, now, trouble);
        }
        // Between the two: a range never leads to a service that is not there.
        let (services, held) = (&self.services.held, &self.hold.held);
        let is_there = |key: &ServiceKey| services.get(key).is_some_and(|service| service.in_map);
        let is_kept = |key: &ServiceKey| held.contains(key) && services.contains_key(key);
        if let Err(error) = self.ranges.apply(&self.tables, is_there, is_kept, &mut self.dataplane) {
            trouble.note(|| chain(&error));
        }
        for key in leaving {
            self.write_service(key, &mut work, now, trouble);
        }
    }

    /// Writes which server a connection id names, behind the services that such ids are of.
    fn write_quic_servers(&mut self, trouble: &mut Trouble) {
        if self.naming.is_empty() && self.quic.is_empty() {
            return;
        }
        let mut wanted = quic::Servers::new();
        for address in &self.naming {
            let Some(planned) = self.tables.services.get(address) else { continue };
            let (Some(quic), Some(held)) = (planned.quic, self.services.held.get(&key_of(address))) else { continue };
            wanted.extend(planned.servers.iter().filter_map(|server| {
                let index = self.index_of(*server)?;
                let backend = self.backends.entry(index)?;
                let entry = FlowEntry::naming(index, backend.generation);
                Some((quic.key(backend.identity, held.id), entry))
            }));
        }
        // Of a service that is held in the maps against the plan, what connection ids name stays.
        let directory = &self.services.directory;
        let is_kept = |id| directory.get(&id).is_some_and(|address| !self.tables.services.contains_key(address));
        if let Err(error) = self.quic.apply(&wanted, is_kept, &mut self.dataplane) {
            trouble.note(|| chain(&error));
        }
    }

    fn planned(&self, key: &ServiceKey) -> Option<Arc<PlannedService>> {
        address_of_key(key).and_then(|address| self.tables.services.get(&address)).map(Arc::clone)
    }

    /// Publishes or removes a service that is noted.
    fn write_service(&mut self, key: ServiceKey, work: &mut Work, now: Timestamp, trouble: &mut Trouble) {
        if work.total > STEP && work.done.is_multiple_of(STEP) {
            self.publish_backlog(Some(*work));
        }
        work.done += 1;
        if let Some(waiting) = self.tries.not_yet(&key, now) {
            trouble.note(|| waiting.what.clone());
            self.dirty.insert(key);
            return;
        }
        let planned = self.planned(&key);
        let result = match &planned {
            Some(planned) => self.publish(key, planned, now),
            None if self.ranges.lead_to(&key) => Err(Refused::LedTo),
            None => self.remove(&key, now),
        };
        match result {
            Ok(()) => {
                self.tries.done(&key);
                if planned.is_none() {
                    self.tries.room();
                }
            }
            Err(error) => {
                let (fault, why) = match (error.fault(), &self.no_room) {
                    (Fault::ServerNotWritten, Some(no_room)) => (Fault::MapFull, no_room.clone()),
                    (fault, _) => (fault, error.to_string()),
                };
                let what = format!("service {}: {why}", shown(&key));
                self.tries.failed(&key, fault, what.clone(), now);
                trouble.note(|| what);
                self.dirty.insert(key);
            }
        }
    }

    /// What is noted, in the order in which it is written.
    fn in_order(&mut self) -> Vec<ServiceKey> {
        let mut order: Vec<ServiceKey> = std::mem::take(&mut self.dirty).into_iter().collect();
        let steering = Arc::clone(&self.steering.borrow());
        if !steering.weights.is_empty() {
            let weight = |key: &ServiceKey| {
                let service = address_of_key(key).and_then(|address| self.tables.services.get(&address));
                service.and_then(|service| steering.weights.get(&service.lb)).copied().unwrap_or_default()
            };
            order.sort_by_cached_key(|key| std::cmp::Reverse(weight(key)));
        }
        order
    }

    /// Tells what the maps hold and do not hold.
    pub(super) fn publish_backlog(&self, work: Option<Work>) {
        let (waiting, programmed) = (self.tries.waiting.clone(), self.services.programmed.clone());
        let generation = match work {
            None => self.tables.generation.0,
            Some(_) => self.publisher.backlog.borrow().generation,
        };
        self.publisher.backlog.send_replace(Arc::new(Backlog { waiting, programmed, generation, work }));
    }

    /// Returns whether the map holds it.
    fn apply_config(&mut self, config: ConfigEntry, trouble: &mut Trouble) -> bool {
        if self.config != Some(config) {
            match self.dataplane.set_config(&config) {
                Ok(()) => self.config = Some(config),
                Err(error) => trouble.note(|| chain(&error)),
            }
        }
        self.config == Some(config)
    }

    fn apply_nat_sources(&mut self, sources: NatSources, trouble: &mut Trouble) {
        if self.nat_sources.as_ref() == Some(&sources) {
            return;
        }
        match self.dataplane.set_nat_sources(&sources) {
            Ok(()) => self.nat_sources = Some(sources),
            Err(error) => trouble.note(|| chain(&error)),
        }
    }

    /// Interfaces that packets leave through: towards servers, and back to clients of translated flows.
    fn interfaces_out(&self) -> std::collections::BTreeSet<u32> {
        let towards_clients = self.status.attachments.iter().map(|attachment| attachment.ifindex);
        self.backends.egress().into_iter().chain(towards_clients).collect()
    }

    fn apply_egress(&mut self, interfaces: std::collections::BTreeSet<u32>, trouble: &mut Trouble) {
        if self.egress.as_ref() == Some(&interfaces) {
            return;
        }
        match self.dataplane.set_egress(&interfaces) {
            Ok(()) => self.egress = Some(interfaces),
            Err(error) => trouble.note(|| chain(&error)),
        }
    }

    fn want_servers(&mut self, now: Timestamp, trouble: &mut Trouble) {
        self.no_room = None;
        for server in std::mem::take(&mut self.dirty_servers) {
            let Some(planned) = self.tables.servers.get(&server) else { continue };
            if let Err(exhausted) = self.backends.want(server, planned, now) {
                let full = DataplaneError::Full {
                    map: names::BACKENDS,
                    capacity: exhausted.capacity,
                    setting: "dataplane.max_backends",
                };
                let what = self.no_room.insert(format!("server {}: {}", server.address, chain(&full)));
                trouble.note(|| what.clone());
                self.dirty_servers.insert(server);
            }
        }
    }

    /// Returns whether every entry is as it should be.
    fn write_backends(&mut self, trouble: &mut Trouble) -> bool {
        let mut is_complete = true;
        for index in self.backends.unwritten.clone() {
            let Some(entry) = self.backends.entry(index) else { continue };
            match self.dataplane.write_backend(index, entry) {
                Ok(()) => self.backends.written(index),
                Err(error) => {
                    is_complete = false;
                    trouble.note(|| chain(&error));
                }
            }
        }
        is_complete
    }

    fn free_backends(&mut self, now: Timestamp, trouble: &mut Trouble) {
        for index in self.backends.due_to_free(now) {
            match self.dataplane.write_backend(index, &backends::FREE) {
                Ok(()) => {
                    self.backends.freed(index);
                    self.tries.room();
                }
                Err(error) => trouble.note(|| chain(&error)),
            }
        }
    }

    fn publish(&mut self, key: ServiceKey, planned: &PlannedService, now: Timestamp) -> Result<(), Refused> {
        let held = self.services.held.get(&key);
        let generation = self.tables.generation.0;
        if let Some(held) = held.filter(|held| held.generation > generation) {
            return Err(Refused::Newer { map: held.generation, ledger: generation });
        }
        let owners = self.owners(planned)?;
        let before = held.map_or_else(Table::default, |held| {
            let is_over = held.settles_at.is_some_and(|at| at <= now);
            if is_over { held.table.settled() } else { held.table.clone() }
        });
        let table = before.advance(&owners, |index| self.backends.standing(index));
        let flags = flags_of(&key, planned);
        let acl = match &planned.access {
            Some(list) => self.access.want(list, &mut self.dataplane, now)?,
            None => 0,
        };
        let protection = protection_of(planned, acl);
        let held = self.services.held.get(&key);
        if let Some(held) = held
            && held.in_map
            && held.flags == flags
            && held.table == table
            && held.protection == protection
        {
            return Ok(());
        }
        let settles_at = match held.and_then(|held| held.settles_at) {
            _ if !table.is_moving() => None,
            Some(at) if table == before => Some(at),
            _ => Some(now.checked_add(self.settings.moving_window).unwrap_or(Timestamp::MAX)),
        };
        let known = held.map(|held| held.id).filter(|id| *id < self.services.capacity());
        let id = known.or_else(|| self.services.take_id()).ok_or_else(|| DataplaneError::Full {
            map: services_map(&key),
            capacity: self.services.capacity(),
            setting: "dataplane.max_services",
        })?;
        let publish = Publish { id, flags, slots: &table.slots, previous: &table.previous, protection, generation };
        if let Err(error) = self.dataplane.publish_service(&key, &publish) {
            if known.is_none() {
                self.services.give_back_id(id);
            }
            return Err(error.into());
        }
        let references = table.references();
        self.backends.refer(&references);
        self.access.refer(protection.acl, now);
        if let Some(held) = self.services.held.get(&key) {
            self.backends.unrefer(&held.references);
            self.access.unrefer(held.protection.acl, now);
        }
        let held = HeldService { id, flags, protection, generation, table, references, in_map: true, settles_at };
        self.services.put(key, held);
        Ok(())
    }

    /// The backend index of each slot.
    fn owners(&self, planned: &PlannedService) -> Result<Vec<u32>, Refused> {
        let mut indexes: HashMap<u16, u32> = HashMap::with_capacity(planned.servers.len().min(1024));
        let mut owners = Vec::with_capacity(planned.slots.len());
        for &position in planned.slots.iter() {
            let index = match indexes.get(&position) {
                Some(&index) => index,
                None => {
                    let server = planned.servers.get(usize::from(position)).ok_or(Refused::NoServer(position))?;
                    let index = self.index_of(*server).ok_or(Refused::NotWritten(*server))?;
                    indexes.insert(position, index);
                    index
                }
            };
            owners.push(index);
        }
        Ok(owners)
    }

    fn index_of(&self, server: ServerRef) -> Option<u32> {
        let planned = self.tables.servers.get(&server)?;
        self.backends.index_in_map(server, planned.port)
    }

    fn remove(&mut self, key: &ServiceKey, now: Timestamp) -> Result<(), Refused> {
        let Some(held) = self.services.held.get(key) else { return Ok(()) };
        let generation = self.tables.generation.0;
        if held.generation > generation {
            return Err(Refused::Newer { map: held.generation, ledger: generation });
        }
        self.dataplane.remove_service(key)?;
        if let Some(held) = self.services.remove(key) {
            self.backends.unrefer(&held.references);
            self.access.unrefer(held.protection.acl, now);
        }
        Ok(())
    }
}

/// Why a service was left as it was.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "the maps hold a table of generation {map}, the ledger is at {ledger}: an older ledger never overwrites a \
         newer table. Restore the newer ledger, or take the forwarding off with `snowshed detach`"
    )]
    Newer { map: u64, ledger: u64 },
    #[error("its range of ports is still in the map")]
    LedTo,
    #[error("the entry of server {} is not written yet", .0.address)]
    NotWritten(ServerRef),
    #[error("the plan refers to server number {0}, which it does not have")]
    NoServer(u16),
    #[error("{}", chain(.0))]
    Dataplane(#[from] DataplaneError),
}

impl Refused {
    const fn fault(&self) -> Fault {
        match self {
            Self::Newer { .. } => Fault::NewerTable,
            Self::NotWritten(_) => Fault::ServerNotWritten,
            Self::NoServer(_) => Fault::Defect,
            Self::Dataplane(DataplaneError::Full { .. }) => Fault::MapFull,
            Self::LedTo | Self::Dataplane(_) => Fault::WriteRefused,
        }
    }
}
