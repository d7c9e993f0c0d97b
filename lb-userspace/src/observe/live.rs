//! How much live traffic a load balancer has: differences of the kernel's counters over the last minutes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::edge::CounterSource;
use crate::model::LbId;
use crate::plan::{ServiceAddress, Tables};
use crate::reconcile::Directory;

/// Time between two readings.
pub const EVERY: Duration = Duration::from_secs(10);
/// Readings kept: the traffic of the last two minutes.
const KEPT: usize = 12;

/// What a load balancer carries, averaged over the last minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Packets a second.
    pub packets_per_second: f64,
    /// New connections a second.
    pub connections_per_second: f64,
}

impl Rate {
    /// Whether there is any.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.packets_per_second > 0.0
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            packets_per_second: self.packets_per_second + other.packets_per_second,
            connections_per_second: self.connections_per_second + other.connections_per_second,
        }
    }
}

/// Knows the live traffic.
pub trait LiveTraffic: Send + Sync {
    /// The traffic of load balancers; of those that are in no map there is none.
    ///
    /// # Errors
    /// What happened, when the counters cannot be read.
    fn of(&self, lbs: &BTreeSet<LbId>) -> Result<BTreeMap<LbId, Rate>, String>;
}

/// Reads the counters of the maps again and again.
pub struct Sampler {
    counters: CounterSource,
    directory: watch::Receiver<Arc<Directory>>,
    tables: watch::Receiver<Arc<Tables>>,
    samples: Mutex<VecDeque<Sample>>,
}

struct Sample {
    at: Instant,
    counts: BTreeMap<ServiceAddress, Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    packets: u64,
    opened: u64,
}

impl Sampler {
    /// A sampler that has read nothing yet.
    #[must_use]
    pub fn new(
        counters: CounterSource,
        directory: watch::Receiver<Arc<Directory>>,
        tables: watch::Receiver<Arc<Tables>>,
    ) -> Self {
        Self { counters, directory, tables, samples: Mutex::default() }
    }

    /// Takes a reading.
    ///
    /// # Errors
    /// What happened, when the counters cannot be read.
    pub fn sample(&self) -> Result<(), String> {
        let sample = self.read()?;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(sample);
        if samples.len() > KEPT {
            samples.pop_front();
        }
        Ok(())
    }

    fn read(&self) -> Result<Sample, String> {
        let counters = (self.counters)().map_err(|error| super::chain(&error))?;
        let directory = Arc::clone(&self.directory.borrow());
        let counts = counters
            .services
            .iter()
            .filter_map(|(id, stats)| {
                let count = Count { packets: stats.packets, opened: stats.opened };
                directory.services.get(id).map(|address| (*address, count))
            })
            .collect();
        Ok(Sample { at: Instant::now(), counts })
    }
}

impl LiveTraffic for Sampler {
    fn of(&self, lbs: &BTreeSet<LbId>) -> Result<BTreeMap<LbId, Rate>, String> {
        let now = self.read()?;
        let tables = Arc::clone(&self.tables.borrow());
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = samples.front() else { return Ok(BTreeMap::new()) };
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
        let mut rates: BTreeMap<LbId, Rate> = BTreeMap::new();
        for (address, count) in &now.counts {
            let Some(lb) = tables.services.get(address).map(|service| service.lb).filter(|lb| lbs.contains(lb)) else {
                continue;
            };
            let old = before.counts.get(address).copied().unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let per_second = |now: u64, old: u64| now.saturating_sub(old) as f64 / seconds;
            let rate = Rate {
                packets_per_second: per_second(count.packets, old.packets),
                connections_per_second: per_second(count.opened, old.opened),
            };
            let sum = rates.entry(lb).or_default();
            *sum = sum.plus(rate);
        }
        Ok(rates)
    }
}
