//! The ledger on SQLite: one file, WAL, a full sync before anything is acknowledged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use tokio::sync::watch;

use super::backup::UNWATCHED;
use super::engine::Judging;
use super::files::{Found, Identity, Witness, Witnessed, destroyed, engine as engine_error, prepare};
use super::{ChainHash, Ledger, LedgerError, Operation, Proposal, Snapshot, append, disk, engine};
use crate::faults::{Faults, Layer};
use crate::model::Generation;

mod schema;
mod verify;

/// A ledger in a file. While it is open no other process can open it.
#[derive(Debug)]
pub struct SqliteLedger {
    log: Mutex<Log>,
    head: watch::Sender<Arc<Snapshot>>,
    judging: Judging,
}

/// What appending needs; the lock around it serializes appends.
#[derive(Debug)]
struct Log {
    connection: Connection,
    witness: Witness,
    path: PathBuf,
    /// The file that is open: another one may stand at the path by now.
    identity: Identity,
    /// A commit failed, and it is not known whether the operation is in the file.
    uncertain: bool,
    /// The last write failed, and why; nothing was written since.
    failed: Option<String>,
}

impl SqliteLedger {
    /// Opens a ledger, and verifies every operation in it; an empty one is made if there is none.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] when another process has it open; [`LedgerError::NotIntact`] when it is torn or was
    /// tampered with; an engine error when a file cannot be made, read or written.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_with_faults(path, Faults::default())
    }

    /// Opens a ledger of which a test or a drill took layers away: without the engine, its checks and triggers let
    /// everything through that keeps the log a log.
    ///
    /// # Errors
    /// As [`SqliteLedger::open`].
    pub fn open_with_faults(path: &Path, faults: Faults) -> Result<Self, LedgerError> {
        let witness = Witness::lock(path)?;
        let place = verify::Place { path, witness: witness.path() };
        let witnessed = witness.read().map_err(|what| place.not_intact(Generation(0), what))?;
        let found = prepare(path)?;
        if found == Found::Foreign {
            return Err(place.not_intact(Generation(1), "the file is no Snowshed ledger".to_owned()));
        }
        let existed = found == Found::Database;
        if !existed && let Some(witnessed) = witnessed.filter(|witnessed| witnessed.generation > Generation(0)) {
            return Err(place.lost(Generation(1), "the file is missing or empty", witnessed));
        }
        let connection = schema::open(path, existed, witnessed, &place)?;
        let snapshot = verify::fold(&connection, &place)?;
        verify::witnessed(&connection, &snapshot, witnessed, &place)?;
        // Only now: closing a file that is refused must leave every byte of it for the inquiry.
        schema::checkpoint_on_close(&connection, true).map_err(engine_error)?;
        witness.write(Witnessed { generation: snapshot.generation(), hash: snapshot.head() }).map_err(engine_error)?;
        witness.sync().map_err(engine_error)?;
        let identity = Identity::of(path).map_err(engine_error)?;
        let log = Log { connection, witness, path: path.to_owned(), identity, uncertain: false, failed: None };
        schema::triggers(&log.connection, !faults.is_off(Layer::Engine)).map_err(engine_error)?;
        let judging = if faults.is_off(Layer::Engine) { Judging::Off } else { Judging::On };
        Ok(Self { log: Mutex::new(log), head: watch::Sender::new(Arc::new(snapshot)), judging })
    }

    /// Where its file was when it was opened.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).path.clone()
    }

    /// A consistent copy of the database, also when its file has lost its name.
    pub(super) fn copy_to(&self, to: &Path) -> rusqlite::Result<()> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).connection.backup("main", to, UNWATCHED)
    }

    /// The end of the log in a database that nobody writes, with its whole chain verified.
    pub(super) fn head_of(connection: &Connection, path: &Path) -> Result<Witnessed, LedgerError> {
        let snapshot = verify::fold(connection, &verify::Place { path, witness: path })?;
        Ok(Witnessed { generation: snapshot.generation(), hash: snapshot.head() })
    }
}

impl Ledger for SqliteLedger {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.head.borrow())
    }

    fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.head.subscribe()
    }

    fn append(&self, proposal: Proposal) -> Result<Arc<Operation>, LedgerError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.check()?;
        let current = self.snapshot();
        append(&current, proposal, self.judging == Judging::On, |operation, body| {
            log.write(operation, body)?;
            self.head.send_replace(Arc::new(engine::after(&current, operation)));
            Ok(())
        })
    }

    fn operations(&self, after: Generation, limit: usize) -> Result<Vec<Operation>, LedgerError> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let place = verify::Place { path: &log.path, witness: log.witness.path() };
        verify::read(&log.connection, after, limit, &place)
    }

    fn check(&self) -> Result<(), LedgerError> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).check()
    }

    fn trouble(&self) -> Option<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).trouble()
    }
}

impl Log {
    fn check(&self) -> Result<(), LedgerError> {
        match destroyed(&self.path, self.identity) {
            None => Ok(()),
            Some(what) => Err(LedgerError::Destroyed { path: self.path.display().to_string(), what }),
        }
    }

    /// Why changes are refused, or soon will be. A disk that failed is tried out, so that this ends by itself.
    fn trouble(&mut self) -> Option<String> {
        if let Err(error) = self.check() {
            return Some(error.to_string());
        }
        if self.failed.is_some() && !self.uncertain && disk::try_out(&self.path).is_ok() {
            self.failed = None;
        }
        let failed = self.failed.as_ref().map(|failed| {
            let remedy = match self.uncertain {
                true => "restart the agent, which verifies the file",
                false => "mend or empty its disk; nothing has to be started anew",
            };
            let path = self.path.display();
            format!(
                "the ledger {path} could not be written: {failed}. Changes are refused, packets keep flowing: {remedy}"
            )
        });
        disk::shortage(&self.path).or(failed)
    }

    fn write(&mut self, operation: &Operation, body: &[u8]) -> Result<(), LedgerError> {
        if self.uncertain {
            return Err(engine_error(std::io::Error::other(format!(
                "an earlier commit to {} failed half-way: restart the agent, which verifies the file",
                self.path.display()
            ))));
        }
        if let Err(error) = self.insert(operation, body) {
            // The transaction is rolled back. Whether nothing of it stayed is read, not assumed.
            let stored = last_hash(&self.connection);
            if error.sqlite_error_code() != Some(ErrorCode::ConstraintViolation) {
                self.failed = Some(error.to_string());
            }
            self.uncertain =
                !matches!(stored, Ok(stored) if stored.unwrap_or(ChainHash::GENESIS) == operation.previous);
            return Err(engine_error(error));
        }
        self.failed = None;
        let witnessed = Witnessed { generation: operation.generation, hash: operation.hash };
        if let Err(error) = self.witness.write(witnessed) {
            // The operation itself is durable: an older witness only proves less.
            log::error!("cannot write the ledger's witness {}: {error}", self.witness.path().display());
        }
        Ok(())
    }

    fn insert(&mut self, operation: &Operation, body: &[u8]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached("INSERT INTO operations (generation, previous, hash, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![to_sql(operation.generation)?, operation.previous.0, operation.hash.0, body])?;
        transaction.commit()
    }
}

fn last_hash(connection: &Connection) -> rusqlite::Result<Option<ChainHash>> {
    connection
        .query_row("SELECT hash FROM operations ORDER BY generation DESC LIMIT 1", [], |row| row.get(0))
        .optional()
        .map(|hash| hash.map(ChainHash))
}

fn to_sql(generation: Generation) -> rusqlite::Result<i64> {
    i64::try_from(generation.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
