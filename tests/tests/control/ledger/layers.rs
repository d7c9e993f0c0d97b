//! The engine alone stops an avalanche: its checks, and the triggers of its file without them.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use lb_userspace::authority::{Bootstrap, TokenKey, bootstrap};
use lb_userspace::ledger::difference::digest;
use lb_userspace::ledger::{BUDGET, Change, Ledger, LedgerError, MemoryLedger, Proposal, Snapshot, SqliteLedger};
use lb_userspace::model::{
    Action, Actor, Document, Generation, Ip, IpId, Lb, Measure, MeasureId, Name, Person, Place, Plan, Reach, Reason,
    Recovered, Recovery, Role, Scope, Tags, Takedown, Times, What,
};
use serde_json::{Value, json};

use super::{create, lb, owner, proposal};

/// Load balancers of the incident.
const INCIDENT: usize = 1574;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn stock(ledger: &dyn Ledger) {
    let changes = (0..INCIDENT).map(|number| create(lb(&format!("lb-{number}"), owner(1)))).collect();
    ledger.append(proposal(&ledger.snapshot(), changes)).unwrap();
}

fn deletion(lb: &Lb, now: Timestamp) -> Change {
    let after = Lb { times: lb.times.deleted(now), ..lb.clone() };
    Change { before: Some(Document::Lb(lb.clone())), after: Document::Lb(after) }
}

fn live(snapshot: &Snapshot) -> Vec<Lb> {
    snapshot.lbs().filter(|lb| lb.times.is_live()).map(|lb| Lb::clone(lb)).collect()
}

fn delete(snapshot: &Snapshot, lbs: &[Lb], now: Timestamp) -> Proposal {
    let changes = lbs.iter().map(|lb| deletion(lb, now)).collect();
    Proposal { verb: "lb.delete".to_owned(), at: now, ..proposal(snapshot, changes) }
}

fn on_every_engine(check: impl Fn(&dyn Ledger)) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = SqliteLedger::open(&directory.path().join("ledger.db")).unwrap();
    let memory = MemoryLedger::new();
    for ledger in [&sqlite as &dyn Ledger, &memory] {
        stock(ledger);
        check(ledger);
    }
}

#[test]
fn the_engine_alone_stops_a_deletion_of_1574_one_by_one_and_goes_read_only_with_the_deciding_operation() {
    on_every_engine(|ledger| {
        let mut refusal = None;
        for lb in live(&ledger.snapshot()) {
            match ledger.append(delete(&ledger.snapshot(), &[lb], at(1))) {
                Ok(_) => assert!(refusal.is_none(), "after the freeze nothing is deleted"),
                Err(error) => refusal = refusal.or(Some((ledger.snapshot().generation(), error))),
            }
        }
        let (generation, refusal) = refusal.expect("it is stopped");
        let LedgerError::Frozen(freeze) = refusal else { panic!("{refusal}") };
        let gone = INCIDENT - live(&ledger.snapshot()).len();
        assert_eq!(gone, BUDGET.per_project, "one budget's worth, no more");
        assert_eq!(generation, ledger.snapshot().generation(), "the freeze came with the deciding operation");
        let What::Freeze { place, verb, operations } = &freeze.what else { panic!("{freeze:?}") };
        assert_eq!((place, verb.as_deref()), (&Place::Project { project: owner(1).project }, Some("lb.delete")));
        let led: Vec<u64> = operations.iter().map(|operation| operation.0).collect();
        assert_eq!(led, (2..2 + BUDGET.per_project as u64).collect::<Vec<_>>(), "it lists what led to it");
        // Other verbs go on, also in that project.
        let first = live(&ledger.snapshot()).remove(0);
        let renamed = Lb { description: "still alive".to_owned(), ..first.clone() };
        let change = Change { before: Some(Document::Lb(first)), after: Document::Lb(renamed) };
        let update = Proposal { verb: "lb.update".to_owned(), at: at(1), ..proposal(&ledger.snapshot(), vec![change]) };
        ledger.append(update).unwrap();
    });
}

#[test]
fn the_engine_alone_stops_a_deletion_of_1574_in_one_operation() {
    on_every_engine(|ledger| {
        let all = live(&ledger.snapshot());
        let error = ledger.append(delete(&ledger.snapshot(), &all, at(1))).expect_err("no plan stands behind it");
        assert!(matches!(error, LedgerError::Frozen(_)), "{error}");
        assert_eq!(live(&ledger.snapshot()).len(), INCIDENT);
    });
}

