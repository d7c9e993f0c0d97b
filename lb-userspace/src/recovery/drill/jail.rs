//! A place where production does not exist: network and mount namespaces of this process alone.

use std::fs::{DirBuilder, remove_dir_all};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::{Doing as _, DrillError};

/// Where production keeps its state; an empty file system hides each.
const HIDDEN: [&str; 3] = ["/run", "/var/lib/snowshed", "/etc/snowshed"];
/// Begins the names of drills' directories.
const PREFIX: &str = "snowshed-drill-";
/// Where BPF objects are pinned; a new file system hides the old one.
const BPFFS: &str = "/sys/fs/bpf";

/// Proof that this process is in one. It ends with the process, with everything in it.
#[derive(Debug)]
pub struct Jail {
    directory: PathBuf,
}

impl Jail {
    /// Moves this process into a jail. It must have one thread: others would stay outside.
    ///
    /// # Errors
    /// When the process is not root's, has more threads, or the kernel refuses.
    pub fn enter() -> Result<Self, DrillError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(DrillError::new("entering the jail", "this needs root: namespaces, and maps in the kernel"));
        }
        let threads = std::fs::read_dir("/proc/self/task").doing("counting the threads")?.count();
        if threads != 1 {
            return Err(DrillError::new("entering the jail", format!("the process has {threads} threads, not one")));
        }
        let temporary = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        sweep(&temporary)?;
        let directory = temporary.join(format!("{PREFIX}{}", std::process::id()));
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).doing("leaving the host's namespaces")?;
        const NONE: Option<&str> = None;
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).doing("cutting off the host's mounts")?;
        for path in HIDDEN.iter().filter(|path| Path::new(path).is_dir()) {
            mount(Some("drill"), *path, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).doing("hiding state")?;
        }
        mount(Some("drill"), BPFFS, Some("bpf"), MsFlags::empty(), NONE).doing("making a BPF file system")?;
        // Not `create_all`: a directory that stands already is somebody else's.
        DirBuilder::new().mode(0o700).create(&directory).doing("making the drill's directory")?;
        Ok(Self { directory })
    }

    /// A directory of the drill's own, on a disk.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Removes what killed drills left behind.
fn sweep(temporary: &Path) -> Result<(), DrillError> {
    for entry in std::fs::read_dir(temporary).doing("looking for the remains of older drills")? {
        let entry = entry.doing("looking for the remains of older drills")?;
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove_dir_all(entry.path()).doing("removing the remains of an older drill")?;
        }
    }
    Ok(())
}

impl Drop for Jail {
    fn drop(&mut self) {
        if let Err(error) = remove_dir_all(&self.directory) {
            log::warn!("{} stays behind: {error}", self.directory.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_more_threads_does_not_enter() {
        let namespace = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let before = namespace();
        // The harness has a thread of its own beside this one.
        let error = Jail::enter().unwrap_err().to_string();
        assert!(error.contains("threads, not one") || error.contains("this needs root"), "{error}");
        assert_eq!(namespace(), before);
    }
}
