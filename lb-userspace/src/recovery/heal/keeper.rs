//! What heal remembers: since when something is amiss, and who has dealt with it. It steers the reconciler and tells what
//! changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use super::Fault;
use super::board::{self, Board, Facts, Finding, Progress, Resolved};
use crate::health::{HealthView, source_towards};
use crate::ledger::Ledger;
use crate::model::LbId;
use crate::observe::events::News;
use crate::observe::{Events, LiveTraffic};
use crate::plan::{NextHops, Resolution, Tables};
use crate::reconcile::{Backlog, Status, Steering};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two readings of the live traffic.
const LOOKS_PER_READING: u32 = 10;
/// Load balancers that an event names.
const NAMED: usize = 10;

/// What heal reads, newest value each.
pub struct Sources {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// What the reconciler last did.
    pub status: watch::Receiver<Arc<Status>>,
    /// What the maps hold, and what they do not.
    pub backlog: watch::Receiver<Arc<Backlog>>,
    /// What the maps should hold.
    pub tables: watch::Receiver<Arc<Tables>>,
    /// What the checkers know.
    pub health: watch::Receiver<Arc<HealthView>>,
    /// The ways to our own addresses: where another host answers for one, there is one.
    pub ways_to_vips: watch::Receiver<Arc<NextHops>>,
    /// Knows the live traffic.
    pub traffic: Arc<dyn LiveTraffic>,
}

/// The scoreboard with its memory.
pub struct Heal {
    sources: Sources,
    memory: Mutex<Memory>,
    steering: watch::Sender<Arc<Steering>>,
}

/// What a finding is known by.
type Key = (Option<LbId>, Fault, String);

#[derive(Default)]
struct Memory {
    known: BTreeMap<Key, Known>,
    packets: BTreeMap<LbId, f64>,
    wishes: u64,
    looks: u32,
    /// What was told of last, by reason.
    told: BTreeMap<Fault, usize>,
}

struct Known {
    since: Timestamp,
    resolved: Option<Resolved>,
    is_seen: bool,
}

impl std::fmt::Debug for Heal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heal").finish_non_exhaustive()
    }
}

