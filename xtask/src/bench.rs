//! `cargo xtask bench`: measurements, one subcommand each. Every run prints a table and writes `target/bench/*.json`.

use anyhow::Result;

use crate::run;
use crate::setup::{self, Need};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

/// What is measured.
#[derive(clap::Subcommand)]
enum Bench {
    /// Nanoseconds per packet of the XDP program, beside an empty program, the XDP_TX floor and a minimal encapsulator.
    Dataplane {
        /// Fewer rounds and packets: ten seconds instead of two minutes, and noisier.
        #[arg(long)]
        quick: bool,
    },
}

/// Runs `cargo xtask bench`.
///
/// # Errors
/// When it is not root, or the bench cannot be built or run.
pub fn run(args: &Args) -> Result<()> {
    match args.bench {
        Bench::Dataplane { quick } => dataplane(quick),
    }
}

/// The kernel takes the time, so the runner needs no release build: it shares the tests'.
fn dataplane(quick: bool) -> Result<()> {
    run::require_root("The data plane's bench", "bench dataplane")?;
    setup::ensure(&[Need::Playground])?;
    let mut bench = run::cargo();
    bench.args(["bench", "--quiet", "--package", "tests", "--bench", "dataplane", "--profile", "dev", "--"]);
    if quick {
        bench.arg("--quick");
    }
    run::checked(&mut bench)
}
