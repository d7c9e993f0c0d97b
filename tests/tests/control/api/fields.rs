//! Every field of every request, taken from the wire shapes themselves: a new field is a compile error here, and then
//! a missing bad-input case.

use lb_userspace::api::wire::{
    CreateBackend, CreateFrontend, CreateIp, CreateLb, HealthCheckSpec, HttpConfigSpec, ListQuery, Millis, ServerSpec,
    Servers, TcpConfig, UpdateBackend, UpdateIp, UpdateLb,
};
use serde_json::{Value, json};

fn some_text() -> Option<String> {
    Some(String::new())
}

fn create_lb() -> CreateLb {
    CreateLb {
        project_id: some_text(),
        organization_id: some_text(),
        name: some_text(),
        description: some_text(),
        ip_id: some_text(),
        ip_ids: Some(vec![]),
        assign_flexible_ip: Some(true),
        assign_flexible_ipv6: Some(true),
        tags: Some(vec![]),
        kind: some_text(),
        ssl_compatibility_level: some_text(),
    }
}

fn update_lb() -> UpdateLb {
    UpdateLb { name: some_text(), description: some_text(), tags: Some(vec![]), ssl_compatibility_level: some_text() }
}

fn create_ip() -> CreateIp {
    CreateIp {
        project_id: some_text(),
        organization_id: some_text(),
        is_ipv6: Some(true),
        ip_address: some_text(),
        reverse: some_text(),
        tags: Some(vec![]),
    }
}

fn update_ip() -> UpdateIp {
    UpdateIp { reverse: some_text(), lb_id: Some(some_text()), tags: Some(vec![]) }
}

fn create_frontend() -> CreateFrontend {
    CreateFrontend {
        name: some_text(),
        inbound_port: Some(1),
        backend_id: some_text(),
        timeout_client: time(),
        certificate_id: some_text(),
        certificate_ids: Some(vec![]),
        enable_http3: Some(true),
        connection_rate_limit: Some(1),
        enable_access_logs: Some(true),
    }
}

fn time() -> Option<Millis> {
    Some(Millis(std::time::Duration::ZERO))
}

fn update_backend() -> UpdateBackend {
    UpdateBackend {
        name: some_text(),
        forward_protocol: some_text(),
        forward_port: Some(1),
        forward_port_algorithm: some_text(),
        sticky_sessions: some_text(),
        sticky_sessions_cookie_name: some_text(),
        send_proxy_v2: Some(true),
        timeout_server: time(),
        timeout_connect: time(),
        timeout_tunnel: time(),
        timeout_queue: time(),
        on_marked_down_action: some_text(),
        proxy_protocol: some_text(),
        failover_host: some_text(),
        ssl_bridging: Some(true),
        ignore_ssl_server_verify: Some(true),
        redispatch_attempt_count: Some(1),
        max_retries: Some(1),
        max_connections: Some(1),
        host: some_text(),
        forwarding: some_text(),
        on_empty: some_text(),
    }
}

fn health_check() -> HealthCheckSpec {
    HealthCheckSpec {
        port: Some(1),
        check_delay: time(),
        check_timeout: time(),
        check_max_retries: Some(1),
        rise: Some(1),
        check_send_proxy: Some(true),
        transient_check_delay: Some(json!(1)),
        tcp_config: Some(TcpConfig {}),
        http_config: Some(HttpConfigSpec {
            uri: some_text(),
            method: some_text(),
            code: Some(1),
            host_header: some_text(),
        }),
        https_config: Some(json!(1)),
        mysql_config: Some(json!(1)),
        pgsql_config: Some(json!(1)),
        ldap_config: Some(json!(1)),
        redis_config: Some(json!(1)),
    }
}

fn servers() -> Servers {
    let server = ServerSpec { address: some_text(), weight: Some(1), drain: Some(true) };
    Servers { server_ip: Some(vec![]), servers: Some(vec![server]) }
}

/// Fields of a backend's creation that its update does not have; the shared ones are those of the update.
fn create_backend_only() -> Value {
    let of_creation = CreateBackend {
        health_check: Some(health_check()),
        server_ip: servers().server_ip,
        servers: servers().servers,
        ..CreateBackend::default()
    };
    serde_json::to_value(of_creation).unwrap()
}

/// Every request with every path of its fields; those in lists without the position.
pub(super) fn requests() -> Vec<(&'static str, Vec<String>)> {
    fn value(request: impl serde::Serialize) -> Value {
        serde_json::to_value(request).unwrap()
    }
    let mut create_backend = value(update_backend());
    create_backend.as_object_mut().unwrap().append(create_backend_only().as_object_mut().unwrap());
    [
        ("POST /lbs", value(create_lb())),
        ("PUT /lbs/{lb}", value(update_lb())),
        ("POST /ips", value(create_ip())),
        ("PATCH /ips/{ip}", value(update_ip())),
        ("POST /lbs/{lb}/frontends", value(create_frontend())),
        ("PUT /frontends/{frontend}", value(create_frontend())),
        ("POST /lbs/{lb}/backends", create_backend),
        ("PUT /backends/{backend}", value(update_backend())),
        ("PUT /backends/{backend}/healthcheck", value(health_check())),
        ("POST /backends/{backend}/servers", value(servers())),
        ("PUT /backends/{backend}/servers", value(servers())),
        ("DELETE /backends/{backend}/servers", value(servers())),
    ]
    .map(|(request, value)| {
        let mut paths = Vec::new();
        collect(&value, "", &mut paths);
        (request, paths)
    })
    .into()
}

fn collect(value: &Value, path: &str, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                paths.push(path.clone());
                collect(field, &path, paths);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, paths)),
        _ => {}
    }
}

/// Every key of a list's query.
pub(super) fn query_keys() -> Vec<&'static str> {
    let query = ListQuery {
        name: some_text(),
        order_by: some_text(),
        page: some_text(),
        page_size: some_text(),
        project_id: some_text(),
        organization_id: some_text(),
        tags: vec![String::new()],
        lb_ids: vec![String::new()],
        ip_address: some_text(),
        ip_type: some_text(),
        deleted: some_text(),
    };
    query.pairs().into_iter().map(|(key, _)| key).collect()
}
