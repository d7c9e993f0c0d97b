//! `snowshed frontend`: the ports of a load balancer.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::backend::without_effect;
use super::delete::{self, Confirm};
use super::failure::Failure;
use super::lb::object;
use super::output::{Column, text};
use super::session::{Noun, Session, id_of, keep};
use super::value::{self, Ports, Reference, millis};

/// Fields that an update replaces together.
const FIELDS: [&str; 3] = ["name", "inbound_port", "inbound_port_end"];

const COLUMNS: [Column; 6] = [
    Column::text("NAME", |frontend| text(frontend, "/name")),
    Column::text("LB", |frontend| text(frontend, "/lb/name")),
    Column::number("PORT", ports),
    Column::text("PROTOCOL", |frontend| text(frontend, "/backend/forward_protocol")),
    Column::text("BACKEND", |frontend| text(frontend, "/backend/name")),
    Column::text("ID", |frontend| text(frontend, "/id")),
];

/// Frontends: the ports of a load balancer's addresses, each with the backend behind it
#[derive(Subcommand, Debug)]
pub enum FrontendCommand {
    /// Listen on a port
    #[command(after_help = "The frontend's protocol, tcp or udp, is its backend's. Only `nat` forwarding \
translates ports: otherwise the backend's forward port is the frontend's port. Behind a range, servers get every \
packet on the port that the client asked for, in every mode; a frontend for one port within it wins.

Examples:
  snowshed frontend create --lb web --name http --inbound-port 80 --backend web
  snowshed frontend create --lb voip --name media --inbound-port 20000-29999 --backend media
  snowshed frontend create --lb lab --name everything --inbound-port any --backend lab")]
    Create(Create),
    /// Show a frontend
    #[command(after_help = "Example:
  snowshed frontend get http --lb web")]
    Get(Get),
    /// List the frontends of a load balancer
    #[command(after_help = "Example:
  snowshed frontend list --lb web")]
    List(List),
    /// Change a frontend's name, port, backend or timeout; what is not given stays
    #[command(after_help = "Example:
  snowshed frontend update http --lb web --backend web-v2")]
    Update(Update),
    /// Delete frontends: their ports stop forwarding at once
    #[command(after_help = "Example:
  snowshed frontend delete http --lb web")]
    Delete(Delete),
}

/// Arguments of `frontend create`.
#[derive(Args, Debug)]
pub struct Create {
    /// The load balancer: name or id
    #[arg(long)]
    lb: Reference,
    /// Name, 1 to 255 characters
    #[arg(long, value_parser = value::name)]
    name: String,
    /// Port that is listened on, 1 to 65535; a range such as 8000-8999, or `any`
    #[arg(long, visible_alias = "port", value_name = "PORT", value_parser = value::ports)]
    inbound_port: Ports,
    /// The backend behind it: name or id
    #[arg(long)]
    backend: Reference,
    /// Idle time a client is allowed, for example 5m; kept for the forwarding modes that hold flow state
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    timeout_client: Option<Duration>,
    #[command(flatten)]
    limits: Limits,
}

/// Limits of a frontend.
#[derive(Args, Clone, Copy, Debug)]
struct Limits {
    /// New connections per second of each client (an IPv4 address, an IPv6 /64); 0 is no limit
    #[arg(long, value_name = "PER_SECOND", value_parser = value::rate)]
    connection_rate_limit: Option<u32>,
    /// New connections per second of all clients together, at each address; 0 is no limit
    #[arg(long, value_name = "PER_SECOND", value_parser = value::rate)]
    service_connection_rate_limit: Option<u32>,
    /// Packets per second of all clients together, at each address; 0 is no limit
    #[arg(long, value_name = "PER_SECOND", value_parser = value::rate)]
    packet_rate_limit: Option<u32>,
}

impl Limits {
    /// Those that were given, as the API takes them.
    fn given(self) -> impl Iterator<Item = (String, Value)> {
        let named = [
            ("connection_rate_limit", self.connection_rate_limit),
            ("service_connection_rate_limit", self.service_connection_rate_limit),
            ("packet_rate_limit", self.packet_rate_limit),
        ];
        named.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), json!(limit?))))
    }
}

/// Arguments of `frontend get`.
#[derive(Args, Debug)]
pub struct Get {
    /// Name or id
    frontend: Reference,
    /// The load balancer, when the frontend is named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
}

/// Arguments of `frontend list`.
#[derive(Args, Debug)]
pub struct List {
    /// The load balancer: name or id
    #[arg(long)]
    lb: Reference,
}

