//! Heal on a real edge: what somebody does to the kernel's maps and to the network is mended, or stands in the queue with its
//! reason until it is over.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::network::{Layout, Network};

use crate::scene::{Outer, Scene, VIP_V4, VIP_V6};

/// The queue, once it is as wanted.
fn queue(scene: &Scene, what: &str, is_wanted: impl Fn(&[(String, String)]) -> bool) -> Value {
    let mut last = Value::Null;
    tests::wait::until(what, Duration::from_secs(40), || {
        last = scene.edge.json(&["heal", "list"]).unwrap();
        is_wanted(&findings(&last))
    })
    .unwrap_or_else(|error| panic!("{error}: {last:#}"));
    last
}

/// Reason and subject of everything in the queue.
fn findings(list: &Value) -> Vec<(String, String)> {
    let lbs = list["load_balancers"].as_array().unwrap().iter().flat_map(|lb| lb["findings"].as_array().unwrap());
    let all = list["edge"].as_array().unwrap().iter().chain(lbs);
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    all.map(|finding| (text(finding, "fault"), text(finding, "subject"))).collect()
}

fn empty(directory: &Path, name: &str) {
    let map = crate::lifecycle::find(directory, name).unwrap_or_else(|| panic!("no {name}"));
    let map = map.to_string_lossy();
    let dump = tests::netns::run("bpftool", &["-j", "map", "dump", "pinned", &map]).unwrap();
    let entries: Value = serde_json::from_str(&dump).unwrap();
    for entry in entries.as_array().unwrap() {
        let key: Vec<String> =
            entry["key"].as_array().unwrap().iter().map(|byte| byte.as_str().unwrap().to_owned()).collect();
        let mut arguments = vec!["map", "delete", "pinned", &map, "key"];
        arguments.extend(key.iter().map(String::as_str));
        tests::netns::run("bpftool", &arguments).unwrap();
    }
}

#[test]
fn emptied_maps_are_filled_again_and_a_neighbour_that_is_gone_stands_in_the_queue_until_it_is_back() {
    let scene = Scene::new(Layout::OneSegment, 2);
    scene.balance(&[1, 1]);
    assert_eq!(scene.edge.ok(&["heal"]).unwrap().lines().count(), 1, "everything is ready");
    for map in ["SERVICES_V4", "SERVICES_V6"] {
        empty(&scene.network.pin_dir(), map);
    }
    tests::wait::until("the services to be there again", Duration::from_secs(20), || scene.get(VIP_V4).is_ok())
        .unwrap();
    let ready = scene.edge.json(&["heal", "--wait", "--timeout", "20s"]).unwrap();
    assert_eq!((&ready["summary"]["ready"], &ready["summary"]["total"]), (&1.into(), &1.into()), "{ready:#}");
    assert!(ready["summary"]["repaired"].as_u64().unwrap() >= 4, "{ready:#}");
    assert!(scene.metrics().contains("snowshed_heal_load_balancers{state=\"ready\"} 1"));

    // Both servers leave the link; nobody answers ARP for them.
    let interface = Network::INTERFACE;
    for server in &scene.network.servers {
        server.netns.ip(&format!("link set {interface} down")).unwrap();
    }
    scene.network.edge.ip(&format!("neigh flush dev {interface}")).unwrap();
    let list =
        queue(&scene, "the neighbours to be missed", |found| found.iter().any(|(fault, _)| fault == "no_neighbour"));
    assert!(list.to_string().contains("is the server or the gateway towards it up"), "{list:#}");
    let output = scene.edge.run(&["heal"]).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for server in &scene.network.servers {
        server.netns.ip(&format!("link set {interface} up")).unwrap();
    }
    queue(&scene, "the queue to be empty", <[_]>::is_empty);
    assert_eq!(scene.ask(VIP_V4, 50).values().sum::<usize>(), 50);
}

#[test]
fn another_host_that_answers_for_an_address_of_ours_is_seen_by_arp_and_by_ndp_and_named() {
    let scene = Scene::with_plain_servers(Layout::OneSegment, 1);
    // The addresses lie on the segment itself.
    for prefix in ["route add 203.0.113.0/24 dev eth0", "-6 route add 2001:db8:5::/64 dev eth0"] {
        scene.network.edge.ip(prefix).unwrap();
    }
    for family in ["ipv4", "ipv6"] {
        // What the kernel has heard of a neighbour it holds for true for up to 45 s otherwise.
        let key = |name: &str| format!("net/{family}/neigh/eth0/{name}");
        scene.network.edge.sysctl(&key("base_reachable_time_ms"), "1000").unwrap();
        scene.network.edge.sysctl(&key("delay_first_probe_time"), "1").unwrap();
    }
    scene.edge.apply(&scene.manifest(Outer::V4, &[1])).unwrap();
    let intruder = &scene.network.servers[0].netns;
    let mac = intruder.mac(Network::INTERFACE).unwrap().map(|byte| format!("{byte:02x}")).join(":");
    for (vip, length) in [(VIP_V4, 32), (VIP_V6, 128)] {
        intruder.ip(&format!("address add {vip}/{length} dev eth0 nodad")).unwrap();
    }
    let is = |found: &[(String, String)], vip: &str| found.contains(&("address_taken".to_owned(), vip.to_owned()));
    let list = queue(&scene, "both to be seen", |found| is(found, VIP_V4) && is(found, VIP_V6));
    assert!(list.to_string().contains(&mac), "{mac} in {list:#}");
    assert_eq!(list["load_balancers"][0]["state"], "needs_attention");
    for (vip, length) in [(VIP_V4, 32), (VIP_V6, 128)] {
        intruder.ip(&format!("address del {vip}/{length} dev eth0")).unwrap();
    }
    queue(&scene, "nobody else to answer", |found| !is(found, VIP_V4) && !is(found, VIP_V6));
}
