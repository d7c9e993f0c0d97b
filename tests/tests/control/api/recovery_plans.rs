//! Undo and restore that take more out of service than one person may: planned, kept, approved and carried out as any plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use lb_userspace::faults::Faults;
use lb_userspace::ledger::SqliteLedger;
use lb_userspace::model::{Generation, Lb, LbId};
use serde_json::{Value, json};

use super::containment::{live, plan, stocked, stocked_over};
use super::{Api, owner, text};

const COUNT: usize = 130;
const PLANS: &str = "/snowshed/v1/plans";

async fn by(api: &Api, token: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    api.call_as(token, Method::POST, path, Some(body).filter(|body| !body.is_null())).await
}

async fn post(api: &Api, path: &str, body: &Value) -> Value {
    let (status, answer) = by(api, "secret-one", path, body).await;
    assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
    answer
}

fn generation(api: &Api) -> u64 {
    api.ledger.snapshot().generation().0
}

/// Carries a plan out that the other editor approved.
async fn approved(api: &Api, id: &str) -> (StatusCode, Value) {
    let apply = format!("{PLANS}/{id}/apply");
    let (status, problem) = by(api, "secret-one", &apply, &Value::Null).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "plan_needs_approval"));
    let approve = format!("{PLANS}/{id}/approve");
    let (status, problem) = by(api, "secret-one", &approve, &Value::Null).await;
    let own = (StatusCode::PRECONDITION_FAILED, "plan_needs_another_person");
    assert_eq!((status, text(&problem, "/precondition")), own);
    assert_eq!(by(api, "secret-two", &approve, &Value::Null).await.0, StatusCode::NOT_FOUND, "not a stranger");
    let (status, answer) = by(api, "secret-one-too", &approve, &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    by(api, "secret-one", &apply, &Value::Null).await
}

/// Undoes in one call of the plan and one that agrees to it.
async fn undo(api: &Api, operation: u64) -> Value {
    let what = json!({"operation": operation.to_string()});
    let shown = post(api, "/snowshed/v1/undo", &what).await;
    assert_eq!(shown["needs_approval"], json!(false), "{shown}");
    post(api, "/snowshed/v1/undo", &json!({"operation": what["operation"], "plan": shown["plan"]})).await
}

fn documents(api: &Api) -> BTreeMap<LbId, Arc<Lb>> {
    api.ledger.snapshot().lbs().map(|lb| (lb.id, Arc::clone(lb))).collect()
}

/// An API over a ledger in a file, whose triggers look at every operation too.
fn in_a_file(directory: &tempfile::TempDir) -> Api {
    let ledger = SqliteLedger::open(&directory.path().join("ledger.db")).unwrap();
    stocked_over(Arc::new(ledger), COUNT, Faults::default())
}

#[tokio::test]
async fn the_undo_of_an_undo_of_130_deletions_takes_a_second_person_and_every_way_back_is_one_command() {
    let directory = tempfile::tempdir().unwrap();
    let api = in_a_file(&directory);
    let were = documents(&api);
    let made = post(&api, PLANS, &plan("delete", json!({"count": COUNT}))).await;
    let (status, answer) = approved(&api, text(&made, "/id")).await;
    assert_eq!((status, live(&api).len()), (StatusCode::OK, 0), "{answer}");
    // An emergency: what was deleted is back with one command and nobody else's word.
    let shown = post(&api, "/snowshed/v1/undo", &json!({"operation": generation(&api).to_string()})).await;
    assert_eq!((&shown["revived"], &shown["out_of_service"]), (&json!(COUNT), &json!(0)), "{shown}");
    assert_eq!(text(&shown, "/sample/0/action"), "revive");
    assert!(text(&shown, "/sample/0/name").starts_with("lb-"), "it says what comes back: {shown}");
    undo(&api, generation(&api)).await;
    assert_eq!(documents(&api), were, "to the byte");
    // Its undo deletes 130 again.
    let undone = generation(&api);
    let wish = json!({"operation": undone.to_string(), "keep": true, "reason": "they were to go"});
    let kept = post(&api, "/snowshed/v1/undo", &wish).await;
    assert_eq!((&kept["needs_approval"], &kept["out_of_service"]), (&json!(true), &json!(COUNT)), "{kept}");
    assert_eq!(generation(&api), undone + 1, "the plan, and nothing else");
    let id = text(&kept, "/plan_id").to_owned();
    let shown = api.get(&format!("{PLANS}/{id}")).await;
    assert_eq!((text(&shown, "/action"), &shown["count"]), ("recover", &json!(COUNT)));
    let (status, done) = approved(&api, &id).await;
    assert_eq!((status, live(&api).len()), (StatusCode::OK, 0), "{done}");
    let deleted = generation(&api);
    let (status, again) = by(&api, "secret-one", &format!("{PLANS}/{id}/apply"), &Value::Null).await;
    assert_eq!((status, generation(&api)), (StatusCode::OK, deleted), "again does nothing: {again}");
    let last = api.ledger.operations(Generation(deleted - 1), 1).unwrap().remove(0);
    assert_eq!((last.verb.as_str(), last.removed[0].lbs), ("undo", 130), "one operation, and its own verb");
    // And back once more.
    undo(&api, deleted).await;
    assert_eq!(documents(&api), were);
}

