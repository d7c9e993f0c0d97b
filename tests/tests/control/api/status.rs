//! Snowshed's own status and explain.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use lb_userspace::api::wire::StatusReport;
use lb_userspace::health::{HealthView, ProbeOutcome, ServerHealth};
use lb_userspace::plan::{
    NextHop, Node, PlannedService, Planner, Resolution, ServerRef, ServiceAddress, Tables, Unresolved,
};
use serde_json::json;

use super::{Api, Ids, text};

#[tokio::test]
async fn the_status_shows_each_server_with_its_share_and_why_it_has_none() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let server = |last| ServerRef { backend: ids.backend.parse().unwrap(), address: [10, 0, 0, last].into() };
    let report = || async { serde_json::from_value::<StatusReport>(api.get("/snowshed/v1/status").await).unwrap() };
    let first = report().await;
    assert_eq!(
        (first.ledger_generation, first.reconcile.applied_generation, first.zone.as_str()),
        (super::TENANTS + 3, 0, super::ZONE)
    );
    assert_eq!(shares(&first), [0.0, 0.0], "nothing is steered yet");
    let down = ServerHealth {
        up: false,
        usable: false,
        since: jiff::Timestamp::UNIX_EPOCH,
        rose_at: None,
        decided_at: std::time::Instant::now(),
        last: Some(ProbeOutcome::Refused),
    };
    api.health.send_replace(Arc::new(HealthView { servers: [(server(1), down)].into(), mass_failure: None }));
    api.status.send_modify(|status| {
        status.unresolved.insert([10, 0, 0, 2].into(), Unresolved::NoRoute);
    });
    let second = report().await;
    let [one, two] = second.services[0].servers.as_slice() else { panic!("{second:?}") };
    assert!(!one.up && one.last_probe.as_ref().unwrap().contains("refused"), "{one:?}");
    assert_eq!((two.up, two.unresolved), (true, Some(Unresolved::NoRoute)));
}

/// Percent of each server of the first service, rounded.
fn shares(report: &StatusReport) -> Vec<f64> {
    report.services[0].servers.iter().map(|server| (server.share * 100.0).round()).collect()
}

#[tokio::test]
async fn a_share_is_that_of_the_slots_whatever_the_weights_say() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let report = || async { serde_json::from_value::<StatusReport>(api.get("/snowshed/v1/status").await).unwrap() };
    // As the planner makes it, with a way to every server: 3 : 1 as the weights are.
    let hop = NextHop {
        ifindex: 2,
        mac: [2; 6],
        source_mac: [4; 6],
        mtu: 1500,
        vlan_outer: 0,
        vlan_inner: 0,
        via_gateway: false,
    };
    let ways = [1, 2].map(|last| ([10, 0, 0, last].into(), Resolution::Resolved(hop)));
    let node = Node { next_hops: Arc::new(ways.into()), ..Node::default() };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let health = HealthView::default();
    let tables = Planner::new(1, Duration::from_secs(900)).plan(&api.ledger.snapshot(), &health, &node, now);
    api.tables.send_replace(tables);
    let planned = report().await;
    assert_eq!(shares(&planned), [75.0, 25.0]);
    assert!((planned.services[0].servers.iter().map(|server| server.share).sum::<f64>() - 1.0).abs() < 1e-9);
    // The reconciler has not followed yet: what is shown is what is steered, not what the ledger wants.
    api.ok(Method::PUT, &ids.path("/backends/{backend}/servers"), &json!({"server_ip": ["10.0.0.1", "10.0.0.3"]}))
        .await;
    assert_eq!(shares(&report().await), [75.0, 0.0]);
    api.tables.send_modify(|tables| {
        let mut next = Tables::clone(tables);
        for (address, planned) in &tables.services {
            let other = PlannedService { slots: [0, 1, 1, 1, 1].into(), ..PlannedService::clone(planned) };
            next.services.insert(*address, Arc::new(other));
        }
        *tables = Arc::new(next);
    });
    assert_eq!(shares(&report().await), [20.0, 0.0]);
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status_and_never_by_what_was_sent() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    for _ in 0..3 {
        api.get(&ids.path("/lbs/{lb}")).await;
    }
    for number in 0..5 {
        api.call(Method::GET, &format!("/nowhere/{number}"), None).await;
        api.call(Method::from_bytes(format!("M{number}").as_bytes()).unwrap(), "/lbs", None).await;
        api.call_as("wrong", Method::GET, "/lbs", None).await;
    }
    let counts: Vec<_> = api
        .requests
        .counts()
        .into_iter()
        .map(|(asked, count)| (asked.route.replace("/lb/v1/zones/{zone}", ""), asked.method, asked.status, count))
        .collect();
    let expected = [
        ("/lbs", "GET", 401, 5),
        ("/lbs", "POST", 200, 1),
        ("/lbs", "other", 405, 5),
        ("/lbs/{id}", "GET", 200, 3),
        ("/lbs/{id}/backends", "POST", 200, 1),
        ("/lbs/{id}/frontends", "POST", 200, 1),
        ("none", "GET", 404, 5),
    ];
    assert_eq!(counts, expected.map(|(route, method, status, count)| (route.to_owned(), method, status, count)));
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
    let quic = format!("{path}&protocol=udp&connection_id=48A1b2");
    assert_eq!(text(&api.get(&quic).await, "/connection_id"), "48a1b2");
    let (status, problem) = api.call_as("secret-two", Method::GET, path, None).await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::NOT_FOUND, "not_found"));
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_the_addresses_of_others() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let service = api.get("/snowshed/v1/status").await["services"][0].clone();
    let own = ServiceAddress {
        address: text(&service, "/address").parse().unwrap(),
        port: service["port"].as_u64().unwrap().try_into().unwrap(),
        protocol: serde_json::from_value(service["protocol"].clone()).unwrap(),
        is_range: false,
    };
    api.status.send_modify(|status| {
        status.empty_services = vec![own.to_string(), "192.0.2.77 80/tcp".to_owned()];
        status.held = status.empty_services.clone();
        status.last_error = Some("192.0.2.77 80/tcp: no room".to_owned());
        status.unresolved.insert("10.9.9.9".parse().unwrap(), Unresolved::NoRoute);
        let repair = lb_userspace::reconcile::Repair {
            at: jiff::Timestamp::UNIX_EPOCH,
            map: "SERVICES_V4".to_owned(),
            what: "192.0.2.77 80/tcp was gone; written again".to_owned(),
        };
        status.repairs.push(repair);
    });
    let seen = api.get("/snowshed/v1/status").await;
    assert!(!seen.to_string().contains("192.0.2.77") && !seen.to_string().contains("10.9.9.9"), "{seen}");
    assert_eq!(seen["reconcile"]["empty_services"].as_array().map(Vec::len), Some(1), "{seen}");
    let (_, all) = api.call_as("secret-operator", Method::GET, "/snowshed/v1/status", None).await;
    assert!(all.to_string().contains("192.0.2.77"), "{all}");
    // What an edge holds of its own it sees, also of what it deleted: that is what is held.
    api.delete(&ids.path("/lbs/{lb}")).await;
    let seen = api.get("/snowshed/v1/status").await;
    assert_eq!(seen["reconcile"]["held"], serde_json::json!([own.to_string()]), "{seen}");
}
