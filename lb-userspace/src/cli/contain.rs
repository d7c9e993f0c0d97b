//! `snowshed freeze`, `thaw`, `quarantine`, `release`, `measures` and `ts`: containing harm, and ending that.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Client;
use super::failure::{Exit, Failure};
use super::output::{self, Format, text};
use super::terminal::Terminal;
use super::value;

/// What containment commands work with.
pub struct Desk<'a> {
    /// The agent.
    pub client: &'a Client,
    /// The streams.
    pub terminal: &'a mut Terminal,
    /// How results are shown.
    pub format: Format,
}

/// Arguments of `freeze`.
#[derive(Args, Debug)]
pub struct Freeze {
    /// Where: lb:ID, project:ID, organization:ID, token:ID, token:NAME or zone
    #[arg(value_name = "PLACE", value_parser = place)]
    place: String,
    /// Why; people will read it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// How long it lasts, for example 30m or 2h; at most 30 days
    #[arg(long = "for", value_name = "DURATION", value_parser = value::duration)]
    lasts: std::time::Duration,
    /// Only this verb, for example lb.delete; every change when not given
    #[arg(long, value_name = "VERB", value_parser = value::name)]
    verb: Option<String>,
}

/// Arguments of `thaw`.
#[derive(Args, Debug)]
pub struct Thaw {
    /// Id of the freeze, as `snowshed measures` shows it
    #[arg(value_name = "FREEZE", value_parser = id)]
    freeze: Uuid,
}

/// Arguments of `quarantine` and `release`.
#[derive(Args, Debug)]
pub struct Contain {
    /// Where: lb:ID, project:ID or organization:ID
    #[arg(value_name = "PLACE", value_parser = place)]
    place: String,
    /// Why; people will read it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
}

/// Arguments of `measures`: none.
#[derive(Args, Debug)]
pub struct Measures {}

/// Trust & Safety: what is done to a tenant is first planned, then applied
#[derive(Subcommand, Debug)]
pub enum TsCommand {
    /// Plan the quarantine of load balancers
    #[command(after_help = "Examples:
  snowshed ts quarantine --parent organization:ID --whole --reason phishing --keep      whatever it has, and makes later
  snowshed ts quarantine --parent organization:ID --count 12 --reason phishing          what it would do
  snowshed ts quarantine --parent organization:ID --count 12 --reason phishing --keep   a plan to apply")]
    Quarantine(PlanArgs),
    /// Plan the end of the quarantine of load balancers
    #[command(after_help = "Examples:
  snowshed ts release --parent project:ID --id LB --reason 'appeal granted' --keep")]
    Release(PlanArgs),
    /// Plan the removal of load balancers; their grace period and `lb undelete` remain
    #[command(after_help = "Examples:
  snowshed ts plan-removal --parent project:ID --tag spam --reason abuse --keep")]
    PlanRemoval(PlanArgs),
    /// Show a plan
    #[command(after_help = "Examples:
  snowshed ts show PLAN")]
    Show {
        /// Id of the plan
        #[arg(value_name = "PLAN", value_parser = id)]
        plan: Uuid,
    },
    /// Agree to somebody else's plan
    #[command(after_help = "Examples:
  snowshed ts approve PLAN --token-file ~/.config/snowshed/mine")]
    Approve {
        /// Id of the plan
        #[arg(value_name = "PLAN", value_parser = id)]
        plan: Uuid,
    },
    /// Carry a plan out, once
    #[command(after_help = "Examples:
  snowshed ts apply PLAN --wait")]
    Apply {
        /// Id of the plan
        #[arg(value_name = "PLAN", value_parser = id)]
        plan: Uuid,
    },
}

/// Arguments that select load balancers below a parent.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// project:ID or organization:ID; nothing outside of it is ever selected
    #[arg(long, value_name = "PLACE", value_parser = place)]
    parent: String,
    #[command(flatten)]
    filter: Filter,
    /// Why; people will read it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// Keep the plan, so that it can be applied; without it nothing is changed
    #[arg(long)]
    keep: bool,
}

/// Which load balancers: exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Filter {
    /// Id of a load balancer; may be given again
    #[arg(long = "id", value_name = "ID", value_parser = id)]
    ids: Vec<Uuid>,
    /// Those with this label
    #[arg(long, value_name = "TAG", value_parser = value::tag)]
    tag: Option<String>,
    /// Those with exactly this name
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    name: Option<String>,
    /// All of the parent, which must be exactly this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// For quarantine and release: the parent itself, with whatever stands in it then and later
    #[arg(long)]
    whole: bool,
}

/// Why: something that people can read.
pub(super) fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a reason has at least one character: people will read it".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// An id.
pub(super) fn id(text: &str) -> Result<Uuid, String> {
    match Uuid::try_parse(text) {
        Ok(id) if !id.is_nil() => Ok(id),
        _ => Err(format!("`{text}` is not an id: a UUID such as 11111111-1111-4111-8111-111111111111 is expected")),
    }
}

/// A place.
pub(super) fn place(text: &str) -> Result<String, String> {
    let is_place = text == "zone"
        || match text.split_once(':') {
            Some(("lb" | "project" | "organization", text)) => id(text).is_ok(),
            Some(("token", name)) => !name.trim().is_empty(),
            _ => false,
        };
    if is_place {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no place: lb:ID, project:ID or organization:ID is expected"))
    }
}

