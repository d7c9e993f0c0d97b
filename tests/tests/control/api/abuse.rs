//! Trust & Safety against a tenant who does not want to be contained, and a tenant against what Trust & Safety did.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use jiff::SignedDuration;
use lb_userspace::authority::{Bootstrap, bootstrap};
use lb_userspace::faults::Faults;
use lb_userspace::ledger::{BUDGET, Ledger, SqliteLedger};
use lb_userspace::model::{LbId, Name, Reach, Role};
use serde_json::{Value, json};

use super::containment::{advance, expecting, live, operate, plan, stocked, stocked_over};
use super::{Api, TOKEN_KEY, owner, text};

const PLANS: &str = "/snowshed/v1/plans";
const DEPENDENTS: &str = "/snowshed/v1/dependents";
const QUARANTINES: &str = "/snowshed/v1/quarantines";

/// The same, and two people of Trust & Safety: `secret-ts` and `secret-ts-too`.
fn watched(count: usize) -> Api {
    staffed(stocked(count, Faults::default()))
}

fn staffed(api: Api) -> Api {
    let people = ["ts", "ts-too"].map(|name| Bootstrap {
        name: Name::try_from(name.to_owned()).unwrap(),
        role: Role::TrustSafety,
        reach: Reach::Fleet,
        digest: TOKEN_KEY.digest(&format!("secret-{name}")),
    });
    bootstrap(&*api.ledger, &people, jiff::Timestamp::UNIX_EPOCH).unwrap();
    api
}

async fn by(api: &Api, token: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    api.call_as(token, Method::POST, path, Some(body).filter(|body| !body.is_null())).await
}

/// A plan of Trust & Safety that is kept, approved by the other and carried out; `meanwhile` happens in between.
async fn carried_out(api: &Api, body: &Value, meanwhile: impl AsyncFn()) -> (StatusCode, Value) {
    let (status, made) = by(api, "secret-ts", PLANS, body).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    meanwhile().await;
    let id = text(&made, "/id");
    let (status, approved) = by(api, "secret-ts-too", &format!("{PLANS}/{id}/approve"), &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{approved}");
    meanwhile().await;
    by(api, "secret-ts", &format!("{PLANS}/{id}/apply"), &Value::Null).await
}

fn whole(action: &str) -> Value {
    let place = format!("project:{}", owner(1).project);
    let mut body = plan(action, json!({"place": place}));
    body["parent"] = json!(place);
    body
}

#[tokio::test]
async fn a_tenant_who_spends_its_budget_and_edits_in_a_loop_is_quarantined_and_released_all_the_same() {
    let api = watched(40);
    let mut statuses = Vec::new();
    for lb in &live(&api)[..BUDGET.per_project + 1] {
        statuses.push(api.call(Method::DELETE, &format!("/lbs/{lb}"), None).await.0);
    }
    assert_eq!(statuses.last(), Some(&StatusCode::LOCKED), "the tenant's budget is used up, and it is read-only");
    let one = json!({"place": format!("lb:{}", live(&api)[0]), "reason": "phishing"});
    let (status, answer) = by(&api, "secret-ts", QUARANTINES, &one).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // The whole project is more than one person quarantines at once.
    let all = json!({"place": format!("project:{}", owner(1).project), "reason": "phishing"});
    let (status, problem) = by(&api, "secret-ts", QUARANTINES, &all).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "plan_is_made"));
    assert!(text(&problem, "/help_message").contains("--whole"), "{problem}");
    let edits = async || {
        for lb in live(&api) {
            api.ok(Method::PUT, &format!("/lbs/{lb}"), &json!({"name": format!("edit {}", live(&api).len())})).await;
        }
        api.ok(Method::POST, "/lbs", &json!({"name": "one more"})).await;
    };
    let (status, done) = carried_out(&api, &whole("quarantine"), edits).await;
    assert_eq!((status, &done["stale"]), (StatusCode::OK, &json!(false)), "{done}");
    edits().await;
    let snapshot = api.ledger.snapshot();
    let contained = snapshot.lbs().filter(|lb| snapshot.is_quarantined(lb)).count();
    assert_eq!(contained, 43, "every one, the deleted that still forward and those made since among them");
    let (_, again) = by(&api, "secret-ts", &format!("{PLANS}/{}/apply", text(&done, "/id")), &Value::Null).await;
    assert_eq!(again["applied_at"], done["applied_at"], "carried out once");
    let (status, done) = carried_out(&api, &whole("release"), edits).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    let snapshot = api.ledger.snapshot();
    assert_eq!(snapshot.lbs().filter(|lb| snapshot.is_quarantined(lb)).count(), 1, "the narrower one stays");
}

