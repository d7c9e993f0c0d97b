//! What a hold remembers across restarts, in a file beside the ledger: what it holds, and what has left within its window.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is remembered. Services are `address port/protocol`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) held: BTreeSet<String>,
    pub(super) left: BTreeSet<(Timestamp, String)>,
}

/// The file, and what stands in it. Without one nothing is remembered: a test's edge.
#[derive(Debug, Default)]
pub(super) struct Memory {
    path: Option<PathBuf>,
    written: Kept,
}

impl Memory {
    pub(super) const fn at(path: PathBuf) -> Self {
        Self { path: Some(path), written: Kept { held: BTreeSet::new(), left: BTreeSet::new() } }
    }

    /// What the agent before wrote down; nothing when it never held anything.
    pub(super) fn recall(&mut self) -> Result<Kept, String> {
        let Some(path) = &self.path else { return Ok(Kept::default()) };
        let wrong = |what: String| {
            format!(
                "what this edge held cannot be read from {}: {what}. Look at `snowshed hold list` against `snowshed ops \
                 list`; the file is written anew with the next change",
                path.display()
            )
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Kept::default()),
            Err(error) => return Err(wrong(error.to_string())),
        };
        self.written = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        Ok(self.written.clone())
    }

    /// Writes it down, whole and on the disk or not at all. What stands there already costs nothing.
    pub(super) fn remember(&mut self, kept: Kept) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        if kept == self.written {
            return Ok(());
        }
        write(path, &kept).map_err(|error| {
            format!("what this edge holds cannot be written to {}: {error}; nothing more leaves", path.display())
        })?;
        self.written = kept;
        Ok(())
    }
}

fn write(path: &Path, kept: &Kept) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
