//! `ETag` and `If-Match`: a change is made to the version somebody read, or not at all.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Api, Ids, ZONE, text};

impl Api {
    /// A request with `If-Match`; the answer with its `ETag`.
    async fn call_if(&self, version: &str, method: Method, path: &str, body: &Value) -> (StatusCode, Value, String) {
        let request = Request::builder().method(method).uri(format!("/lb/v1/zones/{ZONE}{path}"));
        let mut request = request.header("X-Auth-Token", "secret-one");
        if !version.is_empty() {
            request = request.header("If-Match", version);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.body(body).unwrap();
        let response = tower::ServiceExt::oneshot(self.router.clone(), request).await.unwrap();
        let etag = response.headers().get("ETag").map(|etag| etag.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null), etag)
    }

    async fn version(&self, path: &str) -> String {
        let (status, object, etag) = self.call_if("", Method::GET, path, &Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{object}");
        assert_eq!(etag, format!("\"{}\"", text(&object, "/etag")), "the header and the body agree");
        etag
    }
}

/// Every request that changes something that is there, and the object whose version counts.
fn changes(ids: &Ids) -> Vec<(Method, &'static str, &'static str, Value)> {
    let backend = json!({"name": "other", "forward_protocol": "tcp", "forward_port": 80});
    let frontend = json!({"name": "other", "inbound_port": 80, "backend_id": ids.backend});
    let servers = json!({"server_ip": ["10.0.0.9"]});
    vec![
        (Method::PUT, "/lbs/{lb}", "", json!({"name": "other"})),
        (Method::PATCH, "/ips/{ip}", "", json!({"reverse": "a.example"})),
        (Method::PUT, "/frontends/{frontend}", "", frontend),
        (Method::PUT, "/backends/{backend}", "", backend),
        (Method::POST, "/backends/{backend}", "/servers", servers.clone()),
        (Method::DELETE, "/backends/{backend}", "/servers", servers.clone()),
        (Method::PUT, "/backends/{backend}", "/servers", servers),
        (Method::PUT, "/backends/{backend}", "/healthcheck", json!({"check_max_retries": 7})),
        (Method::DELETE, "/frontends/{frontend}", "", Value::Null),
        (Method::DELETE, "/backends/{backend}", "", Value::Null),
        (Method::DELETE, "/lbs/{lb}", "", Value::Null),
        // Attached to a deleted load balancer it stays reserved.
        (Method::PATCH, "/ips/{ip}", "", json!({"lb_id": null})),
        (Method::DELETE, "/ips/{ip}", "", Value::Null),
    ]
}

#[tokio::test]
async fn every_change_is_made_to_the_version_that_was_read_or_not_at_all() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    for (method, of, below, body) in changes(&ids) {
        let (of, path) = (ids.path(of), format!("{}{below}", ids.path(of)));
        let head = api.head();
        let version = api.version(&of).await;
        let stale = "\"00000000000000000000000000000000\"";
        let (status, problem, _) = api.call_if(stale, method.clone(), &path, &body).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{method} {path}: {problem}");
        assert_eq!(text(&problem, "/type"), "precondition_failed");
        assert_eq!(text(&problem, "/precondition"), "etag_must_match");
        assert_eq!(api.head(), head, "{method} {path}");
        let either = format!("{stale}, {version}");
        let (status, answer, etag) = api.call_if(&either, method.clone(), &path, &body).await;
        assert!(status.is_success(), "{method} {path}: {answer}");
        assert_ne!(api.head(), head, "{method} {path}");
        if answer.get("etag").is_some() {
            assert_ne!(etag, version, "{method} {path}: another version");
            let (status, ..) = api.call_if(&version, method.clone(), &path, &body).await;
            assert_eq!(status, StatusCode::PRECONDITION_FAILED, "the version that was read is gone");
        }
    }
}

#[tokio::test]
async fn a_version_is_that_of_its_own_object_in_every_view() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let before = api.version(&ids.path("/lbs/{lb}")).await;
    api.ok(Method::PUT, &ids.path("/backends/{backend}/servers"), &json!({"server_ip": ["10.0.0.9"]})).await;
    api.status.send_modify(|status| status.applied_generation = 99);
    assert_eq!(api.version(&ids.path("/lbs/{lb}")).await, before, "neither a backend nor the data plane changes it");
    for (list, key, object) in [
        ("/lbs", "lbs", "/lbs/{lb}"),
        ("/ips", "ips", "/ips/{ip}"),
        ("/lbs/{lb}/frontends", "frontends", "/frontends/{frontend}"),
        ("/lbs/{lb}/backends", "backends", "/backends/{backend}"),
    ] {
        let listed = api.get(&ids.path(list)).await;
        assert_eq!(format!("\"{}\"", text(&listed[key][0], "/etag")), api.version(&ids.path(object)).await, "{list}");
    }
}

#[tokio::test]
async fn a_malformed_version_is_refused_and_a_star_is_any() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    let path = ids.path("/lbs/{lb}");
    let body = json!({"name": "other"});
    for wrong in ["abc", "\"abc", "W/\"abc\"", "\"a\" \"b\"", ",", "\"a\",, \"b\""] {
        let (status, problem, _) = api.call_if(wrong, Method::PUT, &path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {problem}");
        assert_eq!(text(&problem, "/details/0/argument_name"), "If-Match");
        assert!(text(&problem, "/help_message").contains("with its quotes"), "{problem}");
    }
    assert_eq!(api.head(), head);
    assert_eq!(api.call_if("*", Method::PUT, &path, &body).await.0, StatusCode::OK);
}
