//! The outbox on SQLite: one file beside the ledger, WAL, a full sync before anything is acknowledged.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::postman::{MOST_OF_ONE, Served};
use super::{Address, Counts, Delivery, Filter, Letter, Recipient, RecipientKind, State};

/// `PRAGMA application_id`: "SNOB".
const APPLICATION_ID: i32 = 0x534e_4f42;
/// `PRAGMA user_version`: format of the file.
const FORMAT: i32 = 1;

const TABLES: &str = "
    CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        recipient BLOB NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        posted INTEGER NOT NULL,
        due INTEGER,
        tried INTEGER,
        error TEXT,
        letter TEXT NOT NULL
    ) STRICT;
    CREATE INDEX deliveries_due ON deliveries (due) WHERE due IS NOT NULL;
    CREATE INDEX deliveries_of ON deliveries (recipient, state);
    CREATE INDEX deliveries_by_state ON deliveries (state, number);
    CREATE TABLE told (
        kind TEXT NOT NULL,
        recipient BLOB NOT NULL,
        subject TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (kind, recipient, subject)
    ) STRICT, WITHOUT ROWID;";

/// What a recipient was last told of something: what it is told next is the difference to it, also after a restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// Who was told.
    pub to: Recipient,
    /// Of what.
    pub subject: String,
    /// How it stood; absent when there is nothing more to say of it.
    pub state: Option<String>,
}

/// Most letters that are kept, by state: of one recipient those that wait, of all together those that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) waiting_per_recipient: u64,
    pub(super) dead: u64,
    pub(super) delivered: u64,
}

#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    bounds: Bounds,
}

impl Store {
    pub(super) fn open(path: &Path, bounds: Bounds) -> rusqlite::Result<Self> {
        Self::prepare(Connection::open(path)?, bounds)
    }

    pub(super) fn in_memory(bounds: Bounds) -> rusqlite::Result<Self> {
        Self::prepare(Connection::open_in_memory()?, bounds)
    }

