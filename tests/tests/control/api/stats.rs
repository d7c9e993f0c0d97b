//! What the probes know of the servers, and the migration to another type.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use lb_userspace::health::{HealthView, ProbeOutcome, ServerHealth};
use lb_userspace::plan::ServerRef;
use serde_json::json;

use super::{Api, Ids, text};

fn health(up: bool, last: Option<ProbeOutcome>) -> ServerHealth {
    let since = jiff::Timestamp::UNIX_EPOCH;
    ServerHealth { up, usable: up, since, rose_at: None, decided_at: std::time::Instant::now(), last }
}

#[tokio::test]
async fn stats_show_each_server_as_its_probes_found_it() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let servers = json!({"servers": [{"address": "10.0.0.3", "drain": true}, {"address": "10.0.0.4"}]});
    api.ok(Method::POST, &ids.path("/backends/{backend}/servers"), &servers).await;
    let server = |last| ServerRef { backend: ids.backend.parse().unwrap(), address: [10, 0, 0, last].into() };
    let known = [
        (server(1), health(true, Some(ProbeOutcome::Passed))),
        (server(2), health(false, Some(ProbeOutcome::Refused))),
        (server(3), health(true, Some(ProbeOutcome::Passed))),
        (server(4), health(true, None)),
    ];
    api.health.send_replace(Arc::new(HealthView { servers: known.into(), mass_failure: None }));
    let answer = api.get(&ids.path("/lbs/{lb}/backend-stats?backend_id={backend}")).await;
    assert_eq!(answer["total_count"], json!(4));
    let shown: Vec<(&str, &str, &str, bool)> = answer["backend_servers_stats"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stats| {
            assert_eq!(text(stats, "/backend_id"), ids.backend);
            let changed = stats["server_state_changed_at"].is_string();
            (text(stats, "/ip"), text(stats, "/server_state"), text(stats, "/last_health_check_status"), changed)
        })
        .collect();
    let expected = [
        ("10.0.0.1", "running", "passed", true),
        ("10.0.0.2", "stopped", "failed", true),
        ("10.0.0.3", "stopping", "passed", true),
        ("10.0.0.4", "starting", "unknown", false),
    ];
    assert_eq!(shown, expected);
    let instance = api.get(&ids.path("/lbs/{lb}")).await["instances"][0]["id"].clone();
    assert_eq!(answer["backend_servers_stats"][0]["instance_id"], instance);
    let old = api.get(&ids.path("/lbs/{lb}/stats")).await;
    assert_eq!(old["backend_servers_stats"], answer["backend_servers_stats"]);
    let none = format!("/lbs/{}/backend-stats?backend_id=11111111-1111-4111-8111-111111111111", ids.lb);
    assert_eq!(api.get(&none).await["total_count"], json!(0));
    for path in ["/lbs/{lb}/backend-stats?backend_id=x", "/lbs/{lb}/stats?backend_id=x", "/lbs/{lb}/stats?x=1"] {
        assert_eq!(api.call(Method::GET, &ids.path(path), None).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn a_migrated_load_balancer_changes_its_type_and_nothing_else() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let mut before = api.get(&ids.path("/lbs/{lb}")).await;
    let after = api.ok(Method::POST, &ids.path("/lbs/{lb}/migrate"), &json!({"type": "LB-GP-L"})).await;
    assert_eq!(text(&after, "/type"), "LB-GP-L");
    for field in ["type", "etag", "generation"] {
        before[field] = after[field].clone();
    }
    assert_eq!(before, after);
    let head = api.head();
    api.ok(Method::POST, &ids.path("/lbs/{lb}/migrate"), &json!({"type": "LB-GP-L"})).await;
    assert_eq!(api.head(), head, "migrating to the type it has changes nothing");
    api.delete(&ids.path("/lbs/{lb}")).await;
    let (status, problem) =
        api.call(Method::POST, &ids.path("/lbs/{lb}/migrate"), Some(&json!({"type": "LB-S"}))).await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::CONFLICT, "transient_state"));
}
