//! `snowshed context`: agents by name. A file says where each is and with which token it is asked, so that a command
//! names a context, or nothing at all for the current one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::global::Global;
use super::output::{self, Column, text};
use super::terminal::Terminal;
use super::value;

/// Largest file, bytes.
const MAX_BYTES: u64 = 1 << 20;

const COLUMNS: [Column; 5] = [
    Column::text("CURRENT", |context| if context["current"] == true { "*".to_owned() } else { " ".to_owned() }),
    Column::text("NAME", |context| text(context, "/name")),
    Column::text("AGENT", |context| text(context, "/agent")),
    Column::text("TOKEN FILE", |context| text(context, "/token_file")),
    Column::text("ZONE", |context| text(context, "/zone")),
];

/// Every context, and the one that is used when none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// An agent and how it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Its Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Its URL, instead of the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Certificates that the agent's must be signed by; the system's without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// File that holds the token. Tokens themselves are not kept here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Contexts: agents by name, and the one that is used when none is named
#[derive(Subcommand, Debug)]
pub enum ContextCommand {
    /// List contexts
    List,
    /// Make a context, or change one; the first one becomes the current one
    #[command(after_help = "Examples:
  snowshed context set edge1 --agent-socket /run/snowshed/snowshed.sock --agent-token-file ~/.config/snowshed/edge1
  snowshed context set edge2 --agent-url http://127.0.0.1:7481
  snowshed context set edge3 --agent-url https://edge3.example.com:7443 --agent-ca-file ~/edge-ca.pem")]
    Set(Set),
    /// Make a context the current one
    #[command(after_help = "Example:
  snowshed context use edge2")]
    Use {
        /// Its name
        #[arg(value_name = "NAME", value_parser = name)]
        named: String,
    },
    /// Forget a context; neither the agent nor the token file is touched
    Delete {
        /// Its name
        #[arg(value_name = "NAME", value_parser = name)]
        named: String,
    },
}

/// Arguments of `context set`.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Set {
    /// Its name: letters, digits, dots, hyphens and underscores
    #[arg(value_name = "NAME", value_parser = name)]
    named: String,
    /// The agent's Unix socket
    #[arg(
        long,
        value_name = "PATH",
        value_parser = absolute,
        conflicts_with = "agent_url"
    )]
    agent_socket: Option<PathBuf>,
    /// The agent's URL: https://HOST:PORT, or http:// on this machine
    #[arg(long, value_name = "URL", value_parser = value::agent_url)]
    agent_url: Option<String>,
    /// Certificates (PEM) that the agent's must be signed by; the system's when not given
    #[arg(long, value_name = "PATH", value_parser = absolute, conflicts_with = "agent_socket")]
    agent_ca_file: Option<PathBuf>,
    /// File that holds the token
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    agent_token_file: Option<PathBuf>,
    /// The zone; the agent's own when not given
    #[arg(long, value_name = "ZONE", value_parser = value::zone)]
    agent_zone: Option<String>,
}

impl ContextCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the file cannot be read or written, or there is no such context.
    pub fn run(self, terminal: &mut Terminal, global: &Global) -> Result<(), Failure> {
        let file = File::of(global)?;
        let mut contexts = file.read()?;
        match self {
            Self::List => {
                let row = |(name, context): (&String, &Context)| {
                    let place = context.url.clone().or_else(|| Some(context.socket.as_ref()?.display().to_string()));
                    json!({
                        "name": name, "current": contexts.current.as_ref() == Some(name), "agent": place,
                        "ca_file": context.ca_file, "token_file": context.token_file, "zone": context.zone,
                    })
                };
                let rows: Vec<Value> = contexts.contexts.iter().map(row).collect();
                return output::list(terminal, global.output, &rows, &COLUMNS);
            }
            Self::Set(Set { named, agent_socket, agent_url, agent_ca_file, agent_token_file, agent_zone }) => {
                if agent_socket.is_none() && agent_url.is_none() {
                    let said = match (&global.url, &global.socket) {
                        (Some(url), _) => format!("snowshed context set {named} --agent-url {url}"),
                        (None, Some(socket)) => {
                            format!("snowshed context set {named} --agent-socket {}", socket.display())
                        }
                        (None, None) => "give --agent-url URL or --agent-socket PATH".to_owned(),
                    };
                    let what = format!("where the agent of context {named} is was not said");
                    return Err(Failure::usage(what).help(said));
                }
                let context = Context {
                    socket: agent_socket,
                    url: agent_url,
                    ca_file: agent_ca_file,
                    token_file: agent_token_file,
                    zone: agent_zone,
                };
                let is_first = contexts.contexts.is_empty();
                contexts.contexts.insert(named.clone(), context);
                if is_first {
                    contexts.current = Some(named.clone());
                }
                terminal.note(format!("context {named} is set"))?;
            }
            Self::Use { named } => {
                contexts.get(&named, &file)?;
                terminal.note(format!("context {named} is the current one"))?;
                contexts.current = Some(named);
            }
            Self::Delete { named } => {
                contexts.get(&named, &file)?;
                contexts.contexts.remove(&named);
                if contexts.current.as_ref() == Some(&named) {
                    contexts.current = None;
                }
                terminal.note(format!("context {named} is forgotten"))?;
            }
        }
        file.write(&contexts)
    }
}

