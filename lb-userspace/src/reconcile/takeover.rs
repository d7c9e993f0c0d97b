//! What a new agent takes over from the one before: the last verdicts on the servers' health stand in the maps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use lb_common::abi::backend::state;

use super::backends::identity;
use crate::dataplane::Observed;
use crate::health::{HealthView, ServerHealth};
use crate::ledger::Snapshot;
use crate::plan::ServerRef;

/// Whether each server of the snapshot is up, as the maps tell it; servers without an entry are absent.
///
/// The health checker starts from it: without, a server that is down would get traffic from every new agent until
/// enough probes have failed again.
#[must_use]
pub fn health_left_in(observed: &Observed, snapshot: &Snapshot) -> BTreeMap<ServerRef, bool> {
    let states: HashMap<u64, u8> = observed.backends.values().map(|entry| (entry.identity, entry.state)).collect();
    let mut health = BTreeMap::new();
    for backend in snapshot.backends() {
        for server in &backend.servers {
            let server = ServerRef { backend: backend.id, address: server.address };
            if let Some(found) = states.get(&identity(server, backend.forward_port.get())) {
                health.insert(server, found & state::UP != 0);
            }
        }
    }
    health
}

/// Servers that the agent before left as down, until the checker of this one speaks of them.
#[derive(Debug, Default)]
pub(super) struct LeftDown {
    since: BTreeMap<ServerRef, Timestamp>,
}

impl LeftDown {
    pub(super) fn new(observed: &Observed, snapshot: &Snapshot, now: Timestamp) -> Self {
        let health = health_left_in(observed, snapshot);
        Self { since: health.into_iter().filter(|(_, up)| !up).map(|(server, _)| (server, now)).collect() }
    }

    /// The checker's view, and of the servers it does not speak of yet, what was left.
    pub(super) fn complete(&mut self, health: Arc<HealthView>) -> Arc<HealthView> {
        self.since.retain(|server, _| !health.servers.contains_key(server));
        if self.since.is_empty() {
            return health;
        }
        let mut health = HealthView::clone(&health);
        let left = self.since.iter().map(|(server, since)| {
            let decided_at = std::time::Instant::now();
            (*server, ServerHealth { up: false, usable: false, since: *since, decided_at, last: None })
        });
        health.servers.extend(left);
        Arc::new(health)
    }
}
