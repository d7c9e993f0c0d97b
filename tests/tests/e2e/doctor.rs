//! `snowshed doctor`: what it finds on an edge that works, and where a server stands apart from the others.

use serde_json::Value;
use tests::network::Layout;

use crate::scene::{Scene, VIP_V4, VIP_V6, vips};

fn findings(scene: &Scene) -> (bool, Vec<Value>) {
    let config = scene.edge.config();
    // On the edge itself, as an operator does.
    let ask = || scene.edge.run(&["doctor", "--config", &config.to_string_lossy(), "-o", "json"]).unwrap();
    let output = scene.network.edge.run(ask).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let findings: Vec<Value> =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), findings)
}

#[test]
fn a_server_that_does_not_unwrap_fails_its_probes_though_its_own_address_answers_and_is_found() {
    let scene = Scene::new(Layout::OneSegment, 2);
    scene.balance(&[1, 1]);
    let (is_well, found) = findings(&scene);
    let failures: Vec<&Value> = found.iter().filter(|it| it["level"] == "failure").collect();
    assert!(is_well && failures.is_empty(), "{failures:#?}");
    let said = |found: &[Value], level: &str, what: &str| {
        found.iter().any(|it| it["level"] == level && it["what"].as_str().unwrap().contains(what))
    };
    assert!(said(&found, "ok", "XDP is attached in native mode"), "{found:#?}");
    assert!(said(&found, "ok", "no offload stands in XDP's way"), "{found:#?}");
    let used = |map: &str| format!("{map}: 2 of 65536 (0.0 %)");
    for map in ["SERVICES_V4", "SERVICES_V6"] {
        assert!(said(&found, "ok", &used(map)), "{map}: {found:#?}");
    }
    for map in ["BACKENDS", "SLOTS", "FLOWS_PINNED", "NAT_FLOWS", "ACL", "RANGES"] {
        assert!(said(&found, "ok", &format!("{map}: ")), "{map}: {found:#?}");
    }
    for server in [0, 1] {
        for vip in [format!("{VIP_V4}:80"), format!("[{VIP_V6}]:80")] {
            let line = format!("{} for {vip}: answers through the tunnel", scene.v4(server));
            assert!(said(&found, "ok", &line), "{line}: {found:#?}");
        }
    }

    scene.network.servers[1].decapsulator(scene.edge.snowshed(), "detach", &vips()).unwrap();
    // The probes go the way traffic goes: the server is taken out, and the status says why.
    scene.wait_for(&scene.v4(1), false);
    let status = scene.edge.status().unwrap();
    for server in tests::edge::servers(&status) {
        let (address, probe) = (server["address"].as_str().unwrap(), server["last_probe"].as_str().unwrap());
        let is_other = address == scene.v4(0);
        assert_eq!(server["usable"], is_other, "{server}");
        let cause = "no answer through the tunnel, though the server's own address answers";
        assert!(is_other || (probe.contains(cause) && probe.contains("snowshed backend attach")), "{probe}");
    }
    assert!(scene.ask(VIP_V4, 20).keys().all(|name| *name == scene.name(0)), "clients see nothing of it");
    let (is_well, found) = findings(&scene);
    assert!(!is_well);
    assert!(said(&found, "failure", &format!("{} for {VIP_V4}:80: no answer", scene.v4(1))), "{found:#?}");
    assert!(said(&found, "ok", "servers are probed the way traffic goes"), "{found:#?}");
    assert!(said(&found, "ok", &format!("{} for {VIP_V4}:80: answers", scene.v4(0))), "{found:#?}");
    assert!(found.iter().filter(|it| it["level"] != "ok").all(|it| it["remedy"] != ""), "{found:#?}");

    scene.network.servers[1].decapsulator(scene.edge.snowshed(), "attach", &vips()).unwrap();
    scene.wait_for(&scene.v4(1), true);
}
