//! An agent's API over a ledger in memory, on a Unix socket in a directory of its own, and the command line against it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use lb_userspace::api::{
    self, CaptureError, CaptureOrder, Captures, Context, Explain, ExplainError, Listeners, Tls, router, serve,
};
use lb_userspace::authority::{Bootstrap, TokenKey, bootstrap};
use lb_userspace::cli::failure::Exit;
use lb_userspace::cli::terminal::{Buffer, Terminal};
use lb_userspace::delivery::{Outbox, SigningKey, Targets};
use lb_userspace::guard::Limits;
use lb_userspace::health::HealthView;
use lb_userspace::ledger::memory::MemoryLedger;
use lb_userspace::ledger::{Authorized, Ledger};
use lb_userspace::model::{LbId, Name, OrganizationId, Owner, Pools, ProjectId, Reach, Role};
use lb_userspace::observe::events::Watched;
use lb_userspace::observe::{self, Events, LiveTraffic, Rate, Traffic};
use lb_userspace::plan::ServiceAddress;
use lb_userspace::reconcile::Status;
use lb_userspace::recovery::heal::{self, Heal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The token of the agent's only tenant.
pub const TOKEN: &str = "the-token-of-the-test";
/// The operator's token.
pub const OPERATOR: &str = "the-operators-token-of-the-test";

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub exit: Exit,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The result as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An agent without a data plane.
pub struct Agent {
    ledger: Arc<MemoryLedger>,
    /// Operations that made the tenant and its token.
    tenancy: u64,
    directory: tempfile::TempDir,
    router: axum::Router,
    runtime: tokio::runtime::Runtime,
    flows: Arc<Flows>,
}

/// Whether changes reach the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciler {
    /// At once.
    Works,
    /// Never.
    Stands,
}

/// A scoreboard of an edge that does nothing.
fn scoreboard(ledger: &Arc<MemoryLedger>) -> Arc<Heal> {
    Arc::new(Heal::new(heal::Sources {
        ledger: Arc::clone(ledger) as Arc<dyn Ledger>,
        status: watch::Sender::default().subscribe(),
        backlog: watch::Sender::default().subscribe(),
        tables: watch::Sender::default().subscribe(),
        health: watch::Sender::default().subscribe(),
        ways_to_vips: watch::Sender::default().subscribe(),
        traffic: Arc::new(Flows::default()),
    }))
}

