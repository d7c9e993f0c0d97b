//! `snowshed apply`: makes load balancers what files say they are. Doing it twice changes nothing the second time.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use self::execute::Executor;
use self::plan::{Action, Observed, Step};
use self::spec::{LbSpec, Problems};
use super::failure::{Exit, Failure};
use super::output::{self, Format};
use super::session::{Noun, Session, id_of};
use super::terminal::{Paint, Terminal};
use super::value::{self, Reference};
use crate::api::wire;

pub mod acl;
mod backend;
pub mod dependents;
mod execute;
mod file;
pub mod plan;
pub mod spec;

/// Largest file, bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Arguments of `apply`.
#[derive(Args, Debug)]
pub struct Apply {
    /// YAML file, or - for the standard input; may be given again
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Show what would change and what would be refused, and change nothing; ends with 3 when something would change, as
    /// the real run when something would be refused, with 0 when nothing would
    #[arg(long)]
    dry_run: bool,
    /// Nothing is asked for but what there is.
    #[arg(skip)]
    only_compares: bool,
    /// Remove frontends, backends, servers and addresses of these load balancers that the files do not name
    #[arg(long)]
    prune: bool,
    /// Project of load balancers and addresses that are made; the token's own when not given, and an operator's has none
    #[arg(long, value_name = "ID", value_parser = value::project)]
    project: Option<Uuid>,
}

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// YAML file, or - for the standard input; may be given again
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Count frontends, backends, servers and addresses that the files do not name as differences
    #[arg(long)]
    prune: bool,
}

impl From<Diff> for Apply {
    /// The first half of `apply --dry-run`: what may be changed is no matter of who only looks.
    fn from(Diff { files, prune }: Diff) -> Self {
        Self { files, dry_run: false, only_compares: true, prune, project: None }
    }
}

/// A load balancer of a file, what there is of it, and the steps between.
struct Work {
    spec: LbSpec,
    observed: Observed,
    steps: Vec<Step>,
    /// The step that a rehearsal ended with, and why.
    refused: Option<(usize, Failure)>,
}

impl Apply {
    /// Makes a load balancer what a file says, and nothing else.
    #[must_use]
    pub fn whole_file(path: PathBuf) -> Self {
        Self { files: vec![path], dry_run: false, only_compares: false, prune: true, project: None }
    }

    /// Every load balancer of the files, checked as a whole; nothing is sent for it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its position.
    pub fn read(&self, terminal: &mut Terminal) -> Result<Vec<LbSpec>, Failure> {
        let mut specs: Vec<LbSpec> = Vec::new();
        let mut wrong = Vec::new();
        for path in &self.files {
            let (source, text) = read_file(path, terminal)?;
            match file::read(&source, &text) {
                Err(problem) => wrong.push(problem),
                Ok(documents) => {
                    let mut problems = Problems::of(&source);
                    if documents.is_empty() {
                        problems.list.push(format!("{source}: there is no load balancer in it"));
                    }
                    for document in &documents {
                        let spec = spec::lb(document, &mut problems);
                        if specs.iter().any(|other| other.name == spec.name) {
                            problems.add(&document.name, format!("load balancer `{}` is described twice", spec.name));
                        }
                        specs.push(spec);
                    }
                    wrong.append(&mut problems.list);
                }
            }
        }
        if wrong.is_empty() {
            return Ok(specs);
        }
        Err(Failure::usage(wrong.join("\n")).help("nothing was changed; `snowshed apply --help` describes the file"))
    }

