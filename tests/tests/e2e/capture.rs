//! Captures under real traffic: what tshark reads of them, and that nothing of them stays.

use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::Duration;

use serde_json::Value;
use tests::http;
use tests::load::Load;
use tests::network::{Layout, Network};
use tests::server::{HTTP_PORT, UDP_PORT};
use tests::wait;

use crate::edges::ping;
use crate::scene::{Outer, Scene, VIP_V4, VIP_V6, http_target};

const PATIENCE: Duration = Duration::from_secs(20);
/// Requests between two steps under load.
const BETWEEN: usize = 400;

/// Name of the program on the edge's interface.
fn program(scene: &Scene) -> String {
    let link = scene.network.edge.ip(&format!("-d link show dev {}", Network::INTERFACE)).unwrap();
    link.split("prog/xdp")
        .nth(1)
        .and_then(|rest| rest.split("name ").nth(1))
        .map_or_else(|| panic!("no program in {link}"), |rest| rest.split_whitespace().next().unwrap().to_owned())
}

fn wait_for_program(scene: &Scene, name: &str) {
    wait::until(&format!("{name} to run"), PATIENCE, || program(scene) == name).unwrap();
}

const NORMAL: &str = "snowshed";
const CAPTURING: &str = "snowshed_shows";

/// A capture that runs.
fn capturing(scene: &Scene, arguments: &[&str]) -> Child {
    let child = scene.edge.start_as_operator(arguments).unwrap();
    wait_for_program(scene, CAPTURING);
    child
}

fn ended(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A packet as tshark reads it.
#[derive(Debug)]
struct Packet {
    comment: String,
    verdict: String,
    id: String,
    direction: String,
    interface: String,
    source: String,
    destination: String,
}

fn read(file: &Path) -> Vec<Packet> {
    let names = ["frame.comment", "frame.verdict.ebpf_xdp", "frame.packet_id", "frame.packet_flags_direction"];
    let fields = names.into_iter().chain(["frame.interface_name", "ip.src", "ip.dst"]).flat_map(|name| ["-e", name]);
    let mut arguments = vec!["-r", file.to_str().unwrap(), "-T", "fields", "-E", "occurrence=f", "-E", "separator=|"];
    arguments.extend(fields);
    let text = tests::netns::run("tshark", &arguments).unwrap();
    let packet = |line: &str| {
        let fields: Vec<String> = line.split('|').map(str::to_owned).collect();
        let [comment, verdict, id, direction, interface, source, destination] =
            fields.try_into().unwrap_or_else(|fields| panic!("{fields:?}"));
        Packet { comment, verdict, id, direction, interface, source, destination }
    };
    text.lines().map(packet).collect()
}

fn file(scene: &Scene, name: &str) -> PathBuf {
    scene.network.directory().join(name)
}

/// The value of a key in a comment.
fn said<'a>(packet: &'a Packet, key: &str) -> &'a str {
    let key = format!("{key}=");
    packet.comment.split(' ').find_map(|word| word.strip_prefix(&key)).unwrap_or("")
}

