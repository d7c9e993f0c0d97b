//! The difference between files and what there is, and what is refused in a file.

use std::fmt::Write as _;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{Call, plan};
use super::spec::{BackendSpec, FrontendSpec};
use super::*;
use crate::api::wire;
use crate::api::wire::Millis;
use crate::cli::value::{Ports, ServerArg};
use crate::model::{
    AclId, Algorithm, BackendId, EmptyPool, Forwarding, FrontendId, HealthCheck, IpId, LbId, LbType, OrganizationId,
    PrefixV6, Probe, ProjectId, Protocol, Proxied, StickySessions, Weight,
};

mod acl;

const WEB: &str = "
name: web
ips: [ipv4]
frontends:
  - { name: http, inbound_port: 80, backend: web }
backends:
  - name: web
    forward_port: 80
    servers: [{ address: 10.0.0.5, weight: 3 }, { address: 10.0.0.6 }]
    health_check: { interval: 1s, http: { uri: /healthz } }
";

/// The specs of a file, or everything that is wrong with it.
fn specs(text: &str) -> Result<Vec<LbSpec>, String> {
    let documents = file::read("f.yaml", text)?;
    let mut problems = Problems::of("f.yaml");
    let specs = documents.iter().map(|document| spec::lb(document, &mut problems)).collect();
    if problems.list.is_empty() { Ok(specs) } else { Err(problems.list.join("\n")) }
}

fn one(text: &str) -> LbSpec {
    specs(text).unwrap().remove(0)
}

/// What there is when a spec has been applied to nothing.
fn applied(spec: &LbSpec) -> Observed {
    let now = Timestamp::UNIX_EPOCH;
    let lb_id = LbId::new();
    let ips: Vec<wire::Ip> = [("192.0.2.10", "192.0.2.10"), ("2001:db8::10", "2001:db8::10")]
        .into_iter()
        .filter(|(address, _)| {
            spec.ips.as_ref().is_some_and(|ips| ips.iter().any(|ip| ip.is_ipv6() == address.contains(':')))
        })
        .map(|(address, _)| ip(address, Some(lb_id)))
        .collect();
    let backends: Vec<wire::Backend> = spec.backends.iter().map(backend).collect();
    let frontends: Vec<wire::Frontend> = spec
        .frontends
        .iter()
        .map(|frontend| wire::Frontend {
            id: FrontendId::new(),
            name: frontend.name.clone(),
            inbound_port: frontend.inbound_port.first.get(),
            inbound_port_end: frontend.inbound_port.last.map(std::num::NonZeroU16::get),
            backend: backends.iter().find(|backend| backend.name == frontend.backend).cloned(),
            lb: None,
            timeout_client: frontend.timeout_client.map(Millis),
            certificate: None,
            certificate_ids: Vec::new(),
            enable_http3: false,
            enable_access_logs: false,
            connection_rate_limit: limit(frontend, "connection_rate_limit"),
            service_connection_rate_limit: limit(frontend, "service_connection_rate_limit"),
            packet_rate_limit: limit(frontend, "packet_rate_limit"),
            warnings: Vec::new(),
            created_at: Some(now),
            updated_at: Some(now),
            deleted_at: None,
            etag: String::new(),
        })
        .collect();
    let lb = wire::Lb {
        id: lb_id,
        name: spec.name.clone(),
        description: spec.description.clone(),
        status: wire::LbStatus::Ready,
        instances: Vec::new(),
        organization_id: OrganizationId::new(),
        project_id: ProjectId::new(),
        ip: ips.clone(),
        tags: spec.tags.clone(),
        frontend_count: 0,
        backend_count: 0,
        kind: spec.kind.as_str().to_owned(),
        subscriber: None,
        ssl_compatibility_level: String::new(),
        answers_echo: spec.answers_echo,
        on_closed_port: spec.on_closed_port.as_str().to_owned(),
        created_at: Some(now),
        updated_at: Some(now),
        private_network_count: 0,
        route_count: 0,
        zone: "fr-par-1".into(),
        generation: 1,
        applied_generation: 1,
        protected: false,
        deleted_at: None,
        taken_down: None,
        waits_for: Vec::new(),
        etag: String::new(),
    };
    let acls = acls(spec, &frontends);
    Observed { lb: Some(lb), backends, frontends, acls, ips, subscribers: Vec::new(), dependents: Vec::new() }
}

