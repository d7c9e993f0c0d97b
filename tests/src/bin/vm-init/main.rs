//! PID 1 of the virtual machines of `cargo xtask vm`: mounts, loads modules, runs the tests, says the verdict, powers
//! off. What it says and how is in [`tests::vm`].

mod boot;
mod job;
mod shell;

use std::fs::File;
use std::io::Write as _;

use anyhow::{Context, Result};
use nix::sys::reboot::{RebootMode, reboot};
use tests::vm::{self, Job, Task, Verdict};

fn main() {
    // Whatever went wrong, the machine must not stand: the host would wait until its limit.
    if let Err(error) = live() {
        // The last words of an init that cannot speak on its port; the console may be gone as well.
        let _said = std::fs::write("/dev/console", format!("snowshed-vm: {error:#}\n"));
    }
    nix::unistd::sync();
    // Only fails without the privilege, which PID 1 has.
    let _off = reboot(RebootMode::RB_POWER_OFF);
}

fn live() -> Result<()> {
    boot::mount_all()?;
    let mut port = File::options().read(true).write(true).open(vm::PORT).context("open the port to the host")?;
    writeln!(port, "{}", vm::STARTED)?;
    let mut verdict = Verdict::default();
    if let Err(error) = work(&mut port, &mut verdict) {
        verdict.error = Some(format!("{error:#}"));
    }
    let text = serde_json::to_string(&verdict).context("write the verdict")?;
    writeln!(port, "{}{text}", vm::VERDICT)?;
    // Power off only when the host has every byte.
    nix::sys::termios::tcdrain(&port).context("wait until the host has read all")
}

fn work(port: &mut File, verdict: &mut Verdict) -> Result<()> {
    verdict.kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let text = std::fs::read(vm::JOB).context("read the job")?;
    let job: Job = serde_json::from_slice(&text).context("the job is not as the host writes it")?;
    if job.task == Task::Probe {
        return Ok(());
    }
    boot::load_modules(&job.modules)?;
    boot::bring_up_loopback()?;
    match job.task {
        Task::Shell => shell::run(&job, port),
        Task::Test | Task::Probe => job::run(&job, port, verdict),
    }
}
