//! Reads the kernel's counters again and again, and tells the shares that come of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Balancer, EVERY, counts_flows, groups};
use crate::dataplane::Counters;
use crate::health::HealthView;
use crate::ledger::Snapshot;
use crate::model::BackendId;
use crate::plan::{ServerRef, Shares};
use crate::reconcile::Directory;

/// What was read at one time, by index into `BACKENDS`.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Packets sent, since the entry was made.
    pub packets: BTreeMap<u32, u64>,
    /// Live translated flows.
    pub flows: BTreeMap<u32, u64>,
}

impl Reading {
    /// From counters and a count of flows.
    #[must_use]
    pub fn new(counters: &Counters, flows: BTreeMap<u32, u64>) -> Self {
        Self { packets: counters.backends.iter().map(|(index, stats)| (*index, stats.packets)).collect(), flows }
    }
}

/// Takes a reading; it may block. The second call's argument is whether flows are to be counted.
pub type Measure = Arc<dyn Fn(bool) -> Result<Reading, String> + Send + Sync>;

/// Follows the loads until the ledger ends. Without a pool that goes by them, nothing is read.
pub async fn follow(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    health: watch::Receiver<Arc<HealthView>>,
    directory: watch::Receiver<Arc<Directory>>,
    measure: Measure,
    shares: watch::Sender<Arc<Shares>>,
) {
    let mut balancer = Balancer::default();
    let mut last: Option<Reading> = None;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while snapshots.has_changed().is_ok() {
        ticks.tick().await;
        let snapshot = Arc::clone(&snapshots.borrow());
        let groups = groups(&snapshot, &health.borrow());
        if groups.is_empty() {
            last = None;
            if let Some(none) = balancer.step(&groups, &BTreeMap::new()) {
                shares.send_replace(Arc::new(none));
            }
            continue;
        }
        let by_flows = |backend: BackendId| snapshot.backend(backend).is_some_and(|backend| counts_flows(backend));
        let counts = groups.keys().any(|group| by_flows(group.backend));
        let read = Arc::clone(&measure);
        let reading = match tokio::task::spawn_blocking(move || read(counts)).await {
            Ok(Ok(reading)) => reading,
            Ok(Err(error)) => {
                log::error!("leastconn: the servers' load cannot be read, their shares stay as they are: {error}");
                continue;
            }
            Err(_) => return,
        };
        if let Some(last) = &last {
            let directory = Arc::clone(&directory.borrow());
            let loads = loads(&directory, last, &reading, by_flows);
            if let Some(next) = balancer.step(&groups, &loads) {
                shares.send_replace(Arc::new(next));
            }
        }
        last = Some(reading);
    }
}

/// Live flows, or packets since the last reading.
fn loads(
    directory: &Directory,
    last: &Reading,
    now: &Reading,
    by_flows: impl Fn(BackendId) -> bool,
) -> BTreeMap<ServerRef, f64> {
    let of = |readings: &BTreeMap<u32, u64>, index: &u32| readings.get(index).copied().unwrap_or(0);
    let load = |index: &u32, server: &ServerRef| {
        if by_flows(server.backend) {
            return of(&now.flows, index);
        }
        // An index that passed to another server begins at 0 again.
        of(&now.packets, index).saturating_sub(of(&last.packets, index))
    };
    directory.backends.iter().map(|(index, server)| (*server, load(index, server) as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_the_live_flows_where_they_are_counted_and_otherwise_the_packets_since() {
        let server = |number: u128| ServerRef {
            backend: BackendId::from_uuid(uuid::Uuid::from_u128(number)),
            address: [10, 0, 0, 1].into(),
        };
        let directory =
            Directory { backends: [(4_u32, server(1)), (5, server(2))].into_iter().collect(), ..Directory::default() };
        let reading = |packets: [u64; 2], flows: u64| Reading {
            packets: [(4, packets[0]), (5, packets[1])].into(),
            flows: [(4, flows)].into(),
        };
        let translated = server(1).backend;
        let loads = loads(&directory, &reading([10, 10], 3), &reading([50, 17], 7), |backend| backend == translated);
        assert_eq!(loads, [(server(1), 7.0), (server(2), 7.0)].into());
    }
}
