//! Every server's health at once: follows the snapshot, says what to probe when, and turns outcomes into a view.
//! It has no socket and no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::machine::{Machine, Now, Thresholds, Turn};
use super::mass_failure::{Hold, Watch};
use super::schedule::{self, Schedule};
use super::{Cause, HealthView, MassFailure, ProbeOutcome, ServerHealth, Through};
use crate::ledger::Snapshot;
use crate::model::{Backend, Forwarding, HealthCheck, Probe};
use crate::plan::ServerRef;

/// How the checker works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// More than this share of all checked servers within the window is a mass failure.
    pub mass_failure_share: f64,
    /// The window; for a server that is probed less often, its own interval and timeout.
    pub mass_failure_window: Duration,
    /// How long a deleted load balancer keeps forwarding, and so is checked.
    pub delete_grace: Duration,
    /// Spreads the probes; any number.
    pub seed: u64,
}

/// A probe to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Names the check when the outcome is handed back.
    pub check: u64,
    /// The server.
    pub server: ServerRef,
    /// Port, timeout and kind.
    pub health_check: Arc<HealthCheck>,
    /// The way, where traffic does not go to the server's own address.
    pub through: Option<Through>,
}

/// How soon others must hear of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing that is published changed.
    None,
    /// Only a detail: why a server is down.
    Detail,
    /// A verdict: at once.
    Verdict,
}

/// The checks of an edge.
#[derive(Debug)]
pub struct Checker {
    settings: Settings,
    checks: BTreeMap<ServerRef, Check>,
    servers: HashMap<u64, ServerRef>,
    schedule: Schedule,
    watch: Watch,
    taken_over: BTreeMap<ServerRef, bool>,
    view: BTreeMap<ServerRef, ServerHealth>,
    /// Servers that are down and have been since they are checked; see [`Checker::could_fall`].
    never_up: BTreeSet<ServerRef>,
    /// Servers that are up and whose last probe failed.
    doubted: BTreeSet<ServerRef>,
    /// Servers that a hold has let go of and that still look down, with their failed probes in a row since; see
    /// [`Checker::count_let_go`].
    let_go: BTreeMap<ServerRef, u8>,
    next_check: u64,
}

#[derive(Debug)]
struct Check {
    id: u64,
    health_check: Arc<HealthCheck>,
    through: Option<Through>,
    machine: Machine,
    round: u64,
}

impl Checker {
    /// A checker of nothing yet. `taken_over` is what the agent before left: a server that is in it starts with that
    /// verdict instead of none.
    #[must_use]
    pub fn new(settings: Settings, taken_over: BTreeMap<ServerRef, bool>) -> Self {
        Self {
            settings,
            checks: BTreeMap::new(),
            servers: HashMap::new(),
            schedule: Schedule::default(),
            watch: Watch::new(settings.mass_failure_share),
            taken_over,
            view: BTreeMap::new(),
            never_up: BTreeSet::new(),
            doubted: BTreeSet::new(),
            let_go: BTreeMap::new(),
            next_check: 0,
        }
    }

    /// Follows a snapshot: checks new servers, forgets those that are gone, and takes over changed parameters
    /// without losing what is known.
    pub fn follow(&mut self, snapshot: &Snapshot, now: Now) -> Urgency {
        let wanted = self.wanted(snapshot, now);
        let gone: Vec<ServerRef> = self.checks.keys().filter(|server| !wanted.contains_key(server)).copied().collect();
        let mut urgency = Urgency::None;
        self.never_up.retain(|server| wanted.contains_key(server));
        self.doubted.retain(|server| wanted.contains_key(server));
        for server in gone {
            self.let_go.remove(&server);
            if let Some(check) = self.checks.remove(&server) {
                self.servers.remove(&check.id);
            }
            if self.view.remove(&server).is_some() {
                urgency = Urgency::Detail;
            }
            let hold = self.watch.on_up_or_gone(server, wanted.len() - self.never_up.len(), self.doubted.len());
            urgency = urgency.max(self.apply(hold));
        }
        for (server, (health_check, through)) in wanted {
            match self.checks.get_mut(&server) {
                Some(check) if check.health_check == health_check => check.through = through,
                Some(check) => {
                    check.through = through;
                    let sooner = health_check.interval < check.health_check.interval;
                    check.health_check = health_check;
                    if sooner {
                        let wait = schedule::first(self.settings.seed, check.id, check.health_check.interval);
                        self.sooner(server, now.instant + wait);
                    }
                }
                None => self.begin(server, health_check, through, now),
            }
        }
        if self.schedule.len() > 2 * self.checks.len() + 64 {
            let servers = &self.servers;
            self.schedule.retain(|check| servers.contains_key(&check));
        }
        let hold = self.watch.on_checked(self.could_fall(), self.doubted.len());
        urgency.max(self.apply(hold))
    }