#[test]
fn a_freeze_refuses_its_verb_in_its_place_until_it_ends_and_is_never_itself_frozen() {
    on_every_engine(|ledger| {
        let measure = Measure {
            id: MeasureId::new(),
            by: Person::agent("tester"),
            reason: Reason::try_from("looking into something".to_owned()).unwrap(),
            expires_at: Some(at(100)),
            what: What::Freeze { place: Place::Zone, verb: None, operations: Vec::new() },
            times: Times::created(at(0)),
        };
        let scope = Scope::Measure { measure: measure.id };
        let change = Change { before: None, after: Document::Measure(measure.clone()) };
        let freeze = Proposal {
            actor: Actor::agent("tester"),
            scope: scope.clone(),
            verb: "freeze.create".to_owned(),
            ..proposal(&ledger.snapshot(), vec![change])
        };
        ledger.append(freeze).unwrap();
        let new = |now| Proposal { at: at(now), ..proposal(&ledger.snapshot(), vec![create(lb("new", owner(1)))]) };
        assert!(matches!(ledger.append(new(50)), Err(LedgerError::Frozen(_))));
        ledger.append(new(100)).expect("it has expired");
        assert!(matches!(ledger.append(new(50)), Err(LedgerError::Frozen(_))));
        let ended = Measure { times: measure.times.deleted(at(50)), ..measure.clone() };
        let change = Change { before: Some(Document::Measure(measure)), after: Document::Measure(ended) };
        let thaw = Proposal {
            actor: Actor::agent("tester"),
            scope,
            verb: "freeze.end".to_owned(),
            ..proposal(&ledger.snapshot(), vec![change])
        };
        ledger.append(thaw).unwrap();
        ledger.append(new(50)).expect("it was ended");
    });
}

/// A plan to delete everything, made, approved and carried out by these.
fn planned(ledger: &dyn Ledger, approver: Option<&str>) -> Result<(), LedgerError> {
    let snapshot = ledger.snapshot();
    let subjects = live(&snapshot).iter().map(|lb| (lb.id, snapshot.touched(lb.id))).collect();
    let plan = Plan {
        action: Action::Delete,
        subjects,
        selector: "everything".to_owned(),
        place: None,
        recovery: None,
        approved_by: None,
        applied_at: None,
    };
    let measure = Measure {
        id: MeasureId::new(),
        by: Person::agent("tester"),
        reason: Reason::try_from("the tenant has left".to_owned()).unwrap(),
        expires_at: Some(at(900)),
        what: What::Plan(plan.clone()),
        times: Times::created(at(0)),
    };
    let on_plan = |ledger: &dyn Ledger, change| Proposal {
        scope: Scope::Measure { measure: measure.id },
        verb: "plan".to_owned(),
        ..proposal(&ledger.snapshot(), vec![change])
    };
    let with = |plan: Plan| Measure { what: What::Plan(plan), ..measure.clone() };
    ledger.append(on_plan(ledger, Change { before: None, after: Document::Measure(measure.clone()) }))?;
    let mut before = measure.clone();
    if let Some(approver) = approver {
        let after = with(Plan { approved_by: Some(Person::agent(approver)), ..plan.clone() });
        let change =
            Change { before: Some(Document::Measure(before.clone())), after: Document::Measure(after.clone()) };
        let mut approval = on_plan(ledger, change);
        approver.clone_into(&mut approval.actor.name);
        ledger.append(approval)?;
        before = after;
    }
    let snapshot = ledger.snapshot();
    let mut changes: Vec<Change> = live(&snapshot).iter().map(|lb| deletion(lb, at(1))).collect();
    let done = with(Plan { applied_at: Some(at(1)), approved_by: approver.map(Person::agent), ..plan });
    changes.push(Change { before: Some(Document::Measure(before)), after: Document::Measure(done) });
    let lbs = live(&snapshot).iter().map(|lb| lb.id).collect::<BTreeSet<_>>().try_into().unwrap();
    ledger
        .append(Proposal {
            scope: Scope::Lbs { lbs, project: owner(1).project },
            verb: "lb.delete".to_owned(),
            at: at(1),
            plan: Some(measure.id),
            ..proposal(&snapshot, changes)
        })
        .map(drop)
}

