//! Tests of what subscribers and operators are told, with snapshots of a real ledger.

use std::net::IpAddr;

use super::*;
use crate::delivery::{Delivery, Filter};
use crate::health::{ProbeOutcome, ServerHealth};
use crate::ledger::{Change, MemoryLedger, Proposal};
use crate::model::{
    Actor, BackendId, ClosedPort, Dependent, DependentId, DependentKind, Document, LbSet, LbType, Measure, MeasureId,
    Name, OrganizationId, Owner, Person, Plan, ProjectId, Reason, Scope, Server, Subscriber, SubscriberId, Tags, Times,
    Webhook, Weight, What,
};

const URI: &str = "https://example.org/hook";

fn id<T>(number: u128, of: fn(uuid::Uuid) -> T) -> T {
    of(uuid::Uuid::from_u128(number))
}

fn owner() -> Owner {
    Owner { organization: id(1, OrganizationId::from_uuid), project: id(2, ProjectId::from_uuid) }
}

fn subscriber(uri: &str) -> Subscriber {
    Subscriber {
        id: id(3, SubscriberId::from_uuid),
        owner: owner(),
        name: Name::try_from("ops".to_owned()).unwrap(),
        address: Address::Webhook { uri: uri.to_owned() },
        times: Times::created(Timestamp::UNIX_EPOCH),
    }
}

/// A subscriber with a load balancer and a backend of two servers.
fn documents() -> Vec<Document> {
    let (lb, times) = (id(4, LbId::from_uuid), Times::created(Timestamp::UNIX_EPOCH));
    let name = Name::try_from("web".to_owned()).unwrap();
    let balancer = Lb {
        id: lb,
        owner: owner(),
        name: name.clone(),
        description: String::new(),
        tags: Tags::default(),
        kind: LbType::default(),
        answers_echo: true,
        on_closed_port: ClosedPort::default(),
        subscriber: Some(subscriber(URI).id),
        protected: false,
        at_once: false,
        taken_down: None,
        times,
    };
    let backend = Backend {
        id: id(5, BackendId::from_uuid),
        lb,
        name,
        servers: servers().map(|address| Server::serving(address, Weight::ONE, Timestamp::UNIX_EPOCH)).into(),
        times,
        ..crate::health::fixture::backend(1, crate::health::fixture::health_check(Duration::from_secs(1)))
    };
    vec![Document::Subscriber(subscriber(URI)), Document::Lb(balancer), Document::Backend(backend)]
}

fn servers() -> [IpAddr; 2] {
    [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]
}

struct Scene {
    ledger: MemoryLedger,
    outbox: Arc<Outbox>,
    teller: Teller,
    health: HealthView,
    status: Status,
}

impl Scene {
    fn new(alarm_targets: Vec<Address>) -> Self {
        let outbox = Arc::new(Outbox::in_memory(alarm_targets).unwrap());
        let teller = Teller { outbox: Arc::clone(&outbox), known: None };
        let status = Status { applied_at: Some(Timestamp::UNIX_EPOCH), ..Status::default() };
        let ledger = MemoryLedger::new();
        let scene = Self { ledger, outbox, teller, health: HealthView::default(), status };
        scene.append(documents().into_iter().map(|after| Change { before: None, after }).collect());
        scene
    }

    fn append(&self, changes: Vec<Change>) {
        let proposal = Proposal {
            expected: self.ledger.snapshot().generation(),
            actor: Actor::editor("test", owner()),
            scope: Scope::Project { project: owner().project },
            verb: "test".to_owned(),
            reason: String::new(),
            at: Timestamp::UNIX_EPOCH,
            attempt: None,
            plan: None,
            changes,
        };
        self.ledger.append(proposal).unwrap();
    }

    fn change(&self, key: usize, change: impl FnOnce(&mut Document)) {
        let before = self.ledger.snapshot().document(documents()[key].key()).unwrap();
        let mut after = before.clone();
        change(&mut after);
        self.append(vec![Change { before: Some(before), after }]);
    }

    fn probe(&mut self, server: usize, up: bool) {
        let last = Some(if up { ProbeOutcome::Passed } else { ProbeOutcome::Refused });
        let decided_at = std::time::Instant::now();
        let health = ServerHealth { up, usable: up, since: Timestamp::UNIX_EPOCH, rose_at: None, decided_at, last };
        let server = ServerRef { backend: id(5, BackendId::from_uuid), address: servers()[server] };
        self.health.servers.insert(server, health);
    }

