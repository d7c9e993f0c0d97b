//! Containment over the API: deleting and bringing back, read-only mode, quarantine, plans, and requests that expect
//! to be refused.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use jiff::SignedDuration;
use lb_userspace::authority::{Bootstrap, bootstrap};
use lb_userspace::faults::{Faults, Layer};
use lb_userspace::guard::Limits;
use lb_userspace::ledger::{BUDGET, Change, Ledger, MemoryLedger, Proposal, SqliteLedger};
use lb_userspace::model::{Actor, LbId, Name, Reach, Role, Scope};
use lb_userspace::observe::Rate;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Api, Ids, ZONE, owner, text};

/// An API over a ledger of load balancers, with a test's faults.
pub(super) fn stocked(count: usize, faults: Faults) -> Api {
    stocked_over(Arc::new(MemoryLedger::with_faults(faults)), count, faults)
}

/// The same over an empty ledger.
pub(super) fn stocked_over(ledger: Arc<dyn Ledger>, count: usize, faults: Faults) -> Api {
    let lb = |number: usize| crate::ledger::create(crate::ledger::lb(&format!("lb-{number}"), owner(1)));
    let changes: Vec<Change> = (0..count).map(lb).collect();
    let proposal = Proposal {
        expected: ledger.snapshot().generation(),
        actor: Actor::editor("tester", owner(1)),
        scope: Scope::Project { project: owner(1).project },
        verb: "lb.create".to_owned(),
        reason: String::new(),
        at: jiff::Timestamp::UNIX_EPOCH,
        attempt: None,
        plan: None,
        changes,
    };
    ledger.append(proposal).unwrap();
    let api = Api::with_faults(ledger, Limits::default(), faults);
    let second = Bootstrap {
        name: Name::try_from("one too".to_owned()).unwrap(),
        role: Role::ProjectEditor,
        reach: Reach::Project { owner: owner(1) },
        digest: super::TOKEN_KEY.digest("secret-one-too"),
    };
    bootstrap(&*api.ledger, &[second], jiff::Timestamp::UNIX_EPOCH).unwrap();
    api
}

pub(super) fn live(api: &Api) -> Vec<LbId> {
    api.ledger.snapshot().lbs().filter(|lb| lb.times.is_live()).map(|lb| lb.id).collect()
}

pub(super) async fn expecting(
    api: &Api,
    expectation: &str,
    method: Method,
    path: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let uri = if path.starts_with("/snowshed") { path.to_owned() } else { format!("/lb/v1/zones/{ZONE}{path}") };
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("X-Auth-Token", if path.starts_with("/snowshed") { "secret-operator" } else { "secret-one" });
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    api.send(request.header("Expect", expectation).body(body).unwrap()).await
}

pub(super) fn advance(api: &Api, by: SignedDuration) {
    api.seconds.fetch_add(by.as_secs(), std::sync::atomic::Ordering::SeqCst);
}

/// A request of the operator.
pub(super) async fn operate(api: &Api, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    api.call_as("secret-operator", method, path, Some(body).filter(|body| !body.is_null())).await
}

async fn post(api: &Api, path: &str, body: &Value) -> (StatusCode, Value) {
    api.call(Method::POST, path, Some(body)).await
}

