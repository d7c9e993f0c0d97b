//! What a tenant does: make, read, list, change and delete, in Scaleway's shapes.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use lb_userspace::api::wire;
use lb_userspace::guard::Limits;
use lb_userspace::ledger::MemoryLedger;
use lb_userspace::model::Generation;
use serde_json::json;

use super::{Api, Ids, TENANTS, text};

#[tokio::test]
async fn a_created_load_balancer_has_an_address_of_the_pool_and_is_ready_once_applied() {
    let api = Api::new();
    let lb = api.ok(Method::POST, "/lbs", &json!({"name": "web", "assign_flexible_ipv6": true, "tags": ["a"]})).await;
    let id = text(&lb, "/id").to_owned();
    assert_eq!((text(&lb, "/ip/0/ip_address"), text(&lb, "/ip/1/ip_address")), ("192.0.2.1", "2001:db8::1"));
    assert_eq!((text(&lb, "/status"), text(&lb, "/type"), text(&lb, "/zone")), ("pending", "LB-S", super::ZONE));
    assert_eq!(lb["generation"], json!(TENANTS + 1));
    api.status.send_modify(|status| status.applied_generation = TENANTS + 1);
    let lb = api.get(&format!("/lbs/{id}")).await;
    assert_eq!((text(&lb, "/status"), text(&lb, "/instances/0/status")), ("ready", "ready"));
    serde_json::from_value::<wire::Lb>(lb).unwrap();
}

#[tokio::test]
async fn a_whole_service_is_read_back_as_it_was_written() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let frontend = api.get(&ids.path("/frontends/{frontend}")).await;
    assert_eq!(text(&frontend, "/backend/id"), ids.backend);
    assert_eq!(text(&frontend, "/lb/id"), ids.lb);
    let backend: wire::Backend = serde_json::from_value(api.get(&ids.path("/backends/{backend}")).await).unwrap();
    assert_eq!(backend.pool.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(backend.servers.iter().map(|server| server.weight).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(backend.health_check.port, 80);
    assert!(backend.health_check.tcp_config.is_some());
    let lb = api.get(&ids.path("/lbs/{lb}")).await;
    assert_eq!((lb["frontend_count"].clone(), lb["backend_count"].clone()), (json!(1), json!(1)));
    assert_eq!(text(&api.get(&ids.path("/ips/{ip}")).await, "/lb_id"), ids.lb);
}

/// What the Python SDK sends with its defaults.
#[tokio::test]
async fn requests_as_scaleways_sdk_sends_them_are_taken() {
    let api = Api::new();
    let lb = json!({
        "description": "", "type": "LB-S", "name": "sdk", "assign_flexible_ip": true, "assign_flexible_ipv6": false,
        "ip_ids": [], "tags": [], "ssl_compatibility_level": "ssl_compatibility_level_unknown",
        "project_id": super::owner(1).project,
    });
    let lb = text(&api.ok(Method::POST, "/lbs", &lb).await, "/id").to_owned();
    let backend = json!({
        "forward_protocol": "tcp", "forward_port": 80, "forward_port_algorithm": "roundrobin",
        "sticky_sessions": "none", "sticky_sessions_cookie_name": "", "server_ip": ["10.0.0.1"], "name": "lbb",
        "health_check": {
            "port": 80, "check_max_retries": 2, "check_send_proxy": false, "check_delay": 60000,
            "check_timeout": "30s", "tcp_config": {},
        },
        "on_marked_down_action": "on_marked_down_action_none", "proxy_protocol": "proxy_protocol_unknown",
        "ssl_bridging": false, "ignore_ssl_server_verify": false, "redispatch_attempt_count": 0, "max_retries": 0,
        "max_connections": 0,
    });
    let backend = api.ok(Method::POST, &format!("/lbs/{lb}/backends"), &backend).await;
    assert_eq!(backend["health_check"]["check_timeout"], json!(30000));
    let frontend = json!({
        "inbound_port": 80, "backend_id": backend["id"], "enable_http3": false, "enable_access_logs": false,
        "name": "lbf", "certificate_ids": [], "connection_rate_limit": 0,
    });
    api.ok(Method::POST, &format!("/lbs/{lb}/frontends"), &frontend).await;
    let check = json!({
        "port": 8080, "check_max_retries": 3, "check_send_proxy": false,
        "http_config": {"uri": "/up", "method": "HEAD", "code": 204, "host_header": "www.example.org"},
    });
    let id = text(&backend, "/id");
    let check = api.ok(Method::PUT, &format!("/backends/{id}/healthcheck"), &check).await;
    let check: wire::HealthCheck = serde_json::from_value(check).unwrap();
    assert_eq!((check.port, check.check_delay.0.as_secs(), check.rise), (8080, 5, 2));
    assert_eq!(check.http_config.unwrap().code, Some(204));
}

#[tokio::test]
async fn servers_are_added_changed_set_and_removed_and_keep_what_is_not_named() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let path = ids.path("/backends/{backend}/servers");
    let servers = |backend: serde_json::Value| {
        let servers = serde_json::from_value::<wire::Backend>(backend).unwrap().servers;
        servers
            .iter()
            .map(|server| format!("{} {} {}", server.address, server.weight, server.drain))
            .collect::<Vec<_>>()
    };
    let added = api.ok(Method::POST, &path, &json!({"server_ip": ["10.0.0.3", "10.0.0.1"]})).await;
    assert_eq!(servers(added), ["10.0.0.1 3 false", "10.0.0.2 1 false", "10.0.0.3 1 false"]);
    let drained = json!({"servers": [{"address": "10.0.0.1", "drain": true}]});
    assert_eq!(servers(api.ok(Method::POST, &path, &drained).await)[0], "10.0.0.1 3 true");
    let set = json!({"server_ip": ["10.0.0.4", "10.0.0.1"]});
    assert_eq!(servers(api.ok(Method::PUT, &path, &set).await), ["10.0.0.1 3 true", "10.0.0.4 1 false"]);
    let removed = api.ok(Method::DELETE, &path, &json!({"server_ip": ["10.0.0.1"]})).await;
    assert_eq!(servers(removed), ["10.0.0.4 1 false"]);
}

