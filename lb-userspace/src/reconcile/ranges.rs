//! Ranges of ports: which service the ports belong to that are none themselves.
//!
//! A range is written behind its service, and taken away before it: no packet is led to a service that is not there. New
//! prefixes come before stale ones go: a port that two plans have never has none in between.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{Address, RangeEntry, RangeKey, ServiceKey, ip_of};

use super::services::key_of;
use crate::dataplane::{Dataplane, DataplaneError};
use crate::plan::Tables;

/// What the map holds, as last written or observed, and the addresses that have to be looked at.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    held: BTreeMap<Address, Prefixes>,
    dirty: BTreeSet<Address>,
}

/// The prefixes of one address.
type Prefixes = BTreeMap<RangeKey, RangeEntry>;

impl Ranges {
    /// The plan for an address changed.
    pub(super) fn look_at(&mut self, address: Address) {
        self.dirty.insert(address);
    }

    /// Takes over what the map holds.
    pub(super) fn adopt(&mut self, observed: &Prefixes) {
        self.held = by_address(observed);
        self.dirty.extend(self.held.keys());
    }

    /// What somebody altered, one sentence for each address; it is written again.
    pub(super) fn compare(&mut self, observed: &Prefixes) -> Vec<String> {
        let observed = by_address(observed);
        let differs = |address: &&Address| self.held.get(*address) != observed.get(*address);
        let altered: BTreeSet<Address> = self.held.keys().chain(observed.keys()).filter(differs).copied().collect();
        self.held = observed;
        self.dirty.extend(&altered);
        altered
            .into_iter()
            .map(|address| format!("the ranges of {} were altered; written again", ip_of(address)))
            .collect()
    }

    /// Whether packets have to be looked up: the map holds something, or is about to.
    pub(super) fn are_needed(&self, tables: &Tables) -> bool {
        let is_planned = |address: &Address| tables.services_at(ip_of(*address)).any(|(service, _)| service.is_range);
        !self.held.is_empty() || self.dirty.iter().any(is_planned)
    }

    /// Writes what differs from the plan. `is_there` says which services the maps have, `is_kept` which of those without
    /// a plan they keep: their prefixes stay as far as no plan wants the ports.
    pub(super) fn apply(
        &mut self,
        tables: &Tables,
        is_there: impl Fn(&ServiceKey) -> bool,
        is_kept: impl Fn(&ServiceKey) -> bool,
        dataplane: &mut impl Dataplane,
    ) -> Result<(), DataplaneError> {
        let mut failed = Ok(());
        for address in std::mem::take(&mut self.dirty) {
            let mut is_complete = true;
            let mut wanted = Prefixes::new();
            for (service, planned) in tables.services_at(ip_of(address)).filter(|(service, _)| service.is_range) {
                let key = key_of(service);
                if !is_there(&key) {
                    is_complete = false;
                    continue;
                }
                let entry = RangeEntry { first: key.port, pad: [0; 2] };
                wanted.extend(RangeKey::covering(&key, planned.last_port).map(|prefix| (prefix, entry)));
            }
            let held = self.held.entry(address).or_default();
            let stale = held.iter().filter(|(key, entry)| {
                // While something planned is not there yet, what leads elsewhere stays.
                is_complete && !wanted.contains_key(key) && !is_kept(&service_of(key, entry))
            });
            let stale: Vec<RangeKey> = stale.map(|(key, _)| *key).collect();
            let new: Vec<_> = wanted.into_iter().filter(|(key, entry)| held.get(key) != Some(entry)).collect();
            let writes = new.into_iter().map(|(key, entry)| (key, Some(entry)));
            for (key, entry) in writes.chain(stale.into_iter().map(|key| (key, None))) {
                match (dataplane.write_range(&key, entry.as_ref()), entry) {
                    (Ok(()), Some(entry)) => drop(held.insert(key, entry)),
                    (Ok(()), None) => drop(held.remove(&key)),
                    (Err(error), _) => {
                        is_complete = false;
                        failed = failed.and(Err(error));
                        // What was to go stays as long as not everything new is there.
                        break;
                    }
                }
            }
            if held.is_empty() {
                self.held.remove(&address);
            }
            if !is_complete {
                self.dirty.insert(address);
            }
        }
        failed
    }

    /// Whether a packet can be led to a service.
    pub(super) fn lead_to(&self, service: &ServiceKey) -> bool {
        let mut prefixes = self.held.get(&service.address).into_iter().flatten();
        prefixes.any(|(key, entry)| service_of(key, entry) == *service)
    }
}

fn by_address(prefixes: &Prefixes) -> BTreeMap<Address, Prefixes> {
    let mut held: BTreeMap<Address, Prefixes> = BTreeMap::new();
    for (key, entry) in prefixes {
        held.entry(key.address).or_default().insert(*key, *entry);
    }
    held
}

/// The service that an entry leads to.
fn service_of(key: &RangeKey, entry: &RangeEntry) -> ServiceKey {
    let (address, protocol) = (key.address, key.protocol);
    ServiceKey { address, port: entry.first, protocol, kind: lb_common::abi::service::kind::RANGE, pad: [0; 4] }
}
