//! Alert rules and dashboard: right by promtool, and about metrics that a running agent has.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::process::Process;
use tests::wait;

use crate::{Scene, ok, root};

/// Where Prometheus listens inside the edge's namespace.
const PROMETHEUS: &str = "127.0.0.1:9090";
const LIMIT: Duration = Duration::from_secs(60);

fn deploy(file: &str) -> String {
    root().join("deploy").join(file).to_string_lossy().into_owned()
}

#[test]
fn promtool_finds_the_rules_right_and_each_fires_when_it_should() {
    ok("promtool", &["check", "rules", &deploy("prometheus/snowshed.rules.yml")]);
    ok("promtool", &["check", "config", &deploy("prometheus/prometheus.yml")]);
    ok("promtool", &["test", "rules", &deploy("prometheus/snowshed.rules.test.yml")]);
}

#[test]
fn prometheus_scrapes_an_agent_and_every_metric_of_rules_and_dashboard_is_there() {
    let scene = Scene::running();
    let edge = &scene.network.edge;
    let directory = scene.network.directory();
    let config = directory.join("prometheus.yml");
    let text = std::fs::read_to_string(deploy("prometheus/prometheus.yml")).unwrap();
    let text = text.replace("scrape_interval: 15s", "scrape_interval: 1s");
    std::fs::write(&config, text.replace("snowshed.rules.yml", &deploy("prometheus/snowshed.rules.yml"))).unwrap();
    let mut prometheus = Command::new("prometheus");
    prometheus.arg(format!("--config.file={}", config.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", directory.join("prometheus").display()));
    prometheus.arg(format!("--web.listen-address={PROMETHEUS}"));
    let log = directory.join("prometheus.log");
    let _prometheus = Process::start(edge, "prometheus", prometheus, &log).unwrap();

    let query = |expression: &str| {
        let url = format!("http://{PROMETHEUS}/api/v1/query");
        let asked = format!("query={expression}");
        let answer = edge.exec("curl", &["-s", "--data-urlencode", &asked, &url]).ok()?;
        serde_json::from_str::<Value>(&answer).ok()
    };
    let result =
        |expression: &str| query(expression).and_then(|answer| Some(answer["data"]["result"].as_array()?.len()));
    // Two scrapes: rates have something to compare.
    wait::until("Prometheus to have scraped the agent", LIMIT, || {
        result("count_over_time(up{job=\"snowshed\"}[1m]) > 1 and up == 1") == Some(1)
    })
    .unwrap();

    let page = edge.exec("curl", &["-sf", "http://127.0.0.1:7480/metrics"]).unwrap();
    let known = names(&page);
    let expressions: Vec<String> = dashboard().into_iter().chain(rules()).collect();
    assert!(expressions.len() > 30, "{expressions:?}");
    for expression in &expressions {
        let answer = query(expression).unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        for metric in metrics_in(expression) {
            assert!(known.contains(&metric), "{expression}: a running agent has no {metric}");
        }
    }
    for shown in ["snowshed_server_up", "snowshed_service_packets_total", "snowshed_health_to_dataplane_seconds_bucket"]
    {
        wait::until(&format!("{shown} to be scraped"), LIMIT, || result(shown).is_some_and(|count| count > 0)).unwrap();
    }
}

/// Names of the series that a page of metrics has or may have.
fn names(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("# TYPE ") else { continue };
        let (name, kind) = rest.split_once(' ').unwrap();
        match kind {
            "counter" => names.insert(format!("{name}_total")),
            "histogram" => {
                ["bucket", "count", "sum"].map(|part| names.insert(format!("{name}_{part}"))).contains(&true)
            }
            _ => names.insert(name.to_owned()),
        };
    }
    assert!(names.len() > 20, "{names:?}");
    names
}

/// Names of our metrics in an expression.
fn metrics_in(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("snowshed_")).map(str::to_owned).collect()
}

/// Expressions of the dashboard's panels, with its variables filled in.
fn dashboard() -> Vec<String> {
    let text = std::fs::read_to_string(deploy("grafana/snowshed.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    let filled = expressions.map(|text| text.replace("$instance", ".*").replace("$__rate_interval", "1m"));
    let filled: Vec<String> = filled.collect();
    assert!(filled.iter().all(|expression| !expression.contains('$')), "a variable is not known: {filled:?}");
    filled
}

/// Expressions of the alerts.
fn rules() -> Vec<String> {
    let text = std::fs::read_to_string(deploy("prometheus/snowshed.rules.yml")).unwrap();
    let mut expressions: Vec<String> = Vec::new();
    let mut is_folded = false;
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("expr: ") {
            Some(">-") => {
                is_folded = true;
                expressions.push(String::new());
            }
            Some(expression) => expressions.push(expression.to_owned()),
            None if line.starts_with("for:") || line.starts_with("labels:") => is_folded = false,
            None if is_folded => expressions.last_mut().unwrap().push_str(&format!("{line} ")),
            None => {}
        }
    }
    expressions
}
