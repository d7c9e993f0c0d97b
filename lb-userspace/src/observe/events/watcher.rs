//! Turns what the components publish into events: operations of the ledger, servers that go up or down, alarms.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch::Receiver;

use super::{Events, News};
use crate::health::{HealthView, ServerHealth};
use crate::ledger::{Ledger, Operation, Snapshot};
use crate::model::{Generation, Owner, ProjectId, What};
use crate::observe::chain;
use crate::plan::ServerRef;
use crate::reconcile::Status;

/// Operations read from the ledger at once.
const OPERATIONS: usize = 256;

/// What is watched.
#[derive(Clone)]
pub struct Watched {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// What the checkers know.
    pub health: Receiver<Arc<HealthView>>,
    /// What the reconciler last did.
    pub status: Receiver<Arc<Status>>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

/// Publishes what happens from now on; returns when one of the components has ended, with its name.
pub async fn watch(watched: Watched, events: Arc<Events>, clock: impl Fn() -> Timestamp) -> &'static str {
    let Watched { ledger, mut health, mut status } = watched;
    let mut snapshots = ledger.subscribe();
    let mut told = snapshots.borrow_and_update().generation();
    let mut known = Arc::clone(&health.borrow_and_update());
    let mut alarms = alarms(&status.borrow_and_update(), None);
    let mut contained = containment(&ledger.snapshot(), &status.borrow(), clock());
    loop {
        tokio::select! {
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return "ledger";
                }
                snapshots.mark_unchanged();
                // Alarms first: nothing is read from the disk for them.
                tell_containment(&mut contained, &ledger, &status.borrow(), &events, clock());
                told = operations(&ledger, told, &events).await;
            }
            changed = health.changed() => {
                if changed.is_err() {
                    return "health checker";
                }
                let next = Arc::clone(&health.borrow_and_update());
                let snapshot = ledger.snapshot();
                for news in of_health(&known, &next, &snapshot) {
                    events.publish(clock(), news);
                }
                known = next;
            }
            changed = status.changed() => {
                if changed.is_err() {
                    return "reconciler";
                }
                let next = self::alarms(&status.borrow_and_update(), ledger.trouble());
                if next != alarms {
                    let whose = Whose::new(&ledger.snapshot(), alarms.keys().chain(next.keys()));
                    for news in of_alarms(&alarms, &next, |alarm| whose.of(alarm)) {
                        events.publish(clock(), news);
                    }
                }
                alarms = next;
                tell_containment(&mut contained, &ledger, &status.borrow(), &events, clock());
            }
        }
    }
}

/// Publishes the operations after a generation, and returns that of the last.
async fn operations(ledger: &Arc<dyn Ledger>, mut told: Generation, events: &Events) -> Generation {
    loop {
        let (ledger, after) = (Arc::clone(ledger), told);
        let read = tokio::task::spawn_blocking(move || ledger.operations(after, OPERATIONS)).await;
        let operations = match read {
            Ok(Ok(operations)) => operations,
            Ok(Err(error)) => {
                log::error!("operations after {told} are no events: {}", chain(&error));
                return told;
            }
            Err(error) => {
                log::error!("operations after {told} are no events: {error}");
                return told;
            }
        };
        for operation in &operations {
            told = operation.generation;
            // What happens to tenants and tokens is nobody's in particular: the audit shows it to those who may see it.
            if let Some(project) = operation.scope.project() {
                events.publish(operation.at, of_operation(operation, project));
            }
        }
        if operations.len() < OPERATIONS {
            return told;
        }
    }
}

fn of_operation(operation: &Operation, project: ProjectId) -> News {
    let lb = operation.changes.iter().find_map(|change| change.after.lb());
    let documents = operation.changes.len();
    let verb = &operation.verb;
    News {
        kind: "operation",
        project: Some(project),
        lb,
        message: format!(
            "operation {} by {}: {verb}, {documents} documents",
            operation.generation, operation.actor.name
        ),
        data: json!({
            "generation": operation.generation, "id": operation.id, "verb": verb, "actor": operation.actor.name,
            "documents": documents,
        }),
    }
}

/// What changed between two views: a server that is up at its first probe is no news, one that is down is.
fn of_health(before: &HealthView, after: &HealthView, snapshot: &Snapshot) -> Vec<News> {
    let mut news = Vec::new();
    for (server, health) in &after.servers {
        // What a mass failure holds in use is told of by one alarm, and one by one only when it is taken out after all.
        let was_usable = before.servers.get(server).is_none_or(|health| health.usable);
        if was_usable != health.usable {
            news.push(of_server(*server, health, snapshot));
        }
    }
    match (&before.mass_failure, &after.mass_failure) {
        (None, Some(failure)) => news.push(News {
            kind: "mass_failure.began",
            project: None,
            lb: None,
            message: failure.to_string(),
            data: json!(failure),
        }),
        (Some(failure), None) => news.push(News {
            kind: "mass_failure.ended",
            project: None,
            lb: None,
            message: "the mass failure is over: servers that go on failing their probes are taken out".to_owned(),
            data: json!({ "since": failure.since }),
        }),
        (None, None) | (Some(_), Some(_)) => {}
    }
    news
}

