//! The product on the edge: its configuration, its agent, and its command line.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::netns::Netns;
use crate::network::{Network, VIP_PREFIXES};
use crate::process::Process;
use crate::wait;

/// How long the agent may take to start or stop.
const LIFECYCLE: Duration = Duration::from_secs(20);

/// Key of the flow hash: edges that have it alike steer a flow to the same server.
const HASH_KEY: &str = "000102030405060708090a0b0c0d0e0f";

/// Where an agent runs.
pub trait Site {
    /// Its machine; the program is attached to [`Network::INTERFACE`].
    fn netns(&self) -> &Netns;
    /// Directory of its logs, configuration and ledger.
    fn directory(&self) -> &Path;
    /// Where it pins.
    fn pin_dir(&self) -> PathBuf;
    /// Interfaces that the program is attached to.
    fn interfaces(&self) -> Vec<&'static str> {
        vec![Network::INTERFACE]
    }
}

/// The token of an operator of the fleet; what [`Edge::token_file`] holds is that of a project's editor.
pub const OPERATOR: &str = "playground-operator";

/// The agent of an edge.
#[derive(Debug)]
pub struct Edge {
    snowshed: PathBuf,
    directory: PathBuf,
    agent: Option<Process>,
}

impl Edge {
    /// Writes `agent.toml` and a token for a site; `extra` is appended to the file.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn configure(site: &impl Site, snowshed: &Path, extra: &str) -> Result<Self> {
        let edge = Self { snowshed: snowshed.to_owned(), directory: site.directory().to_owned(), agent: None };
        std::fs::write(edge.token_file(), "playground-token\n").context("write the token")?;
        // The product refuses a secret that everybody may read.
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(edge.token_file(), private).context("protect the token")?;
        let mut text = edge.agent_toml(site)?;
        text.push_str(extra);
        std::fs::write(edge.config(), text).context("write agent.toml")?;
        Ok(edge)
    }

    /// Path of the binary.
    #[must_use]
    pub fn snowshed(&self) -> &Path {
        &self.snowshed
    }

    /// The next agent and the next commands are of this binary.
    pub fn replace_binary(&mut self, snowshed: &Path) {
        self.snowshed = snowshed.to_owned();
    }

    /// Path of the configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("agent.toml")
    }

    /// Path of the API's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("snowshed.sock")
    }

    /// Path of the file that holds the token.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.directory.join("token")
    }

    /// Path of the agent's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// Starts the agent and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer, with the end of its log.
    pub fn start(&mut self, site: &impl Site) -> Result<()> {
        let mut command = Command::new(&self.snowshed);
        command.arg("agent").arg("--config").arg(self.config()).env("RUST_LOG", "info");
        let mut agent = Process::start(site.netns(), "snowshed agent", command, &self.log())?;
        let answers = wait::until_some("the agent to answer", LIFECYCLE, || {
            agent.expect_running()?;
            Ok(self.run(&["status", "-o", "json"])?.status.success().then_some(()))
        });
        answers.with_context(|| format!("the agent's log ends with:\n{}", agent.last_words()))?;
        self.agent = Some(agent);
        Ok(())
    }

    /// Process id of the agent.
    ///
    /// # Errors
    /// When none runs.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.agent.as_ref().context("no agent runs")?.pid())
    }

    /// Kills the agent at once: SIGKILL, no chance to tidy up.
    ///
    /// # Errors
    /// When none runs.
    pub fn kill(&mut self) -> Result<()> {
        self.agent.take().context("no agent runs")?.kill()
    }

    /// Asks the agent to stop (SIGTERM) and waits until it has, with status 0.
    ///
    /// # Errors
    /// When none runs, it does not stop, or it stops with another status.
    pub fn stop(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("no agent runs")?;
        agent.signal(Signal::SIGTERM)?;
        let status = agent.wait(LIFECYCLE)?;
        ensure!(status.success(), "the agent stopped with {status}; its last words:\n{}", agent.last_words());
        Ok(())
    }

    /// Runs `snowshed …` as an operator would; the socket and the token are given by the environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().with_context(|| format!("start {}", self.snowshed.display()))
    }

    /// Starts `snowshed …` as an operator of the fleet, with its output in pipes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_as_operator(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = self.command(&[arguments, &["--token", OPERATOR]].concat());
        command.env_remove("SNOWSHED_TOKEN_FILE").stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().with_context(|| format!("start {}", self.snowshed.display()))
    }

    /// Runs `snowshed …`, which must succeed, and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "snowshed {}: {}: {}", arguments.join(" "), output.status, said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `snowshed … -o json` and returns the document.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.ok(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("snowshed {} printed no JSON", arguments.join(" ")))
    }

    /// Applies a file's text and waits until the maps hold it.
    ///
    /// # Errors
    /// When it is refused or not applied in time.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let file = self.directory.join("manifest.yaml");
        std::fs::write(&file, manifest).context("write the manifest")?;
        self.ok(&["apply", "-f", &file.to_string_lossy(), "--wait"])
    }

    /// `snowshed status`, in JSON.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }

    /// Looks at the status until it is as wanted, and returns it.
    ///
    /// # Errors
    /// When it is not within 20 s, with the last one.
    pub fn wait_for_status(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let reached = wait::until_some(what, LIFECYCLE, || {
            last = self.status()?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        reached.with_context(|| format!("the last status was {last:#}"))
    }

    /// Waits until a server (by address) is usable, with a way to it, or is not usable, in every service it stands in.
    ///
    /// # Errors
    /// When it is not within 20 s.
    pub fn wait_for_server(&self, address: &str, usable: bool) -> Result<Value> {
        let what = format!("{address} to be {}", if usable { "usable" } else { "out" });
        self.wait_for_status(&what, |status| {
            let servers = servers(status).into_iter().filter(|server| server["address"] == address);
            let is = |server: &Value| server["usable"] == usable && (!usable || server["unresolved"].is_null());
            let states: Vec<bool> = servers.map(is).collect();
            !states.is_empty() && states.iter().all(|as_wanted| *as_wanted)
        })
    }

    /// Fails when the agent has ended.
    ///
    /// # Errors
    /// When it has, with the end of its log.
    pub fn expect_running(&mut self) -> Result<()> {
        match &mut self.agent {
            Some(agent) => agent.expect_running(),
            None => bail!("no agent runs"),
        }
    }

    /// Leaves the agent running when this value is dropped.
    pub fn keep(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.keep();
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.snowshed);
        command.args(arguments).env("SNOWSHED_SOCKET", self.socket()).env("SNOWSHED_TOKEN_FILE", self.token_file());
        command
    }

    fn agent_toml(&self, site: &impl Site) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "[api]\nzone = \"fr-par-1\"\nsocket = {:?}\n", self.socket())?;
        writeln!(text, "[[api.tokens]]\nname = \"operator\"\nsecret_file = {:?}", self.token_file())?;
        writeln!(text, "organization = \"aaaaaaaa-0000-4000-8000-000000000001\"")?;
        writeln!(text, "project = \"bbbbbbbb-0000-4000-8000-000000000001\"\n")?;
        // The digest of [`OPERATOR`].
        writeln!(text, "[[api.tokens]]\nname = \"fleet\"\nrole = \"operator\"")?;
        writeln!(text, "secret_sha256 = \"8d076a3d38d7d10fdcae98af7177eaabfacdf47f9fffea8cf494d9db97bab5cd\"\n")?;
        writeln!(text, "[ledger]\npath = {:?}\n", self.directory.join("ledger.db"))?;
        writeln!(text, "[dataplane]\ninterfaces = {:?}", site.interfaces())?;
        writeln!(text, "hash_key = \"{HASH_KEY}\"")?;
        writeln!(text, "xdp_mode = \"native\"\npin_dir = {:?}\n", site.pin_dir())?;
        writeln!(text, "[addresses]\nv4 = [{:?}]\nv6 = [{:?}]\n", VIP_PREFIXES[0], VIP_PREFIXES[1])?;
        Ok(text)
    }
}

/// Every server of every service in a status.
#[must_use]
pub fn servers(status: &Value) -> Vec<&Value> {
    let services = status["services"].as_array().into_iter().flatten();
    services.filter_map(|service| service["servers"].as_array()).flatten().collect()
}