#[test]
fn a_plan_that_another_person_approved_may_delete_what_it_names_in_one_operation() {
    on_every_engine(|ledger| {
        let error = planned(ledger, None).expect_err("nobody approved it").to_string();
        assert!(error.contains("nobody approved it"), "{error}");
        let error = planned(ledger, Some("tester")).expect_err("its maker approves it").to_string();
        assert!(error.contains("whoever made it cannot approve it"), "{error}");
        assert_eq!(live(&ledger.snapshot()).len(), INCIDENT);
        planned(ledger, Some("somebody else")).unwrap();
        assert_eq!(live(&ledger.snapshot()).len(), 0);
    });
}

#[test]
fn the_engine_alone_keeps_what_trust_and_safety_removed_from_its_tenant() {
    on_every_engine(|ledger| {
        let reason = Reason::try_from("phishing".to_owned()).unwrap();
        let takedown = Takedown { plan: MeasureId::new(), reason };
        let one = live(&ledger.snapshot()).remove(0);
        let gone = Lb { times: one.times.deleted(at(1)), taken_down: Some(takedown), ..one.clone() };
        let change = |before: &Lb, after: &Lb| Change {
            before: Some(Document::Lb(before.clone())),
            after: Document::Lb(after.clone()),
        };
        let by = |actor: Actor, change| Proposal { actor, at: at(1), ..proposal(&ledger.snapshot(), vec![change]) };
        let tenant = || Actor::editor("tester", owner(1));
        let admin = || Actor {
            role: Role::OrgAdmin,
            reach: Reach::Organization { organization: owner(1).organization },
            ..tenant()
        };
        let guards = || Actor { role: Role::TrustSafety, reach: Reach::Fleet, ..tenant() };
        let refused = |proposal| {
            let error = ledger.append(proposal).expect_err("it is Trust & Safety's").to_string();
            assert!(error.contains("removed by Trust & Safety: phishing"), "{error}");
        };
        refused(by(tenant(), change(&one, &gone)));
        ledger.append(by(guards(), change(&one, &gone))).unwrap();
        let unmarked = Lb { taken_down: None, ..gone.clone() };
        let marked = Lb { taken_down: gone.taken_down.clone(), ..one.clone() };
        for after in [&one, &unmarked, &marked] {
            refused(by(tenant(), change(&gone, after)));
            refused(by(admin(), change(&gone, after)));
        }
        ledger.append(by(guards(), change(&gone, &one))).unwrap();
        assert_eq!(live(&ledger.snapshot()).len(), INCIDENT);
    });
}

#[test]
fn the_engine_alone_keeps_the_address_of_what_trust_and_safety_removed_where_it_was() {
    on_every_engine(|ledger| {
        let reason = Reason::try_from("phishing".to_owned()).unwrap();
        let [one, other] = [0, 1].map(|number| live(&ledger.snapshot()).remove(number));
        let gone = Lb { taken_down: Some(Takedown { plan: MeasureId::new(), reason }), ..one.clone() };
        let gone = Lb { times: one.times.deleted(at(1)), ..gone };
        let there = Ip {
            id: IpId::new(),
            owner: owner(1),
            address: [192, 0, 2, 1].into(),
            lb: Some(one.id),
            reverse: String::new(),
            tags: Tags::default(),
            times: Times::created(at(0)),
        };
        let attach = Change { before: None, after: Document::Ip(there.clone()) };
        ledger.append(proposal(&ledger.snapshot(), vec![attach])).unwrap();
        let guards = || Actor { role: Role::TrustSafety, reach: Reach::Fleet, ..Actor::editor("ts", owner(1)) };
        let removal = Change { before: Some(Document::Lb(one.clone())), after: Document::Lb(gone) };
        ledger.append(Proposal { actor: guards(), at: at(1), ..proposal(&ledger.snapshot(), vec![removal]) }).unwrap();
        let released = Ip { times: there.times.deleted(at(1)), ..there.clone() };
        for after in [Ip { lb: None, ..there.clone() }, Ip { lb: Some(other.id), ..there.clone() }, released] {
            let change = Change { before: Some(Document::Ip(there.clone())), after: Document::Ip(after) };
            let error = ledger.append(proposal(&ledger.snapshot(), vec![change])).expect_err("it stays").to_string();
            assert!(error.contains(&format!("{}, which Trust & Safety removed: phishing", one.id)), "{error}");
        }
    });
}