    fn prepare(mut connection: Connection, bounds: Bounds) -> rusqlite::Result<Self> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        match (pragma("application_id")?, pragma("user_version")?) {
            (APPLICATION_ID, FORMAT) => {}
            (0, 0) => {
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", FORMAT)?;
            }
            (application, format) => {
                let what = format!("it is no outbox of this version (application {application:#x}, format {format})");
                return Err(rusqlite::Error::ToSqlConversionFailure(what.into()));
            }
        }
        transaction.commit()?;
        Ok(Self { connection, bounds })
    }

    /// Writes letters and what is told with them, all or nothing. What there is no room for is a dead letter at once.
    pub(super) fn post(&mut self, now: Timestamp, letters: &[Letter], told: &[Told]) -> rusqlite::Result<Vec<Uuid>> {
        let bounds = self.bounds;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut ids = Vec::with_capacity(letters.len());
        for letter in letters {
            let id = Uuid::now_v7();
            let waiting = waiting_of(&transaction, letter.to)?;
            let is_full = waiting >= bounds.waiting_per_recipient;
            let error = is_full.then(|| format!("{waiting} letters wait for this recipient already: no more are kept"));
            let (state, due) = if is_full { (State::Dead, None) } else { (State::Waiting, Some(now.as_millisecond())) };
            let text = serde_json::to_string(letter).map_err(to_sql)?;
            let kind = letter.to.kind.as_str();
            transaction
                .prepare_cached(
                    "INSERT INTO deliveries (id, kind, recipient, state, attempts, posted, due, error, letter) \
                     VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    id.as_bytes(),
                    kind,
                    letter.to.id.as_bytes(),
                    state.as_str(),
                    now.as_millisecond(),
                    due,
                    error,
                    text
                ])?;
            ids.push(id);
        }
        for Told { to, subject, state } in told {
            let (kind, id) = (to.kind.as_str(), to.id.as_bytes());
            match state {
                Some(state) => transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO told (kind, recipient, subject, state) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![kind, id, subject, state])?,
                None => transaction
                    .prepare_cached("DELETE FROM told WHERE kind = ?1 AND recipient = ?2 AND subject = ?3")?
                    .execute(params![kind, id, subject])?,
            };
        }
        prune(&transaction, State::Dead, bounds.dead)?;
        transaction.commit()?;
        Ok(ids)
    }

    /// Everything that anybody of a kind was told.
    pub(super) fn told(&self, kind: RecipientKind) -> rusqlite::Result<Vec<Told>> {
        let mut statement =
            self.connection.prepare_cached("SELECT recipient, subject, state FROM told WHERE kind = ?1")?;
        let rows = statement.query_map([kind.as_str()], |row| {
            let to = Recipient { kind, id: Uuid::from_bytes(row.get(0)?) };
            Ok(Told { to, subject: row.get(1)?, state: row.get(2)? })
        })?;
        rows.collect()
    }

    /// Letters that are due, the longest due first; none to recipients that are being served, and of nobody more than a
    /// share.
    pub(super) fn due(&self, now: Timestamp, busy: &[Served], limit: usize) -> rusqlite::Result<Vec<Delivery>> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM deliveries WHERE due <= ?1 ORDER BY due, number"))?;
        let mut rows = statement.query([now.as_millisecond()])?;
        let (mut found, mut taken) = (Vec::new(), busy.to_vec());
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            let delivery = read(row)?;
            let served = Served { to: delivery.letter.to, sharer: delivery.letter.organization_id };
            if has_place(served, &taken) {
                taken.push(served);
                found.push(delivery);
            }
        }
        Ok(found)
    }

    /// When the next letter is due to a recipient that is not being served, of somebody who has not had a share.
    pub(super) fn next_due(&self, busy: &[Served]) -> rusqlite::Result<Option<Timestamp>> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM deliveries WHERE due IS NOT NULL ORDER BY due, number"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let delivery = read(row)?;
            let served = Served { to: delivery.letter.to, sharer: delivery.letter.organization_id };
            if has_place(served, busy) {
                return Ok(delivery.next_attempt_at);
            }
        }
        Ok(None)
    }

    /// Notes how an attempt ended; `due` is when it is tried again. A letter that was taken back meanwhile stays away.
    pub(super) fn tried(
        &mut self,
        id: Uuid,
        now: Timestamp,
        state: State,
        due: Option<Timestamp>,
        error: Option<&str>,
    ) -> rusqlite::Result<()> {
        let bounds = self.bounds;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached(
                "UPDATE deliveries SET state = ?2, attempts = attempts + 1, tried = ?3, due = ?4, error = ?5 WHERE id = ?1",
            )?
            .execute(params![id.as_bytes(), state.as_str(), now.as_millisecond(), due.map(Timestamp::as_millisecond), error])?;
        match state {
            State::Delivered => prune(&transaction, state, bounds.delivered)?,
            State::Dead => prune(&transaction, state, bounds.dead)?,
            State::Waiting => {}
        }
        transaction.commit()
    }

    /// Makes a dead letter wait again, with all its attempts before it; whether it was a dead one.
    pub(super) fn revive(&mut self, id: Uuid, now: Timestamp) -> rusqlite::Result<bool> {
        let changed = self.connection.execute(
            "UPDATE deliveries SET state = 'waiting', attempts = 0, due = ?2 WHERE id = ?1 AND state = 'dead'",
            params![id.as_bytes(), now.as_millisecond()],
        )?;
        Ok(changed > 0)
    }

    /// Sends what a recipient has not got yet to another address from now on.
    pub(super) fn readdress(&mut self, to: Recipient, address: &Address) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut moved = Vec::new();
        {
            let mut statement = transaction.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM deliveries WHERE recipient = ?1 AND state != 'delivered'"
            ))?;
            let mut rows = statement.query([to.id.as_bytes()])?;
            while let Some(row) = rows.next()? {
                let delivery = read(row)?;
                if delivery.letter.to == to && delivery.letter.address != *address {
                    moved.push((delivery.id, Letter { address: address.clone(), ..delivery.letter }));
                }
            }
        }
        for (id, letter) in moved {
            let text = serde_json::to_string(&letter).map_err(to_sql)?;
            transaction.execute("UPDATE deliveries SET letter = ?2 WHERE id = ?1", params![id.as_bytes(), text])?;
        }
        transaction.commit()
    }

    /// Takes back what a recipient has not got, and what it was told.
    pub(super) fn forget(&mut self, to: Recipient) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (kind, id) = (to.kind.as_str(), to.id.as_bytes());
        transaction.execute("DELETE FROM deliveries WHERE kind = ?1 AND recipient = ?2", params![kind, id])?;
        transaction.execute("DELETE FROM told WHERE kind = ?1 AND recipient = ?2", params![kind, id])?;
        transaction.commit()
    }

    pub(super) fn delivery(&self, id: Uuid) -> rusqlite::Result<Option<Delivery>> {
        self.connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM deliveries WHERE id = ?1"))?
            .query_row([id.as_bytes()], read)
            .optional()
    }

    /// Deliveries in the order in which they were written, the newest first.
    pub(super) fn deliveries(&self, filter: &Filter) -> rusqlite::Result<Vec<Delivery>> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM deliveries WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR recipient = ?2) \
             ORDER BY number DESC"
        ))?;
        let recipient = filter.recipient.as_ref().map(Uuid::as_bytes);
        let rows = statement.query_map(params![filter.state.map(State::as_str), recipient], read)?;
        rows.collect()
    }

    pub(super) fn counts(&self) -> rusqlite::Result<Counts> {
        let mut counts = Counts::default();
        let mut statement =
            self.connection.prepare_cached("SELECT state, count(*), min(posted) FROM deliveries GROUP BY state")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(1)?;
            let number = u64::try_from(number).unwrap_or_default();
            match row.get::<_, String>(0)?.as_str() {
                "waiting" => (counts.waiting, counts.oldest_waiting) = (number, Some(time(row, 2)?)),
                "dead" => counts.dead = number,
                _ => counts.delivered = number,
            }
        }
        Ok(counts)
    }
}