    /// Looks; kinds of the letters that were not there before.
    fn told(&mut self) -> Vec<String> {
        let before = self.letters().len();
        self.teller.look(&self.ledger.snapshot(), &self.health, &self.status, None, Timestamp::UNIX_EPOCH).unwrap();
        let mut letters = self.letters();
        letters.reverse();
        letters.split_off(before).into_iter().map(|delivery| delivery.letter.kind).collect()
    }

    fn letters(&self) -> Vec<Delivery> {
        self.outbox.deliveries(&Filter::default()).unwrap()
    }

    /// The agent was killed and is back: it knows what the outbox knows.
    fn restart(&mut self) {
        self.teller = Teller { outbox: Arc::clone(&self.outbox), known: None };
        self.health = HealthView::default();
    }
}

#[test]
fn a_subscriber_is_told_what_changes_once_and_nothing_of_what_was_well_from_the_beginning() {
    let mut scene = Scene::new(Vec::new());
    scene.probe(0, true);
    assert_eq!(scene.told(), [""; 0]);
    scene.probe(1, false);
    assert_eq!(scene.told(), ["server.down"], "of a server that is down from the beginning too");
    assert_eq!(scene.told(), [""; 0]);
    scene.probe(0, false);
    assert_eq!(scene.told(), ["server.down", "backend.down"]);
    scene.probe(1, true);
    assert_eq!(scene.told(), ["server.up", "backend.up"]);
    let letter = scene.letters().swap_remove(0).letter;
    assert_eq!((letter.to, letter.project_id), (subscriber(URI).recipient(), Some(owner().project)));
    assert_eq!(letter.lb_id, Some(id(4, LbId::from_uuid)));
}

#[test]
fn what_changed_while_the_agent_was_down_is_told_when_it_is_known_and_not_before() {
    let mut scene = Scene::new(Vec::new());
    (0..2).for_each(|server| scene.probe(server, server == 0));
    assert_eq!(scene.told(), ["server.down"]);
    scene.restart();
    assert_eq!(scene.told(), [""; 0], "nothing was probed yet");
    scene.probe(1, false);
    assert_eq!(scene.told(), [""; 0], "it is as it was told");
    scene.probe(1, true);
    scene.probe(0, false);
    assert_eq!(scene.told(), ["server.down", "server.up"]);
}

#[test]
fn a_deleted_load_balancer_is_told_and_its_servers_are_not() {
    let mut scene = Scene::new(Vec::new());
    (0..2).for_each(|server| scene.probe(server, true));
    assert_eq!(scene.told(), [""; 0]);
    scene.change(1, |lb| *lb.times_mut() = lb.times().deleted(Timestamp::UNIX_EPOCH));
    scene.probe(0, false);
    assert_eq!(scene.told(), ["lb.deleted"]);
    scene.change(1, |lb| lb.times_mut().deleted_at = None);
    assert_eq!(scene.told(), ["server.down", "lb.ready"].map(str::to_owned).into_iter().rev().collect::<Vec<_>>());
}

/// A dependent of the load balancer, told at a URI.
fn dependent(uri: &str, finalizer: bool) -> Dependent {
    Dependent {
        id: id(9, DependentId::from_uuid),
        owner: owner(),
        kind: DependentKind::try_from("kubernetes".to_owned()).unwrap(),
        name: Name::try_from("prod".to_owned()).unwrap(),
        lbs: LbSet::try_from(BTreeSet::from([id(4, LbId::from_uuid)])).unwrap(),
        webhook: Some(Webhook::try_from(uri.to_owned()).unwrap()),
        finalizer,
        times: Times::created(Timestamp::UNIX_EPOCH),
    }
}

/// A measure of the operator or of the agent.
fn put_measure(scene: &Scene, by: &str, what: What, lasts: jiff::SignedDuration) -> Measure {
    let measure = Measure {
        id: MeasureId::new(),
        by: Person::agent(by),
        reason: Reason::try_from("abuse".to_owned()).unwrap(),
        expires_at: Some(Timestamp::UNIX_EPOCH + lasts),
        what,
        times: Times::created(Timestamp::UNIX_EPOCH),
    };
    let change = Change { before: None, after: Document::Measure(measure.clone()) };
    append_as(scene, by, &measure, change);
    measure
}

fn append_as(scene: &Scene, by: &str, measure: &Measure, change: Change) {
    let proposal = Proposal {
        expected: scene.ledger.snapshot().generation(),
        actor: Actor::agent(by),
        scope: Scope::Measure { measure: measure.id },
        verb: "test".to_owned(),
        reason: String::new(),
        at: Timestamp::UNIX_EPOCH,
        attempt: None,
        plan: None,
        changes: vec![change],
    };
    scene.ledger.append(proposal).unwrap();
}