#[test]
fn the_engine_alone_keeps_a_freeze_of_others_from_a_tenant_and_a_tenants_from_stopping_who_contains() {
    on_every_engine(|ledger| {
        let organization = owner(1).organization;
        let people = [
            ("admin", Role::OrgAdmin, Reach::Organization { organization }),
            ("operator", Role::Operator, Reach::Fleet),
            ("ts", Role::TrustSafety, Reach::Fleet),
        ];
        let tokens = people.map(|(name, role, reach)| Bootstrap {
            name: Name::try_from(name.to_owned()).unwrap(),
            role,
            reach,
            digest: TokenKey::new([1; 32]).digest(name),
        });
        bootstrap(ledger, &tokens, at(0)).unwrap();
        let [admin, operator, guards] = people.map(|(name, role, reach)| {
            let snapshot = ledger.snapshot();
            let token = snapshot.tenants().tokens().find(|token| token.name.as_str() == name).unwrap().id;
            Actor { token: Some(token), name: name.to_owned(), role, reach }
        });
        let agent = Actor::agent("somebody");
        let append = |actor: &Actor, change: Change| {
            let scope = match &change.after {
                Document::Measure(measure) => Scope::Measure { measure: measure.id },
                _ => Scope::Project { project: owner(1).project },
            };
            let by = Proposal { actor: actor.clone(), scope, ..proposal(&ledger.snapshot(), vec![change]) };
            ledger.append(Proposal { verb: "lb.update".to_owned(), at: at(1), ..by }).map(drop)
        };
        for (maker, stops_guards) in [(&admin, false), (&operator, true), (&agent, true)] {
            let freeze = Measure {
                id: MeasureId::new(),
                by: maker.person(),
                reason: Reason::try_from("a look".to_owned()).unwrap(),
                expires_at: Some(at(100)),
                what: What::Freeze { place: Place::Organization { organization }, verb: None, operations: Vec::new() },
                times: Times::created(at(1)),
            };
            append(maker, Change { before: None, after: Document::Measure(freeze.clone()) }).unwrap();
            let rename = |actor: &Actor| {
                let one = live(&ledger.snapshot()).remove(0);
                let after = Lb { description: format!("{}{}", one.description, actor.name), ..one.clone() };
                append(actor, Change { before: Some(Document::Lb(one)), after: Document::Lb(after) })
            };
            for (actor, is_stopped) in
                [(&admin, true), (&agent, true), (&operator, stops_guards), (&guards, stops_guards)]
            {
                let said = rename(actor);
                let is_frozen = matches!(said, Err(LedgerError::Frozen(_)));
                assert_eq!(is_frozen, is_stopped, "{} under the freeze of {}: {said:?}", actor.name, maker.name);
                assert!(is_frozen || said.is_ok(), "{said:?}");
            }
            let ended = Measure { times: freeze.times.deleted(at(1)), ..freeze.clone() };
            let end =
                || Change { before: Some(Document::Measure(freeze.clone())), after: Document::Measure(ended.clone()) };
            if stops_guards {
                let error = append(&admin, end()).expect_err("it is not the tenant's").to_string();
                assert!(error.contains("org-admin"), "{error}");
                append(&guards, end()).unwrap();
            } else {
                append(&admin, end()).unwrap();
            }
        }
    });
}