#[tokio::test]
async fn the_guard_alone_stops_a_deletion_of_1574_and_only_that_verb_of_that_project_is_read_only() {
    let api = stocked(1574, Faults::without(&[Layer::Engine, Layer::Edge]));
    let mut refusal = None;
    for lb in live(&api) {
        let (status, problem) = api.call(Method::DELETE, &format!("/lbs/{lb}"), None).await;
        match status {
            StatusCode::NO_CONTENT => assert!(refusal.is_none()),
            _ => refusal = refusal.or(Some((status, problem))),
        }
    }
    let (status, problem) = refusal.expect("it is stopped");
    assert_eq!((status, text(&problem, "/type")), (StatusCode::LOCKED, "locked"));
    assert!(text(&problem, "/message").contains("budget of removals used up"), "{problem}");
    assert_eq!(live(&api).len(), 1574 - BUDGET.per_project);
    // Other verbs and other tenants go on.
    let lb = live(&api)[0];
    api.ok(Method::PUT, &format!("/lbs/{lb}"), &json!({"name": "still here"})).await;
    let (status, theirs) = api.call_as("secret-two", Method::POST, "/lbs", Some(&json!({"name": "theirs"}))).await;
    assert_eq!(status, StatusCode::OK, "{theirs}");
    let path = format!("/lbs/{}", text(&theirs, "/id"));
    assert_eq!(api.call_as("secret-two", Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    // The list says what led to it; a person ends it.
    let list = api.get("/snowshed/v1/freezes").await;
    assert_eq!(list["freezes"][0]["operations"].as_array().unwrap().len(), BUDGET.per_project);
    assert_eq!((text(&list, "/freezes/0/verb"), text(&list, "/freezes/0/by")), ("lb.delete", "breaker"));
    let path = format!("/snowshed/v1/freezes/{}", text(&list, "/freezes/0/id"));
    assert_eq!(api.call(Method::DELETE, &path, None).await.0, StatusCode::FORBIDDEN, "not whoever ran into it");
    assert_eq!(operate(&api, Method::DELETE, &path, &Value::Null).await.0, StatusCode::NO_CONTENT);
    advance(&api, BUDGET.window + SignedDuration::from_secs(1));
    api.delete(&format!("/lbs/{lb}")).await;
}

#[tokio::test]
async fn the_engine_alone_stops_the_same_over_the_api_and_answers_the_same() {
    let api = stocked(1574, Faults::without(&[Layer::Guard, Layer::Edge]));
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for lb in live(&api) {
        let (status, _) = api.call(Method::DELETE, &format!("/lbs/{lb}"), None).await;
        *statuses.entry(status.as_u16()).or_default() += 1;
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [(204, BUDGET.per_project), (423, 1574 - BUDGET.per_project)]);
    assert_eq!(live(&api).len(), 1574 - BUDGET.per_project);
}

/// What a cloud controller does: whatever is gone is made anew.
async fn reconcile_as_a_cloud_controller(api: &Api, lbs: &[LbId]) -> usize {
    let mut made = 0;
    for lb in lbs {
        let (status, _) = api.call(Method::GET, &format!("/lbs/{lb}"), None).await;
        let (update, _) = api.call(Method::PUT, &format!("/lbs/{lb}"), Some(&json!({"name": "wanted"}))).await;
        if [status, update].iter().any(|status| [StatusCode::NOT_FOUND, StatusCode::FORBIDDEN].contains(status)) {
            made += usize::from(post(api, "/lbs", &json!({"name": "again"})).await.0 == StatusCode::OK);
        }
    }
    made
}

#[tokio::test]
async fn in_read_only_mode_a_controller_that_rebuilds_what_is_gone_builds_nothing() {
    let api = stocked(5, Faults::default());
    let lbs = live(&api);
    let freeze =
        json!({"place": format!("project:{}", owner(1).project), "reason": "an inquiry", "lasts_seconds": 600});
    let (status, freeze) = operate(&api, Method::POST, "/snowshed/v1/freezes", &freeze).await;
    assert_eq!(status, StatusCode::OK, "{freeze}");
    let head = api.head();
    assert_eq!(reconcile_as_a_cloud_controller(&api, &lbs).await, 0);
    assert_eq!(post(&api, "/lbs", &json!({"name": "new"})).await.0, StatusCode::LOCKED);
    assert_eq!(api.head(), head);
    let request = Request::builder().method(Method::DELETE).uri(format!("/lb/v1/zones/{ZONE}/lbs/{}", lbs[0]));
    let request = request.header("X-Auth-Token", "secret-one").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(api.router.clone(), request).await.unwrap();
    assert_eq!(response.status(), StatusCode::LOCKED);
    assert_eq!(response.headers()["Retry-After"], "600");
    advance(&api, SignedDuration::from_secs(600));
    assert_eq!(post(&api, "/lbs", &json!({"name": "new"})).await.0, StatusCode::OK, "it ends by itself");
    assert_eq!(api.get("/snowshed/v1/freezes").await["total_count"], json!(0));
}

#[tokio::test]
async fn what_is_deleted_is_shown_as_such_and_comes_back_to_the_byte() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let before = [
        api.get(&ids.path("/lbs/{lb}")).await,
        api.get(&ids.path("/ips/{ip}")).await,
        api.get(&ids.path("/frontends/{frontend}")).await,
    ];
    let documents = |api: &Api| {
        let snapshot = api.ledger.snapshot();
        (snapshot.lbs().cloned().collect::<Vec<_>>(), snapshot.ips_in(owner(1).project).cloned().collect::<Vec<_>>())
    };
    let were = documents(&api);
    advance(&api, SignedDuration::from_secs(60));
    api.delete(&ids.path("/lbs/{lb}?release_ip=true")).await;
    let gone = api.get(&ids.path("/lbs/{lb}")).await;
    assert_eq!(text(&gone, "/status"), "to_delete");
    assert_eq!(text(&gone, "/deleted_at"), "1970-01-01T00:01:00Z");
    assert_eq!(api.get("/lbs").await["total_count"], json!(0));
    assert_eq!(api.get("/lbs?deleted=true").await["total_count"], json!(1));
    // The address is nobody else's meanwhile.
    let taken = json!({"ip_address": before[1]["ip_address"]});
    let (_, other) = api.call_as("secret-two", Method::POST, "/ips", Some(&json!({}))).await;
    assert_ne!(other["ip_address"], taken["ip_address"], "{other}");
    advance(&api, SignedDuration::from_secs(60));
    api.ok(Method::POST, &ids.path("/lbs/{lb}/undelete"), &json!({})).await;
    assert_eq!(documents(&api), were);
    let strip = |mut value: Value| {
        for key in ["generation", "applied_generation"] {
            for pointer in ["", "/lb", "/backend/lb"] {
                if let Some(Value::Object(fields)) = value.pointer_mut(pointer) {
                    fields.remove(key);
                }
            }
        }
        value
    };
    let after = [
        api.get(&ids.path("/lbs/{lb}")).await,
        api.get(&ids.path("/ips/{ip}")).await,
        api.get(&ids.path("/frontends/{frontend}")).await,
    ];
    assert_eq!(after.map(strip), before.map(strip));
    let head = api.head();
    api.ok(Method::POST, &ids.path("/lbs/{lb}/undelete"), &json!({})).await;
    assert_eq!(api.head(), head, "what is not deleted is left alone");
}

#[tokio::test]
async fn a_protected_load_balancer_and_one_with_live_traffic_refuse_a_plain_deletion() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let path = ids.path("/lbs/{lb}");
    api.ok(Method::PATCH, &path, &json!({"protected": true})).await;
    let (status, problem) = api.call(Method::DELETE, &path, None).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "lb_is_not_protected"));
    let (status, _) = api.call(Method::DELETE, &format!("{path}?with_traffic=true"), None).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "protection has no exception");
    api.ok(Method::PATCH, &path, &json!({"protected": false})).await;
    let rate = Rate { packets_per_second: 1234.5, connections_per_second: 6.0 };
    api.traffic.0.lock().unwrap().insert(ids.lb.parse().unwrap(), rate);
    for query in ["", "?now=true", "?now=true&with_traffic=true"] {
        let (status, problem) = api.call(Method::DELETE, &format!("{path}{query}"), None).await;
        assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "lb_has_no_traffic"));
        assert!(text(&problem, "/message").contains("1234.5 packets and 6.0 new connections a second"), "{problem}");
    }

    let drained = json!({"servers": [{"address": "10.0.0.1", "drain": true}, {"address": "10.0.0.2", "drain": true}]});

    api.ok(Method::PUT, &ids.path("/backends/{backend}/servers"), &drained).await;
    api.delete(&format!("{path}?now=true")).await;
    assert!(api.ledger.snapshot().lb(ids.lb.parse().unwrap()).unwrap().at_once);
    api.ok(Method::POST, &ids.path("/lbs/{lb}/undelete"), &json!({})).await;
    assert!(!api.ledger.snapshot().lb(ids.lb.parse().unwrap()).unwrap().at_once);
    api.delete(&format!("{path}?with_traffic=true")).await;
}