#[test]
fn tshark_reads_each_packet_with_its_verdict_and_what_left_in_its_place() {
    let scene = Scene::new(Layout::OneSegment, 2);
    // A service that denies everybody, beside the two that deny nobody.
    let rule = "{ name: all, action: deny, subnets: [0.0.0.0/0] }";
    let frontend = format!("  - {{ name: denied, inbound_port: 81, backend: denied, acls: [{rule}] }}\nbackends:");
    let server = format!("servers: [{{ address: {} }}], health_check: {{ port: 80 }}", scene.v4(0));
    let mut manifest = scene.manifest(Outer::V4, &[1, 1]).replacen("backends:", &frontend, 1);
    manifest.push_str(&format!("  - {{ name: denied, forward_port: 81, forwarding: ipip, {server} }}\n"));
    scene.edge.apply(&manifest).unwrap();
    scene.wait_until_up(Outer::V4, 2);
    assert_eq!(program(&scene), NORMAL);
    let out = file(&scene, "all.pcapng");
    let route = scene.network.client.exec("ip", &["-4", "-o", "route", "get", VIP_V4]).unwrap();
    let [client, edge] = ["src ", "via "].map(|word| {
        route
            .split(word)
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_else(|| panic!("{route}"))
            .to_owned()
    });
    let child = capturing(&scene, &["capture", "--client", &client, "--for", "4s", "-w", out.to_str().unwrap()]);
    let body = scene.get(VIP_V4).unwrap();
    scene.get(VIP_V6).unwrap();
    let closed = scene.network.client.run(|| http::get("203.0.113.10:82".parse().unwrap(), "/", PATIENCE)).unwrap();
    assert!(closed.is_err());
    let denied =
        scene.network.client.run(|| http::get("203.0.113.10:81".parse().unwrap(), "/", Duration::from_secs(1)));
    assert!(denied.unwrap().is_err());
    for address in [VIP_V4, &edge] {
        ping(&scene, address.parse().unwrap()).unwrap();
    }
    ended(child);
    wait_for_program(&scene, NORMAL);

    let packets = read(&out);
    let of = |reason: &str| packets.iter().filter(|it| said(it, "reason") == reason).collect::<Vec<_>>();
    assert!(packets.iter().all(|it| it.interface == Network::INTERFACE), "{packets:#?}");
    let forwarded = of("transmitted");
    assert!(forwarded.len() >= 10, "a connection of five packets at least, each in and out: {packets:#?}");
    let server = scene.network.servers.iter().find(|it| it.name() == body.trim()).unwrap().v4().to_string();
    for pair in forwarded.chunks(2) {
        let [came, left] = pair else { panic!("{forwarded:#?}") };
        assert!(came.comment.starts_with("in ") && left.comment.starts_with("out "), "{pair:#?}");
        assert!(came.id == left.id && came.verdict == "3" && left.verdict == "3", "{pair:#?}");
        assert_eq!((came.direction.as_str(), left.direction.as_str()), ("0x00000001", "0x00000002"));
        assert_eq!((came.source.as_str(), came.destination.as_str()), (client.as_str(), VIP_V4));
        assert_eq!(left.destination, server, "the outer header's");
        for packet in pair {
            let named = [said(packet, "service"), said(packet, "lb"), said(packet, "server")];
            assert_eq!(named, [&format!("{VIP_V4}:{HTTP_PORT}/tcp"), "web", &server], "{packet:#?}");
        }
    }
    let [request, reply] = of("closed_rejected")[..2] else { panic!("{packets:#?}") };
    assert!(request.destination == VIP_V4 && reply.source == VIP_V4 && reply.destination == client, "{reply:#?}");
    let denied = of("acl_denied");
    assert!(!denied.is_empty() && denied.iter().all(|it| it.verdict == "1" && it.comment.starts_with("in ")));
    assert_eq!(said(denied[0], "service"), format!("{VIP_V4}:81/tcp"), "{denied:#?}");
    assert_eq!(of("echo_answered").len(), 2, "{packets:#?}");
    let [passed] = of("other_protocol")[..] else { panic!("the edge's own echo: {packets:#?}") };
    assert!(passed.verdict == "2" && passed.destination == edge && said(passed, "service").is_empty(), "{passed:#?}");
}

#[test]
fn both_ways_of_translated_flows_are_of_their_service_and_filters_leave_the_rest_out() {
    let scene = Scene::with_plain_servers(Layout::TwoSegments, 1);
    // Addresses are not translated from one IP version to the other.
    let manifest = scene.manifest_with(Outer::V4, &[1], "forwarding: nat").replace(&format!(", \"{VIP_V6}\""), "");
    scene.edge.apply(&manifest).unwrap();
    scene.wait_until_up(Outer::V4, 1);
    let out = file(&scene, "nat.pcapng");
    let service = format!("{VIP_V4}:{HTTP_PORT}");
    let path = out.to_str().unwrap();
    let child = capturing(&scene, &["capture", "--service", &service, "--protocol", "tcp", "-c", "8", "-w", path]);
    let echo = std::net::SocketAddr::new(VIP_V4.parse().unwrap(), UDP_PORT);
    tests::udp::ask(&scene.network.client, echo, 20, Duration::from_secs(1)).unwrap();
    for _ in 0..3 {
        scene.get(VIP_V4).unwrap();
    }
    ended(child);
    let packets = read(&out);
    assert_eq!(packets.len(), 16, "eight, each in and out: {packets:#?}");
    let server = format!("{}:{HTTP_PORT}", scene.v4(0));
    for packet in &packets {
        assert_eq!(
            [said(packet, "service"), said(packet, "server")],
            [&format!("{service}/tcp"), &server],
            "{packet:#?}"
        );
    }
    let there = packets.iter().filter(|it| it.comment.starts_with("in ") && it.destination == VIP_V4).count();
    let back = packets.iter().filter(|it| it.comment.starts_with("out ") && it.source == VIP_V4).count();
    assert!(there >= 2 && back >= 2 && there + back == 8, "{packets:#?}");
    // What goes to the servers leaves through the other interface.
    let left = packets.iter().find(|it| it.comment.starts_with("out ") && it.source != VIP_V4).unwrap();
    assert_eq!(left.interface, scene.network.server_side_interface(), "{left:#?}");
}

