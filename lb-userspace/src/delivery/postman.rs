//! The postman: takes due letters out of the outbox, one at a time for each recipient, and notes how it went.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{Id, JoinSet};

use super::outbox::{Outbox, OutboxError};
use super::{Backoff, Carriers, Delivery, Outcome, Recipient, State};
use crate::observe::chain;
use crate::shares::Sharer;

/// Letters on their way at once.
const MOST_AT_ONCE: usize = 64;
/// Those of one organization, and the edge's own: whose receivers are slow has its own letters wait, and nobody else's.
pub(super) const MOST_OF_ONE: usize = 8;
/// Longest sleep: a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Pause after the outbox failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Delivers for ever. Ended at any moment, what was on its way is tried again by the next postman.
pub async fn run(
    outbox: Arc<Outbox>,
    carriers: Carriers,
    backoff: Backoff,
    clock: impl Fn() -> Timestamp + Clone + Send + Sync + 'static,
) -> &'static str {
    let mut rounds = Rounds { outbox, carriers, backoff, clock, under_way: JoinSet::new(), busy: BTreeMap::new() };
    loop {
        let pause = match rounds.start_due().await {
            Ok(pause) => pause,
            Err(error) => {
                log::error!("{}", chain(&error));
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = rounds.outbox.posted() => {}
            Some(ended) = rounds.under_way.join_next_with_id() => match ended {
                Ok((id, ())) => drop(rounds.busy.remove(&id)),
                Err(error) => {
                    log::error!("a delivery broke off: {error}");
                    rounds.busy.remove(&error.id());
                }
            },
        }
    }
}

/// Somebody who is being served, and in whose share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) to: Recipient,
    pub(super) sharer: Sharer,
}

struct Rounds<C> {
    outbox: Arc<Outbox>,
    carriers: Carriers,
    backoff: Backoff,
    clock: C,
    under_way: JoinSet<()>,
    /// Who is being served.
    busy: BTreeMap<Id, Served>,
}

impl<C: Fn() -> Timestamp + Clone + Send + Sync + 'static> Rounds<C> {
    /// Starts what is due and there is room for; how long there is nothing to do.
    async fn start_due(&mut self) -> Result<Duration, OutboxError> {
        let room = MOST_AT_ONCE - self.under_way.len();
        let busy: Vec<Served> = self.busy.values().copied().collect();
        let now = (self.clock)();
        let due = off_thread(&self.outbox, move |outbox| Ok(outbox.store().due(now, &busy, room)?)).await?;
        for delivery in due {
            let served = Served { to: delivery.letter.to, sharer: delivery.letter.organization_id };
            let attempt =
                attempt(Arc::clone(&self.outbox), self.carriers.clone(), self.backoff, self.clock.clone(), delivery);
            self.busy.insert(self.under_way.spawn(attempt).id(), served);
        }
        if self.under_way.len() >= MOST_AT_ONCE {
            return Ok(LONGEST_SLEEP);
        }
        let busy: Vec<Served> = self.busy.values().copied().collect();
        let next = off_thread(&self.outbox, move |outbox| Ok(outbox.store().next_due(&busy)?)).await?;
        let pause = next.map(|next| Duration::try_from(next.duration_since((self.clock)())).unwrap_or_default());
        Ok(pause.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP))
    }
}

/// Carries one letter and notes how it went.
async fn attempt(
    outbox: Arc<Outbox>,
    carriers: Carriers,
    backoff: Backoff,
    clock: impl Fn() -> Timestamp,
    delivery: Delivery,
) {
    let outcome = carriers.carry(&delivery, clock()).await;
    let now = clock();
    let failed = delivery.attempts.saturating_add(1);
    let (result, state, due, error) = match outcome {
        Outcome::Delivered => ("delivered", State::Delivered, None, None),
        Outcome::Never { what } => ("refused", State::Dead, None, Some(what)),
        Outcome::Later { what, pause } => match backoff.pause(failed, pause, rand::random()) {
            Some(pause) => {
                ("failed", State::Waiting, Some(now.saturating_add(pause).unwrap_or(Timestamp::MAX)), Some(what))
            }
            None => ("failed", State::Dead, None, Some(what)),
        },
    };
    let id = delivery.id;
    outbox.count(delivery.letter.address.channel(), result);
    if let (State::Dead, Some(what)) = (state, &error) {
        log::error!("delivery {id} to {} is given up after {failed} attempts: {what}", delivery.letter.to);
    }
    let noted = off_thread(&outbox, move |outbox| Ok(outbox.store().tried(id, now, state, due, error.as_deref())?));
    if let Err(error) = noted.await {
        // It waits as before, and is sent once more: the recipient knows its id.
        log::error!("how delivery {id} went cannot be noted: {}", chain(&error));
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

async fn off_thread<T: Send + 'static>(
    outbox: &Arc<Outbox>,
    work: impl FnOnce(&Outbox) -> Result<T, OutboxError> + Send + 'static,
) -> Result<T, OutboxError> {
    let outbox = Arc::clone(outbox);
    match tokio::task::spawn_blocking(move || work(&outbox)).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