impl Heal {
    /// A scoreboard that remembers nothing yet.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self { sources, memory: Mutex::default(), steering: watch::Sender::default() }
    }

    /// What the reconciler is to follow.
    #[must_use]
    pub fn steering(&self) -> watch::Receiver<Arc<Steering>> {
        self.steering.subscribe()
    }

    /// The scoreboard now.
    #[must_use]
    pub fn board(&self, now: Timestamp) -> Board {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(&mut memory, now)
    }

    fn look(&self, memory: &mut Memory, now: Timestamp) -> Board {
        let (status, backlog) = (Arc::clone(&self.sources.status.borrow()), Arc::clone(&self.sources.backlog.borrow()));
        let (tables, health) = (Arc::clone(&self.sources.tables.borrow()), Arc::clone(&self.sources.health.borrow()));
        let snapshot = self.sources.ledger.snapshot();
        let taken = taken(&self.sources.ways_to_vips.borrow());
        let ledger_error = self.sources.ledger.check().err().map(|error| error.to_string());
        let facts = Facts {
            snapshot: &snapshot,
            status: &status,
            backlog: &backlog,
            tables: &tables,
            health: &health,
            taken: &taken,
            ledger_error: ledger_error.as_deref(),
            probe_source: &|server| source_towards(server).ok(),
            packets: &memory.packets,
        };
        let known = &mut memory.known;
        known.values_mut().for_each(|known| known.is_seen = false);
        let mut board = board::board(&facts, |lb, finding| {
            let key = (lb, finding.fault, finding.subject.clone());
            let known = known.entry(key).or_insert_with(|| {
                let since = finding.since.unwrap_or(now);
                Known { since, resolved: None, is_seen: true }
            });
            known.is_seen = true;
            finding.since = Some(known.since);
            finding.resolved.clone_from(&known.resolved);
        });
        // What is over and comes back is new, also to who has resolved it.
        known.retain(|_, known| known.is_seen);
        board.summary.progress = backlog.work.map(|work| {
            let elapsed = now.duration_since(work.since).as_secs_f64().max(0.0);
            #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
            let eta = (work.done > 0).then(|| elapsed / work.done as f64 * (work.total - work.done) as f64);
            Progress { since: work.since, total: work.total, done: work.done, eta_seconds: eta }
        });
        board
    }

    /// These are tried again at once.
    pub fn retry(&self, lbs: impl IntoIterator<Item = LbId>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.wishes += 1;
        let number = memory.wishes;
        let wished: Vec<LbId> = lbs.into_iter().collect();
        drop(memory);
        self.steering.send_modify(|steering| {
            Arc::make_mut(steering).retries.extend(wished.into_iter().map(|lb| (lb, number)));
        });
    }

    /// Marks what is amiss with a load balancer as dealt with, until it is over; how many findings that were.
    pub fn resolve(&self, lb: LbId, fault: Option<Fault>, by: &str, reason: &str, now: Timestamp) -> usize {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let _board = self.look(&mut memory, now);
        let mut count = 0;
        for ((of, is, _), known) in &mut memory.known {
            if *of == Some(lb) && fault.is_none_or(|fault| fault == *is) && known.resolved.is_none() {
                known.resolved = Some(Resolved { by: by.to_owned(), reason: reason.to_owned(), at: now });
                count += 1;
            }
        }
        count
    }

    /// Looks again and again, tells what changed, and lets the reconciler follow the live traffic.
    pub async fn keep(self: Arc<Self>, events: Arc<Events>, clock: impl Fn() -> Timestamp) -> &'static str {
        loop {
            let (heal, now) = (Arc::clone(&self), clock());
            match tokio::task::spawn_blocking(move || heal.tick(now)).await {
                Ok(news) => news.into_iter().for_each(|news| events.publish(now, news)),
                Err(error) => {
                    log::error!("the scoreboard broke off: {error}");
                    return "scoreboard";
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn tick(&self, now: Timestamp) -> Vec<News> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.looks.is_multiple_of(LOOKS_PER_READING) {
            self.read_traffic(&mut memory);
        }
        memory.looks = memory.looks.wrapping_add(1);
        let board = self.look(&mut memory, now);
        let next = board.by_fault();
        let news = changes(&memory.told, &next, &board);
        memory.told = next;
        news
    }

    /// The traffic of the last minutes; of what is not forwarded now, half of what it had: it comes first when it is
    /// healed.
    fn read_traffic(&self, memory: &mut Memory) {
        let lbs = self.sources.ledger.snapshot().lbs().filter(|lb| lb.times.is_live()).map(|lb| lb.id).collect();
        let rates = match self.sources.traffic.of(&lbs) {
            Ok(rates) => rates,
            Err(error) => return log::error!("the order of healing does not follow the traffic: {error}"),
        };
        let mut packets: BTreeMap<LbId, f64> =
            memory.packets.iter().map(|(lb, before)| (*lb, before / 2.0)).filter(|(_, before)| *before > 0.5).collect();
        packets.retain(|lb, _| lbs.contains(lb));
        for (lb, rate) in rates {
            let now = packets.entry(lb).or_default();
            *now = now.max(rate.packets_per_second);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are small and not negative")]
        let weights: BTreeMap<LbId, u64> = packets
            .iter()
            .map(|(lb, packets)| (*lb, packets.ceil() as u64))
            .filter(|(_, weight)| *weight > 0)
            .collect();
        memory.packets = packets;
        self.steering.send_if_modified(|steering| {
            let is_other = steering.weights != weights;
            if is_other {
                Arc::make_mut(steering).weights = weights;
            }
            is_other
        });
    }
}

/// Addresses of ours on this edge's segments that somebody else answers for.
fn taken(ways: &NextHops) -> BTreeMap<IpAddr, [u8; 6]> {
    let is_taken = |way: &Resolution| match way {
        Resolution::Resolved(hop) if !hop.via_gateway && hop.mac != hop.source_mac => Some(hop.mac),
        _ => None,
    };
    ways.iter().filter_map(|(address, way)| Some((*address, is_taken(way)?))).collect()
}

/// One event for each reason that came or went, however many load balancers have it.
fn changes(before: &BTreeMap<Fault, usize>, after: &BTreeMap<Fault, usize>, board: &Board) -> Vec<News> {
    let news = |kind, message, data| News { kind, project: None, lb: None, message, data };
    let begun = after.iter().filter(|(fault, _)| !before.contains_key(*fault)).map(|(fault, count)| {
        let of = |finding: &&Finding| finding.fault == *fault;
        let named: Vec<LbId> = board
            .load_balancers
            .iter()
            .filter(|instance| instance.findings.iter().any(|finding| of(&finding)))
            .map(|instance| instance.lb_id)
            .take(NAMED)
            .collect();
        let all = board.edge.iter().chain(board.load_balancers.iter().flat_map(|instance| &instance.findings));
        let first = all.into_iter().find(of);
        let (what, remedy) = first.map_or(("", ""), |finding| (finding.what.as_str(), finding.remedy.as_str()));
        let message = format!("to be healed, {} ({count}): {what}. {remedy}", fault.as_str());
        news("heal.queued", message, json!({ "fault": fault, "count": count, "lb_ids": named, "remedy": remedy }))
    });
    let ended = before.keys().filter(|fault| !after.contains_key(*fault)).map(|fault| {
        let message = format!("healed or dealt with: {}", fault.as_str());
        news("heal.healed", message, json!({ "fault": fault }))
    });
    begun.chain(ended).collect()
}
