//! The sweep: connections that began before a change keep their server for as long as they speak, and when they are gone
//! the packets of their slots cost what they cost before.

use std::time::Duration;

use serde_json::Value;
use tests::load::Load;
use tests::network::Layout;

use crate::scene::{Outer, Scene, VIP_V4, VIP_V6, http_target};

/// The window in which slots that moved are tracked, and for which a silent connection is remembered.
const WINDOW: Duration = Duration::from_secs(6);

/// Entries of a flow table.
fn entries(scene: &Scene, table: &str) -> usize {
    let map = crate::lifecycle::find(&scene.network.pin_dir(), table).unwrap_or_else(|| panic!("no {table}"));
    let dump = tests::netns::run("bpftool", &["-j", "map", "dump", "pinned", &map.to_string_lossy()]).unwrap();
    serde_json::from_str::<Value>(&dump).unwrap().as_array().unwrap().len()
}

fn numbers(status: &Value) -> (u64, u64) {
    let number = |key: &str| status["reconcile"][key].as_u64().unwrap();
    (number("exceptions"), number("marked_slots"))
}

#[test]
fn connections_outlive_the_window_while_they_speak_and_neither_entry_nor_mark_is_left_when_they_are_gone() {
    let scene = Scene::with_config(Layout::OneSegment, 4, "[reconcile]\nmove_window = \"6s\"\n");
    scene.balance(&[1, 1, 1]);
    let operator = || {
        let shown = scene.edge.start_as_operator(&["status", "-o", "json"]).unwrap().wait_with_output().unwrap();
        serde_json::from_slice::<Value>(&shown.stdout).unwrap()
    };
    let until = |what: &str, wanted: &dyn Fn((u64, u64)) -> bool| {
        let mut last = (0, 0);
        tests::wait::until(what, Duration::from_secs(60), || {
            last = numbers(&operator());
            wanted(last)
        })
        .unwrap_or_else(|error| panic!("{error}: {last:?}"));
        last
    };
    assert_eq!(numbers(&operator()), (0, 0));
    let kept = [VIP_V4, VIP_V6].map(|vip| Load::long_lived(http_target(vip)).start(&scene.network.client).unwrap());
    kept.iter().for_each(|load| load.wait_for(200).unwrap());
    // Scale out, change of weights, drain: slots move three times.
    for weights in [&[1, 1, 1, 1][..], &[5, 1, 1, 9]] {
        scene.edge.apply(&scene.manifest(Outer::V4, weights)).unwrap();
        kept.iter().for_each(|load| load.wait_for(100).unwrap());
    }
    let drain = ["server", "update", "--lb", "web", "--backend", "http", &scene.v4(1), "--drain", "--wait"];
    scene.edge.ok(&drain).unwrap();
    let (exceptions, _) = until("exceptions after the window", &|(flows, slots)| flows > 0 && slots > 0);
    let table =
        String::from_utf8(scene.edge.start_as_operator(&["status"]).unwrap().wait_with_output().unwrap().stdout);
    assert!(table.unwrap().contains("connections are kept on the server that they began with"));
    assert!(scene.metrics().contains("snowshed_marked_slots"));
    // Two windows more: who speaks is not forgotten, and a slot keeps its mark for it.
    std::thread::sleep(2 * WINDOW);
    let (after, marked) = numbers(&operator());
    assert!(after > 0 && marked > 0, "{after} of {exceptions}, {marked} marks");
    kept.iter().for_each(|load| load.wait_for(200).unwrap());
    for load in kept {
        let samples = load.finish().unwrap();
        assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
        assert_eq!(samples.wandering(), 0, "a connection was answered by another server");
    }
    println!("{exceptions} exceptions on {marked} slots");
    until("no exceptions and no marks", &|numbers| numbers == (0, 0));
    assert_eq!(["FLOWS_OPENED", "FLOWS_PINNED"].map(|table| entries(&scene, table)), [0, 0]);
    assert_eq!(scene.ask(VIP_V4, 50).values().sum::<usize>(), 50);
}