    /// When the next probe is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// The next probe, if one is due; its check is due again an interval later.
    pub fn take_due(&mut self, now: Instant) -> Option<Job> {
        while let Some((due, id)) = self.schedule.take(now) {
            let Some(server) = self.servers.get(&id) else { continue };
            let Some(check) = self.checks.get_mut(server) else { continue };
            let wait = schedule::next(self.settings.seed, id, check.round, check.health_check.interval);
            check.round += 1;
            // A probe that had to wait for others is not caught up with, and never overtaken by the next.
            self.schedule.add((due + wait).max(now + wait / 2), id);
            let (health_check, through) = (Arc::clone(&check.health_check), check.through);
            return Some(Job { check: id, server: *server, health_check, through });
        }
        None
    }

    /// Takes the outcome of a probe; one of a check that is gone is ignored.
    pub fn on_outcome(&mut self, id: u64, outcome: ProbeOutcome, now: Now) -> Urgency {
        let Some(server) = self.servers.get(&id).copied() else { return Urgency::None };
        let Some(check) = self.checks.get_mut(&server) else { return Urgency::None };
        let window = (check.health_check.interval + check.health_check.timeout).max(self.settings.mass_failure_window);
        let thresholds = Thresholds { rise: check.health_check.rise, fall: check.health_check.fall };
        let passed = outcome == ProbeOutcome::Passed;
        let turn = check.machine.on_probe(passed, thresholds, now);
        let mut is_doubted = check.machine.is_doubted();
        let is_up = check.machine.verdict().is_some_and(|(up, ..)| up);
        let transient = check.health_check.transient_interval;
        let (turn, is_failing_anew) = self.count_let_go(server, passed, thresholds, turn);
        is_doubted |= is_failing_anew;
        if is_doubted && let Some(transient) = transient {
            self.sooner(server, now.instant + transient);
        }
        let changed = match is_doubted && (is_up || is_failing_anew) {
            true => self.doubted.insert(server),
            false => self.doubted.remove(&server),
        };
        let Some(turn) = turn else { return self.on_detail(server, outcome, changed) };
        let before = self.view.get(&server);
        let since = before.filter(|health| health.up == passed).map_or(now.time, |health| health.since);
        // A server that a hold kept in use has no slow start when it is found up again.
        let rose_at = match before.filter(|health| health.usable) {
            Some(in_use) if passed => in_use.rose_at,
            _ => (turn == Turn::Rose).then_some(now.time),
        };
        let decided_at = now.instant;
        let health = ServerHealth { up: passed, usable: passed, since, rose_at, decided_at, last: None };
        // An agent that starts finds tens of thousands up; that is no news.
        let level = if turn == (Turn::First { up: true }) { log::Level::Debug } else { log::Level::Info };
        log::log!(level, "server {} of backend {}: {} ({outcome})", server.address, server.backend, word(passed));
        self.view.insert(server, ServerHealth { last: Some(outcome), ..health });
        match turn {
            Turn::First { up: false } => self.never_up.insert(server),
            Turn::First { up: true } | Turn::Rose | Turn::Fell => self.never_up.remove(&server),
        };
        let (could_fall, doubted) = (self.could_fall(), self.doubted.len());
        let hold = match turn {
            Turn::Fell => self.watch.on_down(server, window, could_fall, doubted, now),
            Turn::First { up: false } => self.watch.on_checked(could_fall, doubted),
            Turn::Rose | Turn::First { up: true } => self.watch.on_up_or_gone(server, could_fall, doubted),
        };
        self.apply(hold);
        if self.watch.is_held(server)
            && let Some(health) = self.view.get_mut(&server)
        {
            health.usable = true;
        }
        Urgency::Verdict
    }

