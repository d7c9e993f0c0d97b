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
    /// A full edge's load balancers through ledger, agent and kernel maps: load time, time of one change, memory.
    Control {
        /// Load balancers in the ledger, three servers each.
        #[arg(long, default_value_t = 10_000)]
        load_balancers: usize,
        /// Changes made one by one.
        #[arg(long, default_value_t = 400)]
        changes: usize,
    },
    /// The API of a full edge: creations and reads a second, their percentiles, memory, and what the probes cost.
    Api {
        /// Load balancers, three probed servers each.
        #[arg(long, default_value_t = 10_000)]
        load_balancers: usize,
        /// Reads between the two looks at the memory.
        #[arg(long, default_value_t = 100_000)]
        requests: usize,
    },
}

/// Runs `cargo xtask bench`.
///
/// # Errors
/// When it is not root, or the bench cannot be built or run.
pub fn run(args: &Args) -> Result<()> {
    match args.bench {
        Bench::Dataplane { quick } => dataplane(quick),
        Bench::Control { load_balancers, changes } => control(load_balancers, changes),
        Bench::Api { load_balancers, requests } => api(load_balancers, requests),
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

/// Here the processes themselves are measured: both are release builds.
fn control(load_balancers: usize, changes: usize) -> Result<()> {
    run::require_root("The control plane's bench", "bench control")?;
    setup::ensure(&[Need::Playground])?;
    run::checked(run::cargo().args(["build", "--release", "--package", "lb-userspace", "--bin", "snowshed"]))?;
    let out = run::root().join("target/bench/control.json");
    let mut bench = run::cargo();
    bench.args(["bench", "--quiet", "--package", "tests", "--bench", "control", "--"]);
    bench.args([load_balancers.to_string(), changes.to_string()]).arg(out);
    run::checked(&mut bench)
}

/// The agent is a release build; what asks it is a bench's own.
fn api(load_balancers: usize, requests: usize) -> Result<()> {
    run::require_root("The API's bench", "bench api")?;
    setup::ensure(&[Need::Playground])?;
    run::checked(run::cargo().args(["build", "--release", "--package", "lb-userspace", "--bin", "snowshed"]))?;
    let mut bench = run::cargo();
    bench.args(["bench", "--quiet", "--package", "tests", "--bench", "api", "--profile", "dev", "--"]);
    bench.args([load_balancers.to_string(), requests.to_string()]);
    bench.arg(run::root().join("target/release/snowshed")).arg(run::root().join("target/bench/api.json"));
    run::checked(&mut bench)
}
