//! The scoreboard: every load balancer of this edge, what is wanted of it, and what is amiss. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Fault;
use crate::health::{HealthView, ProbeOutcome};
use crate::ledger::Snapshot;
use crate::model::{Backend, BackendId, Family, Forwarding, Lb, LbId, OrganizationId, ProjectId};
use crate::plan::{Resolution, ServerRef, ServiceAddress, Tables};
use crate::reconcile::{Backlog, Status};

/// Tries after which a person is told of what is tried again.
const PATIENCE: u32 = 5;
/// Names that a finding lists.
const NAMED: usize = 5;

/// What the scoreboard is made of.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The newest snapshot.
    pub snapshot: &'a Snapshot,
    /// What the reconciler last did.
    pub status: &'a Status,
    /// What the maps hold, and what they do not.
    pub backlog: &'a Backlog,
    /// What the maps should hold.
    pub tables: &'a Tables,
    /// What the checkers know.
    pub health: &'a HealthView,
    /// Addresses of ours that another host answers for, and its MAC.
    pub taken: &'a BTreeMap<IpAddr, [u8; 6]>,
    /// The ledger cannot be trusted, and why.
    pub ledger_error: Option<&'a str>,
    /// The address that probes to a server come from.
    pub probe_source: &'a dyn Fn(IpAddr) -> Option<IpAddr>,
    /// Live packets per second by load balancer, as far as known.
    pub packets: &'a BTreeMap<LbId, f64>,
}

/// The scoreboard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// Counts.
    pub summary: Summary,
    /// What is amiss with the edge as a whole.
    pub edge: Vec<Finding>,
    /// The load balancers, those that need attention first, then by traffic.
    pub load_balancers: Vec<Instance>,
}

/// Counts of load balancers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = HealSummary)]
pub struct Summary {
    /// All of them.
    pub total: usize,
    /// The maps hold what is wanted.
    pub ready: usize,
    /// Not begun: the change is on its way.
    pub pending: usize,
    /// Being written, or tried again.
    pub healing: usize,
    /// A person is needed.
    pub needs_attention: usize,
    /// Findings that stand in the queue.
    pub queued: usize,
    /// Findings that a person has marked as dealt with and that are still there.
    pub resolved: usize,
    /// Map entries that somebody else altered and that were repaired, since the agent started.
    pub repaired: u64,
    /// What is being written now, if it is much.
    pub progress: Option<Progress>,
}

/// Much that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = HealProgress)]
pub struct Progress {
    /// When it began.
    pub since: Timestamp,
    /// Services.
    pub total: usize,
    /// Of these, done.
    pub done: usize,
    /// Seconds until the rest is done at the same pace; absent before the first.
    pub eta_seconds: Option<f64>,
}

/// How a load balancer stands on this edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HealState)]
pub enum State {
    /// A person is needed.
    NeedsAttention,
    /// Being written, or tried again.
    Healing,
    /// Not begun.
    Pending,
    /// The maps hold what is wanted, and its servers can be reached.
    Ready,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::NeedsAttention, Self::Healing, Self::Pending, Self::Ready];

    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeedsAttention => "needs_attention",
            Self::Healing => "healing",
            Self::Pending => "pending",
            Self::Ready => "ready",
        }
    }
}

/// A load balancer on this edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = HealInstance)]
pub struct Instance {
    /// The load balancer.
    pub lb_id: LbId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Whose it is.
    pub project_id: ProjectId,
    /// How it stands.
    pub state: State,
    /// Services (address, port, protocol) it should have.
    pub wanted: usize,
    /// Of these, in the maps as planned.
    pub programmed: usize,
    /// Of these, with a server that can be reached and is not down.
    pub answering: usize,
    /// Live traffic, by which the order of healing goes.
    pub packets_per_second: f64,
    /// What is amiss.
    pub findings: Vec<Finding>,
}

/// Something that is amiss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = HealFinding)]
pub struct Finding {
    /// Why, as a word.
    pub fault: Fault,
    /// What it is about: a service, an address, a pool.
    pub subject: String,
    /// Why, as a sentence.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Tries so far, of what is tried again.
    pub attempts: u32,
    /// When it is tried again, of what is.
    pub next_attempt: Option<Timestamp>,
    /// Who has marked it as dealt with, and why.
    pub resolved: Option<Resolved>,
}

