//! `cargo xtask test`: every tier, nothing skipped silently, one summary line at the end.
//!
//! | tier | needs | is |
//! |---|---|---|
//! | lint | – | rustfmt and clippy, warnings are errors |
//! | host | – | unit and property tests of the crates |
//! | control | – | the control plane against memory and chaos data planes, SQLite, the CLI, the tidy rules |
//! | dataplane | root | the eBPF objects through `BPF_PROG_TEST_RUN` and the kernel's maps; once as committed, once built afresh |
//! | e2e | root | real servers and clients in network namespaces; tenants' own tools (the official SDKs) against the agent |
//! | vm | asked for, or no root | dataplane and e2e without the SDKs, and what needs modules and NICs, in virtual machines: oldest and newest kernel of the matrix |
//!
//! An ordinary user's run leaves out dataplane and e2e on the running kernel: they run in the virtual machines.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tests::tally::Tally;

use crate::run;
use crate::setup::{self, Need};
use crate::vm;

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these tiers (may be given several times).
    #[arg(long = "tier", value_enum)]
    tiers: Vec<Tier>,
    /// Wall-clock minutes for all of it, as a CI has them: adds the dataplane tier in virtual machines, which get
    /// what the others leave. Tests it does not get to are named; it is a failure when a kernel did not even verify the programs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: Option<u64>,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// A tier of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Tier {
    Lint,
    Host,
    Control,
    Dataplane,
    E2e,
    Vm,
}

const TIERS: [Tier; 6] = [Tier::Lint, Tier::Host, Tier::Control, Tier::Dataplane, Tier::E2e, Tier::Vm];

/// Test targets of the `tests` package by tier. A target in no tier fails the run.
const CONTROL_TARGETS: &[&str] = &["cli", "control", "corpus", "digest", "reconcile", "tidy"];
const DATAPLANE_TARGETS: &[&str] = &["verifier", "dataplane", "maps"];
const E2E_TARGETS: &[&str] = &["e2e"];
/// Of the e2e tier too: targets that need what registries hold, and therefore do not run in a virtual machine.
const CLIENT_TARGETS: &[&str] = &["deploy", "sdk"];
/// Run in virtual machines only.
const VM_TARGETS: &[&str] = &["vm"];

/// Test targets that need a kernel, in the order in which a virtual machine runs them.
pub fn kernel_targets() -> Vec<&'static str> {
    [DATAPLANE_TARGETS, VM_TARGETS, E2E_TARGETS].concat()
}

/// Directory in which the tests look for eBPF objects instead of the committed ones.
pub const EBPF_DIR_VARIABLE: &str = "SNOWSHED_EBPF_DIR";

/// Runs `cargo xtask test`.
///
/// # Errors
/// When anything failed; the summary line stands above.
pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let until = args.minutes.map(|minutes| started + Duration::from_secs(60 * minutes));
    let tiers = if args.tiers.is_empty() { all_tiers(until.is_some()) } else { args.tiers.clone() };
    if tiers.iter().any(is_of_running_kernel) {
        run::require_root("The dataplane and e2e tiers on the running kernel", "test").map_err(|error| {
            error.context("nothing was run; without root they run in virtual machines: cargo xtask test --tier vm")
        })?;
        setup::ensure(&[Need::Playground])?;
    }
    if tiers.contains(&Tier::Dataplane) {
        setup::ensure(&[Need::Ebpf])?;
    }
    if tiers.contains(&Tier::E2e) {
        setup::ensure(&[Need::Clients, Need::Deploy])?;
    }
    every_target_has_a_tier()?;

    let mut tally = Tally::default();
    let (mut times, mut unrun) = (Vec::new(), Vec::new());
    for tier in tiers {
        println!("\n== {tier:?}");
        let began = Instant::now();
        unrun.extend(run_tier(tier, args.filter.as_deref(), until, &mut tally)?);
        times.push(format!("{tier:?} {} s", began.elapsed().as_secs()));
    }
    println!("\n(in {} s: {})", started.elapsed().as_secs(), times.join(", "));
    for line in &unrun {
        println!("NOT RUN, the time was over: {line}: cargo xtask vm runs them");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} failed", tally.failed);
    }
    if tally.passed == 0 {
        bail!("no test has this name: {}", args.filter.as_deref().unwrap_or_default());
    }
    Ok(())
}

/// Root's tiers are those of the running kernel; the same ones in virtual machines take several times as long and run
/// when they are asked for (`--minutes`, `--tier vm`), or when there is no root and hence no other way.
fn all_tiers(with_machines: bool) -> Vec<Tier> {
    let mut tiers = TIERS.to_vec();
    if run::is_root() && with_machines {
        println!("on the running kernel, then on the oldest and the newest of the matrix in virtual machines");
    } else if run::is_root() {
        println!("on the running kernel only; other kernels: cargo xtask test --tier vm, or cargo xtask vm");
        tiers.retain(|tier| *tier != Tier::Vm);
    } else {
        println!("not root: dataplane and e2e run in virtual machines, not on the running kernel");
        tiers.retain(|tier| !is_of_running_kernel(tier));
    }
    tiers
}

