//! The page of metrics: it parses, its labels are bounded, and it shows what the edge holds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lb_common::abi::Reason;
use tokio::sync::watch;

use super::{Edge, Metrics};
use crate::dataplane::{Counters, NatUsage};
use crate::health::{HealthView, ProbeCounts, ServerHealth};
use crate::model::BackendId;
use crate::plan::{ServerRef, Unresolved};
use crate::reconcile::Status;

fn metrics() -> Metrics {
    let server = ServerRef { backend: BackendId::new(), address: "10.0.0.1".parse().unwrap() };
    let health = ServerHealth {
        up: false,
        usable: true,
        since: Timestamp::UNIX_EPOCH,
        rose_at: None,
        decided_at: Instant::now(),
        last: None,
    };
    let view = HealthView { servers: [(server, health)].into(), mass_failure: None };
    let status = Status {
        applied_generation: 7,
        repaired: [("SERVICES".to_owned(), 3), ("BACKENDS".to_owned(), 1)].into(),
        unresolved: [(server.address, Unresolved::NoRoute)].into(),
        ..Status::default()
    };
    let probes =
        ProbeCounts { passed: 1, refused: 2, timed_out: 3, unreachable: 4, unexpected: 5, not_made: 6, checked: 7 };
    Metrics::new(Edge {
        snapshots: watch::channel(Arc::default()).1,
        ledger_is_failing: Arc::new(|| false),
        status: watch::channel(Arc::new(status)).1,
        tables: watch::channel(Arc::default()).1,
        directory: watch::channel(Arc::default()).1,
        health: watch::channel(Arc::new(view)).1,
        probes: watch::channel(probes).1,
        requests: Arc::default(),
        counters: Arc::new(|| Ok(Counters::default())),
        outbox: Arc::new(crate::delivery::Outbox::in_memory(Vec::new()).unwrap()),
        nat_usage: Arc::new(|| NatUsage { places: 131_072, flows: [("established", 9)].into() }),
        heal: Arc::new(crate::recovery::heal::Board::default),
        clock: || Timestamp::UNIX_EPOCH,
    })
}

/// Samples of a page: name, labels, value.
fn samples(page: &str) -> Vec<(String, String, f64)> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels are not closed: {line}"));
            (name.to_owned(), labels.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn value(page: &str, name: &str, labels: &str) -> f64 {
    let found = samples(page).into_iter().find(|(n, l, _)| n == name && l.contains(labels));
    found.unwrap_or_else(|| panic!("{name}{{{labels}}} is not on the page:\n{page}")).2
}

#[test]
fn the_page_shows_status_health_and_every_reason() {
    let page = metrics().render();
    assert!(page.ends_with("# EOF\n"));
    assert_eq!(value(&page, "snowshed_applied_generation", ""), 7.0);
    assert_eq!(value(&page, "snowshed_repairs_total", "map=\"SERVICES\""), 3.0);
    assert_eq!(value(&page, "snowshed_repairs_total", "map=\"BACKENDS\""), 1.0);
    for (outcome, count) in [
        ("passed", 1.0),
        ("refused", 2.0),
        ("timed_out", 3.0),
        ("unreachable", 4.0),
        ("unexpected", 5.0),
        ("not_made", 6.0),
    ] {
        assert_eq!(value(&page, "snowshed_probes_total", &format!("outcome=\"{outcome}\"")), count);
    }
    assert_eq!(value(&page, "snowshed_checked_servers", ""), 7.0);
    assert_eq!(value(&page, "snowshed_unresolved_next_hops", "reason=\"no_route\""), 1.0);
    assert_eq!(value(&page, "snowshed_server_up", "server=\"10.0.0.1\""), 0.0);
    assert_eq!(value(&page, "snowshed_server_usable", "server=\"10.0.0.1\""), 1.0);
    assert_eq!(value(&page, "snowshed_dataplane_readable", ""), 1.0);
    for reason in Reason::ALL {
        value(&page, "snowshed_verdicts_total", &format!("reason=\"{}\"", reason.label()));
    }
}

#[test]
fn every_name_has_the_prefix_and_stands_once_with_its_labels() {
    let page = metrics().render();
    let mut seen = BTreeSet::new();
    for (name, labels, _) in samples(&page) {
        assert!(name.starts_with("snowshed_"), "{name}");
        assert!(seen.insert((name.clone(), labels.clone())), "{name}{{{labels}}} stands twice");
    }
}

#[test]
fn what_the_reconciler_reports_is_counted() {
    let metrics = metrics();
    let observer = metrics.observer();
    observer.activated(Duration::from_millis(2), false);
    observer.activated(Duration::from_millis(2), true);
    observer.health_applied(Duration::from_millis(4));
    let page = metrics.render();
    assert_eq!(value(&page, "snowshed_reconcile_activation_seconds_count", ""), 2.0);
    assert_eq!(value(&page, "snowshed_reconcile_failures_total", ""), 1.0);
    assert_eq!(value(&page, "snowshed_health_to_dataplane_seconds_bucket", "le=\"0.005\""), 1.0);
    assert_eq!(value(&page, "snowshed_health_to_dataplane_seconds_bucket", "le=\"0.002\""), 0.0);
}