/// Whether somebody may be served beside those that are.
fn has_place(one: Served, busy: &[Served]) -> bool {
    busy.iter().all(|busy| busy.to != one.to)
        && busy.iter().filter(|busy| busy.sharer == one.sharer).count() < MOST_OF_ONE
}

const COLUMNS: &str = "id, state, attempts, posted, due, tried, error, letter";

fn waiting_of(transaction: &Transaction<'_>, to: Recipient) -> rusqlite::Result<u64> {
    let count: i64 = transaction
        .prepare_cached("SELECT count(*) FROM deliveries WHERE recipient = ?1 AND kind = ?2 AND state = 'waiting'")?
        .query_row(params![to.id.as_bytes(), to.kind.as_str()], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Forgets the oldest of a state when there are too many.
fn prune(transaction: &Transaction<'_>, state: State, most: u64) -> rusqlite::Result<()> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let forgotten = transaction
        .prepare_cached(
            "DELETE FROM deliveries WHERE state = ?1 AND number <= \
             (SELECT number FROM deliveries WHERE state = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![state.as_str(), most])?;
    if forgotten > 0 && state == State::Dead {
        log::error!("{forgotten} dead letters are forgotten: more than {most} are not kept");
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let letter: String = row.get(7)?;
    let state: String = row.get(1)?;
    let state = State::ALL.into_iter().find(|known| known.as_str() == state);
    Ok(Delivery {
        id: Uuid::from_bytes(row.get(0)?),
        state: state.ok_or_else(|| unreadable(1, "a state that is none"))?,
        attempts: row.get(2)?,
        posted_at: time(row, 3)?,
        next_attempt_at: optional_time(row, 4)?,
        last_attempt_at: optional_time(row, 5)?,
        last_error: row.get(6)?,
        letter: serde_json::from_str(&letter).map_err(|error| unreadable(7, error))?,
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(|error| unreadable(column, error))
}

fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(|_| time(row, column)).transpose()
}

fn unreadable(column: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

fn to_sql(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