#[tokio::test]
async fn a_drain_has_a_deadline_that_counts_from_when_it_began() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let path = ids.path("/backends/{backend}/servers");
    let put = async |server: serde_json::Value| {
        let answer = api.ok(Method::POST, &path, &json!({"servers": [server]})).await;
        serde_json::from_value::<wire::Backend>(answer).unwrap().servers.remove(0)
    };
    let drained = put(json!({"address": "10.0.0.1", "drain": true, "drain_timeout": "10m"})).await;
    assert!(drained.drain && drained.drain_timeout == Some(wire::Millis(Duration::from_secs(600))), "{drained:?}");
    let deadline = drained.drain_deadline.unwrap();
    let head = api.head();
    let again = put(json!({"address": "10.0.0.1", "drain": true, "drain_timeout": "10m"})).await;
    assert_eq!((again, api.head()), (drained, head), "draining what drains changes nothing");
    let longer = put(json!({"address": "10.0.0.1", "drain_timeout": "1h"})).await;
    assert_eq!(longer.drain_deadline, Some(deadline + Duration::from_secs(3000)));
    let endless = put(json!({"address": "10.0.0.1", "drain_timeout": 0})).await;
    assert_eq!((endless.drain, endless.drain_timeout, endless.drain_deadline), (true, None, None));
    let back = put(json!({"address": "10.0.0.1", "drain": false, "backup": true})).await;
    assert_eq!((back.drain, back.backup, back.weight), (false, true, 3));
    let kept = put(json!({"address": "10.0.0.1", "weight": 4})).await;
    assert!(kept.backup && kept.weight == 4, "{kept:?}");
}