impl Freeze {
    /// Puts a freeze in force.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, desk: Desk<'_>) -> Result<(), Failure> {
        let place = match self.place.strip_prefix("token:") {
            Some(name) if id(name).is_err() => format!("token:{}", token_named(desk.client, name).await?),
            _ => self.place,
        };
        let body = json!({
            "place": place,
            "reason": self.reason,
            "lasts_seconds": self.lasts.as_secs(),
            "verb": self.verb,
        });
        desk.change(Method::POST, "/snowshed/v1/freezes", Some(&body)).await
    }
}

/// The only token of a name: names are not unique, and of two nobody should freeze the wrong one.
async fn token_named(client: &Client, name: &str) -> Result<String, Failure> {
    let tokens = client.own_list("/snowshed/v1/tokens", "tokens", &[]).await?;
    let named: Vec<&Value> = tokens.iter().filter(|token| token["name"] == name).collect();
    match named.as_slice() {
        [token] => Ok(text(token, "/id")),
        [] => Err(Failure::new(Exit::NotFound, format!("there is no token `{name}` that this token may see"))
            .help("`snowshed token list` shows them; a revoked one is named by its id")),
        several => {
            let lines = several.iter().map(|token| {
                let reach = [text(token, "/role"), text(token, "/organization_id"), text(token, "/project_id")];
                format!("token:{}  {}", text(token, "/id"), reach.join(" ").trim_end())
            });
            let lines: Vec<String> = lines.collect();
            Err(Failure::usage(format!("{} tokens are named `{name}`", several.len()))
                .help(format!("name one by its id:\n{}", lines.join("\n"))))
        }
    }
}

impl Thaw {
    /// Ends a freeze.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, desk: Desk<'_>) -> Result<(), Failure> {
        let path = format!("/snowshed/v1/freezes/{}", self.freeze);
        desk.client.call(Method::DELETE, &path, &[], None, None).await?;
        desk.terminal.note(format!("ended the freeze {}", self.freeze))
    }
}

impl Contain {
    /// Quarantines, or releases.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, collection: &str, desk: Desk<'_>) -> Result<(), Failure> {
        let body = json!({ "place": self.place, "reason": self.reason });
        desk.change(Method::POST, &format!("/snowshed/v1/{collection}"), Some(&body)).await
    }
}

impl Measures {
    /// Shows freezes and quarantines in force.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub async fn run(self, mut desk: Desk<'_>) -> Result<(), Failure> {
        let mut all = json!({});
        for (kind, path) in [("freezes", "/snowshed/v1/freezes"), ("quarantines", "/snowshed/v1/quarantines")] {
            let list = desk.client.call(Method::GET, path, &[], None, None).await?;
            all[kind] = list.get(kind).cloned().unwrap_or_default();
        }
        if desk.format != Format::Table {
            return desk.show(&all);
        }
        let mut is_empty = true;
        for (kind, word) in [("freezes", "freeze"), ("quarantines", "quarantine")] {
            for measure in all[kind].as_array().into_iter().flatten() {
                is_empty = false;
                let [id, place, by, reason] = ["/id", "/place", "/by", "/reason"].map(|key| text(measure, key));
                let verb =
                    measure.get("verb").and_then(Value::as_str).map(|verb| format!(" of {verb}")).unwrap_or_default();
                desk.terminal.line(format!("{word}{verb} at {place} by {by}: {reason} ({id})"))?;
            }
        }
        if is_empty { desk.terminal.line("no freeze and no quarantine is in force") } else { Ok(()) }
    }
}

impl TsCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, desk: Desk<'_>) -> Result<(), Failure> {
        let (method, plan, step) = match self {
            Self::Quarantine(args) => return args.run("quarantine", desk).await,
            Self::Release(args) => return args.run("release", desk).await,
            Self::PlanRemoval(args) => return args.run("delete", desk).await,
            Self::Show { plan } => (Method::GET, plan, ""),
            Self::Approve { plan } => (Method::POST, plan, "/approve"),
            Self::Apply { plan } => (Method::POST, plan, "/apply"),
        };
        desk.change(method, &format!("/snowshed/v1/plans/{plan}{step}"), None).await
    }
}

impl PlanArgs {
    async fn run(self, action: &str, desk: Desk<'_>) -> Result<(), Failure> {
        let filter = match self.filter {
            Filter { tag: Some(tag), .. } => json!({ "tag": tag }),
            Filter { name: Some(name), .. } => json!({ "name": name }),
            Filter { count: Some(count), .. } => json!({ "count": count }),
            Filter { whole: true, .. } => json!({ "place": self.parent }),
            Filter { ids, .. } => json!({ "lb_ids": ids }),
        };
        let body = json!({
            "action": action,
            "parent": self.parent,
            "filter": filter,
            "reason": self.reason,
            "validate_only": !self.keep,
        });
        desk.change(Method::POST, "/snowshed/v1/plans", Some(&body)).await
    }
}

impl Desk<'_> {
    /// Sends a change and shows the answer.
    pub(super) async fn change(mut self, method: Method, path: &str, body: Option<&Value>) -> Result<(), Failure> {
        let answer = self.client.call(method, path, &[], body, None).await?;
        self.client.wait_applied().await?;
        self.show(&answer)
    }

    /// Shows an answer.
    pub(super) fn show(&mut self, answer: &Value) -> Result<(), Failure> {
        if self.format != Format::Table {
            return output::value(self.terminal, self.format, answer);
        }
        for (key, value) in answer.as_object().into_iter().flatten() {
            let shown = match value {
                Value::Null => continue,
                Value::Array(items) if items.is_empty() => continue,
                Value::Object(fields) if fields.is_empty() => continue,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.terminal.line(format!("{:<24}{shown}", key.replace('_', " ")))?;
        }
        Ok(())
    }
}