    /// Counts a probe of a server that a hold has let go of, and says whether it now fails anew.
    ///
    /// What was found while most servers looked down takes none of them out once that is over: most of the servers that
    /// still look down then only wait for the rest of the passed probes that bring them in. They stay in use, and leave it
    /// as any server does, after as many failed probes in a row as the check says.
    fn count_let_go(
        &mut self,
        server: ServerRef,
        passed: bool,
        thresholds: Thresholds,
        turn: Option<Turn>,
    ) -> (Option<Turn>, bool) {
        let Some(failed) = self.let_go.get_mut(&server) else { return (turn, false) };
        *failed = if passed { 0 } else { failed.saturating_add(1) };
        let is_out = *failed >= thresholds.fall.get();
        let is_failing_anew = *failed > 0 && !is_out;
        if is_out || turn.is_some() {
            self.let_go.remove(&server);
        }
        (if is_out { Some(Turn::Fell) } else { turn }, is_failing_anew)
    }

    /// A probe that decided nothing.
    fn on_detail(&mut self, server: ServerRef, outcome: ProbeOutcome, is_doubt_new: bool) -> Urgency {
        let mut urgency = Urgency::None;
        if let Some(health) = self.view.get_mut(&server).filter(|health| health.last.as_ref() != Some(&outcome)) {
            health.last = Some(outcome);
            urgency = Urgency::Detail;
        }
        if is_doubt_new {
            let hold = self.watch.on_checked(self.could_fall(), self.doubted.len());
            urgency = urgency.max(self.apply(hold));
        }
        urgency
    }

    /// What is known now.
    #[must_use]
    pub fn view(&self) -> HealthView {
        HealthView { servers: self.view.clone(), mass_failure: self.mass_failure() }
    }

    fn mass_failure(&self) -> Option<MassFailure> {
        let (since, held) = self.watch.current()?;
        let failing: BTreeSet<&ServerRef> = held.iter().chain(&self.doubted).collect();
        let outcomes = failing.iter().filter_map(|server| self.view.get(*server)?.last.as_ref());
        let mut counts: BTreeMap<u8, (usize, Cause)> = BTreeMap::new();
        for outcome in outcomes {
            let cause = match outcome {
                ProbeOutcome::TimedOut | ProbeOutcome::NotThrough(_) => Cause::Unanswered,
                ProbeOutcome::Refused => Cause::Refused,
                ProbeOutcome::Unreachable(_) => Cause::Unreachable,
                ProbeOutcome::Passed | ProbeOutcome::Unexpected(_) => Cause::Unexpected,
            };
            counts.entry(cause as u8).or_insert((0, cause)).0 += 1;
        }
        let cause = counts.into_values().max_by_key(|(count, _)| *count).map_or(Cause::default(), |(_, cause)| cause);
        let (down, checked) = (failing.len(), self.could_fall());
        Some(MassFailure { since, down, checked, cause, probe_sources: Vec::new() })
    }

    /// Servers that are checked.
    #[must_use]
    pub fn checked(&self) -> usize {
        self.checks.len()
    }

    /// Servers that a mass failure is a share of: all that are checked, save those that have been down from their
    /// first probe on (or from the agent before on).
    ///
    /// A server that never was up neither counts as fallen nor in the share. It has no good state to be held in, and
    /// its first verdict is no change that many could share. Were it counted as fallen, whoever adds a pool of dead
    /// servers would begin a hold and stop the failover of everybody else; were it counted in the share, dead servers
    /// would dilute it until a real mass failure goes unnoticed. What this gives up: an edge that boots without a way
    /// to its servers holds none of them. An agent that restarts does, it takes their state over from the maps.
    fn could_fall(&self) -> usize {
        self.checks.len() - self.never_up.len()
    }

    /// Probes a server next at this time instead of when it was due; a probe that is under way is not listened to.
    fn sooner(&mut self, server: ServerRef, at: Instant) {
        let Some(check) = self.checks.get_mut(&server) else { return };
        self.servers.remove(&check.id);
        check.id = self.next_check;
        self.next_check += 1;
        self.servers.insert(check.id, server);
        self.schedule.add(at, check.id);
    }

