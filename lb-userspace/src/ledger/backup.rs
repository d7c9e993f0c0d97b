//! Backups of a ledger: a consistent copy with a manifest of checksums, verified by opening it, restored by moving it
//! into place. Nothing is ever overwritten: what stood there is moved aside.
//!
//! A backup is a directory `TIME-gGENERATION` with `ledger.db`, the keys that stood beside the ledger, and
//! `manifest.json`. It appears under its name only when it is whole.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::{Witness, Witnessed};
use super::{ChainHash, LedgerError, SqliteLedger};
use crate::model::Generation;

const MANIFEST: &str = "manifest.json";
const LEDGER: &str = "ledger.db";
/// Keys that stand beside a ledger: without them flows would be steered anew, and every token be unknown.
const KEYS: [&str; 2] = ["hash_key", "token_key"];
const VERIFIED: &str = "verified.json";
/// Nobody is told of the progress of a copy.
pub(super) const UNWATCHED: Option<fn(rusqlite::backup::Progress)> = None;
/// Begins the name of a backup that is being made.
const PARTIAL: &str = ".partial-";

/// Where backups are kept.
#[derive(Clone, Debug)]
pub struct Backups {
    directory: PathBuf,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// When it was made.
    pub created_at: Timestamp,
    /// Last operation in it.
    pub generation: Generation,
    /// Its hash.
    pub head: String,
    /// Every file with its length and SHA-256.
    pub files: Vec<Checksum>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Its name.
    pub name: String,
    /// Length, bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// A backup in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last operation in it.
    pub generation: Generation,
    /// Length of all files, bytes.
    pub bytes: u64,
    /// When it was last opened and its whole chain verified; a backup that never was is no backup yet.
    pub verified_at: Option<Timestamp>,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The backup.
    pub name: String,
    /// The ledger it was put to.
    pub ledger: PathBuf,
    /// Last operation in it.
    pub generation: Generation,
    /// What stood there, and where it is now.
    pub moved_aside: Vec<PathBuf>,
}