/// Plans the deletion, makes and ends a quarantine, deletes, lets go, and brings back. The kinds of what is told of each.
fn what_happens_to_its_load_balancer(scene: &mut Scene) -> Vec<Vec<String>> {
    let lb: LbId = id(4, LbId::from_uuid);
    let mut told = Vec::new();
    let subjects = BTreeMap::from([(lb, scene.ledger.snapshot().touched(lb))]);
    let (action, selector) = (crate::model::Action::Delete, "by id".to_owned());
    let plan = Plan { action, subjects, selector, place: None, recovery: None, approved_by: None, applied_at: None };
    let plan = put_measure(scene, "ops", What::Plan(plan), Plan::KEEPS);
    told.push(scene.told());
    let ended = Measure { times: plan.times.deleted(Timestamp::UNIX_EPOCH), ..plan.clone() };
    let end = Change { before: Some(Document::Measure(plan.clone())), after: Document::Measure(ended) };
    append_as(scene, "ops", &plan, end);
    told.push(scene.told());
    let place = crate::model::Place::Lb { lb };
    let quarantine = put_measure(scene, "safety", What::Quarantine { place }, jiff::SignedDuration::from_hours(1));
    told.push(scene.told());
    let ended = Measure { times: quarantine.times.deleted(Timestamp::UNIX_EPOCH), ..quarantine.clone() };
    let end = Change { before: Some(Document::Measure(quarantine.clone())), after: Document::Measure(ended) };
    append_as(scene, "safety", &quarantine, end);
    told.push(scene.told());
    scene.change(1, |lb| *lb.times_mut() = lb.times().deleted(Timestamp::UNIX_EPOCH));
    told.push(scene.told());
    let before = scene.ledger.snapshot().dependent(dependent(URI, true).id).unwrap().as_ref().clone();
    let after = Dependent { finalizer: false, ..before.clone() };
    scene.append(vec![Change { before: Some(Document::Dependent(before)), after: Document::Dependent(after) }]);
    told.push(scene.told());
    scene.change(1, |lb| lb.times_mut().deleted_at = None);
    told.push(scene.told());
    told
}

const OF_DEPENDENT: [&str; 7] = [
    "lb.deletion_planned",
    "lb.ready",
    "lb.quarantined",
    "lb.ready",
    "lb.deletion_requested",
    "lb.deleted",
    "lb.ready",
];

fn with_dependent(uri: &str) -> Scene {
    let mut scene = Scene::new(Vec::new());
    // Nobody else is told here.
    scene.change(1, |document| {
        if let Document::Lb(lb) = document {
            lb.subscriber = None;
        }
    });
    scene.append(vec![Change { before: None, after: Document::Dependent(dependent(uri, true)) }]);
    assert_eq!(scene.told(), [""; 0], "that it is in service is no news");
    scene
}

#[test]
fn a_dependent_is_told_of_a_plan_a_quarantine_a_deletion_that_waits_for_it_and_of_what_is_back() {
    let mut scene = with_dependent(URI);
    let told = what_happens_to_its_load_balancer(&mut scene);
    assert_eq!(told, OF_DEPENDENT.map(|kind| vec![kind.to_owned()]));
    let asked = scene.letters().into_iter().map(|it| it.letter).find(|it| it.kind == "lb.deletion_requested").unwrap();
    let release = format!("POST /snowshed/v1/dependents/{}/release", dependent(URI, true).id);
    assert_eq!((asked.to, asked.project_id), (dependent(URI, true).recipient(), Some(owner().project)));
    assert_eq!((&asked.data["release"], &asked.data["safe"]), (&json!(release), &json!(false)), "{asked:?}");
    scene.restart();
    assert_eq!(scene.told(), [""; 0], "it was told all of it");
}

#[test]
fn a_dependent_is_told_of_a_purge_before_and_after_also_when_nothing_is_left_that_it_depends_on() {
    let mut scene = with_dependent(URI);
    what_happens_to_its_load_balancer(&mut scene);
    scene.change(1, |lb| *lb.times_mut() = lb.times().deleted(Timestamp::UNIX_EPOCH));
    assert_eq!(scene.told(), ["lb.deleted"]);
    let day = |day: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * day);
    let retention = jiff::SignedDuration::from_hours(24 * 7);
    let look = |scene: &mut Scene, at: Timestamp| {
        crate::purge::look(&scene.ledger, retention, false, at).unwrap();
        let before = scene.letters().len();
        scene.teller.look(&scene.ledger.snapshot(), &scene.health, &scene.status, None, at).unwrap();
        let mut letters = scene.letters();
        letters.truncate(letters.len() - before);
        letters.into_iter().map(|it| it.letter.kind).collect::<Vec<_>>()
    };
    assert_eq!(look(&mut scene, day(6)), ["lb.purge_planned"]);
    assert_eq!(look(&mut scene, day(6)), [""; 0]);
    assert_eq!(look(&mut scene, day(7)), ["lb.purged"]);
    assert_eq!(look(&mut scene, day(7)), [""; 0]);
    assert_eq!(look(&mut scene, day(7)), [""; 0]);
    assert_eq!(scene.outbox.told(RecipientKind::Dependent).unwrap(), [], "there is nothing left to be told of");
}