/// Arguments of `frontend update`.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true, args = ["name", "inbound_port", "backend", "timeout_client", "connection_rate_limit", "service_connection_rate_limit", "packet_rate_limit"])]
pub struct Update {
    /// Name or id
    frontend: Reference,
    /// The load balancer, when the frontend is named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
    /// New name
    #[arg(long, value_parser = value::name)]
    name: Option<String>,
    /// New port, 1 to 65535; a range such as 8000-8999, or `any`
    #[arg(long, visible_alias = "port", value_name = "PORT", value_parser = value::ports)]
    inbound_port: Option<Ports>,
    /// New backend: name or id
    #[arg(long)]
    backend: Option<Reference>,
    /// New idle time a client is allowed, for example 5m
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    timeout_client: Option<Duration>,
    #[command(flatten)]
    limits: Limits,
}

/// Arguments of `frontend delete`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Names or ids
    #[arg(required = true, value_name = "FRONTEND")]
    frontends: Vec<Reference>,
    /// The load balancer, when frontends are named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
    #[command(flatten)]
    confirm: Confirm,
}

impl FrontendCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run(session).await,
            Self::Get(args) => {
                let frontend = session.find(Noun::Frontend, &args.frontend, args.lb.as_ref()).await?;
                show(session, &frontend)
            }
            Self::List(args) => session.list_of(Noun::Frontend, &args.lb, &COLUMNS).await,
            Self::Update(args) => args.run(session).await,
            Self::Delete(args) => {
                let frontends = session.find_all(Noun::Frontend, &args.frontends, args.lb.as_ref()).await?;
                delete::delete(session, Noun::Frontend, &frontends, &args.confirm, &[]).await
            }
        }
    }
}

impl Create {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let lb = session.lb_id(&self.lb).await?;
        let backend = session.find(Noun::Backend, &self.backend, Some(&Reference::Id(lb))).await?;
        let mut body = object(json!({
            "name": self.name,
            "backend_id": id_of(&backend)?,
        }));
        body.extend(self.inbound_port.body());
        body.extend(self.timeout_client.map(|timeout| ("timeout_client".to_owned(), json!(millis(timeout)))));
        body.extend(self.limits.given());
        let frontend = session.change(Noun::Frontend, Method::POST, &format!("lbs/{lb}/frontends"), body).await?;
        show(session, &frontend)
    }
}

impl Update {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let frontend = session.find(Noun::Frontend, &self.frontend, self.lb.as_ref()).await?;
        let backend = match &self.backend {
            Some(backend) => {
                let lb = text(&frontend, "/lb/id").parse().ok();
                Some(id_of(&session.find(Noun::Backend, backend, lb.as_ref()).await?)?.to_string())
            }
            None => None,
        };
        let body = |frontend: &Value| {
            let mut body = keep(frontend, &FIELDS);
            let backend = backend.clone().unwrap_or_else(|| text(frontend, "/backend/id"));
            body.insert("backend_id".into(), json!(backend));
            body.extend(self.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
            body.extend(self.inbound_port.map(Ports::body).into_iter().flatten());
            body.extend(self.timeout_client.map(|timeout| ("timeout_client".to_owned(), json!(millis(timeout)))));
            body.extend(self.limits.given());
            Ok(body)
        };
        let frontend = session.replace(Noun::Frontend, &frontend, Method::PATCH, "", body).await?;
        show(session, &frontend)
    }
}

fn show(session: &mut Session<'_>, frontend: &Value) -> Result<(), Failure> {
    session.show(
        frontend,
        &[
            ("name", text(frontend, "/name")),
            ("id", text(frontend, "/id")),
            ("lb", text(frontend, "/lb/name")),
            ("port", ports(frontend)),
            ("protocol", text(frontend, "/backend/forward_protocol")),
            ("backend", text(frontend, "/backend/name")),
            ("timeout client ms", text(frontend, "/timeout_client")),
            ("without effect", without_effect(frontend)),
            ("connections/s of a client", limit(frontend, "/connection_rate_limit")),
            ("connections/s in all", limit(frontend, "/service_connection_rate_limit")),
            ("packets/s in all", limit(frontend, "/packet_rate_limit")),
            ("created", text(frontend, "/created_at")),
            ("updated", text(frontend, "/updated_at")),
        ],
    )
}

/// `80`, or `8000-8999`.
fn ports(frontend: &Value) -> String {
    let last = frontend.get("inbound_port_end").and_then(Value::as_u64);
    text(frontend, "/inbound_port") + &last.map(|last| format!("-{last}")).unwrap_or_default()
}

fn limit(frontend: &Value, pointer: &str) -> String {
    let limit = text(frontend, pointer);
    if limit == "0" { "not limited".to_owned() } else { limit }
}
