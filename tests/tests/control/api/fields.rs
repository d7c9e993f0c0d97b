//! Every field of every request, taken from the wire shapes themselves: a new field is a compile error here, and then
//! a missing bad-input case. That nothing is forgotten here is checked against what the API itself says it takes.

use std::collections::BTreeSet;

use lb_userspace::api::wire::{
    AclActionSpec, AclMatchSpec, AclSpec, CreateBackend, CreateFrontend, CreateIp, CreateLb, CreateSubscriber,
    EmailConfig, HealthCheckSpec, HttpConfigSpec, HttpsConfigSpec, ListQuery, MigrateLb, Millis, NoConfig, ServerSpec,
    Servers, SetAcls, Subscribe, UpdateBackend, UpdateIp, UpdateLb, UpdateSubscriber, UserConfigSpec, WebhookConfig,
};
use serde_json::{Value, json};

use super::{Api, Ids, text};

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
        answers_echo: Some(true),
        on_closed_port: some_text(),
        protected: Some(true),
    }
}

fn update_lb() -> UpdateLb {
    UpdateLb {
        name: some_text(),
        description: some_text(),
        tags: Some(vec![]),
        ssl_compatibility_level: some_text(),
        answers_echo: Some(true),
        on_closed_port: some_text(),
        protected: Some(true),
    }
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
        inbound_port_end: Some(1),
        backend_id: some_text(),
        timeout_client: time(),
        certificate_id: some_text(),
        certificate_ids: Some(vec![]),
        enable_http3: Some(true),
        connection_rate_limit: Some(1),
        service_connection_rate_limit: Some(1),
        packet_rate_limit: Some(1),
        enable_access_logs: Some(true),
    }
}

fn acl() -> AclSpec {
    AclSpec {
        name: some_text(),
        action: Some(AclActionSpec { kind: some_text(), redirect: Some(json!(1)) }),
        index: Some(1),
        description: some_text(),
        matches: Some(AclMatchSpec {
            ip_subnet: Some(vec![]),
            ips_edge_services: Some(true),
            http_filter: some_text(),
            http_filter_value: Some(vec![]),
            http_filter_option: some_text(),
            invert: Some(true),
        }),
    }
}

fn email() -> Option<EmailConfig> {
    Some(EmailConfig { email: String::new() })
}

fn webhook() -> Option<WebhookConfig> {
    Some(WebhookConfig { uri: String::new() })
}

fn create_subscriber() -> CreateSubscriber {
    CreateSubscriber {
        project_id: some_text(),
        organization_id: some_text(),
        name: some_text(),
        email_config: email(),
        webhook_config: webhook(),
    }
}

fn update_subscriber() -> UpdateSubscriber {
    UpdateSubscriber { name: some_text(), email_config: email(), webhook_config: webhook() }
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
        sticky_prefix_v6: Some(1),
        quic_server_id_length: Some(1),
        quic_config_id: Some(1),
        slow_start: time(),
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
        transient_check_delay: Some(time()),
        tcp_config: Some(NoConfig {}),
        http_config: Some(HttpConfigSpec {
            uri: some_text(),
            method: some_text(),
            code: Some(1),
            host_header: some_text(),
        }),
        https_config: Some(HttpsConfigSpec {
            uri: some_text(),
            method: some_text(),
            code: Some(1),
            host_header: some_text(),
            sni: some_text(),
        }),
        mysql_config: Some(UserConfigSpec { user: some_text() }),
        pgsql_config: Some(UserConfigSpec { user: some_text() }),
        ldap_config: Some(NoConfig {}),
        redis_config: Some(NoConfig {}),
    }
}

