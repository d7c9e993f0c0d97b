//! The two maps of services, one for each IP version, as one.

use std::path::PathBuf;

use lb_common::abi::{ServiceEntry, ServiceKey, ServiceKeyV4, names};

use super::DataplaneError;
use super::maps::{Map, Table};

/// The setting that sizes each of the two.
const SETTING: &str = "dataplane.max_services";

/// Services by key.
#[derive(Debug)]
pub(super) struct Services {
    v4: Table<ServiceKeyV4, ServiceEntry>,
    v6: Table<ServiceKey, ServiceEntry>,
}

impl Services {
    /// Opens the pinned maps.
    pub(super) fn open(pin: impl Fn(&str) -> PathBuf) -> Result<Self, DataplaneError> {
        let open = |name| Map::open(name, &pin(name));
        Ok(Self {
            v4: Table::new(open(names::SERVICES_V4)?, SETTING)?,
            v6: Table::new(open(names::SERVICES_V6)?, SETTING)?,
        })
    }

    pub(super) fn get(&self, key: &ServiceKey) -> Result<Option<ServiceEntry>, DataplaneError> {
        match key.v4() {
            Some(key) => self.v4.get(&key),
            None => self.v6.get(key),
        }
    }

    pub(super) fn insert(&self, key: &ServiceKey, entry: &ServiceEntry) -> Result<(), DataplaneError> {
        match key.v4() {
            Some(key) => self.v4.insert(&key, entry),
            None => self.v6.insert(key, entry),
        }
    }

    /// Removes a service, also one that somebody put into the wrong map.
    pub(super) fn remove(&self, key: &ServiceKey) -> Result<(), DataplaneError> {
        if let Some(v4) = key.v4() {
            self.v4.remove(&v4)?;
        }
        self.v6.remove(key).map(drop)
    }

    /// Every service; each key once.
    pub(super) fn all(&self) -> Result<Vec<(ServiceKey, ServiceEntry)>, DataplaneError> {
        Ok(join(self.v4.all()?, self.v6.all()?))
    }

    /// The same, read one by one.
    pub(super) fn all_one_by_one(&self) -> Result<Vec<(ServiceKey, ServiceEntry)>, DataplaneError> {
        Ok(join(self.v4.all_one_by_one()?, self.v6.all_one_by_one()?))
    }
}

/// IPv4 first: what stands in the map where packets are looked for counts.
fn join(v4: Vec<(ServiceKeyV4, ServiceEntry)>, v6: Vec<(ServiceKey, ServiceEntry)>) -> Vec<(ServiceKey, ServiceEntry)> {
    let mut seen = std::collections::BTreeSet::new();
    let v4 = v4.into_iter().map(|(key, entry)| (ServiceKey::from(key), entry));
    v4.chain(v6).filter(|(key, _)| seen.insert(*key)).collect()
}
