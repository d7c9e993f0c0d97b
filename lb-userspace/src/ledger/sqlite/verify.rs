//! Reading the log: every operation is checked against its hash, the one before, and what it changes.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};

use super::to_sql;
use crate::ledger::files::{Witnessed, engine as engine_error};
use crate::ledger::{ChainHash, LedgerError, Operation, Snapshot, chain, engine};
use crate::model::Generation;

/// Where a ledger is: for its errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) witness: &'a Path,
}

impl Place<'_> {
    /// The log does not fit at a generation.
    pub(super) fn not_intact(&self, generation: Generation, what: String) -> LedgerError {
        let path = self.path.display();
        LedgerError::NotIntact {
            path: path.to_string(),
            generation,
            what,
            remedy: format!(
                "Keep a copy of {path}* for the inquiry, then `snowshed backup restore --name latest` and start again \
                 (or put back a copy of `{path}`, `{path}-wal` and `{}`, together). Packets keep flowing with the last good tables \
                 meanwhile",
                self.witness.display()
            ),
        }
    }

    /// Operations that were acknowledged are not there.
    pub(super) fn lost(&self, generation: Generation, what: &str, witnessed: Witnessed) -> LedgerError {
        self.not_intact(generation, format!("{what}, but generation {} was acknowledged", witnessed.generation))
    }

    /// The log is a chain, but nothing says that it is all of it: a witness is there from the first start on, so
    /// somebody took it away, perhaps together with the end of the log.
    fn unwitnessed(&self, end: Witnessed) -> LedgerError {
        let (path, witness) = (self.path.display(), self.witness.display());
        LedgerError::NotIntact {
            path: path.to_string(),
            generation: end.generation,
            what: format!(
                "its witness {witness} is missing, so that nothing tells whether operations after this one were lost"
            ),
            remedy: format!(
                "Put back the newest backup of these files together (`{path}`, `{path}-wal`, `{witness}`). Or, if you \
                 know that generation {} is the last one, say so with `echo '{}' > {witness}`. Then start again. \
                 Packets keep flowing with the last good tables meanwhile",
                end.generation,
                end.text()
            ),
        }
    }

    /// SQLite cannot read the file.
    pub(super) fn unreadable(&self, generation: Generation, error: &rusqlite::Error) -> LedgerError {
        self.not_intact(generation, format!("SQLite cannot read it ({error})"))
    }
}

/// The snapshot of the whole log.
pub(super) fn fold(connection: &Connection, place: &Place<'_>) -> Result<Snapshot, LedgerError> {
    let mut snapshot = Snapshot::default();
    let next = |snapshot: &Snapshot| Generation(snapshot.generation().0 + 1);
    let unreadable = |error: &rusqlite::Error, snapshot: &Snapshot| place.unreadable(next(snapshot), error);
    let mut statement = connection
        .prepare("SELECT generation, previous, hash, body FROM operations ORDER BY generation")
        .map_err(|error| unreadable(&error, &snapshot))?;
    let mut rows = statement.query([]).map_err(|error| unreadable(&error, &snapshot))?;
    while let Some(row) = rows.next().map_err(|error| unreadable(&error, &snapshot))? {
        let expected = next(&snapshot);
        let operation =
            operation(row, snapshot.generation(), snapshot.head()).map_err(|what| place.not_intact(expected, what))?;
        for change in &operation.changes {
            engine::check_succession(&snapshot, change).map_err(|what| place.not_intact(expected, what))?;
        }
        let documents = operation.changes.iter().map(|change| &change.after);
        snapshot.fold(operation.generation, operation.hash, documents);
        snapshot.remember(&operation);
    }
    Ok(snapshot)
}

/// Checks that the log holds what was acknowledged.
pub(super) fn witnessed(
    connection: &Connection,
    snapshot: &Snapshot,
    witnessed: Option<Witnessed>,
    place: &Place<'_>,
) -> Result<(), LedgerError> {
    let Some(witnessed) = witnessed else {
        return match snapshot.generation() {
            Generation(0) => Ok(()),
            generation => Err(place.unwitnessed(Witnessed { generation, hash: snapshot.head() })),
        };
    };
    if witnessed.generation > snapshot.generation() {
        let first_lost = Generation(snapshot.generation().0 + 1);
        return Err(place.lost(
            first_lost,
            &format!("the log ends at generation {}", snapshot.generation()),
            witnessed,
        ));
    }
    if hash_at(connection, witnessed.generation).map_err(engine_error)? != witnessed.hash {
        let what = "the operation is not the one that was acknowledged".to_owned();
        return Err(place.not_intact(witnessed.generation, what));
    }
    Ok(())
}

/// Operations after a generation, oldest first.
pub(super) fn read(
    connection: &Connection,
    after: Generation,
    limit: usize,
    place: &Place<'_>,
) -> Result<Vec<Operation>, LedgerError> {
    let mut previous = hash_at(connection, after).map_err(engine_error)?;
    let mut last = after;
    let mut operations = Vec::new();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection
        .prepare_cached(
            "SELECT generation, previous, hash, body FROM operations WHERE generation > ?1 ORDER BY generation LIMIT ?2",
        )
        .map_err(engine_error)?;
    let mut rows = statement.query((to_sql(after).map_err(engine_error)?, limit)).map_err(engine_error)?;
    while let Some(row) = rows.next().map_err(engine_error)? {
        let operation =
            operation(row, last, previous).map_err(|what| place.not_intact(Generation(last.0 + 1), what))?;
        (last, previous) = (operation.generation, operation.hash);
        operations.push(operation);
    }
    Ok(operations)
}

fn hash_at(connection: &Connection, generation: Generation) -> rusqlite::Result<ChainHash> {
    connection
        .query_row("SELECT hash FROM operations WHERE generation = ?1", [to_sql(generation)?], |row| row.get(0))
        .optional()
        .map(|hash| ChainHash(hash.unwrap_or(ChainHash::GENESIS.0)))
}

/// The operation in a row, if it is the one that comes after `last` and builds on `previous`.
fn operation(row: &Row<'_>, last: Generation, previous: ChainHash) -> Result<Operation, String> {
    let read = |error: rusqlite::Error| format!("SQLite cannot read the operation ({error})");
    let expected = Generation(last.0 + 1);
    let number: i64 = row.get(0).map_err(read)?;
    if u64::try_from(number) != Ok(expected.0) {
        return Err(format!("operation {expected} is missing: the next one is {number}"));
    }
    let stored_previous = ChainHash(row.get(1).map_err(read)?);
    if stored_previous != previous {
        return Err("the operation does not build on the hash of the one before".to_owned());
    }
    let hash = ChainHash(row.get(2).map_err(read)?);
    let body = row.get_ref(3).and_then(|value| value.as_blob().map_err(Into::into)).map_err(read)?;
    if chain::hash(previous, body) != hash {
        return Err("the operation's content does not match its hash".to_owned());
    }
    let body: chain::Body =
        serde_json::from_slice(body).map_err(|error| format!("the operation cannot be read ({error})"))?;
    if body.generation != expected {
        return Err(format!("the operation says it is number {}", body.generation));
    }
    Ok(body.chained(previous, hash))
}