#[tokio::test]
async fn a_prefix_ties_clients_only_where_their_address_does() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let path = ids.path("/backends/{backend}");
    let patch = async |body: serde_json::Value| api.ok(Method::PATCH, &path, &body).await;
    let tied = patch(json!({"sticky_sessions": "table", "sticky_prefix_v6": 56, "slow_start": "30s"})).await;
    assert_eq!((&tied["sticky_prefix_v6"], &tied["slow_start"]), (&json!(56), &json!(30_000)));
    let kept = patch(json!({"forward_port_algorithm": "leastconn"})).await;
    assert_eq!((&kept["sticky_prefix_v6"], text(&kept, "/forward_port_algorithm")), (&json!(56), "leastconn"));
    let untied = patch(json!({"sticky_sessions": "none", "slow_start": 0})).await;
    assert_eq!((&untied["sticky_prefix_v6"], &untied["slow_start"]), (&json!(128), &json!(null)));
}

#[tokio::test]
async fn a_change_without_an_effect_is_no_operation() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let before = api.head();
    api.ok(Method::PUT, &ids.path("/lbs/{lb}"), &json!({"name": "web"})).await;
    api.ok(Method::PATCH, &ids.path("/ips/{ip}"), &json!({"lb_id": ids.lb})).await;
    api.ok(Method::POST, &ids.path("/backends/{backend}/servers"), &json!({"server_ip": ["10.0.0.1"]})).await;
    let frontend = json!({"name": "http", "inbound_port": 80, "backend_id": ids.backend});
    api.ok(Method::PUT, &ids.path("/frontends/{frontend}"), &frontend).await;
    assert_eq!(api.head(), before);
}

#[tokio::test]
async fn an_update_describes_the_whole_and_keeps_what_only_snowshed_has() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let lb = json!({"name": "new", "description": "text", "protected": true});
    api.ok(Method::PUT, &ids.path("/lbs/{lb}"), &lb).await;
    let lb = json!({"name": "newer", "tags": ["x"], "description": null});
    let lb = api.ok(Method::PUT, &ids.path("/lbs/{lb}"), &lb).await;
    assert_eq!((text(&lb, "/name"), text(&lb, "/description"), text(&lb, "/tags/0")), ("newer", "", "x"));
    assert_eq!(lb["protected"], true);
    let lb = api.ok(Method::PUT, &ids.path("/lbs/{lb}"), &json!({"name": "newer"})).await;
    assert_eq!(lb["tags"], json!([]));
    let frontend = |more: serde_json::Value| {
        let mut body = json!({"name": "http", "inbound_port": 80, "backend_id": ids.backend});
        body.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        body
    };
    let path = ids.path("/frontends/{frontend}");
    let full = json!({"timeout_client": 7, "connection_rate_limit": 8, "packet_rate_limit": 9});
    api.ok(Method::PUT, &path, &frontend(full)).await;
    let bare = api.ok(Method::PUT, &path, &frontend(json!({}))).await;
    assert_eq!((&bare["timeout_client"], &bare["connection_rate_limit"]), (&json!(null), &json!(0)));
    assert_eq!(bare["packet_rate_limit"], json!(9));
    let backend = json!({
        "name": "pool", "forward_protocol": "tcp", "forward_port": 80, "sticky_sessions": "table", "on_empty": "drop",
        "timeout_server": "1m", "max_retries": 3, "forward_port_algorithm": "first",
    });
    let path = ids.path("/backends/{backend}");
    api.ok(Method::PUT, &path, &backend).await;
    let backend = json!({"name": "pool", "forward_protocol": "udp", "forward_port": 80});
    let backend = api.ok(Method::PUT, &path, &backend).await;
    let read = |pointer| text(&backend, pointer);
    assert_eq!((read("/forward_protocol"), read("/sticky_sessions"), read("/on_empty")), ("udp", "none", "drop"));
    assert_eq!((read("/forward_port_algorithm"), &backend["warnings"]), ("roundrobin", &json!([])));
    let kept = ["timeout_server", "max_retries"].map(|field| backend[field].clone());
    assert_eq!((kept, backend["servers"][0]["weight"].clone()), ([json!(null), json!(null)], json!(3)));
    let check = ids.path("/backends/{backend}/healthcheck");
    api.ok(Method::PUT, &check, &json!({"port": 81, "check_delay": "9s", "rise": 5, "redis_config": {}})).await;
    let check = api.ok(Method::PUT, &check, &json!({"check_max_retries": 7})).await;
    assert_eq!((&check["port"], &check["check_delay"], &check["rise"]), (&json!(80), &json!(5000), &json!(5)));
    assert_eq!((&check["tcp_config"], &check["redis_config"]), (&json!({}), &json!(null)));
}

