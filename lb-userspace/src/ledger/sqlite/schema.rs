//! The file's shape: one table that grows at its end, and triggers that refuse everything else.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::verify::Place;
use crate::ledger::LedgerError;
use crate::ledger::files::{Witnessed, engine as engine_error};
use crate::model::Generation;

/// `PRAGMA application_id`: "SNOW".
const APPLICATION_ID: i32 = 0x534e_4f57;
/// `PRAGMA user_version`: format of the file.
const FORMAT: i32 = 4;

/// Tables, index and triggers by name; what stands in the file must be exactly this. Those of containment read the
/// operation's own bytes: they depend on nothing that the code around them computes.
const OBJECTS: [(&str, &str); 12] = [
    (
        "operations",
        "CREATE TABLE operations (\
         generation INTEGER PRIMARY KEY, \
         previous BLOB NOT NULL CHECK (length(previous) = 32), \
         hash BLOB NOT NULL CHECK (length(hash) = 32), \
         body BLOB NOT NULL) STRICT",
    ),
    (
        "operations_are_a_chain",
        "CREATE TRIGGER operations_are_a_chain BEFORE INSERT ON operations \
         WHEN NEW.generation IS NOT (SELECT coalesce(max(generation), 0) + 1 FROM operations) \
         OR NEW.previous IS NOT coalesce((SELECT hash FROM operations ORDER BY generation DESC LIMIT 1), zeroblob(32)) \
         BEGIN SELECT RAISE(ABORT, 'operations are appended in order, each on the hash of the one before'); END",
    ),
    (
        "operations_stay",
        "CREATE TRIGGER operations_stay BEFORE DELETE ON operations \
         BEGIN SELECT RAISE(ABORT, 'operations are never deleted'); END",
    ),
    (
        "operations_never_change",
        "CREATE TRIGGER operations_never_change BEFORE UPDATE ON operations \
         BEGIN SELECT RAISE(ABORT, 'operations are never changed'); END",
    ),
    ("operations_have_a_scope", include_str!("triggers/operations_have_a_scope.sql")),
    ("operations_delete_nothing", include_str!("triggers/operations_delete_nothing.sql")),
    ("operations_keep_the_budget", include_str!("triggers/operations_keep_the_budget.sql")),
    ("operations_stop_while_frozen", include_str!("triggers/operations_stop_while_frozen.sql")),
    ("operations_purge_what_was_announced", include_str!("triggers/operations_purge_what_was_announced.sql")),
    ("operations_are_accounted_for", include_str!("triggers/operations_are_accounted_for.sql")),
    (
        "removals",
        "CREATE TABLE removals (\
         generation INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, removed INTEGER NOT NULL) STRICT",
    ),
    (
        "measures",
        "CREATE TABLE measures (\
         id TEXT PRIMARY KEY, kind TEXT NOT NULL, place TEXT NOT NULL, verb TEXT NOT NULL, \
         since INTEGER NOT NULL, until INTEGER NOT NULL, approved INTEGER NOT NULL, tenants INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    ),
];

/// Whether the triggers work.
pub(super) fn triggers(connection: &Connection, wanted: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, wanted).map(drop)
}

/// Opens the database: of a file that `existed`, checks that it is a ledger; in an empty one, makes it.
pub(super) fn open(
    path: &Path,
    existed: bool,
    witnessed: Option<Witnessed>,
    place: &Place<'_>,
) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(path).map_err(engine_error)?;
    checkpoint_on_close(&connection, false).map_err(engine_error)?;
    let unreadable = |error: rusqlite::Error| place.unreadable(Generation(1), &error);
    connection.pragma_update(None, "journal_mode", "WAL").map_err(unreadable)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(engine_error)?;
    connection.pragma_update(None, "recursive_triggers", true).map_err(engine_error)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(engine_error)?;
    connection.pragma_update(None, "cell_size_check", true).map_err(engine_error)?;
    // A file that SQLite was killed in the middle of making has no table yet.
    let is_made = existed && objects(&connection).map_err(unreadable)? > 0;
    if is_made {
        check(&connection, place)?;
    } else if let Some(witnessed) = witnessed.filter(|witnessed| witnessed.generation > Generation(0)) {
        return Err(place.lost(Generation(1), "the file holds no log", witnessed));
    } else {
        make(&mut connection).map_err(engine_error)?;
    }
    Ok(connection)
}

/// Whether closing the last connection moves the write-ahead log into the file and removes it.
pub(super) fn checkpoint_on_close(connection: &Connection, wanted: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !wanted).map(drop)
}

fn objects(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    let (tables, triggers): (Vec<_>, Vec<_>) = OBJECTS.iter().partition(|(_, sql)| sql.starts_with("CREATE TABLE"));
    for (_, sql) in tables.into_iter().chain(triggers) {
        transaction.execute(sql.trim_end(), [])?;
    }
    transaction.commit()
}

fn check(connection: &Connection, place: &Place<'_>) -> Result<(), LedgerError> {
    let unreadable = |error: rusqlite::Error| place.unreadable(Generation(1), &error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(unreadable);
    if pragma("application_id")? != APPLICATION_ID {
        return Err(place.not_intact(Generation(1), "the file is no Snowshed ledger".to_owned()));
    }
    let format = pragma("user_version")?;
    if format != FORMAT {
        let what = format!("the file has format {format}, this version of Snowshed reads format {FORMAT}");
        return Err(place.not_intact(Generation(1), what));
    }
    let stored = connection
        .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .map_err(unreadable)?;
    let mut expected: Vec<_> = OBJECTS.map(|(name, sql)| (name.to_owned(), Some(sql.trim_end().to_owned()))).to_vec();
    expected.sort();
    if stored != expected {
        let what = "the table or the triggers that protect it are not the ones Snowshed made".to_owned();
        return Err(place.not_intact(Generation(1), what));
    }
    Ok(())
}
