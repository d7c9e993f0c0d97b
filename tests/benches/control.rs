//! The control bench: a full edge's worth of load balancers through the real agent, ledger and kernel maps.
//!
//! 10,000 load balancers with 3 servers each stand in a SQLite ledger. Measured: the time from starting the agent to
//! forwarding all of them (once with empty maps, once with maps to adopt), the time of one change from the API's
//! answer to the map, and the agent's resident memory. Run by `cargo xtask bench control`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and has no one to report errors to")]

use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU8, NonZeroU16};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData};
use jiff::Timestamp;
use lb_common::abi::{self, ServiceEntry, ServiceKeyV4, names};
use lb_userspace::ledger::sqlite::SqliteLedger;
use lb_userspace::ledger::{Change, Ledger, Proposal};
use lb_userspace::model::{
    Actor, Algorithm, Backend, BackendId, ClosedPort, Document, EmptyPool, Forwarding, Frontend, FrontendId,
    HealthCheck, Ip, IpId, Lb, LbId, LbType, Name, Owner, PrefixV6, Probe, Protocol, Proxied, RateLimits, Scope,
    Server, StickySessions, Tags, Times, Weight,
};
use tests::leftovers;
use tests::netns::{End, Netns, cable};
use tests::process::Process;
use tests::wait;

const ORGANIZATION: &str = "11111111-1111-4111-8111-111111111111";
const PROJECT: &str = "22222222-2222-4222-8222-222222222222";
const SECRET: &str = "bench-control";
const ZONE: &str = "fr-par-1";
const PORT: u16 = 80;
/// Load balancers per operation of the ledger while it is filled.
const BATCH: usize = 250;

#[derive(serde::Serialize)]
struct Figures {
    load_balancers: usize,
    servers_each: usize,
    seed_ledger_seconds: f64,
    ledger_bytes: u64,
    load_seconds: f64,
    adopt_seconds: f64,
    changes: usize,
    api_ms_p50: f64,
    api_ms_p99: f64,
    answer_to_map_ms_p50: f64,
    answer_to_map_ms_p99: f64,
    answer_to_map_ms_max: f64,
    resident_mib: f64,
    resident_file_mapped_mib: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let number = |text: Option<String>, default: usize| text.map_or(default, |text| text.parse().unwrap());
    let load_balancers = number(arguments.next(), 10_000);
    let changes = number(arguments.next(), 400);
    let out = arguments.next().map_or_else(|| PathBuf::from("target/bench/control.json"), PathBuf::from);
    tests::require_root("sudo -E env \"PATH=$PATH\" cargo xtask bench control").unwrap();

    let edge = Edge::create();
    let (backends, seeding) = timed(|| seed(&edge.ledger(), load_balancers));
    println!("ledger filled with {load_balancers} load balancers in {:.2} s", seeding.as_secs_f64());

    let (agent, load) = timed(|| edge.start_and_forward(load_balancers));
    println!("from start to forwarding, empty maps:   {:.2} s", load.as_secs_f64());
    drop(agent);
    let (agent, adopt) = timed(|| edge.start_and_forward(load_balancers));
    println!("from start to forwarding, adopted maps: {:.2} s", adopt.as_secs_f64());

    let (api, to_map) = edge.change_one_by_one(&backends, changes);
    let (resident, file) = resident_mib(agent.pid());
    let figures = Figures {
        load_balancers,
        servers_each: 3,
        seed_ledger_seconds: seeding.as_secs_f64(),
        ledger_bytes: std::fs::metadata(edge.ledger()).unwrap().len(),
        load_seconds: load.as_secs_f64(),
        adopt_seconds: adopt.as_secs_f64(),
        changes,
        api_ms_p50: percentile(&api, 50),
        api_ms_p99: percentile(&api, 99),
        answer_to_map_ms_p50: percentile(&to_map, 50),
        answer_to_map_ms_p99: percentile(&to_map, 99),
        answer_to_map_ms_max: percentile(&to_map, 100),
        resident_mib: resident,
        resident_file_mapped_mib: file,
    };
    let json = serde_json::to_string_pretty(&figures).unwrap();
    println!("{json}");
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    std::fs::write(&out, json).unwrap();
    println!("written to {}", out.display());
}