#[tokio::test]
async fn a_restore_to_before_130_were_made_takes_a_second_person_and_one_to_after_does_not() {
    let api = stocked(COUNT, Faults::default());
    let were = documents(&api);
    let after = generation(&api);
    for scope in [format!("project:{}", owner(1).project), format!("organization:{}", owner(1).organization)] {
        let is_project = scope.starts_with("project");
        let wish = json!({"at": "0", "scope": scope, "keep": true});
        let token = if is_project { "secret-one" } else { "secret-operator" };
        let (status, kept) = by(&api, token, "/snowshed/v1/restore", &wish).await;
        assert_eq!((status, &kept["out_of_service"]), (StatusCode::OK, &json!(COUNT)), "{kept}");
        let id = text(&kept, "/plan_id");
        if is_project {
            let (status, done) = approved(&api, id).await;
            assert_eq!((status, live(&api).len()), (StatusCode::OK, 0), "{done}");
        } else {
            let approve = format!("{PLANS}/{id}/approve");
            assert_eq!(by(&api, "secret-one", &approve, &Value::Null).await.0, StatusCode::OK);
            let (status, done) = by(&api, token, &format!("{PLANS}/{id}/apply"), &Value::Null).await;
            assert_eq!((status, live(&api).len()), (StatusCode::OK, 0), "{done}");
        }
        let back = json!({"at": after.to_string(), "scope": scope});
        let (status, shown) = by(&api, token, "/snowshed/v1/restore", &back).await;
        assert_eq!((status, &shown["revived"]), (StatusCode::OK, &json!(COUNT)), "{shown}");
        let agreed = json!({"at": back["at"], "scope": scope, "plan": shown["plan"]});
        assert_eq!(by(&api, token, "/snowshed/v1/restore", &agreed).await.0, StatusCode::OK);
        assert_eq!(documents(&api), were);
    }
    let theirs = json!({"at": "1", "scope": format!("organization:{}", owner(1).organization)});
    let (status, problem) = by(&api, "secret-two", "/snowshed/v1/restore", &theirs).await;
    assert_eq!((status, text(&problem, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, "scope"));
}

#[tokio::test]
async fn a_kept_recovery_that_would_do_something_else_by_now_is_stale_and_one_that_needs_nobody_is_not_kept() {
    let api = stocked(30, Faults::default());
    let operation = api
        .ledger
        .operations(Generation(0), 100)
        .unwrap()
        .into_iter()
        .find(|operation| operation.changes.len() == 30)
        .unwrap();
    let wish = json!({"operation": operation.generation.0.to_string(), "keep": true});
    let kept = post(&api, "/snowshed/v1/undo", &wish).await;
    assert_eq!(kept["deleted"], json!(30), "{kept}");
    let id = text(&kept, "/plan_id");
    let approve = by(&api, "secret-one-too", &format!("{PLANS}/{id}/approve"), &Value::Null).await;
    assert_eq!(approve.0, StatusCode::OK, "{}", approve.1);
    let first = live(&api)[0];
    api.ok(Method::PUT, &format!("/lbs/{first}"), &json!({"name": "another"})).await;
    let head = api.head();
    let (status, problem) = by(&api, "secret-one", &format!("{PLANS}/{id}/apply"), &Value::Null).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "plan_is_current"));
    assert_eq!(api.head(), head);
    let both = json!({"operation": wish["operation"], "keep": true, "plan": kept["plan"]});
    let (status, problem) = by(&api, "secret-one", "/snowshed/v1/undo", &both).await;
    assert_eq!((status, text(&problem, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, "keep"));
    let ip = api.ok(Method::POST, "/ips", &json!({})).await;
    let of_ip = json!({"operation": generation(&api).to_string(), "keep": true});
    let (status, problem) = by(&api, "secret-one", "/snowshed/v1/undo", &of_ip).await;
    assert_eq!((status, text(&problem, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, "keep"), "{ip}");
}
