//! The kernel's counters by what they are of.

use std::collections::BTreeMap;

use lb_common::abi::{BackendStats, Reason, ServiceStats};

use crate::dataplane::Counters;
use crate::plan::{ServerRef, ServiceAddress};
use crate::reconcile::Directory;

/// What has passed since the maps were made; a service or server that is made anew begins at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets by the label of the reason they left for; only those above 0.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// By service.
    pub services: BTreeMap<ServiceAddress, ServiceStats>,
    /// By server of a pool.
    pub servers: BTreeMap<ServerRef, BackendStats>,
}

impl Traffic {
    /// Counters with the names that the directory gives their numbers.
    #[must_use]
    pub fn of(counters: &Counters, directory: &Directory) -> Self {
        let packets = |reason: &Reason| counters.verdicts.get(&(*reason as u32)).copied();
        let mut traffic = Self {
            verdicts: Reason::ALL.iter().filter_map(|reason| Some((reason.label(), packets(reason)?))).collect(),
            ..Self::default()
        };
        for (id, address) in &directory.services {
            traffic.services.insert(*address, counters.services.get(id).copied().unwrap_or_default());
        }
        for (index, server) in &directory.backends {
            // A server has a second entry while its port changes.
            let sum = traffic.servers.entry(*server).or_default();
            if let Some(stats) = counters.backends.get(index) {
                sum.packets += stats.packets;
                sum.bytes += stats.bytes;
            }
        }
        traffic
    }
}
