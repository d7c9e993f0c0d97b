//! From a proposal to the ledger: guard, append, and a bounded number of tries when somebody else was first.

use super::idempotency::{Answer, Caller};
use super::{ApiError, Context};
use crate::authority::Write;
use crate::guard::{self, Proposed};
use crate::ledger::{Change, LedgerError, Proposal, Snapshot};
use crate::model::{Actor, Document, Generation};

/// How often a change is proposed anew because the ledger moved.
const MAX_TRIES: usize = 16;

/// What a handler wants to change, made from one snapshot.
pub(super) struct Draft {
    /// The right to make them.
    pub(super) authority: Write,
    /// Changes without an effect are left out.
    pub(super) changes: Vec<Change>,
}

/// Drafts a change from the newest snapshot, judges it and appends it. Nothing is appended when nothing would change.
/// The answer is what `show` makes of the snapshot after the change; it is kept with the operation when the request
/// has a key.
pub(super) fn commit<A: Answer>(
    context: &Context,
    caller: &Caller,
    verb: &str,
    mut draft: impl FnMut(&Snapshot) -> Result<Draft, ApiError>,
    show: impl Fn(&Snapshot) -> Result<A, ApiError>,
) -> Result<A, ApiError> {
    let actor: &Actor = caller;
    for _ in 0..MAX_TRIES {
        let current = context.ledger.snapshot();
        let at = (context.clock)();
        if caller.is_known(&current, at) {
            return Err(ApiError::unavailable("a request with the same Idempotency-Key was carried out meanwhile"));
        }
        let Draft { authority, mut changes } = draft(&current)?;
        changes.retain(|change| change.before.as_ref() != Some(&change.after));
        if changes.is_empty() {
            return show(&current);
        }
        let proposed = Proposed { scope: authority.into_scope(), changes, is_recovery: false };
        let report = guard::judge(&current, &proposed, actor, &context.limits, &context.pools);
        if !report.is_allowed() {
            return Err(report.into());
        }
        let next = Generation(current.generation().0 + 1);
        let answer = show(&current.after(next, current.head(), proposed.changes.iter().map(|change| &change.after)))?;
        let proposal = Proposal {
            expected: current.generation(),
            actor: actor.clone(),
            scope: proposed.scope,
            verb: verb.to_owned(),
            reason: String::new(),
            at,
            attempt: caller.attempt(&answer)?,
            changes: proposed.changes,
        };
        match context.ledger.append(proposal) {
            Ok(operation) => {
                log::info!("operation {} {verb} by {}: {}", operation.generation, actor.name, operation.id);
                return Ok(answer);
            }
            Err(LedgerError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::unavailable("others changed the ledger at the same time, again and again"))
}

/// Runs what reads or writes the ledger off the async threads: an append waits for the disk.
pub(super) async fn run<R: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Context) -> Result<R, ApiError> + Send + 'static,
) -> Result<R, ApiError> {
    let context = context.clone();
    tokio::task::spawn_blocking(move || work(&context)).await.unwrap_or_else(|error| {
        log::error!("a request handler failed: {error}");
        Err(ApiError::internal("the request handler failed"))
    })
}

/// A creation.
pub(super) const fn create(after: Document) -> Change {
    Change { before: None, after }
}

/// An update.
pub(super) const fn update(before: Document, after: Document) -> Change {
    Change { before: Some(before), after }
}
