//! `snowshed heal`: the scoreboard of the edge, followed until everything is ready, and the queue of what is not.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::client::Client;
use super::contain::{place, reason};
use super::failure::{Exit, Failure};
use super::output::{self, Format, cell, table};
use super::session::{Noun, Session};
use super::terminal::Paint;
use super::value::Reference;
use crate::api::wire::HealList;
use crate::recovery::heal::{Fault, Finding, Instance, State};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Arguments of `heal`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Heal {
    #[command(subcommand)]
    command: Option<HealCommand>,
}

/// What is healed: see it, hurry it, or mark it as dealt with
#[derive(Subcommand, Debug)]
pub enum HealCommand {
    /// Follow until nothing is being healed any more: progress, then what needs a person
    #[command(
        after_help = "Ends with 1 when something needs a person; with --wait --timeout, with 7 when that is over before.

Examples:
  snowshed heal                 the same
  snowshed heal follow --wait --timeout 5m"
    )]
    Follow {},
    /// List what is not ready, the most urgent first, with reason and remedy
    #[command(after_help = "Examples:
  snowshed heal list
  snowshed heal list --fault map_full -o json
  snowshed heal list --state ready -o name")]
    List {
        /// Only load balancers in this state: needs_attention, healing, pending or ready; may be given again
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Vec<State>,
        /// Only load balancers with this reason, for example no_neighbour; may be given again
        #[arg(long, value_name = "REASON", value_parser = fault)]
        fault: Vec<Fault>,
    },
    /// Show how one load balancer stands: wanted, programmed, answering, and what is amiss
    #[command(after_help = "Examples:
  snowshed heal show web")]
    Show {
        /// The load balancer: its id, or its name
        #[arg(value_name = "LB")]
        lb: Reference,
    },
    /// Try again at once instead of when it is due
    #[command(after_help = "Examples:
  snowshed heal retry lb:ID
  snowshed heal retry zone          everything on this edge")]
    Retry {
        /// Where: lb:ID, project:ID, organization:ID or zone
        #[arg(value_name = "PLACE", value_parser = place)]
        place: String,
    },
    /// Mark what is amiss with a load balancer as dealt with: it leaves the queue until it is over and comes back
    #[command(after_help = "Examples:
  snowshed heal resolve lb:ID --reason 'the tenant was told to allow 10.0.0.1'
  snowshed heal resolve lb:ID --fault probes_refused --reason 'server is being replaced'")]
    Resolve {
        /// Where: lb:ID
        #[arg(value_name = "PLACE", value_parser = place)]
        place: String,
        /// Only findings of this reason; all of them when not given
        #[arg(long, value_name = "REASON", value_parser = fault)]
        fault: Option<Fault>,
        /// Why; people will read it
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
    },
}

fn state(text: &str) -> Result<State, String> {
    let words = State::ALL.map(State::as_str).join(", ");
    let found = State::ALL.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| format!("`{text}` is no state: {words} are"))
}

fn fault(text: &str) -> Result<Fault, String> {
    let words = Fault::ALL.map(Fault::as_str).join(", ");
    let found = Fault::ALL.into_iter().find(|fault| fault.as_str() == text);
    found.ok_or_else(|| format!("`{text}` is no reason: {words} are"))
}

impl Heal {
    /// Runs the command; without one it follows.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses; [`Exit::Error`] when something needs a person.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self.command.unwrap_or(HealCommand::Follow {}) {
            HealCommand::Follow {} => follow(session).await,
            HealCommand::List { state, fault } => {
                let states = state.into_iter().map(|state| ("state", state.as_str().to_owned()));
                let faults = fault.into_iter().map(|fault| ("fault", fault.as_str().to_owned()));
                let list = ask(&session.client, &states.chain(faults).collect::<Vec<_>>()).await?;
                show(session, &list)
            }
            HealCommand::Show { lb } => {
                let lb = session.find(Noun::Lb, &lb, None).await?;
                let path = format!("/snowshed/v1/lbs/{}/heal", output::text(&lb, "/id"));
                let answer = session.client.call(Method::GET, &path, &[], None, None).await?;
                if !session.format.is_table() {
                    return output::value(session.terminal, session.format, &answer);
                }
                let instance = Instance::deserialize(answer).map_err(unknown_shape)?;
                show_instance(session, &instance)
            }
            HealCommand::Retry { place } => {
                let count = change(session, "retry", &json!({ "place": place })).await?;
                session.terminal.note(format!("{count} load balancers are tried again now"))
            }
            HealCommand::Resolve { place, fault, reason } => {
                let body = json!({ "place": place, "fault": fault, "reason": reason });
                let count = change(session, "resolve", &body).await?;
                session.terminal.note(format!("{count} findings are marked as dealt with"))
            }
        }
    }
}

fn unknown_shape(error: serde_json::Error) -> Failure {
    Failure::error(format!("the agent's scoreboard is of a shape this version does not know: {error}"))
}

async fn ask(client: &Client, query: &[(&str, String)]) -> Result<HealList, Failure> {
    let answer = client.call(Method::GET, "/snowshed/v1/heal", query, None, None).await?;
    HealList::deserialize(answer).map_err(unknown_shape)
}

