//! Events: a list and a stream that resumes; a tenant's own and the edge's.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use futures_util::StreamExt;
use jiff::Timestamp;
use lb_userspace::guard::Limits;
use lb_userspace::ledger::{Ledger, MemoryLedger, Proposal};
use lb_userspace::model::{Actor, Scope};
use lb_userspace::observe::events::{News, Watched, watch};
use lb_userspace::reconcile::Status;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Api, owner, text};

fn news(kind: &'static str, project: Option<u128>) -> News {
    let project = project.map(|number| owner(number).project);
    News { kind, project, lb: None, message: format!("a {kind}"), data: json!({}) }
}

fn kinds(list: &Value) -> Vec<&str> {
    list["events"].as_array().unwrap().iter().map(|event| text(event, "/kind")).collect()
}

/// Opens a stream and reads it until it holds `until`.
async fn read_stream(api: &Api, last_seen: &str, until: &str) -> String {
    read_stream_as(api, "secret-one", last_seen, until).await
}

async fn read_stream_as(api: &Api, token: &str, last_seen: &str, until: &str) -> String {
    let request = Request::builder()
        .uri("/snowshed/v1/events")
        .header("X-Auth-Token", token)
        .header("Accept", "text/event-stream")
        .header("Last-Event-ID", last_seen);
    let response = api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut chunks = response.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains(until) {
        let chunk = chunks.next().await.unwrap_or_else(|| panic!("ended after {text}")).unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    text
}

#[tokio::test]
async fn a_tenant_sees_its_own_events_and_those_of_the_edge() {
    let api = Api::new();
    for (kind, project) in [("server.down", Some(1)), ("operation", Some(2)), ("mass_failure.began", None)] {
        api.events.publish(Timestamp::UNIX_EPOCH, news(kind, project));
    }
    let list = api.get("/snowshed/v1/events").await;
    assert_eq!(kinds(&list), ["server.down", "mass_failure.began"]);
    assert_eq!(kinds(&api.get("/snowshed/v1/events?kind=server").await), ["server.down"]);
    assert!(kinds(&api.get("/snowshed/v1/events?kind=serve").await).is_empty(), "a kind is a word, not a prefix");
    let after = format!("/snowshed/v1/events?after={}", text(&list, "/events/0/id"));
    assert_eq!(kinds(&api.get(&after).await), ["mass_failure.began"]);
    assert_eq!(kinds(&api.get(&format!("/snowshed/v1/events?after={}", text(&list, "/last_event_id"))).await), [""; 0]);
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event_that_was_seen_and_goes_on() {
    let api = Api::new();
    for number in 0..3 {
        api.events.publish(Timestamp::UNIX_EPOCH, news(["first", "second", "third"][number], Some(1)));
    }
    let list = api.get("/snowshed/v1/events").await;
    let (resumed, ()) = tokio::join!(read_stream(&api, text(&list, "/events/0/id"), "fourth"), async {
        api.events.publish(Timestamp::UNIX_EPOCH, news("fourth", Some(1)));
    });
    assert!(!resumed.contains("event: first") && resumed.contains("event: second"), "{resumed}");
    assert!(resumed.contains(&format!("id: {}", text(&list, "/events/2/id"))), "{resumed}");
    assert!(!resumed.contains("gap"), "nothing was missed: {resumed}");
    let of_another_run = read_stream(&api, "0-2", "fourth").await;
    assert!(of_another_run.contains("event: gap") && of_another_run.contains("event: first"), "{of_another_run}");
}

#[tokio::test]
async fn a_stream_ends_when_the_agent_stops() {
    let api = Api::new();
    let request = Request::builder().uri("/snowshed/v1/events").header("X-Auth-Token", "secret-one");
    let request = request.header("Accept", "text/event-stream").body(Body::empty()).unwrap();
    let response = api.router.clone().oneshot(request).await.unwrap();
    api.events.close();
    assert!(axum::body::to_bytes(response.into_body(), 1000).await.unwrap().is_empty());
}

#[tokio::test]
async fn streams_are_counted_and_one_too_many_is_told_to_come_again() {
    let api = Api::new();
    let tenant = Some(owner(1).organization);
    let shares: Vec<_> = std::iter::from_fn(|| api.events.stream(tenant)).collect();
    assert_eq!(shares.len(), 16);
    let response = open_stream(&api, "secret-one").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    api.events.publish(Timestamp::UNIX_EPOCH, news("theirs", Some(2)));
    read_stream_as(&api, "secret-two", "oldest", "theirs").await;
    drop(shares);
    api.events.publish(Timestamp::UNIX_EPOCH, news("later", Some(1)));
    read_stream(&api, "oldest", "later").await;
}

/// A stream from now on.
async fn open_stream(api: &Api, token: &str) -> axum::response::Response {
    let request = Request::builder().uri("/snowshed/v1/events").header("X-Auth-Token", token);
    let request = request.header("Accept", "text/event-stream").body(Body::empty()).unwrap();
    api.router.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_not_only_with_the_next_event() {
    let api = Api::new();
    let body = json!({"name": "short", "role": "viewer", "project_id": owner(1).project});
    let (_, made) = api.call_as("secret-operator", Method::POST, "/snowshed/v1/tokens", Some(&body)).await;
    let response = open_stream(&api, text(&made, "/secret")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let reading = tokio::spawn(axum::body::to_bytes(response.into_body(), 1000));
    tokio::task::yield_now().await;
    let path = format!("/snowshed/v1/tokens/{}", text(&made, "/id"));
    let (status, _) = api.call_as("secret-operator", Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(reading.await.unwrap().unwrap().is_empty(), "nothing happened meanwhile");
}

#[tokio::test]
async fn a_rehearsal_streams_no_events() {
    let api = Api::new();
    for expected in ["rehearsal=11111111-1111-4111-8111-111111111111", "deny"] {
        for accepted in ["text/event-stream", "application/json"] {
            let request = Request::get("/snowshed/v1/events").header("X-Auth-Token", "secret-one");
            let request = request.header("Expect", expected).header("Accept", accepted).body(Body::empty()).unwrap();
            let response = api.router.clone().oneshot(request).await.unwrap();
            let is_stream = accepted == "text/event-stream";
            let status = if is_stream { StatusCode::EXPECTATION_FAILED } else { StatusCode::OK };
            assert_eq!(response.status(), status, "{expected} {accepted}");
        }
    }
}

#[tokio::test]
async fn alarms_that_name_addresses_are_told_to_those_whose_they_are_and_to_operators() {
    let api = Api::new();
    let ids = super::Ids::create(&api).await;
    let status = tokio::sync::watch::Sender::new(Arc::new(Status::default()));
    let watched =
        Watched { ledger: Arc::clone(&api.ledger), health: api.health.subscribe(), status: status.subscribe() };
    let watching = tokio::spawn(watch(watched, Arc::clone(&api.events), || Timestamp::UNIX_EPOCH));
    tokio::task::yield_now().await;
    let start = api.events.now().to_string();
    let own = api.get(&ids.path("/ips/{ip}")).await;
    let trouble = Status {
        last_error: Some("SERVICES: 192.0.2.1 80/tcp".to_owned()),
        empty_services: vec![format!("{} 80/tcp", text(&own, "/ip_address")), "198.51.100.7 80/tcp".to_owned()],
        unresolved: ["10.0.0.1", "10.0.0.99"]
            .map(|address| (address.parse().unwrap(), lb_userspace::plan::Unresolved::NoRoute))
            .into(),
        repaired: [("BACKENDS".to_owned(), 1)].into(),
        ..Status::default()
    };
    status.send_replace(Arc::new(trouble));
    let last = read_stream_as(&api, "secret-operator", &start, "unresolved\",\"subject\":\"10.0.0.99").await;
    for subject in ["198.51.100.7", "10.0.0.1", "reconcile_failing", "repaired"] {
        assert!(last.contains(subject), "{subject}: {last}");
    }
    let seen = async |token: &str| {
        let (_, list) = api.call_as(token, Method::GET, "/snowshed/v1/events?kind=alarm", None).await;
        let events = list["events"].as_array().unwrap();
        let mut subjects: Vec<String> = events
            .iter()
            .map(|event| format!("{} {}", text(event, "/data/alarm"), text(event, "/data/subject")))
            .collect();
        subjects.sort();
        subjects
    };
    let mine = format!("empty_service {} 80/tcp", text(&own, "/ip_address"));
    assert_eq!(seen("secret-one").await, [&mine[..], "repaired BACKENDS 1", "unresolved 10.0.0.1"]);
    assert_eq!(seen("secret-two").await, ["repaired BACKENDS 1"]);
    watching.abort();
}

#[tokio::test]
async fn the_operation_that_uses_up_a_budget_raises_an_alarm_for_operators_and_so_does_a_hold() {
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new());
    let changes = (0..30).map(|number| crate::ledger::create(crate::ledger::lb(&format!("lb-{number}"), owner(1))));
    let proposal = Proposal {
        expected: ledger.snapshot().generation(),
        actor: Actor::editor("tester", owner(1)),
        scope: Scope::Project { project: owner(1).project },
        verb: "lb.create".to_owned(),
        reason: String::new(),
        at: Timestamp::UNIX_EPOCH,
        attempt: None,
        plan: None,
        changes: changes.collect(),
    };
    ledger.append(proposal).unwrap();
    let api = Api::with(Arc::clone(&ledger), Limits::default());
    let status = tokio::sync::watch::Sender::new(Arc::new(Status::default()));
    let watched = Watched { ledger, health: api.health.subscribe(), status: status.subscribe() };
    let watching = tokio::spawn(watch(watched, Arc::clone(&api.events), || Timestamp::UNIX_EPOCH));
    // It begins with what is so when it starts.
    tokio::task::yield_now().await;
    let start = api.events.now().to_string();
    let lbs: Vec<_> = api.ledger.snapshot().lbs().map(|lb| lb.id).collect();
    for lb in lbs {
        if api.call(Method::DELETE, &format!("/lbs/{lb}"), None).await.0 == StatusCode::LOCKED {
            break;
        }
    }
    let told = read_stream_as(&api, "secret-operator", &start, "read-only mode").await;
    assert!(told.contains("event: alarm.raised") && told.contains("budget of removals used up"), "{told}");
    assert!(told.contains(&owner(1).project.to_string()), "where it is: {told}");
    status.send_replace(Arc::new(Status { held: vec!["192.0.2.1 80/tcp".to_owned()], ..Status::default() }));
    let told = read_stream_as(&api, "secret-operator", &start, "are held in the maps").await;
    assert!(told.contains("192.0.2.1 80/tcp"), "{told}");
    status.send_replace(Arc::default());
    read_stream_as(&api, "secret-operator", &start, "alarm.cleared").await;
    let (_, theirs) = api.call_as("secret-two", Method::GET, "/snowshed/v1/events?kind=alarm", None).await;
    assert!(kinds(&theirs).is_empty(), "it names a tenant, so another tenant hears nothing: {theirs}");
    watching.abort();
}

#[tokio::test]
async fn wrong_queries_are_refused_by_name() {
    let api = Api::new();
    for (query, argument) in [("after=17", "after"), ("lb_id=web", "lb_id"), ("kinds=x", "kinds")] {
        let (status, answer) = api.call(Method::GET, &format!("/snowshed/v1/events?{query}"), None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
        assert_eq!(text(&answer, "/details/0/argument_name"), argument, "{query}");
    }
}
