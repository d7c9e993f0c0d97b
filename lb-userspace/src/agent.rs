//! The agent: builds every component from the configuration and runs them until it is told to stop.
//!
//! Architecture Invariant: this is the only file that knows every component. Forwarding never depends on it: the
//! kernel's maps, program and links are pinned, and whatever ends here leaves them as they are.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use lb_common::abi::nat::NatRange;
use lb_common::abi::{ABI_VERSION, ConfigEntry};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::authority::{LastUsed, TokenKey};
use crate::config::{Config, HashKey, SecretError};
use crate::dataplane::{DataplaneError, KernelConfig, KernelCounters, KernelDataplane, Sizes};
use crate::faults::Faults;
use crate::guard::Limits;
use crate::ledger::{Authorized, Ledger, LedgerError, SqliteLedger, backup};
use crate::model::Pools;
use crate::observe::{self, Metrics};
use crate::plan::{Node, Planner, Tables, wanted_addresses};
use crate::reconcile::{Directory, Reconciler, Settings, Sources};
use crate::recovery::heal::{self, Heal};
use crate::{answering, api, health, nexthop};

mod adopt;
mod backups;
mod capture;
mod delivery;
mod descriptors;
mod explain;
mod lineage;
mod listeners;
mod loads;
mod nat_sources;
mod notify;
mod purging;
mod tenancy;

use adopt::Adopted;
use delivery::{Delivering, DeliveryError};
use nat_sources::NatSourceError;

/// Longest wait at start for the ways to servers that are being forwarded to already.
const RESOLVE_AT_START: Duration = Duration::from_secs(2);
/// Time between two looks at which addresses are ours: every change asks the kernel about all of them.
const ADDRESSES_EVERY: Duration = Duration::from_secs(5);
/// Time the runtime's threads get to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Descriptors for all but probes: connections of the API, maps, ledger, netlink.
const OTHER_DESCRIPTORS: u64 = 512;

/// The data plane, shared: the reconciler writes, `explain` and metrics read.
type Shared = Arc<Mutex<KernelDataplane>>;

