//! Properties of undo and restore over random histories.

use std::collections::BTreeMap;

use lb_userspace::ledger::{Change, Ledger, MemoryLedger, Snapshot};
use lb_userspace::model::{Document, DocumentKey, Generation, Lb, Name, Scope};
use lb_userspace::recovery::restore;
use proptest::prelude::*;

use super::{append, at, delete, reversal_of};
use crate::ledger::{create, lb, owner};

/// What happens to load balancer number `.1`.
#[derive(Clone, Copy, Debug)]
enum Act {
    Rename(u8),
    Delete,
}

fn history() -> impl Strategy<Value = Vec<Vec<(usize, Act)>>> {
    let act = prop_oneof![any::<u8>().prop_map(Act::Rename), Just(Act::Delete)];
    proptest::collection::vec(proptest::collection::vec((0_usize..6, act), 1..6), 1..8)
}

/// A ledger with six load balancers made in two operations, and a history.
fn play(history: &[Vec<(usize, Act)>]) -> MemoryLedger {
    let ledger = MemoryLedger::new();
    let lbs: Vec<Lb> = (0..6).map(|number| lb(&format!("lb-{number}"), owner(1))).collect();
    append(&ledger, "lb.create", lbs[..4].iter().cloned().map(create).collect());
    append(&ledger, "lb.create", lbs[4..].iter().cloned().map(create).collect());
    for step in history {
        let snapshot = ledger.snapshot();
        let now = at(i64::try_from(snapshot.generation().0).unwrap() + 1);
        let mut changes: BTreeMap<DocumentKey, Change> = BTreeMap::new();
        for (number, act) in step {
            let before = snapshot.lb(lbs[*number].id).unwrap().as_ref().clone();
            if !before.times.is_live() {
                continue;
            }
            let change = match act {
                Act::Delete => delete(&snapshot, &before, now),
                Act::Rename(name) => {
                    let name = Name::try_from(format!("renamed-{name}")).unwrap();
                    let after = Lb { name, times: before.times.updated(now), ..before.clone() };
                    Change { before: Some(Document::Lb(before)), after: Document::Lb(after) }
                }
            };
            changes.insert(change.key(), change);
        }
        if !changes.is_empty() {
            append(&ledger, "test", changes.into_values().collect());
        }
    }
    ledger
}

/// Every live document as its bytes.
fn live(snapshot: &Snapshot) -> BTreeMap<DocumentKey, String> {
    let scope = Scope::Project { project: owner(1).project };
    let documents = restore::documents_in(snapshot, &scope).into_iter();
    let live = documents.filter(|(_, document)| document.times().is_live());
    live.map(|(key, document)| (key, serde_json::to_string(&document).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn undoing_the_last_operation_gives_the_bytes_before_it_and_undoing_that_gives_those_after_it(history in history()) {
        let ledger = play(&history);
        let last = ledger.snapshot().generation();
        let before = live(&restore::at_generation(&ledger, Generation(last.0 - 1)).unwrap());
        let after = live(&ledger.snapshot());

        let undone = reversal_of(&ledger, last, at(1000));
        prop_assert!(undone.conflicts.is_empty());
        append(&ledger, "undo", undone.changes);
        prop_assert_eq!(live(&ledger.snapshot()), before);

        let again = reversal_of(&ledger, last, at(1001));
        prop_assert!(again.changes.is_empty(), "a second undo changes nothing");

        let redone = reversal_of(&ledger, ledger.snapshot().generation(), at(1002));
        append(&ledger, "undo", redone.changes);
        prop_assert_eq!(live(&ledger.snapshot()), after);
    }

    #[test]
    fn what_was_changed_since_is_kept_and_reported_with_who_did_it(history in history(), which in 0_usize..8) {
        let ledger = play(&history);
        let operations = ledger.operations(Generation(0), usize::MAX).unwrap();
        let operation = &operations[which % operations.len()];
        let snapshot = ledger.snapshot();
        let reversal = reversal_of(&ledger, operation.generation, at(1000));
        prop_assert_eq!(
            reversal.changes.len() + reversal.conflicts.len() + reversal.unchanged,
            operation.changes.len(),
            "every document is accounted for"
        );
        for change in &operation.changes {
            let current = snapshot.document(change.key()).unwrap();
            let planned = reversal.changes.iter().find(|planned| planned.key() == change.key());
            if let Some(planned) = planned {
                prop_assert_eq!(&current, &change.after, "only what still is as the operation left it is changed");
                if let Some(before) = &change.before {
                    prop_assert_eq!(&planned.after, before);
                }
            }
            if let Some(conflict) = reversal.conflicts.iter().find(|conflict| conflict.key == change.key()) {
                prop_assert!(current != change.after);
                prop_assert!(conflict.why.starts_with("changed since by tester (operation "), "{}", conflict.why);
            }
        }
    }

    #[test]
    fn a_restore_gives_the_bytes_of_the_fold_at_that_generation(history in history(), which in 0_u64..9) {
        let ledger = play(&history);
        let generation = Generation(which % (ledger.snapshot().generation().0 + 1));
        let past = restore::at_generation(&ledger, generation).unwrap();
        let scope = Scope::Project { project: owner(1).project };
        let reversal = restore::restore(&past, &ledger.snapshot(), &scope, at(1000));
        prop_assert!(reversal.conflicts.is_empty());
        let digest = reversal.digest();
        prop_assert_eq!(&restore::restore(&past, &ledger.snapshot(), &scope, at(2000)).digest(), &digest);
        if !reversal.changes.is_empty() {
            append(&ledger, "restore", reversal.changes);
        }
        prop_assert_eq!(live(&ledger.snapshot()), live(&past));
        let again = restore::restore(&past, &ledger.snapshot(), &scope, at(1001));
        prop_assert!(again.changes.is_empty(), "a second restore changes nothing");
    }
}
