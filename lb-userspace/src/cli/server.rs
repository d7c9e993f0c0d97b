//! `snowshed server`: the servers of a backend.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::backend::server_json;
use super::delete::{Confirm, confirmed};
use super::failure::{Exit, Failure};
use super::output::{Column, text};
use super::session::{Noun, Session, id_of};
use super::value::{self, Reference, ServerArg, millis};
use crate::model::Weight;

const COLUMNS: [Column; 6] = [
    Column::text("ADDRESS", |server| text(server, "/address")),
    Column::number("WEIGHT", |server| text(server, "/weight")),
    Column::text("BACKUP", |server| text(server, "/backup")),
    Column::text("DRAIN", |server| text(server, "/drain")),
    Column::text("UNTIL", |server| text(server, "/drain_deadline")),
    Column::wide("QUIC ID", |server| text(server, "/quic_server_id")),
];

/// Servers of a backend; their health is shown by `snowshed status`
#[derive(Subcommand, Debug)]
pub enum ServerCommand {
    /// Add a server
    #[command(
        visible_alias = "create",
        after_help = "Example:
  snowshed server add --lb web --backend web 10.0.0.8 --weight 3"
    )]
    Add(Add),
    /// Show a server
    #[command(after_help = "Example:
  snowshed server get --lb web --backend web 10.0.0.8")]
    Get(Get),
    /// List the servers of a backend
    #[command(after_help = "Examples:
  snowshed server list --lb web --backend web
  snowshed server list --lb web --backend h3 -o wide     also the server ids to put into QUIC connection ids")]
    List(List),
    /// Change a server's weight, let it stand by, or drain it; what is not given stays
    #[command(
        after_help = "A drained server keeps its connections and gets no new ones. With a timeout it is taken out after that, \
and the connections it still has are cut off. A standby server gets connections only while no other takes any.

Examples:
  snowshed server update --lb web --backend web 10.0.0.8 --drain --drain-timeout 10m
  snowshed server update --lb web --backend web 10.0.0.9 --backup
  snowshed server update --lb web --backend web 10.0.0.8 --drain=false --weight 5"
    )]
    Update(Update),
    /// Remove servers at once; drain them first to spare their connections
    #[command(
        visible_alias = "delete",
        after_help = "Examples:
  snowshed server remove --lb web --backend web 10.0.0.8
  snowshed server remove --lb web --backend web 10.0.0.8 10.0.0.9 --expect-count 2"
    )]
    Remove(Remove),
}

/// Which backend.
#[derive(Args, Debug)]
pub struct Pool {
    /// The backend: name or id
    #[arg(long)]
    backend: Reference,
    /// The load balancer, when the backend is named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
}

/// Arguments of `server add`.
#[derive(Args, Debug)]
pub struct Add {
    #[command(flatten)]
    pool: Pool,
    /// The server's address
    #[arg(value_parser = value::address)]
    address: IpAddr,
    /// Its share relative to the other servers, 1 to 65535
    #[arg(long, value_name = "N", default_value = "1", value_parser = value::weight)]
    weight: Weight,
    /// Let it stand by: it gets connections only while no server that does not takes any
    #[arg(long)]
    backup: bool,
    /// Add it drained: it gets no connections until `server update --drain=false`
    #[arg(long)]
    drain: bool,
}

/// Arguments of `server get`.
#[derive(Args, Debug)]
pub struct Get {
    #[command(flatten)]
    pool: Pool,
    /// The server's address
    #[arg(value_parser = value::address)]
    address: IpAddr,
}

/// Arguments of `server list`.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    pool: Pool,
}

/// Arguments of `server update`.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true, args = ["weight", "backup", "drain", "drain_timeout"])]
pub struct Update {
    #[command(flatten)]
    pool: Pool,
    /// The server's address
    #[arg(value_parser = value::address)]
    address: IpAddr,
    /// Its share relative to the other servers, 1 to 65535
    #[arg(long, value_name = "N", value_parser = value::weight)]
    weight: Option<Weight>,
    /// Let it stand by; --backup=false makes it one of the others
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    backup: Option<bool>,
    /// Give it no new connections; --drain=false gives it new ones again
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    drain: Option<bool>,
    /// How long it may drain before it is taken out, counted from when it began; 0 is without end
    #[arg(long, value_name = "DURATION", value_parser = value::duration_or_zero)]
    drain_timeout: Option<Duration>,
}

