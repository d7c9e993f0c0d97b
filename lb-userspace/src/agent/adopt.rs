//! What the agent before left in the maps: which servers were up, and which were being forwarded to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::backend::state;
use tokio::sync::watch;

use crate::dataplane::{Dataplane, DataplaneError};
use crate::ledger::Snapshot;
use crate::plan::{NextHops, Resolution, ServerRef, Unresolved};
use crate::reconcile::identity;

/// What was found.
pub(super) struct Adopted {
    /// Services in the maps.
    pub(super) services: usize,
    /// Servers in the maps that the ledger knows, and whether they were up.
    pub(super) servers: BTreeMap<ServerRef, bool>,
    /// Servers whose next hop was known.
    resolved: BTreeSet<IpAddr>,
}

impl Adopted {
    /// Reads the maps.
    pub(super) fn read(dataplane: &mut dyn Dataplane, snapshot: &Snapshot) -> Result<Self, DataplaneError> {
        let observed = dataplane.observe()?;
        let states: BTreeMap<u64, u8> = observed.backends.values().map(|entry| (entry.identity, entry.state)).collect();
        let mut adopted =
            Self { services: observed.services.len(), servers: BTreeMap::new(), resolved: BTreeSet::new() };
        if states.is_empty() {
            return Ok(adopted);
        }
        for backend in snapshot.backends() {
            for server in &backend.servers {
                let server = ServerRef { backend: backend.id, address: server.address };
                let Some(bits) = states.get(&identity(server, backend.forward_port.get())) else { continue };
                adopted.servers.insert(server, bits & state::UP != 0);
                if bits & state::RESOLVED != 0 {
                    adopted.resolved.insert(server.address);
                }
            }
        }
        Ok(adopted)
    }

    /// Waits until the way to every server that is being forwarded to is known again: the first activation must not
    /// take a way from a server that has one. Servers that do not answer are given up on after a while.
    pub(super) async fn wait_for_ways(&self, next_hops: &mut watch::Receiver<Arc<NextHops>>, patience: Duration) {
        if self.resolved.is_empty() {
            return;
        }
        let all_known = |known: &Arc<NextHops>| {
            self.resolved
                .iter()
                .all(|address| !matches!(known.get(address), None | Some(Resolution::Unresolved(Unresolved::Pending))))
        };
        if tokio::time::timeout(patience, next_hops.wait_for(all_known)).await.is_err() {
            log::warn!("some servers' next hops are still unknown after {patience:?}; `snowshed status` lists them");
        }
    }
}