const fn is_of_running_kernel(tier: &Tier) -> bool {
    matches!(tier, Tier::Dataplane | Tier::E2e)
}

/// Runs a tier; what the time did not suffice for.
fn run_tier(tier: Tier, filter: Option<&str>, until: Option<Instant>, tally: &mut Tally) -> Result<Vec<String>> {
    match tier {
        Tier::Lint if filter.is_some() => println!("(no test has a name here)"),
        Tier::Lint => lint(tally),
        Tier::Host => count(cargo_test(&["-p", "lb-common", "-p", "lb-userspace", "-p", "xtask"], filter, &[]), tally)?,
        Tier::Control => count(cargo_test(&targets(CONTROL_TARGETS), filter, &[]), tally)?,
        Tier::Dataplane => {
            println!("-- the committed objects");
            let serial = ["--test-threads=1"];
            count(cargo_test(&targets(DATAPLANE_TARGETS), filter, &serial), tally)?;
            println!("-- the objects built afresh from source");
            let fresh = run::root().join("target/ebpf-fresh");
            let mut build = run::cargo();
            build.args(["run", "--quiet", "--package", "xtask", "--", "build-ebpf", "--out"]).arg(&fresh);
            if let Err(error) = run::checked(&mut build) {
                println!("build-ebpf ... FAILED: {error:#}");
                tally.failed += 1;
                return Ok(Vec::new());
            }
            tally.passed += 1;
            let mut command = cargo_test(&targets(DATAPLANE_TARGETS), filter, &serial);
            command.env(EBPF_DIR_VARIABLE, &fresh);
            count(command, tally)?;
        }
        Tier::E2e => {
            run::checked(run::cargo().args(["build", "-p", "lb-userspace", "--bin", "snowshed"]))?;
            let targets = targets(&[E2E_TARGETS, CLIENT_TARGETS].concat());
            count(cargo_test(&targets, filter, &["--test-threads=1"]), tally)?;
        }
        Tier::Vm => {
            let (kernels, mut targets) = (vm::oldest_and_newest(), kernel_targets());
            if until.is_some() {
                // The others wait for servers and probes, and an emulated machine on a busy host does not keep up.
                targets.retain(|target| DATAPLANE_TARGETS.contains(target));
                println!("the dataplane tier only; e2e, tunnel devices, NICs and the site: cargo xtask vm");
            }
            let accelerator = None;
            let suite = vm::Suite { kernels: &kernels, update: false, accelerator, targets: &targets, filter, until };
            let summary = suite.run()?;
            *tally += summary.tally;
            return Ok(summary.unrun);
        }
    }
    Ok(Vec::new())
}

fn lint(tally: &mut Tally) {
    let mut clippy = run::cargo();
    clippy.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    let mut ebpf = run::cargo();
    ebpf.args(["fmt", "--check", "--manifest-path", "lb-ebpf/Cargo.toml"]);
    let mut fmt = run::cargo();
    fmt.args(["fmt", "--all", "--check"]);
    for command in [&mut fmt, &mut ebpf, &mut clippy] {
        match run::checked(command) {
            Ok(()) => tally.passed += 1,
            Err(error) => {
                println!("{error:#}");
                tally.failed += 1;
            }
        }
    }
}

fn targets(names: &[&'static str]) -> Vec<&'static str> {
    let mut args = vec!["-p", "tests"];
    for name in names {
        args.extend(["--test", name]);
    }
    args
}

fn cargo_test(args: &[&str], filter: Option<&str>, harness: &[&str]) -> Command {
    let mut command = run::cargo();
    command.args(["test", "--no-fail-fast"]).args(args).arg("--").args(filter).args(harness);
    command
}

/// Runs a `cargo test`, shows its output as it comes, and adds up its result lines.
fn count(mut command: Command, tally: &mut Tally) -> Result<()> {
    println!("$ {}", run::shown(&command));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut run = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read cargo's output")?;
        println!("{line}");
        if let Some(result) = Tally::of_line(&line) {
            run += result;
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && run.failed == 0 {
        println!("cargo test ended with {status} before its tests could say why: counted as one failure");
        run.failed = 1;
    }
    *tally += run;
    Ok(())
}

fn every_target_has_a_tier() -> Result<()> {
    let folder = run::root().join("tests/tests");
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let is_target = path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let known = [CONTROL_TARGETS, DATAPLANE_TARGETS, E2E_TARGETS, CLIENT_TARGETS, VM_TARGETS].concat();
        let known = known.contains(&name.as_str());
        if is_target && !known {
            bail!("the test target `{name}` belongs to no tier: name it in xtask/src/test.rs");
        }
    }
    Ok(())
}
