//! Undo: the changes that take an operation back. Pure.

use jiff::Timestamp;

use super::{Conflict, Reversal, Touches};
use crate::ledger::{Operation, Snapshot};
use crate::model::Document;

/// What takes `operation` back now.
///
/// A document that is still what the operation made it becomes what it was before. One that is so already is left:
/// undoing twice changes nothing the second time. One that was changed since is kept and reported; `since` says by
/// whom. An undo is an operation like any other and can be undone.
#[must_use]
pub fn undo(operation: &Operation, current: &Snapshot, since: &Touches, now: Timestamp) -> Reversal {
    let mut reversal = Reversal::default();
    // The plan that an operation carried out stays carried out: what is taken back is what it did.
    let is_plan = |document: &Document| matches!(document, Document::Measure(measure) if measure.plan().is_some());
    let mut changes: Vec<_> = operation.changes.iter().filter(|change| !is_plan(&change.after)).collect();
    changes.sort_by_key(|change| change.key());
    for change in changes {
        let key = change.key();
        let Some(document) = current.document(key) else {
            let why = "it is not in the ledger any more: purged".to_owned();
            reversal.conflicts.push(Conflict { key, why });
            continue;
        };
        let is_back = match &change.before {
            Some(before) => *before == document || !before.times().is_live() && !document.times().is_live(),
            None => !document.times().is_live(),
        };
        if is_back {
            reversal.unchanged += 1;
        } else if document == change.after {
            reversal.bring_back(&document, change.before.as_ref(), now);
        } else {
            reversal.conflicts.push(Conflict { key, why: since.sentence(key) });
        }
    }
    reversal
}
