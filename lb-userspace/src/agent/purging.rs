//! Looks once a minute at what is to be purged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::ledger::{Ledger, LedgerError};
use crate::model::MeasureId;
use crate::observe::chain;
use crate::purge::{self, Looked};
use crate::reconcile::Status;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(60);

/// Runs for ever.
pub(super) async fn keep(
    ledger: Arc<dyn Ledger>,
    retention: Duration,
    status: watch::Receiver<Arc<Status>>,
) -> &'static str {
    let retention = SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX);
    let mut said: BTreeMap<MeasureId, String> = BTreeMap::new();
    loop {
        // Before the first activation it is not known what the edge holds.
        let (is_settled, is_held) = {
            let status = status.borrow();
            (status.applied_at.is_some(), !status.held.is_empty())
        };
        if is_settled {
            let ledger = Arc::clone(&ledger);
            let looked =
                tokio::task::spawn_blocking(move || purge::look(&*ledger, retention, is_held, Timestamp::now())).await;
            match looked {
                Ok(looked) => tell(looked, &mut said),
                Err(error) => {
                    log::error!("the purge broke off: {error}");
                    return "purge";
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Logs what was done, and once why something was not.
fn tell(looked: Result<Looked, LedgerError>, said: &mut BTreeMap<MeasureId, String>) {
    match looked {
        Ok(Looked { operations, refused }) => {
            for operation in operations {
                let (generation, verb, reason) = (operation.generation, &operation.verb, &operation.reason);
                log::info!("operation {generation} {verb}: {reason}");
            }
            let refused: BTreeMap<MeasureId, String> =
                refused.into_iter().map(|(id, error)| (id, chain(&error))).collect();
            for (id, why) in refused.iter().filter(|(id, why)| said.get(id) != Some(why)) {
                log::warn!("the purge {id} waits: {why}");
            }
            *said = refused;
        }
        Err(LedgerError::Conflict { .. }) => {}
        Err(error) => log::error!("nothing can be purged: {}", chain(&error)),
    }
}