impl Agent {
    /// An agent without any load balancer.
    pub fn empty(reconciler: Reconciler) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ledger = Arc::new(MemoryLedger::new());
        let (status, status_seen) = watch::channel(Status::default());
        let mut snapshots = ledger.subscribe();
        runtime.spawn(async move {
            while snapshots.changed().await.is_ok() {
                let generation = snapshots.borrow_and_update().generation().0;
                if reconciler == Reconciler::Works {
                    status.send_modify(|status| status.applied_generation = generation);
                }
            }
        });
        let owner = Owner { organization: OrganizationId::new(), project: ProjectId::new() };
        let (health_seen, health) = watch::channel(Arc::new(HealthView::default()));
        let events: Arc<Events> = Arc::default();
        let (edge, edge_seen) = watch::channel(Arc::new(Status::default()));
        let watched = Watched { ledger: ledger.clone(), health: health.clone(), status: edge_seen };
        let followed = Arc::clone(&events);
        runtime.spawn(async move {
            // Nothing is published there, and the watcher ends when nothing can be.
            let _published = (health_seen, edge);
            observe::events::watch(watched, followed, Timestamp::now).await
        });
        let token_key = TokenKey::new([7; 32]);
        let token = Bootstrap {
            name: Name::try_from("test".to_owned()).unwrap(),
            role: Role::ProjectEditor,
            reach: Reach::Project { owner },
            digest: token_key.digest(TOKEN),
        };
        let operator = Bootstrap {
            name: Name::try_from("operator".to_owned()).unwrap(),
            role: Role::Operator,
            reach: Reach::Fleet,
            digest: token_key.digest(OPERATOR),
        };
        bootstrap(&*ledger, &[token, operator], Timestamp::now()).unwrap();
        let tenancy = ledger.snapshot().generation().0;
        let flows = Arc::new(Flows::default());
        let context = Context {
            ledger: Authorized::new(ledger.clone()),
            status: status_seen,
            tables: watch::Sender::default().subscribe(),
            events: Arc::clone(&events),
            requests: Arc::default(),
            health,
            limits: Limits { lbs_per_project: 4, ..Limits::default() },
            pools: Pools::new(["192.0.2.0/24", "2001:db8::/120"].map(|network| network.parse().unwrap())),
            zone: "fr-par-1".to_owned(),
            token_key,
            last_used: Arc::default(),
            throttle: Arc::default(),
            clock: Arc::new(Timestamp::now),
            traffic: Arc::new(|| Ok(Traffic::default())),
            metrics: Arc::new(String::new),
            live_traffic: Arc::clone(&flows) as _,
            delivery: api::Delivery {
                outbox: Arc::new(Outbox::in_memory(Vec::new()).unwrap()),
                key: SigningKey::new([9; 32]),
                targets: Targets::default(),
                sends_email: true,
                expects_denial: false,
            },
            faults: lb_userspace::faults::Faults::default(),
            explain: Arc::new(NoMaps),
            captures: Arc::new(NoMaps),
            heal: scoreboard(&ledger),
        };
        let socket = directory.path().join("snowshed.sock");
        let listener = {
            let _entered = runtime.enter();
            tokio::net::UnixListener::bind(socket).unwrap()
        };
        let router = router(context);
        let on_socket = router.clone();
        runtime.spawn(async move { axum::serve(listener, on_socket).await });
        Self { ledger, tenancy, directory, router, runtime, flows }
    }

    /// An agent with the load balancer of [`WEB`].
    pub fn with_web() -> Self {
        let agent = Self::empty(Reconciler::Works);
        let ran = agent.type_in("apply -f -", WEB);
        assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
        agent
    }

    /// Serves the agent on an address of its own too, with this certificate if it is no loopback address; the port.
    pub fn listen(&self, address: &str, certificate: Option<&Arc<Tls>>) -> u16 {
        let socket = self.directory.path().join(format!("beside-{address}"));
        let tls = certificate.map(|tls| tls.config().unwrap());
        let address = address.parse().unwrap();
        let listeners = self.runtime.block_on(Listeners::bind(&socket, &[address], tls)).unwrap();
        let port = listeners.addresses()[0].port();
        self.runtime.spawn(serve(self.router.clone(), listeners, CancellationToken::new()));
        port
    }

    /// The directory of the agent's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Id of the load balancer of this name.
    pub fn id_of(&self, name: &str) -> String {
        let shown = self.typed(&format!("lb get {name} -o json"));
        shown.json()["id"].as_str().unwrap().to_owned()
    }

    /// Number of the last operation.
    pub fn generation(&self) -> u64 {
        self.ledger.snapshot().generation().0
    }

    /// Operations since the tenant and its token were made.
    pub fn changes(&self) -> u64 {
        self.generation() - self.tenancy
    }

    /// Path of a file beside the socket, with this content.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs a command of words parted by blanks.
    pub fn typed(&self, command: &str) -> Ran {
        self.type_in(command, "")
    }

    /// Runs a command of words parted by blanks, with this on its standard input.
    pub fn type_in(&self, command: &str, input: &str) -> Ran {
        let args: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        self.start(&self.with_connection("", &args), input, false)
    }

    /// Runs a command of words parted by blanks on a terminal, where this is typed.
    pub fn answer(&self, command: &str, input: &str) -> Ran {
        let args: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        self.start(&self.with_connection("", &args), input, true)
    }

    /// Runs a command against this agent without the flag `left_out` that says where it is or who asks.
    pub fn run_without(&self, left_out: &str, args: &[String]) -> Ran {
        self.start(&self.with_connection(left_out, args), "", false)
    }

    /// Runs a command of words parted by blanks that is not told where the agent is or who asks.
    pub fn plain(&self, command: &str) -> Ran {
        let args: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        self.start(&args, "", false)
    }

    /// Path of the agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("snowshed.sock")
    }

    fn with_connection(&self, left_out: &str, args: &[String]) -> Vec<String> {
        // What stands after `--` is another program's.
        let own = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        let mut all = args[..own].to_vec();
        if left_out != "--socket" {
            all.push(format!("--socket={}", self.directory.path().join("snowshed.sock").display()));
        }
        if left_out != "--token" && left_out != "--token-file" {
            all.push(format!("--token={TOKEN}"));
        }
        all.extend_from_slice(&args[own..]);
        all
    }

    /// From now on every load balancer has live traffic.
    pub fn let_traffic_flow(&self) {
        self.flows.0.store(true, Ordering::Relaxed);
    }

    /// Runs a command of words parted by blanks, which goes on until it has shown `last`; `meanwhile` is done as soon as
    /// it has shown `first`.
    pub fn watch(&self, command: &str, first: &str, meanwhile: impl FnOnce(), last: &'static str) -> Ran {
        let args: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let args = self.with_connection("", &args);
        let (out, err) = (Buffer::default(), Buffer::default());
        let streams = (out.clone(), err.clone());
        // On its own: a change that fails must not wait for it.
        let watching = std::thread::spawn(move || {
            let mut terminal = Terminal::new(Until(streams.0, last), streams.1, std::io::empty());
            lb_userspace::cli::run(words(&args), &mut terminal)
        });
        while !out.text().contains(first) {
            assert!(!watching.is_finished(), "it ended: {}{}", out.text(), err.text());
            std::thread::yield_now();
        }
        meanwhile();
        let exit = watching.join().unwrap();
        Ran { exit, out: out.text(), err: err.text() }
    }

    fn start(&self, args: &[String], input: &str, interactive: bool) -> Ran {
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut terminal = Terminal::new(out.clone(), err.clone(), Cursor::new(input.to_owned()));
        terminal.interactive = interactive;
        let exit = lb_userspace::cli::run(words(args), &mut terminal);
        Ran { exit, out: out.text(), err: err.text() }
    }
}

