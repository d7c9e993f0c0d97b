//! `snowshed completion`: what the shell needs to complete commands, flags and values. The shell asks this program at
//! every key, so that names of what is really there are completed too.

use std::time::Duration;

use clap::{Args, Parser};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::client::Client;
use super::failure::Failure;
use super::global::Global;
use super::output::text;
use super::session::Noun;
use super::terminal::Terminal;
use super::{block_on, context};

/// Set by the script when the shell asks; holds the shell's name.
const VARIABLE: &str = "COMPLETE";
/// Somebody waits at the keyboard: an agent that has not answered by then completes nothing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Load balancers whose frontends and backends are asked for when `--lb` is not typed yet.
const MOST_LBS: usize = 20;

/// Arguments of `completion`.
#[derive(Args, Debug)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Prints the script.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn run(&self, terminal: &mut Terminal) -> Result<(), Failure> {
        let mut script = Vec::new();
        let name = self.shell.to_string();
        let shells = Shells::builtins();
        let shell = shells.completer(&name).ok_or_else(|| Failure::usage(format!("{name} is not known")))?;
        shell
            .write_registration(VARIABLE, "snowshed", "snowshed", "snowshed", &mut script)
            .map_err(|error| Failure::error(format!("the script cannot be written: {error}")))?;
        terminal.line(String::from_utf8_lossy(&script).trim())
    }
}

/// Answers when it is the shell that asks; whether it was.
pub(super) fn answer() -> bool {
    let completing = CompleteEnv::with_factory(command).var(VARIABLE);
    completing.try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref()).unwrap_or_else(|error| {
        // There is nobody to read it but the shell.
        log::debug!("no completion: {error}");
        true
    })
}

/// The command line, its references completed with what the agent has.
fn command() -> clap::Command {
    complete_references(super::command())
}

fn complete_references(command: clap::Command) -> clap::Command {
    let of_noun = |noun: Noun| move || candidates(noun);
    command.mut_subcommands(complete_references).mut_args(|argument| {
        if !argument.get_action().takes_values() {
            return argument;
        }
        let noun = match argument.get_id().as_str() {
            "lb" | "lbs" => Noun::Lb,
            "ip" | "ips" => Noun::Ip,
            "frontend" | "frontends" => Noun::Frontend,
            "backend" | "backends" => Noun::Backend,
            _ => return argument,
        };
        argument.add(ArgValueCandidates::new(of_noun(noun)))
    })
}

/// Where the agent is, as far as it was typed already.
#[derive(Parser, Debug)]
#[command(ignore_errors = true, no_binary_name = true)]
struct Typed {
    #[command(flatten)]
    global: Global,
    #[arg(long)]
    lb: Option<String>,
}

/// Names of what there is; nothing when the agent does not say.
fn candidates(noun: Noun) -> Vec<CompletionCandidate> {
    let asked = block_on(async move {
        let found = tokio::time::timeout(PATIENCE, ask(noun)).await;
        found.unwrap_or_else(|_| Err(Failure::error("the agent does not answer")))
    });
    asked.unwrap_or_else(|failure| {
        log::debug!("nothing is completed: {failure}");
        Vec::new()
    })
}

async fn ask(noun: Noun) -> Result<Vec<CompletionCandidate>, Failure> {
    let typed = Typed::try_parse_from(pairs(&std::env::args().collect::<Vec<_>>()))
        .map_err(|error| Failure::usage(error.to_string()))?;
    let global = context::resolve(typed.global)?;
    let mut client = Client::new(&global)?;
    client.know_zone().await?;
    let lists = match noun {
        Noun::Frontend | Noun::Backend => {
            let mut lbs = client.list("lbs", "lbs", &[]).await?;
            if let Some(lb) = &typed.lb {
                lbs.retain(|of| text(of, "/name") == *lb || text(of, "/id") == *lb);
            }
            lbs.iter().take(MOST_LBS).map(|lb| format!("lbs/{}/{}", text(lb, "/id"), noun.plural())).collect()
        }
        _ => vec![noun.plural().to_owned()],
    };
    let mut candidates = Vec::new();
    for list in lists {
        let objects = client.list(&list, noun.plural(), &[]).await?;
        candidates.extend(objects.iter().map(|object| {
            let word = text(object, if noun == Noun::Ip { "/ip_address" } else { "/name" });
            CompletionCandidate::new(word).help(Some(text(object, "/id").into()))
        }));
    }
    Ok(candidates)
}

/// Flags that say where the agent is and of what load balancer is spoken, out of a line that is half typed.
fn pairs(words: &[String]) -> Vec<String> {
    const WANTED: [&str; 8] =
        ["--socket", "--url", "--token", "--token-file", "--zone", "--context", "--contexts", "--lb"];
    let mut found = Vec::new();
    let mut rest = words.iter().skip_while(|word| *word != "--").peekable();
    while let Some(word) = rest.next() {
        match word.split_once('=') {
            Some((name, value)) if WANTED.contains(&name) && !value.is_empty() => found.push(word.clone()),
            None if WANTED.contains(&word.as_str()) => {
                if let Some(value) = rest.peek().filter(|value| !value.is_empty() && !value.starts_with('-')) {
                    found.push(format!("{word}={value}"));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_in_a_line_that_is_half_typed() {
        let words: Vec<String> =
            "x -- snowshed lb get --socket /s --token= --lb=web --zone".split(' ').map(str::to_owned).collect();
        assert_eq!(pairs(&words), ["--socket=/s", "--lb=web"]);
        let half: Vec<String> = ["x", "--", "snowshed", "backend", "get", "--lb", ""].map(str::to_owned).to_vec();
        assert!(pairs(&half).is_empty());
    }
}