#[test]
fn a_trace_is_a_line_of_json_for_each_decision_and_a_tenant_gets_none() {
    let scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    let refused = scene.edge.run(&["trace", "--for", "1s"]).unwrap();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert_eq!(program(&scene), NORMAL);
    // The servers' answers go through this edge, too, which passes them on: those are not asked for.
    let service = format!("{VIP_V4}:{HTTP_PORT}");
    let child = capturing(
        &scene,
        &["trace", "--service", &service, "--reason", "transmitted", "-c", "4", "--for", "30s", "-o", "json"],
    );
    let second = scene.edge.start_as_operator(&["trace", "--for", "1s"]).unwrap().wait_with_output().unwrap();
    let says = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(5) && says.contains("fleet captures already"), "{second:?}");
    scene.get(VIP_V4).unwrap();
    let output = ended(child);
    let lines: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, decisions) = lines.split_last().unwrap();
    assert_eq!((&end["end"], &end["captured"], decisions.len()), (&"count".into(), &4.into(), 4), "{lines:#?}");
    for decision in decisions {
        assert_eq!((&decision["lb"], &decision["server"]), (&"web".into(), &scene.v4(0).into()), "{decision:#}");
        assert_eq!(decision["sent"]["protocol"], "ipip", "{decision:#}");
    }
}

#[test]
fn a_capture_ends_with_who_watches_and_with_the_agent_and_loses_no_request() {
    let mut scene = Scene::new(Layout::OneSegment, 2);
    scene.balance(&[1, 1]);
    let short = Load::short(http_target(VIP_V4)).start(&scene.network.client).unwrap();
    let kept = Load::long_lived(http_target(VIP_V6)).start(&scene.network.client).unwrap();
    let pause = |what: &str| {
        for load in [&short, &kept] {
            load.wait_for(BETWEEN).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    };
    pause("before");
    for round in ["first", "second"] {
        let out = file(&scene, round);
        let arguments = ["capture", "--for", "1h", "--rate", "100000", "-w", out.to_str().unwrap()];
        let mut child = capturing(&scene, &arguments);
        pause("while captured");
        // SIGKILL: nobody says good-bye.
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for_program(&scene, NORMAL);
        assert!(read(&out).len() > 100, "a file that ends in the middle is whole as far as it goes");
        pause("after it was killed");
    }

    let out = file(&scene, "orphan");
    let child = capturing(&scene, &["capture", "--for", "1h", "-w", out.to_str().unwrap()]);
    scene.edge.kill().unwrap();
    assert!(!child.wait_with_output().unwrap().status.success(), "it broke off");
    pause("without an agent");
    assert_eq!(program(&scene), CAPTURING, "nobody was there to swap it");
    scene.edge.start(&scene.network).unwrap();
    assert_eq!(program(&scene), NORMAL, "the next agent puts the normal one back before it is ready");
    pause("with the next agent");

    let out = file(&scene, "stopped");
    let child = capturing(&scene, &["capture", "--for", "1h", "-w", out.to_str().unwrap()]);
    scene.edge.stop().unwrap();
    assert_eq!(program(&scene), NORMAL, "an agent that stops puts the normal one back");
    ended(child);
    pause("after the agent stopped");
    let (short, kept) = (short.finish().unwrap(), kept.finish().unwrap());
    for samples in [&short, &kept] {
        assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    }
    assert_eq!(kept.wandering(), 0);
}
