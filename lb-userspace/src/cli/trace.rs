//! `snowshed trace`: what is decided about packets, as it is: a sample, one line each.

use clap::Args;
use serde_json::Value;

use super::capture::{self, Filter};
use super::client::Client;
use super::failure::Failure;
use super::output::{self, Format, text};
use super::terminal::{Paint, Terminal};

/// Longest line of the agent's.
const LONGEST: usize = 1 << 16;

/// Arguments of `trace`.
#[derive(Args, Debug)]
pub struct Trace {
    #[command(flatten)]
    filter: Filter,
    /// Decisions a second at most: a sample of all
    #[arg(long, value_name = "N", default_value = "20", value_parser = capture::rate)]
    rate: u32,
}

impl Trace {
    /// Shows decisions until there are enough, the time is over, or Ctrl-C.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, client: &Client, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let mut query = self.filter.query(self.rate);
        query.extend([("format", "lines".to_owned()), ("snap", "128".to_owned())]);
        let mut answer = client.download(capture::PATH, &query, self.filter.lasts()).await?;
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let mut rest: Vec<u8> = Vec::new();
        loop {
            let chunk = tokio::select! {
                chunk = answer.chunk() => chunk.map_err(|error| Failure::error(format!("the trace broke off: {error}")))?,
                _ = &mut interrupted => None,
            };
            let Some(chunk) = chunk else { return Ok(()) };
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line: Value = serde_json::from_slice(&line)
                    .map_err(|error| Failure::error(format!("the agent sent a line that is no JSON: {error}")))?;
                show(terminal, format, &line)?;
            }
            if rest.len() > LONGEST {
                return Err(Failure::error("the agent sent something that is no line"));
            }
        }
    }
}

fn show(terminal: &mut Terminal, format: Format, line: &Value) -> Result<(), Failure> {
    match format {
        Format::Json => return terminal.line(line),
        Format::Yaml => {
            terminal.line("---")?;
            return output::value(terminal, format, line);
        }
        _ => {}
    }
    if line.get("end").is_some() {
        let lost = line.get("lost").and_then(Value::as_u64).unwrap_or(0);
        let more = if lost > 0 { format!(" of {} and more", lost + count(line)) } else { String::new() };
        return terminal.note(format!("{} decisions{more}", count(line)));
    }
    let paint = match text(line, "/action").as_str() {
        "drop" | "aborted" => Paint::Red,
        "pass" => Paint::Dim,
        _ => Paint::Green,
    };
    let reason = terminal.paint(paint, &format!("{:<20}", text(line, "/reason")));
    let mut shown = format!(
        "{}  {reason}  {:<5} {} → {}",
        text(line, "/at"),
        text(line, "/came/protocol"),
        text(line, "/came/from"),
        text(line, "/came/to")
    );
    for (word, pointer) in [("lb", "/lb"), ("server", "/server")] {
        let value = text(line, pointer);
        if !value.is_empty() {
            shown.push_str(&format!("  {word} {value}"));
        }
    }
    terminal.line(shown)
}

fn count(line: &Value) -> u64 {
    line.get("captured").and_then(Value::as_u64).unwrap_or(0)
}
