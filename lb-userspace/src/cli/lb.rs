//! `snowshed lb`: load balancers.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::delete::{self, Confirm};
use super::failure::{Exit, Failure};
use super::output::{Column, text};
use super::session::{Noun, Session, id_of, keep};
use super::value::{self, IpReference, Reference};
use crate::model::{ClosedPort, LbType};

/// Fields that an update replaces together.
const FIELDS: [&str; 3] = ["name", "description", "tags"];

const COLUMNS: [Column; 10] = [
    Column::text("NAME", |lb| text(lb, "/name")),
    Column::text("STATUS", |lb| text(lb, "/status")),
    Column::text("ADDRESSES", addresses),
    Column::number("FRONTENDS", |lb| text(lb, "/frontend_count")),
    Column::number("BACKENDS", |lb| text(lb, "/backend_count")),
    Column::text("TYPE", |lb| text(lb, "/type")),
    Column::wide("TAGS", |lb| text(lb, "/tags")),
    Column::wide("PROJECT", |lb| text(lb, "/project_id")),
    Column::wide("CREATED", |lb| text(lb, "/created_at")),
    Column::text("ID", |lb| text(lb, "/id")),
];

/// Load balancers
#[derive(Subcommand, Debug)]
pub enum LbCommand {
    /// Make a load balancer, with an address of its own
    #[command(after_help = "Examples:
  snowshed lb create --name web                     with one IPv4 address out of the agent's pool
  snowshed lb create --name web --ipv6              with one IPv4 and one IPv6 address
  snowshed lb create --name web --ip 192.0.2.10     with an address reserved before (snowshed ip create)")]
    Create(Create),
    /// Show a load balancer
    #[command(after_help = "Examples:
  snowshed lb get web
  snowshed lb get web -o json
  snowshed lb get web --wait=ready --timeout 1m")]
    Get {
        /// Name or id
        lb: Reference,
    },
    /// List load balancers
    #[command(after_help = "Examples:
  snowshed lb list
  snowshed lb list --tag production -o yaml
  snowshed lb list --show-deleted --watch")]
    List(List),
    /// Change a load balancer's name, description, labels or what its addresses answer; what is not given stays
    #[command(after_help = "Examples:
  snowshed lb update web --name www
  snowshed lb update web --tag production --tag eu
  snowshed lb update web --answers-echo false --on-closed-port drop")]
    Update(Update),
    /// Delete load balancers with their frontends and backends
    #[command(
        after_help = "A deleted load balancer forwards on through the grace period (15 min unless configured), and its \
addresses stay reserved.

Several are one operation: it is planned, shown with its live traffic, and carried out when their count is said.

Examples:
  snowshed lb delete web
  snowshed lb delete web --yes
  snowshed lb delete web mail dns --expect-count 3
  snowshed lb delete --tag staging                  all with the label; asks for their count
  snowshed lb delete --project 11111111-1111-4111-8111-111111111111 --expect-count 12"
    )]
    Delete(Delete),
    /// Bring deleted load balancers back, with their addresses, exactly as they were
    #[command(after_help = "Several are one operation: it is planned, shown, and carried out when their count is said.

Examples:
  snowshed lb undelete 22222222-2222-4222-8222-222222222222
  snowshed lb list --show-deleted -o name | xargs snowshed lb undelete --expect-count 3")]
    Undelete(Undelete),
}

/// Arguments of `lb create`.
#[derive(Args, Debug)]
pub struct Create {
    /// Name, 1 to 255 characters
    #[arg(long, value_parser = value::name)]
    name: String,
    /// Free text, at most 1024 characters
    #[arg(long, default_value = "", value_parser = description)]
    description: String,
    /// Label; may be given again
    #[arg(long = "tag", value_name = "TAG", value_parser = value::tag)]
    tags: Vec<String>,
    /// Type: LB-S, LB-GP-M, LB-GP-L or LB-GP-XL
    #[arg(long = "type", value_name = "TYPE", default_value = "LB-S", value_parser = value::lb_type)]
    kind: LbType,
    /// Id or address of a reserved IP to attach; may be given again, one per family
    #[arg(long = "ip", value_name = "IP")]
    ips: Vec<IpReference>,
    /// Reserve and attach an IPv6 address as well
    #[arg(long)]
    ipv6: bool,
    /// Reserve no IPv4 address
    #[arg(long)]
    no_ipv4: bool,
    /// Refuse to be deleted until the protection is taken off
    #[arg(long)]
    protected: bool,
    /// Whether its addresses answer echo requests (ping)
    #[arg(long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    answers_echo: bool,
    /// What clients see of ports that nobody listens on: reject (RST, ICMP unreachable) or drop (nothing)
    #[arg(long, value_name = "POLICY", default_value = "reject", value_parser = value::closed_port)]
    on_closed_port: ClosedPort,
    /// Project that will own it; the token's own when not given
    #[arg(long, value_name = "ID", value_parser = value::project)]
    project: Option<Uuid>,
}

