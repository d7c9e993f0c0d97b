//! Resources that this version does not have: empty lists, ids that are not found, and a reason for who makes one.

use axum::http::{Method, StatusCode};
use serde_json::json;

use super::{Api, Ids, text};

const ID: &str = "11111111-1111-4111-8111-111111111111";

/// Path of the list, its field, the resource's name, and what the refusal must say.
const LISTS: [(&str, &str, &str, &str); 2] = [
    ("/lbs/{lb}/certificates", "certificates", "certificate", "does not end TLS"),
    ("/routes", "routes", "route", "sees no host names"),
];

#[tokio::test]
async fn lists_are_empty_and_making_one_is_refused_with_the_reason() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    for (list, field, resource, why) in LISTS {
        let path = ids.path(list);
        assert_eq!(api.get(&path).await, json!({field: [], "total_count": 0}), "{list}");
        assert_eq!(api.call(Method::GET, &format!("{path}?pag=1"), None).await.0, StatusCode::BAD_REQUEST, "{list}");
        let (status, problem) = api.call(Method::POST, &path, Some(&json!({"name": "x"}))).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::BAD_REQUEST, "invalid_arguments"), "{list}");
        assert_eq!(text(&problem, "/details/0/argument_name"), resource);
        assert!(text(&problem, "/details/0/help_message").contains(why), "{problem}");
    }
    let path = ids.path("/lbs/{lb}/private-networks");
    assert_eq!(api.get(&path).await, json!({"private_network": [], "total_count": 0}));
    for path in ["/lbs/{lb}/attach-private-network", "/lbs/{lb}/detach-private-network"] {
        let (status, problem) = api.call(Method::POST, &ids.path(path), Some(&json!({}))).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::BAD_REQUEST, "invalid_arguments"), "{path}");
    }
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn an_id_is_not_found_and_a_malformed_one_is_wrong() {
    let api = Api::new();
    for (path, resource) in [("/certificates/{id}", "certificate"), ("/routes/{id}", "route")] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let (status, problem) = api.call(method.clone(), &path.replace("{id}", ID), Some(&json!({}))).await;
            assert_eq!((status, text(&problem, "/type")), (StatusCode::NOT_FOUND, "not_found"), "{method} {path}");
            assert_eq!((text(&problem, "/resource"), text(&problem, "/resource_id")), (resource, ID));
            let (status, problem) = api.call(method, &path.replace("{id}", "*"), Some(&json!({}))).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
            assert_eq!(text(&problem, "/details/0/argument_name"), format!("{resource}_id"));
        }
    }
}

#[tokio::test]
async fn what_they_would_belong_to_is_the_tokens_own() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let on = [
        (Method::GET, "/lbs/{lb}/certificates"),
        (Method::POST, "/lbs/{lb}/certificates"),
        (Method::GET, "/lbs/{lb}/private-networks"),
        (Method::POST, "/lbs/{lb}/attach-private-network"),
    ];
    for (method, path) in on {
        let body = (method != Method::GET).then(|| json!({}));
        let (status, problem) = api.call_as("secret-two", method.clone(), &ids.path(path), body.as_ref()).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::NOT_FOUND, "not_found"), "{method} {path}");
    }
}
