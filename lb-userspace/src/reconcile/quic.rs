//! Servers by what QUIC connection ids say of them: every server of a pool that has ids, also one that drains or stands by.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{FlowEntry, QuicKey};

use crate::dataplane::{Dataplane, DataplaneError};

/// What the map holds, as last written or observed.
#[derive(Debug, Default)]
pub(super) struct QuicServers {
    held: Servers,
}

/// The servers that connection ids name.
pub(super) type Servers = BTreeMap<QuicKey, FlowEntry>;

impl QuicServers {
    /// Takes over what the map holds.
    pub(super) fn adopt(&mut self, observed: &Servers) {
        self.held.clone_from(observed);
    }

    /// What somebody altered, one sentence for each service by its id; it is written again.
    pub(super) fn compare(&mut self, observed: &Servers) -> Vec<String> {
        let differs = |key: &&QuicKey| self.held.get(*key) != observed.get(*key);
        let altered: BTreeSet<u32> =
            self.held.keys().chain(observed.keys()).filter(differs).map(QuicKey::service_id).collect();
        self.held.clone_from(observed);
        altered.into_iter().map(|id| format!("the servers of service {id} were altered; written again")).collect()
    }

    /// Whether the map holds anything.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Makes the map hold what is wanted, and of services that `is_kept` says what it holds.
    pub(super) fn apply(
        &mut self,
        wanted: &Servers,
        is_kept: impl Fn(u32) -> bool,
        dataplane: &mut impl Dataplane,
    ) -> Result<(), DataplaneError> {
        let stale = self.held.keys().filter(|key| !wanted.contains_key(key) && !is_kept(key.service_id()));
        let stale: Vec<QuicKey> = stale.copied().collect();
        let mut failed = Ok(());
        // What goes makes room for what comes.
        for key in stale {
            match dataplane.write_quic_server(&key, None) {
                Ok(()) => drop(self.held.remove(&key)),
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        for (key, entry) in wanted {
            if self.held.get(key) == Some(entry) {
                continue;
            }
            match dataplane.write_quic_server(key, Some(entry)) {
                Ok(()) => drop(self.held.insert(*key, *entry)),
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed
    }
}