fn of_server(server: ServerRef, health: &ServerHealth, snapshot: &Snapshot) -> News {
    let backend = snapshot.backend(server.backend);
    let lb = backend.and_then(|backend| snapshot.lb(backend.lb));
    let why = health.last.as_ref().map(ToString::to_string);
    let names = backend.zip(lb).map_or_else(String::new, |(backend, lb)| format!(" of {}/{}", lb.name, backend.name));
    let word = if health.usable { "up" } else { "down" };
    News {
        kind: if health.usable { "server.up" } else { "server.down" },
        project: lb.map(|lb| lb.owner.project),
        lb: backend.map(|backend| backend.lb),
        message: match &why {
            Some(why) if !health.usable => format!("server {}{names} is {word}: {why}", server.address),
            _ => format!("server {}{names} is {word}", server.address),
        },
        data: json!({
            "server": server.address, "backend_id": server.backend, "up": health.up, "usable": health.usable,
            "last_probe": why,
        }),
    }
}

/// What an alarm is known by: its name, and what it is about.
pub(crate) type Alarm = (&'static str, String);

/// What is wrong with the edge: by alarm, what there is to say about it.
pub(crate) fn alarms(status: &Status, ledger_trouble: Option<String>) -> BTreeMap<Alarm, String> {
    let mut alarms = BTreeMap::new();
    alarms.extend(ledger_trouble.map(|trouble| (("ledger_failing", String::new()), trouble)));
    if let Some(error) = &status.last_error {
        alarms
            .insert(("reconcile_failing", String::new()), format!("the maps could not be brought up to date: {error}"));
    }
    // Before the first activation nothing is known about the interfaces.
    if status.attachments.is_empty() && status.applied_at.is_some() {
        let message = "the program is attached to no interface: no traffic is balanced";
        alarms.insert(("not_attached", String::new()), message.to_owned());
    }
    for service in &status.empty_services {
        alarms.insert(("empty_service", service.clone()), format!("{service} has no usable server"));
    }
    for (address, why) in &status.unresolved {
        alarms.insert(("unresolved", address.to_string()), format!("there is no way to server {address}: {why}"));
    }
    for (map, count) in &status.repaired {
        let message = format!("{count} entries of {map} were altered by somebody else and repaired");
        alarms.insert(("repaired", format!("{map} {count}")), message);
    }
    alarms
}

/// Raises and clears the alarms of containment. They name tenants: only who reaches the whole fleet sees them.
fn tell_containment(
    told: &mut BTreeMap<Alarm, String>,
    ledger: &Arc<dyn Ledger>,
    status: &Status,
    events: &Events,
    now: Timestamp,
) {
    let next = containment(&ledger.snapshot(), status, now);
    for news in of_alarms(told, &next, |_| EDGE.into()) {
        events.publish(now, news);
    }
    *told = next;
}

/// What contains harm right now: read-only mode, and services that the edge holds against the ledger.
fn containment(snapshot: &Snapshot, status: &Status, now: Timestamp) -> BTreeMap<Alarm, String> {
    let mut alarms = BTreeMap::new();
    for freeze in snapshot.freezes().filter(|freeze| freeze.is_in_force(now)) {
        if let What::Freeze { place, verb, .. } = &freeze.what {
            let verb = verb.as_ref().map_or_else(String::new, |verb| format!(" for {verb}"));
            let message = format!("read-only mode in {place}{verb}, by {}: {}", freeze.by.name, freeze.reason.as_str());
            alarms.insert(("read_only", freeze.id.to_string()), message);
        }
    }
    if let Some(first) = status.held.first() {
        let message = format!(
            "{} services are held in the maps against the ledger, too many would leave without an approved plan: {first}, …",
            status.held.len()
        );
        alarms.insert(("hold", String::new()), message);
    }
    alarms
}

fn of_alarms(
    before: &BTreeMap<Alarm, String>,
    after: &BTreeMap<Alarm, String>,
    whose: impl Fn(&Alarm) -> BTreeSet<Option<ProjectId>>,
) -> Vec<News> {
    let raised = after.iter().filter(|(alarm, _)| !before.contains_key(alarm));
    let raised = raised.map(|(alarm, message)| ("alarm.raised", alarm, message.clone()));
    // A repair stays true; the others can end.
    let cleared = before.iter().filter(|(alarm, _)| alarm.0 != "repaired" && !after.contains_key(alarm));
    let cleared = cleared.map(|(alarm, message)| ("alarm.cleared", alarm, format!("over: {message}")));
    let news = |(kind, alarm, message): (_, &Alarm, String)| -> Vec<News> {
        let data = json!({ "alarm": alarm.0, "subject": alarm.1 });
        let one = |project| News { kind, project, lb: None, message: message.clone(), data: data.clone() };
        whose(alarm).into_iter().map(one).collect()
    };
    raised.chain(cleared).flat_map(news).collect()
}

/// What only whoever reaches the whole fleet sees.
const EDGE: [Option<ProjectId>; 1] = [Some(Owner::EDGE.project)];

/// Whose addresses alarms name: nobody else is told of them.
struct Whose {
    servers: BTreeMap<IpAddr, BTreeSet<ProjectId>>,
    services: BTreeMap<IpAddr, ProjectId>,
}

impl Whose {
    fn new<'a>(snapshot: &Snapshot, alarms: impl Iterator<Item = &'a Alarm>) -> Self {
        let (mut servers, mut services) = (BTreeMap::new(), BTreeMap::new());
        for alarm in alarms {
            match (alarm.0, address_of(&alarm.1)) {
                ("unresolved", Some(address)) => drop(servers.insert(address, BTreeSet::new())),
                ("empty_service", Some(address)) => {
                    services.extend(snapshot.ip_with_address(address).map(|ip| (address, ip.owner.project)));
                }
                _ => {}
            }
        }
        if !servers.is_empty() {
            for lb in snapshot.lbs().filter(|lb| lb.times.is_live()) {
                let backends = snapshot.backends_of(lb.id).filter(|backend| backend.times.is_live());
                for server in backends.flat_map(|backend| &backend.servers) {
                    if let Some(projects) = servers.get_mut(&server.address) {
                        projects.insert(lb.owner.project);
                    }
                }
            }
        }
        Self { servers, services }
    }

    /// The projects that are told of an alarm, or the operators where no project is; `None` is everybody.
    fn of(&self, alarm: &Alarm) -> BTreeSet<Option<ProjectId>> {
        let projects: BTreeSet<Option<ProjectId>> = match (alarm.0, address_of(&alarm.1)) {
            ("unresolved", Some(address)) => {
                self.servers.get(&address).into_iter().flatten().copied().map(Some).collect()
            }
            ("empty_service", Some(address)) => self.services.get(&address).copied().map(Some).into_iter().collect(),
            // What the maps say of their keys may name anybody; where the ledger is, is nobody else's business.
            ("reconcile_failing" | "ledger_failing", _) => EDGE.into(),
            _ => [None].into(),
        };
        if projects.is_empty() { EDGE.into() } else { projects }
    }
}