/// Why a backup could not be made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file system refused.
    #[error("{doing} {path} failed")]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("{doing} {path} failed")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        #[source]
        source: rusqlite::Error,
    },
    /// There is no backup of that name.
    #[error("there is no backup `{name}` in {directory}: `snowshed backup list` shows what there is")]
    NoSuch {
        /// The name.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The backup is not what its manifest says.
    #[error("the backup {name} is damaged: {what}. Use another one")]
    Damaged {
        /// The backup.
        name: String,
        /// What does not fit.
        what: String,
    },
    /// A ledger stands where the backup would go.
    #[error(
        "{path} holds a ledger at generation {generation}: restoring generation {backup} would put it aside. If that \
         is what you want, say --replace; it is kept beside the new one"
    )]
    Living {
        /// The ledger.
        path: PathBuf,
        /// Its last operation.
        generation: Generation,
        /// The backup's.
        backup: Generation,
    },
    /// The ledger is open, or cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Backups {
    /// Backups in a directory, which is made with the first one.
    #[must_use]
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Makes a backup of a ledger that another process may be writing.
    ///
    /// # Errors
    /// When the ledger cannot be read, or the backup not be written; nothing half done is left under its name.
    pub fn create(&self, ledger: &Path, now: Timestamp) -> Result<Listed, BackupError> {
        let failed = |source| BackupError::Sqlite { doing: "opening", path: ledger.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(ledger, flags).map_err(failed)?;
        self.write(ledger, now, |to| {
            connection.backup("main", to, UNWATCHED).map_err(|source| BackupError::Sqlite {
                doing: "copying",
                path: ledger.to_owned(),
                source,
            })
        })
    }

    /// Makes a backup through the connection of an open ledger: also when its file was unlinked meanwhile.
    ///
    /// # Errors
    /// As [`Backups::create`].
    pub fn create_from(&self, ledger: &SqliteLedger, now: Timestamp) -> Result<Listed, BackupError> {
        let path = ledger.path();
        self.write(&path, now, |to| {
            ledger.copy_to(to).map_err(|source| BackupError::Sqlite { doing: "copying", path: path.clone(), source })
        })
    }

    fn write(
        &self,
        ledger: &Path,
        now: Timestamp,
        copy: impl FnOnce(&Path) -> Result<(), BackupError>,
    ) -> Result<Listed, BackupError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let partial = self.directory.join(format!("{PARTIAL}{}", std::process::id()));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|source| file("removing", &partial, source))?;
        }
        builder.create(&partial).map_err(|source| file("making", &partial, source))?;
        let database = partial.join(LEDGER);
        private(&database).map_err(|source| file("making", &database, source))?;
        copy(&database)?;
        for name in KEYS {
            // When the whole directory was destroyed the older backups still have them: keys never change.
            let older = self.list()?.into_iter().map(|backup| self.directory.join(backup.name).join(name));
            let mut places = std::iter::once(ledger.with_file_name(name)).chain(older);
            if let Some(from) = places.find(|place| place.exists()) {
                copy_private(&from, &partial.join(name)).map_err(|source| file("copying", &from, source))?;
            }
        }
        let head = open_copy(&database)?;
        let mut files = Vec::new();
        for name in [LEDGER].iter().chain(&KEYS).filter(|name| partial.join(name).exists()) {
            files.push(checksum(&partial, name)?);
        }
        let manifest = Manifest { created_at: now, generation: head.generation, head: head.hash.to_string(), files };
        write_json(&partial.join(MANIFEST), &manifest)?;
        let name = format!("{}-g{}", now.strftime("%Y%m%dT%H%M%S%.3fZ"), head.generation);
        let whole = self.directory.join(&name);
        fs::rename(&partial, &whole).map_err(|source| file("naming", &whole, source))?;
        sync_directory(&self.directory)?;
        Ok(listed(&name, &manifest, None))
    }

    /// Every backup, newest first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(file("listing", &self.directory, source)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| file("listing", &self.directory, source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !entry.path().join(MANIFEST).exists() {
                continue;
            }
            let manifest = self.manifest(&name)?;
            all.push(listed(&name, &manifest, self.verified_at(&name)));
        }
        all.sort_by(|a, b| (b.created_at, &b.name).cmp(&(a.created_at, &a.name)));
        Ok(all)
    }

    /// Restores a backup to a place of its own, opens it there and verifies the whole chain; notes that it did.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] when a checksum, the chain or its end is not what the manifest says.
    pub fn verify(&self, name: &str, now: Timestamp) -> Result<Listed, BackupError> {
        let manifest = self.manifest(name)?;
        self.check(name, &manifest)?;
        write_json(&self.directory.join(name).join(VERIFIED), &now)?;
        Ok(listed(name, &manifest, Some(now)))
    }

    /// Checksums, and the chain in a copy: opening a ledger writes beside it, and a backup stays as it was made.
    fn check(&self, name: &str, manifest: &Manifest) -> Result<(), BackupError> {
        let damaged = |what: String| BackupError::Damaged { name: name.to_owned(), what };
        let directory = self.directory.join(name);
        for expected in &manifest.files {
            let found = checksum(&directory, &expected.name)?;
            if found != *expected {
                return Err(damaged(format!("{} is not the file that was written", expected.name)));
            }
        }
        if !manifest.files.iter().any(|file| file.name == LEDGER) {
            return Err(damaged("it has no ledger".to_owned()));
        }
        let trial = self.directory.join(format!("{PARTIAL}verify-{}", std::process::id()));
        let result = (|| {
            fs::create_dir_all(&trial).map_err(|source| file("making", &trial, source))?;
            let copy = trial.join(LEDGER);
            copy_private(&directory.join(LEDGER), &copy).map_err(|source| file("copying", &copy, source))?;
            open_copy(&copy)
        })();
        fs::remove_dir_all(&trial).map_err(|source| file("removing", &trial, source))?;
        let head = match result {
            Ok(head) => head,
            Err(BackupError::Ledger(error)) => return Err(damaged(error.to_string())),
            Err(error) => return Err(error),
        };
        if head.generation != manifest.generation || head.hash.to_string() != manifest.head {
            return Err(damaged(format!(
                "its log ends at generation {}, not {}",
                head.generation, manifest.generation
            )));
        }
        Ok(())
    }

    /// Puts a backup to a ledger's place, after verifying it. No agent may run on that ledger.
    ///
    /// Killed at any point, either what stood there still stands, or the ledger is refused as incomplete until the
    /// restore is run again; an agent never starts on half of one.
    ///
    /// # Errors
    /// [`BackupError::Living`] when a ledger stands there and `replace` is not said; [`LedgerError::InUse`] when an
    /// agent runs on it; otherwise as [`Backups::verify`].
    pub fn restore(&self, name: &str, ledger: &Path, replace: bool, now: Timestamp) -> Result<Restored, BackupError> {
        let manifest = self.manifest(name)?;
        self.check(name, &manifest)?;
        let witness = Witness::lock(ledger)?;
        let standing = fs::metadata(ledger).is_ok_and(|found| found.len() > 0);
        if standing && !replace {
            let generation = witness.read().ok().flatten().map_or(Generation(0), |witnessed| witnessed.generation);
            return Err(BackupError::Living { path: ledger.to_owned(), generation, backup: manifest.generation });
        }
        let source = self.directory.join(name);
        let incoming = suffixed(ledger, ".restoring");
        copy_private(&source.join(LEDGER), &incoming).map_err(|source| file("copying", &incoming, source))?;
        let stamp = now.strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
        let mut moved_aside = Vec::new();
        // The witness first: from here on a ledger without its end is refused, not taken for a new one.
        let hash = ChainHash::parse(&manifest.head)
            .ok_or_else(|| BackupError::Damaged { name: name.to_owned(), what: "its head is no hash".to_owned() })?;
        let head = Witnessed { generation: manifest.generation, hash };
        witness.write(head).and_then(|()| witness.sync()).map_err(|source| file("writing", witness.path(), source))?;
        for suffix in ["", "-wal", "-shm"] {
            let old = suffixed(ledger, suffix);
            if old.exists() {
                let aside = suffixed(ledger, &format!(".replaced-{stamp}{suffix}"));
                fs::rename(&old, &aside).map_err(|source| file("moving aside", &old, source))?;
                moved_aside.push(aside);
            }
        }
        for name in KEYS {
            let (saved, key) = (source.join(name), ledger.with_file_name(name));
            if saved.exists() && !key.exists() {
                copy_private(&saved, &key).map_err(|source| file("copying", &key, source))?;
            }
        }
        mark_restored(ledger)?;
        fs::rename(&incoming, ledger).map_err(|source| file("moving in", &incoming, source))?;
        sync_directory(ledger.parent().unwrap_or_else(|| Path::new(".")))?;
        write_json(&source.join(VERIFIED), &now)?;
        let (name, ledger) = (name.to_owned(), ledger.to_owned());
        Ok(Restored { name, ledger, generation: manifest.generation, moved_aside })
    }

    /// Removes what is beyond the `keep` newest. The newest verified one stays, however old it is.
    ///
    /// # Errors
    /// When a backup cannot be read or removed.
    pub fn prune(&self, keep: usize) -> Result<Vec<String>, BackupError> {
        let all = self.list()?;
        let newest_verified = all.iter().find(|backup| backup.verified_at.is_some()).map(|backup| backup.name.clone());
        let mut removed = Vec::new();
        for backup in all.into_iter().skip(keep.max(1)).filter(|backup| Some(&backup.name) != newest_verified.as_ref())
        {
            let path = self.directory.join(&backup.name);
            fs::remove_dir_all(&path).map_err(|source| file("removing", &path, source))?;
            removed.push(backup.name);
        }
        Ok(removed)
    }

    fn manifest(&self, name: &str) -> Result<Manifest, BackupError> {
        let is_name = !name.is_empty() && !name.contains(['/', '\0']) && !name.starts_with('.');
        let path = self.directory.join(name).join(MANIFEST);
        let text = match fs::read(&path) {
            Ok(text) if is_name => text,
            Err(error) if is_name && error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file("reading", &path, error));
            }
            _ => return Err(BackupError::NoSuch { name: name.to_owned(), directory: self.directory.clone() }),
        };
        serde_json::from_slice(&text)
            .map_err(|error| BackupError::Damaged { name: name.to_owned(), what: format!("its manifest: {error}") })
    }

    fn verified_at(&self, name: &str) -> Option<Timestamp> {
        let text = fs::read(self.directory.join(name).join(VERIFIED)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Whether the ledger was put in place by a restore that no agent has applied yet.
#[must_use]
pub fn was_restored(ledger: &Path) -> bool {
    suffixed(ledger, ".restored").exists()
}

/// Notes that an agent has applied a restored ledger.
///
/// # Errors
/// When the note cannot be removed.
pub fn forget_restored(ledger: &Path) -> std::io::Result<()> {
    match fs::remove_file(suffixed(ledger, ".restored")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn mark_restored(ledger: &Path) -> Result<(), BackupError> {
    let path = suffixed(ledger, ".restored");
    private(&path).map(drop).map_err(|source| file("writing", &path, source))
}

/// Opens a copy that nobody else has, which verifies its chain; gives its end.
fn open_copy(path: &Path) -> Result<Witnessed, BackupError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|source| BackupError::Sqlite { doing: "opening", path: path.to_owned(), source })?;
    let head = SqliteLedger::head_of(&connection, path)?;
    Ok(head)
}

fn listed(name: &str, manifest: &Manifest, verified_at: Option<Timestamp>) -> Listed {
    Listed {
        name: name.to_owned(),
        created_at: manifest.created_at,
        generation: manifest.generation,
        bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        verified_at,
    }
}

fn checksum(directory: &Path, name: &str) -> Result<Checksum, BackupError> {
    let path = directory.join(name);
    let failed = |source| file("reading", &path, source);
    let mut from = File::open(&path).map_err(failed)?;
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = from.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Checksum { name: name.to_owned(), bytes, sha256 })
}

fn private(path: &Path) -> std::io::Result<File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn copy_private(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut target = private(to)?;
    std::io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), BackupError> {
    let failed = |source| file("writing", path, source);
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    let mut to = private(path).map_err(failed)?;
    to.write_all(&text).and_then(|()| to.sync_all()).map_err(failed)
}

fn sync_directory(path: &Path) -> Result<(), BackupError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| file("syncing", path, source))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn file(doing: &'static str, path: &Path, source: std::io::Error) -> BackupError {
    BackupError::File { doing, path: path.to_owned(), source }
}
