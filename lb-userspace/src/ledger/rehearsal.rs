//! A ledger that is written as any other and forgotten at the end: behind requests that only want to know what would
//! come of them (`Expect: rehearsal=ID`). It begins as another one stands at that moment.

use std::sync::Arc;

use tokio::sync::watch;

use super::memory::{MemoryLedger, Most};
use super::{Ledger, LedgerError, Operation, Proposal, Snapshot};
use crate::model::Generation;

/// What is rehearsed together. It stays in memory until the rehearsal is over, and there are sixteen of them at most.
const MOST: Most = Most { operations: 10_000, bytes: 8 << 20 };

/// What another ledger held, and what was rehearsed since; the other one is only read.
pub struct RehearsalLedger {
    base: Arc<dyn Ledger>,
    began: Generation,
    rehearsed: MemoryLedger,
}

impl RehearsalLedger {
    /// From how a ledger stands now.
    #[must_use]
    pub fn new(base: Arc<dyn Ledger>) -> Self {
        let snapshot = base.snapshot();
        Self { base, began: snapshot.generation(), rehearsed: MemoryLedger::from_snapshot(snapshot, MOST) }
    }
}

impl Ledger for RehearsalLedger {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.rehearsed.snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.rehearsed.subscribe()
    }

    fn append(&self, proposal: Proposal) -> Result<Arc<Operation>, LedgerError> {
        // What could not be appended for real would not be appended.
        self.base.check()?;
        self.rehearsed.append(proposal)
    }

    fn operations(&self, after: Generation, limit: usize) -> Result<Vec<Operation>, LedgerError> {
        let mut operations = self.base.operations(after, limit)?;
        operations.retain(|operation| operation.generation <= self.began);
        let missing = limit - operations.len();
        operations.extend(self.rehearsed.operations(after.max(self.began), missing)?);
        Ok(operations)
    }

    fn carries_out(&self) -> bool {
        false
    }

    fn check(&self) -> Result<(), LedgerError> {
        self.base.check()
    }

    fn trouble(&self) -> Option<String> {
        self.base.trouble()
    }
}
