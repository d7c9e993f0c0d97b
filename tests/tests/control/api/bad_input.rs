//! Wrong values, at least one for every field of every request: a typed error that names the argument and says what is
//! allowed, and a ledger that did not move.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use lb_userspace::ledger::SqliteLedger;
use serde_json::{Value, json};

use super::{Api, Ids, fields, text};

/// A field, a wrong value for it, and what the error must name and say.
type Case = (&'static str, Value, &'static str, &'static str);

const LONG: usize = 5000;

fn long() -> Value {
    json!("x".repeat(LONG))
}

fn project_cases() -> Vec<Case> {
    vec![
        ("project_id", json!("no-uuid"), "project_id", "UUID"),
        ("project_id", json!("11111111-1111-4111-8111-111111111111"), "project_id", "no such project for this token"),
        ("project_id", json!("*"), "project_id", "UUID"),
        ("project_id", json!(""), "project_id", "UUID"),
        ("organization_id", json!("no-uuid"), "organization_id", "UUID"),
        (
            "organization_id",
            json!("11111111-1111-4111-8111-111111111111"),
            "organization_id",
            "the project is of organization",
        ),
    ]
}

fn text_cases() -> Vec<Case> {
    vec![
        ("name", json!(""), "name", "a name is needed"),
        ("name", json!(null), "name", "`name` is needed"),
        ("name", json!(" web"), "name", "no blanks"),
        ("name", long(), "name", "at most 255"),
        ("name", json!(7), "name", "expected a string"),
        ("description", long(), "description", "at most 1024"),
        ("name", json!("web\u{202e}bew"), "name", "turn the direction"),
        ("description", json!("a\u{0}b"), "description", "no control characters"),
        ("tags", json!([""]), "tags", "1 to 128 characters"),
        ("tags", json!("a"), "tags", "expected a sequence"),
        ("tags", json!(vec!["a"; 65]), "tags", "at most 64"),
        ("protected", json!("yes"), "protected", "expected a boolean"),
        ("ssl_compatibility_level", json!("ssl_compatibility_level_old"), "ssl_compatibility_level", "leave it out"),
        ("on_closed_port", json!("pass"), "on_closed_port", "reject or drop is expected"),
        ("on_closed_port", json!(1), "on_closed_port", "expected a string"),
        ("answers_echo", json!("yes"), "answers_echo", "expected a boolean"),
    ]
}

fn type_cases() -> Vec<Case> {
    vec![
        ("type", json!("LB-HUGE"), "type", "LB-S, LB-GP-M"),
        ("type", json!(null), "type", "`type` is needed"),
        ("type", json!(1), "type", "expected a string"),
    ]
}

fn lb_cases() -> Vec<Case> {
    let mut cases = vec![
        ("ip_id", json!("x"), "ip_id", "UUID"),
        ("ip_id", json!("11111111-1111-4111-8111-111111111111"), "ip_id", "there is no IP"),
        ("ip_ids", json!(["x"]), "ip_ids[0]", "UUID"),
        ("ip_ids", json!(["11111111-1111-4111-8111-111111111111"]), "ip_ids[0]", "there is no IP"),
        ("assign_flexible_ip", json!("yes"), "assign_flexible_ip", "expected a boolean"),
        ("assign_flexible_ipv6", json!(1), "assign_flexible_ipv6", "expected a boolean"),
        ("type", json!("LB-XXL"), "type", "LB-S, LB-GP-M, LB-GP-L, LB-GP-XL"),
    ];
    cases.extend(project_cases());
    cases.extend(text_cases());
    cases
}

fn ip_cases() -> Vec<Case> {
    let mut cases = vec![
        ("is_ipv6", json!("no"), "is_ipv6", "expected a boolean"),
        ("ip_address", json!("192.0.2.300"), "ip_address", "no IP address"),
        ("ip_address", json!("192.0.2.1/32"), "ip_address", "without port or prefix"),
        ("ip_address", json!("203.0.113.1"), "ip_address", "192.0.2.0/24, 2001:db8::/64"),
        ("ip_address", json!("192.0.2.0"), "ip_address", "in none of the edge's pools"),
        ("ip_address", json!("192.0.2.255"), "ip_address", "in none of the edge's pools"),
        ("ip_address", json!("192.0.2.1"), "ip_address", "reserved already"),
    ];
    cases.extend(project_cases());
    cases.extend(ip_update_cases().into_iter().filter(|(field, ..)| *field != "lb_id"));
    cases
}

fn ip_update_cases() -> Vec<Case> {
    vec![
        ("reverse", json!("no name"), "reverse", "a DNS name"),
        ("reverse", json!("a..b"), "reverse", "a DNS name"),
        ("reverse", long(), "reverse", "at most 253"),
        ("tags", json!(["a\nb"]), "tags", "no control characters"),
        ("lb_id", json!("x"), "lb_id", "UUID"),
        ("lb_id", json!("11111111-1111-4111-8111-111111111111"), "lb_id", "there is no load balancer"),
    ]
}

fn frontend_cases() -> Vec<Case> {
    vec![
        ("name", json!(null), "name", "`name` is needed"),
        ("inbound_port", json!(0), "inbound_port", "1 to 65535"),
        ("inbound_port", json!(65536), "inbound_port", "1 to 65535"),
        ("inbound_port", json!(-1), "inbound_port", "1 to 65535"),
        ("inbound_port", json!("80"), "inbound_port", "expected i64"),
        ("inbound_port", json!(null), "inbound_port", "is needed: 1 to 65535"),
        ("inbound_port", json!(81), "inbound_port", "does not translate ports"),
        ("inbound_port_end", json!(65536), "inbound_port_end", "1 to 65535"),
        ("inbound_port_end", json!(-1), "inbound_port_end", "1 to 65535"),
        ("inbound_port_end", json!("90"), "inbound_port_end", "expected i64"),
        ("inbound_port_end", json!(80), "inbound_port_end", "not above 80, the first port of the range"),
        ("inbound_port_end", json!(7), "inbound_port_end", "not above 80, the first port of the range"),
        ("backend_id", json!("x"), "backend_id", "UUID"),
        ("backend_id", json!(null), "backend_id", "is needed"),
        ("backend_id", json!("11111111-1111-4111-8111-111111111111"), "backend_id", "there is no backend"),
        ("timeout_client", json!("soon"), "timeout_client", "milliseconds such as 5000"),
        ("timeout_client", json!("25h"), "timeout_client", "above 24h"),
        ("certificate_id", json!("x"), "certificate_id", "leave it out"),
        ("certificate_ids", json!(["x"]), "certificate_ids", "leave it out"),
        ("enable_http3", json!(true), "enable_http3", "leave it out"),
        ("connection_rate_limit", json!(-1), "connection_rate_limit", "1 to 100000000 per second are, and 0 is none"),
        ("service_connection_rate_limit", json!(100_000_001), "service_connection_rate_limit", "is no limit"),
        ("packet_rate_limit", json!("many"), "packet_rate_limit", "expected i64"),
        ("enable_access_logs", json!(true), "enable_access_logs", "leave it out"),
    ]
}

fn acl_cases() -> Vec<Case> {
    let nets = json!(["10.0.0.0/8"]);
    vec![
        ("name", json!(null), "name", "name` is needed"),
        ("action", json!("deny"), "action", "expected struct"),
        ("name", json!(""), "name", "a name is needed"),
        ("index", json!(-1), "index", "0 to 4294967295"),
        ("index", json!(null), "index", "0 is asked first"),
        ("description", long(), "description", "at most 1024"),
        ("action", json!(null), "action.type", "`allow` or `deny`"),
        ("action.type", json!({"type": "drop"}), "action.type", "`allow` and `deny` are"),
        ("action.redirect", json!({"type": "redirect", "redirect": {}}), "action.redirect", "reads no HTTP"),
        ("match", json!({}), "match.ip_subnet", "at least one network"),
        ("match.ip_subnet", json!({"ip_subnet": []}), "match.ip_subnet", "at least one network"),
        ("match.ip_subnet", json!({"ip_subnet": ["10.0.0.0/8", "x"]}), "match.ip_subnet[1]", "is no network"),
        ("match.ip_subnet", json!({"ip_subnet": ["10.0.0.1/8"]}), "match.ip_subnet[0]", "the network is 10.0.0.0/8"),
        ("match.ip_subnet", json!({"ip_subnet": ["::ffff:10.0.0.1"]}), "match.ip_subnet[0]", "IPv4 in IPv6 form"),
        ("match.ips_edge_services", json!({"ips_edge_services": true}), "match.ips_edge_services", "leave it out"),
        ("match.http_filter", json!({"ip_subnet": nets, "http_filter": "regex"}), "match.http_filter", "reads no HTTP"),
        ("match.http_filter_value", json!({"http_filter_value": ["/"]}), "match.http_filter_value", "reads no HTTP"),
        ("match.http_filter_option", json!({"http_filter_option": "h"}), "match.http_filter_option", "reads no HTTP"),
        ("match.invert", json!({"ip_subnet": nets, "invert": 1}), "match.invert", "expected a boolean"),
        ("match.ip_subnet", json!({"ip_subnets": nets}), "match.ip_subnets", "did you mean `ip_subnet`"),
    ]
}

fn new_acl_cases() -> Vec<Case> {
    let mut cases = acl_cases();
    cases.push(("match", json!(null), "match", "which clients the rule is about"));
    cases
}

/// The same cases of the second of two rules, and what a set may not be.
fn acl_set_cases() -> Vec<Case> {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let rule = json!({"name": "first", "index": 0, "action": {"type": "deny"}, "match": {"ip_subnet": ["10.0.0.1"]}});
    let mut cases: Vec<Case> = new_acl_cases()
        .into_iter()
        .map(|(field, value, argument, help)| {
            let mut second = rule.clone();
            second["name"] = json!("second");
            let second = with(&second, field, &value);
            (leak(format!("acls.{field}")), json!([rule, second]), leak(format!("acls[1].{argument}")), help)
        })
        .collect();
    cases.push(("acls", json!(null), "acls", "[] for none"));
    cases.push(("acls", json!([rule, rule]), "acls[1].name", "two rules are named `first`"));
    cases
}

fn backend_cases() -> Vec<Case> {
    vec![
        ("name", json!(null), "name", "`name` is needed"),
        ("forward_protocol", json!("http"), "forward_protocol", "`tcp` or `udp`"),
        ("forward_protocol", json!("sctp"), "forward_protocol", "`tcp` or `udp`"),
        ("forward_protocol", json!(null), "forward_protocol", "`tcp` or `udp`"),
        ("forward_port", json!(0), "forward_port", "1 to 65535"),
        ("forward_port", json!(70000), "forward_port", "1 to 65535"),
        ("forward_port_algorithm", json!("random"), "forward_port_algorithm", "`roundrobin` or `first` or `leastconn`"),
        ("sticky_prefix_v6", json!(0), "sticky_prefix_v6", "1 to 128"),
        ("sticky_prefix_v6", json!(129), "sticky_prefix_v6", "1 to 128"),
        ("sticky_prefix_v6", json!(64), "sticky_prefix_v6", "`sticky_sessions: table` only"),
        ("quic_server_id_length", json!(9), "quic_server_id_length", "outside 1 to 8; 0 is none"),
        ("quic_server_id_length", json!(-1), "quic_server_id_length", "outside 1 to 8; 0 is none"),
        ("quic_server_id_length", json!(4), "quic_server_id_length", "QUIC goes over UDP"),
        ("quic_config_id", json!(7), "quic_config_id", "outside 0 to 6"),
        ("quic_config_id", json!(2), "quic_config_id", "set `quic_server_id_length` as well"),
        ("slow_start", json!("2h"), "slow_start", "longer than 1h"),
        ("sticky_sessions", json!("cookie"), "sticky_sessions", "`none` or `table`"),
        ("sticky_sessions_cookie_name", json!("SID"), "sticky_sessions_cookie_name", "sticky_sessions: table"),
        ("send_proxy_v2", json!(true), "send_proxy_v2", "leave it out"),
        ("timeout_server", json!(-5), "timeout_server", "milliseconds such as 5000"),
        ("timeout_server", json!("25h"), "timeout_server", "above 24h"),
        ("timeout_connect", json!("1d"), "timeout_connect", "milliseconds such as 5000"),
        ("timeout_tunnel", json!(86_400_001), "timeout_tunnel", "above 24h"),
        ("timeout_queue", json!(1), "timeout_queue", "leave it out"),
        ("on_marked_down_action", json!("shutdown_sessions"), "on_marked_down_action", "on_marked_down_action_none"),
        ("proxy_protocol", json!("proxy_protocol_v2"), "proxy_protocol", "proxy_protocol_none"),
        ("failover_host", json!("s3.example.org"), "failover_host", "leave it out"),
        ("ssl_bridging", json!(true), "ssl_bridging", "leave it out"),
        ("ignore_ssl_server_verify", json!(true), "ignore_ssl_server_verify", "leave it out"),
        ("redispatch_attempt_count", json!(1), "redispatch_attempt_count", "leave it out"),
        ("max_retries", json!(-1), "max_retries", "outside 0 to 2147483647"),
        ("max_retries", json!(1_i64 << 31), "max_retries", "outside 0 to 2147483647"),
        ("max_connections", json!(10), "max_connections", "0 is"),
        ("host", json!("x"), "host", "leave it out"),
        ("forwarding", json!("sit"), "forwarding", "`nat` or `ipip` or `gue` or `l2`"),
        ("on_empty", json!("wait"), "on_empty", "`reject` or `drop`"),
    ]
}

fn server_cases() -> Vec<Case> {
    let mut cases = vec![
        ("server_ip", json!("10.0.0.1"), "server_ip", "expected a sequence"),
        ("server_ip", json!(["10.0.0.1", "nowhere"]), "server_ip[1]", "no IP address"),
        ("servers", json!({}), "servers", "expected a sequence"),
        ("servers.address", json!([{"weight": 1}]), "servers[0].address", "is needed"),
        ("servers.address", json!([{"address": "10.0.0.1:80"}]), "servers[0].address", "without port"),
        ("servers.weight", json!([{"address": "10.0.0.1", "weight": 0}]), "servers[0].weight", "1 to 65535"),
        ("servers.weight", json!([{"address": "10.0.0.1", "weight": 65536}]), "servers[0].weight", "1 to 65535"),
        ("servers.drain", json!([{"address": "10.0.0.1", "drain": "yes"}]), "servers[0].drain", "expected a boolean"),
        ("servers.backup", json!([{"address": "10.0.0.1", "backup": 1}]), "servers[0].backup", "expected a boolean"),
        (
            "servers.drain_timeout",
            json!([{"address": "10.0.0.1", "drain": true, "drain_timeout": -1}]),
            "servers[0].drain_timeout",
            "milliseconds such as 5000",
        ),
        ("servers", json!([{"address": "10.0.0.1", "wieght": 2}]), "servers[0].wieght", "did you mean `weight`"),
    ];
    for (address, what) in [
        ("0.0.0.0", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("::ffff:10.0.0.1", "IPv4 address in IPv6 form"),
        ("fe80::1", "link-local"),
        ("169.254.169.254", "metadata service"),
    ] {
        cases.push(("server_ip", json!([address]), "server_ip[0]", what));
    }
    cases
}

/// Of requests that put servers in, not of the one that takes them away.
fn new_server_cases() -> Vec<Case> {
    let mut cases = server_cases();
    cases.push(("server_ip", json!(["192.0.2.1"]), "server_ip", "an address of a load balancer"));
    cases.push(("server_ip", json!(["198.51.100.250"]), "server_ip", "this edge itself"));
    let no_drain = json!([{"address": "10.0.0.1", "drain": false, "drain_timeout": "1m"}]);
    cases.push(("servers", no_drain, "servers", "needs `drain: true`"));
    cases.push(("server_ip", json!(["10.0.0.7", "10.0.0.7"]), "server", "named twice"));
    cases
}

fn health_cases() -> Vec<Case> {
    vec![
        ("port", json!(0), "port", "1 to 65535"),
        ("check_delay", json!(10), "check_delay", "50ms to 3600s"),
        ("check_delay", json!("2h"), "check_delay", "50ms to 3600s"),
        ("check_timeout", json!("10m"), "check_timeout", "at most check_delay"),
        ("check_timeout", json!(0), "check_timeout", "more than 0"),
        ("check_max_retries", json!(0), "check_max_retries", "1 to 255"),
        ("check_max_retries", json!(256), "check_max_retries", "1 to 255"),
        ("rise", json!(-1), "rise", "1 to 255"),
        ("check_send_proxy", json!("yes"), "check_send_proxy", "expected a boolean"),
        ("transient_check_delay", json!("1m"), "transient_check_delay", "50ms to check_delay (5s)"),
        ("transient_check_delay", json!(1), "transient_check_delay", "50ms to check_delay (5s)"),
        ("transient_check_delay", json!("soon"), "transient_check_delay", "is not a duration"),
        ("tcp_config", json!({"port": 1}), "tcp_config.port", "not known here"),
        ("http_config", json!("/"), "http_config", "expected struct"),
        ("http_config.uri", json!({"uri": "health"}), "http_config.uri", "begins with `/`"),
        ("http_config.uri", json!({"uri": "/a b"}), "http_config.uri", "without blanks"),
        ("http_config.uri", json!({"uri": "/a\r\nHost: x"}), "http_config.uri", "printable ASCII"),
        ("http_config.method", json!({"method": "DELETE"}), "http_config.method", "GET, HEAD, OPTIONS"),
        ("http_config.code", json!({"code": 99}), "http_config.code", "100 to 599"),
        ("http_config.host_header", json!({"host_header": "a\r\nb"}), "http_config.host_header", "printable ASCII"),
        ("https_config", json!("/"), "https_config", "expected struct"),
        ("mysql_config", json!("health"), "mysql_config", "expected struct"),
        ("pgsql_config", json!("health"), "pgsql_config", "expected struct"),
        ("https_config.uri", json!({"uri": "health"}), "https_config.uri", "begins with `/`"),
        ("https_config.method", json!({"method": "PUT"}), "https_config.method", "GET, HEAD, OPTIONS"),
        ("https_config.code", json!({"code": 600}), "https_config.code", "100 to 599"),
        ("https_config.host_header", json!({"host_header": "a b"}), "https_config.host_header", "printable ASCII"),
        ("https_config.sni", json!({"sni": "10.0.0.1"}), "https_config.sni", "no address"),
        ("https_config.sni", json!({"sni": "-a.example"}), "https_config.sni", "a DNS name"),
        ("mysql_config.user", json!({}), "mysql_config.user", "is needed"),
        ("mysql_config.user", json!({"user": "a b"}), "mysql_config.user", "without blanks"),
        ("pgsql_config.user", json!({"user": ""}), "pgsql_config.user", "is needed"),
        ("pgsql_config.user", json!({"user": "a\u{0}b"}), "pgsql_config.user", "printable ASCII"),
        ("ldap_config", json!({"dn": "x"}), "ldap_config.dn", "not known here"),
        ("redis_config", json!({"db": 1}), "redis_config.db", "not known here"),
    ]
}

/// The same cases below `health_check`.
fn nested_health_cases() -> Vec<Case> {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let mut cases: Vec<Case> = health_cases()
        .into_iter()
        .map(|(field, value, argument, help)| {
            (leak(format!("health_check.{field}")), value, leak(format!("health_check.{argument}")), help)
        })
        .collect();
    cases.push(("health_check", json!(5), "health_check", "expected struct"));
    cases
}

/// The cases of a request that may leave everything out.
fn part(cases: Vec<Case>) -> Vec<Case> {
    let empty = ("name", json!(""), "name", "a name is needed");
    cases.into_iter().filter(|(_, value, ..)| !value.is_null()).chain([empty]).collect()
}

/// Every request, its right body, and its wrong values.
fn table(ids: &Ids) -> Vec<(&'static str, Value, Vec<Case>)> {
    let frontend = json!({"name": "http", "inbound_port": 80, "backend_id": ids.backend});
    let backend = json!({"name": "pool", "forward_protocol": "tcp", "forward_port": 80});
    let acl = json!({"name": "x", "index": 3, "action": {"type": "deny"}, "match": {"ip_subnet": ["10.0.0.0/8"]}});
    let part_of_acl = acl_cases().into_iter().filter(|(_, value, ..)| !value.is_null()).collect();
    let mut create_backend = backend_cases();
    create_backend.extend(nested_health_cases());
    create_backend.extend(new_server_cases());
    vec![
        ("PATCH /lbs/{lb}", json!({}), part(text_cases())),
        ("PATCH /frontends/{frontend}", json!({}), part(frontend_cases())),
        ("PATCH /backends/{backend}", json!({}), part(backend_cases())),
        ("POST /lbs", json!({"name": "new"}), lb_cases()),
        ("PUT /lbs/{lb}", json!({"name": "new"}), text_cases()),
        ("POST /lbs/{lb}/migrate", json!({"type": "LB-S"}), type_cases()),
        ("POST /ips", json!({}), ip_cases()),
        ("PATCH /ips/{ip}", json!({}), ip_update_cases()),
        ("POST /lbs/{lb}/frontends", frontend.clone(), frontend_cases()),
        ("PUT /frontends/{frontend}", frontend, frontend_cases()),
        ("POST /frontends/{frontend}/acls", acl.clone(), new_acl_cases()),
        ("PUT /frontends/{frontend}/acls", json!({"acls": []}), acl_set_cases()),
        ("PUT /acls/{acl}", acl, acl_cases()),
        ("PATCH /acls/{acl}", json!({}), part_of_acl),
        ("POST /lbs/{lb}/backends", backend.clone(), create_backend),
        ("PUT /backends/{backend}", backend, backend_cases()),
        ("POST /subscribers", json!({"name": "x"}), new_subscriber_cases()),
        ("PUT /subscribers/{subscriber}", json!({"name": "x"}), subscriber_cases()),
        ("PATCH /subscribers/{subscriber}", json!({}), subscriber_cases()),
        ("POST /lb/{lb}/subscribe", json!({}), subscribe_cases()),
        ("PUT /backends/{backend}/healthcheck", json!({"port": 80}), health_cases()),
        ("POST /backends/{backend}/servers", json!({}), new_server_cases()),
        ("PUT /backends/{backend}/servers", json!({}), new_server_cases()),
        ("DELETE /backends/{backend}/servers", json!({}), server_cases()),
    ]
}

fn subscriber_cases() -> Vec<Case> {
    vec![
        ("name", json!(""), "name", "a name is needed"),
        ("name", long(), "name", "at most 255"),
        ("email_config", json!(1), "email_config", "expected"),
        ("email_config.email", json!({"email": "nobody"}), "email_config.email", "no e-mail address"),
        ("email_config.email", json!({"email": ""}), "email_config.email", "is needed"),
        ("webhook_config", json!("https://example.org"), "webhook_config", "expected"),
        ("webhook_config.uri", json!({"uri": "ftp://example.org/"}), "webhook_config.uri", "http and https"),
        ("webhook_config.uri", json!({"uri": "http://127.1/"}), "webhook_config.uri", "public Internet"),
        (
            "webhook_config.uri",
            json!({"uri": "https://a:b@example.org/"}),
            "webhook_config.uri",
            "no user and no password",
        ),
    ]
}

fn new_subscriber_cases() -> Vec<Case> {
    let mut cases = subscriber_cases();
    cases.push(("name", json!(null), "name", "`name` is needed"));
    cases.extend(project_cases());
    cases
}

fn subscribe_cases() -> Vec<Case> {
    vec![
        ("subscriber_id", json!("no-uuid"), "subscriber_id", "UUID"),
        ("subscriber_id", json!(null), "subscriber_id", "`subscriber_id` is needed"),
        ("subscriber_id", json!("11111111-1111-4111-8111-111111111112"), "subscriber_id", "there is no subscriber"),
    ]
}

/// The body with a field set. Fields in lists and in probes are given with what is around them.
fn with(body: &Value, field: &str, value: &Value) -> Value {
    let mut body = body.clone();
    let mut at = &mut body;
    let mut parts = field.split('.').peekable();
    while let Some(part) = parts.next() {
        at = &mut at[part];
        let is_around = part.ends_with("_config") || matches!(part, "servers" | "match" | "action" | "acls");
        if is_around || parts.peek().is_none() {
            *at = value.clone();
            return body;
        }
    }
    unreachable!("a field has a name")
}

async fn refuse_all(api: &Api) {
    let ids = Ids::create_with_acl(api).await;
    let head = api.head();
    let mut wrong = Vec::new();
    for (request, body, cases) in table(&ids) {
        let (method, path) = request.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let path = ids.path(path);
        for (field, value, argument, help) in cases {
            let body = with(&body, field, &value);
            let (status, problem) = api.call(method.clone(), &path, Some(&body)).await;
            let what =
                format!("{request} {field} = {}: {problem}", value.to_string().chars().take(60).collect::<String>());
            let details = problem["details"].as_array().cloned().unwrap_or_default();
            let is_told = details.iter().any(|detail| {
                text(detail, "/argument_name").starts_with(argument)
                    && text(detail, "/help_message").contains(help)
                    && ["required", "format", "constraint", "unknown"].contains(&text(detail, "/reason"))
            });
            let is_typed = status == StatusCode::BAD_REQUEST && text(&problem, "/type") == "invalid_arguments";
            if !is_told || !is_typed || text(&problem, "/help_message").is_empty() {
                wrong.push(format!("{status}, expected `{argument}` and `{help}`: {what}"));
            }
            assert_eq!(api.head(), head, "the ledger moved: {what}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_wrong_value_is_refused_with_its_name_and_the_ledger_does_not_move() {
    refuse_all(&Api::new()).await;
}

#[tokio::test]
async fn every_wrong_value_leaves_a_ledger_on_disk_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(&directory.path().join("ledger.db")).unwrap();
    refuse_all(&Api::over(Arc::new(ledger))).await;
}

#[tokio::test]
async fn every_field_of_every_request_has_a_wrong_value_in_the_table() {
    let ids = Ids::create(&Api::new()).await;
    let tested: BTreeSet<(&str, String)> = table(&ids)
        .into_iter()
        .flat_map(|(request, _, cases)| cases.into_iter().map(move |(field, ..)| (request, field.to_owned())))
        .collect();
    let fields =
        fields::requests().into_iter().flat_map(|(request, paths)| paths.into_iter().map(move |path| (request, path)));
    let untested: Vec<_> = fields.filter(|field| !tested.contains(field)).collect();
    assert!(untested.is_empty(), "no wrong value for {untested:?}");
}

#[tokio::test]
async fn a_misspelt_field_is_refused_with_the_right_one() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    for (request, body, _) in table(&ids) {
        let (method, path) = request.split_once(' ').unwrap();
        let body = with(&body, "naem", &json!("x"));
        let (status, problem) = api.call(method.parse().unwrap(), &ids.path(path), Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{request}: {problem}");
        let detail = &problem["details"][0];
        assert_eq!((text(detail, "/argument_name"), text(detail, "/reason")), ("naem", "unknown"), "{request}");
        let help = text(detail, "/help_message");
        assert!(help.contains("Known are:"), "{request}: {help}");
        if body.get("name").is_some() {
            assert!(help.contains("did you mean `name`?"), "{request}: {help}");
        }
    }
    let nested = json!({"name": "x", "forward_protocol": "tcp", "forward_port": 1, "health_check": {"prot": 1}});
    let (_, problem) = api.call(Method::POST, &ids.path("/lbs/{lb}/backends"), Some(&nested)).await;
    assert_eq!(text(&problem, "/details/0/argument_name"), "health_check.prot", "{problem}");
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn everything_wrong_is_told_at_once() {
    let api = Api::new();
    let body = json!({"name": "", "type": "x", "tags": [""], "ip_ids": ["x"]});
    let (_, problem) = api.call(Method::POST, "/lbs", Some(&body)).await;
    let names: Vec<&str> =
        problem["details"].as_array().unwrap().iter().map(|detail| text(detail, "/argument_name")).collect();
    assert_eq!(names, ["name", "tags", "type", "ip_ids[0]"]);
}

#[tokio::test]
async fn what_fits_by_itself_but_not_with_the_rest_is_refused() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let six = text(&api.ok(Method::POST, "/ips", &json!({})).await, "/id").to_owned();
    let head = api.head();
    let frontend = json!({"name": "again", "inbound_port": 80, "backend_id": ids.backend});
    let both = json!({"server_ip": ["10.0.0.1"], "servers": []});
    let probes = json!({"port": 80, "tcp_config": {}, "http_config": {}});
    let moved = json!({"name": "pool", "forward_protocol": "tcp", "forward_port": 81, "forwarding": "ipip"});
    for (method, path, body, argument, help) in [
        (Method::POST, "/lbs/{lb}/frontends", frontend, "inbound_port", "a port and protocol has one frontend"),
        (Method::PUT, "/backends/{backend}/servers", both, "servers", "not both"),
        (Method::PUT, "/backends/{backend}/servers", json!({}), "server_ip", "name the servers"),
        (Method::DELETE, "/backends/{backend}/servers", json!({"server_ip": ["10.9.9.9"]}), "server_ip", "no server"),
        (Method::PUT, "/backends/{backend}/healthcheck", probes, "http_config", "not both"),
        (Method::PUT, "/backends/{backend}", moved, "forward_port", "does not translate ports"),
        (Method::PATCH, &format!("/ips/{six}"), json!({"lb_id": ids.lb}), "ip_ids", "one is allowed"),
        (Method::POST, "/ips", json!({"is_ipv6": true, "ip_address": "192.0.2.9"}), "is_ipv6", "no IPv6 address"),
        (Method::POST, "/ips", json!({"ip_address": "10.0.0.1"}), "ip_address", "the address of a server"),
        (Method::POST, "/lbs", json!({"name": "x", "ip_ids": [six, six]}), "ip_ids[1]", "twice"),
        (Method::POST, "/lbs", json!({"name": "x", "ip_id": six, "ip_ids": [six]}), "ip_id", "either"),
    ] {
        let (status, problem) = api.call(method, &ids.path(path), Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {problem}");
        let details = problem["details"].as_array().unwrap();
        let found = details
            .iter()
            .any(|detail| text(detail, "/argument_name") == argument && text(detail, "/help_message").contains(help));
        assert!(found, "{body}: {problem}");
        assert_eq!(api.head(), head, "{body}");
    }
}
