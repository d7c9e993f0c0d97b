//! `cargo xtask vm --shell`: a person at the machine.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context, Result};
use tests::vm::Job;

/// Gives a person a shell on the port; returns when it ends.
///
/// # Errors
/// When the shell cannot be started.
pub fn run(job: &Job, port: &mut File) -> Result<()> {
    writeln!(port, "\nThe machine powers off when this shell ends.")?;
    let mut shell = Command::new("setsid");
    shell.args(["-c", "sh", "-i"]).envs(&job.environment).env("HOME", "/").env("PS1", "snowshed-vm# ");
    let end = || port.try_clone().context("share the port");
    shell.stdin(end()?).stdout(end()?).stderr(end()?);
    shell.status().context("start a shell").map(drop)
}
