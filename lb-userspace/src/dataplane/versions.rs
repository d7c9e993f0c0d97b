//! Data planes of other versions of the ABI, pinned beside this one's: what an upgrade finds, and takes over.
//!
//! Maps of another ABI cannot be read. So the new version's are made beside the old ones and filled, while the old
//! program goes on forwarding from its own; then each link is given the new program in one step, and the old directory
//! is removed. The same way leads back to an older version. Flows that were tracked by entries (on slots that moved,
//! and translated ones) are known to the old maps only: they are steered like new ones from then on.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::attach::Link;
use super::pins::{self, Lock, PinDir};
use super::{Attachment, DataplaneError};

/// What another version left or holds. Its lock is held: no agent of that version runs, nor can one be started.
#[derive(Debug)]
pub(super) struct Predecessor {
    directory: PinDir,
    _lock: Lock,
    /// By interface, those that are attached.
    links: BTreeMap<String, Link>,
}

/// The data planes beside a directory `v7`: in `v6`, `v8` and so on.
///
/// # Errors
/// [`DataplaneError::Setup`] when an agent of another version runs, or its pins cannot be read.
pub(super) fn beside(own: &Path) -> Result<Vec<Predecessor>, DataplaneError> {
    let mut found = Vec::new();
    for path in directories_beside(own)? {
        let Some(directory) = PinDir::existing(&path)? else { continue };
        let lock = directory.lock()?;
        let mut links = BTreeMap::new();
        for interface in directory.links()? {
            if let Some(link) = Link::adopt(&interface, &directory.link(&interface))? {
                links.insert(interface, link);
            }
        }
        log::info!("{} holds another version's data plane: it forwards until this one's is filled", path.display());
        found.push(Predecessor { directory, _lock: lock, links });
    }
    Ok(found)
}

/// Directories of other versions beside a version's own, oldest first.
fn directories_beside(own: &Path) -> Result<Vec<PathBuf>, DataplaneError> {
    let (Some(_), Some(root)) = (version(own), own.parent()) else { return Ok(Vec::new()) };
    let names = pins::names_in(root)?;
    let mut others: Vec<_> = names.iter().map(|name| root.join(name)).filter(|path| path != own).collect();
    others.retain(|path| version(path).is_some());
    others.sort_by_key(|path| version(path));
    Ok(others)
}

/// All directories of versions below `dataplane.pin_dir`, oldest first.
///
/// # Errors
/// [`DataplaneError::Setup`] when it cannot be read.
pub fn directories(pin_dir: &Path) -> Result<Vec<PathBuf>, DataplaneError> {
    directories_beside(&pin_dir.join("v0"))
}

/// The number in `v7`.
fn version(directory: &Path) -> Option<u32> {
    let digits = directory.file_name()?.to_str()?.strip_prefix('v')?;
    if digits.starts_with('+') { None } else { digits.parse().ok() }
}

impl Predecessor {
    /// Whether its program runs on an interface.
    pub(super) fn holds(&self, interface: &str) -> bool {
        self.links.contains_key(interface)
    }

    /// How it is attached.
    pub(super) fn attachments(&self) -> impl Iterator<Item = Attachment> {
        self.links.values().filter_map(Link::attachment)
    }

    /// Gives its links another program and another directory; they stand in `taken` then. What fails stays here.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] when the kernel refuses.
    pub(super) fn hand_over(
        &mut self,
        program: BorrowedFd<'_>,
        heir: &PinDir,
        taken: &mut BTreeMap<String, Link>,
    ) -> Result<(), DataplaneError> {
        while let Some(mut entry) = self.links.first_entry() {
            // Killed between the two: the next agent finds the link here, with its program already swapped.
            entry.get().swap(program)?;
            let pin = heir.link(entry.key());
            entry.get_mut().move_to(&pin)?;
            let (interface, link) = entry.remove_entry();
            taken.insert(interface, link);
        }
        Ok(())
    }

    /// Removes its pins; its maps live on only as long as a packet is under way in its program. One sentence.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] when they cannot be removed.
    pub(super) fn remove(self) -> Result<String, DataplaneError> {
        let pins = self.directory.remove()?.len();
        Ok(format!("took over from another version: its {pins} pins are removed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_beside_each_other_in_order_and_nothing_else_is() {
        let root = tempfile::tempdir().unwrap();
        for name in ["v10", "v9", "v2", "links", "v", "vx", "v+3"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let names = |paths: Vec<PathBuf>| -> Vec<String> {
            paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(directories_beside(&root.path().join("v9")).unwrap()), ["v2", "v10"]);
        assert_eq!(names(directories(root.path()).unwrap()), ["v2", "v9", "v10"]);
        assert!(directories_beside(&root.path().join("mine")).unwrap().is_empty());
    }
}
