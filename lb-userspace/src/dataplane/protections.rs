//! The maps of what stands between a service and its servers: limits by service, and access lists by number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use lb_common::abi::{AclKey, AclPrefix, Address, ProtectionEntry, ServiceEntry, names};

use super::maps::{Map, Table};
use super::{DataplaneError, reads_protection};

/// Limits, and the lines of every access list.
#[derive(Debug)]
pub(super) struct Protections {
    entries: Table<u32, ProtectionEntry>,
    lines: Table<AclKey, u32>,
}

impl Protections {
    /// Opens the pinned maps.
    pub(super) fn open(pin: impl Fn(&str) -> PathBuf) -> Result<Self, DataplaneError> {
        let open = |name| Map::open(name, &pin(name));
        Ok(Self {
            entries: Table::new(open(names::PROTECTION)?, "dataplane.max_services")?,
            lines: Table::new(open(names::ACL)?, "dataplane.max_acl_prefixes")?,
        })
    }

    pub(super) fn get(&self, id: u32) -> Result<ProtectionEntry, DataplaneError> {
        Ok(self.entries.get(&id)?.unwrap_or_default())
    }

    /// The entry of a service that reads one.
    pub(super) fn of(&self, service: &ServiceEntry) -> Result<ProtectionEntry, DataplaneError> {
        if reads_protection(service.flags) { self.get(service.id) } else { Ok(ProtectionEntry::default()) }
    }

    /// Writes the entry of a service that reads one.
    pub(super) fn write(&self, service: &ServiceEntry, entry: &ProtectionEntry) -> Result<(), DataplaneError> {
        if reads_protection(service.flags) { self.entries.insert(&service.id, entry) } else { Ok(()) }
    }

    pub(super) fn acl(&self, number: u32, address: Address) -> Result<Option<u32>, DataplaneError> {
        self.lines.get(&AclKey { prefix_len: AclKey::ALL_BITS, acl: number, address })
    }

    /// Every list, its lines in ascending order.
    pub(super) fn acls(&self) -> Result<BTreeMap<u32, Vec<AclPrefix>>, DataplaneError> {
        let mut acls: BTreeMap<u32, Vec<AclPrefix>> = BTreeMap::new();
        for (key, verdict) in self.lines.all()? {
            acls.entry(key.acl).or_default().extend(AclPrefix::of(&key, verdict));
        }
        acls.values_mut().for_each(|lines| lines.sort_unstable());
        Ok(acls)
    }

    /// Removes first: a list that is replaced in place needs no room for both.
    pub(super) fn write_acl(
        &self,
        number: u32,
        before: &[AclPrefix],
        after: &[AclPrefix],
    ) -> Result<(), DataplaneError> {
        let [old, new] = [before, after].map(|lines| lines.iter().copied().collect::<BTreeSet<_>>());
        let kept: BTreeSet<AclKey> = after.iter().map(|line| line.key(number)).collect();
        for key in old.difference(&new).map(|line| line.key(number)).filter(|key| !kept.contains(key)) {
            self.lines.remove(&key)?;
        }
        for line in new.difference(&old) {
            self.lines.insert(&line.key(number), &line.verdict)?;
        }
        Ok(())
    }
}
