//! A ledger that judges and never writes: behind every request that expects to be refused (`Expect: deny`).

use std::sync::Arc;

use tokio::sync::watch;

use super::{Ledger, LedgerError, Operation, Proposal, Snapshot, engine};
use crate::model::Generation;

/// Reads another ledger, and appends to none.
pub struct DenyingLedger(Arc<dyn Ledger>);

impl DenyingLedger {
    /// In front of a ledger.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(ledger)
    }
}

impl Ledger for DenyingLedger {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.subscribe()
    }

    /// Always an error: why the engine refuses, or [`LedgerError::Denied`] when it would not.
    fn append(&self, proposal: Proposal) -> Result<Arc<Operation>, LedgerError> {
        engine::check(&self.0.snapshot(), &proposal)?;
        Err(LedgerError::Denied)
    }

    fn carries_out(&self) -> bool {
        false
    }

    fn operations(&self, after: Generation, limit: usize) -> Result<Vec<Operation>, LedgerError> {
        self.0.operations(after, limit)
    }
}
