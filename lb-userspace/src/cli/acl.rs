//! `snowshed acl`: which clients may reach a frontend.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::delete::{self, Confirm};
use super::failure::{Exit, Failure};
use super::lb::object;
use super::output::{Column, text};
use super::session::{Noun, Session, id_of, keep};
use super::value::{self, Reference};

/// Fields that an update replaces together.
const FIELDS: [&str; 4] = ["name", "index", "action", "match"];

const COLUMNS: [Column; 6] = [
    Column::number("INDEX", |acl| text(acl, "/index")),
    Column::text("NAME", |acl| text(acl, "/name")),
    Column::text("ACTION", |acl| text(acl, "/action/type")),
    Column::text("CLIENTS", clients),
    Column::text("FRONTEND", |acl| text(acl, "/frontend/name")),
    Column::text("ID", |acl| text(acl, "/id")),
];

/// Access rules of a frontend: the first that matches a client decides, and whom none matches may come
#[derive(Subcommand, Debug)]
pub enum AclCommand {
    /// Add a rule
    #[command(after_help = "Examples:
  snowshed acl create --lb web --frontend http --name scanners --index 10 --action deny --subnet 198.51.100.0/24
  snowshed acl create --lb web --frontend http --name office-only --index 0 --action deny --invert --subnet 192.0.2.0/24")]
    Create(Create),
    /// Show a rule
    #[command(after_help = "Example:
  snowshed acl get scanners --lb web --frontend http")]
    Get(Get),
    /// List the rules of a frontend in the order in which they are asked
    #[command(after_help = "Example:
  snowshed acl list --lb web --frontend http")]
    List(List),
    /// Change a rule; what is not given stays
    #[command(after_help = "Example:
  snowshed acl update scanners --lb web --frontend http --index 5")]
    Update(Update),
    /// Delete rules
    #[command(after_help = "Example:
  snowshed acl delete scanners --lb web --frontend http")]
    Delete(Delete),
}

/// What becomes of clients that match.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Action {
    /// They go on to the servers
    Allow,
    /// Their packets are dropped
    Deny,
}

/// Where a rule is, when it is named and not given by id.
#[derive(Args, Debug)]
struct Place {
    /// The load balancer of the frontend, when rules are named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
    /// The frontend, when rules are named and not given by id
    #[arg(long)]
    frontend: Option<Reference>,
}

/// Arguments of `acl create`.
#[derive(Args, Debug)]
pub struct Create {
    /// The load balancer, when the frontend is named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
    /// The frontend: name or id
    #[arg(long)]
    frontend: Reference,
    /// Name, 1 to 255 characters
    #[arg(long, value_parser = value::name)]
    name: String,
    /// Place among the rules: 0 is asked first
    #[arg(long)]
    index: u32,
    /// What becomes of clients that match
    #[arg(long)]
    action: Action,
    /// A network or address of clients; again for more
    #[arg(long = "subnet", value_name = "SUBNET", required = true, value_parser = value::subnet)]
    subnets: Vec<String>,
    /// Match clients that are in none of the networks
    #[arg(long)]
    invert: bool,
    /// Free text
    #[arg(long, value_parser = value::description)]
    description: Option<String>,
}

/// Arguments of `acl get`.
#[derive(Args, Debug)]
pub struct Get {
    /// Name or id
    acl: Reference,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `acl list`.
#[derive(Args, Debug)]
pub struct List {
    /// The load balancer, when the frontend is named and not given by id
    #[arg(long)]
    lb: Option<Reference>,
    /// The frontend: name or id
    #[arg(long)]
    frontend: Reference,
}

/// Arguments of `acl update`.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true, args = ["name", "index", "action", "subnets", "invert", "description"])]
pub struct Update {
    /// Name or id
    acl: Reference,
    #[command(flatten)]
    place: Place,
    /// New name
    #[arg(long, value_parser = value::name)]
    name: Option<String>,
    /// New place among the rules: 0 is asked first
    #[arg(long)]
    index: Option<u32>,
    /// What becomes of clients that match
    #[arg(long)]
    action: Option<Action>,
    /// The networks or addresses of clients, instead of those that were there; again for more
    #[arg(long = "subnet", value_name = "SUBNET", value_parser = value::subnet)]
    subnets: Vec<String>,
    /// Whether it matches clients that are in none of the networks
    #[arg(long)]
    invert: Option<bool>,
    /// New text
    #[arg(long, value_parser = value::description)]
    description: Option<String>,
}

/// Arguments of `acl delete`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Names or ids
    #[arg(required = true, value_name = "ACL")]
    acls: Vec<Reference>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    confirm: Confirm,
}