async fn change(session: &Session<'_>, verb: &str, body: &Value) -> Result<u64, Failure> {
    let path = format!("/snowshed/v1/heal/{verb}");
    let answer = session.client.call(Method::POST, &path, &[], Some(body), None).await?;
    Ok(answer.get("count").and_then(Value::as_u64).unwrap_or_default())
}

/// Follows until nothing is pending or healing.
async fn follow(session: &mut Session<'_>) -> Result<(), Failure> {
    let bar = if session.terminal.interactive { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} ready  {msg}");
    bar.set_style(style.map_err(|error| Failure::error(error.to_string()))?);
    let started = Instant::now();
    let list = loop {
        let list = ask(&session.client, &[]).await?;
        let summary = &list.summary;
        bar.set_length(summary.total as u64);
        bar.set_position(summary.ready as u64);
        bar.set_message(message(&list));
        if summary.pending + summary.healing == 0 && summary.progress.is_none() {
            break list;
        }
        if let Some(limit) = session.client.patience().filter(|limit| started.elapsed() >= *limit) {
            bar.abandon();
            let rest = summary.pending + summary.healing;
            let what = format!("{rest} of {} load balancers are not healed after {}", summary.total, seconds(limit));
            return Err(
                Failure::new(Exit::TimedOut, what).help("healing goes on; `snowshed heal list` shows what is left")
            );
        }
        tokio::time::sleep(PAUSE).await;
    };
    bar.finish_and_clear();
    show(session, &list)?;
    match list.summary.needs_attention {
        0 => Ok(()),
        count => Err(Failure::error(format!("{count} load balancers need a person"))
            .help("each says what to do; `snowshed heal retry PLACE` tries again at once")),
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// What the progress bar says beside its counts.
fn message(list: &HealList) -> String {
    let attention = match list.summary.needs_attention {
        0 => String::new(),
        count => format!("{count} need a person  "),
    };
    let Some(progress) = list.summary.progress else { return attention };
    let eta = progress.eta_seconds.map_or_else(String::new, |eta| format!(", {eta:.1} s left"));
    format!("{attention}{} of {} services written{eta}", progress.done, progress.total)
}

fn show(session: &mut Session<'_>, list: &HealList) -> Result<(), Failure> {
    if session.format == Format::Name {
        for instance in &list.load_balancers {
            session.terminal.line(format!("lb/{}", instance.lb_id))?;
        }
        return Ok(());
    }
    if !session.format.is_table() {
        let value = serde_json::to_value(list).map_err(|error| Failure::error(error.to_string()))?;
        return output::value(session.terminal, session.format, &value);
    }
    let summary = &list.summary;
    session.terminal.line(format!(
        "{} load balancers: {} ready, {} pending, {} healing, {} need a person; {} findings dealt with, {} entries repaired",
        summary.total,
        summary.ready,
        summary.pending,
        summary.healing,
        summary.needs_attention,
        summary.resolved,
        summary.repaired
    ))?;
    for finding in &list.edge {
        let line = session.terminal.paint(Paint::Red, &sentence(finding));
        session.terminal.line(format!("  ! {line}"))?;
    }
    if list.load_balancers.is_empty() {
        return Ok(());
    }
    session.terminal.line("")?;
    let mut rows = table(session.terminal);
    rows.set_header(vec!["LB", "STATE", "WANTED", "IN MAPS", "ANSWERING", "PACKETS/S", "WHY"]);
    for instance in &list.load_balancers {
        let why: Vec<String> = instance.findings.iter().map(sentence).collect();
        rows.add_row(vec![
            cell(&instance.name, false),
            cell(instance.state.as_str(), false),
            cell(&instance.wanted.to_string(), true),
            cell(&instance.programmed.to_string(), true),
            cell(&instance.answering.to_string(), true),
            cell(&format!("{:.0}", instance.packets_per_second), true),
            cell(&why.join("; "), false),
        ]);
    }
    output::print_table(session.terminal, &rows)?;
    let shown = list.load_balancers.len();
    if shown < list.total_count {
        session
            .terminal
            .note(format!("{shown} of {} are shown: narrow it with --state or --fault", list.total_count))?;
    }
    Ok(())
}

fn show_instance(session: &mut Session<'_>, instance: &Instance) -> Result<(), Failure> {
    session.terminal.line(format!("{} ({}): {}", instance.name, instance.lb_id, instance.state.as_str()))?;
    session.terminal.line(format!(
        "{} services wanted, {} in the maps, {} with a server that can be reached; {:.0} packets/s",
        instance.wanted, instance.programmed, instance.answering, instance.packets_per_second
    ))?;
    for finding in &instance.findings {
        session.terminal.line(format!("  {}", sentence(finding)))?;
        session.terminal.line(format!("    do: {}", finding.remedy))?;
        if let Some(since) = finding.since {
            let tries =
                if finding.attempts > 0 { format!(", tried {} times", finding.attempts) } else { String::new() };
            session.terminal.line(format!("    since {since}{tries}"))?;
        }
    }
    Ok(())
}

fn sentence(finding: &Finding) -> String {
    let resolved = finding.resolved.as_ref();
    let dealt = resolved.map(|word| format!(" (dealt with by {}: {})", word.by, word.reason)).unwrap_or_default();
    format!("{}: {}{dealt}", finding.fault.as_str(), finding.what)
}
