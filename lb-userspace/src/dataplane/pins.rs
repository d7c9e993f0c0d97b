//! The pin directory: what outlives the agent, and the lock that keeps two agents from writing the same maps.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::DataplaneError;

/// Where bpffs is mounted by everybody.
const BPFFS: &str = "/sys/fs/bpf";

/// A directory on bpffs.
#[derive(Clone, Debug)]
pub(super) struct PinDir {
    path: PathBuf,
}

/// The lock of a pin directory; let go when dropped, or when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    directory: File,
}

impl Drop for Lock {
    /// Closing alone is not enough: a process that is being started just now may have a copy of the descriptor.
    fn drop(&mut self) {
        if let Err(error) = self.directory.unlock() {
            log::warn!("unlocking the pin directory: {error}");
        }
    }
}

impl PinDir {
    /// Makes the directory, and mounts bpffs where it always is when nobody has.
    pub(super) fn create(path: &Path) -> Result<Self, DataplaneError> {
        let doing = || format!("making the pin directory {}", path.display());
        refuse_dots(path)?;
        if path.starts_with(BPFFS) && !on_bpffs(Path::new(BPFFS)) {
            mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
                .map_err(|error| setup(format!("mounting bpffs on {BPFFS}"), mount_remedy(), error.into()))?;
        }
        let standing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path);
        if !on_bpffs(standing) {
            return Err(DataplaneError::Setup {
                doing: format!("{} is not on a bpf file system", path.display()),
                remedy: mount_remedy(),
                source: None,
            });
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path.join("links")).map_err(|error| {
            setup(doing(), "run as root, or choose a directory that this user may write".to_owned(), error)
        })?;
        Ok(Self { path: path.to_owned() })
    }

    /// The directory as it stands; `None` when there is none.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, DataplaneError> {
        match path.try_exists() {
            Ok(true) => Ok(Some(Self { path: path.to_owned() })),
            Ok(false) => Ok(None),
            Err(error) => Err(setup(format!("reading {}", path.display()), "run as root".to_owned(), error)),
        }
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] when another process has it.
    pub(super) fn lock(&self) -> Result<Lock, DataplaneError> {
        let path = self.path.display();
        let directory = File::open(&self.path)
            .map_err(|error| setup(format!("opening {path}"), "run as root".to_owned(), error))?;
        match directory.try_lock() {
            Ok(()) => Ok(Lock { directory }),
            Err(TryLockError::WouldBlock) => Err(DataplaneError::Setup {
                doing: format!("another agent holds {path}"),
                remedy: "stop it first, or give this one another `dataplane.pin_dir`".to_owned(),
                source: None,
            }),
            Err(TryLockError::Error(error)) => {
                Err(setup(format!("locking {path}"), "is it on a bpf file system?".to_owned(), error))
            }
        }
    }

    /// The pin of a map or program.
    pub(super) fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The pin of an interface's link.
    pub(super) fn link(&self, interface: &str) -> PathBuf {
        self.path.join("links").join(escape(interface))
    }

    /// Interfaces with a pinned link, in order.
    pub(super) fn links(&self) -> Result<Vec<String>, DataplaneError> {
        let mut interfaces = Vec::new();
        for name in names_in(&self.path.join("links"))? {
            interfaces.push(unescape(&name));
        }
        Ok(interfaces)
    }

    /// A note; `None` when there is none.
    ///
    /// bpffs holds no files, but symbolic links: a note is where one points to.
    pub(super) fn noted(&self, name: &str) -> Option<String> {
        Some(std::fs::read_link(self.pin(name)).ok()?.to_string_lossy().into_owned())
    }

    /// Notes something, in one step.
    pub(super) fn note(&self, name: &str, text: &str) -> Result<(), DataplaneError> {
        let fresh = self.pin(&format!("{name}-new"));
        let note = || -> io::Result<()> {
            remove_if_there(&fresh)?;
            std::os::unix::fs::symlink(text, &fresh)?;
            std::fs::rename(&fresh, self.pin(name))
        };
        note().map_err(|error| setup(format!("noting the {name} in {}", self.path.display()), String::new(), error))
    }

    /// Everything that is pinned or noted.
    pub(super) fn pins(&self) -> Result<BTreeSet<PathBuf>, DataplaneError> {
        let mut pins = BTreeSet::new();
        for folder in [self.path.join("links"), self.path.clone()] {
            pins.extend(names_in(&folder)?.iter().map(|name| folder.join(name)).filter(|path| !path.is_dir()));
        }
        Ok(pins)
    }

    /// Removes what was pinned since; the directory too, when nothing was before.
    pub(super) fn back_to(self, before: &BTreeSet<PathBuf>) -> Result<(), DataplaneError> {
        if before.is_empty() {
            return self.remove().map(drop);
        }
        for path in self.pins()?.difference(before) {
            remove_if_there(path)
                .map_err(|error| setup(format!("removing {}", path.display()), "run as root".to_owned(), error))?;
        }
        Ok(())
    }

    /// Removes every pin and the directory; what was removed, in order.
    pub(super) fn remove(self) -> Result<Vec<String>, DataplaneError> {
        let mut removed = Vec::new();
        for folder in [self.path.join("links"), self.path.clone()] {
            for name in names_in(&folder)? {
                let path = folder.join(&name);
                let gone = if path.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) };
                gone.map_err(|error| setup(format!("removing {}", path.display()), "run as root".to_owned(), error))?;
                removed.push(path.display().to_string());
            }
        }
        std::fs::remove_dir(&self.path)
            .map_err(|error| setup(format!("removing {}", self.path.display()), "is it in use?".to_owned(), error))?;
        removed.push(self.path.display().to_string());
        Ok(removed)
    }
}

/// Removes a file; no error when there is none.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A failure of setting up, with its cause.
pub(super) fn setup(doing: String, remedy: String, error: io::Error) -> DataplaneError {
    DataplaneError::Setup { doing, remedy, source: Some(Box::new(error)) }
}

fn mount_remedy() -> String {
    format!("run `mount -t bpf bpf {BPFFS}` as root, and keep the pin directory below it")
}

fn on_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

fn refuse_dots(path: &Path) -> Result<(), DataplaneError> {
    let below = path.strip_prefix(BPFFS).unwrap_or(Path::new(""));
    if below.to_string_lossy().contains('.') {
        return Err(DataplaneError::Setup {
            doing: format!("the pin directory {} has a dot in it, which bpffs does not allow", path.display()),
            remedy: "choose a name without one".to_owned(),
            source: None,
        });
    }
    Ok(())
}

/// Names in a directory, in order; none when it is not there.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, DataplaneError> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => {
            outcome.map_err(|error| setup(format!("listing {}", folder.display()), "run as root".to_owned(), error))
        }
    }
}

/// An interface as the name of a pin: bpffs allows no dots, and VLAN interfaces have them.
pub(super) fn escape(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2e")
}

/// The interface of a pin's name.
pub(super) fn unescape(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_survive_as_pin_names() {
        for name in ["eth0", "eth0.100", "a%2eb", "a.b%25.c", "%"] {
            assert!(!escape(name).contains('.'));
            assert_eq!(unescape(&escape(name)), name);
        }
    }
}
