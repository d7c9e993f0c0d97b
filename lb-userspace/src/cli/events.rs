//! `snowshed events`: what happens on the edge, as it happens.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::failure::{Exit, Failure};
use super::output::{self, Column, Format, text};
use super::session::Session;
use super::terminal::{Paint, Terminal};
use super::value::{self, Reference};

mod frames;

use frames::{Frame, Frames};

/// Pause before a stream that broke off is opened again.
const RETRY: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 3] = [
    Column::text("WHEN", |event| text(event, "/at")),
    Column::text("KIND", |event| text(event, "/kind")),
    Column::text("WHAT", |event| text(event, "/message")),
];

/// Arguments of `events`.
#[derive(Args, Debug)]
pub struct Events {
    /// Go on showing what happens, until Ctrl-C; a connection that breaks off is resumed where it was
    #[arg(short, long)]
    follow: bool,
    /// Only of this load balancer
    #[arg(long)]
    lb: Option<Reference>,
    /// Only of this kind, for example operation, server, server.down, alarm or mass_failure
    #[arg(long, value_parser = value::name)]
    kind: Option<String>,
    /// Only after this event; its id is shown with -o json
    #[arg(long, value_name = "ID", value_parser = value::event)]
    after: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
}

impl Events {
    /// Shows the events.
    ///
    /// # Errors
    /// When the agent cannot be asked; with `--follow` only when it never could be, or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut query: Vec<(&str, String)> = Vec::new();
        if let Some(lb) = &self.lb {
            query.push(("lb_id", session.lb_id(lb).await?.to_string()));
        }
        query.extend(self.kind.clone().map(|kind| ("kind", kind)));
        let limit = self.count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
        if self.follow {
            return self.follow(session, query, limit).await;
        }
        query.extend(self.after.map(|after| ("after", after)));
        let answer = session.client.call(reqwest::Method::GET, PATH, &query, None, None).await?;
        let mut events = answer.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
        // The newest ones are wanted.
        events.drain(..events.len().saturating_sub(limit));
        if answer.get("missed").and_then(Value::as_bool).unwrap_or(false) {
            session.terminal.note("older events are kept no more; `snowshed ops list` has the operations")?;
        }
        session.show_list(&events, &COLUMNS)
    }

    async fn follow(
        &self,
        session: &mut Session<'_>,
        mut query: Vec<(&str, String)>,
        limit: usize,
    ) -> Result<(), Failure> {
        let mut follower = Follower { seen: self.after.clone(), shown: 0, limit };
        // What came before is shown first when a position was given, and nothing otherwise.
        query.push(("after", "now".to_owned()));
        let mut was_open = false;
        loop {
            match follower.read(&session.client, &query, session.terminal, session.format, &mut was_open).await {
                Ok(Ended::Enough) => return Ok(()),
                Ok(Ended::BrokeOff(why)) => {
                    session.terminal.note(format!("the stream broke off ({why}); it is opened again"))?;
                }
                // An agent that restarts answers again soon; one that refuses does not.
                Err(failure) if was_open && failure.exit == Exit::Error => session.terminal.report(&failure),
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// The path of the events.
const PATH: &str = "/snowshed/v1/events";

/// Why a stream is read no longer.
enum Ended {
    Enough,
    BrokeOff(String),
}

/// What was seen so far.
struct Follower {
    seen: Option<String>,
    shown: usize,
    limit: usize,
}

impl Follower {
    async fn read(
        &mut self,
        client: &Client,
        query: &[(&str, String)],
        terminal: &mut Terminal,
        format: Format,
        was_open: &mut bool,
    ) -> Result<Ended, Failure> {
        let mut response = client.stream(PATH, query, self.seen.as_deref()).await?;
        *was_open = true;
        let mut frames = Frames::default();
        loop {
            let bytes = match response.chunk().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(Ended::BrokeOff("the agent closed it".to_owned())),
                Err(error) => return Ok(Ended::BrokeOff(error.to_string())),
            };
            for Frame { id, data } in frames.take(&bytes).map_err(Failure::error)? {
                let event: Value = serde_json::from_str(&data)
                    .map_err(|error| Failure::error(format!("the agent sent an event that is no JSON: {error}")))?;
                show(terminal, format, &event)?;
                self.seen = id.or(self.seen.take());
                self.shown += 1;
                if self.shown >= self.limit {
                    return Ok(Ended::Enough);
                }
            }
        }
    }
}

/// One event: a line for people, a line of JSON or a document of YAML for programs.
fn show(terminal: &mut Terminal, format: Format, event: &Value) -> Result<(), Failure> {
    match format {
        Format::Json => terminal.line(event),
        Format::Yaml => {
            terminal.line("---")?;
            output::value(terminal, format, event)
        }
        _ => {
            let kind = text(event, "/kind");
            let paint = match kind.as_str() {
                "server.down" | "alarm.raised" | "mass_failure.began" => Paint::Red,
                "server.up" | "alarm.cleared" | "mass_failure.ended" => Paint::Green,
                "gap" => Paint::Yellow,
                _ => Paint::Dim,
            };
            let kind = terminal.paint(paint, &format!("{kind:<18}"));
            terminal.line(format!("{}  {kind}  {}", text(event, "/at"), text(event, "/message")))
        }
    }
}
