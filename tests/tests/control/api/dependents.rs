//! Dependents: registered, counted before anything goes, asked whether to act, and holding deletions until they let go.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, Ids, owner, text};

const PATH: &str = "/snowshed/v1/dependents";

async fn register(api: &Api, lb: &str, name: &str, finalizer: bool) -> Value {
    let body = json!({"kind": "kubernetes", "name": name, "lb_ids": [lb], "finalizer": finalizer,
        "webhook": "https://hooks.example.com/x"});
    api.ok(Method::POST, PATH, &body).await
}

#[tokio::test]
async fn a_dependent_is_registered_listed_counted_in_every_plan_and_removed() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let other = api.ok(Method::POST, "/lbs", &json!({"name": "other"})).await;
    let one = register(&api, &ids.lb, "prod", false).await;
    assert_eq!((text(&one, "/kind"), text(&one, "/project_id")), ("kubernetes", owner(1).project.to_string().as_str()));
    let both = json!({"kind": "database", "name": "orders", "lb_ids": [ids.lb, other["id"]]});
    api.ok(Method::POST, PATH, &both).await;
    assert_eq!(api.get(PATH).await["total_count"], 2);
    assert_eq!(api.get(&format!("{PATH}?lb_id={}", text(&other, "/id"))).await["total_count"], 1);
    assert_eq!(api.get(&format!("{PATH}?kind=kubernetes")).await["total_count"], 1);

    let counts = json!({"kubernetes": 1, "database": 1});
    let project = format!("project:{}", owner(1).project);
    let plan = json!({"action": "delete", "parent": project, "filter": {"count": 2}, "reason": "test"});
    assert_eq!(api.ok(Method::POST, "/snowshed/v1/plans", &plan).await["dependents"], counts);
    let impact = api.get(&format!("/snowshed/v1/impact?place={project}")).await;
    assert_eq!(
        (&impact["dependents"], &impact["count"], &impact["addresses"]),
        (&counts, &json!(2), &json!(2)),
        "{impact}"
    );
    let undo = api.ok(Method::POST, "/snowshed/v1/undo", &json!({"operation": "8"})).await;
    assert_eq!(undo["dependents"], counts, "{undo}");

    let (_, theirs) = api.call_as("secret-two", Method::GET, PATH, None).await;
    assert_eq!(theirs["total_count"], 0);
    let advice = api.get(&format!("{PATH}/{}/advice", text(&one, "/id"))).await;
    assert_eq!(
        (&advice["safe"], &advice["load_balancers"][0]["safe"]),
        (&json!(false), &json!(false)),
        "nothing is attached"
    );
    api.delete(&format!("{PATH}/{}", text(&one, "/id"))).await;
    assert_eq!(api.get(PATH).await["total_count"], 1);
    let (status, _) = api.call(Method::GET, &format!("{PATH}/{}", text(&one, "/id")), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_dependent_is_changed_and_lets_go_only_with_a_reason() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let (_, foreign) = api.call_as("secret-two", Method::POST, "/lbs", Some(&json!({"name": "theirs"}))).await;
    let other = api.ok(Method::POST, "/lbs", &json!({"name": "other"})).await;
    let one = register(&api, &ids.lb, "prod", false).await;
    let path = format!("{PATH}/{}", text(&one, "/id"));
    let both = json!({"name": "prod-2", "lb_ids": [ids.lb, other["id"]], "webhook": "", "finalizer": true});
    let after = api.ok(Method::PATCH, &path, &both).await;
    assert_eq!(
        (text(&after, "/name"), &after["webhook"], &after["finalizer"], after["lb_ids"].as_array().unwrap().len()),
        ("prod-2", &Value::Null, &json!(true), 2)
    );
    assert_eq!(api.get(&format!("{PATH}?lb_id={}", text(&other, "/id"))).await["total_count"], 1);
    let head = api.head();
    assert_eq!(api.ok(Method::PATCH, &path, &json!({})).await["updated_at"], after["updated_at"]);
    for (field, value) in [
        ("name", json!("")),
        ("lb_ids", json!([])),
        ("lb_ids", json!(["*"])),
        ("lb_ids", json!([foreign["id"]])),
        ("webhook", json!("ftp://example.com")),
        ("webhook", json!("http://127.0.0.1/hook")),
        ("finalizer", json!(false)),
    ] {
        let (status, answer) = api.call(Method::PATCH, &path, Some(&json!({field: value}))).await;
        assert_eq!((status, text(&answer, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, field), "{answer}");
    }
    assert_eq!(api.head(), head);
    let secret = api.get(&format!("{path}/secret")).await;
    assert!(text(&secret, "/secret").starts_with("whsec_"), "{secret}");
    let (status, _) = api.call_as("secret-two", Method::GET, &format!("{path}/secret"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a stranger");
}

#[tokio::test]
async fn a_deletion_says_who_it_waits_for_until_the_owner_or_an_operator_with_a_reason_lets_go() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let one = register(&api, &ids.lb, "prod", true).await;
    let (id, lb) = (text(&one, "/id").to_owned(), format!("/lbs/{}", ids.lb));
    assert_eq!(api.get(&lb).await["waits_for"], Value::Null, "it is not deleted");
    api.delete(&lb).await;
    let waits = api.get(&lb).await;
    assert_eq!((text(&waits, "/waits_for/0/dependent_id"), text(&waits, "/waits_for/0/name")), (id.as_str(), "prod"));
    assert_eq!(api.get(&format!("{PATH}/{id}")).await["holding"], json!([ids.lb]));

    let release = format!("{PATH}/{id}/release");
    for body in [json!({}), json!({"reason": " "})] {
        let (status, answer) = api.call_as("secret-operator", Method::POST, &release, Some(&body)).await;
        assert_eq!(
            (status, text(&answer, "/details/0/argument_name")),
            (StatusCode::BAD_REQUEST, "reason"),
            "{answer}"
        );
    }
    let reason = json!({"reason": "the owner does not answer"});
    let (status, _) = api.call_as("secret-two", Method::POST, &release, Some(&reason)).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a stranger");
    let (status, after) = api.call_as("secret-operator", Method::POST, &release, Some(&reason)).await;
    assert_eq!(
        (status, &after["finalizer"], &after["holding"]),
        (StatusCode::OK, &json!(false), &json!([])),
        "{after}"
    );
    assert_eq!(api.get(&lb).await["waits_for"], Value::Null);
    let last = api.get("/snowshed/v1/operations").await;
    assert_eq!(
        (text(&last, "/operations/0/verb"), text(&last, "/operations/0/actor"), text(&last, "/operations/0/reason")),
        ("dependent.release", "operator", "the owner does not answer")
    );
    let head = api.head();
    api.call_as("secret-operator", Method::POST, &release, Some(&reason)).await;
    assert_eq!(api.head(), head, "letting go twice changes nothing");
}

#[tokio::test]
async fn wrong_dependents_are_refused_by_name_and_change_nothing() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let (_, foreign) = api.call_as("secret-two", Method::POST, "/lbs", Some(&json!({"name": "theirs"}))).await;
    let head = api.head();
    let whole = json!({"kind": "database", "name": "orders", "lb_ids": [ids.lb]});
    for (field, value, says) in [
        ("kind", json!(null), "needed"),
        ("kind", json!("Database"), "is no kind"),
        ("kind", json!("*"), "is no kind"),
        ("name", json!(""), "a name is needed"),
        ("lb_ids", json!([]), "name at least one"),
        ("lb_ids", json!(null), "needed"),
        ("lb_ids", json!(["*"]), "UUID"),
        ("lb_ids", json!([foreign["id"]]), "there is no load balancer"),
        ("lb_ids", json!([owner(1).project]), "there is no load balancer"),
        ("webhook", json!("ftp://example.com"), "is no webhook"),
        ("webhook", json!("https://me:secret@example.com"), "is no webhook"),
    ] {
        let mut body = whole.clone();
        body[field] = value;
        let (status, answer) = api.call(Method::POST, PATH, Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert_eq!(text(&answer, "/details/0/argument_name"), field, "{body}: {answer}");
        assert!(answer.to_string().contains(says), "{body}: {answer}");
    }
    let mixed = json!({"kind": "database", "name": "orders", "lb_ids": [ids.lb, foreign["id"]]});
    let (status, answer) = api.call_as("secret-operator", Method::POST, PATH, Some(&mixed)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(answer.to_string().contains("another project"), "{answer}");
    for query in ["place=", "place=*", "place=zone", "place=lb:x", ""] {
        let (status, answer) = api.call(Method::GET, &format!("/snowshed/v1/impact?{query}"), None).await;
        assert_eq!((status, text(&answer, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, "place"), "{query}");
    }
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn nobody_begins_to_hold_what_is_deleted_in_any_way_and_it_comes_back_by_an_undelete_only() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let other = api.ok(Method::POST, "/lbs", &json!({"name": "other"})).await;
    let idle = register(&api, &ids.lb, "idle", false).await;
    let elsewhere = register(&api, text(&other, "/id"), "elsewhere", true).await;
    let holder = register(&api, &ids.lb, "holder", true).await;
    api.delete(&format!("/lbs/{}", ids.lb)).await;
    let release = format!("{PATH}/{}/release", text(&holder, "/id"));
    api.ok(Method::POST, &release, &json!({"reason": "moved"})).await;
    let (released, head) = (api.ledger.snapshot().generation().0.to_string(), api.head());
    let new = json!({"kind": "database", "name": "late", "lb_ids": [other["id"], ids.lb], "finalizer": true});
    let mut unheld = new.clone();
    unheld["finalizer"] = json!(false);
    let (idle, elsewhere) = (text(&idle, "/id"), text(&elsewhere, "/id"));
    for (method, path, body, argument) in [
        (Method::POST, PATH.to_owned(), new.clone(), "lb_ids"),
        (Method::POST, PATH.to_owned(), unheld, "lb_ids"),
        (Method::PATCH, format!("{PATH}/{idle}"), json!({"finalizer": true}), "finalizer"),
        (Method::PATCH, format!("{PATH}/{elsewhere}"), json!({"lb_ids": [other["id"], ids.lb]}), "lb_ids"),
        (Method::POST, "/snowshed/v1/undo".to_owned(), json!({"operation": released}), "finalizer"),
    ] {
        let (status, answer) = api.call(method, &path, Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {answer}");
        assert_eq!(text(&answer, "/details/0/argument_name"), argument, "{path} {body}: {answer}");
        assert!(answer.to_string().contains("undelete it first"), "{answer}");
    }
    assert_eq!(api.head(), head);
    api.ok(Method::PATCH, &format!("{PATH}/{idle}"), &json!({"name": "renamed"})).await;
    api.ok(Method::POST, &format!("/lbs/{}/undelete", ids.lb), &json!({})).await;
    api.ok(Method::POST, PATH, &new).await;
    api.ok(Method::PATCH, &format!("{PATH}/{idle}"), &json!({"finalizer": true})).await;
}