/// Arguments of `lb list`.
#[derive(Args, Debug)]
pub struct List {
    /// Only those whose name contains this
    #[arg(long, value_parser = value::name)]
    name: Option<String>,
    /// Only those with this label, or with one of these when given again
    #[arg(long = "tag", value_name = "TAG", value_parser = value::tag)]
    tags: Vec<String>,
}

/// Arguments of `lb update`.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true, args = ["name", "description", "tags", "no_tags", "protected", "answers_echo",
    "on_closed_port"])]
pub struct Update {
    /// Name or id
    lb: Reference,
    /// New name
    #[arg(long, value_parser = value::name)]
    name: Option<String>,
    /// New free text, at most 1024 characters
    #[arg(long, value_parser = description)]
    description: Option<String>,
    /// New labels, instead of all the old ones; may be given again
    #[arg(long = "tag", value_name = "TAG", value_parser = value::tag)]
    tags: Vec<String>,
    /// Remove all labels
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// Whether it refuses to be deleted
    #[arg(long, value_name = "true|false")]
    protected: Option<bool>,
    /// Whether its addresses answer echo requests (ping)
    #[arg(long, value_name = "true|false")]
    answers_echo: Option<bool>,
    /// What clients see of ports that nobody listens on: reject (RST, ICMP unreachable) or drop (nothing)
    #[arg(long, value_name = "POLICY", value_parser = value::closed_port)]
    on_closed_port: Option<ClosedPort>,
}

/// Arguments of `lb delete`.
#[derive(Args, Debug)]
#[group(id = "which", required = true, multiple = true, args = ["lbs", "tags", "project"])]
pub struct Delete {
    /// Names or ids
    #[arg(value_name = "LB", conflicts_with_all = ["tags", "project"])]
    lbs: Vec<Reference>,
    /// All with this label, or with one of these when given again; of the project, when one is given
    #[arg(long = "tag", value_name = "TAG", value_parser = value::tag)]
    tags: Vec<String>,
    /// All of this project
    #[arg(long, value_name = "ID", value_parser = value::project)]
    project: Option<Uuid>,
    /// Give the addresses back as well; without it they stay reserved for you
    #[arg(long)]
    release_ip: bool,
    /// Also when it has live traffic
    #[arg(long)]
    with_traffic: bool,
    /// Without a grace period; only one that has no traffic or whose servers are drained
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    confirm: Confirm,
}

/// Arguments of `lb undelete`.
#[derive(Args, Debug)]
pub struct Undelete {
    /// Names or ids; `snowshed lb list --show-deleted` shows what was deleted
    #[arg(required = true, value_name = "LB")]
    deleted: Vec<Reference>,
    #[command(flatten)]
    confirm: Confirm,
}

impl LbCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run(session).await,
            Self::Get { lb } => {
                let lb = session.find(Noun::Lb, &lb, None).await?;
                let lb = session.settled(Noun::Lb, lb).await?;
                show(session, &lb)
            }
            Self::List(args) => args.run(session).await,
            Self::Update(args) => args.run(session).await,
            Self::Undelete(args) => args.run(session).await,
            Self::Delete(args) => args.run(session).await,
        }
    }
}

impl Undelete {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut deleted = Vec::with_capacity(self.deleted.len());
        for reference in &self.deleted {
            deleted.push(deleted_id(session, reference).await?);
        }
        if let [one] = deleted.as_slice() {
            let lb = session.client.change(Method::POST, &format!("lbs/{one}/undelete"), &json!({})).await?;
            let lb = session.settled(Noun::Lb, lb).await?;
            return show(session, &lb);
        }
        let mut lbs = Vec::with_capacity(deleted.len());
        for id in &deleted {
            lbs.push(session.client.get(&format!("lbs/{id}")).await?);
        }
        delete::plan_and_apply(session, "undelete", &lbs, &self.confirm, true).await
    }
}

/// The id of a deleted load balancer: several of one name may have been deleted, and one of it may live.
async fn deleted_id(session: &Session<'_>, reference: &Reference) -> Result<Uuid, Failure> {
    let name = match reference {
        Reference::Id(id) => return Ok(*id),
        Reference::Name(name) => name,
    };
    let filters = [("name", name.clone()), ("deleted", "true".to_owned())];
    let mut found = session.client.list("lbs", "lbs", &filters).await?;
    found.retain(|lb| text(lb, "/name") == *name && !text(lb, "/deleted_at").is_empty());
    match found.as_slice() {
        [one] => id_of(one),
        [] => Err(Failure::new(Exit::NotFound, format!("no deleted load balancer is named `{name}`"))
            .help("`snowshed lb list --show-deleted` shows what was deleted")),
        several => {
            let lines = several.iter().map(|lb| format!("{}  deleted {}", text(lb, "/id"), text(lb, "/deleted_at")));
            let lines: Vec<String> = lines.collect();
            Err(Failure::usage(format!("{} deleted load balancers are named `{name}`", several.len()))
                .help(format!("name one by its id:\n{}", lines.join("\n"))))
        }
    }
}

