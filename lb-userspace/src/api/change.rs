//! From a proposal to the ledger: guard, append, and a bounded number of tries when somebody else was first.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::idempotency::{Answer, Caller};
use super::{ApiError, Context};
use crate::authority::Write;
use crate::faults::Layer;
use crate::guard::{self, Proposed};
use crate::ledger::{Change, Entry, Exceeded, LedgerError, Snapshot};
use crate::model::{Actor, Document, Generation, LbId, MeasureId};
use crate::observe::Rate;

/// How often a change is proposed anew because the ledger moved.
const MAX_TRIES: usize = 16;

/// What a handler wants to change, made from one snapshot.
pub(super) struct Draft {
    /// The right to make them.
    pub(super) authority: Write,
    /// Changes without an effect are left out.
    pub(super) changes: Vec<Change>,
}

/// What an operation is, beside its changes.
pub(super) struct Order {
    /// Verb and noun.
    pub(super) verb: &'static str,
    /// Why, in the actor's words; may be empty.
    pub(super) reason: String,
    /// The plan that is carried out.
    pub(super) plan: Option<MeasureId>,
    /// What is deleted may live again.
    pub(super) is_recovery: bool,
    /// Live traffic that must not be cut off.
    pub(super) traffic: BTreeMap<LbId, Rate>,
}

impl Order {
    /// An operation like any other.
    pub(super) const fn new(verb: &'static str) -> Self {
        Self { verb, reason: String::new(), plan: None, is_recovery: false, traffic: BTreeMap::new() }
    }
}

/// Drafts a change from the newest snapshot, judges it and appends it. Nothing is appended when nothing would change.
/// The answer is what `show` makes of the snapshot after the change; it is kept with the operation when the request
/// has a key.
pub(super) fn commit<A: Answer>(
    context: &Context,
    caller: &Caller,
    verb: &'static str,
    mut draft: impl FnMut(&Snapshot) -> Result<Draft, ApiError>,
    show: impl Fn(&Snapshot) -> Result<A, ApiError>,
) -> Result<A, ApiError> {
    commit_as(context, caller, &Order::new(verb), |current, _| draft(current), show)
}

/// The same with all that an operation can be. The draft is given the time of the operation.
pub(super) fn commit_as<A: Answer>(
    context: &Context,
    caller: &Caller,
    order: &Order,
    mut draft: impl FnMut(&Snapshot, Timestamp) -> Result<Draft, ApiError>,
    show: impl Fn(&Snapshot) -> Result<A, ApiError>,
) -> Result<A, ApiError> {
    let actor: &Actor = caller;
    for _ in 0..MAX_TRIES {
        let current = context.ledger.snapshot();
        let at = (context.clock)();
        if caller.is_known(&current, at) {
            return Err(ApiError::unavailable("a request with the same Idempotency-Key was carried out meanwhile"));
        }
        let Draft { authority, mut changes } = draft(&current, at)?;
        changes.retain(|change| change.before.as_ref() != Some(&change.after));
        if changes.is_empty() {
            return show(&current);
        }
        let entry = judged(context, actor, &current, order, &authority, changes, at)?;
        let next = Generation(current.generation().0 + 1);
        let answer = show(&current.after(next, current.head(), entry.changes.iter().map(|change| &change.after)))?;
        let entry = Entry { attempt: caller.attempt(&answer)?, ..entry };
        match context.ledger.append(authority, entry) {
            Ok(operation) => {
                if context.ledger.carries_out() {
                    let verb = order.verb;
                    log::info!("operation {} {verb} by {}: {}", operation.generation, actor.name, operation.id);
                }
                return Ok(answer);
            }
            Err(LedgerError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::unavailable("others changed the ledger at the same time, again and again"))
}

/// The proposal, when the guard allows it. A budget that is used up becomes read-only mode here and now.
fn judged(
    context: &Context,
    actor: &Actor,
    current: &Snapshot,
    order: &Order,
    authority: &Write,
    changes: Vec<Change>,
    at: Timestamp,
) -> Result<Entry, ApiError> {
    let proposed = Proposed {
        plan: order.plan,
        is_recovery: order.is_recovery,
        traffic: order.traffic.clone(),
        ..Proposed::new(authority.scope().clone(), changes, order.verb, at)
    };
    let report = match context.faults.is_off(Layer::Guard) {
        true => guard::Report::default(),
        false => guard::judge(current, &proposed, actor, &context.limits, &context.pools),
    };
    let entry = Entry {
        expected: current.generation(),
        actor: actor.clone(),
        verb: proposed.verb,
        reason: order.reason.clone(),
        at,
        attempt: None,
        plan: proposed.plan,
        changes: proposed.changes,
    };
    if let Some(exceeded) = report.exceeded() {
        return Err(trip(context, &entry, exceeded));
    }
    if report.is_allowed() { Ok(entry) } else { Err(report.into()) }
}

/// Puts the freeze in force that answers a budget that is used up. Who was first to do so does not matter.
fn trip(context: &Context, entry: &Entry, exceeded: &Exceeded) -> ApiError {
    match context.ledger.trip(&entry.verb, entry.at, exceeded) {
        Ok(Some(freeze)) => ApiError::frozen(&freeze, entry.at),
        Ok(None) => ApiError::would_freeze(exceeded),
        Err(error) => error.into(),
    }
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
