//! The difference of one backend: its settings, its servers, its health check.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::plan::{Action, Call, FieldChange, Step, change, duration, set};
use super::spec::BackendSpec;
use crate::api::wire;
use crate::cli::backend::{server_json, server_words};
use crate::cli::lb::object;
use crate::cli::value::{ServerArg, millis};
use crate::model::{EmptyPool, HealthCheck, Proxied, StickySessions};

/// A new backend.
pub(super) fn create(wanted: &BackendSpec) -> Step {
    let mut body = settings(wanted);
    body.insert("servers".into(), json!(wanted.servers.iter().map(server_json).collect::<Vec<_>>()));
    body.insert("health_check".into(), Value::Object(check_body(&wanted.health_check)));
    let mut changes = vec![
        set("protocol", wanted.protocol.as_str()),
        set("forward_port", &wanted.forward_port.to_string()),
        set("health_check", &check_text(&wanted.health_check)),
    ];
    changes
        .extend(wanted.servers.iter().map(|server| set(&format!("server {}", server.address), &server_text(server))));
    Step::new(Action::Create, "backend", &wanted.name, changes, vec![Call::CreateBackend(body)])
}

/// Whether its port or protocol changes, so that no frontend may stand before it meanwhile.
pub(super) fn moves(wanted: &BackendSpec, current: &wire::Backend) -> bool {
    wanted.forward_port.get() != current.forward_port || wanted.protocol != current.forward_protocol
}

/// A backend that exists: the step for it, and one for each server that is not in the file and stays.
pub(super) fn update(wanted: &BackendSpec, current: &wire::Backend, prune: bool) -> Vec<Step> {
    let id = current.id.as_uuid();
    let mut changes = setting_changes(wanted, current);
    let mut calls = Vec::new();
    if !changes.is_empty() {
        calls.push(Call::UpdateBackend(id, "", settings(wanted)));
    }
    let (servers, extra) = server_changes(wanted, current, prune);
    if !servers.is_empty() {
        let named: Vec<Value> = wanted.servers.iter().map(server_json).collect();
        let body = object(json!({"servers": named}));
        // Servers that the file does not name stay as they are then, not as they were read.
        calls.push(if prune { Call::UpdateBackend(id, "/servers", body) } else { Call::AddServers(id, body) });
        changes.extend(servers);
    }
    let check = check_changes(&wanted.health_check, &current.health_check);
    if !check.is_empty() {
        calls.push(Call::UpdateBackend(id, "/healthcheck", check_body(&wanted.health_check)));
        changes.extend(check);
    }
    let mut steps = vec![Step::of_changes("backend", &wanted.name, changes, calls)];
    steps.extend(extra.iter().map(|server| {
        let name = format!("{} of backend {}", server.address, wanted.name);
        Step::new(Action::Extra, "server", &name, Vec::new(), Vec::new())
    }));
    steps
}

fn settings(wanted: &BackendSpec) -> Map<String, Value> {
    let mut body = object(json!({
        "name": wanted.name,
        "forward_protocol": wanted.protocol.as_str(),
        "forward_port": wanted.forward_port,
        "forward_port_algorithm": wanted.algorithm.as_str(),
        "sticky_sessions": sticky_word(wanted.sticky_sessions),
        "quic_server_id_length": wanted.quic_server_id_length,
        "slow_start": millis(wanted.slow_start),
        "forwarding": wanted.forwarding.as_str(),
        "on_empty": on_empty_word(wanted.on_empty),
    }));
    if wanted.sticky_sessions == StickySessions::Table {
        body.insert("sticky_prefix_v6".into(), json!(wanted.sticky_prefix_v6));
    }
    if wanted.quic_server_id_length != 0 {
        body.insert("quic_config_id".into(), json!(wanted.quic_config_id));
    }
    let times = proxied_times(&wanted.proxied).into_iter();
    body.extend(times.filter_map(|(field, time)| Some((field.to_owned(), json!(millis(time?))))));
    body.extend(wanted.proxied.max_retries.map(|count| ("max_retries".to_owned(), json!(count))));
    body
}