#[tokio::test]
async fn a_quarantine_of_a_load_balancer_its_project_or_its_organization_is_reversible() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let before = api.ledger.snapshot();
    let lb = before.lb(ids.lb.parse().unwrap()).unwrap();
    for place in [
        format!("lb:{}", ids.lb),
        format!("project:{}", owner(1).project),
        format!("organization:{}", owner(1).organization),
    ] {
        let body = json!({"place": place, "reason": "phishing"});
        let (status, answer) = operate(&api, Method::POST, "/snowshed/v1/quarantines", &body).await;
        assert_eq!((status, &answer["load_balancers"]), (StatusCode::OK, &json!(1)), "{answer}");
        let head = api.head();
        assert_eq!(
            operate(&api, Method::POST, "/snowshed/v1/quarantines", &body).await.0,
            StatusCode::OK,
            "again changes nothing"
        );
        assert_eq!(api.head(), head);
        assert!(api.ledger.snapshot().is_quarantined(lb), "{place}");
        assert!(api.ledger.snapshot().changed_lbs(&before).contains(&lb.id), "the planner hears of it");
        assert_eq!(text(&api.get(&ids.path("/lbs/{lb}")).await, "/status"), "locked");
        let wrong = json!({"place": format!("lb:{}", ids.ip), "reason": "x"});
        assert_eq!(operate(&api, Method::POST, "/snowshed/v1/releases", &wrong).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(operate(&api, Method::POST, "/snowshed/v1/releases", &body).await.0, StatusCode::OK);
        assert!(!api.ledger.snapshot().is_quarantined(lb), "{place}");
    }
    assert_eq!(**lb, **api.ledger.snapshot().lb(lb.id).unwrap(), "nothing else of it changed");
}

