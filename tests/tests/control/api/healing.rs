//! The scoreboard over the API: what is amiss is listed and shown, hurried and marked as dealt with; nobody sees or touches what
//! is another's.

use std::sync::Arc;

use axum::http::{Method, Request, StatusCode};
use lb_userspace::dataplane::Attachment;
use lb_userspace::reconcile::{Backlog, Status, Waiting};
use lb_userspace::recovery::heal::{Fault, board::wanted_services};
use serde_json::json;

use super::{Api, Ids, ZONE, text};

/// An edge on which nothing of a load balancer could be written.
fn break_down(api: &Api, ids: &Ids) {
    let attached = Attachment { interface: "eth0".to_owned(), ifindex: 2, mode: "native".to_owned() };
    let snapshot = api.ledger.snapshot();
    let generation = snapshot.generation().0;
    let status = Status { applied_generation: generation, attachments: vec![attached], ..Status::default() };
    api.edge.send_replace(Arc::new(status));
    let at = jiff::Timestamp::UNIX_EPOCH;
    let waiting =
        |what: &str| Waiting { fault: Fault::MapFull, what: what.to_owned(), since: at, attempts: 9, next: at };
    let services = wanted_services(&snapshot, ids.lb.parse().unwrap());
    let waiting = services.map(|(service, _)| (service, waiting("SLOTS is full"))).collect();
    api.backlog.send_replace(Arc::new(Backlog { waiting, generation, ..Backlog::default() }));
}

#[tokio::test]
async fn the_queue_names_reason_and_remedy_and_what_is_dealt_with_leaves_it_until_it_comes_back() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    break_down(&api, &ids);
    let list = api.get("/snowshed/v1/heal").await;
    assert_eq!((&list["summary"]["needs_attention"], &list["total_count"]), (&json!(1), &json!(1)), "{list}");
    assert_eq!(text(&list, "/load_balancers/0/findings/0/fault"), "map_full");
    assert!(text(&list, "/load_balancers/0/findings/0/remedy").contains("agent.toml"), "{list}");
    assert_eq!(api.get("/snowshed/v1/heal?fault=no_route").await["total_count"], 0);
    assert_eq!(api.get("/snowshed/v1/heal?state=needs_attention&fault=map_full").await["total_count"], 1);
    let (_, theirs) = api.call_as("secret-two", Method::GET, "/snowshed/v1/heal", None).await;
    assert_eq!((&theirs["summary"]["total"], &theirs["total_count"]), (&json!(0), &json!(0)), "another tenant's");

    let place = format!("lb:{}", ids.lb);
    let retried = api.ok(Method::POST, "/snowshed/v1/heal/retry", &json!({"place": place})).await;
    assert_eq!(retried, json!({"count": 1}));
    let resolve = json!({"place": place, "fault": "map_full", "reason": "a larger map is ordered"});
    let (status, _) = api.call_as("secret-two", Method::POST, "/snowshed/v1/heal/resolve", Some(&resolve)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "a stranger's place is none");
    assert_eq!(api.ok(Method::POST, "/snowshed/v1/heal/resolve", &resolve).await, json!({"count": 1}));
    let shown = api.get(&format!("/snowshed/v1/lbs/{}/heal", ids.lb)).await;
    assert_eq!(text(&shown, "/findings/0/resolved/reason"), "a larger map is ordered");
    assert_ne!(text(&shown, "/state"), "needs_attention");
    let status = api.get("/snowshed/v1/status").await;
    assert_eq!((&status["heal"]["needs_attention"], &status["heal"]["resolved"]), (&json!(0), &json!(1)), "{status}");

    api.backlog.send_replace(Arc::default());
    let shown = api.get(&format!("/snowshed/v1/lbs/{}/heal", ids.lb)).await;
    assert_eq!(shown["findings"], json!([]), "it is over");
    break_down(&api, &ids);
    assert_eq!(api.get("/snowshed/v1/heal").await["summary"]["needs_attention"], 1, "and comes back as new");
    assert_eq!(api.head(), head, "the ledger has nothing to do with it");
}

#[tokio::test]
async fn wrong_requests_to_the_scoreboard_say_what_is_allowed_and_do_nothing() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    break_down(&api, &ids);
    let place = format!("lb:{}", ids.lb);
    for (path, body, names) in [
        ("retry", json!({}), "place"),
        ("retry", json!({"place": ""}), "place"),
        ("retry", json!({"place": "*"}), "place"),
        ("retry", json!({"place": "zone"}), "place"),
        ("resolve", json!({"place": place}), "reason"),
        ("resolve", json!({"place": place, "reason": " "}), "reason"),
        ("resolve", json!({"place": format!("project:{}", super::owner(1).project), "reason": "x"}), "place"),
        ("resolve", json!({"place": place, "reason": "x", "fault": "sick"}), "fault"),
    ] {
        let (status, answer) = api.call(Method::POST, &format!("/snowshed/v1/heal/{path}"), Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {answer}");
        assert_eq!(text(&answer, "/details/0/argument_name"), names, "{path} {body}: {answer}");
    }
    for query in ["state=sick", "fault=sick", "state=ready&state=x"] {
        let (status, answer) = api.call(Method::GET, &format!("/snowshed/v1/heal?{query}"), None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
    }
    // What expects to be refused does nothing.
    let body = json!({"place": place, "reason": "x"}).to_string();
    let request = Request::builder().method("POST").uri("/snowshed/v1/heal/resolve");
    let request = request.header("X-Auth-Token", "secret-one").header("Expect", "deny").body(body.into()).unwrap();
    assert_eq!(api.send(request).await.0, StatusCode::EXPECTATION_FAILED, "{ZONE}");
    assert_eq!(api.get("/snowshed/v1/heal").await["summary"]["resolved"], 0);
}
