//! The files of a ledger: the database, and beside it the witness, which is also the lock.
//!
//! The witness holds generation and hash of the newest operation that was acknowledged. SQLite drops the part of its
//! write-ahead log that does not check out, and takes an empty file for a new database; without the witness both
//! would lose operations silently.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::{ChainHash, LedgerError};
use crate::model::Generation;

/// Fixed length, so that writing it is one write within one sector.
const WITNESS_LEN: usize = 128;
const WITNESS_MAGIC: &str = "snowshed-ledger-head-1";

/// The locked witness of a ledger.
#[derive(Debug)]
pub(super) struct Witness {
    file: Flock<File>,
    path: PathBuf,
}

/// What a witness says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Witnessed {
    pub(super) generation: Generation,
    pub(super) hash: ChainHash,
}

/// How long a lock is waited for: an agent that was killed holds it until the kernel has taken all of it down.
const DYING: Duration = Duration::from_secs(3);

impl Witnessed {
    /// As it stands in the witness.
    pub(super) fn text(&self) -> String {
        format!("{WITNESS_MAGIC} {} {}", self.generation, self.hash)
    }
}

impl Witness {
    /// Makes the ledger's directory (mode 0700) if there is none, and takes the lock.
    pub(super) fn lock(ledger: &Path) -> Result<Self, LedgerError> {
        if let Some(directory) = ledger.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(engine)?;
        }
        let mut path = ledger.as_os_str().to_owned();
        path.push(".head");
        let path = PathBuf::from(path);
        let file = private().truncate(false).open(&path).map_err(engine)?;
        let (mut file, deadline) = (file, Instant::now() + DYING);
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => return Ok(Self { file, path }),
                Err((file, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < deadline => file,
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                    return Err(LedgerError::InUse { path: ledger.display().to_string() });
                }
                Err((_, errno)) => return Err(engine(std::io::Error::from(errno))),
            };
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What was last written; `None` when nothing ever was. An error text when it is not readable as a witness.
    pub(super) fn read(&self) -> Result<Option<Witnessed>, String> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &*self.file, &mut bytes).map_err(|error| error.to_string())?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let unreadable = || format!("its witness {} is unreadable", self.path.display());
        let text = std::str::from_utf8(&bytes).map_err(|_| unreadable())?;
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [WITNESS_MAGIC, generation, hash] = fields[..] else { return Err(unreadable()) };
        let generation = Generation(generation.parse().map_err(|_| unreadable())?);
        let hash = parse_hash(hash).ok_or_else(unreadable)?;
        Ok(Some(Witnessed { generation, hash }))
    }

    /// Records an operation that is durable. Not synced: a witness that lags after a power cut proves less, never
    /// anything wrong.
    pub(super) fn write(&self, witnessed: Witnessed) -> std::io::Result<()> {
        self.file.write_all_at(format!("{:<width$}\n", witnessed.text(), width = WITNESS_LEN - 1).as_bytes(), 0)
    }

    /// Makes the witness and its name durable: from then on, that there is none means that it was taken away.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_all()?;
        let directory = self.path.parent().filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// What stands at the ledger's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A database of SQLite's.
    Database,
    /// Something else.
    Foreign,
}

/// A file as the kernel knows it, whatever its name is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of the file at a path.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// What is wrong with the file at a path that was opened as `opened`, if anything is.
pub(super) fn destroyed(path: &Path, opened: Identity) -> Option<String> {
    match Identity::of(path) {
        Ok(found) if found != opened => return Some("another file stands in its place".to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Some("the file is gone".to_owned()),
        Err(error) => return Some(format!("it cannot be looked at ({error})")),
    }
    let mut magic = [0; SQLITE_MAGIC.len()];
    match File::open(path).and_then(|file| file.read_exact_at(&mut magic, 0)) {
        Ok(()) if magic == *SQLITE_MAGIC => None,
        Ok(()) => Some("it was overwritten".to_owned()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Some("it was cut off".to_owned()),
        Err(error) => Some(format!("it cannot be read ({error})")),
    }
}

/// First bytes of every SQLite database.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Looks at the ledger's path. Makes the file with mode 0600 before SQLite does with another.
pub(super) fn prepare(ledger: &Path) -> Result<Found, LedgerError> {
    let file = private().truncate(false).open(ledger).map_err(engine)?;
    if file.metadata().map_err(engine)?.len() == 0 {
        return Ok(Found::Nothing);
    }
    let mut magic = [0; SQLITE_MAGIC.len()];
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) if magic == *SQLITE_MAGIC => Ok(Found::Database),
        Ok(()) => Ok(Found::Foreign),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Found::Foreign),
        Err(error) => Err(engine(error)),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

pub(super) fn parse_hash(text: &str) -> Option<ChainHash> {
    let mut hash = ChainHash::GENESIS;
    if text.len() != 2 * hash.0.len() || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

pub(super) fn engine(error: impl std::error::Error + Send + Sync + 'static) -> LedgerError {
    LedgerError::Engine(Box::new(error))
}