#[tokio::test]
async fn a_deleted_load_balancer_answers_to_delete_and_keeps_its_addresses() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    api.delete(&ids.path("/lbs/{lb}?release_ip=false")).await;
    let head = api.head();
    api.delete(&ids.path("/lbs/{lb}")).await;
    assert_eq!(api.head(), head, "deleting it once more changes nothing");
    for (method, path, body) in [
        (Method::PUT, "/lbs/{lb}", json!({"name": "web"})),
        (Method::POST, "/lbs/{lb}/migrate", json!({"type": "LB-S"})),
        (Method::DELETE, "/lb/{lb}/unsubscribe", json!({})),
    ] {
        let (status, problem) = api.call(method, &ids.path(path), Some(&body)).await;
        assert_eq!(status, StatusCode::CONFLICT, "{path}, also to what it is already: {problem}");
    }
    let lb = api.get(&ids.path("/lbs/{lb}")).await;
    assert_eq!((text(&lb, "/status"), text(&lb, "/ip/0/ip_address")), ("to_delete", "192.0.2.1"));
    assert_eq!(api.get("/lbs").await["total_count"], json!(0));
    assert_eq!(api.get("/lbs?deleted=true").await["total_count"], json!(1));
    let again = api.ok(Method::POST, "/lbs", &json!({"name": "web"})).await;
    assert_eq!(text(&again, "/ip/0/ip_address"), "192.0.2.2", "the first address stays reserved");
    // Taking the reserved address for another one is two steps on purpose.
    let take = json!({"name": "other", "ip_ids": [ids.ip]});
    let (status, problem) = api.call(Method::POST, "/lbs", Some(&take)).await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::PRECONDITION_FAILED, "precondition_failed"));
    assert!(text(&problem, "/help_message").contains("detach it first"), "{problem}");
    api.ok(Method::PATCH, &ids.path("/ips/{ip}"), &json!({"lb_id": null})).await;
    api.ok(Method::POST, "/lbs", &take).await;
}

#[tokio::test]
async fn releasing_the_addresses_with_the_load_balancer_deletes_them_together() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    api.delete(&ids.path("/lbs/{lb}?release_ip=true")).await;
    assert_eq!(api.ledger.snapshot().generation(), Generation(TENANTS + 4), "one operation");
    let (status, _) = api.call(Method::GET, &ids.path("/ips/{ip}"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(text(&api.get(&ids.path("/lbs/{lb}")).await, "/ip/0/ip_address"), "192.0.2.1");
}

#[tokio::test]
async fn what_is_deleted_is_gone_from_reads_and_lists() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    api.delete(&ids.path("/frontends/{frontend}")).await;
    api.delete(&ids.path("/backends/{backend}")).await;
    for path in ["/frontends/{frontend}", "/backends/{backend}"] {
        let (status, problem) = api.call(Method::GET, &ids.path(path), None).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::NOT_FOUND, "not_found"));
        let (status, _) = api.call(Method::DELETE, &ids.path(path), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    for list in ["/lbs/{lb}/frontends", "/lbs/{lb}/backends"] {
        assert_eq!(api.get(&ids.path(list)).await["total_count"], json!(0));
    }
}

#[tokio::test]
async fn an_ip_is_reserved_attached_detached_and_released() {
    let api = Api::new();
    let lb = api.ok(Method::POST, "/lbs", &json!({"name": "web", "assign_flexible_ip": false})).await;
    let lb = text(&lb, "/id").to_owned();
    let ip = json!({"ip_address": "192.0.2.77", "reverse": "www.example.org", "tags": ["x"]});
    let ip = api.ok(Method::POST, "/ips", &ip).await;
    let path = format!("/ips/{}", text(&ip, "/id"));
    let attached = api.ok(Method::PATCH, &path, &json!({"lb_id": lb})).await;
    assert_eq!((text(&attached, "/lb_id"), text(&attached, "/reverse")), (&lb[..], "www.example.org"));
    let (status, problem) = api.call(Method::DELETE, &path, None).await;
    assert_eq!((status, text(&problem, "/precondition")), (StatusCode::PRECONDITION_FAILED, "resource_still_in_use"));
    let detached = api.ok(Method::PATCH, &path, &json!({"lb_id": ""})).await;
    assert_eq!(detached["lb_id"], json!(null));
    api.delete(&path).await;
    let six = api.ok(Method::POST, "/ips", &json!({"is_ipv6": true})).await;
    assert_eq!(text(&six, "/ip_address"), "2001:db8::1");
}

