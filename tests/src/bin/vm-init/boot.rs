//! What a distribution's init does before anything runs: file systems, modules, the loopback.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use tests::netns;

/// File systems in the order in which they are mounted: kind and place.
const MOUNTS: [(&str, &str); 8] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("bpf", "/sys/fs/bpf"),
    ("tracefs", "/sys/kernel/tracing"),
    ("devpts", "/dev/pts"),
];

/// Mounts what the tests expect of a running system.
///
/// # Errors
/// When the kernel lacks one of the file systems.
pub fn mount_all() -> Result<()> {
    for (kind, place) in MOUNTS {
        std::fs::create_dir_all(place).with_context(|| format!("make {place}"))?;
        match mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>) {
            // Debian's kernels mount /dev themselves.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("mount {kind} on {place}")),
        }
    }
    Ok(())
}

/// Loads modules in this order.
///
/// # Errors
/// Naming the module that the kernel refuses.
pub fn load_modules(paths: &[String]) -> Result<()> {
    for path in paths {
        let file = File::open(Path::new(path)).with_context(|| format!("open {path}"))?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("load {path}")),
        }
    }
    Ok(())
}

/// Brings the loopback up, where `BPF_PROG_TEST_RUN` and the agent's API live.
///
/// # Errors
/// When `ip` fails.
pub fn bring_up_loopback() -> Result<()> {
    netns::run("ip", &["link", "set", "lo", "up"]).map(drop)
}