pub(super) fn plan(action: &str, filter: Value) -> Value {
    let parent = format!("project:{}", owner(1).project);
    json!({"action": action, "parent": parent, "filter": filter, "reason": "abuse", "validate_only": false})
}

#[tokio::test]
async fn a_plan_says_what_would_be_done_and_is_carried_out_once_while_nothing_changed() {
    let api = stocked(5, Faults::default());
    let lbs = live(&api);
    let rate = Rate { packets_per_second: 100.0, connections_per_second: 2.0 };
    api.traffic.0.lock().unwrap().extend(lbs.iter().map(|lb| (*lb, rate)));
    let head = api.head();
    let mut dry = plan("delete", json!({"count": 5}));
    dry.as_object_mut().unwrap().remove("validate_only");
    let (status, shown) = post(&api, "/snowshed/v1/plans", &dry).await;
    assert_eq!((status, &shown["id"]), (StatusCode::OK, &Value::Null), "nothing is kept by default: {shown}");
    assert_eq!(api.head(), head);
    assert_eq!((&shown["count"], &shown["packets_per_second"]), (&json!(5), &json!(500.0)));
    assert_eq!(shown["organizations"][owner(1).organization.to_string()], json!(5));
    assert_eq!(shown["sample"].as_array().unwrap().len(), 5);
    let (_, stale) = post(&api, "/snowshed/v1/plans", &plan("delete", json!({"count": 5}))).await;
    api.ok(Method::PUT, &format!("/lbs/{}", lbs[0]), &json!({"name": "changed"})).await;
    let path = format!("/snowshed/v1/plans/{}/apply", text(&stale, "/id"));
    let (status, problem) = api.call(Method::POST, &path, None).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "plan_is_current"));
    let (_, good) = post(&api, "/snowshed/v1/plans", &plan("delete", json!({"lb_ids": lbs}))).await;
    let path = format!("/snowshed/v1/plans/{}/apply", text(&good, "/id"));
    let before = api.ledger.snapshot().generation().0;
    let (status, applied) = api.call(Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::OK, "{applied}");
    assert_eq!((live(&api).len(), api.ledger.snapshot().generation().0), (0, before + 1), "one operation");
    assert_eq!(api.call(Method::POST, &path, None).await.0, StatusCode::OK, "again does nothing");
    assert_eq!(api.ledger.snapshot().generation().0, before + 1);
    let what = json!({"operation": (before + 1).to_string()});
    let (status, undo) = post(&api, "/snowshed/v1/undo", &what).await;
    assert_eq!((status, &undo["revived"]), (StatusCode::OK, &json!(5)), "{undo}");
    let agreed = json!({"operation": what["operation"], "plan": undo["plan"], "reason": "a mistake"});
    let (status, undone) = post(&api, "/snowshed/v1/undo", &agreed).await;
    assert_eq!((status, live(&api).len()), (StatusCode::OK, 5), "what a plan did can be undone: {undone}");
    let (status, again) = api.call(Method::POST, &path, None).await;
    assert_eq!((status, live(&api).len()), (StatusCode::OK, 5), "an undone plan is not carried out again: {again}");
    let mut wide = plan("delete", json!({"count": 5}));
    wide["parent"] = json!(format!("organization:{}", owner(1).organization));
    let (status, made) = operate(&api, Method::POST, "/snowshed/v1/plans", &wide).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let apply = format!("/snowshed/v1/plans/{}/apply", text(&made, "/id"));
    assert_eq!(operate(&api, Method::POST, &apply, &Value::Null).await.0, StatusCode::OK);
    let what = json!({"operation": api.ledger.snapshot().generation().0.to_string()});
    let (status, undo) = operate(&api, Method::POST, "/snowshed/v1/undo", &what).await;
    assert_eq!((status, live(&api).len()), (StatusCode::OK, 0), "{undo}");
    let agreed = json!({"operation": what["operation"], "plan": undo["plan"], "reason": "a mistake"});
    let (status, undone) = operate(&api, Method::POST, "/snowshed/v1/undo", &agreed).await;
    assert_eq!((status, live(&api).len()), (StatusCode::OK, 5), "a plan of an organization too: {undone}");
    let (_, late) = post(&api, "/snowshed/v1/plans", &plan("delete", json!({"tag": "none"}))).await;
    assert_eq!(text(&late, "/details/0/argument_name"), "filter");
}

