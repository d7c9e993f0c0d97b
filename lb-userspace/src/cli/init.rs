//! `snowshed init`: the first configuration, the keys, and the first operator's token of an edge.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::{self, Format};
use super::terminal::Terminal;
use crate::authority::{Secret, TokenKey};
use crate::config::{self, Config};
use crate::ledger::{Change, Ledger, Proposal, SqliteLedger};
use crate::model::{Actor, Document, Name, Reach, Role, Scope, Times, Token, TokenId};
use crate::observe;

/// Set an edge up: write its configuration, draw its keys, and show the first operator's token this once
#[derive(clap::Args, Debug)]
pub struct Init {
    /// Configuration file to write; one that is there is never overwritten
    #[arg(long, short, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Interface that traffic arrives on; may be given again
    #[arg(long = "interface", value_name = "NAME", required_unless_present = "token_only", value_parser = interface)]
    interfaces: Vec<String>,
    /// IPv4 network that load balancers get addresses of; may be given again
    #[arg(long, value_name = "NETWORK")]
    v4: Vec<Ipv4Net>,
    /// IPv6 network that load balancers get addresses of; may be given again
    #[arg(long, value_name = "NETWORK")]
    v6: Vec<Ipv6Net>,
    /// File of the ledger
    #[arg(long, value_name = "FILE", default_value = "/var/lib/snowshed/ledger.db")]
    ledger: PathBuf,
    /// Only make another operator's token, for the ledger of a configuration that is there: when every other is lost
    #[arg(long, conflicts_with_all = ["interfaces", "v4", "v6", "ledger"])]
    token_only: bool,
}

impl Init {
    /// Runs the command.
    ///
    /// # Errors
    /// When the configuration is there already, or a file cannot be written, or an agent runs on the ledger.
    pub fn run(self, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let ledger = if self.token_only {
            Config::load(&self.config).map_err(|error| Failure::error(error.to_string()))?.ledger.path
        } else {
            self.write_config()?;
            self.ledger.clone()
        };
        let secret = operator(&ledger).map_err(|error| {
            let help = match self.token_only {
                true => "nothing was changed",
                false => "the configuration is written; when that is mended: snowshed init --token-only",
            };
            Failure::error(format!("no token was made: {error:#}")).help(help)
        })?;
        terminal
            .note("the token is shown this once: keep it now, for example in ~/.config/snowshed/token (mode 600)")?;
        let shown = json!({"config": self.config, "ledger": ledger, "token": secret.as_str()});
        let fields = [
            ("config", self.config.display().to_string()),
            ("ledger", ledger.display().to_string()),
            ("token", secret.as_str().to_owned()),
        ];
        output::object(terminal, format, &shown, &fields)?;
        terminal.note(format!(
            "next: snowshed agent --config {}; then, with the token, the first tenant: snowshed org create --name NAME, \
             snowshed project create --name NAME --organization ID",
            self.config.display()
        ))
    }

    fn write_config(&self) -> Result<(), Failure> {
        let text = self.text();
        Config::parse(&self.config, &text).map_err(|error| Failure::usage(error.to_string()))?;
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(Exit::Refused, format!("{} is there already: nothing was changed", self.config.display()))
                    .help("this edge is set up; a lost operator's token is replaced by: snowshed init --token-only")
            }
            _ => Failure::error(format!("{} cannot be written: {error}", self.config.display())),
        };
        if let Some(directory) = self.config.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o640).open(&self.config).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }

    fn text(&self) -> String {
        let list = |nets: &mut dyn Iterator<Item = IpNet>| {
            let quoted: Vec<String> = nets.map(|net| format!("\"{net}\"")).collect();
            format!("[{}]", quoted.join(", "))
        };
        let v4 = list(&mut self.v4.iter().copied().map(IpNet::V4));
        let v6 = list(&mut self.v6.iter().copied().map(IpNet::V6));
        format!(
            "# Written by `snowshed init`. Every other key keeps its default: `snowshed agent --print-default-config`.\n\n\
             [ledger]\npath = {:?}\n\n[dataplane]\ninterfaces = {:?}\n\n[addresses]\nv4 = {v4}\nv6 = {v6}\n",
            self.ledger, self.interfaces
        )
    }
}

/// Makes an operator's token in a ledger that no agent has open.
fn operator(ledger: &Path) -> anyhow::Result<Secret> {
    if let Some(directory) = ledger.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let opened = SqliteLedger::open(ledger).map_err(|error| anyhow::anyhow!("{}", observe::chain(&error)))?;
    let (key, secret, id, now) = (TokenKey::beside(ledger)?, Secret::draw(), TokenId::new(), Timestamp::now());
    let name = Name::try_from("operator".to_owned()).map_err(|invalid| anyhow::anyhow!(invalid.help))?;
    let digest = key.digest(secret.as_str());
    let (role, reach, times) = (Role::Operator, Reach::Fleet, Times::created(now));
    let token = Token { id, name, role, reach, digest, expires_at: None, made_by: None, times };
    opened.append(Proposal {
        expected: opened.snapshot().generation(),
        actor: Actor::agent("snowshed init"),
        scope: Scope::Token { token: id },
        verb: "token.create".to_owned(),
        reason: "snowshed init on this machine".to_owned(),
        at: now,
        attempt: None,
        plan: None,
        changes: vec![Change { before: None, after: Document::Token(token) }],
    })?;
    Ok(secret)
}

fn interface(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= 15 && !text.contains(|c: char| c == '/' || c.is_whitespace());
    if fits { Ok(text.to_owned()) } else { Err(format!("`{text}` is no interface, such as eth0")) }
}
