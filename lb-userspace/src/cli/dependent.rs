//! `snowshed dependent`: what depends on load balancers, is counted before they go, and may hold their deletion.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contain::{id, reason};
use super::failure::Failure;
use super::output::{Column, text};
use super::session::Session;
use super::value::{self, Reference};

const PATH: &str = "/snowshed/v1/dependents";

const COLUMNS: [Column; 6] = [
    Column::text("KIND", |one| text(one, "/kind")),
    Column::text("NAME", |one| text(one, "/name")),
    Column::number("LBS", |one| one["lb_ids"].as_array().map_or(0, Vec::len).to_string()),
    Column::text("FINALIZER", |one| if one["finalizer"] == true { "holds deletions" } else { "" }.to_owned()),
    Column::number("HOLDING", |one| one["holding"].as_array().map_or(0, Vec::len).to_string()),
    Column::text("ID", |one| text(one, "/id")),
];

/// Dependents: clusters, databases and others that are lost or misled when a load balancer is gone
#[derive(Subcommand, Debug)]
pub enum DependentCommand {
    /// Register a dependent
    #[command(after_help = "Examples:
  snowshed dependent create --kind kubernetes --name prod --lb web
  snowshed dependent create --kind database --name orders --lb web --lb mail --finalizer \\
    --webhook https://hooks.example.com/orders")]
    Create(Create),
    /// Show a dependent
    #[command(after_help = "Examples:
  snowshed dependent get ID")]
    Get {
        /// Id
        #[arg(value_name = "DEPENDENT", value_parser = id)]
        dependent: Uuid,
    },
    /// List the dependents that the token sees
    #[command(after_help = "Examples:
  snowshed dependent list
  snowshed dependent list --of web --dependent-kind kubernetes -o json")]
    List {
        /// Only those of this load balancer
        #[arg(long = "of", value_name = "LB")]
        of: Option<Reference>,
        /// Only those of this kind
        #[arg(long = "dependent-kind", value_name = "KIND", value_parser = kind)]
        kind: Option<String>,
    },
    /// Say whether it is safe to act on what is seen through its load balancers; ends with 5 when not
    #[command(after_help = "Examples:
  snowshed dependent advice ID && ./replace-unreachable-nodes")]
    Advice {
        /// Id
        #[arg(value_name = "DEPENDENT", value_parser = id)]
        dependent: Uuid,
    },
    /// Let go: deletions of its load balancers wait for it no longer
    #[command(
        after_help = "An operator or Trust & Safety may do it for somebody else; the reason stands in the ledger.

Examples:
  snowshed dependent release ID --reason 'nodes moved to the new load balancer'"
    )]
    Release {
        /// Id
        #[arg(value_name = "DEPENDENT", value_parser = id)]
        dependent: Uuid,
        /// Why; people will read it
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
    },
    /// Show the secret that verifies the signatures of what its webhook is told
    #[command(after_help = "Signatures are those of Standard Webhooks (HMAC-SHA256 over id.timestamp.body).

Examples:
  snowshed dependent secret ID")]
    Secret {
        /// Id
        #[arg(value_name = "DEPENDENT", value_parser = id)]
        dependent: Uuid,
    },
    /// Remove a dependent from the register; it holds nothing any more
    #[command(after_help = "Examples:
  snowshed dependent delete ID")]
    Delete {
        /// Id
        #[arg(value_name = "DEPENDENT", value_parser = id)]
        dependent: Uuid,
    },
}

/// Arguments of `dependent create`.
#[derive(Args, Debug)]
pub struct Create {
    /// What it is, in a word: kubernetes, database, iot_hub, …
    #[arg(long = "kind", id = "dependent_kind", value_name = "KIND", value_parser = kind)]
    kind: String,
    /// Name
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    name: String,
    /// A load balancer it depends on; may be given again
    #[arg(long = "lb", value_name = "LB", required = true)]
    lbs: Vec<Reference>,
    /// URL that is told of what happens to them
    #[arg(long, value_name = "URL", value_parser = webhook)]
    webhook: Option<String>,
    /// Deleted load balancers forward on until this dependent lets go
    #[arg(long)]
    finalizer: bool,
}

fn kind(text: &str) -> Result<String, String> {
    crate::model::DependentKind::try_from(text.to_owned()).map(String::from).map_err(|invalid| invalid.help)
}

fn webhook(text: &str) -> Result<String, String> {
    crate::model::Webhook::try_from(text.to_owned()).map(String::from).map_err(|invalid| invalid.help)
}

impl DependentCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run(session).await,
            Self::Get { dependent } => {
                let found = session.client.own_get(&format!("{PATH}/{dependent}")).await?;
                show(session, &found)
            }
            Self::List { of, kind } => {
                let mut filters = Vec::new();
                if let Some(lb) = of {
                    filters.push(("lb_id", session.lb_id(&lb).await?.to_string()));
                }
                filters.extend(kind.map(|kind| ("kind", kind)));
                let found = session.client.own_list(PATH, "dependents", &filters).await?;
                session.show_list(&found, &COLUMNS)
            }
            Self::Advice { dependent } => {
                let path = format!("{PATH}/{dependent}/advice");
                let advice = session.client.call(Method::GET, &path, &[], None, None).await?;
                super::output::value(session.terminal, session.format, &advice)?;
                if advice["safe"] == true {
                    return Ok(());
                }
                Err(Failure::new(super::failure::Exit::Refused, "do not act: not every load balancer is settled"))
            }
            Self::Release { dependent, reason } => {
                let path = format!("{PATH}/{dependent}/release");
                let body = json!({ "reason": reason });
                let after = session.client.call(Method::POST, &path, &[], Some(&body), None).await?;
                session.client.wait_applied().await?;
                show(session, &after)
            }
            Self::Secret { dependent } => {
                let path = format!("{PATH}/{dependent}/secret");
                let answer = session.client.call(Method::GET, &path, &[], None, None).await?;
                session.show(&answer, &[("secret", text(&answer, "/secret"))])
            }
            Self::Delete { dependent } => {
                session.client.call(Method::DELETE, &format!("{PATH}/{dependent}"), &[], None, None).await?;
                session.client.wait_applied().await?;
                session.terminal.note(format!("deleted dependent {dependent}"))
            }
        }
    }
}

impl Create {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut lbs = Vec::new();
        for lb in &self.lbs {
            lbs.push(session.lb_id(lb).await?.to_string());
        }
        let body = json!({
            "kind": self.kind, "name": self.name, "lb_ids": lbs, "webhook": self.webhook, "finalizer": self.finalizer,
        });
        let made = session.client.call(Method::POST, PATH, &[], Some(&body), None).await?;
        show(session, &made)
    }
}

fn show(session: &mut Session<'_>, one: &Value) -> Result<(), Failure> {
    let list = |key: &str| {
        let ids = one[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        ids.collect::<Vec<_>>().join(", ")
    };
    let fields = [
        ("id", text(one, "/id")),
        ("kind", text(one, "/kind")),
        ("name", text(one, "/name")),
        ("project", text(one, "/project_id")),
        ("load balancers", list("lb_ids")),
        ("webhook", text(one, "/webhook")),
        ("finalizer", one["finalizer"].to_string()),
        ("holding", list("holding")),
    ];
    session.show(one, &fields)
}