fn words(args: &[String]) -> impl Iterator<Item = OsString> {
    std::iter::once("snowshed").chain(args.iter().map(String::as_str)).map(OsString::from)
}

/// A load balancer `web` with the addresses 192.0.2.1 and 2001:db8::1.
pub const WEB: &str = "
name: web
ips: [ipv4, ipv6]
frontends:
  - { name: http, inbound_port: 80, backend: web }
backends:
  - name: web
    forwarding: ipip
    forward_port: 80
    servers: [{ address: 10.0.0.5, weight: 3 }, { address: 10.0.0.6 }]
    health_check: { interval: 1s, http: { uri: /healthz } }
";

struct NoMaps;

/// Whether every load balancer has live traffic.
#[derive(Default)]
struct Flows(AtomicBool);

impl LiveTraffic for Flows {
    fn of(&self, lbs: &BTreeSet<LbId>) -> Result<BTreeMap<LbId, Rate>, String> {
        let busy = self.0.load(Ordering::Relaxed);
        let rate = Rate { packets_per_second: 100.0, connections_per_second: 5.0 };
        Ok(lbs.iter().filter(|_| busy).map(|lb| (*lb, rate)).collect())
    }
}

/// An output whose reader goes away when it has seen a text.
struct Until(Buffer, &'static str);

impl std::io::Write for Until {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes)?;
        if self.0.text().contains(self.1) { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(written) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captures for NoMaps {
    fn begin(&self, _: CaptureOrder) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, CaptureError>> {
        async { Err(CaptureError::Failed("there is no program".to_owned())) }.boxed()
    }
}

impl Explain for NoMaps {
    fn explain(
        &self,
        client: std::net::SocketAddr,
        _: ServiceAddress,
        _: Option<lb_userspace::explain::ConnectionId>,
    ) -> BoxFuture<'_, Result<serde_json::Value, ExplainError>> {
        async move { Err(ExplainError::NotFound(format!("nothing is known of {client}"))) }.boxed()
    }
}
