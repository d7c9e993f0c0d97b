//! Recovery: undo and restore bring back exactly what was there, in one operation, whatever interrupts them.

mod kill;
mod properties;

use jiff::Timestamp;
use lb_userspace::ledger::{Change, Ledger, Operation, Proposal, Snapshot};
use lb_userspace::model::{Actor, Document, Generation, Lb, Scope};
use lb_userspace::recovery::{Reversal, Touches, undo};

use crate::ledger::owner;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn append(ledger: &dyn Ledger, verb: &str, changes: Vec<Change>) -> Operation {
    let owner = owner(1);
    let current = ledger.snapshot();
    let proposal = Proposal {
        expected: current.generation(),
        actor: Actor::editor("tester", owner),
        scope: Scope::Project { project: owner.project },
        verb: verb.to_owned(),
        reason: String::new(),
        at: at(i64::try_from(current.generation().0).unwrap() + 1),
        attempt: None,
        plan: None,
        changes,
    };
    Operation::clone(&ledger.append(proposal).unwrap())
}

/// What takes operation `number` back now.
fn reversal_of(ledger: &dyn Ledger, number: Generation, now: Timestamp) -> Reversal {
    let operations = ledger.operations(Generation(number.0 - 1), usize::MAX).unwrap();
    let (operation, later) = operations.split_first().unwrap();
    let mut since = Touches::default();
    later.iter().for_each(|operation| since.note(operation));
    undo::undo(operation, &ledger.snapshot(), &since, now)
}

fn delete(snapshot: &Snapshot, lb: &Lb, now: Timestamp) -> Change {
    let before = snapshot.lb(lb.id).unwrap().as_ref().clone();
    let after = Lb { times: before.times.deleted(now), ..before.clone() };
    Change { before: Some(Document::Lb(before)), after: Document::Lb(after) }
}
