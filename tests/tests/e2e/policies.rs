//! What a pool's policies do to real connections: standby, drains that end, slow start, leastconn.

use std::time::Instant;

use serde_json::Value;
use tests::load::Load;
use tests::network::Layout;

use crate::scene::{Outer, Scene, VIP_V4, http_target};

/// Requests between two steps under load.
const BETWEEN: usize = 600;

/// The HTTP service's servers in the status.
fn server<'a>(status: &'a Value, address: &str) -> &'a Value {
    let of_http = |service: &&Value| service["port"] == 80 && service["address"] == VIP_V4;
    let service = status["services"].as_array().unwrap().iter().find(of_http).unwrap();
    service["servers"].as_array().unwrap().iter().find(|server| server["address"] == *address).unwrap()
}

fn share(status: &Value, address: &str) -> f64 {
    server(status, address)["share"].as_f64().unwrap()
}

#[test]
fn a_drain_ends_at_its_deadline_and_the_standby_takes_new_connections_at_once() {
    let scene = Scene::new(Layout::OneSegment, 2);
    scene.balance(&[1, 1]);
    let of = ["--lb", "web", "--backend", "http"];
    let (first, standby) = (scene.v4(0), scene.v4(1));
    scene.edge.ok(&[&["server", "update"], &of[..], &[&standby, "--backup", "--wait"]].concat()).unwrap();
    let short = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    let kept = Load::long_lived(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    let before = Instant::now();

    let drain = ["server", "update", of[0], of[1], of[2], of[3], &first, "--drain", "--drain-timeout", "8s", "--wait"];
    scene.edge.ok(&drain).unwrap();
    let drained = Instant::now();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    let draining = Instant::now();
    // One entry of each pool and server, and this one is gone.
    scene
        .edge
        .wait_for_status("the drained server to be taken out", |status| status["reconcile"]["backends"] == 3)
        .unwrap();
    let out = Instant::now();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    let screen = scene.edge.ok(&["status"]).unwrap();
    assert!(screen.contains("its drain is over"), "{screen}");

    let (short, kept) = (short.finish().unwrap(), kept.finish().unwrap());
    assert_eq!(short.failed().count(), 0, "{:?}", short.failures());
    let names = |samples: std::collections::BTreeMap<String, usize>| samples.into_keys().collect::<Vec<_>>();
    // Nearly all: a client's port comes again, and a tuple that was pinned to the old server is found there.
    let new = short.0.iter().filter(|sample| sample.started >= drained && sample.ended < draining);
    assert!(new.clone().count() >= BETWEEN / 2, "the test says little");
    let (count, first) = (new.clone().count(), scene.name(0));
    let old = new.filter(|sample| sample.outcome.as_deref() == Ok(first.as_str())).count();
    assert!(old <= count / 20, "the standby takes them: {old} of {count} went to the server that drains");
    assert_eq!(names(short.since(out).by_server()), [scene.name(1)]);
    let until_then = kept.0.iter().filter(|sample| sample.started > before && sample.ended < draining);
    assert!(until_then.clone().all(|sample| sample.outcome.as_deref() == Ok(scene.name(0).as_str())), "they stay");
    assert_eq!(names(kept.since(out).by_server()), [scene.name(1)], "connections ended with the drain");
}

#[test]
fn a_server_that_comes_back_rises_slowly_and_breaks_no_connection() {
    let mut scene = Scene::new(Layout::OneSegment, 2);
    scene.edge.apply(&scene.manifest_with(Outer::V4, &[1, 1], "slow_start: 8s")).unwrap();
    scene.wait_until_up(Outer::V4, 2);
    let (other, victim) = (scene.v4(0), scene.v4(1));
    // Both are new, and rise together.
    let rises = |status: &Value, address: &str| server(status, address)["slow_start_until"].is_string();
    scene.edge.wait_for_status("the first rise", |status| !rises(status, &other) && !rises(status, &victim)).unwrap();
    scene.network.servers[1].kill_nginx().unwrap();
    scene.wait_for(&victim, false);
    let kept = Load::long_lived(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    scene.network.servers[1].start_nginx().unwrap();

    let mut shares: Vec<f64> = Vec::new();
    let risen = scene.edge.wait_for_status("the share to rise to half", |status| {
        let now = share(status, &victim);
        if shares.last() != Some(&now) {
            shares.push(now);
        }
        now > 0.45
    });
    risen.unwrap();
    assert!(shares.is_sorted() && shares.len() > 4, "{shares:?}");
    kept.wait_for(BETWEEN).unwrap();
    let kept = kept.finish().unwrap();
    assert_eq!((kept.failed().count(), kept.wandering()), (0, 0), "{:?}", kept.failures());
}

#[test]
fn leastconn_gives_fewer_new_connections_to_the_server_that_has_them_all() {
    let scene = Scene::with_plain_servers(Layout::OneSegment, 2);
    let manifest = |servers: &[u32]| {
        let text = scene.manifest_with(Outer::V4, servers, "forwarding: nat\n    algorithm: leastconn");
        // Translated flows keep their IP version.
        text.replace(&format!(", \"{}\"", crate::scene::VIP_V6), "")
    };
    scene.edge.apply(&manifest(&[1])).unwrap();
    scene.wait_until_up(Outer::V4, 1);
    let kept = Load::long_lived(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    scene.edge.apply(&manifest(&[1, 1])).unwrap();
    scene.wait_until_up(Outer::V4, 2);
    let (busy, idle) = (scene.v4(0), scene.v4(1));
    let status = scene
        .edge
        .wait_for_status("the busy server's share to fall", |status| (0.01..0.4).contains(&share(status, &busy)))
        .unwrap();
    assert!(share(&status, &idle) > 0.6, "{status}");
    kept.wait_for(BETWEEN).unwrap();
    let kept = kept.finish().unwrap();
    assert_eq!((kept.failed().count(), kept.wandering()), (0, 0), "{:?}", kept.failures());
}
