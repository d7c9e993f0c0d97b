//! Runs the checker: timers, a bounded number of probes at once, and a view that is published at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::{Checker, HealthView, Job, Now, ProbeOutcome, Prober, Settings, Urgency};
use crate::ledger::Snapshot;
use crate::plan::ServerRef;

/// A verdict is published at once; further ones within this are published together, so that a storm of them costs
/// a bounded number of views.
const VERDICT_GAP: Duration = Duration::from_millis(5);
/// A detail waits this long for company.
const DETAIL_GAP: Duration = Duration::from_secs(1);
/// Servers of a mass failure towards which the probes' source address is looked up.
const SOURCES_OF: usize = 64;
/// Grace periods of deleted load balancers end without a new snapshot.
const FOLLOW_AGAIN: Duration = Duration::from_secs(10);

/// The running checker.
#[derive(Debug)]
pub struct Health {
    /// What is known; published within [`VERDICT_GAP`] of the deciding probe.
    pub view: watch::Receiver<Arc<HealthView>>,
    /// Probes so far, by outcome.
    pub probes: watch::Receiver<ProbeCounts>,
    /// Ends when the snapshots do, or when it is aborted.
    pub task: JoinHandle<()>,
}

/// Probes since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounts {
    /// As expected.
    pub passed: u64,
    /// Refused.
    pub refused: u64,
    /// No answer in time.
    pub timed_out: u64,
    /// Unreachable.
    pub unreachable: u64,
    /// Answered otherwise than expected.
    pub unexpected: u64,
    /// Not made: this machine had no descriptors or ports for it.
    pub not_made: u64,
    /// Servers that are checked.
    pub checked: usize,
}

/// Starts the checker on the current runtime.
pub fn start(
    settings: Settings,
    max_concurrent: usize,
    prober: impl Prober,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    taken_over: BTreeMap<ServerRef, bool>,
) -> Health {
    let mut checker = Checker::new(settings, taken_over);
    checker.follow(&snapshots.borrow(), now());
    let (view_sender, view) = watch::channel(Arc::new(checker.view()));
    let (counts_sender, probes) = watch::channel(ProbeCounts { checked: checker.checked(), ..ProbeCounts::default() });
    let runner = Runner {
        checker,
        max_concurrent: max_concurrent.max(1),
        prober: Arc::new(prober),
        running: JoinSet::new(),
        view: view_sender,
        counts: counts_sender,
        published: None,
        pending: Urgency::None,
    };
    Health { view, probes, task: tokio::spawn(runner.run(snapshots)) }
}

struct Runner<P> {
    checker: Checker,
    max_concurrent: usize,
    prober: Arc<P>,
    /// At most `max_concurrent`.
    running: JoinSet<(u64, io::Result<ProbeOutcome>, Now)>,
    view: watch::Sender<Arc<HealthView>>,
    counts: watch::Sender<ProbeCounts>,
    published: Option<Instant>,
    pending: Urgency,
}

impl<P: Prober> Runner<P> {
    async fn run(mut self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut follow_again = tokio::time::interval(FOLLOW_AGAIN);
        loop {
            self.start_due();
            let due =
                self.checker.next_due().filter(|_| self.running.len() < self.max_concurrent).map(Instant::from_std);
            let publish = self.publish_at();
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next() => {
                    self.take(ended);
                    while let Some(ended) = self.running.try_join_next() {
                        self.take(ended);
                    }
                }
                () = sleep_until(publish) => self.publish(),
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow(&mut snapshots);
                }
                () = sleep_until(due) => {}
                _ = follow_again.tick() => self.follow(&mut snapshots),
            }
            if self.publish_at().is_some_and(|at| at <= Instant::now()) {
                self.publish();
            }
        }
    }

    fn follow(&mut self, snapshots: &mut watch::Receiver<Arc<Snapshot>>) {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        self.pending = self.pending.max(self.checker.follow(&snapshot, now()));
        let checked = self.checker.checked();
        self.counts.send_modify(|counts| counts.checked = checked);
    }

    fn start_due(&mut self) {
        while self.running.len() < self.max_concurrent
            && let Some(job) = self.checker.take_due(Instant::now().into_std())
        {
            let prober = Arc::clone(&self.prober);
            self.running.spawn(async move {
                let result = probe(&*prober, &job).await;
                (job.check, result, now())
            });
        }
    }

    fn take(&mut self, ended: Result<(u64, io::Result<ProbeOutcome>, Now), tokio::task::JoinError>) {
        let (check, result, at) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                log::error!("a probe broke off: {error}");
                return;
            }
        };
        self.counts.send_modify(|counts| counts.count(result.as_ref().ok()));
        match result {
            Ok(outcome) => self.pending = self.pending.max(self.checker.on_outcome(check, outcome, at)),
            Err(error) => log::warn!(
                "a probe could not be made: {error}; the server keeps its state. Raise the limit of open files, or \
                 lower health.max_concurrent_probes"
            ),
        }
    }

    /// When what is pending is to be published.
    fn publish_at(&self) -> Option<Instant> {
        let gap = match self.pending {
            Urgency::None => return None,
            Urgency::Detail => DETAIL_GAP,
            Urgency::Verdict => VERDICT_GAP,
        };
        Some(self.published.map_or_else(Instant::now, |published| published + gap))
    }

    fn publish(&mut self) {
        let mut view = self.checker.view();
        if let Some(failure) = &mut view.mass_failure {
            let failing = view.servers.iter().filter(|(_, health)| !health.up).take(SOURCES_OF);
            let sources: BTreeSet<_> = failing.filter_map(|(server, _)| self.prober.source(server.address)).collect();
            failure.probe_sources = sources.into_iter().collect();
        }
        self.view.send_replace(Arc::new(view));
        self.pending = Urgency::None;
        self.published = Some(Instant::now());
    }
}

impl ProbeCounts {
    const fn count(&mut self, outcome: Option<&ProbeOutcome>) {
        let counter = match outcome {
            Some(ProbeOutcome::Passed) => &mut self.passed,
            Some(ProbeOutcome::Refused) => &mut self.refused,
            Some(ProbeOutcome::TimedOut | ProbeOutcome::NotThrough(_)) => &mut self.timed_out,
            Some(ProbeOutcome::Unreachable(_)) => &mut self.unreachable,
            Some(ProbeOutcome::Unexpected(_)) => &mut self.unexpected,
            None => &mut self.not_made,
        };
        *counter += 1;
    }
}

async fn probe<P: Prober>(prober: &P, job: &Job) -> io::Result<ProbeOutcome> {
    prober.probe(job).await
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The clock seam: the only place of this folder that reads the time. Tokio's clock, so that tests can pause it.
fn now() -> Now {
    Now { instant: Instant::now().into_std(), time: Timestamp::now() }
}

#[cfg(test)]
mod tests;