fn limit(frontend: &spec::FrontendSpec, name: &str) -> u32 {
    frontend.limits.get(name).copied().unwrap_or_default()
}

fn acls(spec: &LbSpec, frontends: &[wire::Frontend]) -> Vec<wire::Acl> {
    let mut acls = Vec::new();
    for (wanted, frontend) in spec.frontends.iter().zip(frontends) {
        for (index, rule) in (0..).zip(wanted.acls.iter().flatten()) {
            acls.push(wire::Acl {
                id: AclId::new(),
                name: rule.name.clone(),
                matches: Some(wire::AclMatch {
                    ip_subnet: rule.subnets.clone(),
                    ips_edge_services: false,
                    http_filter: String::new(),
                    http_filter_value: Vec::new(),
                    http_filter_option: None,
                    invert: rule.invert,
                }),
                action: Some(wire::AclAction { kind: rule.action, redirect: None }),
                frontend: Some(frontend.clone()),
                index,
                description: String::new(),
                created_at: None,
                updated_at: None,
                deleted_at: None,
                etag: String::new(),
            });
        }
    }
    acls
}

fn ip(address: &str, lb_id: Option<LbId>) -> wire::Ip {
    wire::Ip {
        id: IpId::new(),
        ip_address: address.parse().unwrap(),
        organization_id: OrganizationId::new(),
        project_id: ProjectId::new(),
        lb_id,
        reverse: String::new(),
        tags: Vec::new(),
        zone: "fr-par-1".into(),
        deleted_at: None,
        etag: String::new(),
    }
}

fn backend(spec: &BackendSpec) -> wire::Backend {
    let check = &spec.health_check;
    let servers: Vec<serde_json::Value> = spec
        .servers
        .iter()
        .map(|server| {
            serde_json::json!({
                "address": server.address, "weight": server.weight.get(), "backup": server.backup, "drain": server.drain,
                "drain_timeout": server.drain_timeout.map(Millis),
            })
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "id": BackendId::new(),
        "name": spec.name,
        "forward_protocol": spec.protocol,
        "forward_port": spec.forward_port,
        "forward_port_algorithm": spec.algorithm,
        "sticky_prefix_v6": spec.sticky_prefix_v6,
        "quic_server_id_length": spec.quic_server_id_length,
        "quic_config_id": spec.quic_config_id,
        "slow_start": Some(spec.slow_start).filter(|time| !time.is_zero()).map(Millis),
        "sticky_sessions": spec.sticky_sessions,
        "health_check": wire::HealthCheck::from(check),
        "pool": spec.servers.iter().map(|server| server.address).collect::<Vec<_>>(),
        "servers": servers,
        "lb": null,
        "timeout_server": spec.proxied.timeout_server.map(Millis),
        "max_retries": spec.proxied.max_retries,
        "forwarding": spec.forwarding,
        "on_empty": spec.on_empty,
        "created_at": null,
        "updated_at": null,
    }))
    .unwrap()
}

/// The plan as text: action, kind, name and the fields that change.
fn planned(spec: &LbSpec, observed: &Observed, prune: bool) -> String {
    let mut text = String::new();
    for step in plan(spec, observed, prune).unwrap() {
        let _infallible = write!(text, "{:?} {} {}", step.action, step.kind, step.name);
        for change in &step.changes {
            let (from, to) = (change.from.as_deref().unwrap_or("-"), change.to.as_deref().unwrap_or("-"));
            let _infallible = write!(text, "; {}: {from} > {to}", change.field);
        }
        text.push('\n');
    }
    text
}

