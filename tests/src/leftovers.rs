//! Names of everything a playground makes, and removal of what a killed run left behind.
//!
//! A run is named `PREFIX-tagN-pid` (N counts the runs of a process); its namespaces `run-role`; its files stand in [`run_dir`]. A run whose process is
//! gone has no owner: [`sweep`] removes it. A run that is to be kept (`demo --keep`) has a file `kept` in its
//! directory and goes only by [`remove`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::{Netns, run};
use crate::{server, wait};

/// First part of every name.
pub const PREFIX: &str = "snowplay";

/// Where runs keep their files.
const RUNS: &str = "/run/snowplay";
/// Where the kernel's BPF file system is mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// A new name for a run of this process.
#[must_use]
pub fn run_name(tag: &str) -> String {
    static RUNS_BEFORE: AtomicUsize = AtomicUsize::new(0);
    format!("{PREFIX}-{tag}{}-{}", RUNS_BEFORE.fetch_add(1, Ordering::Relaxed), std::process::id())
}

/// Directory of a run's logs, configuration and ledger.
#[must_use]
pub fn run_dir(name: &str) -> PathBuf {
    Path::new(RUNS).join(name)
}

/// Directory of a run's pinned maps, programs and links.
#[must_use]
pub fn pin_dir(name: &str) -> PathBuf {
    Path::new(BPFFS).join(name)
}

/// Mounts the BPF file system where it is missing (a bare container).
///
/// # Errors
/// When it cannot be mounted.
pub fn mount_bpffs() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    if !mounts.lines().any(|line| line.split(' ').nth(1) == Some(BPFFS)) {
        run("mount", &["-t", "bpf", "bpf", BPFFS])?;
    }
    Ok(())
}

/// Removes the runs whose process is gone, unless they are to be kept.
///
/// # Errors
/// When something is in the way, naming it.
pub fn sweep() -> Result<()> {
    for name in runs()? {
        let owner_lives = name.rsplit('-').next().is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !owner_lives && !run_dir(&name).join("kept").exists() {
            remove(&name)?;
        }
    }
    Ok(())
}

/// Names of the runs that are to be kept.
///
/// # Errors
/// When the runs cannot be listed.
pub fn kept(tag: &str) -> Result<Vec<String>> {
    let of_tag = format!("{PREFIX}-{tag}");
    Ok(runs()?.into_iter().filter(|name| name.starts_with(&of_tag) && run_dir(name).join("kept").exists()).collect())
}

/// Removes a run: the processes in its namespaces, the namespaces, its pins and its files.
///
/// # Errors
/// When something is in the way, naming it.
pub fn remove(name: &str) -> Result<()> {
    let role = format!("{name}-");
    for netns in namespaces()?.into_iter().filter(|netns| netns.starts_with(&role)) {
        stop_processes(&netns)?;
        // A binary that is gone, or pins that are, must not keep the rest from being removed.
        let server = netns.strip_prefix(&role).unwrap_or_default();
        let _detached = server::detach_decapsulator(&Netns::existing(&netns), &run_dir(name), server);
        run("ip", &["netns", "del", &netns])?;
    }
    for directory in [pin_dir(name), run_dir(name)] {
        if directory.exists() {
            std::fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))?;
        }
    }
    Ok(())
}

fn runs() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for directory in [Path::new(RUNS), Path::new(BPFFS)] {
        if !directory.exists() {
            continue;
        }
        for entry in directory.read_dir().with_context(|| format!("list {}", directory.display()))? {
            names.extend(entry?.file_name().into_string().ok().filter(|name| name.starts_with(PREFIX)));
        }
    }
    names.extend(namespaces()?.into_iter().filter_map(|netns| netns.rsplit_once('-').map(|(run, _)| run.to_owned())));
    names.sort();
    names.dedup();
    Ok(names)
}

fn namespaces() -> Result<Vec<String>> {
    let listed = run("ip", &["netns", "list"])?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| name.starts_with(PREFIX)).map(str::to_owned).collect())
}

fn stop_processes(netns: &str) -> Result<()> {
    let pids = || -> Result<Vec<i32>> {
        Ok(run("ip", &["netns", "pids", netns])?.lines().filter_map(|line| line.trim().parse().ok()).collect())
    };
    for pid in pids()?.into_iter().filter(|pid| u32::try_from(*pid).ok() != Some(std::process::id())) {
        // It may end by itself between the listing and here.
        let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    wait::until_some(&format!("the processes of {netns} to end"), Duration::from_secs(5), || {
        Ok(pids()?.is_empty().then_some(()))
    })
}
