//! What every command that shows something has: `--watch`, and `--show-deleted` where there are deleted things; and what
//! every one that makes something has: `--dry-run`. Commands get them here, by their verb and their noun, so that none of
//! them can lack it.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use super::failure::{Exit, Failure};
use super::terminal::{Buffer, Terminal};
use super::value;

const WATCH: &str = "watch";
const SHOW_DELETED: &str = "show-deleted";
const DRY_RUN: &str = "dry-run";

/// Verbs, and commands without one, that show what there is.
const SHOWING: [&str; 5] = ["get", "list", "show", "status", "measures"];
/// Nouns of what can be deleted and is still known then.
const MORTAL: [&str; 9] = ["lb", "ip", "frontend", "acl", "backend", "subscriber", "org", "project", "dependent"];

/// Verbs that make what the agent is asked for, and nothing before or beside it.
const MAKING: [&str; 2] = ["create", "add"];
/// A noun that is made without the agent.
const ELSEWHERE: &str = "backup";

/// The command line with these arguments.
#[must_use]
pub(super) fn offer(command: Command) -> Command {
    below(command, "")
}

fn below(command: Command, noun: &str) -> Command {
    if command.has_subcommands() {
        let noun = command.get_name().to_owned();
        return command.mut_subcommands(|command| below(command, &noun));
    }
    let verb = command.get_name().to_owned();
    let shows = SHOWING.contains(&verb.as_str());
    let command = if shows { command.arg(watch()) } else { command };
    let makes = MAKING.contains(&verb.as_str()) && noun != ELSEWHERE;
    let command = if makes { command.arg(dry_run()) } else { command };
    if shows && MORTAL.contains(&noun) { command.arg(show_deleted()) } else { command }
}

fn watch() -> Arg {
    Arg::new(WATCH)
        .short('w')
        .long(WATCH)
        .value_name("DURATION")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("1s")
        .value_parser(value::duration)
        .value_hint(ValueHint::Other)
        .help("Show it again whenever it changed, until Ctrl-C; the time between two looks [when not given: 1s]")
}

fn show_deleted() -> Arg {
    Arg::new(SHOW_DELETED)
        .long(SHOW_DELETED)
        .action(ArgAction::SetTrue)
        .help("Deleted ones too, with the time when they were")
}

fn dry_run() -> Arg {
    Arg::new(DRY_RUN).long(DRY_RUN).action(ArgAction::SetTrue).help(
        "Show what would be made, or why it would be refused, and change nothing; ends with 3 when it would be made",
    )
}

/// The words of the command that was typed, such as `lb list`, and what stands behind them.
#[must_use]
pub(super) fn leaf(matches: &ArgMatches) -> (String, &ArgMatches) {
    let (mut words, mut matches) = (Vec::new(), matches);
    while let Some((word, below)) = matches.subcommand() {
        words.push(word);
        matches = below;
    }
    (words.join(" "), matches)
}

/// The time between two looks of `--watch`, when it was given.
#[must_use]
pub(super) fn watched(leaf: &ArgMatches) -> Option<Duration> {
    leaf.try_get_one(WATCH).ok().flatten().copied()
}

/// Whether deleted things are to be shown.
#[must_use]
pub(super) fn shows_deleted(leaf: &ArgMatches) -> bool {
    leaf.try_get_one(SHOW_DELETED).ok().flatten().copied().unwrap_or(false)
}

/// Whether what is to be made is not made; `apply` and others have a flag of their own.
#[must_use]
pub(super) fn is_dry_run(leaf: &ArgMatches) -> bool {
    leaf.try_get_one(DRY_RUN).ok().flatten().copied().unwrap_or(false)
}

/// Runs a command again and again, and shows what it printed whenever that changed, until the output is closed.
///
/// # Errors
/// When the command fails; once something was shown, only for what asking again cannot mend.
pub(super) fn repeat(
    pause: Duration,
    terminal: &mut Terminal,
    run: impl Fn(&mut Terminal) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut shown: Option<[String; 2]> = None;
    loop {
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut once = terminal.onto(out.clone(), err.clone());
        match run(&mut once) {
            // The agent is started anew, for example.
            Err(failure) if failure.exit == Exit::Error && shown.is_some() => once.report(&failure),
            ran => ran?,
        }
        let printed = [out.text(), err.text()];
        if shown.as_ref() != Some(&printed) {
            if shown.is_some() {
                terminal.clear()?;
            }
            for text in printed.iter().zip([true, false]) {
                match text {
                    (text, _) if text.is_empty() => {}
                    (text, true) => terminal.line(text.trim_end_matches('\n'))?,
                    (text, false) => terminal.note(text.trim_end_matches('\n'))?,
                }
            }
            shown = Some(printed);
        }
        std::thread::sleep(pause);
    }
}