/// An edge with one cable to a gateway, behind which all servers stand: one neighbour, many routes. The gateway
/// accepts connections in the name of every server, so that their health checks pass.
struct Edge {
    edge: Netns,
    _gateway: Netns,
    name: String,
    directory: PathBuf,
}

impl Edge {
    fn create() -> Self {
        leftovers::sweep().unwrap();
        leftovers::mount_bpffs().unwrap();
        let name = leftovers::run_name("control");
        let directory = leftovers::run_dir(&name);
        std::fs::create_dir_all(&directory).unwrap();
        let edge = Netns::create(&format!("{name}-edge")).unwrap();
        let gateway = Netns::create(&format!("{name}-gateway")).unwrap();
        let (left, right) = (End { netns: &edge, interface: "eth0" }, End { netns: &gateway, interface: "eth0" });
        cable(left, right, 1600).unwrap();
        edge.ip("addr add 10.88.0.1/24 dev eth0").unwrap();
        gateway.ip("addr add 10.88.0.2/24 dev eth0").unwrap();
        edge.ip("route add 10.100.0.0/14 via 10.88.0.2").unwrap();
        gateway.ip("route add local 10.100.0.0/14 dev lo").unwrap();
        let _answering = gateway.spawn("servers", || {
            let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            listener.incoming().for_each(drop);
            Ok(())
        });
        let this = Self { edge, _gateway: gateway, name, directory };
        std::fs::write(this.config(), this.config_text()).unwrap();
        this
    }

    fn ledger(&self) -> PathBuf {
        self.directory.join("ledger.db")
    }

    fn config(&self) -> PathBuf {
        self.directory.join("agent.toml")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("snowshed.sock")
    }

    fn config_text(&self) -> String {
        let secret = self.directory.join("token");
        std::fs::write(&secret, SECRET).unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        format!(
            "[api]\nzone = \"{ZONE}\"\nsocket = {:?}\nlisten = []\n\n[[api.tokens]]\nname = \"bench\"\n\
             secret_file = {secret:?}\norganization = \"{ORGANIZATION}\"\nproject = \"{PROJECT}\"\n\n\
             [ledger]\npath = {:?}\n\n[dataplane]\ninterfaces = [\"eth0\"]\npin_dir = {:?}\n\n\
             [addresses]\nv4 = [\"172.20.0.0/15\"]\n",
            self.socket(),
            self.ledger(),
            leftovers::pin_dir(&self.name),
        )
    }

    /// Starts the agent and waits until every service is in the kernel's map and forwards.
    fn start_and_forward(&self, services: usize) -> Process {
        let mut command = Command::new(snowshed());
        command.args(["agent", "--config"]).arg(self.config());
        let log = self.directory.join("agent.log");
        let mut agent = Process::start(&self.edge, "agent", command, &log).unwrap();
        let ready = wait::until("every service forwards", Duration::from_secs(120), || {
            agent.expect_running().is_err() || self.has_services(services) && self.forwards(services)
        });
        agent.expect_running().unwrap();
        ready.unwrap();
        agent
    }

    /// Whether the kernel's map holds this many services: cheap to ask again and again.
    fn has_services(&self, services: usize) -> bool {
        self.services().is_some_and(|map| map.keys().filter_map(Result::ok).count() == services)
    }

    /// Whether the agent says that this many services are applied, every one with a resolved server.
    fn forwards(&self, services: usize) -> bool {
        let Some(status) = self.status() else { return false };
        let reconcile = &status["reconcile"];
        let applied = reconcile["applied_generation"].as_u64();
        applied.is_some()
            && applied == status["ledger_generation"].as_u64()
            && reconcile["services"].as_u64() == u64::try_from(services).ok()
            && reconcile["unresolved"].as_object().is_some_and(serde_json::Map::is_empty)
    }

