//! The agent dies, stops, starts and is detached; the data plane is altered behind its back.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lb_common::abi::ABI_VERSION;
use serde_json::Value;
use tests::http;
use tests::load::Load;
use tests::network::{Layout, Network};

use crate::scene::{Scene, VIP_V4, VIP_V6, http_target};

/// Requests between two steps under load.
const BETWEEN: usize = 600;

#[test]
fn killing_the_agent_loses_nothing_and_the_next_one_adopts_the_program() {
    let mut scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    let program = attached_program(&scene);
    let generation = scene.edge.status().unwrap()["reconcile"]["applied_generation"].clone();
    let short = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    let kept = Load::long_lived(http_target(VIP_V6)).start(&scene.network.client).unwrap();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();

    scene.edge.kill().unwrap();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    assert_eq!(attached_program(&scene), program, "the program left with the agent");

    scene.edge.start(&scene.network).unwrap();
    scene
        .edge
        .wait_for_status("the new agent to be done", |status| status["reconcile"]["applied_generation"] == generation)
        .unwrap();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    assert_eq!(attached_program(&scene), program, "the program was replaced, not adopted");
    let (short, kept) = (short.finish().unwrap(), kept.finish().unwrap());

    for samples in [&short, &kept] {
        assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    }
    assert_eq!(kept.wandering(), 0);
}

/// How an agent goes, and what the next one finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    /// It is killed, and the same version comes.
    Kill,
    /// It is stopped, and its program was made from another object of the same ABI.
    Object,
    /// It is stopped, and was of this version of the ABI.
    Abi(u32),
}

#[test]
fn thirty_seconds_of_load_over_five_upgrades_and_three_kills_lose_no_request() {
    use Handover::{Abi, Kill, Object};
    let mut scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    let began = Instant::now();
    let short = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    let kept = Load::long_lived(http_target(VIP_V6)).start(&scene.network.client).unwrap();
    short.wait_for(BETWEEN).unwrap();
    // An upgrade of the ABI, and a way back from a newer one.
    for handover in [Kill, Object, Abi(ABI_VERSION - 1), Kill, Object, Abi(ABI_VERSION + 1), Kill, Object] {
        let before = attached_program(&scene);
        let ended = if handover == Kill { scene.edge.kill() } else { scene.edge.stop() };
        ended.unwrap();
        let own = version_directory(&scene, ABI_VERSION);
        let found = match handover {
            Kill => own.clone(),
            Object => {
                let digest = own.join("digest");
                std::fs::remove_file(&digest).unwrap();
                std::os::unix::fs::symlink("another", digest).unwrap();
                own.clone()
            }
            Abi(version) => {
                std::fs::rename(&own, version_directory(&scene, version)).unwrap();
                version_directory(&scene, version)
            }
        };
        short.wait_for(BETWEEN).unwrap();
        scene.edge.start(&scene.network).unwrap();
        let swapped = || handover == Kill || attached_program(&scene) != before;
        tests::wait::until(&format!("the swap after {handover:?}"), Duration::from_secs(20), swapped).unwrap();
        let gone = || found == own || !found.exists();
        tests::wait::until("the other version's pins to be removed", Duration::from_secs(20), gone).unwrap();
        assert_eq!(attached_program(&scene) == before, handover == Kill, "{handover:?}");
        short.wait_for(BETWEEN).unwrap();
        kept.wait_for(BETWEEN).unwrap();
    }
    while began.elapsed() < Duration::from_secs(30) {
        short.wait_for(BETWEEN).unwrap();
    }
    let (short, kept) = (short.finish().unwrap(), kept.finish().unwrap());
    for samples in [&short, &kept] {
        assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    }
    assert_eq!(kept.wandering(), 0);
}

fn version_directory(scene: &Scene, version: u32) -> PathBuf {
    scene.network.pin_dir().join(format!("v{version}"))
}

#[test]
fn a_stopped_agent_leaves_forwarding_running() {
    let mut scene = Scene::new(Layout::OneSegment, 2);
    scene.balance(&[1, 1]);
    let short = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    short.wait_for(BETWEEN).unwrap();
    scene.edge.stop().unwrap();
    short.wait_for(BETWEEN).unwrap();
    let samples = short.finish().unwrap();
    assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
}

