//! Whether the ledger's disk takes what is written to it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

/// With less than this left, somebody has to make room: the write-ahead log alone may grow by half of it.
const ROOM: u64 = 8 << 20;
/// What is written to find out whether a disk that failed takes something again: more than a small operation.
const TRIAL: usize = 64 << 10;

/// What there is to say when little is left on the disk of a ledger.
pub(super) fn shortage(ledger: &Path) -> Option<String> {
    let left = match statvfs(directory(ledger)) {
        Ok(disk) => disk.blocks_available().saturating_mul(disk.fragment_size()),
        Err(error) => return Some(format!("the disk of the ledger {} cannot be asked: {error}", ledger.display())),
    };
    (left < ROOM).then(|| {
        let refused = if left == 0 { "changes are refused" } else { "changes are refused once nothing is" };
        format!(
            "the disk of the ledger {} is full: {} KiB are left, and {refused}. Make room there; packets keep flowing, and \
             nothing has to be started anew",
            ledger.display(),
            left >> 10
        )
    })
}

/// Writes something beside the ledger as durably as an operation is, and removes it.
pub(super) fn try_out(ledger: &Path) -> std::io::Result<()> {
    let mut path = ledger.as_os_str().to_owned();
    path.push(".trial");
    let path = PathBuf::from(path);
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).and_then(|mut file| {
            file.write_all(&[0; TRIAL])?;
            file.sync_all()
        });
    // Also what was written in part takes room.
    let removed = fs::remove_file(&path);
    written.and(removed)
}

fn directory(ledger: &Path) -> &Path {
    ledger.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
