//! `snowshed backend`: pools of servers. The verbs that work on the pool's machines themselves are local tools.

use std::num::NonZeroU16;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::backend_attach::OnServer;
use super::delete::{self, Confirm};
use super::failure::Failure;
use super::health_check::{self, HealthCheckArgs};
use super::lb::object;
use super::output::{Column, text};
use super::session::{Noun, Session, id_of, keep};
use super::value::{self, Reference, ServerArg, millis};
use crate::model::{Algorithm, Forwarding, PrefixV6, Protocol};

/// Fields that an update replaces together.
pub(super) const FIELDS: [&str; 7] =
    ["name", "forward_protocol", "forward_port", "forward_port_algorithm", "sticky_sessions", "forwarding", "on_empty"];

const COLUMNS: [Column; 12] = [
    Column::text("NAME", |backend| text(backend, "/name")),
    Column::text("LB", |backend| text(backend, "/lb/name")),
    Column::text("PROTOCOL", |backend| text(backend, "/forward_protocol")),
    Column::number("PORT", |backend| text(backend, "/forward_port")),
    Column::text("SERVERS", |backend| text(backend, "/pool")),
    Column::text("CHECK", |backend| backend.get("health_check").map(health_check::summary).unwrap_or_default()),
    Column::wide("FORWARDING", |backend| text(backend, "/forwarding")),
    Column::wide("ALGORITHM", |backend| text(backend, "/forward_port_algorithm")),
    Column::wide("STICKY", |backend| text(backend, "/sticky_sessions")),
    Column::wide("ON EMPTY", |backend| text(backend, "/on_empty")),
    Column::wide("CREATED", |backend| text(backend, "/created_at")),
    Column::text("ID", |backend| text(backend, "/id")),
];

/// Backends: pools of servers, how packets reach them and how their health is checked
#[derive(Subcommand, Debug)]
pub enum BackendCommand {
    /// Make a backend
    #[command(after_help = "Examples:
  snowshed backend create --lb web --name web --forward-port 80 --server 10.0.0.5 --server 10.0.0.6,weight=3
  snowshed backend create --lb web --name h3 --protocol udp --forward-port 443 --server 10.0.0.5 --quic-server-id-length 4
  snowshed backend create --lb web --name dns --protocol udp --forward-port 53 --server 10.0.0.7 --check-port 8053
  snowshed backend create --lb web --name web --forward-port 80 --server 10.0.0.5 \\
      --check http --check-uri /healthz --check-interval 1s --check-fall 3")]
    Create(Box<Create>),
    /// Show a backend
    #[command(after_help = "Example:
  snowshed backend get web --lb web")]
    Get(Get),
    /// List the backends of a load balancer
    #[command(after_help = "Example:
  snowshed backend list --lb web")]
    List(List),
    /// Change a backend or its health check; what is not given stays, its servers too
    #[command(after_help = "Servers are changed with `snowshed server`.

Examples:
  snowshed backend update web --lb web --check http --check-uri /healthz
  snowshed backend update web --lb web --check-interval 500ms --check-timeout 300ms
  snowshed backend update web --lb web --algorithm leastconn --slow-start 1m
  snowshed backend update web --lb web --sticky-sessions table --sticky-prefix-v6 64")]
    Update(Box<Update>),
    /// Delete backends that no frontend uses
    #[command(after_help = "Example:
  snowshed backend delete web --lb web")]
    Delete(Delete),
    #[expect(missing_docs, reason = "clap shows the verbs of a flattened enum, and no text of its own")]
    #[command(flatten)]
    OnServer(OnServer),
}

/// Arguments of `backend create`.
#[derive(Args, Debug)]
pub struct Create {
    /// The load balancer: name or id
    #[arg(long)]
    lb: Reference,
    /// Name, 1 to 255 characters
    #[arg(long, value_parser = value::name)]
    name: String,
    /// Protocol of the servers, and of the frontend before them: tcp or udp
    #[arg(long, default_value = "tcp", value_parser = value::protocol)]
    protocol: Protocol,
    /// Port of the servers, 1 to 65535; only `nat` forwarding translates ports, otherwise it is the frontend's port too
    #[arg(long, visible_alias = "port", value_name = "PORT", value_parser = value::port)]
    forward_port: NonZeroU16,
    /// A server: ADDRESS[,weight=1..65535][,backup][,drain[=TIMEOUT]]; may be given again
    #[arg(long = "server", value_name = "SERVER")]
    servers: Vec<ServerArg>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    check: HealthCheckArgs,
}

