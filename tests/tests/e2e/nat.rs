//! Translated traffic: servers that know nothing of a load balancer, at another port than the clients', in both families.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tests::http;
use tests::load::Load;
use tests::network::Layout;
use tests::server::{HTTP_PORT, UDP_PORT};
use tests::udp;

use crate::scene::{Scene, VIP_V4, VIP_V6, probe_time, vips};

/// Ports of the VIPs: the servers' are others.
const HTTP: u16 = 8000;
const ECHO: u16 = 9000;
/// Requests until every server of a small pool has surely been met.
const ENOUGH: usize = 200;

/// The load balancer `web`, translating: servers by their addresses of both families.
fn balance(scene: &Scene) {
    let mut text = format!("name: web\nips: [{VIP_V4}, \"{VIP_V6}\"]\nfrontends:\n");
    for (name, port) in [("http", HTTP), ("echo", ECHO)] {
        writeln!(text, "  - {{ name: {name}, inbound_port: {port}, backend: {name} }}").unwrap();
    }
    text.push_str("backends:\n");
    for (name, protocol, port) in [("http", "tcp", HTTP_PORT), ("echo", "udp", UDP_PORT)] {
        let time = probe_time();
        writeln!(text, "  - name: {name}\n    protocol: {protocol}\n    forward_port: {port}").unwrap();
        writeln!(text, "    health_check: {{ port: 80, interval: {time}, timeout: {time}, fall: 2, rise: 2 }}")
            .unwrap();
        text.push_str("    servers:\n");
        for server in &scene.network.servers {
            for address in [server.v4(), server.v6()] {
                writeln!(text, "      - {{ address: \"{address}\" }}").unwrap();
            }
        }
    }
    scene.edge.apply(&text).unwrap();
    for server in &scene.network.servers {
        for address in [server.v4(), server.v6()] {
            scene.wait_for(&address.to_string(), true);
        }
    }
}

fn http_on(vip: IpAddr) -> SocketAddr {
    SocketAddr::new(vip, HTTP)
}

/// Every server answers on every VIP, over HTTP and in datagrams.
fn assert_all_answer(scene: &Scene) {
    let servers = scene.network.servers.len();
    for vip in vips() {
        let get = || http::get(http_on(vip), "/", Duration::from_secs(2)).unwrap();
        let met: BTreeSet<String> = scene.network.client.run(|| (0..ENOUGH).map(|_| get()).collect()).unwrap();
        assert_eq!(met.len(), servers, "{vip}: {met:?}");
        let target = SocketAddr::new(vip, ECHO);
        let answers = udp::ask(&scene.network.client, target, ENOUGH, Duration::from_secs(1)).unwrap();
        assert_eq!((answers.lost, answers.by_server.len()), (0, servers), "{target}: {answers:?}");
    }
}

#[test]
fn servers_without_any_set_up_answer_on_another_port_than_the_clients_ask_in_both_families() {
    let scene = Scene::with_plain_servers(Layout::OneSegment, 3);
    balance(&scene);
    assert_all_answer(&scene);
    // curl, which checks more of HTTP than our client, sees the same; so does the server: our address, not the client's.
    let url = format!("http://{VIP_V4}:{HTTP}/");
    let body = scene.network.client.exec("curl", &["-sSf", "--max-time", "2", &url]).unwrap();
    assert!(body.starts_with("server"), "{body}");
}

#[test]
fn translated_traffic_to_servers_behind_another_interface_bears_wrk() {
    let scene = Scene::with_plain_servers(Layout::TwoSegments, 2);
    balance(&scene);
    assert_all_answer(&scene);
    let before = scene.verdict("redirected");
    for vip in [VIP_V4.to_owned(), format!("[{VIP_V6}]")] {
        let url = format!("http://{vip}:{HTTP}/");
        let told = scene.network.client.exec("wrk", &["-t2", "-c32", "-d2s", "--timeout", "2s", &url]).unwrap();
        assert!(!told.contains("Socket errors") && !told.contains("Non-2xx"), "{told}");
        let requests = told.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse::<u64>().ok());
        assert!(requests.is_some_and(|requests| requests > 500), "{told}");
    }
    assert!(scene.verdict("redirected") > before + 2000, "both ways lead through the other interface");
}