    fn status(&self) -> Option<serde_json::Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = client(&self.socket());
            let url = "http://snowshed/snowshed/v1/status";
            let answer = client.get(url).header("X-Auth-Token", SECRET).send().await.ok()?;
            answer.json().await.ok()
        })
    }

    /// Sets one server's weight at a time; times the API and the way from its answer to the map.
    fn change_one_by_one(&self, backends: &[(BackendId, Ipv4Addr)], changes: usize) -> (Vec<Duration>, Vec<Duration>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = client(&self.socket());
        let services = self.services().unwrap();
        let (mut api, mut to_map) = (Vec::new(), Vec::new());
        for number in 0..changes {
            let (backend, vip) = backends[number * backends.len() / changes];
            let key = service_key(vip);
            let before = services.get(&key, 0).unwrap();
            let servers = serde_json::json!({ "servers": [
                { "address": server(backends, backend, 0), "weight": 5 },
                { "address": server(backends, backend, 1) },
                { "address": server(backends, backend, 2) },
            ] });
            let started = Instant::now();
            let answer = runtime.block_on(async {
                let url = format!("http://snowshed/lb/v1/zones/{ZONE}/backends/{backend}/servers");
                client.put(url).header("X-Auth-Token", SECRET).json(&servers).send().await.unwrap()
            });
            let answered = Instant::now();
            assert!(answer.status().is_success(), "{}", runtime.block_on(answer.text()).unwrap());
            while services.get(&key, 0).unwrap().slots_offset == before.slots_offset {
                assert!(answered.elapsed() < Duration::from_secs(10), "the change never reached the map");
                std::thread::sleep(Duration::from_micros(50));
            }
            api.push(answered - started);
            to_map.push(answered.elapsed());
        }
        (api, to_map)
    }

    /// The pinned map, once it is there.
    fn services(&self) -> Option<HashMap<MapData, ServiceKeyPod, ServiceEntryPod>> {
        let directory = leftovers::pin_dir(&self.name).join(format!("v{}", abi::ABI_VERSION));
        let data = MapData::from_pin(directory.join(names::SERVICES_V4)).ok()?;
        Some(HashMap::try_from(Map::HashMap(data)).unwrap())
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        leftovers::remove(&self.name).unwrap();
    }
}

/// A client of a socket. reqwest wants to be told of a TLS that no socket speaks.
fn client(socket: &Path) -> reqwest::Client {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    reqwest::Client::builder().unix_socket(socket).tls_backend_preconfigured(tls).build().unwrap()
}

/// The product's binary, built with the bench's own profile.
fn snowshed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/snowshed")
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed())
}

fn percentile(durations: &[Duration], percent: usize) -> f64 {
    let mut sorted = durations.to_vec();
    sorted.sort();
    let at = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len()) - 1;
    sorted[at].as_secs_f64() * 1e3
}

/// Resident memory of a process, and how much of it is mapped files (the mapped BPF arrays among them).
fn resident_mib(pid: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
    };
    (kib("VmRSS:") / 1024.0, (kib("RssFile:") + kib("RssShmem:")) / 1024.0)
}

fn vip(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 20, 0, 0)) + u32::try_from(number).unwrap() + 1)
}

/// Address of a server; `position` 0 to 2 within the pool.
fn server_address(number: usize, position: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 100, 0, 0)) + u32::try_from(number * 3 + position).unwrap() + 1)
}

fn server(backends: &[(BackendId, Ipv4Addr)], backend: BackendId, position: usize) -> Ipv4Addr {
    server_address(backends.iter().position(|(id, _)| *id == backend).unwrap(), position)
}

fn service_key(vip: Ipv4Addr) -> ServiceKeyPod {
    ServiceKeyPod(ServiceKeyV4 {
        address: vip.octets(),
        port: PORT.to_be_bytes(),
        protocol: Protocol::Tcp.number(),
        kind: 0,
    })
}

