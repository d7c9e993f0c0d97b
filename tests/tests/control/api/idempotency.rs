//! The same request twice is carried out once, and answered the same.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use lb_userspace::ledger::SqliteLedger;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Api, Ids, ZONE, text};

/// Status, headers and body of a request with a key.
async fn send(api: &Api, key: &str, method: &str, path: &str, body: &Value) -> (StatusCode, HeaderMap, String) {
    send_as(api, "secret-one", key, method, path, body).await
}

async fn send_as(
    api: &Api,
    token: &str,
    key: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder().method(method).uri(format!("/lb/v1/zones/{ZONE}{path}"));
    let request = request.header("X-Auth-Token", token).header("Idempotency-Key", key);
    let response = api.router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, String::from_utf8(bytes.to_vec()).unwrap())
}

/// One request of each kind that changes something, in an order in which each can be carried out.
fn requests(ids: &Ids) -> Vec<(&'static str, String, Value)> {
    let backend = json!({"name": "b", "forward_protocol": "tcp", "forward_port": 81});
    let frontend = json!({"name": "f", "inbound_port": 80, "backend_id": ids.backend});
    [
        ("POST", "/lbs", json!({"name": "new"})),
        ("POST", "/ips", json!({})),
        ("PATCH", "/ips/{ip}", json!({"reverse": "a.example"})),
        ("PUT", "/lbs/{lb}", json!({"name": "web2"})),
        ("POST", "/lbs/{lb}/migrate", json!({"type": "LB-GP-M"})),
        ("POST", "/lbs/{lb}/backends", backend),
        ("PATCH", "/backends/{backend}", json!({"name": "c"})),
        ("POST", "/backends/{backend}/servers", json!({"server_ip": ["10.0.0.3"]})),
        ("PUT", "/backends/{backend}/healthcheck", json!({"check_max_retries": 7})),
        ("PUT", "/frontends/{frontend}", frontend),
        ("DELETE", "/frontends/{frontend}", json!({})),
        ("DELETE", "/backends/{backend}", json!({})),
        ("DELETE", "/lbs/{lb}?release_ip=true", json!({})),
    ]
    .map(|(method, path, body)| (method, ids.path(path), body))
    .into()
}

#[tokio::test]
async fn every_change_sent_twice_is_carried_out_once_and_answered_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let api = Api::over(Arc::new(SqliteLedger::open(&path).unwrap()));
    let ids = Ids::create(&api).await;
    let mut answers = Vec::new();
    for (number, (method, path, body)) in requests(&ids).iter().enumerate() {
        let key = format!("key {number}");
        let (status, headers, first) = send(&api, &key, method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {first}");
        assert!(!headers.contains_key("Idempotent-Replayed"), "{method} {path}");
        answers.push((status, headers, first));
    }
    let head = api.head();
    let again = async |api: &Api| {
        for (number, (method, path, body)) in requests(&ids).iter().enumerate() {
            let (status, mut headers, text) = send(api, &format!("key {number}"), method, path, body).await;
            assert_eq!(headers.remove("Idempotent-Replayed").unwrap(), "true", "{method} {path}");
            assert_eq!(&(status, headers, text), &answers[number], "{method} {path}");
            assert_eq!(api.head(), head, "{method} {path} was carried out again");
        }
    };
    again(&api).await;
    drop(api);
    again(&Api::over(Arc::new(SqliteLedger::open(&path).unwrap()))).await;
}

#[tokio::test]
async fn a_key_is_of_one_request_of_one_project() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let (path, body) = ("/lbs", json!({"name": "one"}));
    let (_, _, first) = send(&api, "key", "POST", path, &body).await;
    let head = api.head();
    let frontend = ids.path("/frontends/{frontend}");
    for (method, path, body) in [
        ("POST", "/lbs", json!({"name": "other"})),
        ("POST", "/ips", body.clone()),
        ("POST", "/lbs?x=1", body.clone()),
        ("DELETE", frontend.as_str(), json!({})),
    ] {
        let (status, _, problem) = send(&api, "key", method, path, &body).await;
        let problem: Value = serde_json::from_str(&problem).unwrap();
        assert_eq!(
            (status, text(&problem, "/type")),
            (StatusCode::BAD_REQUEST, "invalid_arguments"),
            "{method} {path}"
        );
        assert_eq!(text(&problem, "/details/0/argument_name"), "Idempotency-Key");
    }
    assert_eq!(api.head(), head);
    let (_, headers, theirs) = send_as(&api, "secret-two", "key", "POST", path, &body).await;
    assert!(!headers.contains_key("Idempotent-Replayed") && theirs != first);
}

#[tokio::test]
async fn errors_and_reads_are_not_kept_and_a_malformed_key_is_refused() {
    let api = Api::new();
    let wrong = json!({"name": ""});
    assert_eq!(send(&api, "key", "POST", "/lbs", &wrong).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(send(&api, "key", "POST", "/lbs", &json!({"name": "right"})).await.0, StatusCode::OK);
    let (status, _, listed) = send(&api, "key", "GET", "/lbs", &json!({})).await;
    assert!(status == StatusCode::OK && listed.contains("\"total_count\":1"), "{listed}");
    for key in ["", " ", &"x".repeat(256)] {
        let (status, _, problem) = send(&api, key, "POST", "/lbs", &json!({"name": "x"})).await;
        assert!(status == StatusCode::BAD_REQUEST && problem.contains("1 to 255"), "{problem}");
    }
    let large = json!({"name": "x".repeat(7_000_000)});
    assert_eq!(send(&api, "large", "POST", "/lbs", &large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_request_many_times_at_once_is_carried_out_once() {
    let api = Arc::new(Api::new());
    let body = json!({"name": "one"});
    let tries = (0..16).map(|_| {
        let (api, body) = (Arc::clone(&api), body.clone());
        tokio::spawn(async move { send(&api, "key", "POST", "/lbs", &body).await })
    });
    let mut answers = std::collections::BTreeSet::new();
    for answer in futures_util::future::join_all(tries).await {
        let (status, _, text) = answer.unwrap();
        assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{text}");
        if status == StatusCode::OK {
            answers.insert(text);
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(api.get("/lbs").await["total_count"], json!(1));
}
