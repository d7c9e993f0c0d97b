//! QUIC with a real client and real servers: a client that changes its address keeps its server, in every mode.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use tests::network::Layout;
use tokio::runtime::Runtime;

use crate::quic_peers::{Client, Ids, Server, Trust};
use crate::scene::{Outer, Scene, VIP_V4, VIP_V6, probe_time, vips};

const PORT: u16 = 4433;
const SERVERS: usize = 3;
const CONFIG: u8 = 2;
/// Moves of one client: one that is led by its address meets three servers in turn.
const MOVES: usize = 8;

fn manifest(scene: &Scene, forwarding: &str) -> String {
    let mut text = format!("name: web\nips: [{VIP_V4}, \"{VIP_V6}\"]\nfrontends:\n");
    writeln!(text, "  - {{ name: h3, inbound_port: {PORT}, backend: h3 }}\nbackends:").unwrap();
    let time = probe_time();
    writeln!(text, "  - name: h3\n    protocol: udp\n    forward_port: {PORT}\n    forwarding: {forwarding}").unwrap();
    writeln!(text, "    quic_server_id_length: 4\n    quic_config_id: {CONFIG}").unwrap();
    writeln!(
        text,
        "    health_check: {{ port: 80, interval: {time}, timeout: {time}, fall: 2, rise: 2 }}\n    servers:"
    )
    .unwrap();
    for server in &scene.network.servers {
        let addresses = if forwarding == "nat" { vec![server.v4(), server.v6()] } else { vec![server.v4()] };
        for address in addresses {
            writeln!(text, "      - {{ address: \"{address}\" }}").unwrap();
        }
    }
    text
}

/// The id that a server's connection ids are to begin with, as an operator reads it.
fn server_id(scene: &Scene, address: IpAddr) -> Vec<u8> {
    let listed = scene.edge.json(&["server", "list", "--lb", "web", "--backend", "h3"]).unwrap();
    let address = address.to_string();
    let server = listed.as_array().unwrap().iter().find(|server| server["address"] == *address).unwrap();
    let id = server["quic_server_id"].as_str().unwrap();
    (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()).collect()
}

/// Servers on the addresses that their packets come to, each with the id of the one that it has in the pool.
fn start(
    scene: &Scene,
    trust: &Trust,
    addresses: impl Fn(&tests::server::Server) -> Vec<(IpAddr, IpAddr)>,
) -> Vec<Server> {
    let servers = scene.network.servers.iter().flat_map(|server| {
        let started = addresses(server).into_iter().map(|(listens, stands)| {
            let ids = Ids { config: CONFIG, server: server_id(scene, stands) };
            Server::start(&server.netns, SocketAddr::new(listens, PORT), trust, ids, server.name())
        });
        started.collect::<Vec<_>>()
    });
    servers.collect()
}

/// Clients keep their servers through every move, also when theirs drains; new ones go elsewhere then.
fn assert_clients_keep_their_servers(scene: &Scene, runtime: &Runtime, trust: &Trust, mode: &str) {
    let netns = &scene.network.client;
    let before = scene.verdict("quic_routed");
    for vip in vips() {
        let to = SocketAddr::new(vip, PORT);
        let any = SocketAddr::new(if vip.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
        runtime.block_on(async {
            let mut client = Client::connect(netns, any, to, trust).await;
            let home = client.ask().await.unwrap();
            let mut ports = BTreeSet::from([client.port()]);
            for number in 0..MOVES {
                client.rebind(netns, any);
                ports.insert(client.port());
                assert_eq!(client.ask().await.as_ref(), Ok(&home), "{mode}, {vip}, move {number}");
            }
            assert!(ports.len() > MOVES / 2, "the client did not move: {ports:?}");

            drain(scene, &home, true);
            client.rebind(netns, any);
            assert_eq!(client.ask().await.as_ref(), Ok(&home), "{mode}, {vip}: its server drains");
            for _ in 0..MOVES {
                let met = Client::connect(netns, any, to, trust).await.ask().await.unwrap();
                assert_ne!(met, home, "{mode}, {vip}: a new connection to a server that drains");
            }
            drain(scene, &home, false);
        });
    }
    assert!(scene.verdict("quic_routed") > before + MOVES as u64, "{mode}");
}

/// Lets a server drain, or serve again, and waits until the maps say so.
fn drain(scene: &Scene, name: &str, drains: bool) {
    let server = scene.network.servers.iter().find(|server| server.name() == name).unwrap();
    let value = format!("--drain={drains}");
    for address in [server.v4(), server.v6()].map(|address| address.to_string()) {
        let listed = scene.edge.json(&["server", "list", "--lb", "web", "--backend", "h3"]).unwrap();
        if listed.as_array().unwrap().iter().any(|server| server["address"] == *address) {
            scene.edge.ok(&["server", "update", "--lb", "web", "--backend", "h3", &address, &value, "--wait"]).unwrap();
        }
    }
}

#[test]
fn a_quic_client_that_changes_its_address_keeps_its_server_in_tunnels_and_without() {
    let scene = Scene::new(Layout::OneSegment, SERVERS);
    let (runtime, trust) = (Runtime::new().unwrap(), Trust::new());
    let _entered = runtime.enter();
    let mut servers = Vec::new();
    for mode in ["ipip", "gue", "l2"] {
        scene.edge.apply(&manifest(&scene, mode)).unwrap();
        scene.wait_until_up(Outer::V4, SERVERS);
        if servers.is_empty() {
            servers = start(&scene, &trust, |server| vips().into_iter().map(|vip| (vip, server.v4())).collect());
        }
        assert_clients_keep_their_servers(&scene, &runtime, &trust, mode);
    }
    let client = scene.network.servers[1].v4();
    let id = server_id(&scene, client).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let cid = format!("{:02x}{id}00000000", CONFIG << 5);
    let service = format!("{VIP_V4}:{PORT}/udp");
    let explained = scene.edge.json(&["explain", "198.51.100.7:4000", &service, "--connection-id", &cid]).unwrap();
    assert_eq!(explained["opening"]["backend"]["address"], client.to_string(), "{explained:#}");
    drop(servers);
}

#[test]
fn a_quic_client_that_changes_its_address_keeps_its_server_through_translation() {
    let scene = Scene::with_plain_servers(Layout::OneSegment, SERVERS);
    let (runtime, trust) = (Runtime::new().unwrap(), Trust::new());
    let _entered = runtime.enter();
    scene.edge.apply(&manifest(&scene, "nat")).unwrap();
    scene.wait_until_up(Outer::V4, SERVERS);
    scene.wait_until_up(Outer::V6, SERVERS);
    let servers = start(&scene, &trust, |server| [server.v4(), server.v6()].map(|address| (address, address)).to_vec());
    assert_clients_keep_their_servers(&scene, &runtime, &trust, "nat");
    drop(servers);
}