#[test]
fn a_dependent_that_its_owner_removed_is_told_nothing_more_not_even_what_waits() {
    let mut scene = with_dependent(URI);
    scene.change(1, |lb| *lb.times_mut() = lb.times().deleted(Timestamp::UNIX_EPOCH));
    assert_eq!(scene.told(), ["lb.deletion_requested"]);
    let before = dependent(URI, true);
    let after = Dependent { times: before.times.deleted(Timestamp::UNIX_EPOCH), ..before.clone() };
    scene.append(vec![Change { before: Some(Document::Dependent(before)), after: Document::Dependent(after) }]);
    scene.teller.look(&scene.ledger.snapshot(), &scene.health, &scene.status, None, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((scene.letters(), scene.outbox.told(RecipientKind::Dependent).unwrap()), (vec![], vec![]));
}

#[tokio::test]
async fn a_real_receiver_of_a_dependent_that_fails_at_first_gets_every_letter_signed() {
    use crate::delivery::tests::{QUICK, Receiver, is_signed, loopback, postman};
    let (receiver, uri) = Receiver::start([axum::http::StatusCode::SERVICE_UNAVAILABLE; 2]).await;
    let mut scene = with_dependent(&uri);
    let _postman = postman(&scene.outbox, loopback(), None, QUICK);
    what_happens_to_its_load_balancer(&mut scene);
    while scene.outbox.counts().unwrap().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let arrived = receiver.arrived();
    assert!(arrived.iter().all(|one| is_signed(one, dependent(&uri, true).recipient())), "{arrived:?}");
    let mut kinds = BTreeMap::new();
    for one in &arrived {
        let body: Value = serde_json::from_slice(&one.body).unwrap();
        kinds.insert(body["id"].to_string(), body["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(arrived.len(), OF_DEPENDENT.len() + 2, "two of them twice");
    let (mut kinds, mut expected) = (kinds.into_values().collect::<Vec<_>>(), OF_DEPENDENT);
    kinds.sort();
    expected.sort_unstable();
    assert_eq!(kinds, expected);
}

#[test]
fn letters_follow_a_subscriber_to_its_new_address_and_end_with_it() {
    let mut scene = Scene::new(Vec::new());
    scene.probe(0, false);
    scene.told();
    scene.change(0, |document| {
        if let Document::Subscriber(subscriber) = document {
            subscriber.address = Address::Webhook { uri: "https://example.org/new".to_owned() };
        }
    });
    scene.told();
    assert_eq!(scene.letters()[0].letter.address.text(), "https://example.org/new");
    scene.change(0, |subscriber| *subscriber.times_mut() = subscriber.times().deleted(Timestamp::UNIX_EPOCH));
    assert_eq!(
        scene.teller.look(&scene.ledger.snapshot(), &scene.health, &scene.status, None, Timestamp::UNIX_EPOCH).ok(),
        Some(())
    );
    assert_eq!(scene.letters(), []);
    assert_eq!(scene.outbox.told(RecipientKind::Subscriber).unwrap(), []);
}

#[test]
fn an_alarm_of_the_edge_is_told_when_it_is_raised_and_when_it_is_over_also_across_a_restart() {
    let mut scene = Scene::new(vec![Address::Email { email: "ops@example.org".to_owned() }]);
    let attached = scene.told();
    assert_eq!(attached, ["alarm.raised"], "it is attached to nothing");
    scene.status.last_error = Some("the map is full".to_owned());
    assert_eq!(scene.told(), ["alarm.raised"]);
    assert_eq!(scene.told(), [""; 0]);
    scene.restart();
    let status = std::mem::take(&mut scene.status);
    assert_eq!(scene.told(), [""; 0], "nothing is known before the first activation");
    scene.status = Status { last_error: None, ..status };
    assert_eq!(scene.told(), ["alarm.cleared"]);
    assert_eq!(scene.told(), [""; 0]);
    assert!(scene.letters()[0].letter.message.contains("reconcile_failing"));
}