/// Runs the agent; returns when it has stopped: success after a signal, failure when something failed, which is
/// logged with what to do.
#[must_use]
pub fn main(config: &Config) -> ExitCode {
    observe::init_log();
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(AgentError::Runtime).and_then(
            |runtime| {
                let result = runtime.block_on(async {
                    let mut signals = StopSignals::new()?;
                    run(config, Faults::default(), signals.next()).await
                });
                runtime.shutdown_timeout(SHUTDOWN);
                result
            },
        );
    match result {
        Ok(()) => {
            log::info!("stopped; forwarding goes on (`snowshed detach` ends it)");
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error!("{}. The agent stops; what was forwarding goes on forwarding", observe::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Why the agent could not start or go on. Variants are facts.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The operating system gave no threads or signals.
    #[error("the system gives the agent no threads, sockets or signals")]
    Runtime(#[source] std::io::Error),
    /// A secret could not be read.
    #[error("a secret of the configuration cannot be used")]
    Secret(#[from] SecretError),
    /// A token of the configuration does not hold together.
    #[error("the token `{name}` of the configuration {what}")]
    Token {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A directory could not be made.
    #[error("the directory {path} cannot be made: make it, or change the configuration")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The ledger could not be opened or is not intact.
    #[error("the ledger cannot be used")]
    Ledger(#[from] LedgerError),
    /// The maps hold what another ledger said.
    #[error(
        "the ledger {ledger} is not the one that the maps in {maps} were made from: {what}. Nothing was changed and packets keep flowing as they did. {remedy}"
    )]
    OtherLedger {
        /// Where the maps are pinned.
        maps: PathBuf,
        /// The ledger, by its end.
        ledger: String,
        /// How the two differ.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The source addresses of translated flows could not be reserved.
    #[error("translated flows cannot be given their source addresses")]
    NatSources(#[from] NatSourceError),
    /// Nothing can be delivered.
    #[error("webhooks and e-mails cannot be delivered")]
    Delivery(#[from] DeliveryError),
    /// The data plane could not be opened or read.
    #[error("the data plane cannot be used")]
    Dataplane(#[from] DataplaneError),
    /// The API cannot listen.
    #[error("the API cannot be served")]
    Api(#[from] api::ServeError),
    /// A component ended by itself.
    #[error("the {0} ended by itself: this is a defect, please report it; start the agent again")]
    Ended(&'static str),
}

/// Runs until it is told to stop, and by what. The order matters: nothing touches the data plane before the ledger is
/// known to be intact, and nobody may ask for changes before the maps were made to hold what the ledger says.
///
/// # Errors
/// When a component cannot be built, or ends by itself.
pub(crate) async fn run(
    config: &Config,
    faults: Faults,
    stopped: impl Future<Output = &'static str>,
) -> Result<(), AgentError> {
    descriptors::raise_limit(u64::from(config.health.max_concurrent_probes) + OTHER_DESCRIPTORS);
    let hash_key = config.hash_key()?;
    let sqlite = open_ledger(&config.ledger.path, faults)?;
    let ledger: Arc<dyn Ledger> = Arc::<SqliteLedger>::clone(&sqlite);
    lineage::check(&config.dataplane.pin_dir, &*ledger, backup::was_restored(&config.ledger.path))?;
    nat_sources::reserve(&*ledger, &config.nat_sources(), config.max_nat_sources(), Timestamp::now())?;
    let token_key = tenancy::prepare(config, &*ledger)?;
    let delivering = Delivering::open(config)?;
    let mut kernel = KernelDataplane::open(kernel_config(config))?;
    let adopted = Adopted::read(&mut kernel, &ledger.snapshot())?;
    log::info!(
        "data plane open on {}; {} services and {} servers were there already",
        config.dataplane.interfaces.join(", "),
        adopted.services,
        adopted.servers.len()
    );
    let settings = Settings { faults, ..reconcile_settings(config, hash_key) };
    let counters = kernel.counter_reader();
    let reader = Arc::clone(&counters);
    let dataplane: Shared = Arc::new(Mutex::new(kernel));

    let wanted = watch::Sender::new(BTreeSet::new());
    let (follower, mut next_hops) =
        nexthop::follow(nexthop::Config::default(), wanted.subscribe()).map_err(AgentError::Runtime)?;
    let mut components: JoinSet<&'static str> = JoinSet::new();
    let health = health::start(
        health_settings(config),
        usize::try_from(config.health.max_concurrent_probes).unwrap_or(usize::MAX),
        health::Network { tunnel: probe_tunnel(settings.config, &next_hops, &mut components) },
        ledger.subscribe(),
        adopted.servers.clone(),
    );
    wanted.send_replace(first_wanted(&settings, &*ledger, &health));
    components.spawn(follow_next_hops(follower));
    adopted.wait_for_ways(&mut next_hops, RESOLVE_AT_START).await;

    let (shares_sender, shares) = watch::channel(Arc::default());
    let sources =
        Sources { snapshots: ledger.subscribe(), health: health.view.clone(), next_hops: next_hops.clone(), shares };
    let reconciler = Reconciler::new(Arc::clone(&dataplane), sources, settings);
    let mut status = reconciler.status();
    let tables = reconciler.tables();
    let requests: Arc<api::Requests> = Arc::default();
    let read_counters: observe::CounterSource = Arc::new({
        let counters = Arc::clone(&counters);
        move || counters.read()
    });
    let sampler =
        Arc::new(observe::Sampler::new(Arc::clone(&read_counters), reconciler.directory(), reconciler.tables()));
    let heal = scoreboard(&ledger, &reconciler, &health, &sampler, &mut components)?;
    let reconciler = reconciler.steered_by(heal.steering()).remembering(config.ledger.path.with_file_name("hold.json"));
    let metrics = Arc::new(Metrics::new(observe::Edge {
        snapshots: ledger.subscribe(),
        ledger_is_failing: Arc::new({
            let ledger = Arc::clone(&ledger);
            move || ledger.trouble().is_some()
        }),
        status: status.clone(),
        tables: reconciler.tables(),
        directory: reconciler.directory(),
        health: health.view.clone(),
        probes: health.probes.clone(),
        requests: Arc::clone(&requests),
        nat_usage: Arc::new({
            let counters = Arc::clone(&counters);
            move || counters.nat_usage()
        }),
        counters: Arc::clone(&read_counters),
        heal: Arc::new({
            let heal = Arc::clone(&heal);
            move || heal.board(Timestamp::now())
        }),
        clock: Timestamp::now,
        outbox: Arc::clone(&delivering.outbox),
    }));
    let traffic = traffic_source(reader, reconciler.directory());
    let reconciler = reconciler.observed_by(metrics.observer());
    components.spawn(follow_tables(reconciler.tables(), wanted));
    let loads = (ledger.subscribe(), health.view.clone(), reconciler.directory());
    components.spawn(loads::follow(loads.0, loads.1, loads.2, Arc::clone(&counters), shares_sender));
    components.spawn(purging::keep(Arc::clone(&ledger), config.deletion.retention, status.clone()));
    components.spawn(backups::keep(config.backups(), config.backup.clone(), sqlite, status.clone()));
    let answering = answering::follow(reconciler.tables(), config.dataplane.interfaces.clone());
    components.spawn(async move {
        answering.await;
        "reconciler"
    });
    let stop = CancellationToken::new();
    let reconciling = run_reconciler(reconciler, stop.clone())?;
    // The first activation; its failure is in the status and is tried again, the API can be asked about it.
    status.changed().await.map_err(|_| AgentError::Ended("reconciler"))?;

    components.spawn(sample_traffic(Arc::clone(&sampler)));
    let events = Arc::new(observe::Events::new());
    let watched =
        observe::events::Watched { ledger: Arc::clone(&ledger), health: health.view.clone(), status: status.clone() };
    components.spawn(observe::events::watch(watched, Arc::clone(&events), Timestamp::now));
    components.spawn(Arc::clone(&heal).keep(Arc::clone(&events), Timestamp::now));

    components.spawn(delivering.run());
    let watched = crate::delivery::watch::Watched {
        ledger: Arc::clone(&ledger),
        health: health.view.clone(),
        status: status.clone(),
    };
    components.spawn(crate::delivery::watch::watch(watched, Arc::clone(&delivering.outbox), Timestamp::now));
    components.spawn(notify::watchdog(status.clone()));
    let (api_status, status_task) = status_for_api(status);
    components.spawn(status_task);
    let listeners = listeners::bind(config, &mut components).await?;
    let last_used = Arc::new(LastUsed::beside(&config.ledger.path));
    components.spawn(tenancy::save_uses(Arc::clone(&last_used)));
    let parts = Parts {
        ledger: Arc::clone(&ledger),
        status: api_status,
        tables,
        requests,
        metrics,
        traffic,
        events: Arc::clone(&events),
        token_key,
        last_used: Arc::clone(&last_used),
        live_traffic: sampler,
        heal,
        faults,
        delivery: api::Delivery {
            outbox: delivering.outbox,
            key: delivering.key,
            targets: delivering.targets,
            sends_email: delivering.sends_email,
            expects_denial: false,
        },
    };
    let captures = capture::FromProgram {
        dataplane: Arc::clone(&dataplane),
        ledger: Arc::clone(&ledger),
        tables: parts.tables.clone(),
        next_hops,
        stop: stop.child_token(),
        now: Arc::default(),
        running: Arc::default(),
    };
    let context = context(config, parts, &health, &dataplane, captures.clone());
    let serving = tokio::spawn(api::serve(api::router(context), listeners, stop.clone()));
    notify::ready();
    log::info!("ready: generation {}, API on {}", ledger.snapshot().generation(), config.api.socket.display());

    let result = tokio::select! {
        name = stopped => {
            log::info!("{name}: draining the API and stopping");
            Ok(())
        }
        ended = components.join_next() => Err(AgentError::Ended(ended.and_then(Result::ok).unwrap_or("next-hop watcher"))),
        _ = health.task => Err(AgentError::Ended("health checker")),
        _ = reconciling => Err(AgentError::Ended("reconciler")),
    };
    notify::stopping();
    stop.cancel();
    events.close();
    captures.end().await;
    if serving.await.is_err() {
        log::error!("the API broke off while it was drained");
    }
    tenancy::save(&last_used);
    result
}

fn open_ledger(path: &Path, faults: Faults) -> Result<Arc<SqliteLedger>, AgentError> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|source| AgentError::Directory { path: directory.to_owned(), source })?;
    }
    let ledger = SqliteLedger::open_with_faults(path, faults)?;
    log::info!("ledger {} is intact at generation {}", path.display(), ledger.snapshot().generation());
    Ok(Arc::new(ledger))
}

pub(crate) fn kernel_config(config: &Config) -> KernelConfig {
    let dataplane = &config.dataplane;
    KernelConfig {
        pin_dir: KernelConfig::versioned(&dataplane.pin_dir),
        interfaces: dataplane.interfaces.clone(),
        xdp_mode: dataplane.xdp_mode,
        sizes: Sizes {
            max_services: dataplane.max_services,
            max_backends: dataplane.max_backends,
            max_slots: dataplane.max_slots,
            max_flows: dataplane.max_flows,
            max_acl_prefixes: dataplane.max_acl_prefixes,
            max_sources: dataplane.max_sources,
            max_nat_flows: dataplane.max_nat_flows,
        },
    }
}

pub(crate) fn reconcile_settings(config: &Config, hash_key: HashKey) -> Settings {
    let dataplane = &config.dataplane;
    let entry = ConfigEntry {
        hash_key: hash_key.words(),
        outer_source_v6: dataplane.outer_source_v6.network().octets(),
        outer_source_v4: dataplane.outer_source_v4.network().octets(),
        abi_version: ABI_VERSION,
        nat_v4: NatRange::default(),
        nat_v6: NatRange::default(),
        ranges: 0,
        pad: 0,
    };
    Settings {
        delete_grace: config.deletion.grace,
        moving_window: config.reconcile.move_window,
        audit_interval: config.reconcile.audit_interval,
        max_services: dataplane.max_services,
        max_backends: dataplane.max_backends,
        ledger_was_restored: backup::was_restored(&config.ledger.path),
        ..Settings::new(entry)
    }
}

pub(crate) fn health_settings(config: &Config) -> health::Settings {
    health::Settings {
        mass_failure_share: config.health.mass_failure_share,
        mass_failure_window: config.health.mass_failure_window,
        delete_grace: config.deletion.grace,
        seed: rand::random(),
    }
}

/// What the API is given of the running components.
struct Parts {
    ledger: Arc<dyn Ledger>,
    status: watch::Receiver<crate::reconcile::Status>,
    tables: watch::Receiver<Arc<Tables>>,
    requests: Arc<api::Requests>,
    metrics: Arc<Metrics>,
    traffic: TrafficSource,
    events: Arc<observe::Events>,
    token_key: TokenKey,
    last_used: Arc<LastUsed>,
    live_traffic: Arc<dyn observe::LiveTraffic>,
    heal: Arc<Heal>,
    faults: Faults,
    delivery: api::Delivery,
}

/// Reads the counters from time to time: what is deleted must have no live traffic.
async fn sample_traffic(sampler: Arc<observe::Sampler>) -> &'static str {
    loop {
        let reading = Arc::clone(&sampler);
        match tokio::task::spawn_blocking(move || reading.sample()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::error!("live traffic cannot be read: {error}"),
            Err(_) => return "traffic sampler",
        }
        tokio::time::sleep(observe::TRAFFIC_EVERY).await;
    }
}

type TrafficSource = Arc<dyn Fn() -> Result<observe::Traffic, String> + Send + Sync>;

fn traffic_source(counters: Arc<KernelCounters>, directory: watch::Receiver<Arc<Directory>>) -> TrafficSource {
    Arc::new(move || {
        let directory = Arc::clone(&directory.borrow());
        let counters = counters.read().map_err(|error| observe::chain(&error))?;
        Ok(observe::Traffic::of(&counters, &directory))
    })
}

fn context(
    config: &Config,
    parts: Parts,
    health: &health::Health,
    dataplane: &Shared,
    captures: capture::FromProgram,
) -> api::Context {
    let Parts {
        ledger,
        status,
        tables,
        requests,
        metrics,
        events,
        token_key,
        last_used,
        traffic,
        live_traffic,
        delivery,
        heal,
        faults,
    } = parts;
    let v4 = config.addresses.v4.iter().copied().map(IpNet::V4);
    let v6 = config.addresses.v6.iter().copied().map(IpNet::V6);
    let of = |quota: u32| usize::try_from(quota).unwrap_or(usize::MAX);
    let own = health::own_addresses().unwrap_or_else(|error| {
        log::error!("the edge's own addresses cannot be read, and are not refused as servers': {error}");
        BTreeSet::new()
    });
    api::Context {
        ledger: Authorized::new(ledger),
        status,
        tables,
        events,
        requests,
        health: health.view.clone(),
        limits: Limits {
            lbs_per_project: of(config.quotas.load_balancers),
            ips_per_project: of(config.quotas.ips),
            frontends_per_lb: of(config.quotas.frontends_per_lb),
            backends_per_lb: of(config.quotas.backends_per_lb),
            servers_per_backend: of(config.quotas.servers_per_backend),
            subscribers_per_project: of(config.quotas.subscribers),
            acls_per_frontend: of(config.quotas.acls_per_frontend),
            acl_prefixes_per_frontend: of(config.quotas.acl_prefixes_per_frontend),
        },
        pools: Pools::new(v4.chain(v6)).on_edge(own),
        zone: config.api.zone.clone(),
        token_key,
        last_used,
        throttle: Arc::new(api::Throttle::new(api::Rates {
            per_token: config.api.requests_per_token,
            per_source: config.api.requests_per_source,
        })),
        clock: Arc::new(Timestamp::now),
        traffic,
        metrics: Arc::new(move || metrics.render()),
        live_traffic,
        heal,
        delivery,
        faults,
        explain: Arc::new(explain::FromMaps(Arc::clone(dataplane))),
        captures: Arc::new(captures),
    }
}

/// The scoreboard, and what follows who answers for our addresses.
fn scoreboard(
    ledger: &Arc<dyn Ledger>,
    reconciler: &Reconciler<Shared>,
    health: &health::Health,
    sampler: &Arc<observe::Sampler>,
    components: &mut JoinSet<&'static str>,
) -> Result<Arc<Heal>, AgentError> {
    let wanted = watch::Sender::new(BTreeSet::new());
    let (follower, ways_to_vips) =
        nexthop::follow(nexthop::Config::default(), wanted.subscribe()).map_err(AgentError::Runtime)?;
    components.spawn(follow_next_hops(follower));
    components.spawn(follow_addresses(reconciler.tables(), wanted));
    Ok(Arc::new(Heal::new(heal::Sources {
        ledger: Arc::clone(ledger),
        status: reconciler.status(),
        backlog: reconciler.backlog(),
        tables: reconciler.tables(),
        health: health.view.clone(),
        ways_to_vips,
        traffic: Arc::<observe::Sampler>::clone(sampler),
    })))
}

/// Lets a next-hop watcher ask who answers for our own addresses: nobody else should.
async fn follow_addresses(
    tables: watch::Receiver<Arc<Tables>>,
    wanted: watch::Sender<BTreeSet<IpAddr>>,
) -> &'static str {
    loop {
        let next: BTreeSet<IpAddr> = tables.borrow().vips.keys().copied().collect();
        wanted.send_if_modified(|wanted| {
            let is_other = *wanted != next;
            *wanted = next;
            is_other
        });
        tokio::time::sleep(ADDRESSES_EVERY).await;
        if tables.has_changed().is_err() {
            return "reconciler";
        }
    }
}

/// The probes' way through tunnels; where this machine has none, they go straight to the servers' addresses.
fn probe_tunnel(
    config: ConfigEntry,
    next_hops: &watch::Receiver<Arc<crate::plan::NextHops>>,
    components: &mut JoinSet<&'static str>,
) -> Option<Arc<health::Tunnel>> {
    match health::Tunnel::open(config, next_hops.clone()) {
        Ok((tunnel, carrier)) => {
            components.spawn(async move {
                carrier.run().await;
                "carrier of the probes"
            });
            Some(tunnel)
        }
        Err(error) => {
            log::warn!(
                "probes do not go through tunnels ({error}): they ask the servers' own addresses, and see nothing of a \
                 server that does not unwrap. `snowshed doctor` says what is missing"
            );
            None
        }
    }
}

/// Addresses the first plan will need a way to.
fn first_wanted(settings: &Settings, ledger: &dyn Ledger, health: &health::Health) -> BTreeSet<IpAddr> {
    let mut planner = Planner::new(settings.seed, settings.delete_grace);
    let tables = planner.plan(&ledger.snapshot(), &health.view.borrow(), &Node::default(), Timestamp::now());
    wanted_addresses(&tables)
}

async fn follow_next_hops(follower: nexthop::Follower) -> &'static str {
    if let Err(error) = follower.run().await {
        log::error!("{}", observe::chain(&error));
    }
    "next-hop watcher"
}

/// Lets the next-hop watcher follow what the tables need.
async fn follow_tables(
    mut tables: watch::Receiver<Arc<Tables>>,
    wanted: watch::Sender<BTreeSet<IpAddr>>,
) -> &'static str {
    while tables.changed().await.is_ok() {
        let next = wanted_addresses(&tables.borrow_and_update());
        wanted.send_if_modified(|wanted| {
            let is_other = *wanted != next;
            *wanted = next;
            is_other
        });
    }
    "reconciler"
}

/// Runs the reconciler on its thread; the receiver hears of its end.
fn run_reconciler(
    reconciler: Reconciler<Shared>,
    stop: CancellationToken,
) -> Result<oneshot::Receiver<()>, AgentError> {
    let (ended, receiver) = oneshot::channel();
    let thread = reconciler.spawn(stop).map_err(AgentError::Runtime)?;
    tokio::task::spawn_blocking(move || {
        if thread.join().is_err() {
            log::error!("the reconciler broke off");
        }
        drop(ended);
    });
    Ok(receiver)
}

/// The reconciler's status as the API takes it.
fn status_for_api(
    mut status: watch::Receiver<Arc<crate::reconcile::Status>>,
) -> (watch::Receiver<crate::reconcile::Status>, impl Future<Output = &'static str>) {
    let sender = watch::Sender::new(crate::reconcile::Status::clone(&status.borrow_and_update()));
    let receiver = sender.subscribe();
    let task = async move {
        while status.changed().await.is_ok() {
            sender.send_replace(crate::reconcile::Status::clone(&status.borrow_and_update()));
        }
        "reconciler"
    };
    (receiver, task)
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> Result<Self, AgentError> {
        let of = |kind| signal(kind).map_err(AgentError::Runtime);
        Ok(Self { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