    fn begin(&mut self, server: ServerRef, health_check: Arc<HealthCheck>, through: Option<Through>, now: Now) {
        let id = self.next_check;
        self.next_check += 1;
        let machine = match self.taken_over.remove(&server) {
            Some(up) => {
                let (since, decided_at) = (now.time, now.instant);
                let health = ServerHealth { up, usable: up, since, rose_at: None, decided_at, last: None };
                self.view.insert(server, health);
                if !up {
                    self.never_up.insert(server);
                }
                Machine::taken_over(up, now)
            }
            None => Machine::unknown(),
        };
        let wait = schedule::first(self.settings.seed, id, health_check.interval);
        self.schedule.add(now.instant + wait, id);
        self.servers.insert(id, server);
        self.checks.insert(server, Check { id, health_check, through, machine, round: 0 });
    }

    fn apply(&mut self, hold: Hold) -> Urgency {
        match hold {
            Hold::Same => return Urgency::None,
            Hold::Began(servers) => {
                if let Some(failure) = self.mass_failure() {
                    log::error!("mass failure: {failure}");
                }
                for server in servers {
                    if let Some(health) = self.view.get_mut(&server) {
                        health.usable = true;
                    }
                }
            }
            Hold::Ended(servers) => {
                log::warn!(
                    "the mass failure is over; {} servers still look down, and are taken out if they go on failing",
                    servers.len()
                );
                self.let_go.extend(servers.into_iter().map(|server| (server, 0)));
            }
        }
        Urgency::Verdict
    }

    /// Every server to be checked: of pools that are not deleted, or whose load balancer still forwards.
    fn wanted(&self, snapshot: &Snapshot, now: Now) -> BTreeMap<ServerRef, (Arc<HealthCheck>, Option<Through>)> {
        let grace = SignedDuration::try_from(self.settings.delete_grace).unwrap_or(SignedDuration::MAX);
        let mut wanted = BTreeMap::new();
        for backend in snapshot.backends() {
            let backend_lb = backend.lb;
            let lb_deleted = snapshot.lb(backend.lb).and_then(|lb| lb.times.deleted_at);
            let checked = match (lb_deleted, backend.times.deleted_at) {
                (None, deleted) => deleted.is_none(),
                (Some(lb), backend) => {
                    let is_held = snapshot.is_held(backend_lb);
                    let ends = if is_held { Timestamp::MAX } else { lb.checked_add(grace).unwrap_or(Timestamp::MAX) };
                    now.time < ends && backend.is_none_or(|backend| backend >= lb)
                }
            };
            if checked && !backend.servers.is_empty() {
                let health_check = self.health_check_of(backend);
                let through = through(snapshot, backend);
                let refs =
                    backend.servers.iter().map(|server| ServerRef { backend: backend.id, address: server.address });
                wanted.extend(refs.map(|server| (server, (Arc::clone(&health_check), through))));
            }
        }
        wanted
    }

    /// The pool's parameters; shared with what its servers have already, when nothing changed.
    fn health_check_of(&self, backend: &Backend) -> Arc<HealthCheck> {
        backend
            .servers
            .first()
            .and_then(|server| self.checks.get(&ServerRef { backend: backend.id, address: server.address }))
            .filter(|check| *check.health_check == backend.health_check)
            .map_or_else(|| Arc::new(backend.health_check.clone()), |check| Arc::clone(&check.health_check))
    }
}

/// The way of a pool's traffic, where it does not go to its servers' own addresses; by the lowest address of its load
/// balancer, as all of them stand on every server.
fn through(snapshot: &Snapshot, backend: &Backend) -> Option<Through> {
    let forwarding = match backend.forwarding {
        Forwarding::Nat => return None,
        forwarding => forwarding,
    };
    let vip = snapshot.ips_of(backend.lb).map(|ip| ip.address).min()?;
    Some(Through { vip, forwarding })
}

impl Job {
    /// Kind of the probe.
    #[must_use]
    pub fn probe(&self) -> &Probe {
        &self.health_check.probe
    }
}

const fn word(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

#[cfg(test)]
mod tests;
