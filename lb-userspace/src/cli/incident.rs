//! `snowshed incident report` and `snowshed impact`: what happened, out of the ledger; and what would happen.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::client::Client;
use super::contain::place;
use super::failure::Failure;
use super::output::{self, Format};
use super::terminal::Terminal;
use super::value;
use crate::api::wire::Impact;
use crate::recovery::incident::{Report, markdown};

/// Incidents: the post-mortem's facts, out of the ledger
#[derive(Subcommand, Debug)]
pub enum IncidentCommand {
    /// Write a report: timeline, impact by organization and dependents, what was automatic, durations, packets lost
    #[command(after_help = "The report is Markdown; with -o json it is for programs. What is not known is said.

Examples:
  snowshed incident report --since 2026-04-07T16:30:00Z > post-mortem.md
  snowshed incident report --since 1717 --until 2026-04-07T18:00:00Z -o json")]
    Report {
        /// A time, for example 2026-04-07T16:30:00Z, or the number of the first operation
        #[arg(long, value_name = "TIME|OPERATION", value_parser = value::moment)]
        since: String,
        /// A time, or the number of the last operation; now when not given
        #[arg(long, value_name = "TIME|OPERATION", value_parser = value::moment)]
        until: Option<String>,
    },
}

/// Arguments of `impact`.
#[derive(Args, Debug)]
pub struct ImpactArgs {
    /// Where: lb:ID, project:ID, organization:ID or zone
    #[arg(value_name = "PLACE", value_parser = place)]
    place: String,
}

impl IncidentCommand {
    /// Asks, and writes the report.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, client: &Client, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let Self::Report { since, until } = self;
        let query: Vec<(&str, String)> =
            [Some(("since", since)), until.map(|until| ("until", until))].into_iter().flatten().collect();
        let answer = client.call(Method::GET, "/snowshed/v1/incident", &query, None, None).await?;
        if !format.is_table() {
            return output::value(terminal, format, &answer);
        }
        let report = Report::deserialize(answer).map_err(unknown_shape)?;
        terminal.line(markdown(&report).trim_end())
    }
}

impl ImpactArgs {
    /// Asks, and shows what would break.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, client: &Client, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let query = [("place", self.place)];
        let answer: Value = client.call(Method::GET, "/snowshed/v1/impact", &query, None, None).await?;
        if !format.is_table() {
            return output::value(terminal, format, &answer);
        }
        let impact = Impact::deserialize(answer).map_err(unknown_shape)?;
        terminal.line(format!(
            "{}: {} load balancers of {} organizations, {} addresses; {:.0} packets/s, {:.0} new connections/s now",
            impact.place,
            impact.count,
            impact.organizations.len(),
            impact.addresses,
            impact.packets_per_second,
            impact.connections_per_second
        ))?;
        let dependents: Vec<String> = impact.dependents.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let dependents = if dependents.is_empty() { "none registered".to_owned() } else { dependents.join(", ") };
        terminal.line(format!("dependents: {dependents}; {} hold deletions", impact.holding))?;
        terminal.line(format!("protected: {} of {}", impact.protected, impact.count))?;
        for subject in &impact.sample {
            let (name, id, packets) = (&subject.name, subject.lb, subject.packets_per_second);
            terminal.line(format!("  {name} ({id})  {packets:.0} packets/s"))?;
        }
        let shown = impact.sample.len() as u64;
        if shown < impact.count {
            terminal.note(format!("{shown} of {} are shown", impact.count))?;
        }
        Ok(())
    }
}

fn unknown_shape(error: serde_json::Error) -> Failure {
    Failure::error(format!("the agent's answer is of a shape this version does not know: {error}"))
}
