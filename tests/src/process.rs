//! A supervised process: its own process group, a log file, killed on drop.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::netns::Netns;
use crate::wait;

/// A process and the file its output goes to.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    kept: bool,
}

impl Process {
    /// Starts a program in a namespace. Its output is appended to `log`. It leads a process group of its own, so a
    /// Ctrl-C at the terminal does not reach it and a signal reaches its children.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not be started.
    pub fn start(netns: &Netns, name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let out = file.with_context(|| format!("open {}", log.display()))?;
        let err = out.try_clone().context("share the log file")?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let spawned = netns.run(|| command.spawn())?;
        let child = spawned.with_context(|| format!("start {name} ({:?})", command.get_program()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), kept: false })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Leaves the process running when this value is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the process cannot be asked after.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().with_context(|| format!("look after {}", self.name))?.is_none())
    }

    /// Sends a signal to the process and its children.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        killpg(self.group()?, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Kills the process and its children at once (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended within the limit.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until_some(&what, limit, || Ok(self.child.try_wait()?))
    }

    /// Fails with the end of its log when it no longer runs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn expect_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended ({status}); its last words:\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The last lines of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn group(&self) -> Result<Pid> {
        let pid = i32::try_from(self.child.id()).context("a process id beyond i32")?;
        Ok(Pid::from_raw(pid))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Ok(group) = self.group() {
            // It may have ended already; both calls then have nothing to do.
            let _gone = killpg(group, Signal::SIGKILL);
        }
        let _ended = self.child.wait();
    }
}
