//! The scenarios: A, the crafted call; D, the ledger destroyed under a running agent; C, everything deleted. B, the
//! mass deletion that meets a budget, is beside this file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::edge::Edge;
use super::fleet::{Fleet, KUBERNETES};
use super::machines::Machines;
use super::product::{Product, until};
use super::report::{Figures, Moment};
use super::traffic::{self, Mark, Traffic};
use super::{Doing as _, DrillError, Jail};
use crate::faults::{Faults, Layer};
use crate::ledger::{Change, Ledger as _, Snapshot};
use crate::model::{Document, DocumentKey, Generation, LbId};
use crate::recovery::{Touches, advice, incident, undo};

/// A drill under way.
pub(super) struct Drill<'a> {
    pub(super) jail: &'a Jail,
    pub(super) fleet: Fleet,
    pub(super) machines: Machines,
    pub(super) product: Product,
    started: Instant,
    pub(super) figures: Figures,
}

/// Calls that name nothing, everything, or the wrong kind of thing. Each must be refused.
const CRAFTED: [(&str, &str, &str); 16] = [
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/*", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/%20", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/null", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/00000000-0000-0000-0000-000000000000", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/{organization}", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/{project}", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/{foreign}", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs?organization_id=&project_id=", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/{foreign}?release_ip=true", ""),
    ("DELETE", "/lb/v1/zones/fr-par-1/lbs/{foreign}", "{\"force\": true}"),
    ("POST", "/snowshed/v1/restore", "{\"at\": \"0\", \"scope\": \"\"}"),
    ("POST", "/snowshed/v1/restore", "{\"at\": \"0\", \"scope\": \"project:\"}"),
    ("POST", "/snowshed/v1/restore", "{\"at\": \"0\", \"scope\": \"organization:{organization}\"}"),
    ("POST", "/snowshed/v1/restore", "{\"at\": \"0\"}"),
];

impl<'a> Drill<'a> {
    pub(super) fn new(jail: &'a Jail, fleet: Fleet, machines: Machines, product: Product, started: Instant) -> Self {
        let figures = Figures {
            lbs: fleet.lbs.len(),
            organizations: fleet.organizations,
            lbs_in_traffic: fleet.sample().len(),
            c_dependents: fleet.dependents.len(),
            ..Figures::default()
        };
        Self { jail, fleet, machines, product, started, figures }
    }

    pub(super) fn run(&mut self, say: &mut dyn FnMut(&str)) -> Result<Figures, DrillError> {
        say("the agent starts and fills the kernel's maps");
        let mut traffic = Traffic::serve(&self.machines, &self.fleet)?;
        self.product.start_agent(self.fleet.lbs.len())?;
        traffic.ask(&self.machines, &self.fleet)?;
        self.traffic_flows(&traffic)?;
        say("A: crafted calls that were supposed to return an error");
        self.crafted_calls(&traffic)?;
        say("Q: a tenant is quarantined and released");
        self.quarantines(&traffic)?;
        say("D: the ledger is destroyed under traffic");
        self.ledger_destroyed(&traffic)?;
        self.product.stop_agent()?;
        say("B: the guard is off; every load balancer is deleted through the API");
        self.mass_deletion(&traffic)?;
        say("C: every layer is off; everything is deleted, then undone");
        self.everything_deleted(&traffic)?;
        self.figures.answered = traffic.mark().answered;
        traffic.stop()?;
        Ok(self.figures.clone())
    }

    pub(super) fn note(&mut self, scenario: char, what: impl Into<String>, incident: &'static str) {
        let at_ms = milliseconds(self.started);
        self.figures.timeline.0.push(Moment { at_ms, scenario, what: what.into(), incident });
    }

    /// Waits until every sampled load balancer has answered many times since.
    pub(super) fn traffic_flows(&self, traffic: &Traffic) -> Result<(), DrillError> {
        let wanted = traffic.mark().answered + 10 * self.fleet.sample().len() as u64;
        until("the clients to be answered", || traffic.mark().answered >= wanted)
    }

    /// What clients lost since: what is not answered yet is waited for.
    pub(super) fn lost_since(&self, traffic: &Traffic, before: Mark) -> u64 {
        std::thread::sleep(traffic::PATIENCE + Duration::from_millis(200));
        traffic.mark().lost - before.lost
    }

    fn crafted_calls(&mut self, traffic: &Traffic) -> Result<(), DrillError> {
        let before = traffic.mark();
        let (generation, services) = (self.product.metric(GENERATION), self.product.metric(SERVICES));
        let foreign = self.fleet.lbs.iter().find(|service| service.owner != self.product.owner);
        let foreign = foreign.map_or_else(String::new, |service| service.lb.to_string());
        for (method, path, body) in CRAFTED {
            let fill = |text: &str| {
                text.replace("{organization}", &self.product.owner.organization.to_string())
                    .replace("{project}", &self.product.owner.project.to_string())
                    .replace("{foreign}", &foreign)
            };
            let (status, answer) = self.product.ask(method, &fill(path), &fill(body))?;
            if !(400..500).contains(&status) {
                return Err(DrillError::new("the crafted calls", format!("{method} {path} {body}: {status} {answer}")));
            }
        }
        self.traffic_flows(traffic)?;
        let lost = |before: Option<u64>, after: Option<u64>| before.unwrap_or(0).abs_diff(after.unwrap_or(0));
        self.figures.a_calls = CRAFTED.len();
        self.figures.a_changes = lost(generation, self.product.metric(GENERATION));
        self.figures.a_services_lost = lost(services, self.product.metric(SERVICES));
        self.figures.dependents = self.product.dependents("/snowshed/v1/impact?place=zone", "/dependents")?;
        self.figures.a_packets_lost = self.lost_since(traffic, before);
        let what = format!("{} crafted calls were refused, {} changes", CRAFTED.len(), self.figures.a_changes);
        self.note('A', what, "16:35 the crafted call deletes 1574 load balancers");
        Ok(())
    }

    fn ledger_destroyed(&mut self, traffic: &Traffic) -> Result<(), DrillError> {
        let backups = self.product.config.backups();
        until("the scheduled backup", || backups.list().is_ok_and(|all| !all.is_empty()))?;
        let scheduled = backups.list().doing("listing the backups")?.len();
        let generation = self.product.metric(GENERATION).unwrap_or(0);
        let before = traffic.mark();
        let ledger = self.product.ledger_path().to_owned();
        let directory = ledger.parent().unwrap_or(&ledger);
        std::fs::remove_dir_all(directory).doing("destroying the ledger")?;
        let destroyed = Instant::now();
        let log = self.product.log();
        until("the agent to notice", || {
            let says =
                std::fs::read_to_string(&log).is_ok_and(|log| log.contains("was destroyed while the agent runs"));
            says && backups.list().is_ok_and(|all| all.len() > scheduled && all[0].verified_at.is_some())
        })?;
        self.figures.d_detect_ms = milliseconds(destroyed);
        self.note('D', "the agent has noticed, saved its log and holds the last good tables", "–");
        self.traffic_flows(traffic)?;

        let began = Instant::now();
        self.product.stop_agent()?;
        let newest = backups.list().doing("listing the backups")?.remove(0);
        backups.restore(&newest.name, &ledger, false, Timestamp::now()).doing("restoring the backup")?;
        self.product.start_agent(self.fleet.lbs.len())?;
        self.figures.d_restore_ms = milliseconds(began);
        self.figures.d_operations_lost = generation.abs_diff(self.product.metric(GENERATION).unwrap_or(0));
        self.traffic_flows(traffic)?;
        self.figures.d_packets_lost = self.lost_since(traffic, before);
        let what = format!("restored from the backup and applied, {} packets lost", self.figures.d_packets_lost);
        self.note('D', what, "17:20 restored from a backup one hour old");
        Ok(())
    }

    fn everything_deleted(&mut self, traffic: &Traffic) -> Result<(), DrillError> {
        let faults = Faults::of_drill(&[Layer::Guard, Layer::Engine, Layer::Edge], self.jail);
        let edge = Arc::new(Edge::start(&self.product.config, faults, Duration::ZERO)?);
        let count = self.fleet.lbs.len();
        // Of a service that this edge has not come to yet, it does not know what the maps hold.
        let mut in_maps = BTreeSet::new();
        until("the edge to adopt the maps", || {
            in_maps = edge.in_maps().unwrap_or_default();
            edge.forwards(count) && in_maps.len() == count
        })?;
        let before = edge.ledger.snapshot();
        let documents = self.documents(&before);
        let healers = Healers::start(Arc::clone(&edge));

        let began = Instant::now();
        let deletion = self.delete_everything(&edge)?;
        self.note('C', format!("one operation deleted {count} load balancers"), "16:35 the avalanche begins");
        until("the maps to be empty", || edge.status.borrow().services == 0)?;
        self.figures.c_delete_ms = milliseconds(began);
        self.figures.c_deleted = count - edge.in_maps()?.len();
        self.note('C', "the maps are empty", "17:18 1574 load balancers of 775 organizations are disabled");

        let began = Instant::now();
        self.undo(&edge, deletion)?;
        let undone = Instant::now();
        self.figures.c_undo_ms = milliseconds(began);
        self.note('C', "the undo is in the ledger", "17:20 configuration restored; 17:54 healing launched");
        until("the maps to hold everything again", || edge.forwards(count))?;
        self.figures.c_reprogram_ms = milliseconds(undone);
        let now_in_maps = edge.in_maps()?;
        self.note('C', "every load balancer is in the maps", "20:10 1400 healed, 110 failing; 20:35 all restored");

        let after = edge.ledger.snapshot();
        let again = self.documents(&after);
        self.figures.c_documents_lost = documents.iter().filter(|(key, bytes)| again.get(key) != Some(bytes)).count();
        self.compare([&before, &after], [&in_maps, &now_in_maps]);
        self.figures.c_report_dependents = report(&edge, deletion)?;
        (self.figures.c_dependents_misled, self.figures.c_dependents_misled_without_asking) = healers.stop()?;
        self.figures.c_answering_again = self.answering(traffic)?;
        self.note('C', "clients and dependents are back", "22:12 databases and IoT back; 00:04 all closed");
        match Arc::try_unwrap(edge) {
            Ok(edge) => edge.stop(),
            Err(_) => Err(DrillError::new("stopping the edge", "somebody still uses it")),
        }
    }

    /// One operation for everything, as the bug of the incident made it: judged by nobody.
    fn delete_everything(&self, edge: &Edge) -> Result<Generation, DrillError> {
        let now = Timestamp::now();
        let snapshot = edge.ledger.snapshot();
        let changes = self.fleet.lbs.iter().filter_map(|service| snapshot.lb(service.lb)).map(|lb| {
            let (before, mut after) = (Document::Lb(lb.as_ref().clone()), Document::Lb(lb.as_ref().clone()));
            let times = after.times_mut();
            *times = times.deleted(now);
            Change { before: Some(before), after }
        });
        let proposal = self.product.proposal(&edge.ledger, "lb.delete", changes.collect());
        Ok(edge.ledger.append(proposal).doing("deleting everything")?.generation)
    }

    fn undo(&self, edge: &Edge, deletion: Generation) -> Result<(), DrillError> {
        let log = edge.ledger.operations(Generation(deletion.0 - 1), usize::MAX).doing("reading the log")?;
        let (operation, later) =
            log.split_first().ok_or_else(|| DrillError::new("undoing the deletion", "it is not in the log"))?;
        let mut since = Touches::default();
        later.iter().for_each(|operation| since.note(operation));
        let reversal = undo::undo(operation, &edge.ledger.snapshot(), &since, Timestamp::now());
        let proposal = self.product.proposal(&edge.ledger, "undo", reversal.changes);
        edge.ledger.append(proposal).doing("undoing the deletion").map(drop)
    }

    /// Every document of the fleet as its bytes.
    fn documents(&self, snapshot: &Snapshot) -> BTreeMap<DocumentKey, Vec<u8>> {
        let scopes = self
            .fleet
            .lbs
            .iter()
            .map(|service| crate::model::Scope::Lb { lb: service.lb, project: service.owner.project });
        scopes
            .flat_map(|scope| crate::recovery::restore::documents_in(snapshot, &scope))
            .map(|(key, document)| (key, serde_json::to_vec(&document).unwrap_or_default()))
            .collect()
    }

    fn compare(&mut self, [before, after]: [&Snapshot; 2], [in_maps, now_in_maps]: [&BTreeSet<(IpAddr, u16, u8)>; 2]) {
        let mut identical = 0;
        self.figures.c_failed = 0;
        for service in &self.fleet.lbs {
            let key = (IpAddr::V4(service.address), service.port(), service.protocol.number());
            let addresses = |snapshot: &Snapshot| -> BTreeSet<IpAddr> {
                snapshot.ips_of(service.lb).filter(|ip| ip.times.is_live()).map(|ip| ip.address).collect()
            };
            let is_same = addresses(before) == addresses(after) && !addresses(after).is_empty();
            identical += usize::from(is_same && in_maps.contains(&key) && now_in_maps.contains(&key));
            self.figures.c_failed += usize::from(!now_in_maps.contains(&key));
        }
        self.figures.c_addresses_identical = identical as f64 / self.fleet.lbs.len() as f64;
    }

    /// Sampled load balancers whose clients are answered: all of them when nobody loses anything any more.
    fn answering(&self, traffic: &Traffic) -> Result<usize, DrillError> {
        std::thread::sleep(traffic::PATIENCE * 2);
        let before = traffic.mark();
        self.traffic_flows(traffic)?;
        let sample = self.fleet.sample().len();
        let lost = usize::try_from(traffic.mark().lost - before.lost).unwrap_or(usize::MAX);
        Ok(sample.saturating_sub(lost))
    }
}

/// Dependents by kind that the incident report of a deletion and what followed counts.
fn report(edge: &Edge, deletion: Generation) -> Result<BTreeMap<String, u64>, DrillError> {
    let operations = edge.ledger.operations(Generation(deletion.0 - 1), usize::MAX).doing("reading the log")?;
    let current = edge.ledger.snapshot();
    let report = incident::report(&incident::Facts {
        since: operations.first().map_or(Timestamp::MIN, |operation| operation.at),
        until: Timestamp::now(),
        operations: &operations,
        events: &[],
        events_missed: true,
        current: &current,
        dropped: Ok(BTreeMap::new()),
    });
    Ok(report.impact.dependents)
}

/// Name of the metric of the ledger's newest operation.
pub(super) const GENERATION: &str = "snowshed_ledger_generation";
const SERVICES: &str = "snowshed_services";

/// Auto-healers of the clusters: each looks whether its nodes can be reached through their load balancer, and
/// replaces them when not. One kind asks for advice first, as Kubernetes learned to after the incident; one does not.
struct Healers {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, usize)>,
}

impl Healers {
    /// One of each cluster in the register.
    fn start(edge: Arc<Edge>) -> Self {
        let register = edge.ledger.snapshot();
        let clusters = register.dependents().filter(|one| one.kind.as_str() == KUBERNETES && one.times.is_live());
        let clusters: Vec<LbId> = clusters.flat_map(|one| one.lbs.iter()).collect();
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut asking, mut rash) = (BTreeSet::new(), BTreeSet::new());
            while !stopped.load(Ordering::Relaxed) {
                // What a healer sees first: the nodes do not answer. What it asks then is newer.
                let reachable: BTreeSet<LbId> =
                    edge.tables.borrow().services.values().map(|service| service.lb).collect();
                let unreachable = clusters.iter().filter(|lb| !reachable.contains(lb));
                for lb in unreachable {
                    rash.insert(*lb);
                    let advice = advice::of(
                        *lb,
                        &advice::Facts {
                            snapshot: &edge.ledger.snapshot(),
                            status: &edge.status.borrow(),
                            tables: &edge.tables.borrow(),
                            health: &edge.health.borrow(),
                            ledger_error: None,
                            now: Timestamp::now(),
                        },
                    );
                    // It acts on what it saw only while it still sees it.
                    let still = !edge.tables.borrow().services.values().any(|service| service.lb == *lb);
                    if still && advice.is_none_or(|advice| advice.safe) {
                        asking.insert(*lb);
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            (asking.len(), rash.len())
        });
        Self { stop, thread }
    }

    fn stop(self) -> Result<(usize, usize), DrillError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| DrillError::new("the auto-healers", "the thread broke off"))
    }
}

pub(super) fn milliseconds(since: Instant) -> f64 {
    between(since, Instant::now())
}

/// Milliseconds.
pub(super) fn between(from: Instant, to: Instant) -> f64 {
    to.duration_since(from).as_secs_f64() * 1e3
}
