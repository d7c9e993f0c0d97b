//! Runs the test programs one after the other and counts.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tests::tally::Tally;
use tests::vm::{self, Job, Program, Target, Verdict};

/// Runs every target of a job. A target that fails does not keep the next from running; what the job's seconds do not
/// suffice for is noted in the verdict.
///
/// # Errors
/// When a program cannot be started or its output not be passed on.
pub fn run(job: &Job, port: &mut File, verdict: &mut Verdict) -> Result<()> {
    let until = job.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    for target in &job.targets {
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let tests = number_of_tests(job, target)?;
        writeln!(port, "\n-- {} ({tests} tests)", target.name)?;
        let tally = if left.is_zero() { Tally::default() } else { run_target(job, target, left, port, verdict)? };
        let unrun = tests.saturating_sub(tally.passed + tally.failed);
        if unrun > 0 {
            verdict.unrun.insert(target.name.clone(), unrun);
        }
        verdict.targets.push((target.name.clone(), tally));
    }
    Ok(())
}

/// Tests that a target has for this job.
fn number_of_tests(job: &Job, target: &Target) -> Result<u64> {
    let mut command = Command::new(&target.program);
    command.args(&job.filter).args(["--list", "--format", "terse"]).envs(&job.environment);
    let output = command.output().with_context(|| format!("start {}", target.program))?;
    ensure!(output.status.success(), "{} cannot list its tests: {}", target.program, output.status);
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(listed.lines().filter(|line| line.ends_with(": test")).count() as u64)
}

fn run_target(job: &Job, target: &Target, left: Duration, port: &mut File, verdict: &mut Verdict) -> Result<Tally> {
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
        let (ended, watched) = channel::<()>();
        let watch = scope.spawn(move || {
            let is_late = watched.recv_timeout(left) == Err(RecvTimeoutError::Timeout);
            is_late && kill(pid, Signal::SIGKILL).is_ok()
        });
        let status = wait_for(pid)?;
        drop(ended);
        let was_cut = watch.join().unwrap_or(false) && matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _));
        // Daemons that a test left behind hold the pipe, ports and interfaces.
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("end what the tests left behind"),
        }
        let mut tally = match reading.join() {
            Ok(tally) => tally?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let counted = was_cut || matches!(status, WaitStatus::Exited(_, 0)) || tally.failed > 0;
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
    let (mut tally, mut so_far) = (Tally::default(), Tally::default());
    let mut results = 0;
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("read the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        if let Some(result) = Tally::of_line(&line) {
            tally += result;
            results += 1;
        } else if let Some(result) = Tally::of_test(&line) {
            so_far += result;
        } else if let Some(json) = line.strip_prefix(vm::PROGRAM) {
            let program: Program = serde_json::from_str(json).context("read what the verifier said")?;
            verdict.programs.push(program);
        } else if let Some(words) = line.strip_prefix(vm::MEASURE) {
            verdict.measures.push(words.to_owned());
        }
        writeln!(port, "{line}").context("speak to the host")?;
    }
    ensure!(results <= 1, "a test program printed {results} results");
    Ok(if results == 0 { so_far } else { tally })
}