impl Contexts {
    fn get(&self, name: &str, file: &File) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let known =
                if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
            Failure::new(Exit::NotFound, format!("there is no context `{name}` in {}: {known}", file.path.display()))
                .help("`snowshed context set` makes one")
        })
    }
}

/// Global flags with what is not said taken from the named or the current context. Flags and variables come first, and
/// whoever says where the agent is gets no token meant for another one.
///
/// # Errors
/// When a context is named that is not there, or the file cannot be read.
pub fn resolve(mut global: Global) -> Result<Global, Failure> {
    let is_said = global.context.is_none() && (global.socket.is_some() || global.url.is_some());
    if is_said && global.contexts.is_none() {
        return Ok(global);
    }
    let Ok(file) = File::of(&global) else { return Ok(global) };
    let contexts = file.read()?;
    if is_said {
        return Ok(global);
    }
    let Some(name) = global.context.as_ref().or(contexts.current.as_ref()) else { return Ok(global) };
    let Context { socket, url, ca_file, token_file, zone } = contexts.get(name, &file)?.clone();
    if global.socket.is_none() && global.url.is_none() {
        global.socket = socket;
        global.url = url;
        global.ca_file = global.ca_file.or(ca_file);
        global.context_token_file = token_file;
    }
    global.zone = global.zone.or(zone);
    Ok(global)
}

/// Where the contexts are kept.
struct File {
    path: PathBuf,
}

impl File {
    /// The file that is named, or the user's own.
    fn of(global: &Global) -> Result<Self, Failure> {
        let own = || super::token::user_file().map(|token| token.with_file_name("contexts.toml"));
        let path = global.contexts.clone().or_else(own).ok_or_else(|| {
            Failure::usage("there is no home directory to keep contexts in").help("name a file with --contexts")
        })?;
        Ok(Self { path })
    }

    /// What it holds; nothing when there is no file.
    fn read(&self) -> Result<Contexts, Failure> {
        let shown = self.path.display();
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Contexts::default()),
            Ok(metadata) if metadata.len() > MAX_BYTES => {
                return Err(Failure::usage(format!("{shown} is longer than {MAX_BYTES} bytes: it holds no contexts")));
            }
            _ => {}
        }
        let content = fs::read_to_string(&self.path)
            .map_err(|error| Failure::usage(format!("the contexts in {shown} cannot be read: {error}")))?;
        toml::from_str(&content).map_err(|error| Failure::usage(format!("{shown} holds no contexts: {error}")))
    }

    /// Replaces it as a whole: a crash leaves the old or the new one.
    fn write(&self, contexts: &Contexts) -> Result<(), Failure> {
        let shown = self.path.display();
        let failed = |error: std::io::Error| Failure::error(format!("{shown} cannot be written: {error}"));
        let content = toml::to_string(contexts)
            .map_err(|error| Failure::error(format!("no contexts can be written: {error}")))?;
        let directory = self.path.parent().filter(|directory| !directory.as_os_str().is_empty());
        fs::create_dir_all(directory.unwrap_or(Path::new("."))).map_err(failed)?;
        let next = self.path.with_extension("toml.new");
        let mut file = fs::File::options();
        let mut file = file.create(true).write(true).truncate(true).mode(0o600).open(&next).map_err(failed)?;
        file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&next, &self.path).map_err(failed)
    }
}

/// A name of a context.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err(format!(
            "`{text}` is no name of a context: 1 to 64 letters, digits, dots, hyphens and underscores"
        ));
    }
    Ok(text.to_owned())
}

/// A path that means the same wherever a command is typed.
fn absolute(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a path is needed".to_owned());
    }
    std::path::absolute(text).map_err(|error| format!("`{text}` is no path: {error}"))
}
