//! The loop around the reconciler: wait for anything, read everything, activate. The only place that reads the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Reconciler;
use crate::dataplane::Dataplane;
use crate::health::HealthView;

/// An audit takes at most this part of the time: reading tens of thousands of tables must not delay changes.
const AUDIT_SHARE: u32 = 100;
/// Longest time between two audits, however long one takes: what somebody altered is not left for longer.
const AUDIT_AT_MOST: Duration = Duration::from_secs(30);

impl<D: Dataplane + 'static> Reconciler<D> {
    /// Runs on a thread of its own until stopped: no other task delays a change on its way to the maps. Stopping
    /// leaves the maps as they are.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn spawn(self, stop: CancellationToken) -> std::io::Result<std::thread::JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("reconcile".to_owned()).spawn(move || runtime.block_on(self.run(stop)))
    }

    /// Runs until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut snapshots = Source::new(self.sources.snapshots.clone(), "ledger");
        let mut health = Source::new(self.sources.health.clone(), "health checker");
        let mut next_hops = Source::new(self.sources.next_hops.clone(), "next-hop watcher");
        let mut steering = Source::new(self.steering.clone(), "scoreboard");
        let mut shares = Source::new(self.sources.shares.clone(), "balancer");
        let mut known_health = Arc::clone(&self.sources.health.borrow());
        while !stop.is_cancelled() {
            let started = Instant::now();
            let activation = self.activate(Timestamp::now());
            self.report(started, &mut known_health);
            if let Some(took) = activation.audited_in {
                let least = self.settings.audit_interval;
                self.audit_every = (took * AUDIT_SHARE).clamp(least, AUDIT_AT_MOST.max(least));
            }
            let wait = Timestamp::now().duration_until(activation.next);
            let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
            tokio::select! {
                () = stop.cancelled() => break,
                () = snapshots.changed() => {}
                () = health.changed() => {}
                () = next_hops.changed() => {}
                () = steering.changed() => {}
                () = shares.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

impl<D: Dataplane> Reconciler<D> {
    /// Tells the observer about the activation that began at `started`.
    fn report(&self, started: Instant, known: &mut Arc<HealthView>) {
        let Some(observer) = &self.observer else { return };
        let now = Instant::now();
        let has_failed = self.status.last_error.is_some();
        observer.activated(now.duration_since(started), has_failed);
        if Arc::ptr_eq(known, &self.health) || has_failed {
            return;
        }
        for (server, health) in &self.health.servers {
            if known.is_usable(*server) != health.usable {
                observer.health_applied(now.saturating_duration_since(health.decided_at));
            }
        }
        *known = Arc::clone(&self.health);
    }
}

/// A source whose sender may end before the loop: then its last value stands.
struct Source<T> {
    receiver: watch::Receiver<T>,
    name: &'static str,
    has_ended: bool,
}

impl<T> Source<T> {
    const fn new(receiver: watch::Receiver<T>, name: &'static str) -> Self {
        Self { receiver, name, has_ended: false }
    }

    async fn changed(&mut self) {
        if !self.has_ended && self.receiver.changed().await.is_err() {
            self.has_ended = true;
            log::warn!("the {} has ended: its last state stands", self.name);
        }
        if self.has_ended {
            std::future::pending::<()>().await;
        }
    }
}
