//! The command line from the first IP to the last delete, as an operator goes through it.

use serde_json::Value;
use tests::network::{Layout, Network};

use crate::scene::{Outer, Scene, VIP_V4};

#[test]
fn a_load_balancer_is_made_used_changed_and_deleted_by_verbs() {
    let scene = Scene::with_plain_servers(Layout::OneSegment, 2);
    let edge = &scene.edge;
    edge.ok(&["ip", "create", "--address", VIP_V4]).unwrap();
    edge.ok(&["lb", "create", "--name", "web", "--ip", VIP_V4]).unwrap();
    let backend = ["backend", "create", "--lb", "web", "--name", "http", "--forward-port", "80"];
    edge.ok(&backend).unwrap();
    for server in 0..2 {
        edge.ok(&["server", "add", "--lb", "web", "--backend", "http", &scene.v4(server)]).unwrap();
    }
    edge.ok(&[
        "frontend",
        "create",
        "--lb",
        "web",
        "--name",
        "http",
        "--inbound-port",
        "80",
        "--backend",
        "http",
        "--wait",
    ])
    .unwrap();
    assert_eq!(scene.ask(VIP_V4, 100).len(), 2);

    let listed = edge.json(&["lb", "list"]).unwrap();
    let lbs = listed.as_array().or_else(|| listed["lbs"].as_array()).unwrap();
    assert_eq!(lbs.iter().map(|lb| lb["name"].as_str().unwrap()).collect::<Vec<_>>(), ["web"]);

    // One server is taken out: what is left answers everything.
    edge.ok(&["server", "remove", "--lb", "web", "--backend", "http", &scene.v4(0), "--yes", "--wait"]).unwrap();
    assert_eq!(scene.ask(VIP_V4, 50).into_keys().collect::<Vec<_>>(), [scene.name(1)]);

    edge.ok(&["frontend", "delete", "--lb", "web", "http", "--yes", "--wait"]).unwrap();
    assert!(scene.get(VIP_V4).is_err(), "a deleted frontend takes no traffic");
    edge.ok(&["lb", "delete", "web", "--yes", "--wait"]).unwrap();
    assert_eq!(exit(&scene, &["lb", "get", "web"]), 8);
}

#[test]
fn explain_names_the_server_that_answers() {
    let scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    for port in 40_000..40_020_u16 {
        let client = format!("{}:{port}", Network::CLIENT_V4);
        let explained = scene.edge.json(&["explain", &client, &format!("{VIP_V4}:80")]).unwrap();
        let told = explained.to_string();
        let answered = scene
            .network
            .client
            .exec("curl", &["-sSf", "--local-port", &port.to_string(), &format!("http://{VIP_V4}/")])
            .unwrap();
        let position = (0..3).find(|server| scene.name(*server) == answered).unwrap();
        assert!(told.contains(&format!("\"{}\"", scene.v4(position))), "{client} reached {answered}, told: {told}");
    }
}

#[test]
fn apply_shows_what_it_would_do_and_does_it_once() {
    let scene = Scene::new(Layout::OneSegment, 2);
    let file = scene.network.directory().join("web.yaml");
    let file = file.to_string_lossy();
    std::fs::write(&*file, scene.manifest(Outer::V4, &[1, 1])).unwrap();
    let generation = || scene.edge.status().unwrap()["ledger_generation"].as_u64().unwrap();

    let before = generation();
    assert_eq!(exit(&scene, &["apply", "-f", &file, "--dry-run"]), 3);
    assert_eq!(generation(), before, "a dry run changed the ledger");
    scene.edge.ok(&["apply", "-f", &file, "--wait"]).unwrap();
    let applied = generation();
    assert!(applied > before);
    scene.edge.ok(&["apply", "-f", &file, "--wait"]).unwrap();
    assert_eq!(generation(), applied, "the second apply changed something");
    assert_eq!(exit(&scene, &["apply", "-f", &file, "--dry-run"]), 0);
}

#[test]
fn wrong_input_is_refused_with_its_exit_code_and_changes_nothing() {
    let scene = Scene::new(Layout::OneSegment, 1);
    let before = scene.edge.status().unwrap()["ledger_generation"].clone();
    for (arguments, code) in [
        (&["lb", "get", "nobody"][..], 8),
        (&["lb", "create", "--name", ""], 2),
        (&["lb", "create", "--name", "web", "--ip", "198.51.100.1"], 8),
        (&["ip", "create", "--address", "198.51.100.1"], 5),
        (&["status", "--token", "wrong"], 4),
        (&["no-such-verb"], 2),
    ] {
        let output = scene.edge.run(arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.trim().is_empty(), "{arguments:?} was refused without a word");
    }
    assert_eq!(scene.edge.status().unwrap()["ledger_generation"], before);
}

#[test]
fn status_tells_the_same_in_every_format() {
    let scene = Scene::new(Layout::OneSegment, 2);
    scene.balance(&[1, 2]);
    let json: Value = scene.edge.status().unwrap();
    assert_eq!(tests::edge::servers(&json).len(), 8, "two servers, two frontends, two addresses");
    let table = scene.edge.ok(&["status"]).unwrap();
    let yaml = scene.edge.ok(&["status", "-o", "yaml"]).unwrap();
    for address in [scene.v4(0), scene.v4(1), VIP_V4.to_owned()] {
        assert!(table.contains(&address), "{address} is missing in\n{table}");
        assert!(yaml.contains(&address), "{address} is missing in\n{yaml}");
    }
}

fn exit(scene: &Scene, arguments: &[&str]) -> i32 {
    scene.edge.run(arguments).unwrap().status.code().unwrap()
}