fn proxied_times(proxied: &Proxied) -> [(&'static str, Option<Duration>); 3] {
    [
        ("timeout_server", proxied.timeout_server),
        ("timeout_connect", proxied.timeout_connect),
        ("timeout_tunnel", proxied.timeout_tunnel),
    ]
}

/// What is said of a proxy's connections and is not so yet.
fn proxied_changes(wanted: &Proxied, current: &wire::Backend) -> Vec<FieldChange> {
    let there = [current.timeout_server, current.timeout_connect, current.timeout_tunnel];
    let times = proxied_times(wanted).into_iter().zip(there);
    let mut changes: Vec<_> = times
        .filter_map(|((field, wanted), there)| {
            change(field, &duration(there.map(|time| time.0)), &duration(Some(wanted?)))
        })
        .collect();
    let count = |count: Option<u32>| count.map(|count| count.to_string()).unwrap_or_default();
    let retries = wanted.max_retries.map(Some);
    changes.extend(retries.and_then(|wanted| change("max_retries", &count(current.max_retries), &count(wanted))));
    changes
}

fn setting_changes(wanted: &BackendSpec, current: &wire::Backend) -> Vec<FieldChange> {
    let slow_start = current.slow_start.map_or(Duration::ZERO, |time| time.0);
    let time = |time: Duration| duration(Some(time).filter(|time| !time.is_zero()));
    [
        change("protocol", current.forward_protocol.as_str(), wanted.protocol.as_str()),
        change("forward_port", &current.forward_port.to_string(), &wanted.forward_port.to_string()),
        change("algorithm", current.forward_port_algorithm.as_str(), wanted.algorithm.as_str()),
        change("slow_start", &time(slow_start), &time(wanted.slow_start)),
        change(
            "sticky_prefix_v6",
            &current.sticky_prefix_v6.bits().to_string(),
            &wanted.sticky_prefix_v6.bits().to_string(),
        ),
        change(
            "quic_server_id_length",
            &current.quic_server_id_length.to_string(),
            &wanted.quic_server_id_length.to_string(),
        ),
        change("quic_config_id", &current.quic_config_id.to_string(), &wanted.quic_config_id.to_string()),
        change("sticky_sessions", sticky_word(current.sticky_sessions), sticky_word(wanted.sticky_sessions)),
        change("forwarding", current.forwarding.as_str(), wanted.forwarding.as_str()),
        change("on_empty", on_empty_word(current.on_empty), on_empty_word(wanted.on_empty)),
    ]
    .into_iter()
    .flatten()
    .chain(proxied_changes(&wanted.proxied, current))
    .collect()
}

/// Servers that are added, changed or removed, and those that stay although the file does not name them.
fn server_changes<'c>(
    wanted: &BackendSpec,
    current: &'c wire::Backend,
    prune: bool,
) -> (Vec<FieldChange>, Vec<&'c wire::Server>) {
    let text = |server: &wire::Server| {
        server_words(server.weight, server.backup, server.drain, server.drain_timeout.map(|timeout| timeout.0))
    };
    let mut changes: Vec<FieldChange> = Vec::new();
    for server in &wanted.servers {
        let before = current.servers.iter().find(|current| current.address == server.address).map(text);
        let field = format!("server {}", server.address);
        changes.extend(change(&field, before.as_deref().unwrap_or_default(), &server_text(server)));
    }
    let mut extra: Vec<&wire::Server> =
        current.servers.iter().filter(|current| !wanted.servers.iter().any(|s| s.address == current.address)).collect();
    if prune {
        changes.extend(
            extra.drain(..).filter_map(|server| change(&format!("server {}", server.address), &text(server), "")),
        );
    }
    (changes, extra)
}

fn server_text(server: &ServerArg) -> String {
    server_words(server.weight.get(), server.backup, server.drain, server.drain_timeout)
}

fn check_body(check: &HealthCheck) -> Map<String, Value> {
    let mut body = object(serde_json::to_value(wire::HealthCheck::from(check)).unwrap_or_default());
    // What is not said is kept: the file's silence takes it away.
    body.entry("transient_check_delay").or_insert(Value::Null);
    body
}

fn check_changes(wanted: &HealthCheck, current: &wire::HealthCheck) -> Vec<FieldChange> {
    let time = |duration: Duration| self::duration(Some(duration));
    let wanted_shown = wire::HealthCheck::from(wanted);
    let transient =
        |check: &wire::HealthCheck| check.transient_check_delay.clone().unwrap_or_else(|| "none".to_owned());
    [
        change("health_check.port", &current.port.to_string(), &wanted.port.to_string()),
        change("health_check.interval", &time(current.check_delay.0), &time(wanted.interval)),
        change("health_check.timeout", &time(current.check_timeout.0), &time(wanted.timeout)),
        change("health_check.fall", &current.check_max_retries.to_string(), &wanted.fall.to_string()),
        change("health_check.rise", &current.rise.to_string(), &wanted.rise.to_string()),
        change("health_check.transient_interval", &transient(current), &transient(&wanted_shown)),
        change("health_check.send_proxy", &current.check_send_proxy.to_string(), &wanted.send_proxy.to_string()),
        change("health_check.probe", &current.probe().to_string(), &wanted.probe.to_string()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn check_text(check: &HealthCheck) -> String {
    format!(
        "{} on port {} every {} within {}",
        check.probe,
        check.port,
        duration(Some(check.interval)),
        duration(Some(check.timeout))
    )
}

const fn sticky_word(sticky: StickySessions) -> &'static str {
    match sticky {
        StickySessions::None => "none",
        StickySessions::Table => "table",
    }
}

const fn on_empty_word(policy: EmptyPool) -> &'static str {
    match policy {
        EmptyPool::Reject => "reject",
        EmptyPool::Drop => "drop",
    }
}
