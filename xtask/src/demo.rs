//! `cargo xtask demo`: the product in front of three real web servers, and everything that is done to it there.
//!
//! Namespaces for clients, an edge and servers; a load balancer made from a YAML file; more than 20,000 requests; a
//! server killed, another drained, the agent killed, all of it under load. What was promised and not kept makes it
//! fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};

mod act;
mod figures;
mod stage;
mod wrk;

use figures::Figures;
use stage::Stage;

use crate::run;
use crate::setup::{self, Need};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Leave the playground up and print what to try.
    #[arg(long, conflicts_with = "clean")]
    keep: bool,
    /// Only remove a playground that was kept.
    #[arg(long)]
    clean: bool,
}

/// Runs `cargo xtask demo`.
///
/// # Errors
/// When something does not work, or works and breaks a promise.
pub fn run(args: &Args) -> Result<()> {
    run::require_root("The demo", "demo")?;
    setup::ensure(&[Need::Playground])?;
    clean(args.clean)?;
    if args.clean {
        return Ok(());
    }
    let snowshed = build()?;
    let interrupt = Interrupt::watch()?;

    let started = Instant::now();
    let mut stage = Stage::build(&snowshed)?;
    let mut figures = Figures::default();
    play(&mut stage, &mut figures, &interrupt)?;
    figures.seconds = started.elapsed().as_secs_f64();
    figures.show();
    figures.write(&run::root().join("target/demo.json"))?;
    if args.keep {
        stage.keep()?;
    }
    let broken = figures.broken_promises();
    ensure!(broken.is_empty(), "the demo broke what was promised:\n  {}", broken.join("\n  "));
    println!("every promise was kept, in {:.0} s", figures.seconds);
    Ok(())
}

/// The acts, in their order.
fn play(stage: &mut Stage, figures: &mut Figures, interrupt: &Interrupt) -> Result<()> {
    let acts: [(&str, act::Act); 7] = [
        ("HTTP over IPv4: every request a new connection", act::new_connections),
        ("HTTP over IPv4 with keep-alive, and over IPv6", act::keep_alive_and_ipv6),
        ("UDP", act::udp),
        ("kill -9 of server2's nginx under load", act::failover),
        ("server2 comes back under load", act::recovery),
        ("drain server3 under load", act::drain),
        ("kill -9 of the agent under load, then a new agent", act::agent_kill),
    ];
    for (number, (title, act)) in acts.iter().enumerate() {
        interrupt.check()?;
        println!("\n[{}/{}] {title}", number + 1, acts.len());
        act(stage, figures, interrupt).with_context(|| format!("act {}: {title}", number + 1))?;
    }
    Ok(())
}

fn build() -> Result<std::path::PathBuf> {
    println!("building snowshed (release; the first time takes a few minutes)");
    run::checked(run::cargo().args(["build", "--release", "--quiet", "-p", "lb-userspace", "--bin", "snowshed"]))?;
    Ok(run::root().join("target/release/snowshed"))
}

/// Removes playgrounds that were kept: before another demo, or because it was asked for.
fn clean(asked_for: bool) -> Result<()> {
    let kept = tests::leftovers::kept(stage::TAG)?;
    for name in &kept {
        println!("removing the playground {name}");
        tests::leftovers::remove(name)?;
    }
    if asked_for && kept.is_empty() {
        println!("no playground was kept");
    }
    Ok(())
}

/// Whether somebody pressed Ctrl-C. The second time ends the process; the next run then removes what is left.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn watch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
                .context("cannot watch for Ctrl-C")?;
        }
        Ok(Self(flag))
    }

    /// # Errors
    /// When somebody did.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted; the playground is removed");
        }
        Ok(())
    }
}
