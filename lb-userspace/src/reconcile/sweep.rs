//! The sweep: when moves are over, the entries that nobody needs any more go, and slots without any lose their mark, so
//! that their packets cost one slot read again (`DATAPLANE.md`, "Just enough tracking").
//!
//! Only services without a moving slot are swept: the program notes nothing there, so what was not found cannot appear.
//! The tables are read piece by piece, between other activations. A service that changes meanwhile waits for the next sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lb_common::abi::service::kind;
use lb_common::abi::{ConfigEntry, ServiceKey, Slot};
use lb_common::hash::FlowHash;

use super::apply::Trouble;
use super::moves::Table;
use super::services::{HeldService, address_of_key, shown};
use super::{Reconciler, key_of};
use crate::dataplane::{Dataplane, FlowCursor, FlowTable, Publish, TrackedFlow};
use crate::model::Protocol;
use crate::observe::chain;
use crate::plan::ServiceAddress;

/// So many sweeps in a window.
const SWEEPS_PER_WINDOW: u32 = 20;
/// Least and longest time between two sweeps.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Time between two pieces of a sweep: everything else comes first.
const PAUSE: Duration = Duration::from_millis(20);
/// Services that are published in one piece.
const PUBLISHED_AT_ONCE: usize = 256;

/// What is swept, and when that was done last.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    running: Option<Running>,
    ended_at: Option<Timestamp>,
    /// What was kept, by service.
    kept: BTreeMap<ServiceKey, u64>,
}

#[derive(Debug)]
struct Running {
    cursor: FlowCursor,
    services: BTreeMap<ServiceKey, Swept>,
}

/// A service in a sweep.
#[derive(Debug)]
struct Swept {
    /// Its table when the sweep began.
    table: Table,
    /// Its flags then: they say what of a flow decides its slot.
    flags: u32,
    /// Slots with entries that are needed.
    slots: BTreeSet<u32>,
    flows: u64,
}

impl Sweep {
    /// Flows that are kept on another server than their slot's.
    pub(super) fn exceptions(&self) -> u64 {
        self.kept.values().sum()
    }
}

impl<D: Dataplane> Reconciler<D> {
    /// When the next piece is due; `None` while there is nothing to sweep.
    pub(super) fn next_sweep(&self, now: Timestamp) -> Option<Timestamp> {
        if self.sweep.running.is_some() {
            return now.checked_add(PAUSE).ok();
        }
        if !self.is_adopted || (self.services.marked.is_empty() && !self.services.has_leftovers) {
            return None;
        }
        let every = (self.settings.moving_window / SWEEPS_PER_WINDOW).clamp(EVERY.0, EVERY.1);
        Some(self.sweep.ended_at.and_then(|at| at.checked_add(every).ok()).unwrap_or(now))
    }

    /// Begins a sweep when one is due, and does the next piece of one that runs.
    pub(super) fn sweep(&mut self, now: Timestamp, trouble: &mut Trouble) {
        if self.sweep.running.is_none() {
            if self.services.marked.is_empty() {
                self.sweep.kept.clear();
            }
            if self.next_sweep(now).is_none_or(|at| at > now) {
                return;
            }
            self.sweep.running = Some(self.begin());
        }
        let Some(mut running) = self.sweep.running.take() else { return };
        let Some(config) = self.config else {
            // Somebody altered it, and it could not be written: without its key no flow's slot is known.
            return self.begin_anew_later(now);
        };
        if running.cursor == FlowCursor::End {
            if self.unmark(&mut running, trouble) {
                self.sweep.ended_at = Some(now);
                let marked = &self.services.marked;
                self.sweep.kept.retain(|key, _| marked.contains_key(key));
                return;
            }
        } else {
            match self.dataplane.read_flows(&mut running.cursor) {
                Ok(flows) => flows.iter().for_each(|flow| self.judge(flow, &config, &mut running, trouble)),
                Err(error) => {
                    trouble.note(|| format!("sweeping the flow tables: {}", chain(&error)));
                    return self.begin_anew_later(now);
                }
            }
        }
        self.sweep.running = Some(running);
    }

    /// Gives the sweep up that ran; the next one looks at everything, also at what no marked slot has.
    fn begin_anew_later(&mut self, now: Timestamp) {
        self.sweep.ended_at = Some(now);
        self.services.has_leftovers = true;
    }

    fn begin(&mut self) -> Running {
        self.services.has_leftovers = false;
        let services = self.services.marked.keys().filter_map(|key| {
            let held = self.services.held.get(key)?;
            Some((*key, Swept { table: held.table.clone(), flags: held.flags, slots: BTreeSet::new(), flows: 0 }))
        });
        Running { cursor: FlowCursor::Start, services: services.collect() }
    }