/// The address that the subject of an alarm begins with.
fn address_of(subject: &str) -> Option<IpAddr> {
    subject.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::ProbeOutcome;
    use crate::model::BackendId;

    fn health(up: bool) -> ServerHealth {
        let last = Some(if up { ProbeOutcome::Passed } else { ProbeOutcome::Refused });
        let decided_at = std::time::Instant::now();
        ServerHealth { up, usable: up, since: Timestamp::UNIX_EPOCH, rose_at: None, decided_at, last }
    }

    #[test]
    fn a_server_is_news_when_it_goes_down_or_up_and_not_when_it_is_first_found_up() {
        let server = ServerRef { backend: BackendId::new(), address: [10, 0, 0, 1].into() };
        let view = |up| HealthView { servers: [(server, health(up))].into(), mass_failure: None };
        let kinds = |before: &HealthView, after: &HealthView| {
            let news = of_health(before, after, &Snapshot::default());
            news.into_iter().map(|news| news.kind).collect::<Vec<_>>()
        };
        let nothing = HealthView::default();
        assert_eq!(kinds(&nothing, &view(true)), [""; 0]);
        assert_eq!(kinds(&nothing, &view(false)), ["server.down"]);
        assert_eq!(kinds(&view(true), &view(false)), ["server.down"]);
        assert_eq!(kinds(&view(false), &view(true)), ["server.up"]);
        assert_eq!(kinds(&view(false), &view(false)), [""; 0]);
        assert_eq!(kinds(&view(false), &nothing), [""; 0], "a server that is removed has not come up");
    }

    #[test]
    fn an_alarm_is_raised_once_and_cleared_once_and_a_repair_is_never_over() {
        let quiet = Status { applied_at: Some(Timestamp::UNIX_EPOCH), ..Status::default() };
        let status = Status {
            last_error: Some("the map is full".to_owned()),
            repaired: [("BACKENDS".to_owned(), 2)].into(),
            ..quiet.clone()
        };
        let (quiet, loud) = (alarms(&quiet, None), alarms(&status, None));
        let kinds = |before, after| {
            of_alarms(before, after, |_| [None].into()).iter().map(|news| news.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&quiet, &loud), ["alarm.raised"; 2]);
        assert_eq!(kinds(&loud, &loud), [""; 0]);
        assert_eq!(kinds(&loud, &quiet), ["alarm.cleared"]);
        assert!(alarms(&Status::default(), None).is_empty(), "nothing is known before the first activation");
    }
}