/// Settings that have a default.
#[derive(Args, Debug)]
pub struct Settings {
    /// How packets travel to a server
    #[arg(long, value_name = "MODE", value_parser = one_of(&Forwarding::WORDS))]
    forwarding: Option<String>,
    /// How a server is picked for a new flow: by weight, always the first that is usable, or by weight with fewer to
    /// servers that carry more than their share
    #[arg(long, value_name = "ALGORITHM", value_parser = one_of(&Algorithm::WORDS))]
    algorithm: Option<String>,
    /// What ties a client to a server beyond the flow
    #[arg(long, value_name = "KIND", value_enum)]
    sticky_sessions: Option<Sticky>,
    /// Bits of an IPv6 client's address that sticky sessions go by, 1 to 128; 64 is what one client usually has
    #[arg(long, value_name = "BITS", value_parser = value::prefix_v6)]
    sticky_prefix_v6: Option<PrefixV6>,
    /// Bytes of the server ids that QUIC connection ids begin with, 1 to 8: a client that changes its address keeps its
    /// server; 0 is none. `snowshed server list -o wide` shows each server's
    #[arg(long, value_name = "BYTES", value_parser = value::quic_server_id_length)]
    quic_server_id_length: Option<u8>,
    /// Number of the configuration that those connection ids name, 0 to 6
    #[arg(long, value_name = "NUMBER", value_parser = value::quic_config_id)]
    quic_config_id: Option<u8>,
    /// Time in which the share of a server that is new or came back rises to all of it, up to 1h; 0 is at once
    #[arg(long, value_name = "DURATION", value_parser = value::duration_or_zero)]
    slow_start: Option<Duration>,
    /// What a client sees when no server is usable
    #[arg(long, value_name = "POLICY", value_enum)]
    on_empty: Option<OnEmpty>,
    /// Idle time a server is allowed, for example 5m; kept and shown for the tools that ask for it, and ends no connection
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    timeout_server: Option<Duration>,
}

/// What ties a client to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sticky {
    /// Nothing: each flow is hashed by its full tuple (default)
    None,
    /// The client's address alone is hashed
    Table,
}

/// What a client sees when no server is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnEmpty {
    /// TCP RST or ICMP port unreachable: clients fail at once (default)
    Reject,
    /// Silence
    Drop,
}

/// Arguments of `backend get`.
#[derive(Args, Debug)]
pub struct Get {
    /// Name or id
    backend: Reference,
    /// The load balancer, when the backend is named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
}

/// Arguments of `backend list`.
#[derive(Args, Debug)]
pub struct List {
    /// The load balancer: name or id
    #[arg(long)]
    lb: Reference,
}

/// Arguments of `backend update`.
#[derive(Args, Debug)]
pub struct Update {
    /// Name or id
    backend: Reference,
    /// The load balancer, when the backend is named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
    /// New name
    #[arg(long, value_parser = value::name)]
    name: Option<String>,
    /// New protocol: tcp or udp
    #[arg(long, value_parser = value::protocol)]
    protocol: Option<Protocol>,
    /// New port of the servers, 1 to 65535
    #[arg(long, visible_alias = "port", value_name = "PORT", value_parser = value::port)]
    forward_port: Option<NonZeroU16>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    check: HealthCheckArgs,
}

/// Arguments of `backend delete`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Names or ids
    #[arg(required = true, value_name = "BACKEND")]
    backends: Vec<Reference>,
    /// The load balancer, when backends are named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
    #[command(flatten)]
    confirm: Confirm,
}

impl BackendCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run(session).await,
            Self::Get(args) => {
                let backend = session.find(Noun::Backend, &args.backend, args.lb.as_ref()).await?;
                show(session, &backend)
            }
            Self::List(args) => session.list_of(Noun::Backend, &args.lb, &COLUMNS).await,
            Self::Update(args) => args.run(session).await,
            Self::Delete(args) => {
                let backends = session.find_all(Noun::Backend, &args.backends, args.lb.as_ref()).await?;
                delete::delete(session, Noun::Backend, &backends, &args.confirm, &[]).await
            }
            Self::OnServer(command) => command.run(session.terminal, session.format),
        }
    }
}

impl Create {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let check = self.check.body(&Value::Null, self.forward_port.get()).map_err(Failure::usage)?;
        let lb = session.lb_id(&self.lb).await?;
        let servers: Vec<Value> = self.servers.iter().map(server_json).collect();
        let mut body = object(json!({
            "name": self.name,
            "forward_protocol": self.protocol.as_str(),
            "forward_port": self.forward_port,
            "servers": servers,
            "health_check": check,
        }));
        body.extend(self.settings.body());
        let backend = session.change(Noun::Backend, Method::POST, &format!("lbs/{lb}/backends"), body).await?;
        show(session, &backend)
    }
}

impl Settings {
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.extend(self.sticky_sessions.map(|sticky| {
            ("sticky_sessions".to_owned(), json!(if sticky == Sticky::Table { "table" } else { "none" }))
        }));
        body.extend(
            self.on_empty
                .map(|policy| ("on_empty".to_owned(), json!(if policy == OnEmpty::Drop { "drop" } else { "reject" }))),
        );
        body.extend(self.forwarding.as_ref().map(|mode| ("forwarding".to_owned(), json!(mode))));
        body.extend(self.algorithm.as_ref().map(|word| ("forward_port_algorithm".to_owned(), json!(word))));
        body.extend(self.sticky_prefix_v6.map(|prefix| ("sticky_prefix_v6".to_owned(), json!(prefix))));
        body.extend(self.quic_server_id_length.map(|bytes| ("quic_server_id_length".to_owned(), json!(bytes))));
        body.extend(self.quic_config_id.map(|number| ("quic_config_id".to_owned(), json!(number))));
        body.extend(self.slow_start.map(|time| ("slow_start".to_owned(), json!(millis(time)))));
        body.extend(self.timeout_server.map(|timeout| ("timeout_server".to_owned(), json!(millis(timeout)))));
        body
    }
}

