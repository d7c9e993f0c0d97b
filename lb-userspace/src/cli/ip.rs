//! `snowshed ip`: flexible IPs.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::delete::{self, Confirm};
use super::failure::Failure;
use super::output::{Column, text};
use super::session::{Noun, Session, id_of};
use super::value::{self, IpReference, Reference};

const COLUMNS: [Column; 6] = [
    Column::text("ADDRESS", |ip| text(ip, "/ip_address")),
    Column::text("LB", |ip| text(ip, "/lb_id")),
    Column::text("REVERSE", |ip| text(ip, "/reverse")),
    Column::text("TAGS", |ip| text(ip, "/tags")),
    Column::wide("PROJECT", |ip| text(ip, "/project_id")),
    Column::text("ID", |ip| text(ip, "/id")),
];

/// Flexible IPs: addresses that are yours whether or not a load balancer uses them
#[derive(Subcommand, Debug)]
pub enum IpCommand {
    /// Reserve an address out of the agent's pool
    #[command(after_help = "Examples:
  snowshed ip create
  snowshed ip create --ipv6 --reverse www.example.com
  snowshed ip create --address 192.0.2.10")]
    Create(Create),
    /// Show an IP
    #[command(after_help = "Example:
  snowshed ip get 192.0.2.10")]
    Get {
        /// Address or id
        ip: IpReference,
    },
    /// List IPs
    #[command(after_help = "Examples:
  snowshed ip list
  snowshed ip list --family ipv6")]
    List(List),
    /// Change an IP's reverse name or labels, attach it or detach it; what is not given stays
    #[command(after_help = "Examples:
  snowshed ip update 192.0.2.10 --lb web
  snowshed ip update 192.0.2.10 --detach
  snowshed ip update 192.0.2.10 --reverse www.example.com")]
    Update(Update),
    /// Give addresses back; they must be detached
    #[command(after_help = "Examples:
  snowshed ip delete 192.0.2.10
  snowshed ip delete 192.0.2.10 192.0.2.11 --expect-count 2")]
    Delete(Delete),
}

/// Arguments of `ip create`.
#[derive(Args, Debug)]
pub struct Create {
    /// Reserve an IPv6 address instead of an IPv4 address
    #[arg(long, conflicts_with = "address")]
    ipv6: bool,
    /// Reserve this very address: one of the agent's pools, and free
    #[arg(long, value_name = "ADDRESS", value_parser = value::address)]
    address: Option<IpAddr>,
    /// Reverse DNS name, for example www.example.com
    #[arg(long, value_name = "NAME", value_parser = reverse)]
    reverse: Option<String>,
    /// Label; may be given again
    #[arg(long = "tag", value_name = "TAG", value_parser = value::tag)]
    tags: Vec<String>,
    /// Project that will own it; the token's own when not given
    #[arg(long, value_name = "ID", value_parser = value::project)]
    project: Option<Uuid>,
}

/// Arguments of `ip list`.
#[derive(Args, Debug)]
pub struct List {
    /// Only addresses of this family
    #[arg(long, value_enum)]
    family: Option<Family>,
    /// Only those with this label, or with one of these when given again
    #[arg(long = "tag", value_name = "TAG", value_parser = value::tag)]
    tags: Vec<String>,
}

/// Family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// IPv4
    Ipv4,
    /// IPv6
    Ipv6,
}

/// Arguments of `ip update`.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true, args = ["reverse", "tags", "no_tags", "lb", "detach"])]
pub struct Update {
    /// Address or id
    ip: IpReference,
    /// New reverse DNS name; empty for none
    #[arg(long, value_name = "NAME", value_parser = reverse)]
    reverse: Option<String>,
    /// New labels, instead of all the old ones; may be given again
    #[arg(long = "tag", value_name = "TAG", value_parser = value::tag)]
    tags: Vec<String>,
    /// Remove all labels
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// Load balancer to attach it to: name or id
    #[arg(long, value_name = "LB")]
    lb: Option<Reference>,
    /// Detach it from its load balancer; it stays reserved
    #[arg(long, conflicts_with = "lb")]
    detach: bool,
}

/// Arguments of `ip delete`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Addresses or ids
    #[arg(required = true, value_name = "IP")]
    ips: Vec<IpReference>,
    #[command(flatten)]
    confirm: Confirm,
}

impl IpCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(args) => {
                let ip = session.change(Noun::Ip, Method::POST, "ips", args.body()).await?;
                show(session, &ip)
            }
            Self::Get { ip } => {
                let ip = session.find_ip(ip).await?;
                show(session, &ip)
            }
            Self::List(args) => {
                let mut filters: Vec<(&str, String)> = args.tags.into_iter().map(|tag| ("tags", tag)).collect();
                filters.extend(args.family.map(|family| {
                    ("ip_type", if family == Family::Ipv4 { "ipv4".to_owned() } else { "ipv6".to_owned() })
                }));
                let ips = session.client.list("ips", "ips", &filters).await?;
                session.show_list(&ips, &COLUMNS)
            }
            Self::Update(args) => args.run(session).await,
            Self::Delete(args) => {
                let mut ips = Vec::with_capacity(args.ips.len());
                for ip in &args.ips {
                    ips.push(session.find_ip(*ip).await?);
                }
                delete::delete(session, Noun::Ip, &ips, &args.confirm, &[]).await
            }
        }
    }
}

impl Create {
    fn body(self) -> Map<String, Value> {
        let mut body = Map::from_iter([("tags".to_owned(), json!(self.tags))]);
        match self.address {
            Some(address) => body.insert("ip_address".into(), json!(address)),
            None => body.insert("is_ipv6".into(), json!(self.ipv6)),
        };
        body.extend(self.reverse.map(|name| ("reverse".to_owned(), json!(name))));
        body.extend(self.project.map(|project| ("project_id".to_owned(), json!(project))));
        body
    }
}

impl Update {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let ip = session.find_ip(self.ip).await?;
        let mut body = Map::new();
        body.extend(self.reverse.map(|name| ("reverse".to_owned(), json!(name))));
        if self.no_tags || !self.tags.is_empty() {
            body.insert("tags".into(), json!(self.tags));
        }
        if let Some(lb) = &self.lb {
            body.insert("lb_id".into(), json!(session.lb_id(lb).await?));
        } else if self.detach {
            body.insert("lb_id".into(), Value::Null);
        }
        let ip = session.change(Noun::Ip, Method::PATCH, &format!("ips/{}", id_of(&ip)?), body).await?;
        show(session, &ip)
    }
}

fn show(session: &mut Session<'_>, ip: &Value) -> Result<(), Failure> {
    session.show(
        ip,
        &[
            ("address", text(ip, "/ip_address")),
            ("id", text(ip, "/id")),
            ("lb", text(ip, "/lb_id")),
            ("reverse", text(ip, "/reverse")),
            ("tags", text(ip, "/tags")),
            ("project", text(ip, "/project_id")),
        ],
    )
}

/// A DNS name: letters, digits, hyphens, dots; at most 253 characters. Empty for none.
fn reverse(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() || (name.len() <= 253 && name.split('.').all(label)) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a DNS name, such as www.example.com"))
}
