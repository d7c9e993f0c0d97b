//! `snowshed undo` and `snowshed restore`: the plan is shown first, and carried out when its count is confirmed.

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::{Exit, Failure};
use super::output::{self, Format};
use super::terminal::{Paint, Terminal};
use super::value;
use crate::api::wire::RecoveryPlan;

/// Changes and conflicts that are shown one by one.
const SHOWN: usize = 20;

/// Arguments of `undo`.
#[derive(Args, Debug)]
pub struct Undo {
    /// Number or id of the operation, as `snowshed ops list` shows it
    #[arg(value_name = "OPERATION", value_parser = value::operation)]
    operation: String,
    #[command(flatten)]
    consent: Consent,
}

/// Arguments of `restore`.
#[derive(Args, Debug)]
pub struct Restore {
    /// A time, for example 2026-04-07T16:30:00Z, or the number of the last operation that is to count
    #[arg(long, value_name = "TIME|OPERATION", value_parser = value::moment)]
    at: String,
    /// What to restore: lb:ID, project:ID, or organization:ID
    #[arg(long, value_name = "SCOPE", value_parser = value::scope)]
    scope: String,
    #[command(flatten)]
    consent: Consent,
}

/// How a plan is agreed to.
#[derive(Args, Debug)]
struct Consent {
    /// Show the plan and do nothing; ends with 3 if anything would change
    #[arg(long)]
    dry_run: bool,
    /// Keep the plan for a second person to approve, where it takes more out of service than one may; ends with 0
    #[arg(long, conflicts_with_all = ["dry_run", "expect_count"])]
    keep: bool,
    /// Number of documents that are to change; needed when there is no terminal to ask on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    expect_count: Option<u32>,
    /// Why, for the ledger
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a reason has at least one character; leave --reason out for none".to_owned()),
        text => Ok(text.to_owned()),
    }
}

impl Undo {
    /// Plans, asks, undoes.
    ///
    /// # Errors
    /// When it is not confirmed, the plan has become stale, or the agent refuses.
    pub async fn run(self, client: &Client, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let request = json!({ "operation": self.operation });
        self.consent.run("/snowshed/v1/undo", request, client, terminal, format).await
    }
}

impl Restore {
    /// Plans, asks, restores.
    ///
    /// # Errors
    /// When it is not confirmed, the plan has become stale, or the agent refuses.
    pub async fn run(self, client: &Client, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let request = json!({ "at": self.at, "scope": self.scope });
        self.consent.run("/snowshed/v1/restore", request, client, terminal, format).await
    }
}

impl Consent {
    async fn run(
        self,
        path: &str,
        mut request: Value,
        client: &Client,
        terminal: &mut Terminal,
        format: Format,
    ) -> Result<(), Failure> {
        if let Some(reason) = &self.reason {
            request["reason"] = json!(reason);
        }
        if self.keep {
            return keep(client, path, request, terminal, format).await;
        }
        let plan = ask(client, path, &request).await?;
        if self.dry_run || plan.changes == 0 {
            show(&plan, terminal, format)?;
            return match plan.changes {
                0 => Ok(()),
                count => Err(Failure::new(Exit::Differs, format!("{count} documents would change"))),
            };
        }
        if format.is_table() {
            show(&plan, terminal, format)?;
        }
        if plan.needs_approval {
            let what = format!(
                "{} load balancers would lose service, and that takes a second person: nothing was changed",
                plan.out_of_service
            );
            return Err(Failure::new(Exit::Refused, what)
                .help("run the command again with --keep: it says what the second person does"));
        }
        self.confirm(&plan, terminal)?;
        request["plan"] = json!(plan.plan);
        let done = ask(client, path, &request).await?;
        client.wait_applied().await?;
        if format.is_table() {
            return terminal.line(format!("done: operation {}, {} documents", done.generation, done.changes));
        }
        show(&done, terminal, format)
    }

    fn confirm(&self, plan: &RecoveryPlan, terminal: &mut Terminal) -> Result<(), Failure> {
        let count = plan.changes;
        if let Some(expected) = self.expect_count {
            if expected as usize == count {
                return Ok(());
            }
            let what = format!("--expect-count {expected} was said, but {count} documents would change: nothing did");
            return Err(Failure::usage(what));
        }
        if !terminal.interactive {
            return Err(Failure::usage(format!(
                "{count} documents would change, and nobody can be asked: nothing did"
            ))
            .help(format!("if that is what you want, add --expect-count {count}")));
        }
        match terminal.ask(&format!("Type {count} to change {count}:"))? {
            answer if answer == count.to_string() => Ok(()),
            _ => Err(Failure::error("nothing was changed")),
        }
    }
}

/// Keeps the plan, and says how it goes on.
async fn keep(
    client: &Client,
    path: &str,
    mut request: Value,
    terminal: &mut Terminal,
    format: Format,
) -> Result<(), Failure> {
    request["keep"] = json!(true);
    let plan = ask(client, path, &request).await?;
    show(&plan, terminal, format)?;
    match plan.plan_id {
        None => Ok(()),
        Some(id) => terminal.note(format!(
            "kept as the plan {id} for 15 minutes; somebody with another token: snowshed ts approve {id}, then you: \
             snowshed ts apply {id}"
        )),
    }
}

async fn ask(client: &Client, path: &str, request: &Value) -> Result<RecoveryPlan, Failure> {
    let answer = client.call(Method::POST, path, &[], Some(request), None).await?;
    RecoveryPlan::deserialize(answer).map_err(|error| {
        Failure::error(format!("the agent answered with a plan this version does not know: {error}"))
            .help("`snowshed --version` should be the agent's version")
    })
}

fn show(plan: &RecoveryPlan, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
    if !format.is_table() {
        let value = serde_json::to_value(plan).map_err(|error| Failure::error(error.to_string()))?;
        return output::value(terminal, format, &value);
    }
    let what = terminal.paint(Paint::Bold, &plan.what);
    terminal.line(format!("{what}: {} documents change", plan.changes))?;
    terminal.line(format!(
        "  {} live again, {} are deleted, {} are as they were; {} load balancers of {} organizations",
        plan.revived, plan.deleted, plan.unchanged, plan.load_balancers, plan.organizations
    ))?;
    if plan.out_of_service > 0 {
        let line = format!("  {} load balancers lose service", plan.out_of_service);
        let line = terminal.paint(Paint::Yellow, &line);
        terminal.line(line)?;
    }
    for sample in plan.sample.iter().take(SHOWN) {
        terminal.line(format!("  {} {} {} ({})", sample.action, sample.kind.as_str(), sample.name, sample.id))?;
    }
    if plan.changes > SHOWN {
        terminal.line(format!("  and {} more", plan.changes - SHOWN))?;
    }
    for conflict in plan.conflicts.iter().take(SHOWN) {
        let line = format!("  kept: {}: {}", conflict.key, conflict.why);
        let line = terminal.paint(Paint::Yellow, &line);
        terminal.line(line)?;
    }
    match plan.conflicts.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => terminal.line(format!("  kept: {more} more (-o json shows all)")),
    }
}