#[tokio::test]
async fn load_balancers_that_a_plan_names_are_quarantined_whatever_their_tenant_changes() {
    let api = watched(30);
    let chosen = live(&api)[..20].to_vec();
    let edits = async || {
        for lb in &chosen {
            api.ok(Method::PUT, &format!("/lbs/{lb}"), &json!({"name": "edited"})).await;
        }
    };
    let (status, done) = carried_out(&api, &plan("quarantine", json!({"lb_ids": chosen})), edits).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    let snapshot = api.ledger.snapshot();
    assert_eq!(snapshot.lbs().filter(|lb| snapshot.is_quarantined(lb)).count(), 20);
    // What removes is another matter: it is of what was looked at.
    let edits = async || drop(api.ok(Method::PUT, &format!("/lbs/{}", chosen[0]), &json!({"name": "again"})).await);
    let (_, made) = by(&api, "secret-ts", PLANS, &plan("delete", json!({"lb_ids": [chosen[0]]}))).await;
    edits().await;
    let (status, problem) = by(&api, "secret-ts", &format!("{PLANS}/{}/apply", text(&made, "/id")), &Value::Null).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "plan_is_current"));
}

#[tokio::test]
async fn quarantines_without_end_stop_at_a_budget_of_their_own_and_no_tenant_pays_for_them() {
    let api = watched(80);
    let quarantine = |lb: LbId| json!({"place": format!("lb:{lb}"), "reason": "a script that went wrong"});
    let mut refusals = Vec::new();
    for lb in live(&api) {
        let (status, problem) = by(&api, "secret-ts", QUARANTINES, &quarantine(lb)).await;
        if status != StatusCode::OK {
            refusals.push((status, text(&problem, "/resource_id").to_owned()));
        }
    }
    let contained = api.ledger.snapshot().quarantines().count();
    assert_eq!((contained, refusals.len()), (BUDGET.per_actor, 80 - BUDGET.per_actor));
    assert!(refusals.iter().all(|refusal| refusal == &refusals[0]), "one freeze, not one for each: {refusals:?}");
    assert_eq!(refusals[0].0, StatusCode::LOCKED);
    let list = operate(&api, Method::GET, "/snowshed/v1/freezes", &Value::Null).await.1;
    assert!(text(&list, "/freezes/0/place").starts_with("token:"), "{list}");
    assert_eq!(text(&list, "/freezes/0/verb"), "lb.quarantine");
    // What somebody agreed to goes through, releases always do, others are not stopped, and the tenant has its budget.
    let last = *live(&api).iter().find(|lb| !contains(&api, **lb)).unwrap();
    let (status, answer) = carried_out(&api, &plan("quarantine", json!({"lb_ids": [last]})), async || ()).await;
    assert_eq!((status, contains(&api, last)), (StatusCode::OK, true), "{answer}");
    let (status, answer) = by(&api, "secret-ts", "/snowshed/v1/releases", &quarantine(last)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(by(&api, "secret-ts-too", QUARANTINES, &quarantine(last)).await.0, StatusCode::OK);
    let rest: Vec<LbId> = live(&api).into_iter().filter(|lb| !contains(&api, *lb)).collect();
    for lb in &rest[..BUDGET.per_project] {
        api.delete(&format!("/lbs/{lb}")).await;
    }
}

fn contains(api: &Api, lb: LbId) -> bool {
    let snapshot = api.ledger.snapshot();
    snapshot.is_quarantined(snapshot.lb(lb).unwrap())
}

#[tokio::test]
async fn what_trust_and_safety_removed_its_tenant_does_not_bring_back_in_any_way() {
    let api = watched(8);
    let lbs = live(&api);
    let (gone, other) = (lbs[0], lbs[7]);
    let was = api.ledger.snapshot().lb(gone).unwrap().clone();
    let start = api.ledger.snapshot().generation().0;
    let (_, made) = by(&api, "secret-ts", PLANS, &plan("delete", json!({"lb_ids": lbs[..5]}))).await;
    let (status, done) = by(&api, "secret-ts", &format!("{PLANS}/{}/apply", text(&made, "/id")), &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    let removal = api.ledger.snapshot().generation().0.to_string();
    api.delete(&format!("/lbs/{other}")).await;
    let shown = api.get(&format!("/lbs/{gone}")).await;
    assert_eq!(
        (text(&shown, "/taken_down/reason"), text(&shown, "/taken_down/plan_id")),
        ("abuse", text(&made, "/id"))
    );
    let head = api.head();
    for (path, body) in [
        (format!("/lbs/{gone}/undelete"), Value::Null),
        ("/snowshed/v1/undo".to_owned(), json!({"operation": removal})),
        ("/snowshed/v1/undo".to_owned(), json!({"operation": removal, "keep": true})),
        ("/snowshed/v1/restore".to_owned(), json!({"at": start.to_string(), "scope": format!("lb:{gone}")})),
    ] {
        let (status, problem) = by(&api, "secret-one", &path, &body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {problem}");
        assert!(text(&problem, "/message").contains("removed by Trust & Safety: abuse"), "{problem}");
        assert!(text(&problem, "/help_message").contains(text(&made, "/id")), "{problem}");
    }
    let (_, undelete) = by(&api, "secret-one", PLANS, &plan("undelete", json!({"lb_ids": [gone, other]}))).await;
    let kept = text(&undelete, "/id").to_owned();
    let (status, problem) = by(&api, "secret-one", &format!("{PLANS}/{kept}/apply"), &Value::Null).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
    assert_ne!(api.head(), head, "the plan is kept, and nothing else");
    // Of a whole project the rest comes back, and it says what does not.
    let scope = json!({"at": start.to_string(), "scope": format!("project:{}", owner(1).project)});
    let (status, shown) = by(&api, "secret-one", "/snowshed/v1/restore", &scope).await;
    assert_eq!((status, &shown["revived"]), (StatusCode::OK, &json!(1)), "{shown}");
    assert_eq!(shown["conflicts"].as_array().unwrap().len(), 5);
    let agreed = json!({"at": scope["at"], "scope": scope["scope"], "plan": shown["plan"]});
    assert_eq!(by(&api, "secret-one", "/snowshed/v1/restore", &agreed).await.0, StatusCode::OK);
    assert_eq!(live(&api).len(), 3);
    // Trust & Safety brings back by a plan, an operator by any way, and nothing of it has changed.
    let (_, back) = by(&api, "secret-ts", PLANS, &plan("undelete", json!({"lb_ids": [gone]}))).await;
    let (status, answer) = by(&api, "secret-ts", &format!("{PLANS}/{}/apply", text(&back, "/id")), &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(**api.ledger.snapshot().lb(gone).unwrap(), *was);
    let (status, answer) = operate(&api, Method::POST, &format!("/lbs/{}/undelete", lbs[1]), &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // What is the tenant's own again is deleted and brought back by it as before.
    api.delete(&format!("/lbs/{gone}")).await;
    api.ok(Method::POST, &format!("/lbs/{gone}/undelete"), &json!({})).await;
}

#[tokio::test]
async fn a_request_that_expects_to_be_refused_is_told_of_no_freeze_that_is_not_there() {
    let api = stocked(30, Faults::default());
    let lbs = live(&api);
    for lb in &lbs[..BUDGET.per_project] {
        api.delete(&format!("/lbs/{lb}")).await;
    }
    let head = api.head();
    let path = format!("/lbs/{}", lbs[25]);
    let (status, problem) = expecting(&api, "deny", Method::DELETE, &path, &Value::Null).await;
    assert_eq!((status, problem.get("resource_id")), (StatusCode::LOCKED, None), "{problem}");
    assert!(text(&problem, "/message").contains("20 are allowed"), "{problem}");
    assert_eq!(api.head(), head);
    assert_eq!(api.get("/snowshed/v1/freezes").await["total_count"], json!(0));
    advance(&api, BUDGET.window + SignedDuration::from_secs(1));
    api.delete(&path).await;
}

#[tokio::test]
async fn the_address_of_a_quarantined_load_balancer_does_not_serve_elsewhere() {
    let api = watched(1);
    let ids = super::Ids::create(&api).await;
    let place = json!({"place": format!("lb:{}", ids.lb), "reason": "phishing"});
    assert_eq!(by(&api, "secret-ts", QUARANTINES, &place).await.0, StatusCode::OK);
    let head = api.head();
    let (status, problem) = api.call(Method::PATCH, &ids.path("/ips/{ip}"), Some(&json!({"lb_id": null}))).await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::LOCKED, "locked"), "{problem}");
    assert_eq!(api.head(), head);
    api.delete(&ids.path("/lbs/{lb}?with_traffic=true")).await;
    let (status, problem) = api.call(Method::PATCH, &ids.path("/ips/{ip}"), Some(&json!({"lb_id": null}))).await;
    assert_eq!(status, StatusCode::LOCKED, "nor after its tenant deleted it: {problem}");
    assert_eq!(by(&api, "secret-ts", "/snowshed/v1/releases", &place).await.0, StatusCode::OK);
    api.ok(Method::PATCH, &ids.path("/ips/{ip}"), &json!({"lb_id": null})).await;
}

#[tokio::test]
async fn what_trust_and_safety_removed_stays_down_whatever_its_tenant_does_with_dependents_and_addresses() {
    let api = watched(1);
    let ids = super::Ids::create(&api).await;
    let other = api.ok(Method::POST, "/lbs", &json!({"name": "other"})).await;
    let dependent = |name: &str| json!({"kind": "kubernetes", "name": name, "lb_ids": [ids.lb], "finalizer": true});
    let before = api.ok(Method::POST, DEPENDENTS, &dependent("before")).await;
    let before = format!("{DEPENDENTS}/{}", text(&before, "/id"));
    let (_, made) = by(&api, "secret-ts", PLANS, &plan("delete", json!({"lb_ids": [ids.lb]}))).await;
    let (status, done) = by(&api, "secret-ts", &format!("{PLANS}/{}/apply", text(&made, "/id")), &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    let lb = ids.path("/lbs/{lb}");
    assert_eq!((&api.get(&lb).await["waits_for"], &api.get(&before).await["holding"]), (&Value::Null, &json!([])));
    let id = ids.lb.parse().unwrap();
    assert!(!api.ledger.snapshot().is_held(id), "it waits for nobody");
    let head = api.head();
    let (status, problem) = api.call(Method::POST, DEPENDENTS, Some(&dependent("after"))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    let ip = ids.path("/ips/{ip}");
    let detach = json!({"lb_id": null});
    for (method, body) in
        [(Method::PATCH, detach.clone()), (Method::PATCH, json!({"lb_id": other["id"]})), (Method::DELETE, Value::Null)]
    {
        let (status, problem) = api.call(method, &ip, Some(&body).filter(|body| !body.is_null())).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::FORBIDDEN, "permissions_denied"), "{problem}");
        let message = text(&problem, "/message");
        assert!(message.contains(&format!("{}, which was removed by Trust & Safety: abuse", ids.lb)), "{problem}");
        assert!(text(&problem, "/help_message").contains(text(&made, "/id")), "{problem}");
    }
    assert_eq!(api.head(), head);
    // It is purged like everything that was deleted, and an operator lets the address go.
    let end = jiff::Timestamp::from_second(8 * 24 * 3600).unwrap();
    let looked = lb_userspace::purge::look(&*api.ledger, SignedDuration::from_hours(7 * 24), false, end).unwrap();
    assert_eq!(looked.operations.iter().map(|it| it.verb.as_str()).collect::<Vec<_>>(), ["purge.announce"]);
    let (status, answer) = operate(&api, Method::PATCH, &ip, &detach).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn a_tenant_freezes_and_thaws_its_own_but_stops_no_trust_and_safety_and_thaws_no_freeze_of_others() {
    const FREEZES: &str = "/snowshed/v1/freezes";
    let directory = tempfile::tempdir().unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(&directory.path().join("ledger.db")).unwrap());
    let api = staffed(stocked_over(ledger, 30, Faults::default()));
    let admin = Bootstrap {
        name: Name::try_from("admin".to_owned()).unwrap(),
        role: Role::OrgAdmin,
        reach: Reach::Organization { organization: owner(1).organization },
        digest: TOKEN_KEY.digest("secret-admin"),
    };
    bootstrap(&*api.ledger, &[admin], jiff::Timestamp::UNIX_EPOCH).unwrap();
    let place = format!("organization:{}", owner(1).organization);
    let freeze = json!({"place": place, "reason": "leave us alone", "lasts_seconds": 3600});
    let (status, own) = by(&api, "secret-admin", FREEZES, &freeze).await;
    assert_eq!(status, StatusCode::OK, "{own}");
    let lbs = live(&api);
    let (path, rename) = (format!("/lbs/{}", lbs[29]), json!({"name": "renamed"}));
    assert_eq!(api.call(Method::PUT, &path, Some(&rename)).await.0, StatusCode::LOCKED);
    let (status, done) = carried_out(&api, &plan("delete", json!({"lb_ids": lbs[..2]})), async || ()).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    let (status, answer) = operate(&api, Method::PUT, &path, &rename).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let end = |id: &str| format!("{FREEZES}/{id}");
    let own = end(text(&own, "/id"));
    assert_eq!(api.call_as("secret-admin", Method::DELETE, &own, None).await.0, StatusCode::NO_CONTENT);
    // An operator's stops everybody, and its end is not the tenant's; nor is that of one that a budget put in force.
    let (status, theirs) = operate(&api, Method::POST, FREEZES, &freeze).await;
    assert_eq!(status, StatusCode::OK, "{theirs}");
    let theirs = end(text(&theirs, "/id"));
    let (status, made) = by(&api, "secret-ts", PLANS, &plan("delete", json!({"lb_ids": [lbs[2]]}))).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let apply = format!("{PLANS}/{}/apply", text(&made, "/id"));
    assert_eq!(by(&api, "secret-ts", &apply, &Value::Null).await.0, StatusCode::LOCKED);
    assert_eq!(api.call_as("secret-admin", Method::DELETE, &theirs, None).await.0, StatusCode::FORBIDDEN);
    assert_eq!(operate(&api, Method::DELETE, &theirs, &Value::Null).await.0, StatusCode::NO_CONTENT);
    for lb in &lbs[2..=BUDGET.per_project + 2] {
        api.call(Method::DELETE, &format!("/lbs/{lb}"), None).await;
    }
    let list = api.get(FREEZES).await;
    assert_eq!((text(&list, "/freezes/0/by"), &list["total_count"]), ("breaker", &json!(1)), "{list}");
    let breaker = end(text(&list, "/freezes/0/id"));
    assert_eq!(api.call_as("secret-admin", Method::DELETE, &breaker, None).await.0, StatusCode::FORBIDDEN);
    assert_eq!(api.get(FREEZES).await["total_count"], json!(1));
}