impl Delete {
    /// The load balancers that are named, or that have one of the labels and lie in the project.
    async fn find(&self, session: &Session<'_>) -> Result<Vec<Value>, Failure> {
        if !self.lbs.is_empty() {
            return session.find_all(Noun::Lb, &self.lbs, None).await;
        }
        let mut filters: Vec<(&str, String)> = self.tags.iter().map(|tag| ("tags", tag.clone())).collect();
        filters.extend(self.project.map(|project| ("project_id", project.to_string())));
        let found = session.client.list("lbs", "lbs", &filters).await?;
        if found.is_empty() {
            return Err(Failure::new(Exit::NotFound, "no load balancer is so: nothing was deleted")
                .help("`snowshed lb list -o wide` shows their labels and projects"));
        }
        Ok(found)
    }

    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let lbs = self.find(session).await?;
        let is_several = lbs.iter().any(|lb| text(lb, "/id") != text(&lbs[0], "/id"));
        if is_several && (self.release_ip || self.now) {
            return Err(Failure::usage(
                "--release-ip and --now are for one load balancer at a time: nothing was deleted",
            )
            .help("delete them without; `snowshed ip delete` gives the addresses back afterwards"));
        }
        if is_several {
            return delete::plan_and_apply(session, "delete", &lbs, &self.confirm, self.with_traffic).await;
        }
        let query = [
            ("release_ip", self.release_ip.to_string()),
            ("with_traffic", self.with_traffic.to_string()),
            ("now", self.now.to_string()),
        ];
        delete::delete(session, Noun::Lb, &lbs, &self.confirm, &query).await
    }
}

impl List {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut filters: Vec<(&str, String)> = self.tags.into_iter().map(|tag| ("tags", tag)).collect();
        filters.extend(self.name.map(|name| ("name", name)));
        let lbs = session.client.list("lbs", "lbs", &filters).await?;
        session.show_list(&lbs, &COLUMNS)
    }
}

impl Create {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut ip_ids = Vec::with_capacity(self.ips.len());
        let mut has_ipv4 = false;
        for ip in &self.ips {
            let ip = session.find_ip(*ip).await?;
            has_ipv4 |= !text(&ip, "/ip_address").contains(':');
            ip_ids.push(id_of(&ip)?);
        }
        let mut body = object(json!({
            "name": self.name,
            "description": self.description,
            "tags": self.tags,
            "type": self.kind.as_str(),
            "assign_flexible_ip": !self.no_ipv4 && !has_ipv4,
            "assign_flexible_ipv6": self.ipv6,
            "ip_ids": ip_ids,
            "protected": self.protected,
            "answers_echo": self.answers_echo,
            "on_closed_port": self.on_closed_port.as_str(),
        }));
        if let Some(project) = self.project {
            body.insert("project_id".into(), json!(project));
        }
        let lb = session.change(Noun::Lb, Method::POST, "lbs", body).await?;
        show(session, &lb)
    }
}

impl Update {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let lb = session.find(Noun::Lb, &self.lb, None).await?;
        let body = |lb: &Value| {
            let mut body = keep(lb, &FIELDS);
            body.extend(self.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
            body.extend(self.description.as_ref().map(|text| ("description".to_owned(), json!(text))));
            body.extend(self.protected.map(|protected| ("protected".to_owned(), json!(protected))));
            body.extend(self.answers_echo.map(|answers| ("answers_echo".to_owned(), json!(answers))));
            body.extend(self.on_closed_port.map(|policy| ("on_closed_port".to_owned(), json!(policy.as_str()))));
            if self.no_tags || !self.tags.is_empty() {
                body.insert("tags".into(), json!(self.tags));
            }
            Ok(body)
        };
        let lb = session.replace(Noun::Lb, &lb, Method::PATCH, "", body).await?;
        show(session, &lb)
    }
}

fn show(session: &mut Session<'_>, lb: &Value) -> Result<(), Failure> {
    session.show(
        lb,
        &[
            ("name", text(lb, "/name")),
            ("id", text(lb, "/id")),
            ("status", text(lb, "/status")),
            ("addresses", addresses(lb)),
            ("type", text(lb, "/type")),
            ("description", text(lb, "/description")),
            ("tags", text(lb, "/tags")),
            ("answers echo", text(lb, "/answers_echo")),
            ("on closed port", text(lb, "/on_closed_port")),
            ("frontends", text(lb, "/frontend_count")),
            ("backends", text(lb, "/backend_count")),
            ("project", text(lb, "/project_id")),
            ("created", text(lb, "/created_at")),
            ("updated", text(lb, "/updated_at")),
        ],
    )
}

fn addresses(lb: &Value) -> String {
    let ips = lb.get("ip").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    ips.iter().map(|ip| text(ip, "/ip_address")).collect::<Vec<_>>().join(", ")
}

/// A description.
pub(super) fn description(text: &str) -> Result<String, String> {
    let chars = text.chars().count();
    if chars > crate::model::Lb::MAX_DESCRIPTION_CHARS {
        return Err(format!(
            "it has {chars} characters; at most {} are allowed",
            crate::model::Lb::MAX_DESCRIPTION_CHARS
        ));
    }
    Ok(text.to_owned())
}

/// The fields of a JSON object.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
