//! An edge in this process: the product's components as the agent puts them together, on a ledger of the drill's
//! choosing. It adopts what the agent left in the maps.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Doing as _, DrillError};
use crate::agent::{health_settings, kernel_config, reconcile_settings};
use crate::config::Config;
use crate::dataplane::{Dataplane as _, KernelDataplane};
use crate::faults::Faults;
use crate::health::{self, HealthView};
use crate::ledger::{Ledger as _, SqliteLedger};
use crate::nexthop;
use crate::plan::{NextHops, Resolution, Tables, wanted_addresses};
use crate::reconcile::{Reconciler, Settings, Sources, Status};

/// The components.
pub(super) struct Edge {
    pub(super) ledger: Arc<SqliteLedger>,
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) tables: watch::Receiver<Arc<Tables>>,
    pub(super) health: watch::Receiver<Arc<HealthView>>,
    dataplane: Arc<Mutex<KernelDataplane>>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
    _runtime: Runtime,
}

impl Edge {
    /// Starts on the configuration's ledger with layers taken away; what is deleted stops forwarding after `grace`.
    pub(super) fn start(config: &Config, faults: Faults, grace: Duration) -> Result<Self, DrillError> {
        let ledger = SqliteLedger::open_with_faults(&config.ledger.path, faults).doing("opening the ledger")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.doing("making an event loop")?;
        let _entered = runtime.enter();
        let ledger = Arc::new(ledger);
        let hash_key = config.hash_key().doing("reading the hash key")?;
        let kernel = KernelDataplane::open(kernel_config(config)).doing("opening the data plane")?;
        let dataplane = Arc::new(Mutex::new(kernel));
        let settings = Settings { delete_grace: grace, faults, ..reconcile_settings(config, hash_key) };
        let health_settings = health::Settings { delete_grace: grace, ..health_settings(config) };
        let health =
            health::start(health_settings, 1024, health::Network::default(), ledger.subscribe(), Default::default());
        let servers: BTreeSet<IpAddr> =
            ledger.snapshot().backends().flat_map(|pool| pool.servers.iter().map(|server| server.address)).collect();
        let wanted = watch::Sender::new(servers.clone());
        let (follower, next_hops) =
            nexthop::follow(nexthop::Config::default(), wanted.subscribe()).doing("following next hops")?;
        runtime.spawn(follower.run());
        runtime.block_on(all_resolved(next_hops.clone(), &servers))?;

        // No pool of the drill goes by measuring.
        let shares = watch::Sender::default().subscribe();
        let sources = Sources { snapshots: ledger.subscribe(), health: health.view.clone(), next_hops, shares };
        let reconciler = Reconciler::new(Arc::clone(&dataplane), sources, settings);
        let (status, tables) = (reconciler.status(), reconciler.tables());
        runtime.spawn(follow_tables(tables.clone(), wanted));
        let stop = CancellationToken::new();
        let thread = reconciler.spawn(stop.clone()).doing("starting the reconciler")?;
        drop(_entered);
        let health = health.view;
        Ok(Self { ledger, status, tables, health, dataplane, stop, thread: Some(thread), _runtime: runtime })
    }

    /// Whether the maps hold the newest generation, with this many services, every server with a way to it.
    pub(super) fn forwards(&self, services: usize) -> bool {
        let status = self.status.borrow();
        status.applied_generation == self.ledger.snapshot().generation().0
            && status.services == services
            && status.unresolved.is_empty()
    }

    /// The services that the kernel's maps hold, read from them: address, port and protocol.
    pub(super) fn in_maps(&self) -> Result<BTreeSet<(IpAddr, u16, u8)>, DrillError> {
        let observed = self.dataplane.lock().unwrap_or_else(PoisonError::into_inner).observe();
        let observed = observed.doing("reading the maps")?;
        Ok(observed
            .services
            .iter()
            .filter(|(_, service)| !service.slots.is_empty())
            .filter_map(|(key, _)| crate::reconcile::address_of_key(key))
            .map(|service| (service.address, service.port, service.protocol.number()))
            .collect())
    }

    /// Stops; forwarding goes on.
    pub(super) fn stop(mut self) -> Result<(), DrillError> {
        self.stop.cancel();
        match self.thread.take().map(std::thread::JoinHandle::join) {
            Some(Err(_)) => Err(DrillError::new("stopping the edge", "the reconciler broke off")),
            _ => Ok(()),
        }
    }
}

async fn all_resolved(
    mut next_hops: watch::Receiver<Arc<NextHops>>,
    servers: &BTreeSet<IpAddr>,
) -> Result<(), DrillError> {
    let known =
        |hops: &Arc<NextHops>| servers.iter().all(|server| matches!(hops.get(server), Some(Resolution::Resolved(_))));
    let resolved = tokio::time::timeout(super::product::PATIENCE, next_hops.wait_for(known)).await;
    let late = |_| DrillError::new("resolving the servers", "not every server has a way to it");
    resolved.map_err(late)?.doing("resolving the servers").map(drop)
}

async fn follow_tables(mut tables: watch::Receiver<Arc<Tables>>, wanted: watch::Sender<BTreeSet<IpAddr>>) {
    while tables.changed().await.is_ok() {
        wanted.send_replace(wanted_addresses(&tables.borrow_and_update()));
    }
}
