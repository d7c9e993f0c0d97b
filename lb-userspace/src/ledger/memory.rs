//! The ledger in memory: for tests and rehearsals. It shares every check with the others and forgets everything at the end.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Ledger, LedgerError, Operation, Proposal, Snapshot, append, engine};
use crate::faults::{Faults, Layer};
use crate::model::Generation;

/// Most that a ledger in memory keeps.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Operations.
    pub operations: usize,
    /// Bytes of operations, as another ledger would store them.
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    operations: Vec<Operation>,
    bytes: usize,
}

/// A ledger without a file.
#[derive(Debug)]
pub struct MemoryLedger {
    kept: Mutex<Kept>,
    most: Most,
    head: watch::Sender<Arc<Snapshot>>,
    faults: Faults,
}

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::with_faults(Faults::default())
    }

    /// An empty ledger of which a test took layers away.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        let most = Most { operations: usize::MAX, bytes: usize::MAX };
        Self { kept: Mutex::default(), most, head: watch::Sender::new(Arc::default()), faults }
    }

    /// A ledger that knows of what was before only how it ended, and keeps no more than so much.
    #[must_use]
    pub fn from_snapshot(snapshot: Arc<Snapshot>, most: Most) -> Self {
        Self { kept: Mutex::default(), most, head: watch::Sender::new(snapshot), faults: Faults::default() }
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger for MemoryLedger {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.head.borrow())
    }

    fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.head.subscribe()
    }

    fn append(&self, proposal: Proposal) -> Result<Arc<Operation>, LedgerError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot();
        append(&current, proposal, !self.faults.is_off(Layer::Engine), |operation, body| {
            let Most { operations, bytes } = self.most;
            if kept.operations.len() >= operations || body.len() > bytes - kept.bytes {
                return Err(LedgerError::RehearsalIsFull { operations, bytes });
            }
            kept.bytes += body.len();
            kept.operations.push(operation.clone());
            self.head.send_replace(Arc::new(engine::after(&current, operation)));
            Ok(())
        })
    }

    fn operations(&self, after: Generation, limit: usize) -> Result<Vec<Operation>, LedgerError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.operations.iter().filter(|operation| operation.generation > after).take(limit).cloned().collect())
    }
}