    /// Keeps an entry or removes it.
    fn judge(&mut self, flow: &TrackedFlow, config: &ConfigEntry, running: &mut Running, trouble: &mut Trouble) {
        let key = self.service_of(flow).filter(|key| self.services.held.contains_key(key));
        let Some((key, held)) = key.and_then(|key| Some((key, self.services.held.get(&key)?))) else {
            self.remove_flow(flow, trouble);
            return;
        };
        let swept = running.services.get_mut(&key).filter(|swept| swept.is(held));
        let Some(swept) = swept else {
            // Nobody looks it up where no slot is marked; what has changed since waits for the next sweep.
            if !held.table.is_moving() && !self.services.marked.contains_key(&key) {
                self.remove_flow(flow, trouble);
            }
            return;
        };
        let slots = u32::try_from(swept.table.slots.len()).unwrap_or(u32::MAX);
        let number = FlowHash::of_entry(&flow.key, held.flags, config.hash_key).slot(slots);
        let slot = swept.table.slots.get(number as usize).copied().unwrap_or(Slot(0));
        let backend = self.backends.entry(flow.entry.backend);
        let is_known = backend.is_some_and(|backend| backend.generation == flow.entry.generation);
        let is_needed = slot.0 & Slot::EXCEPTIONS != 0
            && slot.backend_index() != flow.entry.backend
            && is_known
            && !self.is_told_by_another(flow)
            && flow.idle <= self.settings.moving_window;
        if is_needed {
            swept.slots.insert(number);
            swept.flows += 1;
            return;
        }
        if !self.remove_flow(flow, trouble) {
            // It is there still, and so is its slot's mark.
            swept.slots.insert(number);
        }
    }

    /// Whether it is gone. Another sweep comes for one that is not.
    fn remove_flow(&mut self, flow: &TrackedFlow, trouble: &mut Trouble) -> bool {
        match self.dataplane.remove_flow(flow.table, &flow.key) {
            Ok(()) => true,
            Err(error) => {
                trouble.note(|| format!("sweeping the flow tables: {}", chain(&error)));
                self.services.has_leftovers = true;
                false
            }
        }
    }

    /// Whether the program never comes to this entry: it looks among the pinned flows first.
    fn is_told_by_another(&self, flow: &TrackedFlow) -> bool {
        let Ok(Some(pinned)) = self.dataplane.pinned(&flow.key) else { return false };
        let backend = self.backends.entry(pinned.backend);
        flow.table == FlowTable::Opened && backend.is_some_and(|backend| backend.generation == pinned.generation)
    }

    /// The service that a flow's packets belong to, as the program finds it: one for its port, or one for a range.
    fn service_of(&self, flow: &TrackedFlow) -> Option<ServiceKey> {
        let flow = &flow.key;
        let own = ServiceKey {
            address: flow.destination,
            port: flow.destination_port,
            protocol: flow.protocol,
            kind: kind::PORT,
            pad: [0; 4],
        };
        if self.services.held.contains_key(&own) {
            return Some(own);
        }
        let port = u16::from_be_bytes(flow.destination_port);
        let address = address_of_key(&own)?;
        let first = ServiceAddress { address: address.address, port: 0, protocol: Protocol::Tcp, is_range: false };
        let mut of_address =
            self.tables.services.range(first..).take_while(|(service, _)| service.address == address.address);
        let range = of_address.find(|(service, planned)| {
            let has_port = (service.port..=planned.last_port).contains(&port);
            service.is_range && service.protocol == address.protocol && has_port
        });
        range.map(|(service, _)| key_of(service)).or_else(|| self.held_range(&own))
    }

    /// The range that forwards on against the plan, of a packet with such an address: where it ends stands in the map
    /// alone, so all ports behind its first are taken for its own.
    fn held_range(&self, own: &ServiceKey) -> Option<ServiceKey> {
        let first = ServiceKey { port: [0; 2], kind: kind::RANGE, ..*own };
        let is_before = |key: &&ServiceKey| {
            (key.address, key.protocol, key.kind) == (first.address, first.protocol, first.kind) && key.port <= own.port
        };
        self.hold.held.iter().filter(is_before).max_by_key(|key| key.port).copied()
    }

    /// Takes the marks off slots without exceptions; whether that is done for all services.
    fn unmark(&mut self, running: &mut Running, trouble: &mut Trouble) -> bool {
        for _ in 0..PUBLISHED_AT_ONCE {
            let Some((key, swept)) = running.services.pop_first() else { return true };
            let Some(held) = self.services.held.get(&key).filter(|held| swept.is(held) && held.in_map) else {
                continue;
            };
            self.sweep.kept.insert(key, swept.flows);
            let Some(table) = held.table.unmarked(&swept.slots) else { continue };
            // What somebody wrote into its flags meanwhile is the audit's.
            let held = HeldService { table, ..held.clone() };
            let publish = Publish {
                id: held.id,
                flags: held.flags,
                slots: &held.table.slots,
                previous: &held.table.previous,
                protection: held.protection,
                generation: held.generation,
            };
            match self.dataplane.publish_service(&key, &publish) {
                Ok(()) => {
                    let has_leftovers = self.services.has_leftovers;
                    self.services.put(key, held);
                    // Its flows were all looked at.
                    self.services.has_leftovers = has_leftovers;
                }
                Err(error) => trouble.note(|| format!("service {}: {}", shown(&key), chain(&error))),
            }
        }
        running.services.is_empty()
    }
}

impl Swept {
    /// Whether the service still has the table that is swept, with the slots of its flows where they were.
    fn is(&self, held: &HeldService) -> bool {
        Arc::ptr_eq(&self.table.slots, &held.table.slots) && held.table.previous.is_empty() && self.flags == held.flags
    }
}