impl Update {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut changes = self.settings.body();
        changes.extend(self.name.map(|name| ("name".to_owned(), json!(name))));
        changes.extend(self.protocol.map(|protocol| ("forward_protocol".to_owned(), json!(protocol.as_str()))));
        changes.extend(self.forward_port.map(|port| ("forward_port".to_owned(), json!(port))));
        if changes.is_empty() && self.check.is_empty() {
            return Err(Failure::usage("nothing to change was given")
                .help("`snowshed backend update --help` lists what can be changed"));
        }
        let mut backend = session.find(Noun::Backend, &self.backend, self.lb.as_ref()).await?;
        let port = self.forward_port.map_or(0, NonZeroU16::get);
        let check = |backend: &Value| self.check.body(&backend["health_check"], port).map_err(Failure::usage);
        // A wrong check is told before anything is changed.
        check(&backend)?;
        if !changes.is_empty() {
            let body = |backend: &Value| {
                let mut body = keep(backend, &FIELDS);
                body.extend(changes.clone());
                Ok(body)
            };
            backend = session.replace(Noun::Backend, &backend, Method::PATCH, "", body).await?;
        }
        if !self.check.is_empty() {
            session.replace(Noun::Backend, &backend, Method::PUT, "/healthcheck", check).await?;
            backend = session.client.get(&format!("backends/{}", id_of(&backend)?)).await?;
        }
        show(session, &backend)
    }
}

/// Names of the fields that are kept and do nothing.
pub(super) fn without_effect(object: &Value) -> String {
    let warnings = object["warnings"].as_array().into_iter().flatten();
    warnings.map(|warning| text(warning, "/argument_name")).collect::<Vec<_>>().join(", ")
}

/// One of the words that the model knows.
fn one_of<T>(words: &[(&'static str, T)]) -> clap::builder::PossibleValuesParser {
    words.iter().map(|(word, _)| *word).collect::<Vec<_>>().into()
}

/// A server as the API takes it: what is not said of it is not to be kept.
pub(super) fn server_json(server: &ServerArg) -> Value {
    let mut json = json!({
        "address": server.address, "weight": server.weight.get(), "backup": server.backup, "drain": server.drain,
    });
    if server.drain {
        json["drain_timeout"] = json!(millis(server.drain_timeout.unwrap_or_default()));
    }
    json
}

/// `weight 3, backup, drain 10m`, of a server as the API shows it.
pub(super) fn server_words(weight: u32, backup: bool, drain: bool, drain_timeout: Option<Duration>) -> String {
    let backup = if backup { ", backup" } else { "" };
    let drain = match (drain, drain_timeout) {
        (false, _) => String::new(),
        (true, None) => ", drain".to_owned(),
        (true, Some(time)) => format!(", drain {}", humantime_serde::re::humantime::format_duration(time)),
    };
    format!("weight {weight}{backup}{drain}")
}

fn show(session: &mut Session<'_>, backend: &Value) -> Result<(), Failure> {
    let servers = backend.get("servers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let servers: Vec<String> = servers
        .iter()
        .map(|server| {
            let weight = server["weight"].as_u64().and_then(|weight| u32::try_from(weight).ok()).unwrap_or_default();
            let timeout = server["drain_timeout"].as_u64().map(Duration::from_millis);
            let words = server_words(weight, server["backup"] == true, server["drain"] == true, timeout);
            format!("{} {words}", text(server, "/address"))
        })
        .collect();
    session.show(
        backend,
        &[
            ("name", text(backend, "/name")),
            ("id", text(backend, "/id")),
            ("lb", text(backend, "/lb/name")),
            ("protocol", text(backend, "/forward_protocol")),
            ("port", text(backend, "/forward_port")),
            ("forwarding", text(backend, "/forwarding")),
            ("algorithm", text(backend, "/forward_port_algorithm")),
            ("sticky sessions", text(backend, "/sticky_sessions")),
            ("sticky prefix v6", text(backend, "/sticky_prefix_v6")),
            ("quic server id bytes", text(backend, "/quic_server_id_length")),
            ("quic config id", text(backend, "/quic_config_id")),
            ("slow start ms", text(backend, "/slow_start")),
            ("when empty", text(backend, "/on_empty")),
            ("servers", servers.join("\n")),
            ("health check", backend.get("health_check").map(health_check::summary).unwrap_or_default()),
            ("timeout server ms", text(backend, "/timeout_server")),
            ("without effect", without_effect(backend)),
            ("created", text(backend, "/created_at")),
            ("updated", text(backend, "/updated_at")),
        ],
    )
}