#[tokio::test]
async fn lists_filter_order_and_page() {
    let limits = Limits::default();
    let api = Api::with(std::sync::Arc::new(MemoryLedger::new()), limits);
    for number in 0..25 {
        let tag = if number % 2 == 0 { "even" } else { "odd" };
        let lb = json!({"name": format!("lb-{number:02}"), "tags": [tag]});
        api.ok(Method::POST, "/lbs", &lb).await;
    }
    let names = |list: &serde_json::Value| {
        let lbs = list["lbs"].as_array().unwrap();
        lbs.iter().map(|lb| text(lb, "/name").to_owned()).collect::<Vec<_>>()
    };
    let first = api.get("/lbs?order_by=name_asc").await;
    assert_eq!((names(&first).len(), first["total_count"].clone()), (20, json!(25)));
    let second = api.get("/lbs?order_by=name_asc&page=2").await;
    assert_eq!(names(&second), ["lb-20", "lb-21", "lb-22", "lb-23", "lb-24"]);
    assert_eq!(names(&api.get("/lbs?order_by=name_desc&page_size=2").await), ["lb-24", "lb-23"]);
    assert_eq!(names(&api.get("/lbs?name=LB-1&tags=even&order_by=name_asc&page_size=2").await), ["lb-10", "lb-12"]);
    let id = text(&second, "/lbs/0/id");
    assert_eq!(names(&api.get(&format!("/lbs?lb_ids={id}")).await), ["lb-20"]);
    assert_eq!(api.get("/ips?ip_type=ipv6").await["total_count"], json!(0));
    assert_eq!(api.get("/ips?ip_address=192.0.2.3").await["total_count"], json!(1));
    let own = super::owner(1);
    let filter = format!("/lbs?project_id={}&organization_id={}", own.project, own.organization);
    assert_eq!(api.get(&filter).await["total_count"], json!(25));
    let other = format!("/lbs?project_id={}", super::owner(2).project);
    assert_eq!(api.get(&other).await["total_count"], json!(0), "a filter never widens");
    assert_eq!(text(&api.get("/lb-types").await, "/lb_types/0/name"), "LB-S");
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_keeps_the_rest() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    for (path, patch) in [
        ("/lbs/{lb}", json!({"description": "shop"})),
        ("/lbs/{lb}", json!({"name": "other"})),
        ("/frontends/{frontend}", json!({"timeout_client": 5000})),
        ("/frontends/{frontend}", json!({"name": "other"})),
        ("/backends/{backend}", json!({"sticky_sessions": "table"})),
        ("/backends/{backend}", json!({"name": "other"})),
    ] {
        let path = ids.path(path);
        // Without what tells of the change itself, and the objects that are shown inside.
        let own = |mut shown: serde_json::Value| {
            shown
                .as_object_mut()
                .unwrap()
                .retain(|field, _| !["etag", "generation", "lb", "backend", "warnings"].contains(&&**field));
            shown
        };
        let mut before = own(api.get(&path).await);
        let after = own(api.ok(Method::PATCH, &path, &patch).await);
        let (field, value) = patch.as_object().unwrap().iter().next().unwrap();
        assert_ne!(before[field], *value, "{path} {patch} changes nothing");
        before[field] = value.clone();
        assert_eq!(before, after, "{path} {patch}");
        let head = api.head();
        api.ok(Method::PATCH, &path, &json!({})).await;
        assert_eq!(api.head(), head, "an empty patch of {path} changes nothing");
    }
}
