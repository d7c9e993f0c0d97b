//! How often one token and one source may ask, and who has no limit.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use lb_userspace::api::peer::{Peer, Source};
use serde_json::Value;
use std::time::Duration;
use tower::ServiceExt;

use super::{Api, ZONE, text};

const LBS: &str = "/lbs";

fn remote(address: &str) -> Peer {
    Peer::Remote(Source::of(address.parse().unwrap()))
}

/// Status, `Retry-After` and body of a request from somewhere.
async fn ask(api: &Api, peer: Peer, token: Option<&str>, path: &str) -> (StatusCode, Option<String>, Value) {
    let uri = if path == LBS { format!("/lb/v1/zones/{ZONE}{path}") } else { path.to_owned() };
    let mut request = Request::get(uri).extension(peer);
    if let Some(token) = token {
        request = request.header("X-Auth-Token", token);
    }
    let response = api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let retry = response.headers().get("Retry-After").map(|value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, retry, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// How many of so many requests in a row pass.
async fn passing(api: &Api, peer: Peer, token: &str, requests: usize) -> usize {
    let mut passed = 0;
    for _ in 0..requests {
        passed += usize::from(ask(api, peer, Some(token), LBS).await.0 == StatusCode::OK);
    }
    passed
}

#[tokio::test(start_paused = true)]
async fn a_token_that_asks_too_often_waits_others_do_not_and_the_socket_never() {
    let api = Api::new();
    assert_eq!(passing(&api, Peer::Loopback, "secret-one", 500).await, 400, "two seconds' worth at once");
    let (status, retry, problem) = ask(&api, Peer::Loopback, Some("secret-one"), LBS).await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"));
    assert_eq!((retry.as_deref(), &problem["retry_after"]), (Some("1"), &Value::from(1)));
    assert!(text(&problem, "/message").contains("the token `one` asks too often"), "{problem}");
    assert!(text(&problem, "/help_message").contains("requests_per_token"), "{problem}");
    assert_eq!(passing(&api, Peer::Loopback, "secret-two", 10).await, 10);
    assert_eq!(passing(&api, Peer::Socket, "secret-one", 1000).await, 1000);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(passing(&api, Peer::Loopback, "secret-one", 500).await, 200, "a second's worth");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_asks_too_often_is_refused_before_its_token_is_looked_at() {
    let api = Api::new();
    let (one, other) = (remote("2001:db8::1"), remote("2001:db8:0:1::1"));
    for _ in 0..800 {
        assert_eq!(ask(&api, one, Some("wrong"), LBS).await.0, StatusCode::UNAUTHORIZED);
    }
    // Another address of the same /64 is the same source, and every path is counted.
    for path in [LBS, "/healthz", "/metrics", "/no/such/path"] {
        let (status, retry, problem) = ask(&api, remote("2001:db8::2"), Some("secret-operator"), path).await;
        assert_eq!((status, retry.as_deref()), (StatusCode::TOO_MANY_REQUESTS, Some("1")), "{path}");
        assert!(text(&problem, "/message").starts_with("2001:db8::/64 asks too often"), "{problem}");
    }
    assert_eq!(ask(&api, other, Some("wrong"), LBS).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(passing(&api, Peer::Socket, "secret-one", 10).await, 10);
}

#[tokio::test]
async fn from_another_machine_metrics_take_an_operators_token() {
    let api = Api::new();
    let far = remote("192.0.2.7");
    for (peer, token, expected) in [
        (Peer::Socket, None, StatusCode::OK),
        (Peer::Loopback, None, StatusCode::OK),
        (far, None, StatusCode::UNAUTHORIZED),
        (far, Some("wrong"), StatusCode::UNAUTHORIZED),
        (far, Some("secret-one"), StatusCode::FORBIDDEN),
        (far, Some("secret-operator"), StatusCode::OK),
    ] {
        let (status, _, problem) = ask(&api, peer, token, "/metrics").await;
        assert_eq!(status, expected, "{peer:?} {token:?}: {problem}");
    }
}
