//! The product under drill: its configuration, its ledger filled with the fleet, and the real agent as a process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::{Doing as _, DrillError, Jail};
use crate::agent::{self, AgentError};
use crate::config::Config;
use crate::faults::{Faults, Layer};
use crate::ledger::{Change, Ledger as _, Proposal, SqliteLedger};
use crate::model::{Actor, Owner, Protocol, Scope};

/// A token of the drill.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    /// Edits one project.
    Tenant,
    /// Reaches the whole fleet: whoever makes the mistake.
    Console,
    /// Reaches the whole fleet: whoever makes good for it.
    Operator,
}

impl Token {
    const ALL: [Self; 3] = [Self::Tenant, Self::Console, Self::Operator];

    /// Its name, and its secret too: nothing outside of the jail takes it.
    const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Console => "trust-and-safety-console",
            Self::Operator => "operator-on-call",
        }
    }
}
/// Load balancers made by one operation.
const BATCH: usize = 250;
/// Longest wait for anything: a drill that takes longer has failed, whatever the machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Files of the product.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) config: Config,
    pub(super) owner: Owner,
    directory: PathBuf,
    agent: Option<Child>,
    inside: Option<Inside>,
}

impl Product {
    pub(super) fn new(jail: &Jail, fleet: &Fleet) -> Result<Self, DrillError> {
        let directory = jail.directory().to_owned();
        let is_datagram = |service: &&&super::fleet::Service| service.protocol == Protocol::Udp;
        let tenant = fleet.sample().iter().find(is_datagram).map(|service| service.owner);
        let owner = tenant.ok_or_else(|| DrillError::new("choosing a tenant", "no load balancer is in traffic"))?;
        let text = config_text(&directory, owner, fleet.lbs.len());
        let path = directory.join("agent.toml");
        std::fs::write(&path, &text).doing("writing the configuration")?;
        let config = Config::parse(&path, &text).doing("reading the configuration")?;
        Ok(Self { config, owner, directory, agent: None, inside: None })
    }

    pub(super) fn ledger_path(&self) -> &Path {
        &self.config.ledger.path
    }

    /// Fills an empty ledger with the fleet. Seeding crosses organizations, so it goes around the engine's scope.
    pub(super) fn seed(&self, jail: &Jail, fleet: &Fleet) -> Result<(), DrillError> {
        let faults = Faults::of_drill(&[Layer::Engine], jail);
        let ledger = SqliteLedger::open_with_faults(self.ledger_path(), faults).doing("making the ledger")?;
        for (batch, services) in fleet.lbs.chunks(BATCH).enumerate() {
            let now = Timestamp::now();
            let mut changes = Vec::new();
            for (position, service) in services.iter().enumerate() {
                let documents = Fleet::documents(batch * BATCH + position, service, now)?;
                changes.extend(documents.into_iter().map(|after| Change { before: None, after }));
            }
            ledger.append(self.proposal(&ledger, "drill.seed", changes)).doing("filling the ledger")?;
        }
        let register = fleet.register(Timestamp::now())?;
        let changes = register.into_iter().map(|after| Change { before: None, after }).collect();
        ledger.append(self.proposal(&ledger, "drill.register", changes)).doing("registering the dependents")?;
        Ok(())
    }

    /// An operation as nobody may propose it in production: its scope names one project, whatever it changes.
    pub(super) fn proposal(&self, ledger: &SqliteLedger, verb: &str, changes: Vec<Change>) -> Proposal {
        Proposal {
            expected: ledger.snapshot().generation(),
            actor: Actor::agent("drill"),
            scope: Scope::Project { project: self.owner.project },
            verb: verb.to_owned(),
            reason: "avalanche drill".to_owned(),
            at: Timestamp::now(),
            attempt: None,
            plan: None,
            changes,
        }
    }

    /// Starts the agent and waits until it forwards `services`.
    pub(super) fn start_agent(&mut self, services: usize) -> Result<(), DrillError> {
        let log = File::create(self.log()).doing("making the agent's log")?;
        let copy = log.try_clone().doing("making the agent's log")?;
        let program = std::env::current_exe().doing("finding this program")?;
        // The agent ends with the drill, however that ends: its namespaces would outlive it otherwise.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .arg("agent")
            .arg("--config")
            .arg(self.directory.join("agent.toml"))
            .stdout(copy)
            .stderr(log);
        self.agent = Some(command.spawn().doing("starting the agent")?);
        self.forwards(services)
    }

    /// Starts the agent inside this process, with layers taken away, and waits until it forwards `services`. It is the
    /// very agent; only the process is another.
    pub(super) fn start_inside(&mut self, services: usize, faults: Faults) -> Result<(), DrillError> {
        self.inside = Some(Inside::start(&self.config, faults)?);
        self.forwards(services)
    }

    fn forwards(&self, services: usize) -> Result<(), DrillError> {
        until("the agent to forward everything", || {
            let page = self.metrics();
            let is = |name: &str| number(&page, name);
            is("snowshed_services") == Some(services as u64)
                && is("snowshed_applied_generation").is_some()
                && is("snowshed_applied_generation") == is("snowshed_ledger_generation")
                && !page.lines().any(|line| line.starts_with("snowshed_unresolved_next_hops{"))
        })
        .map_err(|error| {
            let page = self.metrics();
            let told: Vec<&str> = ["snowshed_services", "snowshed_applied", "snowshed_ledger", "snowshed_unresolved"]
                .iter()
                .flat_map(|name| page.lines().filter(move |line| line.starts_with(name)))
                .collect();
            let (told, words) = (told.join(", "), self.words());
            DrillError::new("starting the agent", format!("{error}; it tells {told}; its log ends with: {words}"))
        })
    }

