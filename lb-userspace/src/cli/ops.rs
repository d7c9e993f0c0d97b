//! `snowshed ops`: the audit. Who changed what, when and why, from the ledger.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, to_value};

use super::failure::Failure;
use super::output::{self, Column, Format, text};
use super::session::Session;
use super::terminal::{Paint, Terminal};
use super::value::{self, OperationReference, Reference};
use crate::api::wire;
use crate::ledger::difference::Difference;

const COLUMNS: [Column; 6] = [
    Column::number("OPERATION", |operation| text(operation, "/generation")),
    Column::text("WHEN", |operation| text(operation, "/at")),
    Column::text("WHO", |operation| text(operation, "/actor")),
    Column::text("WHAT", |operation| text(operation, "/verb")),
    Column::text("CHANGED", changed),
    Column::text("WHY", |operation| text(operation, "/reason")),
];

/// Documents named in a row of the list; the rest are counted.
const NAMED: usize = 3;

/// Operations: who changed what, when and why
#[derive(Subcommand, Debug)]
pub enum OpsCommand {
    /// List operations, the newest first
    #[command(after_help = "Examples:
  snowshed ops list
  snowshed ops list --lb web --limit 100
  snowshed ops list --verb lb.delete --actor ci -o json
  snowshed ops list --before 1200                  what came before operation 1200")]
    List(List),
    /// Show an operation with every field that it changed
    #[command(after_help = "Examples:
  snowshed ops show 1207
  snowshed ops show 7d1f6c3e-54d0-4c5f-9a43-5a1f3c1b2a10 -o yaml")]
    Show {
        /// Its number or its id
        operation: OperationReference,
    },
}

/// Arguments of `ops list`.
#[derive(Args, Debug)]
pub struct List {
    /// Only those that touched this load balancer or what belongs to it
    #[arg(long)]
    lb: Option<Reference>,
    /// Only those with this verb, for example lb.delete
    #[arg(long, value_parser = value::name)]
    verb: Option<String>,
    /// Only those of the token with this name
    #[arg(long, value_parser = value::name)]
    actor: Option<String>,
    /// Only those before this one
    #[arg(long, value_name = "OPERATION", value_parser = clap::value_parser!(u64).range(1..))]
    before: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl OpsCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked, or there is no such operation.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(args) => args.run(session).await,
            Self::Show { operation } => {
                let path = format!("/snowshed/v1/operations/{operation}");
                let answer = session.client.call(Method::GET, &path, &[], None, None).await?;
                show(session.terminal, session.format, &answer)
            }
        }
    }
}

impl List {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let lb = match &self.lb {
            Some(lb) => Some(session.lb_id(lb).await?.to_string()),
            None => None,
        };
        let filters = [("lb_id", lb), ("verb", self.verb), ("actor", self.actor)];
        let filters: Vec<(&str, String)> =
            filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut before = self.before;
        let mut operations: Vec<Value> = Vec::new();
        loop {
            let mut query = filters.clone();
            query.push(("page_size", (limit - operations.len()).min(100).to_string()));
            query.extend(before.map(|before| ("before", before.to_string())));
            let answer = session.client.call(Method::GET, "/snowshed/v1/operations", &query, None, None).await?;
            let page = wire::OperationList::deserialize(answer).map_err(unknown_shape)?;
            let rows = page.operations.iter().map(to_value).collect::<Result<Vec<_>, _>>().map_err(unknown_shape)?;
            operations.extend(rows);
            before = page.next_before;
            if before.is_none() || operations.len() >= limit {
                break;
            }
        }
        session.show_list(&operations, &COLUMNS)?;
        match before {
            Some(before) if session.format.is_table() => {
                session.terminal.note(format!("there may be more: add --before {before}, or a higher --limit"))
            }
            _ => Ok(()),
        }
    }
}

fn show(terminal: &mut Terminal, format: Format, answer: &Value) -> Result<(), Failure> {
    if !format.is_table() {
        return output::value(terminal, format, answer);
    }
    let operation = wire::Operation::deserialize(answer).map_err(unknown_shape)?;
    let heading =
        format!("operation {} {} by {} at {}", operation.generation, operation.verb, operation.actor, operation.at);
    let heading = terminal.paint(Paint::Bold, &heading);
    terminal.line(heading)?;
    terminal.line(format!("id {}  role {}", operation.id, operation.role.as_str()))?;
    if !operation.reason.is_empty() {
        terminal.line(format!("reason {}", operation.reason))?;
    }
    for document in &operation.changes {
        terminal.line("")?;
        let name = if document.name.is_empty() { String::new() } else { format!(" {}", document.name) };
        terminal.line(format!("{} {}{name} ({})", document.action.as_str(), document.kind, document.id))?;
        for field in &document.fields {
            difference(terminal, field)?;
        }
    }
    Ok(())
}

/// One field as two lines, `-` before and `+` after.
fn difference(terminal: &mut Terminal, difference: &Difference) -> Result<(), Failure> {
    let sides = [("-", Paint::Red, &difference.before), ("+", Paint::Green, &difference.after)];
    for (sign, paint, value) in sides {
        if let Some(value) = value {
            let line = format!("  {sign} {}: {}", difference.field, plain(value));
            let line = terminal.paint(paint, &line);
            terminal.line(line)?;
        }
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn changed(operation: &Value) -> String {
    let documents = operation.get("changes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut named: Vec<String> = documents
        .iter()
        .take(NAMED)
        .map(|document| match text(document, "/name") {
            name if name.is_empty() => format!("{} {}", text(document, "/kind"), text(document, "/id")),
            name => format!("{} {name}", text(document, "/kind")),
        })
        .collect();
    if documents.len() > NAMED {
        named.push(format!("{} more", documents.len() - NAMED));
    }
    named.join(", ")
}

fn unknown_shape(error: serde_json::Error) -> Failure {
    Failure::error(format!("the agent reports operations in a shape this version does not know: {error}"))
        .help("`snowshed --version` should be the agent's version")
}