#[test]
fn the_engine_alone_lets_an_approved_recovery_make_the_changes_that_were_approved_and_no_others() {
    on_every_engine(|ledger| {
        let snapshot = ledger.snapshot();
        let lbs = live(&snapshot)[..21].to_vec();
        let changes: Vec<Change> = lbs[..20].iter().map(|lb| deletion(lb, at(1))).collect();
        let plan = Plan {
            action: Action::Recover,
            subjects: lbs.iter().map(|lb| (lb.id, snapshot.touched(lb.id))).collect(),
            selector: "undo of operation 1".to_owned(),
            place: None,
            recovery: Some(Recovery {
                of: Recovered::Undo { operation: Generation(1) },
                digest: digest(&changes),
                out_of_service: 20,
            }),
            approved_by: None,
            applied_at: None,
        };
        let of = |plan: Plan| Measure {
            id: MeasureId::from_uuid(uuid::Uuid::from_u128(9)),
            by: Person::agent("tester"),
            reason: Reason::try_from("they were to go".to_owned()).unwrap(),
            expires_at: Some(at(900)),
            what: What::Plan(plan),
            times: Times::created(at(0)),
        };
        let made = of(plan.clone());
        let agreed = of(Plan { approved_by: Some(Person::agent("somebody else")), ..plan.clone() });
        let done = of(Plan { applied_at: Some(at(1)), ..agreed.plan().unwrap().clone() });
        let on_plan = |by: &str, before: Option<&Measure>, after: &Measure| Proposal {
            actor: Actor::agent(by),
            scope: Scope::Measure { measure: after.id },
            ..proposal(
                &ledger.snapshot(),
                vec![Change {
                    before: before.cloned().map(Document::Measure),
                    after: Document::Measure(after.clone()),
                }],
            )
        };
        ledger.append(on_plan("tester", None, &made)).unwrap();
        ledger.append(on_plan("somebody else", Some(&made), &agreed)).unwrap();
        let carried_out = |verb: &str, mut changes: Vec<Change>| {
            changes.push(Change {
                before: Some(Document::Measure(agreed.clone())),
                after: Document::Measure(done.clone()),
            });
            Proposal {
                actor: Actor::agent("tester"),
                verb: verb.to_owned(),
                at: at(1),
                plan: Some(agreed.id),
                ..proposal(&ledger.snapshot(), changes)
            }
        };
        let more: Vec<Change> = lbs.iter().map(|lb| deletion(lb, at(1))).collect();
        let other: Vec<Change> = lbs[1..].iter().map(|lb| deletion(lb, at(1))).collect();
        for changes in [more, other, changes[1..].to_vec()] {
            let error = ledger.append(carried_out("undo", changes)).expect_err("it is another one").to_string();
            assert!(error.contains("its changes are not those of the plan"), "{error}");
        }
        let error = ledger.append(carried_out("restore", changes.clone())).expect_err("another verb").to_string();
        assert!(error.contains("is to undo, not to restore"), "{error}");
        ledger.append(carried_out("undo", changes)).expect("twenty, since somebody agreed");
        assert_eq!(live(&ledger.snapshot()).len(), INCIDENT - 20);
    });
}

#[test]
fn measures_that_ended_a_month_ago_leave_the_snapshot_and_what_is_in_force_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let day = |number: i64| at(number * 24 * 3600);
    let measure = |what: What, ends: Option<Timestamp>| Measure {
        id: MeasureId::new(),
        by: Person::agent("tester"),
        reason: Reason::try_from("a test".to_owned()).unwrap(),
        expires_at: ends,
        what,
        times: Times::created(at(0)),
    };
    let place = || Place::Project { project: owner(1).project };
    let freeze = || What::Freeze { place: place(), verb: Some("none".to_owned()), operations: Vec::new() };
    let [ended, lasting] = [measure(freeze(), Some(day(1))), measure(freeze(), Some(day(60)))];
    let quarantine = measure(What::Quarantine { place: place() }, None);
    let released =
        measure(What::Quarantine { place: Place::Organization { organization: owner(1).organization } }, None);
    let put = |ledger: &dyn Ledger, before: Option<&Measure>, after: &Measure, now| {
        let change = Change { before: before.cloned().map(Document::Measure), after: Document::Measure(after.clone()) };
        let proposal = Proposal {
            actor: Actor::agent("tester"),
            scope: Scope::Measure { measure: after.id },
            at: now,
            ..proposal(&ledger.snapshot(), vec![change])
        };
        ledger.append(proposal).unwrap();
    };
    let ledger = SqliteLedger::open(&path).unwrap();
    super::fill(&ledger, 1);
    let organization = lb_userspace::model::Organization {
        id: owner(1).organization,
        name: lb_userspace::model::Name::try_from("one".to_owned()).unwrap(),
        times: Times::created(at(0)),
    };
    let project = lb_userspace::model::Project {
        owner: owner(1),
        name: lb_userspace::model::Name::try_from("one".to_owned()).unwrap(),
        times: Times::created(at(0)),
    };
    let tenants = [Document::Organization(organization), Document::Project(project)];
    let changes = tenants.into_iter().map(|after| Change { before: None, after }).collect();
    let scope = Scope::Organization { organization: owner(1).organization };
    let actor = Actor::agent("tester");
    ledger.append(Proposal { actor, scope, ..proposal(&ledger.snapshot(), changes) }).unwrap();
    for one in [&ended, &lasting, &quarantine, &released] {
        put(&ledger, None, one, at(0));
    }
    let over = Measure { times: released.times.deleted(day(2)), ..released.clone() };
    put(&ledger, Some(&released), &over, day(2));
    let look = |ledger: &dyn Ledger, now| {
        let change = create(lb("a look", owner(1)));
        ledger.append(Proposal { at: now, ..proposal(&ledger.snapshot(), vec![change]) }).unwrap();
        let snapshot = ledger.snapshot();
        [&ended, &lasting, &quarantine, &released].map(|one| snapshot.measure(one.id).is_some())
    };
    assert_eq!(look(&ledger, day(30)), [true; 4], "for a month they are there");
    assert_eq!(look(&ledger, day(32)), [false, true, true, true], "then by their end");
    assert_eq!(look(&ledger, day(33)), [false, true, true, false]);
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.freezes().count(), snapshot.quarantines().count()), (1, 1));
    let operations = ledger.operations(Generation(0), 100).unwrap();
    drop(ledger);
    let ledger = SqliteLedger::open(&path).expect("the log has them for ever, and is intact");
    assert_eq!(ledger.operations(Generation(0), 100).unwrap(), operations);
    assert!(ledger.snapshot().measure(ended.id).is_none(), "folded again, the same");
}