#[test]
fn an_agent_forwards_on_a_machine_that_has_no_certificates() {
    let mut scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    scene.edge.stop().unwrap();
    // The same binary, in a mount namespace whose stores are empty.
    let bare = scene.network.directory().join("bare");
    let stores = "for store in /etc/ssl /usr/lib/ssl; do [ ! -d $store ] || mount -t tmpfs none $store || exit 1; done";
    let inner = format!("{stores}; exec {} \"$@\"", scene.edge.snowshed().display());
    std::fs::write(&bare, format!("#!/bin/sh\nexec unshare -m sh -c '{inner}' sh \"$@\"\n")).unwrap();
    std::fs::set_permissions(&bare, std::fs::Permissions::from_mode(0o700)).unwrap();
    scene.edge.replace_binary(&bare);
    scene.edge.start(&scene.network).unwrap();
    let log = std::fs::read_to_string(scene.edge.log()).unwrap();
    assert!(log.contains("on Debian install ca-certificates"), "{log}");
    let load = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    load.wait_for(20).unwrap();
    let samples = load.finish().unwrap();
    assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
}

#[test]
fn only_detach_takes_the_program_off() {
    let mut scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    assert_eq!(scene.get(VIP_V4).unwrap(), scene.name(0));
    scene.edge.stop().unwrap();
    assert_eq!(scene.get(VIP_V4).unwrap(), scene.name(0));

    let pin_dir = scene.network.pin_dir();
    let detach = ["detach", "--pin-dir", &pin_dir.to_string_lossy()];
    let marked = |scene: &Scene| {
        let rules = ["-4", "-6"].map(|family| scene.network.edge.exec("ip", &[family, "rule"]).unwrap());
        rules.map(|rules| rules.contains("fwmark 0x5350"))
    };
    assert_eq!(marked(&scene), [true; 2], "the rules of the probes outlive the agent");
    let asked = scene.network.edge.run(|| scene.edge.run(&detach)).unwrap().unwrap();
    assert_eq!(asked.status.code(), Some(2), "without a terminal it asks for --yes");
    assert_eq!(scene.get(VIP_V4).unwrap(), scene.name(0));
    scene.network.edge.run(|| scene.edge.ok(&[&detach[..], &["--yes"]].concat())).unwrap().unwrap();
    assert_eq!(attached_program(&scene), None);
    assert_eq!(marked(&scene), [false; 2], "and are taken off with the program");
    let target = http_target(VIP_V4);
    let asked = scene.network.client.run(|| http::get(target, "/", Duration::from_millis(500))).unwrap();
    assert!(asked.is_err(), "traffic went on without the program");

    scene.edge.start(&scene.network).unwrap();
    scene.wait_for(&scene.v4(0), true);
    assert_eq!(scene.get(VIP_V4).unwrap(), scene.name(0));
}

#[test]
fn what_is_deleted_from_the_maps_by_hand_is_repaired_and_reported() {
    let scene = Scene::new(Layout::OneSegment, 2);
    scene.balance(&[1, 1]);
    let repaired = |status: &Value| status["reconcile"]["repaired"]["SERVICES_V4"].as_u64().unwrap_or(0);
    let before = repaired(&scene.edge.status().unwrap());

    let pinned = scene.network.pin_dir();
    let map = find(&pinned, "SERVICES_V4").unwrap_or_else(|| panic!("no SERVICES below {}", pinned.display()));
    let map = map.to_string_lossy();
    // 203.0.113.10, port 80, TCP, as `ServiceKeyV4` lays it out.
    let key = "203 0 113 10 0 80 6 0";
    let mut arguments = vec!["map", "delete", "pinned", &map, "key"];
    arguments.extend(key.split(' '));
    tests::netns::run("bpftool", &arguments).unwrap();

    let status = scene.edge.wait_for_status("the repair", |status| repaired(status) > before).unwrap();
    let repairs = status["reconcile"]["repairs"].as_array().unwrap();
    assert!(repairs.iter().any(|repair| repair["map"] == "SERVICES_V4"), "{repairs:?}");
    assert_eq!(scene.ask(VIP_V4, 100).len(), 2);
}

/// A file somewhere below a directory.
pub fn find(directory: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?;
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.find_map(|path| if path.ends_with(name) { Some(path) } else { find(&path, name) })
}

/// Id of the XDP program on the edge's interface, as the kernel tells it.
fn attached_program(scene: &Scene) -> Option<u32> {
    let link = scene.network.edge.ip(&format!("-d link show dev {}", Network::INTERFACE)).unwrap();
    link.split("prog/xdp id ").nth(1)?.split_whitespace().next()?.parse().ok()
}
