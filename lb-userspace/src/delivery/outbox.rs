//! The outbox: letters that wait, dead letters, and what was delivered lately; durable, and bounded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

use super::store::{Bounds, Store, Told};
use super::{Address, Channel, Delivery, Letter, Recipient, RecipientKind, State};

const BOUNDS: Bounds = Bounds { waiting_per_recipient: 1000, dead: 10_000, delivered: 1000 };

/// The outbox could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The file cannot be used.
    #[error("the outbox {path} cannot be used: mend it, or move it away (what waits in it is lost with it)")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// Reading or writing failed.
    #[error("the outbox cannot be read or written")]
    Engine(#[from] rusqlite::Error),
}

/// Which deliveries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those that have come so far.
    pub state: Option<State>,
    /// Those to this recipient.
    pub recipient: Option<Uuid>,
}

/// How much there is in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[schema(as = DeliveryCounts)]
pub struct Counts {
    /// Letters that wait.
    pub waiting: u64,
    /// Dead letters that are kept.
    pub dead: u64,
    /// Delivered ones that are kept.
    pub delivered: u64,
    /// When the oldest that waits was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_waiting: Option<Timestamp>,
}

/// Where letters are put, and found again after a crash. All methods wait for the disk: call them off the async threads.
#[derive(Debug)]
pub struct Outbox {
    store: Mutex<Store>,
    posted: Notify,
    alarm_targets: Vec<Address>,
    attempts: Mutex<BTreeMap<(Channel, &'static str), u64>>,
}

impl Outbox {
    /// Opens the outbox in a file; an empty one is made if there is none. `alarm_targets` are told of the edge's alarms.
    ///
    /// # Errors
    /// [`OutboxError::Open`].
    pub fn open(path: &Path, alarm_targets: Vec<Address>) -> Result<Self, OutboxError> {
        let store = Store::open(path, BOUNDS);
        store
            .map(|store| Self::over(store, alarm_targets))
            .map_err(|source| OutboxError::Open { path: path.to_owned(), source })
    }

    /// An outbox that forgets everything with the process: for tests.
    ///
    /// # Errors
    /// When SQLite has no memory.
    pub fn in_memory(alarm_targets: Vec<Address>) -> Result<Self, OutboxError> {
        Ok(Self::over(Store::in_memory(BOUNDS)?, alarm_targets))
    }

    fn over(store: Store, alarm_targets: Vec<Address>) -> Self {
        Self { store: Mutex::new(store), posted: Notify::new(), alarm_targets, attempts: Mutex::default() }
    }

    /// Writes letters; they are durable when this returns, all or none. Their ids.
    ///
    /// # Errors
    /// [`OutboxError::Engine`]; nothing was written.
    pub fn post(&self, now: Timestamp, letters: &[Letter]) -> Result<Vec<Uuid>, OutboxError> {
        self.post_and_tell(now, letters, &[])
    }

    /// The same, and notes in the same breath what the recipients know now.
    ///
    /// # Errors
    /// As [`Outbox::post`].
    pub fn post_and_tell(&self, now: Timestamp, letters: &[Letter], told: &[Told]) -> Result<Vec<Uuid>, OutboxError> {
        if letters.is_empty() && told.is_empty() {
            return Ok(Vec::new());
        }
        let ids = self.store().post(now, letters, told)?;
        self.posted.notify_one();
        Ok(ids)
    }

    /// Who is told of the edge's alarms.
    #[must_use]
    pub fn alarm_targets(&self) -> &[Address] {
        &self.alarm_targets
    }

    /// Writes an alarm of the edge to everybody that the configuration names for it.
    ///
    /// # Errors
    /// As [`Outbox::post`].
    pub fn alarm(
        &self,
        now: Timestamp,
        kind: &str,
        message: &str,
        data: &serde_json::Value,
    ) -> Result<Vec<Uuid>, OutboxError> {
        let letters: Vec<Letter> = self
            .alarm_targets
            .iter()
            .map(|address| Letter {
                to: Recipient::of_alarms(address),
                address: address.clone(),
                project_id: None,
                organization_id: None,
                lb_id: None,
                kind: kind.to_owned(),
                at: now,
                message: message.to_owned(),
                data: data.clone(),
            })
            .collect();
        self.post(now, &letters)
    }

    /// What recipients of a kind were told.
    ///
    /// # Errors
    /// [`OutboxError::Engine`].
    pub fn told(&self, kind: RecipientKind) -> Result<Vec<Told>, OutboxError> {
        Ok(self.store().told(kind)?)
    }

    /// Sends what a recipient has not got yet to its new address; dead letters too, once they are sent again.
    ///
    /// # Errors
    /// [`OutboxError::Engine`].
    pub fn readdress(&self, to: Recipient, address: &Address) -> Result<(), OutboxError> {
        Ok(self.store().readdress(to, address)?)
    }

    /// Forgets a recipient and everything that was meant for it.
    ///
    /// # Errors
    /// [`OutboxError::Engine`].
    pub fn forget(&self, to: Recipient) -> Result<(), OutboxError> {
        Ok(self.store().forget(to)?)
    }

    /// A delivery.
    ///
    /// # Errors
    /// [`OutboxError::Engine`].
    pub fn delivery(&self, id: Uuid) -> Result<Option<Delivery>, OutboxError> {
        Ok(self.store().delivery(id)?)
    }

    /// Deliveries, those written last first.
    ///
    /// # Errors
    /// [`OutboxError::Engine`].
    pub fn deliveries(&self, filter: &Filter) -> Result<Vec<Delivery>, OutboxError> {
        Ok(self.store().deliveries(filter)?)
    }

    /// Makes a dead letter wait again; whether it was one.
    ///
    /// # Errors
    /// [`OutboxError::Engine`].
    pub fn redeliver(&self, id: Uuid, now: Timestamp) -> Result<bool, OutboxError> {
        let is_revived = self.store().revive(id, now)?;
        self.posted.notify_one();
        Ok(is_revived)
    }

    /// How much there is.
    ///
    /// # Errors
    /// [`OutboxError::Engine`].
    pub fn counts(&self) -> Result<Counts, OutboxError> {
        Ok(self.store().counts()?)
    }

    /// Attempts of this run of the agent by channel and by how they ended: `delivered`, `failed`, `refused`.
    #[must_use]
    pub fn attempts(&self) -> BTreeMap<(Channel, &'static str), u64> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self, channel: Channel, result: &'static str) {
        *self.attempts.lock().unwrap_or_else(PoisonError::into_inner).entry((channel, result)).or_default() += 1;
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when something was written since it was asked last.
    pub(super) async fn posted(self: &Arc<Self>) {
        self.posted.notified().await;
    }
}