#[tokio::test]
async fn whatever_is_made_under_a_freeze_is_refused_as_frozen_and_tokens_are_still_made() {
    let directory = tempfile::tempdir().unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(&directory.path().join("ledger.db")).unwrap());
    let api = Api::with_faults(ledger, Limits::default(), Faults::default());
    let (project, organization) = (owner(1).project, owner(1).organization);
    let new_project = json!({"name": "new", "organization_id": organization});
    let subscriber = json!({"name": "new", "email_config": {"email": "a@b.example"}, "project_id": project});
    for place in ["zone".to_owned(), format!("organization:{organization}"), format!("project:{project}")] {
        let freeze = json!({"place": place, "reason": "test", "lasts_seconds": 60});
        let (status, freeze) = operate(&api, Method::POST, "/snowshed/v1/freezes", &freeze).await;
        assert_eq!(status, StatusCode::OK, "{freeze}");
        let mut refused = vec![
            operate(&api, Method::PATCH, &format!("/snowshed/v1/projects/{project}"), &json!({"name": "x"})).await,
            operate(&api, Method::POST, "/subscribers", &subscriber).await,
        ];
        if !place.starts_with("project") {
            refused.push(operate(&api, Method::POST, "/snowshed/v1/projects", &new_project).await);
        }
        if place == "zone" {
            refused.push(operate(&api, Method::POST, "/snowshed/v1/organizations", &json!({"name": "x"})).await);
        }
        for (status, problem) in refused {
            assert_eq!(status, StatusCode::LOCKED, "{place}: {problem}");
        }
        let token = json!({"name": format!("during {place}"), "role": "viewer", "project_id": project});
        let (status, token) = operate(&api, Method::POST, "/snowshed/v1/tokens", &token).await;
        assert_eq!(status, StatusCode::OK, "{place}: {token}");
        let path = format!("/snowshed/v1/freezes/{}", text(&freeze, "/id"));
        assert_eq!(operate(&api, Method::DELETE, &path, &Value::Null).await.0, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn a_plan_above_the_second_threshold_needs_another_person() {
    let api = stocked(30, Faults::default());
    let quarantine = plan("quarantine", json!({"count": 30}));
    assert_eq!(post(&api, "/snowshed/v1/plans", &quarantine).await.0, StatusCode::FORBIDDEN, "abuse is not a tenant's");
    let (_, old) = post(&api, "/snowshed/v1/plans", &plan("delete", json!({"count": 30}))).await;
    advance(&api, SignedDuration::from_mins(16));
    let path = format!("/snowshed/v1/plans/{}/approve", text(&old, "/id"));
    let (status, problem) = api.call_as("secret-one-too", Method::POST, &path, None).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "plan_is_current"));
    let (_, shown) = post(&api, "/snowshed/v1/plans", &plan("delete", json!({"count": 30}))).await;
    let id = text(&shown, "/id").to_owned();
    assert_eq!(shown["needs_approval"], json!(true));
    let apply = format!("/snowshed/v1/plans/{id}/apply");
    let approve = format!("/snowshed/v1/plans/{id}/approve");
    let (status, problem) = api.call(Method::POST, &apply, None).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "plan_needs_approval"));
    let (status, problem) = api.call(Method::POST, &approve, None).await;
    let expected = (StatusCode::PRECONDITION_FAILED, "plan_needs_another_person");
    assert_eq!((status, text(&problem, "/precondition")), expected);
    let (status, _) = api.call_as("secret-two", Method::POST, &approve, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a stranger does not even see it");
    let (status, answer) = api.call_as("secret-one-too", Method::POST, &approve, None).await;
    assert_eq!((status, text(&answer, "/approved_by")), (StatusCode::OK, "one too"), "{answer}");
    let (status, answer) = api.call(Method::POST, &apply, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(live(&api).len(), 0);
    let what = json!({"operation": api.ledger.snapshot().generation().0.to_string()});
    let (_, undo) = post(&api, "/snowshed/v1/undo", &what).await;
    let agreed = json!({"operation": what["operation"], "plan": undo["plan"], "reason": "a mistake"});
    assert_eq!(post(&api, "/snowshed/v1/undo", &agreed).await.0, StatusCode::OK);
    assert_eq!(live(&api).len(), 30);
    let what = json!({"operation": api.ledger.snapshot().generation().0.to_string()});
    let (_, undo) = post(&api, "/snowshed/v1/undo", &what).await;
    assert_eq!((&undo["needs_approval"], &undo["out_of_service"]), (&json!(true), &json!(30)), "{undo}");
    let agreed = json!({"operation": what["operation"], "plan": undo["plan"]});
    let (status, problem) = post(&api, "/snowshed/v1/undo", &agreed).await;
    let expected = (StatusCode::PRECONDITION_FAILED, "removal_is_within_budget");
    assert_eq!((status, text(&problem, "/precondition")), expected, "it takes a kept plan: {problem}");
    assert_eq!(live(&api).len(), 30);
}

#[tokio::test]
async fn every_selector_that_is_not_exactly_one_thing_is_refused_and_the_ledger_stays_as_it_is() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let (_, theirs) = api.call_as("secret-two", Method::POST, "/lbs", Some(&json!({"name": "theirs"}))).await;
    let head = api.head();
    let (project, organization) = (owner(1).project.to_string(), owner(1).organization.to_string());
    let their_lb = text(&theirs, "/id");
    let places = [
        json!(null),
        json!(""),
        json!(" "),
        json!("*"),
        json!("lb:*"),
        json!("lb:"),
        json!("lb: "),
        json!("project:"),
        json!("project:*"),
        json!("organization:"),
        json!("everything"),
        json!("zone "),
        json!(7),
        json!([]),
        json!({}),
        json!(true),
        json!("00000000-0000-0000-0000-000000000000"),
        json!("lb:00000000-0000-0000-0000-000000000000"),
        json!(format!("project:{organization}")),
        json!(format!("organization:{project}")),
        json!(format!("lb:{project}")),
        json!(format!("lb:{}", ids.ip)),
        json!(format!("lb:{their_lb}")),
        json!(format!("project:{}", owner(2).project)),
        json!(format!("organization:{}", owner(2).organization)),
        json!(format!(" project:{project}")),
        json!(format!("project:{project},project:{project}")),
        json!(format!("PROJECT:{project}")),
        json!("token:"),
        json!("token: "),
    ];
    for place in &places {
        for path in ["/snowshed/v1/quarantines", "/snowshed/v1/releases"] {
            refused(&api, path, &json!({"place": place, "reason": "test"})).await;
        }
        if *place != json!("zone") {
            refused(&api, "/snowshed/v1/freezes", &json!({"place": place, "reason": "test", "lasts_seconds": 60}))
                .await;
        }
        let plan = json!({"action": "delete", "parent": place, "filter": {"count": 1}, "reason": "test",
            "validate_only": false});
        refused(&api, "/snowshed/v1/plans", &plan).await;
    }
    let filters = [
        json!(null),
        json!({}),
        json!(""),
        json!("*"),
        json!([]),
        json!({"lb_ids": []}),
        json!({"lb_ids": null}),
        json!({"lb_ids": ["*"]}),
        json!({"lb_ids": [""]}),
        json!({"lb_ids": [project]}),
        json!({"lb_ids": [ids.ip]}),
        json!({"lb_ids": [ids.lb, their_lb]}),
        json!({"lb_ids": "*"}),
        json!({"tag": ""}),
        json!({"tag": " "}),
        json!({"tag": "*"}),
        json!({"name": "*"}),
        json!({"name": ""}),
        json!({"count": 0}),
        json!({"count": 2}),
        json!({"count": -1}),
        json!({"count": "1"}),
        json!({"count": 1, "tag": "x"}),
        json!({"all": true}),
        json!({"lb_ids": [ids.lb], "unknown": 1}),
        json!({"name": "web", "count": 1}),
        json!({"place": ""}),
        json!({"place": "*"}),
        json!({"place": format!("project:{project}")}),
        json!({"place": format!("project:{project}"), "count": 1}),
    ];
    for filter in &filters {
        refused(&api, "/snowshed/v1/plans", &plan("delete", filter.clone())).await;
    }
    for (path, body) in [
        ("/snowshed/v1/quarantines", json!({"reason": "test"})),
        ("/snowshed/v1/quarantines", json!({"place": format!("lb:{}", ids.lb)})),
        ("/snowshed/v1/quarantines", json!({"place": format!("lb:{}", ids.lb), "reason": " "})),
        ("/snowshed/v1/quarantines", json!({"place": format!("lb:{}", ids.lb), "reason": "x", "all": true})),
        ("/snowshed/v1/freezes", json!({"place": "zone", "reason": "x"})),
        ("/snowshed/v1/freezes", json!({"place": "zone", "reason": "x", "lasts_seconds": 0})),
        ("/snowshed/v1/freezes", json!({"place": "zone", "reason": "x", "lasts_seconds": 60, "verb": "*"})),
        ("/snowshed/v1/freezes", json!({"place": "zone", "reason": "x", "lasts_seconds": 60, "verb": ""})),
        ("/snowshed/v1/plans", json!({"action": "delete", "filter": {"count": 1}, "reason": "x"})),
        (
            "/snowshed/v1/plans",
            json!({"action": "purge everything", "parent": format!("project:{project}"),
            "filter": {"count": 1}, "reason": "x"}),
        ),
    ] {
        refused(&api, path, &body).await;
    }
    for id in ["", "%20", "*", "null", &project, &ids.lb, their_lb, "00000000-0000-0000-0000-000000000000"] {
        for (method, path) in [
            (Method::DELETE, format!("/snowshed/v1/freezes/{id}")),
            (Method::POST, format!("/snowshed/v1/plans/{id}/apply")),
            (Method::POST, format!("/snowshed/v1/plans/{id}/approve")),
        ] {
            let (status, answer) = api.call(method, &path, None).await;
            assert!(status.is_client_error(), "{path}: {status} {answer}");
        }
    }
    for id in ["", "%20", "*", "null", &project, &ids.ip, their_lb, "00000000-0000-0000-0000-000000000000"] {
        for (method, path) in [(Method::DELETE, format!("/lbs/{id}")), (Method::POST, format!("/lbs/{id}/undelete"))] {
            let (status, answer) = api.call(method, &path, None).await;
            assert!(status.is_client_error(), "{path}: {status} {answer}");
        }
    }
    assert_eq!(api.head(), head);
}

