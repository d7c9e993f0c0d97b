//! The audit: who changed what and when, a tenant's own only.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::containment::operate;
use super::{Api, Ids, TENANTS, text};

fn generations(page: &Value) -> Vec<u64> {
    page["operations"].as_array().unwrap().iter().map(|operation| operation["generation"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn an_operation_shows_every_field_it_changed_and_nothing_else() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let servers = json!({"servers": [{"address": "10.0.0.1", "weight": 5}, {"address": "10.0.0.9"}]});
    api.ok(Method::PUT, &ids.path("/backends/{backend}/servers"), &servers).await;
    let operation = api.get(&format!("/snowshed/v1/operations/{}", TENANTS + 4)).await;
    assert_eq!((text(&operation, "/actor"), text(&operation, "/verb")), ("one", "server.set"));
    let [document] = operation["changes"].as_array().unwrap().as_slice() else { panic!("{operation}") };
    assert_eq!((text(document, "/name"), text(document, "/action")), ("pool", "updated"));
    let fields: Vec<(&str, Option<&Value>, Option<&Value>)> = document["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (text(field, "/field"), field.get("before"), field.get("after")))
        .filter(|(field, ..)| field.ends_with("weight") || field.ends_with("address"))
        .collect();
    assert_eq!(
        fields,
        [
            ("servers[10.0.0.1].weight", Some(&json!(3)), Some(&json!(5))),
            ("servers[10.0.0.2].address", Some(&json!("10.0.0.2")), None),
            ("servers[10.0.0.2].weight", Some(&json!(1)), None),
            ("servers[10.0.0.9].address", None, Some(&json!("10.0.0.9"))),
            ("servers[10.0.0.9].weight", None, Some(&json!(1))),
        ]
    );
    let by_id = api.get(&format!("/snowshed/v1/operations/{}", text(&operation, "/id"))).await;
    assert_eq!(by_id, operation);

    api.delete(&ids.path("/frontends/{frontend}")).await;
    assert_eq!(
        text(&api.get(&format!("/snowshed/v1/operations/{}", TENANTS + 5)).await, "/changes/0/action"),
        "deleted"
    );
}

#[tokio::test]
async fn pages_go_back_from_the_newest_to_the_first_without_a_gap() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    for number in 0..9 {
        api.ok(Method::PATCH, &ids.path("/lbs/{lb}"), &json!({"description": number.to_string()})).await;
    }
    let newest = api.get("/snowshed/v1/operations?page_size=5").await;
    assert_eq!(generations(&newest), [12, 11, 10, 9, 8].map(|number| TENANTS + number));
    let mut all = generations(&newest);
    let mut next = newest["next_before"].as_u64();
    while let Some(before) = next {
        let page = api.get(&format!("/snowshed/v1/operations?page_size=5&before={before}")).await;
        all.extend(generations(&page));
        next = page["next_before"].as_u64();
    }
    assert_eq!(all, (TENANTS + 1..=TENANTS + 12).rev().chain([3]).collect::<Vec<_>>(), "the first made the token");
    let filtered = api.get("/snowshed/v1/operations?verb=frontend.create").await;
    assert_eq!((generations(&filtered), &filtered["next_before"]), (vec![TENANTS + 3], &Value::Null));
    assert_eq!(generations(&api.get(&ids.path("/snowshed/v1/operations?lb_id={lb}&actor=one")).await).len(), 12);
    assert!(generations(&api.get(&ids.path("/snowshed/v1/operations?actor=nobody")).await).is_empty());
}

#[tokio::test]
async fn a_tenant_sees_its_own_operations_only_and_learns_nothing_of_others() {
    let api = Api::new();
    Ids::create(&api).await;
    let (status, own) = api.call_as("secret-two", Method::GET, "/snowshed/v1/operations", None).await;
    assert_eq!((status, generations(&own)), (StatusCode::OK, vec![6]), "its token's making");
    let (of_other, answer) =
        api.call_as("secret-two", Method::GET, &format!("/snowshed/v1/operations/{}", TENANTS + 1), None).await;
    let (of_none, same) = api.call_as("secret-two", Method::GET, "/snowshed/v1/operations/99", None).await;
    assert_eq!((of_other, of_none), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    assert_eq!(answer, same, "another tenant's operation and none are told apart");
}

#[tokio::test]
async fn wrong_queries_are_refused_by_name() {
    let api = Api::new();
    for (query, argument) in [
        ("before=0", "before"),
        ("before=x", "before"),
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("lb_id=web", "lb_id"),
        ("verb=a&verb=b", "verb"),
        ("project=all", "project"),
    ] {
        let path = format!("/snowshed/v1/operations?{query}");
        let (status, answer) = api.call(Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
        assert_eq!(text(&answer, "/details/0/argument_name"), argument, "{query}");
    }
    let (status, answer) = api.call(Method::GET, "/snowshed/v1/operations/first", None).await;
    assert_eq!((status, text(&answer, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, "operation_id"));
}

#[tokio::test]
async fn of_what_was_done_to_a_whole_organization_each_project_sees_its_own_part() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let organization = super::owner(1).organization;
    let project = json!({"name": "second", "organization_id": organization});
    let (status, project) = operate(&api, Method::POST, "/snowshed/v1/projects", &project).await;
    assert_eq!(status, StatusCode::OK, "{project}");
    let token = json!({"name": "second", "role": "project-editor", "project_id": project["id"]});
    let (_, token) = operate(&api, Method::POST, "/snowshed/v1/tokens", &token).await;
    let second = text(&token, "/secret");
    let (_, theirs) = api.call_as(second, Method::POST, "/lbs", Some(&json!({"name": "theirs"}))).await;
    let plan = json!({
        "action": "delete", "parent": format!("organization:{organization}"), "filter": {"count": 2},
        "reason": "abuse", "validate_only": false,
    });
    let (_, plan) = operate(&api, Method::POST, "/snowshed/v1/plans", &plan).await;
    let apply = format!("/snowshed/v1/plans/{}/apply", text(&plan, "/id"));
    assert_eq!(operate(&api, Method::POST, &apply, &Value::Null).await.0, StatusCode::OK);
    let number = api.ledger.snapshot().generation().0;
    for (secret, own) in [("secret-one", ids.lb.as_str()), (second, text(&theirs, "/id"))] {
        let (status, page) = api.call_as(secret, Method::GET, "/snowshed/v1/operations?page_size=1", None).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(page["operations"][0]["generation"], json!(number), "{page}");
        let path = format!("/snowshed/v1/operations/{number}");
        let (_, shown) = api.call_as(secret, Method::GET, &path, None).await;
        let seen: Vec<&str> = shown["changes"].as_array().unwrap().iter().map(|change| text(change, "/id")).collect();
        assert_eq!(seen, [own], "its own, and neither the other's nor the plan: {shown}");
        let path = format!("/snowshed/v1/incident?since={number}");
        let (_, report) = api.call_as(secret, Method::GET, &path, None).await;
        assert_eq!((&report["impact"]["deleted"], &report["timeline"][0]["operation"]), (&json!(1), &json!(number)));
    }
    let (_, whole) = operate(&api, Method::GET, &format!("/snowshed/v1/operations/{number}"), &Value::Null).await;
    assert_eq!(whole["changes"].as_array().unwrap().len(), 3);
    let (status, _) = api.call_as("secret-two", Method::GET, &format!("/snowshed/v1/operations/{number}"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "another organization sees nothing of it");
}