#[test]
fn clients_in_vlans_get_their_answers_in_the_same_vlans() {
    for vlans in [&[10][..], &[300, 10]] {
        let mut scene = Scene::with_plain_servers(Layout::OneSegment, 2);
        scene.network.tag_clients(vlans, &vips()).unwrap();
        balance(&scene);
        assert_all_answer(&scene);
    }
}

#[test]
fn killing_the_agent_loses_no_translated_request_and_the_sources_stay() {
    const BETWEEN: usize = 600;
    let mut scene = Scene::with_plain_servers(Layout::OneSegment, 3);
    balance(&scene);
    let sources = |status: &Value| status["reconcile"]["nat_sources"].clone();
    let before = scene.edge.status().unwrap();
    assert_eq!(sources(&before).as_array().map(Vec::len), Some(2), "{before:#}");
    let generation = before["reconcile"]["applied_generation"].clone();
    let [v4, v6] = [VIP_V4, VIP_V6].map(|vip| http_on(vip.parse().unwrap()));
    let short = Load::short(v4).start(&scene.network.client).unwrap();
    let kept = Load::long_lived(v6).start(&scene.network.client).unwrap();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();

    scene.edge.kill().unwrap();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();

    scene.edge.start(&scene.network).unwrap();
    let applied = |status: &Value| status["reconcile"]["applied_generation"] == generation;
    let after = scene.edge.wait_for_status("the new agent to be done", applied).unwrap();
    short.wait_for(BETWEEN).unwrap();
    kept.wait_for(BETWEEN).unwrap();
    assert_eq!(sources(&after), sources(&before));
    assert_eq!(after["reconcile"]["repairs"], Value::Array(Vec::new()), "the next agent found what it wanted");

    let metrics = scene.metrics();
    let established = metrics.lines().find_map(|line| line.strip_prefix("snowshed_nat_flows{phase=\"established\"} "));
    assert!(established.is_some_and(|count| count.parse::<u64>().unwrap() >= 32), "{}", established.unwrap_or("none"));
    for samples in [short.finish().unwrap(), kept.finish().unwrap()] {
        assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
        assert_eq!(samples.wandering(), 0);
    }
}

#[test]
fn explain_names_the_server_that_a_translated_connection_has() {
    let scene = Scene::with_plain_servers(Layout::OneSegment, 3);
    balance(&scene);
    let vip = http_on(VIP_V4.parse().unwrap());
    let (mut connection, client) = scene
        .network
        .client
        .run(|| {
            let connection = http::Connection::open(vip, Duration::from_secs(2)).unwrap();
            let client = connection.local().unwrap();
            (connection, client)
        })
        .unwrap();
    let server = connection.get("/", true).unwrap();
    let explanation = scene.edge.json(&["explain", &client.to_string(), &format!("{vip}/tcp")]).unwrap();
    assert_eq!(explanation["nat"]["phase"], "established", "{explanation:#}");
    let address = explanation["opening"]["backend"]["address"].as_str().unwrap().to_owned();
    let named = scene.network.servers.iter().find(|server| server.v4().to_string() == address).unwrap();
    assert_eq!(named.name(), server);
    let source = explanation["nat"]["source"].as_str().unwrap();
    assert!(source.starts_with("10.77.0.200:"), "{source}");
}

#[test]
fn detach_takes_the_source_addresses_off_the_interfaces() {
    let mut scene = Scene::with_plain_servers(Layout::OneSegment, 1);
    let addresses = |scene: &Scene| scene.network.edge.ip("address show dev eth0").unwrap();
    let stands =
        |scene: &Scene| addresses(scene).contains("10.77.0.200/32") && addresses(scene).contains("fd77::200/128");
    balance(&scene);
    assert!(stands(&scene), "{}", addresses(&scene));
    scene.edge.stop().unwrap();
    assert!(stands(&scene), "stopping leaves forwarding, and what it needs");
    let pin_dir = scene.network.pin_dir();
    let detach = ["detach", "--pin-dir", &pin_dir.to_string_lossy(), "--yes"];
    scene.network.edge.run(|| scene.edge.ok(&detach)).unwrap().unwrap();
    let left = addresses(&scene);
    assert!(!left.contains("10.77.0.200") && !left.contains("fd77::200"), "{left}");
    assert!(left.contains("10.77.0.1/24"), "the machine's own stay: {left}");
}
