//! The audit: everything the maps hold against what was written. At the first one there is nothing to compare with:
//! what is found is adopted.

use jiff::Timestamp;
use lb_common::abi::{names, services_map};

use super::services::{address_of_key, shown};
use super::takeover::LeftDown;
use super::{Reconciler, Repair};
use crate::dataplane::{Dataplane, DataplaneError, Observed};

/// Repairs kept for the status.
const REPAIRS: usize = 32;

impl<D: Dataplane> Reconciler<D> {
    /// Reads everything. What differs from what was written is noted: the next application repairs it.
    pub(super) fn audit(&mut self, now: Timestamp) -> Result<(), DataplaneError> {
        let observed = self.dataplane.observe()?;
        if self.is_adopted {
            self.compare(&observed, now);
        } else {
            self.adopt(&observed, now);
            self.is_adopted = true;
        }
        Ok(())
    }

    /// Attaches the program where it is not, and its pins.
    pub(super) fn attach(&mut self, now: Timestamp) -> Result<(), DataplaneError> {
        let repaired = self.dataplane.ensure_attached();
        self.status.attachments = self.dataplane.attachments();
        for what in repaired? {
            self.repair(now, "attachment", what);
        }
        Ok(())
    }

    fn adopt(&mut self, observed: &Observed, now: Timestamp) {
        self.left_down = LeftDown::new(observed, &self.snapshot, now);
        self.config = observed.config;
        self.egress = Some(observed.egress.clone());
        self.nat_sources = Some(observed.nat_sources.clone());
        self.vips.adopt(&observed.vips);
        self.ranges.adopt(&observed.ranges);
        self.quic.adopt(&observed.quic);
        for (index, entry) in &observed.backends {
            self.backends.adopt(*index, *entry);
        }
        let settles_at = now.checked_add(self.settings.moving_window).unwrap_or(Timestamp::MAX);
        for (number, lines) in &observed.acls {
            self.access.adopt(*number, lines, now);
        }
        for (key, service) in &observed.services {
            let references = self.services.adopt(*key, service, settles_at);
            self.backends.refer(&references);
            self.access.refer(service.protection.acl, now);
            if self.settings.ledger_was_restored {
                self.services.yield_to(self.snapshot.generation().0, key);
            }
            self.dirty.insert(*key);
        }
    }

    fn compare(&mut self, observed: &Observed, now: Timestamp) {
        if self.config.is_some() && self.config != observed.config {
            self.config = None;
            self.repair(now, names::CONFIG, "was altered; written again".to_owned());
        }
        if self.egress.as_ref().is_some_and(|egress| *egress != observed.egress) {
            self.egress = None;
            let found: Vec<String> = observed.egress.iter().map(u32::to_string).collect();
            self.repair(now, names::EGRESS, format!("held [{}]; written again", found.join(", ")));
        }
        if self.nat_sources.as_ref().is_some_and(|sources| *sources != observed.nat_sources) {
            // What is there now is where the way back begins.
            self.nat_sources = Some(observed.nat_sources.clone());
            self.repair(now, names::NAT_SOURCES, "or NAT_POOL was altered; written again".to_owned());
        }
        self.compare_backends(observed, now);
        for what in self.access.compare(&observed.acls, now) {
            self.repair(now, names::ACL, what);
        }
        for what in self.vips.compare(&observed.vips) {
            self.repair(now, names::VIPS, what);
        }
        for what in self.ranges.compare(&observed.ranges) {
            self.repair(now, names::RANGES, what);
        }
        for what in self.quic.compare(&observed.quic) {
            self.repair(now, names::QUIC_SERVERS, what);
        }
        self.compare_services(observed, now);
    }

    fn compare_backends(&mut self, observed: &Observed, now: Timestamp) {
        let altered: Vec<(u32, bool)> = self
            .backends
            .settled()
            .filter_map(|(index, entry)| {
                let found = observed.backends.get(&index);
                (found != Some(entry)).then(|| (index, found.is_some_and(|found| found.identity == entry.identity)))
            })
            .collect();
        for (index, is_same_server) in altered {
            self.backends.mark_altered(index, is_same_server);
            let what = match observed.backends.get(&index) {
                None => "was zeroed",
                Some(_) if is_same_server => "was altered",
                Some(_) => "was given to somebody else",
            };
            self.repair(now, names::BACKENDS, format!("entry {index} {what}; written again"));
        }
        for (index, entry) in &observed.backends {
            if !self.backends.is_held(*index) {
                self.backends.adopt(*index, *entry);
                self.repair(now, names::BACKENDS, format!("entry {index} was not written by the agent; freed"));
            }
        }
    }

    fn compare_services(&mut self, observed: &Observed, now: Timestamp) {
        let mut altered = Vec::new();
        for (key, held) in &self.services.held {
            if !held.in_map {
                continue;
            }
            let what = match observed.services.get(key) {
                None => "was deleted; published again",
                Some(found) if !held.is(found) => "was altered; published again",
                Some(_) => continue,
            };
            altered.push((*key, what));
        }
        for (key, found) in &observed.services {
            if !self.services.held.contains_key(key) {
                let references = self.services.adopt(*key, found, now);
                self.backends.refer(&references);
                self.access.refer(found.protection.acl, now);
                if let Some(held) = self.services.held.get_mut(key) {
                    // It did not come from a ledger, whatever it says.
                    held.generation = 0;
                }
                altered.push((*key, "was not written by the agent; removed"));
            }
        }
        for (key, what) in altered {
            self.services.lost(&key);
            self.dirty.insert(key);
            if let Some(address) = address_of_key(&key) {
                self.tries.at_once(&address);
            }
            self.repair(now, services_map(&key), format!("{} {what}", shown(&key)));
        }
    }

    fn repair(&mut self, at: Timestamp, map: &str, what: String) {
        log::warn!("{map}: {what}");
        *self.status.repaired.entry(map.to_owned()).or_default() += 1;
        if self.status.repairs.len() == REPAIRS {
            self.status.repairs.remove(0);
        }
        self.status.repairs.push(Repair { at, map: map.to_owned(), what });
    }
}
