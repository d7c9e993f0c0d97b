//! Every field of every request is served, kept or refused as docs/scaleway-fields.md says: none is accepted and ignored
//! without a word.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, Ids, fields, owner, text};

const DOCUMENT: &str = include_str!("../../../../docs/scaleway-fields.md");

/// What becomes of a field that is set.
enum Is {
    /// The object shows it.
    Served(fn(&Value) -> bool),
    /// The object shows it, and warns that it has no effect.
    Kept,
    /// An error that names it and says this.
    Refused(&'static str),
}
use Is::{Kept, Refused, Served};

/// Where an object is made, what of, and by which of its requests' fields it is known.
const OBJECTS: [(&str, &str, &str); 6] = [
    ("lb", "/lbs", r#"{"name": "made"}"#),
    ("ip", "/ips", "{}"),
    ("frontend", "/lbs/{lb}/frontends", r#"{"name": "made", "inbound_port": 81, "backend_id": "{nat}"}"#),
    ("backend", "/lbs/{lb}/backends", r#"{"name": "made", "forward_protocol": "tcp", "forward_port": 80}"#),
    (
        "acl",
        "/frontends/{frontend}/acls",
        r#"{"name": "made", "index": 1, "action": {"type": "allow"}, "match": {"ip_subnet": ["10.0.0.0/8"]}}"#,
    ),
    ("subscriber", "/subscribers", r#"{"name": "made", "webhook_config": {"uri": "https://example.org/"}}"#),
];

/// A value for each field, and what must become of it. A dot leads into an object.
fn examples() -> Vec<(&'static str, &'static str, Value, Is)> {
    [lb(), frontend(), backend(), health_check(), others()].into_iter().flatten().collect()
}

fn lb() -> Vec<(&'static str, &'static str, Value, Is)> {
    vec![
        ("lb", "name", json!("other"), Served(|lb| lb["name"] == "other")),
        ("lb", "description", json!("words"), Served(|lb| lb["description"] == "words")),
        ("lb", "type", json!("LB-GP-M"), Served(|lb| lb["type"] == "LB-GP-M")),
        ("lb", "tags", json!(["a"]), Served(|lb| lb["tags"] == json!(["a"]))),
        ("lb", "ip_id", json!("{ip}"), Served(|lb| lb["ip"][0]["reverse"] == "spare.example")),
        ("lb", "ip_ids", json!(["{ip}"]), Served(|lb| lb["ip"][0]["reverse"] == "spare.example")),
        ("lb", "assign_flexible_ip", json!(false), Served(|lb| lb["ip"] == json!([]))),
        ("lb", "assign_flexible_ipv6", json!(true), Served(|lb| lb["ip"].as_array().unwrap().len() == 2)),
        ("lb", "ssl_compatibility_level", json!("ssl_compatibility_level_modern"), Refused("TLS is not terminated")),
        ("lb", "project_id", json!("{project}"), Served(|lb| text(lb, "/project_id") == owner(1).project.to_string())),
        (
            "lb",
            "organization_id",
            json!("{organization}"),
            Served(|lb| text(lb, "/organization_id") == owner(1).organization.to_string()),
        ),
        ("lb", "protected", json!(true), Served(|lb| lb["protected"] == true)),
        ("lb", "answers_echo", json!(false), Served(|lb| lb["answers_echo"] == false)),
        ("lb", "on_closed_port", json!("drop"), Served(|lb| lb["on_closed_port"] == "drop")),
        ("ip", "is_ipv6", json!(true), Served(|ip| text(ip, "/ip_address").contains(':'))),
        ("ip", "reverse", json!("a.example"), Served(|ip| ip["reverse"] == "a.example")),
        ("ip", "tags", json!(["a"]), Served(|ip| ip["tags"] == json!(["a"]))),
        ("ip", "project_id", json!("{project}"), Served(|ip| text(ip, "/project_id") == owner(1).project.to_string())),
        (
            "ip",
            "organization_id",
            json!("{organization}"),
            Served(|ip| text(ip, "/organization_id") == owner(1).organization.to_string()),
        ),
        ("ip", "ip_address", json!("192.0.2.99"), Served(|ip| ip["ip_address"] == "192.0.2.99")),
    ]
}

fn frontend() -> Vec<(&'static str, &'static str, Value, Is)> {
    vec![
        ("frontend", "name", json!("other"), Served(|it| it["name"] == "other")),
        ("frontend", "inbound_port", json!(82), Served(|it| it["inbound_port"] == 82)),
        ("frontend", "inbound_port_end", json!(90), Served(|it| it["inbound_port_end"] == 90)),
        ("frontend", "backend_id", json!("{nat}"), Served(|it| it["backend"]["name"] == "translated")),
        ("frontend", "timeout_client", json!(7000), Kept),
        ("frontend", "certificate_id", json!("{lb}"), Refused("TLS is not ended here")),
        ("frontend", "certificate_ids", json!(["{lb}"]), Refused("TLS is not ended here")),
        ("frontend", "enable_http3", json!(true), Refused("QUIC passes as UDP")),
        ("frontend", "connection_rate_limit", json!(7), Served(|it| it["connection_rate_limit"] == 7)),
        ("frontend", "service_connection_rate_limit", json!(7), Served(|it| it["service_connection_rate_limit"] == 7)),
        ("frontend", "packet_rate_limit", json!(7), Served(|it| it["packet_rate_limit"] == 7)),
        ("frontend", "enable_access_logs", json!(true), Refused("their requests not seen")),
    ]
}

fn backend() -> Vec<(&'static str, &'static str, Value, Is)> {
    let servers = json!([{"address": "10.0.0.9", "weight": 7, "backup": false, "drain": true, "drain_timeout": 60000}]);
    vec![
        ("backend", "name", json!("other"), Served(|it| it["name"] == "other")),
        ("backend", "forward_protocol", json!("udp"), Served(|it| it["forward_protocol"] == "udp")),
        ("backend", "forward_port", json!(8080), Served(|it| it["forward_port"] == 8080)),
        (
            "backend",
            "forward_port_algorithm",
            json!("leastconn"),
            Served(|it| it["forward_port_algorithm"] == "leastconn"),
        ),
        ("backend", "sticky_sessions", json!("table"), Served(|it| it["sticky_sessions"] == "table")),
        ("backend", "sticky_sessions_cookie_name", json!("c"), Refused("no cookies at layer 4")),
        ("backend", "sticky_prefix_v6", json!(128), Served(|it| it["sticky_prefix_v6"] == 128)),
        ("backend", "server_ip", json!(["10.0.0.9"]), Served(|it| it["pool"] == json!(["10.0.0.9"]))),
        (
            "backend",
            "servers",
            servers,
            Served(|it| it["servers"][0]["weight"] == 7 && it["servers"][0]["drain"] == true),
        ),
        ("backend", "send_proxy_v2", json!(true), Refused("would have to end the connection")),
        ("backend", "proxy_protocol", json!("proxy_protocol_v2"), Refused("would have to end the connection")),
        ("backend", "timeout_server", json!(7000), Kept),
        ("backend", "timeout_connect", json!(7000), Kept),
        ("backend", "timeout_tunnel", json!(7000), Kept),
        ("backend", "timeout_queue", json!("7s"), Refused("there is no queue")),
        (
            "backend",
            "on_marked_down_action",
            json!("on_marked_down_action_shutdown_sessions"),
            Refused("resets what it does not know"),
        ),
        ("backend", "failover_host", json!("a.example"), Refused("`backup: true`")),
        ("backend", "ssl_bridging", json!(true), Refused("TLS is not ended here")),
        ("backend", "ignore_ssl_server_verify", json!(true), Refused("TLS is not ended here")),
        ("backend", "redispatch_attempt_count", json!(1), Refused("nothing is connected anew")),
        ("backend", "max_retries", json!(1), Kept),
        ("backend", "max_connections", json!(1), Refused("`connection_rate_limit`")),
        ("backend", "host", json!("a.example"), Refused("HTTP is not read here")),
        ("backend", "forwarding", json!("gue"), Served(|it| it["forwarding"] == "gue")),
        ("backend", "on_empty", json!("drop"), Served(|it| it["on_empty"] == "drop")),
        ("backend", "quic_server_id_length", json!(4), Served(|it| it["quic_server_id_length"] == 4)),
        ("backend", "quic_config_id", json!(3), Served(|it| it["quic_config_id"] == 3)),
        ("backend", "slow_start", json!(7000), Served(|it| it["slow_start"] == 7000)),
    ]
}

fn health_check() -> Vec<(&'static str, &'static str, Value, Is)> {
    let http = json!({"uri": "/up", "method": "HEAD", "code": 204, "host_header": "a.example"});
    let https = json!({"uri": "/up", "method": "HEAD", "code": 204, "host_header": "a.example", "sni": "b.example"});
    fn check(it: &Value) -> &Value {
        &it["health_check"]
    }
    let is_http: fn(&Value) -> bool = |it| {
        let http = &check(it)["http_config"];
        (&http["uri"], &http["method"], &http["code"], &http["host_header"])
            == (&json!("/up"), &json!("HEAD"), &json!(204), &json!("a.example"))
    };
    let is_https: fn(&Value) -> bool = |it| {
        let https = &check(it)["https_config"];
        (&https["uri"], &https["code"], &https["sni"]) == (&json!("/up"), &json!(204), &json!("b.example"))
    };
    vec![
        ("backend", "health_check.port", json!(8081), Served(|it| check(it)["port"] == 8081)),
        ("backend", "health_check.check_delay", json!(7000), Served(|it| check(it)["check_delay"] == 7000)),
        ("backend", "health_check.check_timeout", json!(2000), Served(|it| check(it)["check_timeout"] == 2000)),
        ("backend", "health_check.check_max_retries", json!(7), Served(|it| check(it)["check_max_retries"] == 7)),
        ("backend", "health_check.rise", json!(7), Served(|it| check(it)["rise"] == 7)),
        ("backend", "health_check.check_send_proxy", json!(true), Served(|it| check(it)["check_send_proxy"] == true)),
        (
            "backend",
            "health_check.transient_check_delay",
            json!("0.5s"),
            Served(|it| check(it)["transient_check_delay"] == "0.5s"),
        ),
        ("backend", "health_check.tcp_config", json!({}), Served(|it| check(it)["tcp_config"] == json!({}))),
        ("backend", "health_check.http_config", http, Served(is_http)),
        ("backend", "health_check.https_config", https, Served(is_https)),
        (
            "backend",
            "health_check.mysql_config",
            json!({"user": "u"}),
            Served(|it| check(it)["mysql_config"]["user"] == "u"),
        ),
        (
            "backend",
            "health_check.pgsql_config",
            json!({"user": "u"}),
            Served(|it| check(it)["pgsql_config"]["user"] == "u"),
        ),
        ("backend", "health_check.ldap_config", json!({}), Served(|it| check(it)["ldap_config"] == json!({}))),
        ("backend", "health_check.redis_config", json!({}), Served(|it| check(it)["redis_config"] == json!({}))),
    ]
}

fn others() -> Vec<(&'static str, &'static str, Value, Is)> {
    vec![
        ("acl", "name", json!("other"), Served(|it| it["name"] == "other")),
        ("acl", "index", json!(7), Served(|it| it["index"] == 7)),
        ("acl", "description", json!("words"), Served(|it| it["description"] == "words")),
        ("acl", "action.type", json!("deny"), Served(|it| it["action"]["type"] == "deny")),
        ("acl", "action.redirect", json!({"type": "scheme", "target": "https"}), Refused("layer 4")),
        (
            "acl",
            "match.ip_subnet",
            json!(["10.7.0.0/16"]),
            Served(|it| it["match"]["ip_subnet"] == json!(["10.7.0.0/16"])),
        ),
        ("acl", "match.invert", json!(true), Served(|it| it["match"]["invert"] == true)),
        ("acl", "match.ips_edge_services", json!(true), Refused("there are none here")),
        ("acl", "match.http_filter", json!("path_begin"), Refused("layer 4")),
        ("acl", "match.http_filter_value", json!(["/admin"]), Refused("layer 4")),
        ("acl", "match.http_filter_option", json!("x"), Refused("layer 4")),
        ("subscriber", "name", json!("other"), Served(|it| it["name"] == "other")),
        (
            "subscriber",
            "project_id",
            json!("{project}"),
            Served(|it| text(it, "/project_id") == owner(1).project.to_string()),
        ),
        (
            "subscriber",
            "organization_id",
            json!("{organization}"),
            Served(|it| text(it, "/organization_id") == owner(1).organization.to_string()),
        ),
        (
            "subscriber",
            "email_config",
            json!({"email": "ops@example.org"}),
            Served(|it| it["email_config"]["email"] == "ops@example.org"),
        ),
        (
            "subscriber",
            "webhook_config",
            json!({"uri": "https://example.org/other"}),
            Served(|it| it["webhook_config"]["uri"] == "https://example.org/other"),
        ),
    ]
}

/// The rows of the document: object, field, served, kept or refused, why.
fn rows() -> Vec<[&'static str; 4]> {
    let cells = |line: &'static str| -> Option<[&'static str; 4]> {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        cells.try_into().ok()
    };
    DOCUMENT.lines().filter_map(cells).filter(|[_, _, is, _]| ["served", "kept", "refused"].contains(is)).collect()
}

/// A body with one more field, and what it would be instead of it taken out.
fn with(base: &str, field: &str, value: &Value) -> Value {
    let mut body: Value = serde_json::from_str(base).unwrap();
    match field.split_once('.') {
        None => body[field] = value.clone(),
        Some((parent, field)) => body[parent][field] = value.clone(),
    }
    if field.starts_with("quic_") {
        body["forward_protocol"] = json!("udp");
    }
    if field == "quic_config_id" {
        body["quic_server_id_length"] = json!(8);
    }
    if field == "email_config" {
        body.as_object_mut().unwrap().remove("webhook_config");
    }
    body
}

#[tokio::test]
async fn every_field_is_served_or_refused_as_the_document_says() {
    for (object, field, value, is) in examples() {
        let api = Api::new();
        let ids = Ids::create(&api).await;
        let spare = api.ok(Method::POST, "/ips", &json!({"reverse": "spare.example"})).await;
        let nat = json!({"name": "translated", "forward_protocol": "tcp", "forward_port": 8080});
        let nat = api.ok(Method::POST, &ids.path("/lbs/{lb}/backends"), &nat).await;
        let (_, path, base) = OBJECTS.iter().find(|(of, ..)| *of == object).unwrap();
        let body = with(base, field, &value).to_string();
        let body = body
            .replace("{ip}", text(&spare, "/id"))
            .replace("{nat}", text(&nat, "/id"))
            .replace("{lb}", &ids.lb)
            .replace("{project}", &owner(1).project.to_string())
            .replace("{organization}", &owner(1).organization.to_string());
        let head = api.head();
        let body: Value = serde_json::from_str(&body).unwrap();
        let (status, answer) = api.call(Method::POST, &ids.path(path), Some(&body)).await;
        match is {
            Served(shows) => {
                assert!(status.is_success() && shows(&answer), "{object} {field}: {status} {answer}");
                let shown = api.get(&format!("/{object}s/{}", text(&answer, "/id"))).await;
                assert!(shows(&shown), "{object} {field} is not kept: {shown}");
            }
            Kept => {
                for shown in [&answer, &api.get(&format!("/{object}s/{}", text(&answer, "/id"))).await] {
                    assert_eq!((status, &shown[field]), (StatusCode::OK, &value), "{object} {field}");
                    assert_eq!(text(shown, "/warnings/0/argument_name"), field, "{object} {field}: {shown}");
                    assert!(text(shown, "/warnings/0/help_message").contains("has no effect"), "{shown}");
                }
            }
            Refused(says) => {
                assert_eq!((status, text(&answer, "/type")), (StatusCode::BAD_REQUEST, "invalid_arguments"), "{field}");
                assert_eq!(text(&answer, "/details/0/argument_name"), field, "{answer}");
                assert!(text(&answer, "/details/0/help_message").contains(says), "{object} {field}: {answer}");
                assert_eq!(api.head(), head, "{object} {field}: refused and carried out");
            }
        }
        let is = match is {
            Served(_) => "served",
            Kept => "kept",
            Refused(_) => "refused",
        };
        let row = rows().into_iter().find(|row| row[..2] == [object, field]);
        let row = row.unwrap_or_else(|| panic!("docs/scaleway-fields.md has no row for {object} {field}"));
        assert_eq!(row[2], is, "docs/scaleway-fields.md: {object} {field}");
        assert!(is == "served" || !row[3].is_empty(), "docs/scaleway-fields.md says no reason for {object} {field}");
    }
}

#[test]
fn every_field_of_every_request_stands_in_the_document_with_an_example() {
    let examples: BTreeSet<String> =
        examples().into_iter().map(|(object, field, ..)| format!("{object} {field}")).collect();
    let documented: BTreeSet<String> =
        rows().into_iter().map(|[object, field, ..]| format!("{object} {field}")).collect();
    assert_eq!(examples, documented);
    for (object, path, _) in OBJECTS {
        let created = fields::requests().into_iter().find(|(request, _)| *request == format!("POST {path}"));
        let (_, listed) = created.unwrap_or_else(|| panic!("no fields of POST {path} are listed"));
        for field in &listed {
            // What stands in an object is part of its row, unless the object has rows for its fields.
            let known = |name: &str| {
                let name = format!("{object} {name}");
                documented.contains(&name) || documented.iter().any(|row| row.starts_with(&format!("{name}.")))
            };
            let parents = field.match_indices('.').map(|(at, _)| &field[..at]);
            let is_known =
                known(field) || parents.into_iter().any(|parent| documented.contains(&format!("{object} {parent}")));
            assert!(is_known, "docs/scaleway-fields.md says nothing of {object} {field}");
        }
    }
}
