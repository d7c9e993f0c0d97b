//! What a new agent takes over from the one before: the last verdicts on the servers' health stand in the maps, and
//! interfaces on which another version forwards.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lb_common::abi::backend::state;

use super::Reconciler;
use super::apply::Trouble;
use super::backends::identity;
use crate::dataplane::{Dataplane, Observed};
use crate::health::{HealthView, ServerHealth};
use crate::ledger::Snapshot;
use crate::observe::chain;
use crate::plan::{Resolution, ServerRef, Unresolved};

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

/// How long the data plane of another version goes on forwarding while not every server was probed yet.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// Whether the interfaces were taken over from other versions.
#[derive(Debug, Default)]
pub(super) struct Succession {
    began: Option<Timestamp>,
    is_done: bool,
}

impl<D: Dataplane> Reconciler<D> {
    /// Takes over from other versions, once, when the maps hold the plan, and the plan is one of servers that were
    /// probed and whose ways are known: until then the others know better.
    pub(super) fn take_over(&mut self, now: Timestamp, trouble: &mut Trouble) {
        let began = *self.succession.began.get_or_insert(now);
        let is_ready = self.is_adopted && trouble.sentence().is_none();
        if self.succession.is_done || !is_ready || !(self.knows_servers() || now.duration_since(began) >= PATIENCE) {
            return;
        }
        match self.dataplane.take_over() {
            Ok(done) => {
                self.succession.is_done = true;
                for what in done {
                    log::info!("{what}");
                }
            }
            Err(error) => trouble.note(|| chain(&error)),
        }
    }

    fn knows_servers(&self) -> bool {
        self.tables.servers.iter().all(|(server, planned)| {
            let probed = self.health.servers.get(server).is_some_and(|health| health.last.is_some());
            probed && planned.next_hop != Resolution::Unresolved(Unresolved::Pending)
        })
    }
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
            (*server, ServerHealth { up: false, usable: false, since: *since, rose_at: None, decided_at, last: None })
        });
        health.servers.extend(left);
        Arc::new(health)
    }
}