    /// Compares, and changes what differs.
    ///
    /// # Errors
    /// [`Exit::Differs`] when a dry run found something to do; otherwise what went wrong, and how far it came.
    pub async fn run(self, specs: Vec<LbSpec>, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut work = Vec::with_capacity(specs.len());
        for spec in specs {
            session.terminal.progress.say(|| format!("comparing {}", spec.name));
            let observed = observe(&spec, session).await?;
            let steps = plan::plan(&spec, &observed, self.prune).map_err(|what| Failure::new(Exit::Refused, what))?;
            work.push(Work { spec, observed, steps, refused: None });
        }
        if self.dry_run {
            self.rehearse(&mut work, session).await?;
        }
        if self.dry_run || self.only_compares {
            return report_dry_run(&work, session);
        }
        let total = work.iter().flat_map(|work| &work.steps).filter(|step| step.action.is_change()).count();
        let (mut done, mut lbs) = (0, Vec::with_capacity(work.len()));
        for work in &work {
            let mut executor = Executor::new(&work.observed, self.project);
            for step in &work.steps {
                executor.step(step, session).await.map_err(|failure| stopped(failure, work, step, done, total))?;
                done += usize::from(step.action.is_change());
                if session.format.is_table() {
                    session.terminal.line(line(session.terminal, &work.spec.name, step, true))?;
                }
            }
            lbs.extend(executor.lb);
        }
        match session.format {
            Format::Name => lbs.iter().try_for_each(|lb| session.terminal.line(lb.to_string()))?,
            format if format.is_table() => {}
            format => output::value(session.terminal, format, &report(&work)?)?,
        }
        if done > 0 { session.client.wait_for(&lbs).await } else { Ok(()) }
    }
}

