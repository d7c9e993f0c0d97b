//! The ways to the servers: followed as they change, and said plainly when they are not known.

use std::time::Duration;

use tests::load::Load;
use tests::network::{Layout, Network};

use crate::scene::{Outer, Scene, VIP_V4, http_target, probe_time};

#[test]
fn a_server_with_a_new_mac_address_is_followed() {
    let scene = Scene::new(Layout::OneSegment, 2);
    scene.balance(&[1, 1]);
    assert_eq!(scene.ask(VIP_V4, 100).len(), 2);

    let server = &scene.network.servers[0];
    let old = server.netns.mac(Network::INTERFACE).unwrap();
    let new = [0x02, 0x5a, old[2], old[3], old[4], old[5].wrapping_add(1)];
    let text = new.map(|byte| format!("{byte:02x}")).join(":");
    server.netns.ip(&format!("link set {} address {text}", Network::INTERFACE)).unwrap();
    // As a replaced machine does: it announces itself by the first packet it sends.
    let edge = ([10, 77, 0, 1], 9).into();
    let _refused = server.netns.run(|| tests::http::Connection::open(edge, Duration::from_secs(2))).unwrap();

    let load = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    tests::wait::until("a hundred answers from the server with the new MAC", Duration::from_secs(20), || {
        scene.get(VIP_V4).is_ok_and(|name| name == scene.name(0))
    })
    .unwrap();
    let from = std::time::Instant::now();
    load.wait_for(500).unwrap();
    let samples = load.finish().unwrap().since(from);
    assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    assert_eq!(samples.by_server().len(), 2, "{:?}", samples.by_server());
}

#[test]
fn a_next_hop_that_is_not_known_is_counted_and_stands_in_the_status() {
    let scene = Scene::new(Layout::OneSegment, 1);
    // Nobody has this address, and the probes give it three seconds before they say so.
    let nobody = "10.77.0.99";
    let manifest = scene.manifest(Outer::V4, &[1]).replace(&scene.v4(0), nobody).replace(probe_time(), "3s");
    scene.edge.apply(&manifest).unwrap();
    let status = scene
        .edge
        .wait_for_status("the unresolved server", |status| !status["reconcile"]["unresolved"][nobody].is_null())
        .unwrap();
    assert!(tests::edge::servers(&status).iter().any(|server| !server["unresolved"].is_null()), "{status:#}");

    let before = scene.verdict("next_hop_unresolved");
    assert!(scene.get(VIP_V4).is_err());
    assert!(scene.verdict("next_hop_unresolved") > before);

    // The machine comes up: nobody has to tell the agent.
    scene.network.servers[0].netns.ip(&format!("address add {nobody}/24 dev {}", Network::INTERFACE)).unwrap();
    tests::wait::until("the server to be found", Duration::from_secs(30), || {
        scene.get(VIP_V4).is_ok_and(|name| name == scene.name(0))
    })
    .unwrap();
}