/// Fills an empty ledger; returns the backend and the address of each load balancer.
fn seed(path: &Path, load_balancers: usize) -> Vec<(BackendId, Ipv4Addr)> {
    let ledger = SqliteLedger::open(path).unwrap();
    let owner = Owner { organization: ORGANIZATION.parse().unwrap(), project: PROJECT.parse().unwrap() };
    let mut backends = Vec::with_capacity(load_balancers);
    for first in (0..load_balancers).step_by(BATCH) {
        let now = Timestamp::now();
        let numbers = first..(first + BATCH).min(load_balancers);
        let mut documents = Vec::new();
        for number in numbers {
            let (backend, made) = documents_of(owner, number, now);
            backends.push((backend, vip(number)));
            documents.extend(made);
        }
        let proposal = Proposal {
            expected: ledger.snapshot().generation(),
            actor: Actor::editor("bench", owner),
            scope: Scope::Project { project: owner.project },
            verb: "bench.seed".to_owned(),
            reason: "filling the ledger".to_owned(),
            at: now,
            attempt: None,
            plan: None,
            changes: documents.into_iter().map(|after| Change { before: None, after }).collect(),
        };
        ledger.append(proposal).unwrap();
    }
    backends
}

fn documents_of(owner: Owner, number: usize, now: Timestamp) -> (BackendId, Vec<Document>) {
    let (lb, backend) = (LbId::new(), BackendId::new());
    let times = Times::created(now);
    let name = |what: &str| Name::try_from(format!("{what}-{number}")).unwrap();
    let port = NonZeroU16::new(PORT).unwrap();
    let server = |position| Server::serving(IpAddr::V4(server_address(number, position)), Weight::ONE, now);
    let health_check = HealthCheck {
        port,
        interval: HealthCheck::MAX_INTERVAL,
        timeout: Duration::from_secs(5),
        fall: NonZeroU8::MAX,
        rise: NonZeroU8::MIN,
        transient_interval: None,
        send_proxy: false,
        probe: Probe::Tcp,
    };
    let documents = vec![
        Document::Lb(Lb {
            id: lb,
            owner,
            name: name("lb"),
            description: String::new(),
            tags: Tags::default(),
            kind: LbType::S,
            answers_echo: true,
            on_closed_port: ClosedPort::Reject,
            protected: false,
            subscriber: None,
            at_once: false,
            taken_down: None,
            times,
        }),
        Document::Ip(Ip {
            id: IpId::new(),
            owner,
            address: IpAddr::V4(vip(number)),
            lb: Some(lb),
            reverse: String::new(),
            tags: Tags::default(),
            times,
        }),
        Document::Backend(Backend {
            id: backend,
            lb,
            name: name("backend"),
            protocol: Protocol::Tcp,
            forward_port: port,
            algorithm: Algorithm::Roundrobin,
            sticky_sessions: StickySessions::None,
            sticky_prefix_v6: PrefixV6::WHOLE,
            quic: None,
            slow_start: None,
            forwarding: Forwarding::Ipip,
            on_empty: EmptyPool::Reject,
            servers: (0..3).map(server).collect(),
            health_check,
            proxied: Proxied::default(),
            times,
        }),
        Document::Frontend(Frontend {
            id: FrontendId::new(),
            lb,
            name: name("frontend"),
            inbound_port: port,
            inbound_port_end: None,
            backend,
            timeout_client: None,
            limits: RateLimits::default(),
            times,
        }),
    ];
    (backend, documents)
}

/// [`ServiceKeyV4`] as aya takes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct ServiceKeyPod(ServiceKeyV4);

/// [`ServiceEntry`] as aya gives it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct ServiceEntryPod(ServiceEntry);

impl std::ops::Deref for ServiceEntryPod {
    type Target = ServiceEntry;

    fn deref(&self) -> &ServiceEntry {
        &self.0
    }
}

#[expect(unsafe_code, reason = "aya's marker for types that are plain bytes")]
// SAFETY: `repr(C)`, explicit padding, every bit pattern valid.
unsafe impl aya::Pod for ServiceKeyPod {}
#[expect(unsafe_code, reason = "aya's marker for types that are plain bytes")]
// SAFETY: as above.
unsafe impl aya::Pod for ServiceEntryPod {}
