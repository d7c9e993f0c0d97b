//! Flags that every command understands: where the agent is, who asks, how the answer is shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::output::Format;
use super::progress::Progress;
use super::wait::Awaited;
use super::{context, value};

/// Flags that every command understands.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The agent's Unix socket; /run/snowshed/snowshed.sock when neither this nor a context says otherwise
    #[arg(long, global = true, value_name = "PATH", env = "SNOWSHED_SOCKET")]
    pub socket: Option<PathBuf>,

    /// Talk to the agent over TCP instead of the socket, for example https://edge1.example.com:7443; http:// on this
    /// machine only
    #[arg(long, global = true, value_name = "URL", env = "SNOWSHED_URL", value_parser = value::agent_url)]
    pub url: Option<String>,

    /// Certificates (PEM) that the agent's https:// certificate must be signed by; the system's when not given
    #[arg(long, global = true, value_name = "PATH", env = "SNOWSHED_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// The token; a file keeps it out of the process list and the shell's history [env: SNOWSHED_TOKEN=]
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,

    /// File that holds the token and nothing else; ~/.config/snowshed/token when no token is given at all
    /// [env: SNOWSHED_TOKEN_FILE=]
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// The agent to talk to, by its name in the contexts; the current one when not given (snowshed context list)
    #[arg(long, global = true, value_name = "NAME", env = "SNOWSHED_CONTEXT", value_parser = context::name)]
    pub context: Option<String>,

    /// File of the contexts; ~/.config/snowshed/contexts.toml when not given
    #[arg(long, global = true, value_name = "PATH", env = "SNOWSHED_CONTEXTS")]
    pub contexts: Option<PathBuf>,

    /// The token file of the context in use.
    #[arg(skip)]
    pub context_token_file: Option<PathBuf>,

    /// Deleted things are shown too.
    #[arg(skip)]
    pub show_deleted: bool,

    /// Nothing comes of what is asked for.
    #[arg(skip)]
    pub dry_run: bool,

    /// What says that something takes long.
    #[arg(skip)]
    pub progress: Arc<Progress>,

    /// The zone; the agent's own when not given
    #[arg(long, global = true, value_name = "ZONE", env = "SNOWSHED_ZONE", value_parser = value::zone)]
    pub zone: Option<String>,

    /// How results are shown; json and yaml are the API's own shapes
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Format,

    /// Do nothing, and fail if the change would be carried out: the agent must refuse it
    #[arg(long, global = true)]
    pub expect_deny: bool,

    /// After a change, wait until the kernel's maps hold it; =ready, =locked or =deleted: until the load balancer is that
    #[arg(
        long,
        global = true,
        value_name = "STATE",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "applied"
    )]
    pub wait: Option<Awaited>,

    /// How long --wait waits, for example 500ms, 30s or 5m
    #[arg(long, global = true, value_name = "DURATION", value_parser = value::duration, default_value = "30s")]
    pub timeout: Duration,
}
