//! `snowshed drill`: the incident, on throw-away everything.

use clap::{Args, Subcommand};

use super::failure::{Exit, Failure};
use super::output::{self, Format, cell, table};
use super::terminal::{Paint, Terminal};
use crate::recovery::drill::{DrillError, Figures, Jail, Settings, avalanche};

/// What can be rehearsed.
#[derive(Subcommand, Debug)]
pub enum DrillCommand {
    /// The avalanche of 2021-04-07: 1574 load balancers of 775 organizations, with live traffic and a stopwatch
    Avalanche(Avalanche),
}

/// Arguments of `drill avalanche`.
#[derive(Args, Debug)]
pub struct Avalanche {
    /// Times the size of the incident
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=10))]
    scale: u8,
}

impl DrillCommand {
    /// Runs the drill and shows what it measured.
    ///
    /// # Errors
    /// When it cannot be carried out, or a promise was not kept.
    pub fn run(&self, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let Self::Avalanche(Avalanche { scale }) = self;
        let jail = Jail::enter().map_err(failed)?;
        let settings = Settings { scale: usize::from(*scale) };
        let mut say = |step: &str| {
            // A closed error output is no reason to stop in the middle of a drill.
            let _unsaid = terminal.note(format!("· {step}"));
        };
        let figures = avalanche(&jail, settings, &mut say).map_err(failed)?;
        show(&figures, terminal, format)?;
        match figures.broken_promises() {
            broken if broken.is_empty() => Ok(()),
            broken => Err(Failure::new(Exit::Error, format!("the drill is not passed: {}", broken.join(", ")))),
        }
    }
}

fn failed(error: DrillError) -> Failure {
    Failure::error(error.to_string()).help("nothing of this machine was touched; what the drill made ends with it")
}

fn show(figures: &Figures, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
    if !format.is_table() {
        let value = serde_json::to_value(figures).map_err(|error| Failure::error(error.to_string()))?;
        return output::value(terminal, format, &value);
    }
    let mut timeline = table(terminal);
    timeline.set_header(vec!["AT", "", "SNOWSHED", "2021-04-07 (UTC)"]);
    for moment in &figures.timeline.0 {
        let at = format!("{:.3} s", moment.at_ms / 1e3);
        let cells = [at, moment.scenario.to_string(), moment.what.clone(), moment.incident.to_owned()];
        timeline.add_row(cells.iter().map(|text| cell(text, false)).collect::<Vec<_>>());
    }
    output::print_table(terminal, &timeline)?;
    terminal.line("")?;
    let mut rows = table(terminal);
    rows.set_header(vec!["", "2021-04-07", "SNOWSHED"]);
    for row in figures.rows() {
        rows.add_row(row.iter().map(|text| cell(text, false)).collect::<Vec<_>>());
    }
    output::print_table(terminal, &rows)?;
    let answered = format!(
        "{} load balancers of {} organizations, {} in traffic, {} answers; {} clusters would have replaced healthy nodes \
         without asking",
        figures.lbs,
        figures.organizations,
        figures.lbs_in_traffic,
        figures.answered,
        figures.c_dependents_misled_without_asking
    );
    let answered = terminal.paint(Paint::Dim, &answered);
    terminal.line(answered)
}
