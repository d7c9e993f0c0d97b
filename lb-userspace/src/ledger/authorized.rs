//! The ledger as requests have it: everybody may read, and nothing is appended without an authority.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Attempt, Change, DenyingLedger, Exceeded, Ledger, LedgerError, Operation, Proposal, RehearsalLedger, Snapshot, trip,
};
use crate::authority::Write;
use crate::model::{Actor, Document, Generation, Measure, MeasureId, What};

/// A ledger that takes no scope, only a [`Write`]: the right of an actor to change what lies in a scope, which exists
/// only after the actor was checked. What a handler appends lies where its caller may write, or it does not compile:
///
/// ```
/// # use lb_userspace::{authority::{Denied, Write}, ledger::{Authorized, Entry}, model::{Act, Actor, ProjectId, Scope}};
/// # fn handler(ledger: &Authorized, actor: &Actor, project: ProjectId, entry: Entry) -> Result<(), Denied> {
/// let scope = Scope::Project { project };
/// let authority = Write::authorize(&ledger.snapshot(), actor, Act::Edit, scope)?;
/// let appended = ledger.append(authority, entry);
/// # drop(appended); Ok(())
/// # }
/// ```
///
/// A project that was only named is no authority:
///
/// ```compile_fail,E0308
/// # use lb_userspace::{authority::{Denied, Write}, ledger::{Authorized, Entry}, model::{Act, Actor, ProjectId, Scope}};
/// # fn handler(ledger: &Authorized, actor: &Actor, project: ProjectId, entry: Entry) -> Result<(), Denied> {
/// let scope = Scope::Project { project };
/// let appended = ledger.append(scope, entry);
/// # drop(appended); Ok(())
/// # }
/// ```
///
/// Nobody but [`Write`]'s own checks makes one:
///
/// ```compile_fail,E0451
/// # use lb_userspace::{authority::{Denied, Write}, ledger::{Authorized, Entry}, model::{Act, Actor, ProjectId, Scope}};
/// # fn handler(ledger: &Authorized, actor: &Actor, project: ProjectId, entry: Entry) -> Result<(), Denied> {
/// let scope = Scope::Project { project };
/// let authority = Write { scope };
/// let appended = ledger.append(authority, entry);
/// # drop(appended); Ok(())
/// # }
/// ```
///
/// A denial is none either:
///
/// ```compile_fail,E0308
/// # use lb_userspace::{authority::{Denied, Write}, ledger::{Authorized, Entry}, model::{Act, Actor, ProjectId, Scope}};
/// # fn handler(ledger: &Authorized, actor: &Actor, project: ProjectId, entry: Entry) -> Result<(), Denied> {
/// let scope = Scope::Project { project };
/// let authority = Write::authorize(&ledger.snapshot(), actor, Act::Edit, scope);
/// let appended = ledger.append(authority, entry);
/// # drop(appended); Ok(())
/// # }
/// ```
///
/// One authority is good for one operation:
///
/// ```compile_fail,E0382
/// # use lb_userspace::{authority::{Denied, Write}, ledger::{Authorized, Entry}, model::{Act, Actor, ProjectId, Scope}};
/// # fn handler(ledger: &Authorized, actor: &Actor, project: ProjectId, entry: Entry) -> Result<(), Denied> {
/// let scope = Scope::Project { project };
/// let authority = Write::authorize(&ledger.snapshot(), actor, Act::Edit, scope)?;
/// let appended = ledger.append(authority, entry.clone());
/// let again = ledger.append(authority, entry);
/// # drop((appended, again)); Ok(())
/// # }
/// ```
///
/// There is no way around it to the ledger that takes scopes:
///
/// ```compile_fail,E0616
/// # use lb_userspace::ledger::{Authorized, Proposal};
/// # fn handler(ledger: &Authorized, proposal: Proposal) {
/// let appended = ledger.ledger.append(proposal);
/// # drop(appended);
/// # }
/// ```
#[derive(Clone)]
pub struct Authorized {
    ledger: Arc<dyn Ledger>,
}

/// An operation that is asked for, without its scope: that is the authority's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Generation of the snapshot it was made from: compare-and-set.
    pub expected: Generation,
    /// Who.
    pub actor: Actor,
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

impl Authorized {
    /// In front of a ledger.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger }
    }

    /// The same ledger for requests that expect to be refused: it is never written.
    #[must_use]
    pub fn denying(&self) -> Self {
        Self { ledger: Arc::new(self.reader()) }
    }

    /// The ledger for reading alone.
    #[must_use]
    pub fn reader(&self) -> DenyingLedger {
        DenyingLedger::new(Arc::clone(&self.ledger))
    }

    /// Follows the newest snapshot.
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<Arc<Snapshot>> {
        self.ledger.subscribe()
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.ledger.snapshot()
    }

    /// As [`Ledger::operations`].
    ///
    /// # Errors
    /// An engine error.
    pub fn operations(&self, after: Generation, limit: usize) -> Result<Vec<Operation>, LedgerError> {
        self.ledger.operations(after, limit)
    }

    /// A ledger that begins as this one stands, and that nothing comes of.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        Self { ledger: Arc::new(RehearsalLedger::new(Arc::clone(&self.ledger))) }
    }

    /// As [`Ledger::carries_out`].
    #[must_use]
    pub fn carries_out(&self) -> bool {
        self.ledger.carries_out()
    }

    /// As [`Ledger::check`].
    ///
    /// # Errors
    /// [`LedgerError::Destroyed`] when what is appended would be lost.
    pub fn check(&self) -> Result<(), LedgerError> {
        self.ledger.check()
    }

    /// As [`Ledger::trouble`].
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.ledger.trouble()
    }

    /// Appends an operation within the scope of an authority.
    ///
    /// # Errors
    /// As [`Ledger::append`].
    pub fn append(&self, authority: Write, entry: Entry) -> Result<Arc<Operation>, LedgerError> {
        let Entry { expected, actor, verb, reason, at, attempt, plan, changes } = entry;
        let scope = authority.into_scope();
        self.ledger.append(Proposal { expected, actor, scope, verb, reason, at, attempt, plan, changes })
    }

    /// Puts the freeze in force that answers a budget that is used up, and returns it, or the same one that somebody else
    /// put in force meanwhile. `None` when nothing may be put in force: the request expects to be refused.
    ///
    /// # Errors
    /// As [`Ledger::append`].
    pub fn trip(&self, verb: &str, at: Timestamp, exceeded: &Exceeded) -> Result<Option<Measure>, LedgerError> {
        loop {
            let current = self.ledger.snapshot();
            let is_it = |freeze: &Measure| match &freeze.what {
                What::Freeze { place, verb: Some(frozen), .. } => *place == exceeded.place && frozen == verb,
                _ => false,
            };
            if let Some(there) = current.freezes().find(|freeze| freeze.is_in_force(at) && is_it(freeze)) {
                return Ok(Some(Measure::clone(there)));
            }
            let freeze = trip(&current, verb, at, exceeded).map_err(LedgerError::Refused)?;
            let made = freeze.changes.first().map(|change| change.after.clone());
            match (self.ledger.append(freeze), made) {
                (Ok(operation), Some(Document::Measure(measure))) => {
                    if self.carries_out() {
                        log::error!("read-only mode: {}", operation.reason);
                    }
                    return Ok(Some(measure));
                }
                (Err(LedgerError::Conflict { .. }), _) => {}
                (Err(LedgerError::Denied), _) => return Ok(None),
                (Err(error), _) => return Err(error),
                (Ok(_), _) => return Err(LedgerError::Refused("the freeze is none".to_owned())),
            }
        }
    }
}
