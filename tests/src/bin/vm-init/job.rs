//! Runs the test programs one after the other and counts.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tests::tally::Tally;
use tests::vm::{self, Job, Program, Target, Verdict};

/// Runs every target of a job. A target that fails does not keep the next from running.
///
/// # Errors
/// When a program cannot be started or its output not be passed on.
pub fn run(job: &Job, port: &mut File, verdict: &mut Verdict) -> Result<()> {
    for target in &job.targets {
        writeln!(port, "\n-- {}", target.name)?;
        let tally = run_target(job, target, port, verdict)?;
        verdict.targets.push((target.name.clone(), tally));
    }
    Ok(())
}

fn run_target(job: &Job, target: &Target, port: &mut File, verdict: &mut Verdict) -> Result<Tally> {
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let mut command = Command::new(&target.program);
    command.args(&job.filter).arg(format!("--test-threads={}", target.threads)).arg("--show-output");
    command.envs(&job.environment);
    command.stdout(writer.try_clone().context("share the pipe")?).stderr(writer);
    let child = command.spawn().with_context(|| format!("start {}", target.program))?;
    // It holds the writing end: without it the reader sees the end of the output.
    drop(command);
    let pid = Pid::from_raw(i32::try_from(child.id()).context("a process id beyond i32")?);

    std::thread::scope(|scope| {
        let reading = scope.spawn(|| pass_on(reader, port, verdict));
        let status = wait_for(pid)?;
        // Daemons that a test left behind hold the pipe, ports and interfaces.
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("end what the tests left behind"),
        }
        let mut tally = match reading.join() {
            Ok(tally) => tally?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let counted = matches!(status, WaitStatus::Exited(_, 0)) || tally.failed > 0;
        // It ended before it could count: that is one failure.
        tally.failed += u64::from(!counted);
        Ok(tally)
    })
}

/// Waits for a process, and buries every orphan that ends meanwhile: that is PID 1's office.
fn wait_for(pid: Pid) -> Result<WaitStatus> {
    loop {
        let status = waitpid(None, None).context("wait for the tests")?;
        if status.pid() == Some(pid) {
            return Ok(status);
        }
    }
}

/// Passes the output to the host, line by line, and keeps what it says about counts and programs.
fn pass_on(reader: PipeReader, port: &mut File, verdict: &mut Verdict) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut results = 0;
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("read the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        if let Some(result) = Tally::of_line(&line) {
            tally += result;
            results += 1;
        } else if let Some(json) = line.strip_prefix(vm::PROGRAM) {
            let program: Program = serde_json::from_str(json).context("read what the verifier said")?;
            verdict.programs.push(program);
        } else if let Some(words) = line.strip_prefix(vm::MEASURE) {
            verdict.measures.push(words.to_owned());
        }
        writeln!(port, "{line}").context("speak to the host")?;
    }
    ensure!(results <= 1, "a test program printed {results} results");
    Ok(tally)
}