async fn refused(api: &Api, path: &str, body: &Value) {
    let head = api.head();
    let (status, answer) = post(api, path, body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {answer}");
    assert!(!text(&answer, "/details/0/help_message").is_empty(), "{answer}");
    assert_eq!(api.head(), head, "{path} {body}");
}

/// Requests that would each be carried out.
fn changes(ids: &Ids) -> Vec<(Method, String, Value)> {
    let place = format!("lb:{}", ids.lb);
    vec![
        (Method::POST, "/lbs".to_owned(), json!({"name": "new"})),
        (Method::PUT, ids.path("/lbs/{lb}"), json!({"name": "other"})),
        (Method::PATCH, ids.path("/lbs/{lb}"), json!({"protected": true})),
        (Method::DELETE, ids.path("/lbs/{lb}"), Value::Null),
        (Method::DELETE, ids.path("/lbs/{lb}?release_ip=true&now=true"), Value::Null),
        (Method::POST, ids.path("/lbs/{lb}/undelete"), Value::Null),
        (Method::POST, ids.path("/lbs/{lb}/migrate"), json!({"type": "LB-GP-M"})),
        (Method::POST, "/ips".to_owned(), json!({})),
        (Method::PATCH, ids.path("/ips/{ip}"), json!({"reverse": "a.example"})),
        (Method::DELETE, ids.path("/frontends/{frontend}"), Value::Null),
        (Method::PATCH, ids.path("/frontends/{frontend}"), json!({"name": "f"})),
        (Method::PATCH, ids.path("/backends/{backend}"), json!({"name": "b"})),
        (Method::PUT, ids.path("/backends/{backend}/servers"), json!({"server_ip": ["10.0.0.9"]})),
        (Method::DELETE, ids.path("/backends/{backend}/servers"), json!({"server_ip": ["10.0.0.1"]})),
        (Method::PUT, ids.path("/backends/{backend}/healthcheck"), json!({"port": 81})),
        (Method::POST, "/snowshed/v1/quarantines".to_owned(), json!({"place": place, "reason": "x"})),
        (Method::POST, "/snowshed/v1/freezes".to_owned(), json!({"place": place, "reason": "x", "lasts_seconds": 60})),
        (Method::POST, "/snowshed/v1/plans".to_owned(), plan("delete", json!({"count": 1}))),
        (Method::POST, "/snowshed/v1/undo".to_owned(), json!({"operation": "1"})),
    ]
}

#[tokio::test]
async fn a_request_that_expects_to_be_refused_is_never_carried_out_and_told_when_it_would_have_been() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    for (method, path, body) in changes(&ids) {
        for expectation in ["deny", "DENY", "deny, 100-continue"] {
            let (status, problem) = expecting(&api, expectation, method.clone(), &path, &body).await;
            if path.ends_with("undo") {
                assert!(!status.is_success(), "{path}: {status} {problem}");
                continue;
            }
            assert_eq!(
                (status, text(&problem, "/type")),
                (StatusCode::EXPECTATION_FAILED, "expectation_failed"),
                "{method} {path}: {problem}"
            );
        }
        for expectation in ["denny", "", "allow", "deny; please"] {
            let (status, _) = expecting(&api, expectation, method.clone(), &path, &body).await;
            assert_eq!(status, StatusCode::EXPECTATION_FAILED, "{expectation:?} {path}: misspelt is not none");
        }
    }
    // What is refused anyhow says why.
    let (status, _) = expecting(&api, "deny", Method::DELETE, &format!("/lbs/{}", ids.ip), &Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = expecting(&api, "deny", Method::GET, &ids.path("/lbs/{lb}"), &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "a read is no change");
    assert_eq!(api.head(), head);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_else_it_says_a_request_that_expects_to_be_refused_changes_not_one_byte(
        requests in prop::collection::vec((0usize..19, 0usize..6, "[a-z*: ]{0,12}"), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let api = Api::new();
            let ids = Ids::create(&api).await;
            let head = api.head();
            let tables = Arc::clone(&api.tables.subscribe().borrow());
            for (number, mutation, noise) in requests {
                let (method, mut path, mut body) = changes(&ids).swap_remove(number);
                match (mutation, &mut body) {
                    (0, _) => {}
                    (1, Value::Object(fields)) => {
                        fields.insert(noise.clone(), json!(noise));
                    }
                    (2, Value::Object(fields)) => {
                        let first = fields.keys().next().cloned();
                        first.and_then(|key| fields.insert(key, json!(noise)));
                    }
                    (3, body) => *body = json!([noise]),
                    _ => path = format!("{path}{}with_traffic=true", if path.contains('?') { '&' } else { '?' }),
                }
                let (status, answer) = expecting(&api, "deny", method, &path, &body).await;
                assert!(!status.is_success(), "{path}: {status} {answer}");
                assert_eq!(api.head(), head);
            }
            assert!(Arc::ptr_eq(&tables, &api.tables.subscribe().borrow()), "nothing reached the planner");
        });
    }
}
