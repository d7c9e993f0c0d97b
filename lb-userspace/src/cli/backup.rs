//! `snowshed backup`: works on the files that agent.toml names, so that it also works when nothing else does.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json, to_value};

use super::failure::{Exit, Failure};
use super::output::{self, Column, Format, text};
use super::terminal::Terminal;
use crate::config::{self, Config};
use crate::ledger::LedgerError;
use crate::ledger::backup::{BackupError, Listed};
use crate::observe::chain;

/// What can be done with backups.
#[derive(Subcommand, Debug)]
pub enum BackupCommand {
    /// Make a backup now; the agent may be running
    Create(Files),
    /// List the backups, newest first; one that was never verified is marked
    List(Files),
    /// Open a copy of a backup, verify every operation in it, and note that it was
    Verify(Named),
    /// Put a backup in the ledger's place; the agent must be stopped, and traffic keeps flowing meanwhile
    Restore(Restore),
}

/// Where things are.
#[derive(Args, Debug)]
pub struct Files {
    /// The agent's configuration: it names the ledger and the backups
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
}

/// One backup.
#[derive(Args, Debug)]
pub struct Named {
    /// The backup's name, or `latest` for the newest one that was verified
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    #[command(flatten)]
    files: Files,
}

/// Arguments of `backup restore`.
#[derive(Args, Debug)]
pub struct Restore {
    #[command(flatten)]
    named: Named,
    /// Put aside a ledger that stands there; it is kept, under another name
    #[arg(long)]
    replace: bool,
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if !text.is_empty() && !text.starts_with('.') && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no name of a backup: `snowshed backup list` shows them; `latest` is the newest verified"))
}

impl BackupCommand {
    /// Does it and shows what was done.
    ///
    /// # Errors
    /// When a file cannot be read or written, a backup is damaged, or a ledger is in the way.
    pub fn run(&self, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        match self {
            Self::Create(files) => {
                let config = files.load()?;
                let made = config.backups().create(&config.ledger.path, Timestamp::now()).map_err(failed)?;
                let verified = config.backups().verify(&made.name, Timestamp::now()).map_err(failed)?;
                one(terminal, format, &verified, "made and verified")
            }
            Self::List(files) => {
                let all = files.load()?.backups().list().map_err(failed)?;
                let rows: Result<Vec<Value>, _> = all.iter().map(to_value).collect();
                let rows = rows.map_err(|error| Failure::error(error.to_string()))?;
                output::list(terminal, format, &rows, &COLUMNS)
            }
            Self::Verify(named) => {
                let config = named.files.load()?;
                let name = named.resolve(&config)?;
                let verified = config.backups().verify(&name, Timestamp::now()).map_err(failed)?;
                one(terminal, format, &verified, "verified")
            }
            Self::Restore(Restore { named, replace }) => {
                let config = named.files.load()?;
                let name = named.resolve(&config)?;
                let done =
                    config.backups().restore(&name, &config.ledger.path, *replace, Timestamp::now()).map_err(failed)?;
                if !format.is_table() {
                    return output::value(terminal, format, &json!(done));
                }
                for aside in &done.moved_aside {
                    terminal.line(format!("put aside: {}", aside.display()))?;
                }
                let (ledger, generation) = (done.ledger.display(), done.generation);
                terminal.line(format!("{ledger} holds generation {generation}: start the agent"))
            }
        }
    }
}

const COLUMNS: [Column; 5] = [
    Column::text("NAME", |row| text(row, "/name")),
    Column::text("MADE", |row| text(row, "/created_at")),
    Column::number("GENERATION", |row| text(row, "/generation")),
    Column::number("BYTES", |row| text(row, "/bytes")),
    Column::text("VERIFIED", |row| match text(row, "/verified_at") {
        at if at.is_empty() => "never: `snowshed backup verify`".to_owned(),
        at => at,
    }),
];

fn one(terminal: &mut Terminal, format: Format, backup: &Listed, what: &str) -> Result<(), Failure> {
    if !format.is_table() {
        return output::value(terminal, format, &json!(backup));
    }
    terminal.line(format!("{} {what}: generation {}, {} bytes", backup.name, backup.generation, backup.bytes))
}

impl Files {
    fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.config).map_err(|error| Failure::error(error.to_string()))
    }
}

impl Named {
    fn resolve(&self, config: &Config) -> Result<String, Failure> {
        if self.name != "latest" {
            return Ok(self.name.clone());
        }
        let all = config.backups().list().map_err(failed)?;
        let verified = all.into_iter().find(|backup| backup.verified_at.is_some());
        verified.map(|backup| backup.name).ok_or_else(|| {
            Failure::new(Exit::NotFound, "there is no verified backup")
                .help("`snowshed backup list` shows what there is, `snowshed backup verify --name NAME` verifies one")
        })
    }
}

fn failed(error: BackupError) -> Failure {
    let exit = match &error {
        BackupError::NoSuch { .. } => Exit::NotFound,
        BackupError::Living { .. } | BackupError::Ledger(LedgerError::InUse { .. }) => Exit::Refused,
        _ => Exit::Error,
    };
    Failure::new(exit, chain(&error))
}
