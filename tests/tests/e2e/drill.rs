//! The avalanche drill at the incident's full size, beside an agent that serves traffic and must not notice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::load::Load;
use tests::network::Layout;
use tests::{netns, wait};

use crate::scene::{Scene, VIP_V4, http_target};

#[test]
fn the_avalanche_of_1574_load_balancers_passes_and_touches_nothing_of_this_machine() {
    let scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    let load = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    let before = Production::observe(&scene);

    let drill = Command::new(scene.edge.snowshed())
        .args(["drill", "avalanche", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = drill.id();
    wait::until_some("the drill to be in its jail", Duration::from_secs(30), || {
        Ok(namespace(pid, "net").filter(|net| Some(net) != namespace(std::process::id(), "net").as_ref()).map(drop))
    })
    .unwrap();
    wait::until_some("the drill's own file systems", Duration::from_secs(30), || {
        Ok(drill_directory(pid).exists().then_some(()))
    })
    .unwrap();
    the_jail_holds_nothing_of_production(pid, &scene);

    let output = drill.wait_with_output().unwrap();
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{figures:#}");
    assert!(output.status.success(), "{figures:#}");
    the_figures_are_those_of_a_passed_drill(&figures);

    assert!(!drill_directory(pid).exists(), "the drill left its directory");
    assert_eq!(Production::observe(&scene), before);
    let samples = load.finish().unwrap();
    assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
}

fn the_figures_are_those_of_a_passed_drill(figures: &Value) {
    let number = |key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("{key} is missing: {figures:#}"));
    for (key, value) in [
        ("lbs", 1574.0),
        ("organizations", 775.0),
        ("a_changes", 0.0),
        ("a_services_lost", 0.0),
        ("a_packets_lost", 0.0),
        ("b_tombstoned", 50.0),
        ("b_budget", 50.0),
        ("b_others_refused", 0.0),
        ("b_missing", 0.0),
        ("b_packets_lost", 0.0),
        ("c_deleted", 1574.0),
        ("c_failed", 0.0),
        ("c_documents_lost", 0.0),
        ("c_addresses_identical", 1.0),
        ("c_dependents", 762.0),
        ("c_dependents_misled", 0.0),
        ("c_dependents_misled_without_asking", 229.0),
        ("d_packets_lost", 0.0),
        ("d_operations_lost", 0.0),
    ] {
        assert!((number(key) - value).abs() < f64::EPSILON, "{key} is {}, not {value}", number(key));
    }
    let all = serde_json::json!({"database": 500, "kubernetes": 229, "iot_hub": 33});
    assert_eq!((&figures["dependents"], &figures["c_report_dependents"]), (&all, &all), "the whole register");
    assert_eq!(figures["b_report_dependents"], serde_json::json!({"database": 500}), "those of the first fifty");
    assert!(number("lbs_in_traffic") >= 50.0);
    assert!(number("c_answering_again") >= 50.0);
    assert!(number("answered") > 1000.0);
    for key in ["q_quarantine_ms", "q_release_ms"] {
        for place in ["lb", "project", "organization"] {
            let effect = figures[key][place].as_f64();
            assert!(effect.is_some(), "{key} of {place} was not seen: {figures:#}");
        }
    }
    for key in ["b_detect_ms", "b_read_only_ms", "c_undo_ms", "c_reprogram_ms", "d_detect_ms", "d_restore_ms"] {
        assert!(number(key) > 0.0, "{key} was not measured");
    }
}

/// What a drill must leave alone: ledger, pins, interfaces.
#[derive(Debug, PartialEq, Eq)]
struct Production {
    ledger: BTreeMap<PathBuf, Vec<u8>>,
    pins: Vec<String>,
    interfaces: String,
    services: Value,
    repaired: Value,
}

impl Production {
    fn observe(scene: &Scene) -> Self {
        let directory = scene.network.directory();
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let of_ledger = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("ledger.db"));
        let status = scene.edge.status().unwrap();
        Self {
            ledger: of_ledger.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect(),
            pins: pins(Path::new("/sys/fs/bpf")),
            interfaces: netns::run("ip", &["-o", "link"]).unwrap(),
            services: status["reconcile"]["services"].clone(),
            repaired: status["reconcile"]["repaired"].clone(),
        }
    }
}

fn pins(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        // Other runs on this machine come and go; ours stays.
        if path.is_dir() {
            found.extend(pins(&path));
        }
    }
    let own = format!("-{}", std::process::id());
    found.retain(|path| path.contains(&own));
    found.sort();
    found
}

/// Looks into the drill's namespaces from outside.
fn the_jail_holds_nothing_of_production(pid: u32, scene: &Scene) {
    let inside = Path::new("/proc").join(pid.to_string()).join("root");
    let own = format!("-{}", std::process::id());
    let seen = |path: &str| -> Vec<String> {
        let entries = std::fs::read_dir(inside.join(path)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    assert!(pins(Path::new("/sys/fs/bpf")).iter().any(|path| path.contains(&own)), "production has pins");
    assert!(!seen("sys/fs/bpf").iter().any(|name| name.contains(&own)), "its pins are not in the jail");
    let socket = scene.edge.socket();
    assert!(socket.exists());
    assert!(!inside.join(socket.strip_prefix("/").unwrap()).exists(), "its socket and ledger are not in the jail");
    assert_ne!(namespace(pid, "mnt"), namespace(std::process::id(), "mnt"));
}

fn namespace(pid: u32, kind: &str) -> Option<PathBuf> {
    std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns").join(kind)).ok()
}

fn drill_directory(pid: u32) -> PathBuf {
    let temporary = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    temporary.join(format!("snowshed-drill-{pid}"))
}