/// A person's word on a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = HealResolved)]
pub struct Resolved {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Finding {
    pub(super) fn new(fault: Fault, subject: impl ToString, what: String) -> Self {
        Self {
            fault,
            subject: subject.to_string(),
            what,
            remedy: fault.remedy().to_owned(),
            since: None,
            attempts: 0,
            next_attempt: None,
            resolved: None,
        }
    }

    fn needs_a_person(&self) -> bool {
        self.resolved.is_none() && (!self.fault.is_tried_again() || self.attempts >= PATIENCE)
    }
}

/// Services that a load balancer should have, each with its pool.
pub fn wanted_services<'a>(
    snapshot: &'a Snapshot,
    lb: LbId,
) -> impl Iterator<Item = (ServiceAddress, &'a Backend)> + use<'a> {
    let addresses: Vec<_> = snapshot.ips_of(lb).filter(|ip| ip.times.is_live()).map(|ip| ip.address).collect();
    snapshot
        .frontends_of(lb)
        .filter(|frontend| frontend.times.is_live())
        .filter_map(|frontend| Some((frontend, snapshot.backend(frontend.backend)?)))
        .flat_map(move |(frontend, backend)| {
            let (port, is_range) = (frontend.inbound_port.get(), frontend.inbound_port_end.is_some());
            let service = move |address| ServiceAddress { address, port, protocol: backend.protocol, is_range };
            addresses.clone().into_iter().map(move |address| (service(address), &**backend))
        })
}

/// The scoreboard. `complete` adds what only somebody with a memory knows of a finding: since when, and who has resolved
/// it.
#[must_use]
pub fn board(facts: &Facts<'_>, mut complete: impl FnMut(Option<LbId>, &mut Finding)) -> Board {
    let mut edge = edge(facts);
    edge.iter_mut().for_each(|finding| complete(None, finding));
    let mut load_balancers: Vec<Instance> = facts
        .snapshot
        .lbs()
        .filter(|lb| lb.times.is_live())
        .map(|lb| {
            let mut findings = findings(facts, lb);
            findings.iter_mut().for_each(|finding| complete(Some(lb.id), finding));
            instance(facts, lb, findings)
        })
        .collect();
    load_balancers.sort_by(|a, b| {
        let by_traffic = b.packets_per_second.total_cmp(&a.packets_per_second);
        a.state.cmp(&b.state).then(by_traffic).then(a.lb_id.cmp(&b.lb_id))
    });
    let mut board = Board { summary: Summary::default(), edge, load_balancers };
    board.summary.repaired = facts.status.repaired.values().sum();
    board.recount();
    board
}

impl Board {
    /// Counts anew, after load balancers were left out.
    pub fn recount(&mut self) {
        let of = |state| self.load_balancers.iter().filter(|instance| instance.state == state).count();
        let findings = || self.edge.iter().chain(self.load_balancers.iter().flat_map(|instance| &instance.findings));
        self.summary = Summary {
            total: self.load_balancers.len(),
            ready: of(State::Ready),
            pending: of(State::Pending),
            healing: of(State::Healing),
            needs_attention: of(State::NeedsAttention),
            queued: findings().filter(|finding| finding.resolved.is_none()).count(),
            resolved: findings().filter(|finding| finding.resolved.is_some()).count(),
            repaired: self.summary.repaired,
            progress: self.summary.progress,
        };
    }

    /// Findings that stand in the queue, by reason.
    #[must_use]
    pub fn by_fault(&self) -> BTreeMap<Fault, usize> {
        let mut counts = BTreeMap::new();
        let of_lbs = self.load_balancers.iter().flat_map(|instance| &instance.findings);
        for finding in self.edge.iter().chain(of_lbs).filter(|finding| finding.resolved.is_none()) {
            *counts.entry(finding.fault).or_default() += 1;
        }
        counts
    }
}

/// What is amiss with the edge as a whole.
fn edge(facts: &Facts<'_>) -> Vec<Finding> {
    let Facts { status, health, backlog, .. } = facts;
    let mut found = Vec::new();
    if status.attachments.is_empty() && status.applied_at.is_some() {
        let what = "the program is attached to no interface: no traffic is balanced".to_owned();
        found.push(Finding::new(Fault::NotAttached, "edge", what));
    }
    if !status.held.is_empty() {
        let what = format!("{} services would leave the maps without an approved plan and are held", status.held.len());
        found.push(Finding::new(Fault::Held, "edge", what));
    }
    if let Some(error) = facts.ledger_error {
        found.push(Finding::new(Fault::LedgerLost, "ledger", error.to_owned()));
    }
    if let Some(failure) = &health.mass_failure {
        found.push(Finding::new(Fault::MassFailure, "servers", failure.to_string()));
    }
    if let Some(error) = status.last_error.as_ref().filter(|_| backlog.waiting.is_empty()) {
        found.push(Finding::new(Fault::WriteRefused, "maps", error.clone()));
    }
    found
}

fn instance(facts: &Facts<'_>, lb: &Lb, findings: Vec<Finding>) -> Instance {
    let wanted: Vec<_> = wanted_services(facts.snapshot, lb.id).collect();
    let is_programmed = |service: &ServiceAddress| {
        facts.tables.services.contains_key(service)
            && facts.backlog.programmed.contains(service)
            && !facts.backlog.waiting.contains_key(service)
    };
    let programmed: Vec<_> = wanted.iter().filter(|(service, _)| is_programmed(service)).collect();
    let is_attached = !facts.status.attachments.is_empty();
    let answering = programmed.iter().filter(|(service, _)| is_attached && answers(facts, service)).count();
    let (wanted, programmed) = (wanted.len(), programmed.len());
    let is_behind = facts.backlog.generation < facts.snapshot.touched(lb.id).0;
    let is_waiting = findings.iter().any(|finding| finding.fault.is_tried_again());
    let is_broken = programmed < wanted || answering < wanted || taken(&findings);
    let state = if is_broken && findings.iter().any(Finding::needs_a_person) {
        State::NeedsAttention
    } else if is_waiting {
        State::Healing
    } else if programmed < wanted || (is_behind && wanted > 0) {
        State::Pending
    } else {
        State::Ready
    };
    Instance {
        lb_id: lb.id,
        name: lb.name.to_string(),
        organization_id: lb.owner.organization,
        project_id: lb.owner.project,
        state,
        wanted,
        programmed,
        answering,
        packets_per_second: facts.packets.get(&lb.id).copied().unwrap_or_default(),
        findings,
    }
}

fn taken(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.fault == Fault::AddressTaken && finding.resolved.is_none())
}

