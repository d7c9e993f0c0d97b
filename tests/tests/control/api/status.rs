//! Snowshed's own status and explain.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use lb_userspace::api::wire::StatusReport;
use lb_userspace::health::{HealthView, ProbeOutcome, ServerHealth};
use lb_userspace::plan::{ServerRef, Unresolved};

use super::{Api, Ids, text};

#[tokio::test]
async fn the_status_shows_each_server_with_its_share_and_why_it_has_none() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let backend = ids.backend.parse().unwrap();
    let report = || async { serde_json::from_value::<StatusReport>(api.get("/snowshed/v1/status").await).unwrap() };
    let first = report().await;
    assert_eq!((first.ledger_generation, first.reconcile.applied_generation, first.zone.as_str()), (3, 0, super::ZONE));
    let shares = |report: &StatusReport| {
        report.services[0].servers.iter().map(|server| (server.share * 100.0).round()).collect::<Vec<_>>()
    };
    assert_eq!(shares(&first), [75.0, 25.0]);
    let down = ServerHealth {
        up: false,
        usable: false,
        since: jiff::Timestamp::UNIX_EPOCH,
        decided_at: std::time::Instant::now(),
        last: Some(ProbeOutcome::Refused),
    };
    let server = ServerRef { backend, address: [10, 0, 0, 1].into() };
    let view = HealthView { servers: BTreeMap::from([(server, down)]), mass_failure: None };
    api.health.send_replace(Arc::new(view));
    let second = report().await;
    assert_eq!(shares(&second), [0.0, 100.0]);
    assert!(!second.services[0].servers[0].up);
    assert!(second.services[0].servers[0].last_probe.as_ref().unwrap().contains("refused"));
    api.status.send_modify(|status| {
        status.unresolved.insert([10, 0, 0, 2].into(), Unresolved::NoRoute);
    });
    let third = report().await;
    assert_eq!(shares(&third), [0.0, 0.0]);
    assert_eq!(third.services[0].servers[1].unresolved, Some(Unresolved::NoRoute));
}

#[tokio::test]
async fn the_status_of_another_project_is_not_shown() {
    let api = Api::new();
    Ids::create(&api).await;
    let (status, report) = api.call_as("secret-two", Method::GET, "/snowshed/v1/status", None).await;
    assert_eq!((status, report["services"].as_array().unwrap().len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn explain_is_passed_on_for_a_service_of_the_project_only() {
    let api = Api::new();
    Ids::create(&api).await;
    let path = "/snowshed/v1/explain?client=198.51.100.7:40000&service=192.0.2.1:80";
    assert_eq!(text(&api.get(path).await, "/client"), "198.51.100.7:40000");
    let (status, problem) = api.call_as("secret-two", Method::GET, path, None).await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::NOT_FOUND, "not_found"));
}
