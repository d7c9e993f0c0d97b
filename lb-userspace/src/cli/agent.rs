//! `snowshed agent`: the daemon. Checks its configuration, then runs until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, Config, ConfigError};

/// Run the edge's agent in the foreground. It adopts a data plane that is already forwarding, and leaves it
/// forwarding when it stops.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, short, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Check the configuration and this host against it, report every problem, and exit: 0 fine, 1 not.
    #[arg(long)]
    pub check: bool,
    /// Print a commented configuration file with every key and its default, and exit.
    #[arg(long, conflicts_with = "check")]
    pub print_default_config: bool,
}

/// Runs the agent; returns when it has stopped. 0 after a signal, 1 when something failed; the reason is logged.
#[must_use]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the command line")]
pub fn run(args: &Args) -> ExitCode {
    if args.print_default_config {
        print!("{}", config::default_file());
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let problems = config.check_host();
    if !problems.is_empty() {
        eprintln!("{}", ConfigError { path: args.config.clone(), problems });
        return ExitCode::FAILURE;
    }
    if args.check {
        // No fault of the configuration: an agent that does not start for it would check no server's health.
        if let Some(Ok(certificate)) = config.certificate()
            && let Some(what) = certificate.warning(jiff::Timestamp::now())
        {
            eprintln!("{}: api.tls_certificate: {what}", args.config.display());
        }
        println!("{}: fine", args.config.display());
        return ExitCode::SUCCESS;
    }
    crate::agent::main(&config)
}