/// Arguments of `server remove`.
#[derive(Args, Debug)]
pub struct Remove {
    #[command(flatten)]
    pool: Pool,
    /// Addresses of the servers
    #[arg(required = true, value_name = "ADDRESS", value_parser = value::address)]
    addresses: Vec<IpAddr>,
    #[command(flatten)]
    confirm: Confirm,
}

impl ServerCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Add(args) => args.run(session).await,
            Self::Get(args) => {
                let backend = args.pool.find(session).await?;
                let server = server_of(&backend, args.address)?.clone();
                show(session, &server)
            }
            Self::List(args) => {
                let backend = args.pool.find(session).await?;
                let servers = servers(&backend).to_vec();
                session.show_list(&servers, &COLUMNS)
            }
            Self::Update(args) => args.run(session).await,
            Self::Remove(args) => args.run(session).await,
        }
    }
}

impl Pool {
    async fn find(&self, session: &Session<'_>) -> Result<Value, Failure> {
        session.find(Noun::Backend, &self.backend, self.lb.as_ref()).await
    }
}

impl Add {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let backend = self.pool.find(session).await?;
        let Self { pool: _, address, weight, backup, drain } = self;
        let server = server_json(&ServerArg { address, weight, backup, drain, drain_timeout: None });
        let body = |backend: &Value| {
            if server_of(backend, self.address).is_ok() {
                let of = Noun::Backend.label(backend);
                return Err(Failure::usage(format!("{} is a server of {of} already", self.address))
                    .help("`snowshed server update` changes its weight or drains it"));
            }
            Ok(Map::from_iter([("servers".to_owned(), json!([server]))]))
        };
        let backend = session.replace(Noun::Backend, &backend, Method::POST, "/servers", body).await?;
        let server = server_of(&backend, self.address)?.clone();
        show(session, &server)
    }
}

impl Update {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let backend = self.pool.find(session).await?;
        let mut server = Map::from_iter([("address".to_owned(), json!(self.address))]);
        server.extend(self.weight.map(|weight| ("weight".to_owned(), json!(weight.get()))));
        server.extend(self.backup.map(|backup| ("backup".to_owned(), json!(backup))));
        server.extend(self.drain.map(|drain| ("drain".to_owned(), json!(drain))));
        server.extend(self.drain_timeout.map(|time| ("drain_timeout".to_owned(), json!(millis(time)))));
        let body = |backend: &Value| {
            // Adding would bring back one that somebody has removed.
            server_of(backend, self.address)?;
            Ok(Map::from_iter([("servers".to_owned(), json!([server]))]))
        };
        let backend = session.replace(Noun::Backend, &backend, Method::POST, "/servers", body).await?;
        let server = server_of(&backend, self.address)?.clone();
        show(session, &server)
    }
}

impl Remove {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let backend = self.pool.find(session).await?;
        let mut addresses = self.addresses;
        addresses.sort_unstable();
        addresses.dedup();
        for address in &addresses {
            server_of(&backend, *address)?;
        }
        let of = Noun::Backend.label(&backend);
        let labels: Vec<String> = addresses.iter().map(|address| format!("server {address} of {of}")).collect();
        confirmed(session, &labels, &self.confirm)?;
        let path = format!("backends/{}/servers", id_of(&backend)?);
        let body = Map::from_iter([("server_ip".to_owned(), json!(addresses))]);
        session.change(Noun::Backend, Method::DELETE, &path, body).await?;
        for label in labels {
            session.terminal.note(format!("removed {label}"))?;
        }
        Ok(())
    }
}

fn servers(backend: &Value) -> &[Value] {
    backend.get("servers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
}

fn address_of(server: &Value) -> Option<IpAddr> {
    text(server, "/address").parse().ok()
}

fn server_of(backend: &Value, address: IpAddr) -> Result<&Value, Failure> {
    servers(backend).iter().find(|server| address_of(server) == Some(address)).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{address} is no server of {}", Noun::Backend.label(backend)))
            .help("`snowshed server list` with the same --lb and --backend shows what there is")
    })
}

fn show(session: &mut Session<'_>, server: &Value) -> Result<(), Failure> {
    session.show(
        server,
        &[
            ("address", text(server, "/address")),
            ("weight", text(server, "/weight")),
            ("backup", text(server, "/backup")),
            ("drain", text(server, "/drain")),
            ("drain until", text(server, "/drain_deadline")),
            ("quic server id", text(server, "/quic_server_id")),
        ],
    )
}