/// What is altered of an operation.
type Forgery = Box<dyn Fn(&mut Value)>;

/// Writes an operation past every check of the engine, as SQL.
fn forge(path: &Path, change: impl Fn(&mut Value)) -> Result<(), String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let newest = "SELECT generation, hash, body FROM operations ORDER BY generation DESC LIMIT 1";
    let (generation, hash, body): (i64, Vec<u8>, Vec<u8>) =
        connection.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    change(&mut body);
    connection
        .execute(
            "INSERT INTO operations VALUES (?1, ?2, zeroblob(32), ?3)",
            (generation + 1, hash, serde_json::to_vec(&body).unwrap()),
        )
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Turns the creations of an operation into deletions of the first so many.
fn deleting(count: usize) -> impl Fn(&mut Value) {
    move |body: &mut Value| {
        let changes = body["changes"].as_array_mut().unwrap();
        changes.truncate(count);
        for change in changes {
            change["before"] = change["after"].clone();
            change["after"]["document"]["times"]["deleted_at"] = json!("1970-01-01T00:00:01Z");
        }
        body["verb"] = json!("lb.delete");
    }
}

#[test]
fn the_triggers_of_the_file_alone_stop_a_deletion_of_1574() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = SqliteLedger::open(&path).unwrap();
    stock(&ledger);
    drop(ledger);
    let cases: [(&str, Forgery); 5] = [
        ("the budget allows", Box::new(deleting(INCIDENT))),
        ("the budget allows", Box::new(deleting(11))),
        ("names what it may touch", Box::new(|body| body["scope"] = json!({"kind": "project", "project": null}))),
        ("names what it may touch", Box::new(|body| body["scope"] = json!({"kind": "everything"}))),
        ("never taken away", Box::new(|body| body["changes"][0]["after"] = Value::Null)),
    ];
    for (why, change) in cases {
        let error = forge(&path, change).expect_err(why);
        assert!(error.contains(why), "{why}: {error}");
    }
    // Ten at a time, until the actor's fifty are used up.
    let ten = deleting(10);
    let mut refusal = None;
    for round in 0..10 {
        // Only the first of them has the creations to turn around; the next are the same bytes again.
        let again = |body: &mut Value| {
            if round == 0 {
                ten(body)
            }
        };
        if let Err(error) = forge(&path, again) {
            refusal = Some((round, error));
            break;
        }
    }
    let (round, error) = refusal.expect("it is stopped");
    assert_eq!(round, BUDGET.per_actor / 10, "{error}");
}

#[test]
fn the_triggers_of_the_file_alone_refuse_while_a_freeze_is_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = SqliteLedger::open(&path).unwrap();
    stock(&ledger);
    let all = live(&ledger.snapshot());
    ledger.append(delete(&ledger.snapshot(), &all, at(1))).expect_err("it trips the breaker");
    assert_eq!(ledger.snapshot().generation(), Generation(2), "the freeze");
    let first = all.first().cloned().unwrap();
    drop(ledger);
    let deletion = |verb: &'static str, now: &'static str| {
        let first = first.clone();
        move |body: &mut Value| {
            let before = json!({"kind": "lb", "document": first});
            let mut after = before.clone();
            after["document"]["times"]["deleted_at"] = json!(now);
            body["changes"] = json!([{"before": before, "after": after}]);
            body["scope"] = json!({"kind": "project", "project": owner(1).project});
            body["actor"]["name"] = json!("tester");
            (body["verb"], body["at"]) = (json!(verb), json!(now));
        }
    };
    let error = forge(&path, deletion("lb.delete", "1970-01-01T00:00:02Z")).expect_err("frozen");
    assert!(error.contains("a freeze is in force"), "{error}");
    forge(&path, deletion("lb.update", "1970-01-01T00:00:02Z")).expect("another verb goes on");
}