impl AclCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run(session).await,
            Self::Get(args) => {
                let acl = find(session, &args.acl, &args.place).await?;
                show(session, &acl)
            }
            Self::List(args) => {
                let frontend = session.find(Noun::Frontend, &args.frontend, args.lb.as_ref()).await?;
                let mut acls = rules_of(session, id_of(&frontend)?).await?;
                acls.sort_by_key(|acl| acl.get("index").and_then(Value::as_u64));
                session.show_list(&acls, &COLUMNS)
            }
            Self::Update(args) => args.run(session).await,
            Self::Delete(args) => {
                let mut acls = Vec::with_capacity(args.acls.len());
                for acl in &args.acls {
                    acls.push(find(session, acl, &args.place).await?);
                }
                delete::delete(session, Noun::Acl, &acls, &args.confirm, &[]).await
            }
        }
    }
}

impl Create {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let frontend = id_of(&session.find(Noun::Frontend, &self.frontend, self.lb.as_ref()).await?)?;
        let mut body = object(json!({
            "name": self.name,
            "index": self.index,
            "action": {"type": self.action.word()},
            "match": {"ip_subnet": self.subnets, "invert": self.invert},
        }));
        body.extend(self.description.map(|text| ("description".to_owned(), json!(text))));
        let acl = session.change(Noun::Acl, Method::POST, &format!("frontends/{frontend}/acls"), body).await?;
        show(session, &acl)
    }
}

impl Update {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let acl = find(session, &self.acl, &self.place).await?;
        let body = |acl: &Value| {
            let mut body = keep(acl, &FIELDS);
            if let Some(Value::Object(matches)) = body.get_mut("match") {
                matches.extend((!self.subnets.is_empty()).then(|| ("ip_subnet".to_owned(), json!(self.subnets))));
                matches.extend(self.invert.map(|invert| ("invert".to_owned(), json!(invert))));
                matches.retain(|_, value| !value.is_null());
            }
            body.insert(
                "action".into(),
                json!({"type": self.action.map_or_else(|| text(acl, "/action/type"), |a| a.word().to_owned())}),
            );
            body.extend(self.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
            body.extend(self.index.map(|index| ("index".to_owned(), json!(index))));
            body.extend(self.description.as_ref().map(|text| ("description".to_owned(), json!(text))));
            Ok::<Map<String, Value>, Failure>(body)
        };
        let acl = session.replace(Noun::Acl, &acl, Method::PUT, "", body).await?;
        show(session, &acl)
    }
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

async fn rules_of(session: &Session<'_>, frontend: Uuid) -> Result<Vec<Value>, Failure> {
    session.client.list(&format!("frontends/{frontend}/acls"), "acls", &[]).await
}

/// The rule that a reference names, within its frontend.
async fn find(session: &Session<'_>, reference: &Reference, place: &Place) -> Result<Value, Failure> {
    let name = match reference {
        Reference::Id(id) => return session.client.get(&format!("acls/{id}")).await,
        Reference::Name(name) => name,
    };
    let Some(frontend) = &place.frontend else {
        return Err(Failure::usage(format!("`{name}` names a rule within a frontend: which one?"))
            .help("add --frontend NAME and --lb NAME, or give the rule's id"));
    };
    let of = session.find(Noun::Frontend, frontend, place.lb.as_ref()).await?;
    let mut found = rules_of(session, id_of(&of)?).await?;
    found.retain(|acl| text(acl, "/name") == *name);
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new(Exit::NotFound, format!("there is no acl named `{name}` of frontend {frontend}"))
            .help(format!("`snowshed acl list --frontend {}` shows what there is", text(&of, "/id")))),
        several => Err(Failure::usage(format!("{} rules are named `{name}`: give the id of one", several.len()))
            .help(several.iter().map(|acl| text(acl, "/id")).collect::<Vec<_>>().join("\n"))),
    }
}

/// The networks of a rule, the first ones of many.
fn clients(acl: &Value) -> String {
    const SHOWN: usize = 3;
    let nets: Vec<&str> = acl
        .pointer("/match/ip_subnet")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let not = if acl.pointer("/match/invert") == Some(&json!(true)) { "not " } else { "" };
    let more = if nets.len() > SHOWN { format!(" and {} more", nets.len() - SHOWN) } else { String::new() };
    format!("{not}{}{more}", nets.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", "))
}

fn show(session: &mut Session<'_>, acl: &Value) -> Result<(), Failure> {
    session.show(
        acl,
        &[
            ("name", text(acl, "/name")),
            ("id", text(acl, "/id")),
            ("frontend", text(acl, "/frontend/name")),
            ("index", text(acl, "/index")),
            ("action", text(acl, "/action/type")),
            ("clients", clients(acl)),
            ("description", text(acl, "/description")),
            ("created", text(acl, "/created_at")),
            ("updated", text(acl, "/updated_at")),
        ],
    )
}