fn servers() -> Servers {
    let server = ServerSpec {
        address: some_text(),
        weight: Some(1),
        backup: Some(true),
        drain: Some(true),
        drain_timeout: time(),
    };
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
        ("PATCH /lbs/{lb}", value(update_lb())),
        ("PATCH /frontends/{frontend}", value(create_frontend())),
        ("PATCH /backends/{backend}", value(update_backend())),
        ("POST /lbs/{lb}/migrate", value(MigrateLb { kind: some_text() })),
        ("POST /subscribers", value(create_subscriber())),
        ("PUT /subscribers/{subscriber}", value(update_subscriber())),
        ("PATCH /subscribers/{subscriber}", value(update_subscriber())),
        ("POST /lb/{lb}/subscribe", value(Subscribe { subscriber_id: some_text() })),
        ("POST /ips", value(create_ip())),
        ("PATCH /ips/{ip}", value(update_ip())),
        ("POST /lbs/{lb}/frontends", value(create_frontend())),
        ("PUT /frontends/{frontend}", value(create_frontend())),
        ("POST /frontends/{frontend}/acls", value(acl())),
        ("PUT /frontends/{frontend}/acls", value(SetAcls { acls: Some(vec![acl()]) })),
        ("PUT /acls/{acl}", value(acl())),
        ("PATCH /acls/{acl}", value(acl())),
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

/// Requests whose every selector is tried in a file of its own: `containment.rs`, `hold.rs` and `recovery.rs`.
const ELSEWHERE: [&str; 10] = [
    "POST /snowshed/v1/freezes",
    "POST /snowshed/v1/hold/releases",
    "POST /snowshed/v1/hold/releases/{snowshed}/approve",
    "POST /snowshed/v1/plans",
    "POST /snowshed/v1/plans/{snowshed}/apply",
    "POST /snowshed/v1/plans/{snowshed}/approve",
    "POST /snowshed/v1/quarantines",
    "POST /snowshed/v1/releases",
    "POST /snowshed/v1/restore",
    "POST /snowshed/v1/undo",
];

/// Requests below the zone that take a body, by the OpenAPI document, with the ids of this test's placeholders.
fn with_bodies() -> BTreeSet<String> {
    let document: Value = serde_json::from_str(&lb_userspace::api::openapi::DOCUMENT).unwrap();
    let noun = |path: &str| path.split('/').nth(1).unwrap_or_default().trim_end_matches('s').to_owned();
    let mut requests = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // Snowshed's own have tables beside their tests: each has a case in the coverage test.
        let Some(path) = path.strip_prefix("/lb/v1/zones/{zone}") else { continue };
        let path = path.replace("{id}", &format!("{{{}}}", noun(path)));
        let changes = item.as_object().unwrap().iter().filter(|(_, operation)| operation["requestBody"].is_object());
        requests.extend(changes.map(|(method, _)| format!("{} {path}", method.to_uppercase())));
    }
    assert!(requests.len() > 15, "{requests:?}");
    requests
}

#[test]
fn every_request_with_a_body_that_the_router_takes_is_listed() {
    let listed: BTreeSet<&str> = requests().into_iter().map(|(request, _)| request).chain(ELSEWHERE).collect();
    let untested: Vec<String> = with_bodies().into_iter().filter(|request| !listed.contains(&**request)).collect();
    assert!(untested.is_empty(), "no fields are listed for {untested:?}");
}

#[tokio::test]
async fn every_field_that_the_api_knows_is_listed() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    for (request, listed) in requests() {
        let (method, path) = request.split_once(' ').unwrap();
        let nested = [
            "",
            "health_check",
            "http_config",
            "health_check.http_config",
            "servers",
            "action",
            "match",
            "acls",
            "acls.action",
            "acls.match",
            "email_config",
            "webhook_config",
        ];
        for parent in
            nested.into_iter().filter(|parent| parent.is_empty() || listed.iter().any(|field| field == parent))
        {
            let mut body = json!({"no such field": 1});
            for part in parent.rsplit('.').filter(|part| !part.is_empty()) {
                body =
                    if ["servers", "acls"].contains(&part) { json!({ part: [body] }) } else { json!({ part: body }) };
            }
            let (_, problem) = api.call(method.parse().unwrap(), &ids.path(path), Some(&body)).await;
            let help = text(&problem, "/details/0/help_message");
            let (_, known) = help.split_once("Known are: ").unwrap_or_else(|| panic!("{request} {parent}: {problem}"));
            let full = |name: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
            let missing: Vec<String> = known.split(", ").map(full).filter(|field| !listed.contains(field)).collect();
            assert!(missing.is_empty(), "{request} takes {missing:?}, which are not listed in this file");
        }
    }
}

/// Every key of a list's query.
pub(super) fn query_keys() -> Vec<&'static str> {
    let query = ListQuery {
        name: some_text(),
        order_by: some_text(),
        page: some_text(),
        page_size: some_text(),
        cursor: some_text(),
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