fn check(edit: impl FnOnce(&str) -> String, prune: bool, expected: &[&str]) {
    let observed = applied(&one(WEB));
    let text = planned(&one(&edit(WEB)), &observed, prune);
    let changes: Vec<&str> = text.lines().filter(|line| !line.starts_with("Unchanged")).collect();
    assert_eq!(changes, expected, "{text}");
}

#[test]
fn what_is_as_the_file_says_is_unchanged() {
    check(str::to_owned, true, &[]);
}

#[test]
fn a_new_load_balancer_is_made_before_its_backends_and_those_before_its_frontends() {
    let steps = plan(&one(WEB), &Observed::default(), false).unwrap();
    let order: Vec<_> = steps.iter().map(|step| (step.action, step.kind)).collect();
    assert_eq!(order, [(Action::Create, "lb"), (Action::Create, "backend"), (Action::Create, "frontend")]);
}

#[test]
fn only_fields_that_differ_are_changed() {
    check(
        |web| web.replace("weight: 3", "weight: 5"),
        false,
        &["Update backend web; server 10.0.0.5: weight 3 > weight 5"],
    );
    check(
        |web| web.replace("interval: 1s", "interval: 2s"),
        false,
        &["Update backend web; health_check.interval: 1s > 2s; health_check.timeout: 1s > 2s"],
    );
    check(
        |web| web.replace("http: { uri: /healthz }", ""),
        false,
        &["Update backend web; health_check.probe: http GET /healthz > tcp"],
    );
    check(
        |web| web.replace("name: web\nips", "name: web\ndescription: hello\nips"),
        false,
        &["Update lb web; description: - > hello"],
    );
    check(
        |web| web.replace("name: web\nips", "name: web\nanswers_echo: false\non_closed_port: drop\nips"),
        false,
        &["Update lb web; answers_echo: true > false; on_closed_port: reject > drop"],
    );
    check(
        |web| web.replace("{ address: 10.0.0.6 }", "{ address: 10.0.0.6, drain: true }"),
        false,
        &["Update backend web; server 10.0.0.6: weight 1 > weight 1, drain"],
    );
    check(
        |web| {
            web.replace("{ address: 10.0.0.6 }", "{ address: 10.0.0.6, backup: true, drain: true, drain_timeout: 10m }")
        },
        false,
        &["Update backend web; server 10.0.0.6: weight 1 > weight 1, backup, drain 10m"],
    );
    check(
        |web| web.replace("forward_port: 80", "forward_port: 80\n    algorithm: leastconn\n    slow_start: 30s"),
        false,
        &["Update backend web; algorithm: roundrobin > leastconn; slow_start: - > 30s"],
    );
    check(
        |web| web.replace("forward_port: 80", "forward_port: 80\n    sticky_sessions: table\n    sticky_prefix_v6: 64"),
        false,
        &["Update backend web; sticky_prefix_v6: 128 > 64; sticky_sessions: none > table"],
    );
    check(
        |web| {
            let udp = "protocol: udp\n    quic_server_id_length: 4\n    quic_config_id: 2";
            web.replace("forward_port: 80", &format!("forward_port: 80\n    {udp}"))
        },
        false,
        &[
            "Replace frontend http; inbound_port: 80 > -",
            "Update backend web; protocol: tcp > udp; quic_server_id_length: 0 > 4; quic_config_id: 0 > 2",
            "Create frontend http; inbound_port: - > 80; backend: - > web",
        ],
    );
}

#[test]
fn what_the_file_does_not_name_stays_and_is_reported_unless_pruned() {
    let without_server = |web: &str| web.replace(", { address: 10.0.0.6 }", "");
    check(without_server, false, &["Extra server 10.0.0.6 of backend web"]);
    check(without_server, true, &["Update backend web; server 10.0.0.6: weight 1 > -"]);
    let empty = |_: &str| "{name: web, ips: [ipv4]}".to_owned();
    check(empty, false, &["Extra frontend http; inbound_port: 80 > -", "Extra backend web"]);
    check(empty, true, &["Remove frontend http; inbound_port: 80 > -", "Remove backend web"]);
    check(
        |web| web.replace("ips: [ipv4]", "ips: [ipv6]"),
        false,
        &["Extra ip 192.0.2.10", "Create ip any IPv6 address"],
    );
    check(|web| web.replace("ips: [ipv4]\n", ""), true, &[]);
}

