//! Purges over the API: announced a day before, seen by whose it is, called off by bringing something back, stopped by a freeze,
//! and nothing is left behind but the log.

use std::sync::atomic::Ordering;

use axum::http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use lb_userspace::ledger::purge::BUDGET;
use lb_userspace::ledger::{Change, Ledger, LedgerError, MemoryLedger, Proposal};
use lb_userspace::model::{Actor, Dependent, Document, Lb, Scope};
use lb_userspace::purge::{self, Looked};
use serde_json::{Value, json};

use super::{Api, Ids, owner, text};

mod engine;

const PATH: &str = "/snowshed/v1/purges";
const RETENTION: SignedDuration = SignedDuration::from_hours(7 * 24);

const fn hours(hours: i64) -> i64 {
    hours * 3600
}

/// Sets the clock, and lets the agent look.
fn look_at(api: &Api, second: i64) -> Looked {
    api.seconds.store(second, Ordering::SeqCst);
    purge::look(&*api.ledger, RETENTION, false, Timestamp::from_second(second).unwrap()).unwrap()
}

fn verbs(looked: &Looked) -> Vec<&str> {
    looked.operations.iter().map(|operation| operation.verb.as_str()).collect()
}

async fn undelete(api: &Api, lb: &str) {
    let (status, answer) = api.call(Method::POST, &format!("/lbs/{lb}/undelete"), None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// A purge of tenant one that waits.
pub(super) async fn announce(api: &Api) -> String {
    let spare = api.ok(Method::POST, "/ips", &json!({})).await;
    api.delete(&format!("/ips/{}", text(&spare, "/id"))).await;
    let now = api.seconds.load(Ordering::SeqCst);
    look_at(api, now + hours(6 * 24));
    api.seconds.store(now, Ordering::SeqCst);
    text(&api.get(PATH).await, "/purges/0/id").to_owned()
}

#[tokio::test]
async fn what_was_deleted_is_announced_a_day_before_its_retention_ends_and_then_only_the_log_knows_it() {
    let api = Api::new();
    let ids = Ids::create_with_acl(&api).await;
    let spare = api.ok(Method::POST, "/ips", &json!({})).await;
    let other = api.ok(Method::POST, "/lbs", &json!({"name": "stays"})).await;
    let part = json!({"name": "part", "forward_protocol": "tcp", "forward_port": 81, "forwarding": "ipip"});
    let part = api.ok(Method::POST, &format!("/lbs/{}/backends", text(&other, "/id")), &part).await;
    let lb = text(&other, "/id");
    let both = json!({"kind": "database", "name": "both", "lb_ids": [ids.lb, lb]});
    let both = api.ok(Method::POST, "/snowshed/v1/dependents", &both).await;
    let only = json!({"kind": "database", "name": "only", "lb_ids": [ids.lb]});
    let only = api.ok(Method::POST, "/snowshed/v1/dependents", &only).await;
    api.delete(&ids.path("/subscribers/{subscriber}").replace("/subscribers", "/lb/subscription")).await;
    api.delete(&format!("/backends/{}", text(&part, "/id"))).await;
    api.delete(&format!("/ips/{}", text(&spare, "/id"))).await;
    api.delete(&ids.path("/lbs/{lb}")).await;
    let address = json!({"ip_address": spare["ip_address"]});
    assert_eq!(api.call(Method::POST, "/ips", Some(&address)).await.0, StatusCode::BAD_REQUEST, "it is reserved");

    assert_eq!(verbs(&look_at(&api, hours(6 * 24) - 1)), [""; 0]);
    assert_eq!(verbs(&look_at(&api, hours(6 * 24))), ["purge.announce"]);
    let list = api.get(PATH).await;
    let purge = &list["purges"][0];
    assert_eq!(
        purge["documents"],
        json!({"lb": 1, "frontend": 1, "backend": 2, "acl": 1, "ip": 1, "subscriber": 1}),
        "{list}"
    );
    assert_eq!((&purge["lb_ids"], &purge["addresses"]), (&json!([ids.lb]), &json!([spare["ip_address"]])));
    assert_eq!((text(purge, "/not_before"), &purge["stale"]), ("1970-01-08T00:00:00Z", &Value::Null));
    assert_eq!(api.get("/snowshed/v1/status").await["containment"]["purges"][0]["id"], purge["id"]);
    let (_, theirs) = api.call_as("secret-two", Method::GET, PATH, None).await;
    assert_eq!(theirs["total_count"], 0, "nobody else's");
    let one = format!("{PATH}/{}", text(purge, "/id"));
    assert_eq!(api.call_as("secret-two", Method::GET, &one, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(verbs(&look_at(&api, hours(7 * 24) - 1)), [""; 0], "it is announced once, and not yet carried out");
    assert_eq!(text(&api.get(&ids.path("/lbs/{lb}")).await, "/status"), "to_delete");

    assert_eq!(verbs(&look_at(&api, hours(7 * 24))), ["purge.apply"]);
    for path in ["/lbs/{lb}", "/frontends/{frontend}", "/backends/{backend}", "/acls/{acl}"] {
        assert_eq!(api.call(Method::GET, &ids.path(path), None).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let ip = api.get(&ids.path("/ips/{ip}")).await;
    assert_eq!(ip["lb_id"], Value::Null, "an address that was never deleted is free for another load balancer: {ip}");
    api.ok(Method::POST, "/ips", &address).await;
    let both = api.get(&format!("/snowshed/v1/dependents/{}", text(&both, "/id"))).await;
    assert_eq!(both["lb_ids"], json!([lb]), "it depends on the other one only");
    let only = format!("/snowshed/v1/dependents/{}", text(&only, "/id"));
    assert_eq!(api.call(Method::GET, &only, None).await.0, StatusCode::NOT_FOUND, "it depends on nothing any more");
    let done = api.get(&one).await;
    assert_eq!(text(&done, "/applied_at"), "1970-01-08T00:00:00Z");
    assert_eq!(api.get(PATH).await["total_count"], 0);
    let operation = api.get("/snowshed/v1/operations?verb=purge.apply").await;
    assert_eq!(text(&operation, "/operations/0/actor"), "purge", "{operation}");
    let path = format!("/snowshed/v1/operations/{}", text(&operation, "/operations/0/id"));
    let documents = api.get(&path).await;
    let purged = documents["changes"].as_array().unwrap().iter().filter(|one| one["action"] == "purged").count();
    assert_eq!(purged, 7, "{documents}");
    assert_eq!(verbs(&look_at(&api, hours(30 * 24))), ["purge.announce"], "the dependent that went with it");
}

#[tokio::test]
async fn bringing_one_back_calls_the_whole_purge_off_and_the_others_are_announced_anew() {
    let api = Api::new();
    let first = text(&api.ok(Method::POST, "/lbs", &json!({"name": "first"})).await, "/id").to_owned();
    let second = text(&api.ok(Method::POST, "/lbs", &json!({"name": "second"})).await, "/id").to_owned();
    api.delete(&format!("/lbs/{first}")).await;
    api.delete(&format!("/lbs/{second}")).await;
    look_at(&api, hours(6 * 24));
    let announced = api.get(PATH).await["purges"][0].clone();
    undelete(&api, &first).await;
    let path = format!("{PATH}/{}", text(&announced, "/id"));
    let stale = api.get(&path).await;
    assert!(text(&stale, "/stale").contains(&format!("lb {first} was brought back")), "{stale}");
    assert_eq!(verbs(&look_at(&api, hours(7 * 24))), ["purge.cancel", "purge.announce"]);
    assert_eq!(text(&api.get(&path).await, "/ended_at"), "1970-01-08T00:00:00Z");
    let again = &api.get(PATH).await["purges"][0];
    assert_eq!((&again["lb_ids"], text(again, "/not_before")), (&json!([second]), "1970-01-09T00:00:00Z"));
    // Deleted anew meanwhile, its retention begins anew: what was announced was another deletion.
    undelete(&api, &second).await;
    api.delete(&format!("/lbs/{second}")).await;
    assert_eq!(verbs(&look_at(&api, hours(8 * 24))), ["purge.cancel"]);
    assert_eq!(text(&api.get(&format!("/lbs/{second}")).await, "/status"), "to_delete");
}

#[tokio::test]
async fn a_freeze_a_hold_of_an_edge_and_a_dependent_that_holds_each_stop_a_purge() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let holder = json!({"kind": "kubernetes", "name": "prod", "lb_ids": [ids.lb], "finalizer": true});
    let holder = api.ok(Method::POST, "/snowshed/v1/dependents", &holder).await;
    api.delete(&ids.path("/lbs/{lb}")).await;
    assert_eq!(verbs(&look_at(&api, hours(8 * 24))), [""; 0], "a dependent holds it");
    let release = format!("/snowshed/v1/dependents/{}/release", text(&holder, "/id"));
    api.ok(Method::POST, &release, &json!({"reason": "moved"})).await;
    assert_eq!(verbs(&look_at(&api, hours(8 * 24))), ["purge.announce"]);
    // Nobody begins to hold what is deleted; were it held all the same, the purge is called off.
    let late = json!({"kind": "kubernetes", "name": "late", "lb_ids": [ids.lb], "finalizer": true});
    let (status, answer) = api.call(Method::POST, "/snowshed/v1/dependents", Some(&late)).await;
    assert_eq!((status, text(&answer, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, "lb_ids"), "{answer}");
    let holds = |finalizer| {
        let current = api.ledger.snapshot();
        let before = current.dependents().next().unwrap();
        let after = Document::Dependent(Dependent { finalizer, ..Dependent::clone(before) });
        let change = Change { before: Some(Document::Dependent(Dependent::clone(before))), after };
        let actor = Actor::editor("tester", owner(1));
        api.ledger.append(Proposal {
            expected: current.generation(),
            actor,
            scope: Scope::Project { project: owner(1).project },
            verb: "dependent.update".to_owned(),
            reason: String::new(),
            at: Timestamp::from_second(hours(8 * 24)).unwrap(),
            attempt: None,
            plan: None,
            changes: vec![change],
        })
    };
    holds(true).unwrap();
    assert_eq!(verbs(&look_at(&api, hours(9 * 24))), ["purge.cancel"]);
    holds(false).unwrap();
    assert_eq!(verbs(&look_at(&api, hours(9 * 24))), ["purge.announce"]);

    let freeze = json!({"place": "zone", "verb": "purge.apply", "reason": "an inquiry", "lasts_seconds": 100 * 3600});
    let (status, freeze) = api.call_as("secret-operator", Method::POST, "/snowshed/v1/freezes", Some(&freeze)).await;
    assert_eq!(status, StatusCode::OK, "{freeze}");
    let looked = look_at(&api, hours(10 * 24));
    assert_eq!(verbs(&looked), [""; 0]);
    assert!(matches!(looked.refused[..], [(_, LedgerError::Frozen(_))]), "{looked:?}");
    let thaw = format!("/snowshed/v1/freezes/{}", text(&freeze, "/id"));
    assert_eq!(api.call_as("secret-operator", Method::DELETE, &thaw, None).await.0, StatusCode::NO_CONTENT);
    let now = Timestamp::from_second(hours(10 * 24)).unwrap();
    let held = purge::look(&*api.ledger, RETENTION, true, now).unwrap();
    assert_eq!((verbs(&held), held.refused.len()), (vec![], 0), "an edge holds services against the ledger");
    assert_eq!(verbs(&look_at(&api, hours(10 * 24))), ["purge.apply"]);
}

#[tokio::test]
async fn nobody_purges_by_request_and_one_that_waited_too_long_is_announced_anew() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    api.delete(&ids.path("/lbs/{lb}")).await;
    look_at(&api, hours(6 * 24));
    let head = api.head();
    let plan = json!({"action": "purge", "parent": format!("project:{}", owner(1).project), "filter": {"count": 1},
        "reason": "now", "validate_only": false});
    let id = text(&api.get(PATH).await, "/purges/0/id").to_owned();
    for token in ["secret-one", "secret-operator"] {
        let (status, answer) = api.call_as(token, Method::POST, "/snowshed/v1/plans", Some(&plan)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        for step in ["apply", "approve"] {
            let path = format!("/snowshed/v1/plans/{id}/{step}");
            assert_eq!(api.call_as(token, Method::POST, &path, None).await.0, StatusCode::NOT_FOUND, "it is no plan");
        }
    }
    assert_eq!(api.head(), head);
    assert_eq!(verbs(&look_at(&api, hours(9 * 24))), ["purge.announce"], "the agent was stopped for two days");
    assert_eq!(text(&api.get(PATH).await, "/purges/0/not_before"), "1970-01-11T00:00:00Z");
}

#[test]
fn an_avalanche_leaves_a_hundred_at_once_and_two_hundred_an_hour() {
    let ledger =
        MemoryLedger::with_faults(lb_userspace::faults::Faults::without(&[lb_userspace::faults::Layer::Engine]));
    let at = |hour| Timestamp::from_second(hours(hour)).unwrap();
    for project in 1..=3 {
        let lbs: Vec<Lb> = (0..150).map(|number| crate::ledger::lb(&format!("lb-{number}"), owner(project))).collect();
        let made = lbs.iter().cloned().map(crate::ledger::create).collect();
        let gone = lbs.into_iter().map(|lb| {
            let after = Lb { times: lb.times.deleted(at(0)), ..lb.clone() };
            Change { before: Some(Document::Lb(lb)), after: Document::Lb(after) }
        });
        for (verb, changes) in [("lb.create", made), ("lb.delete", gone.collect())] {
            let proposal = Proposal {
                expected: ledger.snapshot().generation(),
                actor: Actor::agent("tester"),
                scope: Scope::Project { project: owner(project).project },
                verb: verb.to_owned(),
                reason: String::new(),
                at: at(0),
                attempt: None,
                plan: None,
                changes,
            };
            ledger.append(proposal).unwrap();
        }
    }
    let left = || ledger.snapshot().lbs().count();
    let look = |hour| purge::look(&ledger, RETENTION, false, at(hour)).unwrap();
    assert_eq!(verbs(&look(6 * 24)), ["purge.announce"; 3]);
    assert_eq!(verbs(&look(7 * 24)), ["purge.apply", "purge.apply", "purge.announce", "purge.announce"]);
    assert_eq!(left(), 450 - BUDGET.per_zone);
    assert_eq!(verbs(&look(7 * 24)), [""; 0], "the hour's budget is used up");
    assert_eq!(verbs(&look(7 * 24 + 2)), ["purge.apply", "purge.announce"]);
    assert_eq!(left(), 150);
    look(8 * 24 + 3);
    assert_eq!(left(), 0, "fifty of each project");
}
