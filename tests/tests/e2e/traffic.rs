//! Traffic through the load balancer: both families, all encapsulations, both protocols, every way out of the edge.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tests::load::{Load, share_error};
use tests::network::Layout;
use tests::server::UDP_PORT;
use tests::udp;

use crate::scene::{Outer, Scene, VIP_V4, VIP_V6, http_target, vips};

/// Requests until every server of a small pool has surely been met.
const ENOUGH: usize = 200;

#[test]
fn http_crosses_all_four_encapsulations() {
    let scene = Scene::new(Layout::OneSegment, 3);
    for outer in [Outer::V4, Outer::V6] {
        // The same load balancer, its servers named by their other addresses.
        let file = scene.network.directory().join("web.yaml");
        std::fs::write(&file, scene.manifest(outer, &[1, 1, 1])).unwrap();
        scene.edge.ok(&["apply", "-f", &file.to_string_lossy(), "--prune", "--wait"]).unwrap();
        scene.wait_until_up(outer, 3);
        for vip in [VIP_V4, VIP_V6] {
            let answers = scene.ask(vip, ENOUGH);
            assert_eq!(answers.len(), 3, "{vip} in {outer:?}: {answers:?}");
        }
    }
}

#[test]
fn gue_crosses_all_four_pairs_of_ip_versions() {
    let scene = Scene::new(Layout::OneSegment, 2);
    for outer in [Outer::V4, Outer::V6] {
        let file = scene.network.directory().join("web.yaml");
        std::fs::write(&file, scene.manifest_with(outer, &[1, 1], "forwarding: gue")).unwrap();
        scene.edge.ok(&["apply", "-f", &file.to_string_lossy(), "--prune", "--wait"]).unwrap();
        scene.wait_until_up(outer, 2);
        for vip in [VIP_V4, VIP_V6] {
            let answers = scene.ask(vip, ENOUGH);
            assert_eq!(answers.len(), 2, "{vip} in {outer:?}: {answers:?}");
            let target = SocketAddr::new(vip.parse().unwrap(), UDP_PORT);
            let answers = udp::ask(&scene.network.client, target, ENOUGH, Duration::from_secs(1)).unwrap();
            assert_eq!((answers.lost, answers.by_server.len()), (0, 2), "{target} in {outer:?}: {answers:?}");
        }
    }
    let explained = scene.edge.ok(&["explain", "10.77.0.2:40000", &format!("{VIP_V4}:80/tcp")]).unwrap();
    assert!(explained.contains("packets up to 1548 bytes") && explained.contains("gue"), "{explained}");
}

#[test]
fn servers_behind_another_interface_are_reached_by_redirect() {
    let scene = Scene::new(Layout::TwoSegments, 2);
    scene.balance(&[1, 1]);
    let before = scene.verdict("redirected");
    for vip in [VIP_V4, VIP_V6] {
        assert_eq!(scene.ask(vip, ENOUGH).len(), 2, "{vip}");
    }
    let redirected = scene.verdict("redirected") - before;
    assert!(redirected >= 2 * ENOUGH as u64, "only {redirected} packets were redirected");
    assert_eq!(scene.verdict("transmitted"), 0, "nothing goes back through the clients' interface");
}

#[test]
fn datagrams_are_answered_over_both_families() {
    let scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    for vip in vips() {
        let target = SocketAddr::new(vip, UDP_PORT);
        let answers = udp::ask(&scene.network.client, target, 300, Duration::from_secs(1)).unwrap();
        assert_eq!(answers.lost, 0, "{target}: {answers:?}");
        assert_eq!(answers.by_server.len(), 3, "{target}: {answers:?}");
    }
}

#[test]
fn packets_reach_servers_on_the_segment_as_they_are_and_are_answered_directly() {
    let scene = Scene::new(Layout::OneSegment, 3);
    scene.edge.apply(&scene.manifest_with(Outer::V4, &[1, 1, 1], "forwarding: l2")).unwrap();
    scene.wait_until_up(Outer::V4, 3);
    for vip in [VIP_V4, VIP_V6] {
        assert_eq!(scene.ask(vip, ENOUGH).len(), 3, "{vip}");
        let target = SocketAddr::new(vip.parse().unwrap(), UDP_PORT);
        let answers = udp::ask(&scene.network.client, target, ENOUGH, Duration::from_secs(1)).unwrap();
        assert_eq!((answers.lost, answers.by_server.len()), (0, 3), "{target}: {answers:?}");
    }
    let explained = scene.edge.ok(&["explain", "10.77.0.2:40000", &format!("{VIP_V4}:80/tcp")]).unwrap();
    assert!(explained.contains("the packet as it is"), "{explained}");
}

#[test]
fn shares_are_as_the_weights_say() {
    let scene = Scene::new(Layout::OneSegment, 3);
    let weights = [1, 3, 6];
    scene.balance(&weights);
    let named: BTreeMap<String, u32> = (0..3).map(|server| scene.name(server)).zip(weights).collect();
    let load = Load { pause: Duration::ZERO, ..Load::short(http_target(VIP_V4)) }.start(&scene.network.client).unwrap();
    load.wait_for(8_000).unwrap();
    let samples = load.finish().unwrap();
    assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    // Five standard deviations of the largest share.
    let answered = samples.0.len() as f64;
    let bound = 5.0 * (0.6 * 0.4 / answered).sqrt();
    let error = share_error(&samples.by_server(), &named);
    assert!(error < bound, "share error {error:.4}, at most {bound:.4}: {:?}", samples.by_server());
}

#[test]
fn a_flow_keeps_its_server() {
    let scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    let load = Load::long_lived(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    load.wait_for(3_000).unwrap();
    let samples = load.finish().unwrap();
    assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    assert_eq!(samples.wandering(), 0);
    assert_eq!(samples.openings().0.len(), 32, "each connection is opened once");
}

#[test]
fn packets_with_one_and_with_two_vlan_tags_are_steered() {
    for vlans in [&[10][..], &[300, 10]] {
        let mut scene = Scene::new(Layout::OneSegment, 2);
        scene.network.tag_clients(vlans, &vips()).unwrap();
        scene.balance(&[1, 1]);
        for vip in [VIP_V4, VIP_V6] {
            assert_eq!(scene.ask(vip, ENOUGH).len(), 2, "{vip} in VLANs {vlans:?}");
        }
    }
}

#[test]
fn what_is_not_ours_passes_untouched() {
    let scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    // The servers themselves and the edge itself.
    let direct = SocketAddr::new(scene.network.servers[0].v4(), 80);
    let get = |target| scene.network.client.run(|| tests::http::get(target, "/", Duration::from_secs(1))).unwrap();
    assert_eq!(get(direct).unwrap(), scene.name(0));
    let edge = SocketAddr::from(([10, 77, 0, 1], 9));
    let refused = scene.network.client.run(|| tests::http::Connection::open(edge, Duration::from_secs(1))).unwrap();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "the edge's own kernel answers");
}