    /// Stops the agent; forwarding goes on.
    pub(super) fn stop_agent(&mut self) -> Result<(), DrillError> {
        if let Some(inside) = self.inside.take() {
            return inside.stop();
        }
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let pid = i32::try_from(agent.id()).map_err(|error| DrillError::new("stopping the agent", error))?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).doing("stopping the agent")?;
        agent.wait().doing("waiting for the agent").map(drop)
    }

    /// Asks the agent's API as the tenant; status and body.
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), DrillError> {
        self.ask_as(Token::Tenant, method, path, body)
    }

    /// Sends a request and leaves the answer to be read.
    pub(super) fn request(
        &self,
        token: Token,
        method: &str,
        path: &str,
        accept: &str,
        body: &str,
    ) -> Result<UnixStream, DrillError> {
        let doing = "asking the agent";
        let mut stream = UnixStream::connect(&self.config.api.socket).doing(doing)?;
        stream.set_read_timeout(Some(PATIENCE)).doing(doing)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: drill\r\nConnection: close\r\nX-Auth-Token: {}\r\nAccept: {accept}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            token.name(),
            body.len()
        )
        .doing(doing)?;
        Ok(stream)
    }

    /// Asks the agent's API; status and body.
    pub(super) fn ask_as(
        &self,
        token: Token,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, String), DrillError> {
        let doing = "asking the agent";
        let mut stream = self.request(token, method, path, "*/*", body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).doing(doing)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| DrillError::new(doing, format!("it answered `{answer}`")))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        Ok((status, body))
    }

    /// A number of the agent's metrics.
    pub(super) fn metric(&self, name: &str) -> Option<u64> {
        number(&self.metrics(), name)
    }

    fn metrics(&self) -> String {
        // An agent that does not answer yet is asked again.
        self.ask("GET", "/metrics", "").map(|(_, page)| page).unwrap_or_default()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// The last lines of the agent's log.
    fn words(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(4)..].join(" | ")
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            // The namespaces end with the process; an agent left behind would keep them.
            let _ended = agent.kill().and_then(|()| agent.wait());
        }
    }
}

/// Looks again and again until something is so.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), DrillError> {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > PATIENCE {
            return Err(DrillError::new(format!("waiting for {what}"), format!("not within {PATIENCE:?}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn number(page: &str, name: &str) -> Option<u64> {
    let rest = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("{}"))?;
    rest.trim().parse().ok()
}

/// The agent on threads of this process.
#[derive(Debug)]
struct Inside {
    stop: CancellationToken,
    thread: JoinHandle<Result<(), AgentError>>,
}

impl Inside {
    fn start(config: &Config, faults: Faults) -> Result<Self, DrillError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().doing("making an event loop")?;
        let stop = CancellationToken::new();
        let (config, stopped) = (config.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let told = async {
                stopped.cancelled().await;
                "the drill"
            };
            runtime.block_on(agent::run(&config, faults, told))
        });
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<(), DrillError> {
        self.stop.cancel();
        let ended = self.thread.join().map_err(|_| DrillError::new("stopping the agent", "it broke off"))?;
        ended.doing("stopping the agent")
    }
}

fn config_text(directory: &Path, owner: Owner, lbs: usize) -> String {
    let tokens: String = Token::ALL.into_iter().map(|token| token_text(token, owner)).collect();
    let (services, servers, slots) = (lbs * 2, lbs * 6, lbs * 2048);
    let default = Config::default().dataplane;
    let at_least = |wanted: usize, default: u32| wanted.max(usize::try_from(default).unwrap_or(0));
    format!(
        "[api]\nsocket = {socket:?}\nlisten = []\n\n{tokens}[ledger]\npath = {ledger:?}\n\n\
         [backup]\ndirectory = {backups:?}\n\n\
         [dataplane]\ninterfaces = [\"eth0\"]\nxdp_mode = \"native\"\npin_dir = \"/sys/fs/bpf/drill\"\n\
         hash_key = \"000102030405060708090a0b0c0d0e0f\"\nmax_services = {services}\nmax_backends = {servers}\n\
         max_slots = {slots}\n\n[addresses]\nv4 = [\"172.20.0.0/14\"]\n",
        socket = directory.join("snowshed.sock"),
        ledger = directory.join("state/ledger.db"),
        backups = directory.join("backups"),
        services = at_least(services, default.max_services),
        servers = at_least(servers, default.max_backends),
        slots = at_least(slots, default.max_slots),
    )
}

fn token_text(token: Token, owner: Owner) -> String {
    let name = token.name();
    let digest: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    let place = match token {
        Token::Tenant => format!("organization = \"{}\"\nproject = \"{}\"", owner.organization, owner.project),
        Token::Console | Token::Operator => "role = \"operator\"".to_owned(),
    };
    format!("[[api.tokens]]\nname = \"{name}\"\nsecret_sha256 = \"{digest}\"\n{place}\n\n")
}
