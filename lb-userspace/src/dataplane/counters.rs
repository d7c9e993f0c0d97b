//! The kernel's counters. Reading them needs no other part of the data plane, and nobody's lock.

use std::path::PathBuf;

use lb_common::abi::{BackendStats, ServiceStats, names};

use super::maps::{Map, PerCpu};
use super::nat::{NatUsage, Places};
use super::{Counters, DataplaneError};

/// The three maps of counters.
#[derive(Debug)]
pub struct KernelCounters {
    pub(super) services: PerCpu<ServiceStats>,
    pub(super) backends: PerCpu<BackendStats>,
    verdicts: PerCpu<u64>,
    places: Places,
}

impl KernelCounters {
    /// Opens the pinned maps.
    pub(super) fn open(pin: impl Fn(&str) -> PathBuf) -> Result<Self, DataplaneError> {
        let open = |name| Map::open(name, &pin(name));
        Ok(Self {
            services: PerCpu::new(open(names::SERVICE_STATS)?)?,
            backends: PerCpu::new(open(names::BACKEND_STATS)?)?,
            verdicts: PerCpu::new(open(names::VERDICTS)?)?,
            places: Places::new(open(names::NAT_FLOWS)?)?,
        })
    }

    /// How the places of translated flows are used now. Looks at every place: half a second for ten million.
    #[must_use]
    pub fn nat_usage(&self) -> NatUsage {
        self.places.usage()
    }

    /// Translated flows that live, by the index of their backend. Looks at every place, as [`Self::nat_usage`].
    #[must_use]
    pub fn live_nat_flows(&self) -> std::collections::BTreeMap<u32, u64> {
        self.places.live_by_backend()
    }

    /// Sums over the CPUs.
    ///
    /// # Errors
    /// [`DataplaneError`] when a map cannot be read.
    pub fn read(&self) -> Result<Counters, DataplaneError> {
        let mut counters = Counters::default();
        self.verdicts.for_each(self.verdicts.capacity(), |reason, cpus| {
            let packets: u64 = cpus.iter().sum();
            if packets > 0 {
                counters.verdicts.insert(reason, packets);
            }
        })?;
        let services = self.services.capacity();
        self.services.for_each(services, |id, cpus| {
            let sum = cpus.iter().fold(ServiceStats::default(), |sum, cpu| sum.plus(cpu));
            if sum != ServiceStats::default() {
                counters.services.insert(id, sum);
            }
        })?;
        let backends = self.backends.capacity();
        self.backends.for_each(backends, |index, cpus| {
            let sum = cpus.iter().fold(BackendStats::default(), |sum, cpu| BackendStats {
                packets: sum.packets + cpu.packets,
                bytes: sum.bytes + cpu.bytes,
            });
            if sum != BackendStats::default() {
                counters.backends.insert(index, sum);
            }
        })?;
        Ok(counters)
    }
}
