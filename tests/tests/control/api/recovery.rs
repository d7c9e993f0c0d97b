//! Undo and restore through the API: planned first, carried out by the plan's name, refused when it is stale.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, Ids, text};

const UNDO: &str = "/snowshed/v1/undo";
const RESTORE: &str = "/snowshed/v1/restore";

async fn ask(api: &Api, path: &str, body: Value) -> (StatusCode, Value) {
    api.call(Method::POST, path, Some(&body)).await
}

async fn delete_lb(api: &Api, ids: &Ids) -> u64 {
    let (status, _) = api.call(Method::DELETE, &format!("/lbs/{}", ids.lb), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    api.ledger.snapshot().generation().0
}

#[tokio::test]
async fn an_undo_is_planned_then_made_as_one_operation_and_the_load_balancer_is_as_it_was() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let path = format!("/lbs/{}", ids.lb);
    let (_, before) = api.call(Method::GET, &path, None).await;
    let deletion = delete_lb(&api, &ids).await;
    let head = api.head();

    let (status, plan) = ask(&api, UNDO, json!({"operation": deletion.to_string()})).await;
    assert_eq!(status, StatusCode::OK, "{plan}");
    assert_eq!((plan["changes"].as_u64(), plan["revived"].as_u64()), (Some(1), Some(1)), "{plan}");
    assert_eq!((plan["load_balancers"].as_u64(), plan["organizations"].as_u64()), (Some(1), Some(1)));
    assert_eq!(plan["applied"], false);
    assert_eq!(api.head(), head, "a plan changes nothing");

    let agreed = json!({"operation": deletion.to_string(), "plan": plan["plan"], "reason": "a mistake"});
    let (status, done) = ask(&api, UNDO, agreed.clone()).await;
    assert_eq!((status, &done["applied"]), (StatusCode::OK, &json!(true)), "{done}");
    let (_, after) = api.call(Method::GET, &path, None).await;
    assert_eq!(after["etag"], before["etag"], "the same, byte for byte");
    let last = api.ledger.operations(lb_userspace::model::Generation(deletion), 9).unwrap();
    assert_eq!(last.len(), 1);
    assert_eq!(
        (last[0].verb.as_str(), last[0].reason.as_str()),
        ("undo", format!("undo of operation {}: a mistake", super::TENANTS + 4).as_str())
    );

    let head = api.head();
    let (status, again) = ask(&api, UNDO, agreed).await;
    assert_eq!((status, again["changes"].as_u64()), (StatusCode::OK, Some(0)), "{again}");
    assert_eq!(api.head(), head, "the same undo again changes nothing");

    let (_, plan) = ask(&api, UNDO, json!({"operation": done["operation"]})).await;
    assert_eq!(plan["deleted"].as_u64(), Some(1), "an undo can be undone: {plan}");
}

#[tokio::test]
async fn a_plan_whose_subjects_changed_is_refused() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let deletion = delete_lb(&api, &ids).await;
    let (_, plan) =
        ask(&api, RESTORE, json!({"at": (deletion - 1).to_string(), "scope": format!("lb:{}", ids.lb)})).await;
    assert_eq!(plan["revived"].as_u64(), Some(1), "{plan}");
    let (_, undo) = ask(&api, UNDO, json!({"operation": deletion.to_string()})).await;
    ask(&api, UNDO, json!({"operation": deletion.to_string(), "plan": undo["plan"]})).await;
    let rename = json!({"name": "another"});
    assert_eq!(api.call(Method::PATCH, &format!("/lbs/{}", ids.lb), Some(&rename)).await.0, StatusCode::OK);
    let head = api.head();
    let stale = json!({"at": (deletion - 1).to_string(), "scope": format!("lb:{}", ids.lb), "plan": plan["plan"]});
    let (status, problem) = ask(&api, RESTORE, stale).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "plan_is_current"));
    assert_eq!(api.head(), head);
    // The deletion was undone and the name changed since: both are told.
    let (_, plan) = ask(&api, UNDO, json!({"operation": deletion.to_string()})).await;
    assert_eq!(plan["changes"].as_u64(), Some(0), "{plan}");
    assert!(text(&plan, "/conflicts/0/why").starts_with("changed since by one (operation "), "{plan}");
}

#[tokio::test]
async fn a_wrong_operation_moment_or_scope_is_refused_and_changes_nothing() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    let project = crate::ledger::owner(9).project;
    let scope = format!("lb:{}", ids.lb);
    for (path, body, argument) in [
        (UNDO, json!({}), "operation"),
        (UNDO, json!({"operation": ""}), "operation"),
        (UNDO, json!({"operation": "0"}), "operation"),
        (UNDO, json!({"operation": "*"}), "operation"),
        (UNDO, json!({"operation": "1", "force": true}), "force"),
        (RESTORE, json!({"scope": scope}), "at"),
        (RESTORE, json!({"at": "yesterday", "scope": scope}), "at"),
        (RESTORE, json!({"at": "99", "scope": scope}), "at"),
        (RESTORE, json!({"at": "1"}), "scope"),
        (RESTORE, json!({"at": "1", "scope": null}), "scope"),
        (RESTORE, json!({"at": "1", "scope": ""}), "scope"),
        (RESTORE, json!({"at": "1", "scope": "*"}), "scope"),
        (RESTORE, json!({"at": "1", "scope": "lb:"}), "scope"),
        (RESTORE, json!({"at": "1", "scope": "lb:*"}), "scope"),
        (RESTORE, json!({"at": "1", "scope": format!("project:{project}")}), "scope"),
        (RESTORE, json!({"at": "1", "scope": format!("lb:{project}")}), "scope"),
        (RESTORE, json!({"at": "1", "scope": format!("zone:{project}")}), "scope"),
    ] {
        let (status, problem) = ask(&api, path, body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {problem}");
        assert_eq!(text(&problem, "/details/0/argument_name"), argument, "{path} {body}: {problem}");
    }
    let (status, _) = ask(&api, UNDO, json!({"operation": "77"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let body = json!({"operation": (super::TENANTS + 1).to_string()});
    let (status, _) = api.call_as("secret-two", Method::POST, UNDO, Some(&body)).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "another project's operation looks like a missing one");
    assert_eq!(api.head(), head);
}