#[test]
fn servers_that_the_file_does_not_name_are_not_sent_unless_they_are_pruned() {
    let spec = one(&WEB.replace("{ address: 10.0.0.5, weight: 3 }, ", "{ address: 10.0.0.7 }, "));
    let named = json!({"servers": [
        {"address": "10.0.0.6", "weight": 1, "backup": false, "drain": false},
        {"address": "10.0.0.7", "weight": 1, "backup": false, "drain": false},
    ]});
    for prune in [false, true] {
        let steps = plan(&spec, &applied(&one(WEB)), prune).unwrap();
        let calls: Vec<&Call> = steps.iter().flat_map(|step| &step.calls).collect();
        let [call] = calls.as_slice() else { panic!("{calls:?}") };
        let (is_whole, body) = match call {
            Call::UpdateBackend(_, "/servers", body) => (true, body),
            Call::AddServers(_, body) => (false, body),
            other => panic!("{other:?}"),
        };
        assert_eq!((is_whole, Value::Object(body.clone())), (prune, named.clone()));
    }
}

#[test]
fn a_renamed_frontend_is_renamed_and_not_made_anew() {
    check(|web| web.replace("name: http", "name: www"), true, &["Update frontend www; name: http > www"]);
}

#[test]
fn a_frontend_and_a_backend_that_change_their_port_together_are_parted_first() {
    check(
        |web| web.replace("80,", "81,").replace("forward_port: 80", "forward_port: 81"),
        false,
        &[
            "Replace frontend http; inbound_port: 80 > -",
            "Update backend web; forward_port: 80 > 81; health_check.port: 80 > 81",
            "Create frontend http; inbound_port: - > 81; backend: - > web",
        ],
    );
    check(
        |web| web.replace("forward_port: 80", "forward_port: 80\n    protocol: udp"),
        false,
        &[
            "Replace frontend http; inbound_port: 80 > -",
            "Update backend web; protocol: tcp > udp",
            "Create frontend http; inbound_port: - > 80; backend: - > web",
        ],
    );
}

#[test]
fn an_address_is_taken_when_free_and_refused_when_it_is_not() {
    let spec = one("{name: web, ips: [192.0.2.7]}");
    let with = |ip: wire::Ip| Observed { ips: vec![ip], ..Observed::default() };
    let free = ip("192.0.2.7", None);
    let id = free.id.to_string();
    let steps = plan(&spec, &with(free), false).unwrap();
    assert!(
        matches!(&steps[0].calls[0], Call::CreateLb(body) if body["ip_ids"][0] == id && body["assign_flexible_ip"] == false)
    );
    assert!(planned(&spec, &Observed::default(), false).starts_with("Create ip 192.0.2.7\nCreate lb web"));
    assert!(plan(&spec, &with(ip("192.0.2.7", Some(LbId::new()))), false).unwrap_err().contains("belongs to another"));
    let moved = one(&WEB.replace("ipv4", "192.0.2.7"));
    assert!(plan(&moved, &applied(&one(WEB)), false).unwrap_err().contains("--prune"));
    assert!(planned(&moved, &applied(&one(WEB)), true).contains("Remove ip 192.0.2.10\nCreate ip 192.0.2.7"));
}

#[test]
fn another_type_is_refused() {
    let spec = one(&WEB.replace("ips: [ipv4]", "ips: [ipv4]\ntype: LB-GP-L"));
    assert!(plan(&spec, &applied(&one(WEB)), true).unwrap_err().contains("is of type LB-S, the file says LB-GP-L"));
}