/// Whether a service has a server that is not down, has slots, and whose way is known.
fn answers(facts: &Facts<'_>, service: &ServiceAddress) -> bool {
    let Some(planned) = facts.tables.services.get(service) else { return false };
    let is_reached = |server: &ServerRef| {
        let planned = facts.tables.servers.get(server);
        planned.is_some_and(|server| matches!(server.next_hop, Resolution::Resolved(_)))
            && facts.health.is_usable(*server)
    };
    !planned.slots.is_empty() && planned.servers.iter().any(is_reached)
}

fn findings(facts: &Facts<'_>, lb: &Lb) -> Vec<Finding> {
    let mut found = Vec::new();
    let (mut pools, mut families) = (BTreeMap::<BackendId, &Backend>::new(), BTreeSet::new());
    for (service, backend) in wanted_services(facts.snapshot, lb.id) {
        pools.insert(backend.id, backend);
        if backend.forwarding == Forwarding::Nat {
            families.insert(Family::of(service.address));
        }
        if let Some(waiting) = facts.backlog.waiting.get(&service) {
            found.push(Finding {
                since: Some(waiting.since),
                attempts: waiting.attempts,
                next_attempt: Some(waiting.next),
                ..Finding::new(waiting.fault, service, waiting.what.clone())
            });
        }
    }
    for ip in facts.snapshot.ips_of(lb.id).filter(|ip| ip.times.is_live()) {
        if let Some(mac) = facts.taken.get(&ip.address) {
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            let what = format!("another host on this edge's segment answers for {}: its MAC is {mac}", ip.address);
            found.push(Finding::new(Fault::AddressTaken, ip.address, what));
        }
    }
    for family in families.into_iter().filter(|family| facts.status.untranslatable.contains(family)) {
        let what = format!("translated flows of {} have no source address: they are dropped", word(family));
        found.push(Finding::new(Fault::NoSourceAddress, word(family), what));
    }
    for backend in pools.values() {
        found.extend(of_pool(facts, backend));
    }
    found
}

const fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// What is amiss with the servers of a pool.
fn of_pool(facts: &Facts<'_>, backend: &Backend) -> Vec<Finding> {
    let servers: Vec<ServerRef> =
        backend.servers.iter().map(|server| ServerRef { backend: backend.id, address: server.address }).collect();
    let subject = format!("pool {}", backend.name);
    let mut by_way: BTreeMap<Fault, Vec<IpAddr>> = BTreeMap::new();
    for server in &servers {
        let planned = facts.tables.servers.get(server);
        if let Some(Resolution::Unresolved(why)) = planned.map(|planned| planned.next_hop)
            && let Some(fault) = Fault::of_way(why)
        {
            by_way.entry(fault).or_default().push(server.address);
        }
    }
    let mut found: Vec<Finding> = by_way
        .iter()
        .map(|(fault, addresses)| {
            let what =
                format!("there is no way to {} of {} servers: {}", addresses.len(), servers.len(), named(addresses));
            Finding::new(*fault, &subject, what)
        })
        .collect();
    // One alarm is enough when all servers of everybody look down.
    if facts.health.mass_failure.is_some() {
        return found;
    }
    let unreached: BTreeSet<IpAddr> = by_way.into_values().flatten().collect();
    let reached: Vec<ServerRef> = servers.into_iter().filter(|server| !unreached.contains(&server.address)).collect();
    let states: Vec<_> = reached.iter().map(|server| facts.health.servers.get(server)).collect();
    if !states.is_empty() && states.iter().all(|state| state.is_some_and(|state| !state.up)) {
        let outcomes: Vec<_> = states.iter().filter_map(|state| state.and_then(|state| state.last.as_ref())).collect();
        found.extend(of_probes(facts, &subject, &reached, &outcomes));
    }
    found
}

/// Why every server of a pool is down.
fn of_probes(facts: &Facts<'_>, subject: &str, servers: &[ServerRef], outcomes: &[&ProbeOutcome]) -> Option<Finding> {
    let last = outcomes.last()?;
    let all = |is: fn(&ProbeOutcome) -> bool| outcomes.iter().all(|outcome| is(outcome));
    let (fault, how) = if all(|outcome| *outcome == ProbeOutcome::Refused) {
        (Fault::ProbesRefused, "refuses the probes".to_owned())
    } else if all(|outcome| {
        matches!(outcome, ProbeOutcome::TimedOut | ProbeOutcome::NotThrough(_) | ProbeOutcome::Unreachable(_))
    }) {
        (Fault::ProbesUnanswered, "leaves the probes unanswered".to_owned())
    } else {
        (Fault::ServersFail, format!("fails its probes, the last with: {last}"))
    };
    let addresses: Vec<IpAddr> = servers.iter().map(|server| server.address).collect();
    let sources: BTreeSet<IpAddr> = addresses.iter().filter_map(|address| (facts.probe_source)(*address)).collect();
    let sources: Vec<IpAddr> = sources.into_iter().collect();
    let mut finding = Finding::new(fault, subject, format!("every server of it ({}) {how}", named(&addresses)));
    if fault != Fault::ServersFail && !sources.is_empty() {
        finding.remedy = format!(
            "do the servers filter by source? The probes come from {}: let them allow it. If they do not filter, start \
             the service there",
            named(&sources)
        );
    }
    Some(finding)
}

/// The first few.
fn named(addresses: &[IpAddr]) -> String {
    let mut text = addresses.iter().take(NAMED).map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    if addresses.len() > NAMED {
        text.push_str(&format!(" and {} more", addresses.len() - NAMED));
    }
    text
}
