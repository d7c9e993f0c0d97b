//! The incident report: the timeline and the impact stand in the ledger; what is not known is said; others' is not shown.

use std::sync::atomic::Ordering;

use axum::http::{Method, StatusCode};
use lb_userspace::recovery::incident::{Report, markdown};
use serde_json::json;

use super::{Api, Ids, text};

#[tokio::test]
async fn the_report_tells_who_did_what_whom_it_hit_and_how_long_it_took() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let dependent = json!({"kind": "kubernetes", "name": "prod", "lb_ids": [ids.lb]});
    api.ok(Method::POST, "/snowshed/v1/dependents", &dependent).await;
    api.seconds.store(1000, Ordering::SeqCst);
    api.delete(&format!("/lbs/{}", ids.lb)).await;
    let deleted = api.ledger.snapshot().generation().0;
    api.seconds.store(1012, Ordering::SeqCst);
    let freeze = json!({"place": "zone", "reason": "stop", "lasts_seconds": 60, "verb": "lb.delete"});
    let (status, _) = api.call_as("secret-operator", Method::POST, "/snowshed/v1/freezes", Some(&freeze)).await;
    assert_eq!(status, StatusCode::OK);
    api.seconds.store(1030, Ordering::SeqCst);
    api.ok(Method::POST, &format!("/lbs/{}/undelete", ids.lb), &json!({})).await;
    api.seconds.store(2000, Ordering::SeqCst);

    let (_, answer) =
        api.call_as("secret-operator", Method::GET, "/snowshed/v1/incident?since=1970-01-01T00:16:00Z", None).await;
    let report: Report = serde_json::from_value(answer.clone()).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let impact = &report.impact;
    assert_eq!((impact.load_balancers, impact.deleted, impact.back, impact.organizations.len()), (1, 1, 1, 1));
    assert_eq!((impact.dependents.get("kubernetes"), impact.by_people, impact.automatic), (Some(&1), 3, 0));
    assert_eq!(report.durations.seconds(), (Some(12.0), Some(30.0)));
    let kinds: Vec<&str> = report.timeline.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["lb.delete", "freeze.create", "lb.undelete"]);
    assert!(!report.unknown.is_empty());
    let page = markdown(&report);
    for words in
        ["1 load balancers of 1 organizations", "1 kubernetes", "12.0 s", "30.0 s", "| lb.delete:", "## Not known"]
    {
        assert!(page.contains(words), "`{words}` in\n{page}");
    }

    let (_, from) = api
        .call_as(
            "secret-operator",
            Method::GET,
            &format!("/snowshed/v1/incident?since={deleted}&until={deleted}"),
            None,
        )
        .await;
    assert_eq!((&from["impact"]["deleted"], from["timeline"].as_array().unwrap().len()), (&json!(1), 1), "{from}");
    let (_, theirs) =
        api.call_as("secret-two", Method::GET, "/snowshed/v1/incident?since=1970-01-01T00:16:00Z", None).await;
    assert_eq!(
        (&theirs["impact"]["load_balancers"], &theirs["timeline"]),
        (&json!(0), &json!([])),
        "a stranger sees nothing"
    );
    for query in [
        "",
        "since=",
        "since=yesterday",
        "since=1&until=never",
        "since=1970-01-01T01:00:00Z&until=1970-01-01T00:00:00Z",
    ] {
        let (status, answer) = api.call(Method::GET, &format!("/snowshed/v1/incident?{query}"), None).await;
        assert_eq!(
            (status, text(&answer, "/type")),
            (StatusCode::BAD_REQUEST, "invalid_arguments"),
            "{query}: {answer}"
        );
    }
}

#[tokio::test]
async fn of_more_than_it_holds_a_timeline_keeps_the_harm_and_the_newest_and_says_how_much_it_left_off() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    api.delete(&format!("/lbs/{}", ids.lb)).await;
    let deleted = api.ledger.snapshot().generation().0;
    api.ok(Method::POST, &format!("/lbs/{}/undelete", ids.lb), &json!({})).await;
    for number in 0..1100 {
        api.ok(Method::PATCH, &format!("/lbs/{}", ids.lb), &json!({"description": number.to_string()})).await;
    }
    let last = api.ledger.snapshot().generation().0;
    let answer = api.get(&format!("/snowshed/v1/incident?since={deleted}")).await;
    let report: Report = serde_json::from_value(answer).unwrap();
    let numbers: Vec<u64> = report.timeline.iter().filter_map(|entry| entry.operation).collect();
    assert_eq!((numbers.len(), report.left_off), (1000, 102));
    assert_eq!((numbers[0], numbers[1], numbers[999]), (deleted, deleted + 1, last), "the harm, and the newest");
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "oldest first");
    assert!(markdown(&report).contains("102 entries were left off"), "it says so");
}
