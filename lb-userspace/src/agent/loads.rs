//! What the servers of `leastconn` pools carry: from the kernel's counters to the reconciler.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::balance;
use crate::dataplane::KernelCounters;
use crate::health::HealthView;
use crate::ledger::Snapshot;
use crate::observe;
use crate::plan::Shares;
use crate::reconcile::Directory;

/// Follows the loads until the ledger ends.
pub(super) async fn follow(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    health: watch::Receiver<Arc<HealthView>>,
    directory: watch::Receiver<Arc<Directory>>,
    counters: Arc<KernelCounters>,
    shares: watch::Sender<Arc<Shares>>,
) -> &'static str {
    let measure: balance::Measure = Arc::new(move |counts_flows| {
        let flows = if counts_flows { counters.live_nat_flows() } else { BTreeMap::new() };
        counters.read().map(|counters| balance::Reading::new(&counters, flows)).map_err(|error| observe::chain(&error))
    });
    balance::follow(snapshots, health, directory, measure, shares).await;
    "balancer"
}
