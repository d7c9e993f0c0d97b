//! Ranges of ports: real servers on ports within one, in both families, translated and in tunnels.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tests::http;
use tests::network::Layout;
use tests::server::HTTP_PORT;
use tests::udp;

use crate::scene::{Outer, Scene, VIP_V4, VIP_V6, probe_time, vips};

/// Ports of the servers' echoes, all within the range.
const ECHOES: [u16; 3] = [20_000, 21_234, 29_999];
/// A port within the range that another frontend has for itself.
const OWN: u16 = 25_000;
/// Requests until each of two servers has surely been met.
const ENOUGH: usize = 60;

/// Ranges around what the servers listen on, and frontends for one port within them that lead to the last server alone.
fn manifest(scene: &Scene, forwarding: &str) -> String {
    let mut text = format!("name: web\nips: [{VIP_V4}, \"{VIP_V6}\"]\nfrontends:\n");
    for (name, ports, backend) in [("tcp", "70-90", "tcp"), ("media", "20000-29999", "udp"), ("one", "25000", "one")] {
        writeln!(text, "  - {{ name: {name}, inbound_port: {ports}, backend: {backend} }}").unwrap();
    }
    text.push_str("backends:\n");
    let servers = &scene.network.servers;
    for (name, protocol, port, servers) in [
        ("tcp", "tcp", HTTP_PORT, &servers[..]),
        ("udp", "udp", 20_000, &servers[..]),
        ("one", "udp", OWN, &servers[1..]),
    ] {
        let time = probe_time();
        writeln!(text, "  - name: {name}\n    protocol: {protocol}\n    forward_port: {port}").unwrap();
        writeln!(text, "    forwarding: {forwarding}").unwrap();
        writeln!(text, "    health_check: {{ port: 80, interval: {time}, timeout: {time}, fall: 2, rise: 2 }}")
            .unwrap();
        text.push_str("    servers:\n");
        for server in servers {
            let addresses = if forwarding == "nat" { vec![server.v4(), server.v6()] } else { vec![server.v4()] };
            for address in addresses {
                writeln!(text, "      - {{ address: \"{address}\" }}").unwrap();
            }
        }
    }
    text
}

fn start_echoes(scene: &mut Scene, addresses: impl Fn(&tests::server::Server) -> Vec<IpAddr>) {
    for server in &mut scene.network.servers {
        for address in addresses(server) {
            for port in ECHOES.into_iter().chain([OWN]) {
                server.start_echo_on(SocketAddr::new(address, port)).unwrap();
            }
        }
    }
}

fn assert_all_answer(scene: &Scene, forwarding: &str) {
    scene.edge.apply(&manifest(scene, forwarding)).unwrap();
    scene.wait_until_up(Outer::V4, scene.network.servers.len());
    let client = &scene.network.client;
    for vip in vips() {
        for port in ECHOES {
            let answers = udp::ask(client, SocketAddr::new(vip, port), ENOUGH, Duration::from_secs(1)).unwrap();
            assert_eq!((answers.lost, answers.by_server.len()), (0, 2), "{forwarding} {vip} {port}: {answers:?}");
        }
        let own = udp::ask(client, SocketAddr::new(vip, OWN), ENOUGH, Duration::from_secs(1)).unwrap();
        assert_eq!(own.by_server.get(&scene.name(1)), Some(&ENOUGH), "{forwarding} {vip}: {own:?}");
        let get = |port| http::get(SocketAddr::new(vip, port), "/", Duration::from_secs(2));
        let met: BTreeSet<String> = client.run(|| (0..ENOUGH).map(|_| get(HTTP_PORT).unwrap()).collect()).unwrap();
        assert_eq!(met.len(), 2, "{forwarding} {vip}: {met:?}");
        // Within the range the server itself says that nobody listens, beside it the edge does.
        let rejected = || scene.verdict("closed_rejected");
        let before = rejected();
        client.run(|| get(81).unwrap_err()).unwrap();
        assert_eq!(rejected(), before);
        client.run(|| get(91).unwrap_err()).unwrap();
        assert!(rejected() > before, "{forwarding} {vip}");
    }
    let metrics = scene.metrics();
    assert!(metrics.contains("port=\"20000-29999\""), "{metrics}");
    let explanation = scene.edge.json(&["explain", "198.51.100.7:4000", &format!("{VIP_V4}:21234/udp")]).unwrap();
    assert_eq!(explanation["opening"]["backend"]["port"], 21_234, "{explanation:#}");
}

#[test]
fn servers_behind_a_range_get_packets_on_the_port_that_was_asked_for_translated() {
    let mut scene = Scene::with_plain_servers(Layout::OneSegment, 2);
    start_echoes(&mut scene, |server| vec![server.v4(), server.v6()]);
    assert_all_answer(&scene, "nat");
}

#[test]
fn servers_behind_a_range_get_packets_on_the_port_that_was_asked_for_in_tunnels() {
    let mut scene = Scene::new(Layout::OneSegment, 2);
    start_echoes(&mut scene, |_| vips());
    assert_all_answer(&scene, "ipip");
}
