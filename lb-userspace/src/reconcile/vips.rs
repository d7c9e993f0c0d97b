//! Addresses of ours: what the edge does with packets for them that no service takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::abi::vip::flags;
use lb_common::abi::{Address, ServiceKey, VipEntry, address_of, ip_of};

use crate::dataplane::{Dataplane, DataplaneError};
use crate::model::ClosedPort;
use crate::plan::{PlannedVip, Tables};

/// What the map holds, as last written or observed, and what has to be looked at.
#[derive(Debug, Default)]
pub(super) struct Vips {
    held: BTreeMap<Address, VipEntry>,
    dirty: BTreeSet<Address>,
}

/// An address's entry.
pub(super) fn entry_of(planned: &PlannedVip) -> VipEntry {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags = flag(planned.answers_echo, flags::ECHO)
        | flag(planned.on_closed_port == ClosedPort::Reject, flags::REJECT)
        | flag(planned.quarantined, flags::QUARANTINED);
    VipEntry { flags, pad: 0 }
}

impl Vips {
    /// The plan for an address changed.
    pub(super) fn look_at(&mut self, address: IpAddr) {
        self.dirty.insert(address_of(address));
    }

    /// Takes over what the map holds.
    pub(super) fn adopt(&mut self, observed: &BTreeMap<Address, VipEntry>) {
        self.held.clone_from(observed);
        self.dirty.extend(observed.keys());
    }

    /// What somebody altered, one sentence each; it is written again.
    pub(super) fn compare(&mut self, observed: &BTreeMap<Address, VipEntry>) -> Vec<String> {
        let mut altered = Vec::new();
        let addresses: BTreeSet<Address> = self.held.keys().chain(observed.keys()).copied().collect();
        for address in addresses {
            let what = match (self.held.get(&address), observed.get(&address)) {
                (Some(held), Some(found)) if held == found => continue,
                (Some(_), Some(_)) => "was altered; written again",
                (Some(_), None) => "was deleted; written again",
                _ => "was not written by the agent; removed",
            };
            altered.push(format!("{} {what}", ip_of(address)));
            self.dirty.insert(address);
        }
        self.held.clone_from(observed);
        altered
    }

    /// Writes what differs from the plan. An address stays ours as long as one of its services is in the map.
    pub(super) fn apply<'k>(
        &mut self,
        tables: &Tables,
        services: impl Fn(Address) -> Option<&'k ServiceKey>,
        dataplane: &mut impl Dataplane,
    ) -> Result<(), DataplaneError> {
        let mut failed = Ok(());
        for address in std::mem::take(&mut self.dirty) {
            let planned = tables.vips.get(&ip_of(address)).map(entry_of);
            if planned.as_ref() == self.held.get(&address) {
                continue;
            }
            if planned.is_none() && services(address).is_some() {
                self.dirty.insert(address);
                continue;
            }
            match (dataplane.write_vip(&address, planned.as_ref()), planned) {
                (Ok(()), Some(entry)) => drop(self.held.insert(address, entry)),
                (Ok(()), None) => drop(self.held.remove(&address)),
                (Err(error), _) => {
                    self.dirty.insert(address);
                    failed = failed.and(Err(error));
                }
            }
        }
        failed
    }
}
