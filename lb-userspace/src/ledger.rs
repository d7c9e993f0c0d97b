//! The ledger: an append-only, hash-chained log of operations, and the snapshot that is its fold.
//!
//! There is no second source of truth: undo, restore, audit and replication are reads of the same log.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::model::{Actor, Document, DocumentKey, Generation, Measure, MeasureId, OperationId, Scope};

mod authorized;
pub mod backup;
mod chain;
mod containment;
mod deny;
pub mod difference;
mod disk;
mod engine;
mod files;
pub mod memory;
pub mod purge;
mod rehearsal;
mod scope;
mod second_person;
pub mod service;
pub mod snapshot;
pub mod sqlite;
pub mod tenants;

pub use authorized::{Authorized, Entry};
use containment::trip;
pub use containment::{Account, BUDGET, Budget, Exceeded, Removal, Removed, zone_budget_remaining};
pub(crate) use containment::{Escape, by_owner, escape, exceeded, frozen, removed, stale, takedown};
pub use deny::DenyingLedger;
pub use engine::MAX_CHANGES;
pub use memory::MemoryLedger;
pub use rehearsal::RehearsalLedger;
pub(crate) use scope::check_scope;
pub use second_person::{NotSecond, second_person};
pub use snapshot::Snapshot;
pub use sqlite::SqliteLedger;
pub use tenants::Tenants;

/// SHA-256 over an operation and the hash before it; what makes the log a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// The hash before the first operation.
    pub const GENESIS: Self = Self([0; 32]);

    /// 64 hexadecimal digits as a hash.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        files::parse_hash(text)
    }
}

impl std::fmt::Display for ChainHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One document before and after an operation. `before: None` is a creation; a deletion is a tombstone after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The document as it was.
    pub before: Option<Document>,
    /// The document as it is from now on. Never absent: nothing is hard-deleted by a request.
    pub after: Document,
}

impl Change {
    /// Kind and id of the document.
    #[must_use]
    pub const fn key(&self) -> DocumentKey {
        self.after.key()
    }

    /// Whether the document leaves the snapshot.
    #[must_use]
    pub const fn purges(&self) -> bool {
        self.after.times().purged_at.is_some()
    }
}

/// The request that an operation answers, if its client gave it a key: sent again, it is answered the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The client's key (`Idempotency-Key`), unique for its token for [`Snapshot::ATTEMPTS_ARE_KEPT`].
    pub key: String,
    /// Digest of the request.
    pub request: String,
    /// What was answered.
    pub answer: Kept,
}

/// An answer of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// HTTP status.
    pub status: u16,
    /// Version of what the body shows, if it has one.
    pub etag: Option<String>,
    /// JSON, or nothing.
    pub body: String,
}

/// An operation that is proposed: it has no place in the chain yet. Who serves requests has no way to append one, only
/// [`Authorized`]. It has a scope:
///
/// ```
/// # use lb_userspace::ledger::Proposal;
/// # use lb_userspace::model::{Actor, Generation, Scope};
/// # fn propose(actor: Actor, scope: Scope, changes: Vec<lb_userspace::ledger::Change>) -> Proposal {
/// Proposal {
///     expected: Generation(1),
///     actor,
///     scope,
///     verb: "lb.delete".to_owned(),
///     reason: String::new(),
///     at: jiff::Timestamp::UNIX_EPOCH,
///     attempt: None,
///     plan: None,
///     changes,
/// }
/// # }
/// ```
///
/// There is none without:
///
/// ```compile_fail,E0063
/// # use lb_userspace::ledger::Proposal;
/// # use lb_userspace::model::{Actor, Generation};
/// # fn propose(actor: Actor, changes: Vec<lb_userspace::ledger::Change>) -> Proposal {
/// Proposal {
///     expected: Generation(1),
///     actor,
///     verb: "lb.delete".to_owned(),
///     reason: String::new(),
///     at: jiff::Timestamp::UNIX_EPOCH,
///     attempt: None,
///     plan: None,
///     changes,
/// }
/// # }
/// ```
///
/// ```
/// # use lb_userspace::model::Scope;
/// # fn propose(proposal: &mut lb_userspace::ledger::Proposal, scope: Scope) {
/// proposal.scope = scope;
/// # }
/// ```
///
/// ```compile_fail,E0308
/// # use lb_userspace::model::Scope;
/// # fn propose(proposal: &mut lb_userspace::ledger::Proposal, scope: Scope) {
/// proposal.scope = Some(scope);
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Generation of the snapshot the proposal was made from: compare-and-set.
    pub expected: Generation,
    /// Who.
    pub actor: Actor,
    /// What it may touch; the ledger engine checks every change against it once more.
    pub scope: Scope,
    /// Verb and noun, for example `lb.create`.
    pub verb: String,
    /// Why, in the actor's words; may be empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// The request that is answered by it, if that has a key.
    pub attempt: Option<Attempt>,
    /// The plan that it carries out, if it does.
    pub plan: Option<MeasureId>,
    /// What; at least one change, each document at most once.
    pub changes: Vec<Change>,
}

