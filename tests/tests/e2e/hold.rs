//! The hold on a real edge: services that may not leave forward on, whoever dies, until an operator lets them go.

use std::time::Duration;

use serde_json::Value;
use tests::network::Layout;

use crate::scene::{Scene, VIP_V4, VIP_V6};

/// Services that may leave within a window without a plan.
const FEW: usize = 5;

/// A load balancer with one service at an address of its own.
fn other(scene: &Scene, number: usize) -> String {
    let server = scene.v4(0);
    format!(
        "name: other-{number}\nips: [203.0.113.{}]\nfrontends:\n  - {{ name: http, inbound_port: 80, backend: http }}\n\
         backends:\n  - name: http\n    protocol: tcp\n    forward_port: 80\n    forwarding: ipip\n    servers:\n      \
         - {{ address: \"{server}\" }}\n",
        20 + number
    )
}

fn held(scene: &Scene, count: usize) {
    let is_so = |status: &Value| status["reconcile"]["held"].as_array().map(Vec::len) == Some(count);
    scene.edge.wait_for_status(&format!("{count} services to be held"), is_so).unwrap();
}

#[test]
fn a_hold_of_few_services_survives_kill_9_and_forwards_until_an_operator_lets_go() {
    let mut scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    for number in 0..FEW {
        scene.edge.apply(&other(&scene, number)).unwrap();
    }
    for number in 0..FEW {
        scene.edge.ok(&["lb", "delete", &format!("other-{number}"), "--now", "--yes", "--wait"]).unwrap();
    }
    held(&scene, 0);
    // The last one's four services are few, and too many after those five.
    scene.edge.ok(&["lb", "delete", "web", "--now", "--yes"]).unwrap();
    held(&scene, 4);
    for _ in 0..2 {
        scene.edge.kill().unwrap();
        scene.edge.start(&scene.network).unwrap();
        held(&scene, 4);
        assert_eq!(scene.ask(VIP_V4, 20).values().sum::<usize>() + scene.ask(VIP_V6, 20).values().sum::<usize>(), 40);
    }
    let release = ["hold", "release", "--count", "4", "--reason", "they are meant to go"];
    let release = scene.edge.start_as_operator(&release).unwrap().wait_with_output().unwrap();
    assert!(release.status.success(), "{release:?}");
    held(&scene, 0);
    tests::wait::until("the services to be gone", Duration::from_secs(20), || scene.get(VIP_V4).is_err()).unwrap();
    scene.edge.kill().unwrap();
    scene.edge.start(&scene.network).unwrap();
    held(&scene, 0);
}