impl Apply {
    /// Carries everything out before an agent that forgets it: what would be refused is known then. A load balancer ends
    /// with its first refusal, as it would; the others go on.
    async fn rehearse(&self, work: &mut [Work], session: &mut Session<'_>) -> Result<(), Failure> {
        session.client.rehearse();
        for work in work {
            session.terminal.progress.say(|| format!("rehearsing {}", work.spec.name));
            let mut executor = Executor::new(&work.observed, self.project);
            for (number, step) in work.steps.iter().enumerate() {
                match executor.step(step, session).await {
                    Ok(()) => {}
                    Err(failure) if failure.is_denial() || failure.exit == Exit::Usage => {
                        work.refused = Some((number, failure));
                        break;
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
        Ok(())
    }
}

fn read_file(path: &PathBuf, terminal: &mut Terminal) -> Result<(String, String), Failure> {
    if path.as_os_str() == "-" {
        return Ok(("<stdin>".to_owned(), terminal.read_input(MAX_FILE_BYTES)?));
    }
    let source = path.display().to_string();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > MAX_FILE_BYTES => {
            Err(Failure::usage(format!("{source} is longer than {MAX_FILE_BYTES} bytes, the most a file may have")))
        }
        Ok(_) => Ok((source, text)),
        Err(error) => Err(Failure::usage(format!("{source} cannot be read: {error}"))),
    }
}

async fn observe(spec: &LbSpec, session: &Session<'_>) -> Result<Observed, Failure> {
    let ips = list(session, "ips", "ips").await?;
    let subscribers = match &spec.subscriber {
        Some(_) => list(session, "subscribers", "subscribers").await?,
        None => Vec::new(),
    };
    let dependents = match spec.dependents {
        None => Vec::new(),
        Some(_) => {
            let all = session.client.own_list(execute::DEPENDENTS, "dependents", &[]).await?;
            all.into_iter().map(typed).collect::<Result<_, _>>()?
        }
    };
    let lb = match session.find(Noun::Lb, &Reference::Name(spec.name.clone()), None).await {
        Ok(lb) => lb,
        Err(failure) if failure.exit == Exit::NotFound => {
            return Ok(Observed { ips, subscribers, dependents, ..Observed::default() });
        }
        Err(failure) => return Err(failure),
    };
    let id = id_of(&lb)?;
    let frontends: Vec<wire::Frontend> = list(session, &format!("lbs/{id}/frontends"), "frontends").await?;
    let mut acls = Vec::new();
    for frontend in &frontends {
        acls.extend(list(session, &format!("frontends/{}/acls", frontend.id), "acls").await?);
    }
    Ok(Observed {
        lb: Some(typed(lb)?),
        backends: list(session, &format!("lbs/{id}/backends"), "backends").await?,
        frontends,
        acls,
        ips,
        subscribers,
        dependents,
    })
}

async fn list<T: DeserializeOwned>(session: &Session<'_>, path: &str, key: &str) -> Result<Vec<T>, Failure> {
    session.client.list(path, key, &[]).await?.into_iter().map(typed).collect()
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        Failure::error(format!("the agent answered in a shape this version does not know: {error}"))
            .help("`snowshed --version` should be the agent's version")
    })
}

fn report_dry_run(work: &[Work], session: &mut Session<'_>) -> Result<(), Failure> {
    if session.format.is_table() {
        for work in work {
            for (number, step) in work.steps.iter().enumerate() {
                session.terminal.line(line(session.terminal, &work.spec.name, step, false))?;
                if let Some((_, failure)) = work.refused.as_ref().filter(|(refused, _)| *refused == number) {
                    let refused = session.terminal.paint(Paint::Red, &format!("      refused: {}", failure.what));
                    session.terminal.line(refused)?;
                }
            }
        }
    } else if session.format == Format::Name {
        // What is not made yet has no id.
        let is_changed = |work: &&Work| work.steps.iter().any(|step| step.action.is_change());
        work.iter().filter(is_changed).try_for_each(|work| session.terminal.line(work.spec.name.to_string()))?;
    } else {
        output::value(session.terminal, session.format, &report(work)?)?;
    }
    let changes = work.iter().flat_map(|work| &work.steps).filter(|step| step.action.is_change()).count();
    if changes == 0 {
        return session.terminal.note("nothing would change");
    }
    let refused: Vec<&(usize, Failure)> = work.iter().filter_map(|work| work.refused.as_ref()).collect();
    if let Some((_, first)) = refused.first() {
        let what = format!(
            "{} of {} load balancers would not become what the files say; nothing was changed: {}",
            refused.len(),
            work.len(),
            first.what
        );
        return Err(Failure::new(first.exit, what).help(first.help.clone()));
    }
    session.terminal.note(format!("{changes} would change; nothing was changed"))?;
    Err(Failure::new(Exit::Differs, ""))
}

fn stopped(failure: Failure, work: &Work, step: &Step, done: usize, total: usize) -> Failure {
    let help = format!("{done} of {total} changes were made; the same command goes on from there\n{}", failure.help);
    Failure {
        exit: failure.exit,
        what: format!("{}: {} {}: {}", work.spec.name, step.kind, step.name, failure.what),
        help: help.trim_end().to_owned(),
        ..failure
    }
}

fn report(work: &[Work]) -> Result<Value, Failure> {
    let reports: Result<Vec<Value>, _> = work
        .iter()
        .map(|work| {
            let mut report = serde_json::json!({"lb": work.spec.name, "steps": serde_json::to_value(&work.steps)?});
            if let Some((number, failure)) = &work.refused {
                report["refused"] = serde_json::json!({"step": number, "why": failure.what, "help": failure.help});
            }
            Ok(report)
        })
        .collect();
    reports.map(Value::Array).map_err(|error: serde_json::Error| Failure::error(error.to_string()))
}

/// A step as text: one line for the object, one for each field that changes.
fn line(terminal: &Terminal, lb: &str, step: &Step, done: bool) -> String {
    let (sign, paint, word, word_done) = match step.action {
        Action::Create => ("+", Paint::Green, "create", "created"),
        Action::Update => ("~", Paint::Yellow, "update", "updated"),
        Action::Unchanged => ("=", Paint::Dim, "unchanged", "unchanged"),
        Action::Replace => ("±", Paint::Yellow, "replace", "stopped, to be made again"),
        Action::Remove => ("-", Paint::Red, "remove", "removed"),
        Action::Extra => (
            "!",
            Paint::Yellow,
            "not in the file, stays (--prune removes it)",
            "not in the file, stays (--prune removes it)",
        ),
    };
    let object =
        if step.kind == "lb" { format!("lb {}", step.name) } else { format!("{lb}: {} {}", step.kind, step.name) };
    let word = if done { word_done } else { word };
    let mut text = terminal.paint(paint, &format!("{sign} {object}: {word}"));
    for change in &step.changes {
        text.push_str(&match (&change.from, &change.to) {
            (Some(from), Some(to)) => format!("\n      {}: {from} → {to}", change.field),
            (None, Some(to)) => format!("\n      {}: {to}", change.field),
            (Some(from), None) => format!("\n      {}: {from} → none", change.field),
            (None, None) => String::new(),
        });
    }
    text
}

#[cfg(test)]
mod tests;