#[test]
fn every_mistake_in_a_file_is_named_with_its_position() {
    let cases: &[(&str, &str)] = &[
        ("nam: web", "f.yaml:1:1: unknown key `nam`; did you mean `name`?"),
        ("name: web\nports: []", "f.yaml:2:1: unknown key `ports`; here there may be: name, description"),
        ("description: x", "f.yaml:1:1: the key `name` is missing"),
        ("name: web\nname: web", "f.yaml:2:1: the key `name` stands here a second time"),
        ("name: ''", "f.yaml:1:7: a name is needed"),
        ("name: [", "f.yaml:1:7: "),
        ("- name: web", "f.yaml:1:1: "),
        ("name: web\ntype: XL", "f.yaml:2:7: `XL` is no load balancer type"),
        ("name: web\ntags: ['']", "f.yaml:2:8: a tag has"),
        ("name: web\nips: [ipv5]", "f.yaml:2:7: `ipv5` is not known here: ipv4 or ipv6"),
        ("name: web\nips: [ipv4, 192.0.2.1]", "f.yaml:2:13: a load balancer has at most one IPv4"),
        ("name: web\nips: []", "f.yaml: `ips` is empty"),
    ];
    for (text, expected) in cases {
        let error = specs(text).unwrap_err();
        assert!(error.contains(expected), "{text:?}\n  gave {error}\n  not  {expected}");
    }
    let edits: &[(&str, &str, &str)] = &[
        ("inbound_port: 80", "inbound_port: 0", "f.yaml:5:33: `0` is not a port: a number from 1 to 65535"),
        (
            "forward_port: 80",
            "forward_port: 81\n    forwarding: ipip",
            "`ipip` does not translate ports: backend `web` has forward_port 81",
        ),
        ("backend: web", "backend: wbe", "there is no backend `wbe` in this load balancer"),
        ("weight: 3", "weight: 0", "weight 0 is outside 1 to 65535; to stop new connections to a server, drain it"),
        ("weight: 3", "weight: x", "`x` is not a weight"),
        ("10.0.0.6", "10.0.0.5", "server `10.0.0.5` stands twice, first in line 9"),
        ("10.0.0.6", "10.0.0", "`10.0.0` is not an IP address"),
        ("interval: 1s", "interval: 1", "`1` is not a duration: a number with its unit"),
        ("interval: 1s", "interval: 1ms", "`1ms` is outside 50ms to 1h"),
        ("interval: 1s", "interval: 1s, timeout: 2s", "the timeout is longer than the interval, 1s"),
        ("interval: 1s", "fall: 0", "`0` is not a number of probes: 1 to 255"),
        ("interval: 1s", "rise: 256", "`256` is not a number of probes: 1 to 255"),
        ("interval: 1s", "port: 0", "`0` is not a port"),
        ("/healthz", "healthz", "`healthz` is not a path: it begins with /"),
        ("uri: /healthz", "code: 99", "`99` is not an HTTP status: 100 to 599"),
        ("uri: /healthz", "method: get", "`get` is not an HTTP method"),
        ("uri: /healthz", "host_header: a b", "`a b` is not a host"),
        ("forward_port: 80", "forward_port: 80\n    protocol: sctp", "`sctp` is not a protocol: tcp or udp"),
        (
            "forward_port: 80",
            "forward_port: 80\n    sticky_sessions: cookie",
            "`cookie` is not known here: none or table",
        ),
        (
            "forward_port: 80",
            "forward_port: 80\n    algorithm: random",
            "`random` is not known here: roundrobin or first",
        ),
        ("forward_port: 80", "forward_port: 80\n    slow_start: 2h", "longer than 1h"),
        ("forward_port: 80", "forward_port: 80\n    sticky_prefix_v6: 64", "counts with `sticky_sessions: table`"),
        (
            "forward_port: 80",
            "forward_port: 80\n    sticky_sessions: table\n    sticky_prefix_v6: 0",
            "prefix length 0 is outside 1 to 128",
        ),
        ("forward_port: 80", "forward_port: 80\n    quic_config_id: 2", "counts with `quic_server_id_length`"),
        (
            "forward_port: 80",
            "forward_port: 80\n    quic_server_id_length: 9",
            "a server id of 9 bytes is outside 1 to 8",
        ),
        (
            "forward_port: 80",
            "forward_port: 80\n    quic_server_id_length: 4\n    quic_config_id: 7",
            "configuration 7 is outside 0 to 6",
        ),
        ("weight: 3", "drain_timeout: 1m", "counts for a server with `drain: true`"),
        ("weight: 3", "drain: true, drain_timeout: 1", "`1` is not a duration"),
        ("forward_port: 80", "forward_port: 80\n    on_empty: wait", "`wait` is not known here: reject or drop"),
        ("forward_port: 80", "forward_port: 80\n    forwarding: sit", "`sit` is not known here: nat"),
        ("forward_port: 80", "forward_port: 80\n    timeout_server: 5", "`5` is not a duration"),
        ("name: http,", "name: http, timeout_client: 1ns,", "`1ns` is not a whole number of milliseconds"),
        ("inbound_port: 80", "inbound_port: 90-80", "`90-80` is not a range: its last port is above its first"),
        ("inbound_port: 80", "inbound_port: 80-x", "`x` is not a port"),
        (
            "  - { name: http, inbound_port: 80, backend: web }",
            "  - { name: http, inbound_port: 80-99, backend: web }\n  - { name: b, inbound_port: 90-100, backend: web }",
            "f.yaml:6:30: frontend `http` listens on 80-99/tcp already",
        ),
        (
            "  - { name: http, inbound_port: 80, backend: web }",
            "  - { name: http, inbound_port: 80, backend: web }\n  - { name: b, inbound_port: 80, backend: web }",
            "f.yaml:6:30: frontend `http` listens on 80/tcp already",
        ),
    ];
    for (from, to, expected) in edits {
        let error = specs(&WEB.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(expected), "{to:?}\n  gave {error}\n  not  {expected}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_reported_together() {
    let error = specs(&WEB.replace("weight: 3", "weight: 0").replace("/healthz", "x")).unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn the_example_is_a_load_balancer_with_two_addresses_and_two_services() {
    let spec = one(include_str!("../../../../examples/web.yaml"));
    assert_eq!(spec.ips.as_ref().map(Vec::len), Some(2));
    let weights: Vec<u32> = spec.backends[0].servers.iter().map(|server| server.weight.get()).collect();
    assert_eq!(weights, [3, 2, 1, 3, 2, 1], "each server by both of its addresses");
    assert_eq!(spec.backends[0].forwarding, Forwarding::Nat);
    assert!(matches!(spec.backends[0].health_check.probe, Probe::Http { .. }));
    assert_eq!(spec.backends[1].protocol, Protocol::Udp);
    assert_eq!(spec.frontends.len(), 2);
}

fn any_spec() -> impl Strategy<Value = LbSpec> {
    let server = (1_u8..6, 1_u32..4, any::<[bool; 3]>()).prop_map(|(host, weight, [backup, drain, ends])| ServerArg {
        weight: Weight::try_from(weight).unwrap(),
        backup,
        drain,
        drain_timeout: (drain && ends).then_some(std::time::Duration::from_secs(60)),
        ..ServerArg::of([10, 0, 0, host].into())
    });
    let backend = (80_u16..83, any::<bool>(), prop::collection::vec(server, 0..4), any::<bool>(), 1_u64..3);
    prop::collection::btree_map("[abc]", backend, 0..4).prop_flat_map(|backends| {
        let names: Vec<String> = backends.keys().cloned().collect();
        let front = prop::collection::btree_map(
            "[xyz]",
            prop::sample::select(if names.is_empty() { vec![String::new()] } else { names }),
            0..4,
        );
        (Just(backends), front, any::<bool>()).prop_map(|(backends, fronts, described)| {
            let backends: Vec<BackendSpec> = backends
                .into_iter()
                .map(|(name, (port, udp, mut servers, sticky, seconds))| {
                    servers.sort_by_key(|server| server.address);
                    servers.dedup_by_key(|server| server.address);
                    let port = port.try_into().unwrap();
                    BackendSpec {
                        name,
                        protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
                        forward_port: port,
                        algorithm: if sticky { Algorithm::Leastconn } else { Algorithm::Roundrobin },
                        sticky_sessions: if sticky { StickySessions::Table } else { StickySessions::None },
                        sticky_prefix_v6: if sticky { PrefixV6::try_from(64).unwrap() } else { PrefixV6::WHOLE },
                        quic_server_id_length: if udp { 4 } else { 0 },
                        quic_config_id: if udp && sticky { 2 } else { 0 },
                        slow_start: std::time::Duration::from_secs(seconds - 1),
                        forwarding: Forwarding::Ipip,
                        on_empty: EmptyPool::Reject,
                        proxied: Proxied { max_retries: Some(3), ..Proxied::default() },
                        servers,
                        health_check: HealthCheck {
                            port,
                            interval: std::time::Duration::from_secs(seconds),
                            timeout: std::time::Duration::from_secs(1),
                            fall: 3.try_into().unwrap(),
                            rise: 2.try_into().unwrap(),
                            transient_interval: None,
                            send_proxy: false,
                            probe: Probe::Tcp,
                        },
                    }
                })
                .collect();
            let mut services = Vec::new();
            let frontends = fronts
                .into_iter()
                .filter_map(|(name, backend)| {
                    let behind = backends.iter().find(|b| b.name == backend)?;
                    let service = (behind.forward_port, behind.protocol);
                    if services.contains(&service) {
                        return None;
                    }
                    services.push(service);
                    let (limits, acls) = (std::collections::BTreeMap::new(), None);
                    Some(FrontendSpec {
                        name,
                        inbound_port: Ports::one(behind.forward_port),
                        backend,
                        timeout_client: None,
                        limits,
                        acls,
                    })
                })
                .collect();
            LbSpec {
                name: "web".into(),
                description: if described { "text".into() } else { String::new() },
                tags: Vec::new(),
                kind: LbType::S,
                answers_echo: true,
                on_closed_port: crate::model::ClosedPort::Reject,
                ips: Some(vec![super::spec::IpWish::AnyIpv4]),
                subscriber: None,
                backends,
                frontends,
                dependents: None,
            }
        })
    })
}

/// A model of the API: carries out the calls of a plan and holds the guard's rules on the way.
fn carry_out(steps: &[Step], observed: &Observed, target: &LbSpec) -> Result<Observed, String> {
    let mut state = observed.clone();
    let wanted = applied(target);
    for call in steps.iter().flat_map(|step| &step.calls) {
        match call {
            Call::Delete("frontends", id) => state.frontends.retain(|frontend| frontend.id.as_uuid() != *id),
            Call::Delete(_, id) => {
                if state.frontends.iter().any(|f| f.backend.as_ref().is_some_and(|b| b.id.as_uuid() == *id)) {
                    return Err("a backend in use was deleted".into());
                }
                state.backends.retain(|backend| backend.id.as_uuid() != *id);
            }
            Call::CreateBackend(body) => {
                let new = wanted.backends.iter().find(|backend| backend.name == body["name"]).unwrap();
                state.backends.push(new.clone());
            }
            Call::UpdateBackend(id, suffix, body) => {
                let current = state.backends.iter_mut().find(|backend| backend.id.as_uuid() == *id).unwrap();
                let new = wanted.backends.iter().find(|backend| backend.name == current.name).unwrap();
                match *suffix {
                    "/servers" => {
                        current.servers = serde_json::from_value(body["servers"].clone()).unwrap();
                        // 0 is the word for none.
                        for server in &mut current.servers {
                            server.drain_timeout = server.drain_timeout.filter(|timeout| !timeout.0.is_zero());
                        }
                    }
                    "/healthcheck" => current.health_check = new.health_check.clone(),
                    _ => {
                        let (servers, check, id) = (current.servers.clone(), current.health_check.clone(), current.id);
                        *current = wire::Backend { servers, health_check: check, id, ..new.clone() };
                    }
                }
                let current = current.clone();
                for frontend in &mut state.frontends {
                    if let Some(behind) = frontend.backend.as_mut().filter(|behind| behind.id == current.id) {
                        *behind = current.clone();
                    }
                }
            }
            Call::CreateFrontend(body, backend) => {
                let mut new = wanted.frontends.iter().find(|f| f.name == body["name"]).unwrap().clone();
                new.backend = state.backends.iter().find(|b| b.name == *backend).cloned();
                state.frontends.push(new);
            }
            Call::UpdateFrontend(id, body, backend) => {
                let behind = state.backends.iter().find(|b| b.name == *backend).cloned();
                let current = state.frontends.iter_mut().find(|f| f.id.as_uuid() == *id).unwrap();
                current.name = body["name"].as_str().unwrap().to_owned();
                current.backend = behind;
            }
            Call::UpdateLb(_) => state.lb.as_mut().unwrap().description.clone_from(&target.description),
            other => return Err(format!("unexpected {other:?}")),
        }
        let mut services = Vec::new();
        for frontend in &state.frontends {
            let behind = frontend.backend.as_ref().ok_or("a frontend without a backend")?;
            if behind.forward_port != frontend.inbound_port {
                return Err(format!("frontend {} and backend {} have other ports", frontend.name, behind.name));
            }
            let service = (frontend.inbound_port, behind.forward_protocol);
            if services.contains(&service) {
                return Err(format!("{service:?} is listened on twice"));
            }
            services.push(service);
        }
    }
    Ok(state)
}

proptest! {
    #[test]
    fn a_pruned_plan_reaches_the_file_from_any_state_through_allowed_states_only(from in any_spec(), to in any_spec()) {
        let observed = applied(&from);
        let steps = plan(&to, &observed, true).map_err(TestCaseError::fail)?;
        let reached = carry_out(&steps, &observed, &to).map_err(TestCaseError::fail)?;
        let again = plan(&to, &reached, true).map_err(TestCaseError::fail)?;
        prop_assert!(again.iter().all(|step| step.action == Action::Unchanged && step.calls.is_empty()), "{again:#?}");
    }

    #[test]
    fn without_prune_nothing_is_ever_removed(from in any_spec(), to in any_spec()) {
        let observed = applied(&from);
        for step in plan(&to, &observed, false).map_err(TestCaseError::fail)? {
            let removes = step.calls.iter().any(|call| matches!(call, Call::Delete(..) | Call::Detach(_)));
            prop_assert!(!removes || step.action == Action::Replace, "{step:?}");
        }
    }
}

#[test]
fn a_range_of_ports_is_one_frontend_and_a_port_within_it_another() {
    let text = WEB.replace(
        "  - { name: http, inbound_port: 80, backend: web }",
        "  - { name: http, inbound_port: 8000-8999, backend: web }\n  - { name: one, inbound_port: 8080, backend: web }",
    );
    let spec = one(&text);
    let Ports { first, last } = spec.frontends[0].inbound_port;
    assert_eq!((first.get(), last.map(std::num::NonZeroU16::get)), (8000, Some(8999)));
    let unchanged = plan(&spec, &applied(&spec), true).unwrap();
    assert!(unchanged.iter().all(|step| step.action == Action::Unchanged), "{unchanged:#?}");
    let longer = plan(&one(&text.replace("8999", "9000")), &applied(&spec), true).unwrap();
    let replaced: Vec<_> = longer.iter().filter(|step| step.action != Action::Unchanged).collect();
    assert_eq!(replaced.len(), 2, "{longer:#?}");
    let any = one(&text.replace("8000-8999", "any"));
    assert_eq!(any.frontends[0].inbound_port.to_string(), "1-65535");
}
