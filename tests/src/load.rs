//! HTTP load with a time stamp per request, so that a failure can be placed beside what caused it.
//!
//! wrk makes more load, but tells neither when a request failed nor who answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::http::Connection;
use crate::netns::Netns;
use crate::{vm, wait};

/// What load to make.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Where to.
    pub target: SocketAddr,
    /// Connections at the same time.
    pub connections: usize,
    /// Requests of a connection follow each other on the same connection; otherwise each opens one.
    pub keep_alive: bool,
    /// Pause after each request of a connection.
    pub pause: Duration,
    /// A request that takes longer has failed.
    pub timeout: Duration,
}

impl Load {
    /// A steady load of short connections: 8 at a time, a few thousand requests a second.
    #[must_use]
    pub const fn short(target: SocketAddr) -> Self {
        Self {
            target,
            connections: 8,
            keep_alive: false,
            pause: Duration::from_millis(2),
            timeout: Duration::from_secs(2),
        }
    }

    /// A steady load on 32 long-lived connections.
    #[must_use]
    pub const fn long_lived(target: SocketAddr) -> Self {
        Self { connections: 32, keep_alive: true, pause: Duration::from_millis(5), ..Self::short(target) }
    }

    /// Starts the load in a namespace; it runs until [`Running::finish`].
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(self, netns: &Netns) -> Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let mut threads = Vec::new();
        for number in 0..self.connections {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            threads.push(netns.spawn(&format!("load-{number}"), move || Ok(self.run(number, &stop, &done)))?);
        }
        Ok(Running { stop, done, threads })
    }

    fn run(self, number: usize, stop: &AtomicBool, done: &AtomicUsize) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut connection = None;
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let opened = connection.is_none();
            let outcome = self.request(&mut connection);
            if outcome.is_err() || !self.keep_alive {
                connection = None;
            }
            let outcome = outcome.map_err(|error| format!("{error:#}"));
            samples.push(Sample { connection: number, opened, started, ended: Instant::now(), outcome });
            done.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(self.pause);
        }
        samples
    }

    fn request(self, connection: &mut Option<Connection>) -> Result<String> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(Connection::open(self.target, self.timeout).context("connect")?),
        };
        open.get("/", self.keep_alive)
    }
}

/// A load that runs.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Result<Vec<Sample>>>>,
}

impl Running {
    /// Requests made so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests have been made, or the share of them that [`vm::scaled`] makes of it.
    ///
    /// # Errors
    /// When they have not within 30 s.
    pub fn wait_for(&self, more: usize) -> Result<()> {
        let more = vm::scaled(more);
        let goal = self.requests() + more;
        wait::until(&format!("{more} more requests"), Duration::from_secs(30), || self.requests() >= goal)
    }

    /// Ends the load; every request that was under way is waited for.
    ///
    /// # Errors
    /// When a connection's thread could not enter its namespace.
    pub fn finish(mut self) -> Result<Samples> {
        self.stop.store(true, Ordering::Relaxed);
        let mut samples = Vec::new();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(outcome) => samples.extend(outcome?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        samples.sort_by_key(|sample| sample.started);
        Ok(Samples(samples))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which of the load's connections.
    pub connection: usize,
    /// A connection was opened for it.
    pub opened: bool,
    /// When it began.
    pub started: Instant,
    /// When the answer was there, or the failure.
    pub ended: Instant,
    /// The name of the server, or what went wrong.
    pub outcome: Result<String, String>,
}

/// Every request of a load, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// Requests that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(|sample| sample.outcome.is_err())
    }

    /// What went wrong, each with how often.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, usize> {
        let mut failures = BTreeMap::new();
        for error in self.0.iter().filter_map(|sample| sample.outcome.as_ref().err()) {
            *failures.entry(error.clone()).or_default() += 1;
        }
        failures
    }

    /// Time from `event` to the end of the last request that failed after it; zero when none did.
    #[must_use]
    pub fn recovery_after(&self, event: Instant) -> Duration {
        let ended = self.failed().map(|sample| sample.ended).filter(|ended| *ended > event).max();
        ended.map_or(Duration::ZERO, |ended| ended - event)
    }

    /// The requests that began at `from` or later.
    #[must_use]
    pub fn since(&self, from: Instant) -> Self {
        Self(self.0.iter().filter(|sample| sample.started >= from).cloned().collect())
    }

    /// The requests that opened a connection.
    #[must_use]
    pub fn openings(&self) -> Self {
        Self(self.0.iter().filter(|sample| sample.opened).cloned().collect())
    }

    /// Answers by server.
    #[must_use]
    pub fn by_server(&self) -> BTreeMap<String, usize> {
        let mut servers = BTreeMap::new();
        for name in self.0.iter().filter_map(|sample| sample.outcome.as_ref().ok()) {
            *servers.entry(name.clone()).or_default() += 1;
        }
        servers
    }

    /// Connections that were answered by more than one server without being opened anew: must be none.
    #[must_use]
    pub fn wandering(&self) -> usize {
        let mut last = BTreeMap::new();
        let mut wandering = 0;
        for sample in &self.0 {
            let Ok(server) = &sample.outcome else { continue };
            let before = last.insert(sample.connection, server);
            wandering += usize::from(!sample.opened && before.is_some_and(|before| before != server));
        }
        wandering
    }
}

/// Largest distance between a server's share of the answers and its share of the weights, in 0 … 1.
///
/// Servers that answered without a weight count with their whole share.
#[must_use]
pub fn share_error(answers: &BTreeMap<String, usize>, weights: &BTreeMap<String, u32>) -> f64 {
    let total = answers.values().sum::<usize>().max(1) as f64;
    let weight_sum = weights.values().sum::<u32>().max(1);
    let names = answers.keys().chain(weights.keys());
    names
        .map(|name| {
            let got = answers.get(name).copied().unwrap_or_default() as f64 / total;
            let wanted = f64::from(weights.get(name).copied().unwrap_or_default()) / f64::from(weight_sum);
            (got - wanted).abs()
        })
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::share_error;

    #[test]
    fn the_share_error_is_the_largest_distance_and_sees_unexpected_servers() {
        let weights = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 3)]);
        let error = |a, b, c| {
            let answers = [("a", a), ("b", b), ("c", c)].map(|(name, count)| (name.to_owned(), count));
            share_error(&BTreeMap::from(answers), &weights)
        };
        assert!(error(25, 75, 0).abs() < 1e-9);
        assert!((error(50, 50, 0) - 0.25).abs() < 1e-9);
        assert!((error(0, 60, 40) - 0.4).abs() < 1e-9);
    }
}
