//! Servers that die, return, are drained, and fail all at once.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::load::Load;
use tests::network::Layout;
use tests::server::UDP_PORT;
use tests::{http, udp};

use crate::scene::{Outer, Scene, VIP_V4, VIP_V6, http_target, vips};

/// Requests between two steps under load.
const BETWEEN: usize = 600;

#[test]
fn when_a_server_dies_its_traffic_moves_and_returns_with_it() {
    let mut scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    let victim = scene.v4(1);
    let load = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    load.wait_for(BETWEEN).unwrap();

    scene.network.servers[1].kill_nginx().unwrap();
    scene.wait_for(&victim, false);
    let moved = Instant::now();
    load.wait_for(BETWEEN).unwrap();

    scene.network.servers[1].start_nginx().unwrap();
    scene.wait_for(&victim, true);
    let back = Instant::now();
    load.wait_for(BETWEEN).unwrap();
    let samples = load.finish().unwrap();

    // Requests that began once the status said so; none of them may meet the dead server.
    let after = samples.since(moved);
    assert_eq!(after.failed().count(), 0, "{:?}", after.failures());
    assert!(samples.since(back).by_server().contains_key(&scene.name(1)), "the server got no traffic back");
}

#[test]
fn a_server_that_dies_moves_no_connection_of_the_others() {
    let mut scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    let kept = Load::long_lived(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    scene.network.servers[1].kill_nginx().unwrap();
    let killed = Instant::now();
    scene.wait_for(&scene.v4(1), false);
    kept.wait_for(BETWEEN).unwrap();
    scene.network.servers[1].start_nginx().unwrap();
    scene.wait_for(&scene.v4(1), true);
    kept.wait_for(BETWEEN).unwrap();
    let samples = kept.finish().unwrap();

    assert_eq!(samples.wandering(), 0, "a connection changed its server");
    let dead = scene.name(1);
    let mut on_dead = std::collections::BTreeSet::new();
    for sample in samples.0.iter().filter(|sample| sample.ended < killed) {
        if sample.outcome.as_deref() == Ok(dead.as_str()) {
            on_dead.insert(sample.connection);
        }
    }
    let others = samples.failed().filter(|sample| !on_dead.contains(&sample.connection) && !sample.opened);
    assert_eq!(others.count(), 0, "connections of living servers broke: {:?}", samples.failures());
}

#[test]
fn a_drained_server_keeps_its_connections_and_gets_no_new_ones() {
    let scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    let short = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    let kept = Load::long_lived(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    let update = ["server", "update", "--lb", "web", "--backend", "http", &scene.v4(2), "--wait"];
    scene.edge.ok(&[&update[..], &["--drain"]].concat()).unwrap();
    let drained = Instant::now();
    short.wait_for(2 * BETWEEN).unwrap();
    kept.wait_for(2 * BETWEEN).unwrap();
    let (short, kept) = (short.finish().unwrap(), kept.finish().unwrap());

    for samples in [&short, &kept] {
        assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    }
    assert_eq!(kept.wandering(), 0);
    let name = scene.name(2);
    assert_eq!(short.since(drained).by_server().get(&name), None, "new connections reached the drained server");
    assert!(kept.since(drained).by_server().contains_key(&name), "the drained server lost its connections");
}

#[test]
fn connections_survive_changed_weights_and_added_servers() {
    let scene = Scene::new(Layout::OneSegment, 4);
    scene.balance(&[1, 1, 1]);
    let kept = Load::long_lived(http_target(VIP_V6)).start(&scene.network.client).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    for weights in [&[1, 1, 1, 1][..], &[5, 1, 1, 9], &[1, 7, 2, 1]] {
        scene.edge.apply(&scene.manifest(Outer::V4, weights)).unwrap();
        kept.wait_for(BETWEEN).unwrap();
    }
    let samples = kept.finish().unwrap();
    assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    assert_eq!(samples.wandering(), 0);
}

#[test]
fn when_most_servers_fail_at_once_forwarding_goes_on_and_says_so() {
    let mut scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    for server in 0..3 {
        scene.network.servers[server].kill_nginx().unwrap();
    }
    let status = scene
        .edge
        .wait_for_status("the mass failure to be raised", |status| !status["mass_failure"].is_null())
        .unwrap();
    assert!(tests::edge::servers(&status).iter().any(|server| server["usable"] == true), "{status:#}");
    // The echo, which the probes do not look at, is still reached.
    let target = (vips()[0], UDP_PORT).into();
    let answers = udp::ask(&scene.network.client, target, 50, Duration::from_secs(1)).unwrap();
    assert_eq!(answers.lost, 0, "{answers:?}");

    for server in 0..3 {
        scene.network.servers[server].start_nginx().unwrap();
    }
    scene.edge.wait_for_status("the mass failure to be over", |status| status["mass_failure"].is_null()).unwrap();
    assert_eq!(scene.ask(VIP_V4, 100).values().sum::<usize>(), 100);
}

#[test]
fn when_every_server_filters_the_probes_none_is_taken_out_and_one_alarm_names_the_cause_and_the_address_to_allow() {
    let scene = Scene::new(Layout::OneSegment, 4);
    scene.balance(&[1, 1, 1, 1]);
    let events = |kind: &str| scene.edge.json(&["events", "--kind", kind]).unwrap();
    let load = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    let kept = Load::long_lived(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    load.wait_for(200).unwrap();
    // No answer to the edge's own address leaves a server any more; clients are answered as before.
    for server in &scene.network.servers {
        server.netns.ip("route add blackhole 10.77.0.1/32").unwrap();
    }
    let is_down = |server: &&&serde_json::Value| server["up"] == false;
    let status = scene
        .edge
        .wait_for_status("all to look down", |status| tests::edge::servers(status).iter().filter(is_down).count() == 16)
        .unwrap();
    let failure = &status["mass_failure"];
    assert_eq!(failure["down"], 8, "{failure}");
    assert_eq!(
        (&failure["cause"], &failure["probe_sources"]),
        (&"unanswered".into(), &json!(["10.77.0.1"])),
        "{failure}"
    );
    let servers = tests::edge::servers(&status);
    assert!(servers.iter().all(|server| server["usable"] == true && server["up"] == false), "{status:#}");
    let shares: Vec<f64> = servers.iter().map(|server| server["share"].as_f64().unwrap()).collect();
    assert!(shares.iter().all(|share| (share - 0.25).abs() < 0.01), "{shares:?}");
    kept.wait_for(BETWEEN).unwrap();
    let alarms = events("mass_failure.began");
    assert_eq!(alarms.as_array().map(Vec::len), Some(1), "{alarms:#}");
    assert!(alarms[0]["message"].as_str().unwrap().contains("10.77.0.1"), "{alarms:#}");

    for server in &scene.network.servers {
        server.netns.ip("route del blackhole 10.77.0.1/32").unwrap();
    }
    scene.edge.wait_for_status("the mass failure to be over", |status| status["mass_failure"].is_null()).unwrap();
    for samples in [load.finish().unwrap(), kept.finish().unwrap()] {
        assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    }
    for kind in ["server.down", "server.up"] {
        assert_eq!(events(kind).as_array().map(Vec::len), Some(0), "no server was taken out: {:#}", events(kind));
    }
    assert_eq!(events("mass_failure.began").as_array().map(Vec::len), Some(1));
}

#[test]
fn a_pool_without_a_usable_server_rejects_at_once_or_stays_silent() {
    // A share of 1 switches the mass failure off: the last server may go.
    let mut scene = Scene::with_config(Layout::OneSegment, 1, "[health]\nmass_failure_share = 1.0\n");
    scene.balance(&[1]);
    scene.network.servers[0].kill_nginx().unwrap();
    scene.wait_for(&scene.v4(0), false);
    for vip in vips() {
        let rejected = scene.verdict("rejected");
        let asked = scene.network.client.run(|| http::Connection::open((vip, 80).into(), Duration::from_secs(3)));
        assert_eq!(asked.unwrap().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "{vip}");
        assert!(scene.verdict("rejected") > rejected);
        let refused = udp::ask(&scene.network.client, (vip, UDP_PORT).into(), 1, Duration::from_secs(3)).unwrap();
        assert_eq!(refused.lost, 1);
    }

    scene.edge.apply(&scene.manifest_with(Outer::V4, &[1], "on_empty: drop")).unwrap();
    let dropped = scene.verdict("empty_pool");
    let target = http_target(VIP_V4);
    let asked = scene.network.client.run(|| http::Connection::open(target, Duration::from_millis(500)));
    assert_eq!(asked.unwrap().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert!(scene.verdict("empty_pool") > dropped);
}
