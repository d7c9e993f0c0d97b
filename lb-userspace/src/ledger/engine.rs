//! What every storage engine checks before it appends, whatever the guard said: the second of three layers.

use std::collections::BTreeSet;

use super::{Account, Change, LedgerError, Operation, Proposal, Removed, Snapshot, chain, check_scope, containment};
use crate::model::Generation;

/// Most documents that one operation may change: what keeps an operation readable in one piece. It is no protection
/// against removing too much; bringing back everything at once is one operation.
pub const MAX_CHANGES: usize = 65_536;

/// Whether an engine judges what is proposed. Only a drill opens one that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judging {
    /// As it must be.
    On,
    /// What an operation may touch is not looked at.
    Off,
}

/// The operation that a checked proposal becomes, and its stored bytes.
pub(super) fn next(
    current: &Snapshot,
    proposal: Proposal,
    removed: Vec<Removed>,
) -> Result<(Operation, Vec<u8>), LedgerError> {
    let generation = Generation(current.generation().0 + 1);
    let body = chain::Body::new(generation, proposal, removed);
    let bytes = serde_json::to_vec(&body).map_err(|error| LedgerError::Engine(Box::new(error)))?;
    let previous = current.head();
    let hash = chain::hash(previous, &bytes);
    Ok((body.chained(previous, hash), bytes))
}

/// The snapshot after an operation.
pub(super) fn after(current: &Snapshot, operation: &Operation) -> Snapshot {
    let mut after =
        current.after(operation.generation, operation.hash, operation.changes.iter().map(|change| &change.after));
    after.remember(operation);
    after
}

/// Refuses a proposal that was made from another generation, that breaks a rule of the log itself, that a freeze or a
/// budget is against. What it takes out of service, if it may.
pub(super) fn check(current: &Snapshot, proposal: &Proposal) -> Result<Vec<Removed>, LedgerError> {
    check_log(current, proposal)?;
    let Proposal { actor, scope, verb, at, changes, .. } = proposal;
    check_scope(current, actor, scope, changes).map_err(|(_, what)| refused(what))?;
    let is_approved = containment::check_measures(current, proposal).map_err(LedgerError::Refused)?;
    if let Some((lb, takedown)) = containment::takedown(actor, changes) {
        let reason = takedown.reason.as_str();
        return Err(refused(format!("the load balancer {lb} was removed by Trust & Safety: {reason}")));
    }
    if let Some(containment::Escape { key, lb, takedown }) = containment::escape(current, actor, changes) {
        let why = takedown.map_or_else(
            || "is quarantined".to_owned(),
            |takedown| format!("Trust & Safety removed: {}", takedown.reason.as_str()),
        );
        return Err(refused(format!("{key} belongs to the load balancer {lb}, which {why}")));
    }
    if let Some(freeze) = containment::frozen(current, actor, verb, scope, changes, is_approved, *at) {
        return Err(containment::refused(freeze));
    }
    let removed = removed(current, proposal);
    let account = Account::of(changes);
    if !is_approved && let Some(exceeded) = containment::exceeded(current, &actor.id(), account, &removed, *at) {
        return Err(LedgerError::Exceeded(Box::new(exceeded)));
    }
    Ok(removed)
}

/// What the log cannot do without, whatever is switched off by a test.
pub(super) fn check_log(current: &Snapshot, proposal: &Proposal) -> Result<(), LedgerError> {
    if proposal.expected != current.generation() {
        return Err(LedgerError::Conflict { expected: proposal.expected, actual: current.generation() });
    }
    check_shape(proposal)?;
    for change in &proposal.changes {
        check_succession(current, change).map_err(LedgerError::Refused)?;
    }
    Ok(())
}

/// What a proposal takes out of service.
pub(super) fn removed(current: &Snapshot, proposal: &Proposal) -> Vec<Removed> {
    let documents = proposal.changes.iter().map(|change| &change.after);
    let after = current.after(current.generation(), current.head(), documents);
    containment::by_owner(current, &containment::removed(current, &after, &proposal.changes))
}

fn check_shape(proposal: &Proposal) -> Result<(), LedgerError> {
    let count = proposal.changes.len();
    if count == 0 || count > MAX_CHANGES {
        return Err(refused(format!("it changes {count} documents: 1 to {MAX_CHANGES} are allowed")));
    }
    let keys: BTreeSet<_> = proposal.changes.iter().map(Change::key).collect();
    if keys.len() != count {
        return Err(refused("it changes a document twice"));
    }
    if proposal.verb.is_empty() {
        return Err(refused("it has no verb"));
    }
    Ok(())
}

/// Whether a change follows from the current documents; also what opening a ledger checks of every operation.
pub(super) fn check_succession(current: &Snapshot, change: &Change) -> Result<(), String> {
    let key = change.key();
    let Some(before) = &change.before else {
        if current.knows(key) {
            return Err(format!("it creates {key}, which exists"));
        }
        if !change.after.times().is_live() {
            return Err(format!("it creates {key} as a deleted one"));
        }
        return Ok(());
    };
    if before.key() != key {
        return Err(format!("it turns {} into {key}", before.key()));
    }
    if !current.holds(before) {
        return Err(format!("{key} is not what the operation says it was"));
    }
    if before == &change.after {
        return Err(format!("{key} is the same before and after"));
    }
    if before.times().created_at != change.after.times().created_at {
        return Err(format!("it changes when {key} was made"));
    }
    if change.purges() {
        let mut expected = before.clone();
        expected.times_mut().purged_at = change.after.times().purged_at;
        if expected != change.after {
            return Err(format!("it changes {key} while it purges it"));
        }
    }
    Ok(())
}

fn refused(what: impl Into<String>) -> LedgerError {
    LedgerError::Refused(what.into())
}