/// An operation in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number; operations are numbered 1, 2, 3, … without a gap.
    pub generation: Generation,
    /// Id.
    pub id: OperationId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What it was allowed to touch.
    pub scope: Scope,
    /// Verb and noun.
    pub verb: String,
    /// Why.
    pub reason: String,
    /// The request that is answered by it, if that has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// The plan that it carries out, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<MeasureId>,
    /// Load balancers that it takes out of service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removed>,
    /// Every document before and after.
    pub changes: Vec<Change>,
    /// Hash of the operation before.
    pub previous: ChainHash,
    /// Hash of this one.
    pub hash: ChainHash,
}

/// Storage of the log. Appends are serialized by the engine; reads never wait for them.
pub trait Ledger: Send + Sync {
    /// The newest snapshot.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Follows the newest snapshot.
    fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>>;

    /// Appends an operation: durable when this returns, or nothing happened.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when the ledger has moved past `expected`; a refusal when the proposal breaks a rule
    /// of the engine; an engine error otherwise. In every case of error the ledger is unchanged.
    fn append(&self, proposal: Proposal) -> Result<Arc<Operation>, LedgerError>;

    /// Operations with `after < generation`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// An engine error.
    fn operations(&self, after: Generation, limit: usize) -> Result<Vec<Operation>, LedgerError>;

    /// Whether what who asks wants beside an operation is carried out, too: not for a request that expects to be
    /// refused, nor for one that is rehearsed.
    fn carries_out(&self) -> bool {
        true
    }

    /// Whether what is appended still reaches the place it will be read from: somebody may have removed or replaced
    /// the file meanwhile. Cheap; asked before every append and every second.
    ///
    /// # Errors
    /// [`LedgerError::Destroyed`] when it does not.
    fn check(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Why changes are refused, or soon will be: the file was destroyed, or its disk is full or fails. Cheap; asked every
    /// second.
    fn trouble(&self) -> Option<String> {
        self.check().err().map(|error| error.to_string())
    }
}

/// Checks a proposal and hands the operation to `write`. A budget that is used up becomes a freeze in the same breath:
/// nothing comes between the operation that decides and the read-only mode.
fn append(
    current: &Snapshot,
    proposal: Proposal,
    is_judged: bool,
    mut write: impl FnMut(&Operation, &[u8]) -> Result<(), LedgerError>,
) -> Result<Arc<Operation>, LedgerError> {
    let checked = if is_judged {
        engine::check(current, &proposal)
    } else {
        engine::check_log(current, &proposal).map(|()| engine::removed(current, &proposal))
    };
    let removed = match checked {
        Err(LedgerError::Exceeded(exceeded)) => {
            let freeze = trip(current, &proposal.verb, proposal.at, &exceeded).map_err(LedgerError::Refused)?;
            log::error!("read-only mode: {}", freeze.reason);
            let (operation, body) = engine::next(current, freeze, Vec::new())?;
            write(&operation, &body)?;
            return Err(match operation.changes.into_iter().next().map(|change| change.after) {
                Some(Document::Measure(freeze)) => LedgerError::Frozen(Box::new(freeze)),
                _ => LedgerError::Exceeded(exceeded),
            });
        }
        checked => checked?,
    };
    let (operation, body) = engine::next(current, proposal, removed)?;
    write(&operation, &body)?;
    Ok(Arc::new(operation))
}

/// Why the ledger could not be opened, read or appended to. Variants are facts.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Somebody else wrote first.
    #[error("the ledger is at generation {actual}, the change was made from {expected}: read again and retry")]
    Conflict {
        /// Generation the proposal was made from.
        expected: Generation,
        /// Generation of the ledger.
        actual: Generation,
    },
    /// The proposal breaks a rule of the engine itself.
    #[error("the ledger refuses the operation: {0}")]
    Refused(String),
    /// Read-only mode: a freeze refuses it. If a budget was used up by this very proposal, the freeze is in the log now.
    #[error("a freeze is in force in {}: {}", .0.place().map(ToString::to_string).unwrap_or_default(), .0.reason.as_str())]
    Frozen(Box<Measure>),
    /// It would remove more than a budget allows.
    #[error("the ledger refuses the operation: {0}")]
    Exceeded(Box<Exceeded>),
    /// It was expected to be refused, and would have been allowed. Nothing was done.
    #[error("the operation was expected to be refused, and would have been allowed: nothing was done")]
    Denied,
    /// A rehearsal holds as much as it may.
    #[error("a rehearsal holds at most {operations} operations and {bytes} bytes of them, and this one is full")]
    RehearsalIsFull {
        /// Most operations.
        operations: usize,
        /// Most bytes of operations, as they would be stored.
        bytes: usize,
    },
    /// The log is torn or was tampered with.
    #[error("the ledger {path} is not intact at generation {generation}: {what}. Nothing was changed. {remedy}")]
    NotIntact {
        /// The file.
        path: String,
        /// First operation that does not fit.
        generation: Generation,
        /// What does not fit.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The file was removed or replaced while it was open.
    #[error(
        "the ledger {path} was destroyed while the agent runs: {what}. Nothing was changed, changes are refused, and \
         packets keep flowing with the last good tables. Stop the agent, run `snowshed backup restore`, start it again"
    )]
    Destroyed {
        /// The file.
        path: String,
        /// What was found.
        what: String,
    },
    /// Another process has it open.
    #[error(
        "the ledger {path} is in use: another agent runs on it. Stop that one first, or give this one a ledger of its \
         own (`ledger.path` in agent.toml)"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// The storage engine failed.
    #[error("the ledger's storage failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}
