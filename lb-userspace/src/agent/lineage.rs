//! Whether the ledger is the one that the maps were made from. A copy of it that was written for itself since, or one
//! that was left behind, looks like it: only that the operations are the same, by their hashes, tells them apart.

use std::path::Path;

use super::AgentError;
use crate::dataplane::{KernelDataplane, Lineage, directories};
use crate::ledger::Ledger;
use crate::model::Generation;

const REMEDY: &str = "Start the agent with the ledger that it had before. If this one is to count from now on, say so: make a \
    backup of it (`snowshed backup create`) and restore that (`snowshed backup restore --replace`), which the agent then \
    takes over from; or take the forwarding off first (`snowshed detach`)";

/// Refuses a ledger that the maps of any version below `pin_dir` were not made from, unless it was restored on purpose.
///
/// # Errors
/// [`AgentError::OtherLedger`]; otherwise when the pins or the ledger cannot be read.
pub(super) fn check(pin_dir: &Path, ledger: &dyn Ledger, was_restored: bool) -> Result<(), AgentError> {
    if was_restored {
        return Ok(());
    }
    for maps in directories(pin_dir)? {
        let Some(lineage) = KernelDataplane::lineage(&maps)? else { continue };
        let Some(what) = difference(&lineage, ledger)? else { continue };
        let snapshot = ledger.snapshot();
        let ledger = format!("(generation {}, {})", snapshot.generation(), snapshot.head());
        return Err(AgentError::OtherLedger { maps, ledger, what, remedy: REMEDY });
    }
    Ok(())
}

/// How a ledger differs from the one that maps were made from.
fn difference(lineage: &Lineage, ledger: &dyn Ledger) -> Result<Option<String>, AgentError> {
    let Some(before) = lineage.generation.checked_sub(1) else { return Ok(None) };
    let known = ledger.operations(Generation(before), 1)?;
    Ok(match known.first() {
        None => Some(format!(
            "they hold generation {}, and this ledger ends before: it is an older copy, or another ledger",
            lineage.generation
        )),
        Some(operation) if operation.hash.to_string() == lineage.head => None,
        Some(operation) => Some(format!(
            "its operation {} is {} of {}, and theirs was another: it is a copy that went its own way, or another ledger",
            lineage.generation, operation.id, operation.at
        )),
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::{Change, MemoryLedger, Proposal};
    use crate::model::{Actor, Document, Name, Organization, OrganizationId, Scope, Times};

    fn grown(ledger: MemoryLedger, operations: usize) -> MemoryLedger {
        for _ in 0..operations {
            let id = OrganizationId::new();
            let name = Name::try_from("acme".to_owned()).unwrap();
            let made = Organization { id, name, times: Times::created(Timestamp::UNIX_EPOCH) };
            let proposal = Proposal {
                expected: ledger.snapshot().generation(),
                actor: Actor::agent("test"),
                scope: Scope::Organization { organization: id },
                verb: "organization.create".to_owned(),
                reason: String::new(),
                at: Timestamp::UNIX_EPOCH,
                attempt: None,
                plan: None,
                changes: vec![Change { before: None, after: Document::Organization(made) }],
            };
            ledger.append(proposal).unwrap();
        }
        ledger
    }

    #[test]
    fn only_the_ledger_whose_operation_the_maps_hold_is_theirs_however_long_it_is_by_now() {
        let ledger = grown(MemoryLedger::new(), 5);
        let head = ledger.snapshot();
        let lineage = Lineage { generation: head.generation().0, head: head.head().to_string() };
        assert_eq!(difference(&lineage, &ledger).unwrap(), None);
        assert_eq!(difference(&lineage, &grown(ledger, 3)).unwrap(), None);
        let what = |operations| difference(&lineage, &grown(MemoryLedger::new(), operations)).unwrap().unwrap();
        assert!(what(4).contains("ends before"), "{}", what(4));
        assert!(what(5).contains("went its own way") && what(9).contains("went its own way"), "{}", what(9));
        let none = Lineage { generation: 0, head: String::new() };
        assert_eq!(difference(&none, &MemoryLedger::new()).unwrap(), None, "maps that nothing was written to yet");
    }
}
