//! An agent's API over a ledger in memory, on a Unix socket in a directory of its own, and the command line against it.

use std::ffi::OsString;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use lb_userspace::api::{self, Context, Explain, ExplainError, Listeners, Tls, router, serve};
use lb_userspace::authority::{Bootstrap, TokenKey, bootstrap};
use lb_userspace::cli::failure::Exit;
use lb_userspace::cli::terminal::{Buffer, Terminal};
use lb_userspace::delivery::{Outbox, SigningKey, Targets};
use lb_userspace::guard::Limits;
use lb_userspace::health::HealthView;
use lb_userspace::ledger::Ledger;
use lb_userspace::ledger::memory::MemoryLedger;
use lb_userspace::model::{Name, OrganizationId, Owner, Pools, ProjectId, Reach, Role};
use lb_userspace::observe::events::Watched;
use lb_userspace::observe::{self, Events, Traffic};
use lb_userspace::plan::ServiceAddress;
use lb_userspace::reconcile::Status;
use lb_userspace::recovery::heal::{self, Heal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The token of the agent's only tenant.
pub const TOKEN: &str = "the-token-of-the-test";

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
        traffic: Arc::new(NoMaps),
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
        bootstrap(&*ledger, &[token], Timestamp::now()).unwrap();
        let tenancy = ledger.snapshot().generation().0;
        let context = Context {
            ledger: ledger.clone(),
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
            live_traffic: Arc::new(NoMaps),
            delivery: api::Delivery {
                outbox: Arc::new(Outbox::in_memory(Vec::new()).unwrap()),
                key: SigningKey::new([9; 32]),
                targets: Targets::default(),
                sends_email: true,
                expects_denial: false,
            },
            faults: lb_userspace::faults::Faults::default(),
            explain: Arc::new(NoMaps),
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
        Self { ledger, tenancy, directory, router, runtime }
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

    fn start(&self, args: &[String], input: &str, interactive: bool) -> Ran {
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut terminal = Terminal::new(out.clone(), err.clone(), Cursor::new(input.to_owned()));
        terminal.interactive = interactive;
        let args = std::iter::once("snowshed").chain(args.iter().map(String::as_str)).map(OsString::from);
        let exit = lb_userspace::cli::run(args, &mut terminal);
        Ran { exit, out: out.text(), err: err.text() }
    }
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

impl lb_userspace::observe::LiveTraffic for NoMaps {
    fn of(
        &self,
        _: &std::collections::BTreeSet<lb_userspace::model::LbId>,
    ) -> Result<std::collections::BTreeMap<lb_userspace::model::LbId, lb_userspace::observe::Rate>, String> {
        Ok(std::collections::BTreeMap::new())
    }
}

impl Explain for NoMaps {
    fn explain(
        &self,
        client: std::net::SocketAddr,
        _: ServiceAddress,
    ) -> BoxFuture<'_, Result<serde_json::Value, ExplainError>> {
        async move { Err(ExplainError::NotFound(format!("nothing is known of {client}"))) }.boxed()
    }
}
