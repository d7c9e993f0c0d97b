//! What rehearsals take, of whom, and what they leave: bounded memory, no place of another tenant, no line in the log.

use std::sync::Mutex;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use lb_userspace::api::peer::{Peer, Source};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::{Api, ZONE, text};

/// A request of a rehearsal.
async fn rehearse(
    api: &Api,
    number: u128,
    token: &str,
    method: Method,
    path: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let expected = format!("rehearsal={}", Uuid::from_u128(number));
    let uri = format!("/lb/v1/zones/{ZONE}{path}");
    let request = Request::builder().method(method).uri(uri).header("X-Auth-Token", token).header("Expect", expected);
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    api.send(request.body(body).unwrap()).await
}

/// Begins one with a load balancer, and says where that is.
async fn begin(api: &Api, number: u128, token: &str) -> String {
    let (status, lb) = rehearse(api, number, token, Method::POST, "/lbs", &json!({"name": "rehearsed"})).await;
    assert_eq!(status, StatusCode::OK, "{lb}");
    format!("/lbs/{}", text(&lb, "/id"))
}

async fn get(api: &Api, number: u128, token: &str, path: &str) -> (StatusCode, Value) {
    rehearse(api, number, token, Method::GET, path, &Value::Null).await
}

#[tokio::test]
async fn a_rehearsal_that_holds_as_much_as_it_may_says_to_apply_in_parts() {
    let api = Api::new();
    let head = api.head();
    let lb = begin(&api, 1, "secret-one").await;
    let backend = json!({"name": "b", "forward_protocol": "tcp", "forward_port": 80});
    let (_, backend) = rehearse(&api, 1, "secret-one", Method::POST, &format!("{lb}/backends"), &backend).await;
    let frontend = json!({"name": "f", "inbound_port": 80, "backend_id": text(&backend, "/id")});
    let (_, frontend) = rehearse(&api, 1, "secret-one", Method::POST, &format!("{lb}/frontends"), &frontend).await;
    let acls = format!("/frontends/{}/acls", text(&frontend, "/id"));
    // Each takes the place of the one before, so that no quota is in the way.
    let mut full = None;
    for round in 0..40_u32 {
        let prefixes: Vec<String> = (0..50_000_u32)
            .map(|number| std::net::Ipv4Addr::from(0x0a00_0000 + round * 50_000 + number).to_string())
            .collect();
        let acl = json!({"name": "a", "index": 0, "action": {"type": "allow"}, "match": {"ip_subnet": prefixes}});
        let (status, answer) = rehearse(&api, 1, "secret-one", Method::PUT, &acls, &json!({"acls": [acl]})).await;
        if status != StatusCode::OK {
            full = Some((round, status, answer));
            break;
        }
    }
    let (round, status, answer) = full.expect("no end of it");
    assert!(round >= 2, "only {round} changes of a large list");
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");
    assert!(text(&answer, "/help_message").contains("in parts"), "{answer}");
    // It goes on with what it has, and a new one begins empty.
    assert_eq!(get(&api, 1, "secret-one", &lb).await.0, StatusCode::OK);
    begin(&api, 2, "secret-one").await;
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn no_tenant_ends_the_rehearsals_of_another_or_of_an_operator() {
    let api = Api::new();
    let lb = begin(&api, 1, "secret-two").await;
    assert_eq!(get(&api, 1, "secret-operator", "/lbs").await.0, StatusCode::OK);
    for number in 10..60 {
        begin(&api, number, "secret-one").await;
    }
    assert_eq!(get(&api, 1, "secret-two", &lb).await.0, StatusCode::OK, "it is still there");
    // Tenants enough to take every place of theirs: one more waits, operators do not.
    for number in 0..4 {
        let secret = editor(&api, &format!("tenant-{number}")).await;
        begin(&api, 1, &secret).await;
        begin(&api, 2, &secret).await;
    }
    begin(&api, 2, "secret-two").await;
    let last = editor(&api, "one too many").await;
    let (status, problem) = get(&api, 1, &last, "/lbs").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert!(text(&problem, "/message").contains("too many rehearsals"), "{problem}");
    for number in 2..10 {
        assert_eq!(get(&api, number, "secret-operator", "/lbs").await.0, StatusCode::OK);
    }
    assert_eq!(get(&api, 1, "secret-two", &lb).await.0, StatusCode::OK, "it is still there");
}

/// The secret of an editor of a new organization.
async fn editor(api: &Api, name: &str) -> String {
    let make = async |path: &str, body: Value| {
        let (status, made) = api.call_as("secret-operator", Method::POST, path, Some(&body)).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        made
    };
    let organization = make("/snowshed/v1/organizations", json!({"name": name})).await;
    let project = json!({"name": name, "organization_id": text(&organization, "/id")});
    let project = make("/snowshed/v1/projects", project).await;
    let token = json!({"name": name, "role": "project-editor", "project_id": text(&project, "/id")});
    text(&make("/snowshed/v1/tokens", token).await, "/secret").to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_begins_only_for_who_may_still_ask() {
    let api = Api::new();
    let ask = async |token: &str, peer: Peer, number: Option<u128>| {
        let request = Request::get("/snowshed/v1/status").header("X-Auth-Token", token).extension(peer);
        let request = match number {
            Some(number) => request.header("Expect", format!("rehearsal={}", Uuid::from_u128(number))),
            None => request,
        };
        api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    };
    let lb = begin(&api, 1, "secret-one").await;
    begin(&api, 2, "secret-one").await;
    for _ in 0..400 {
        assert_eq!(ask("secret-one", Peer::Loopback, None).await, StatusCode::OK);
    }
    for number in 10..20 {
        assert_eq!(ask("secret-one", Peer::Loopback, Some(number)).await, StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(get(&api, 1, "secret-one", &lb).await.0, StatusCode::OK, "none of them took its place");
    let far = Peer::Remote(Source::of("192.0.2.7".parse().unwrap()));
    for number in 0..800 {
        assert_eq!(ask("wrong", far, Some(number)).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(ask("wrong", far, Some(1)).await, StatusCode::TOO_MANY_REQUESTS, "counted as any other");
}

/// Keeps what is logged.
struct Kept(Mutex<Vec<String>>);

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

static LOG: Kept = Kept(Mutex::new(Vec::new()));

#[tokio::test]
async fn the_log_says_of_no_rehearsal_that_it_was_done() {
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let api = Api::new();
    let role = json!({"name": "witness of the log", "role": "operator"});
    let (_, made) = api.call_as("secret-operator", Method::POST, "/snowshed/v1/tokens", Some(&role)).await;
    let path = "/ips";
    let body = json!({"project_id": super::owner(1).project});
    let lines = || LOG.0.lock().unwrap().iter().filter(|line| line.contains("by witness of the log")).count();
    let (status, answer) = rehearse(&api, 1, text(&made, "/secret"), Method::POST, path, &body).await;
    assert_eq!((status, lines()), (StatusCode::OK, 0), "{answer}");
    let (status, answer) = api.call_as(text(&made, "/secret"), Method::POST, path, Some(&body)).await;
    assert_eq!((status, lines()), (StatusCode::OK, 1), "{answer}");
}
