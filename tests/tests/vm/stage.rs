//! What the tests begin with: servers that unwrap with the kernel's own devices, an agent, a load balancer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::edge::Edge;
use tests::http;
use tests::netns::Netns;
use tests::network::{Layout, Network};
use tests::server::{HTTP_PORT, Server};

/// The VIPs of every test's load balancer.
pub const VIP_V4: &str = "203.0.113.10";
pub const VIP_V6: &str = "2001:db8:5::10";
/// Requests until every server of a small pool has surely been met: with two of equal weight, all but 2⁻⁵⁹ times.
pub const ENOUGH: usize = 60;

/// A network with an agent that runs. Fields are in the order in which they are taken down.
pub struct Stage {
    pub edge: Edge,
    pub network: Network,
}

impl Stage {
    /// Two servers; `prepare` alters the network before the agent starts.
    pub fn new(layout: Layout, prepare: impl FnOnce(&Network)) -> Self {
        let network = network(layout);
        prepare(&network);
        let mut edge = Edge::configure(&network, &snowshed(), "").unwrap();
        edge.start(&network).unwrap();
        Self { edge, network }
    }

    /// Applies the load balancer over these addresses of the servers and waits until all are found up.
    pub fn balance(&self, addresses: &[IpAddr]) {
        balance(&self.edge, addresses, "ipip");
    }

    /// Every request to both VIPs is answered, by both servers.
    pub fn expect_answers(&self) {
        for vip in vips() {
            let answers = ask(&self.network.client, vip, ENOUGH);
            assert_eq!(answers.len(), 2, "{vip}: {answers:?}");
        }
    }
}

/// A network with two servers that unwrap by tunnel devices.
pub fn network(layout: Layout) -> Network {
    let mut network = Network::create("vm", layout, 2).unwrap();
    for server in &mut network.servers {
        server.add_tunnel_devices().unwrap();
        server.start_nginx().unwrap();
        for vip in vips() {
            server.add_vip(vip).unwrap();
        }
    }
    network
}

/// Applies the load balancer `web` over these servers alone and waits until all are found up.
pub fn balance(edge: &Edge, addresses: &[IpAddr], forwarding: &str) {
    let mut text = format!("name: web\nips: [{VIP_V4}, \"{VIP_V6}\"]\n");
    writeln!(text, "frontends:\n  - {{ name: http, inbound_port: {HTTP_PORT}, backend: http }}").unwrap();
    writeln!(
        text,
        "backends:\n  - name: http\n    protocol: tcp\n    forwarding: {forwarding}\n    forward_port: {HTTP_PORT}"
    )
    .unwrap();
    writeln!(text, "    health_check: {{ port: 80, interval: 1s, timeout: 1s, fall: 2, rise: 1 }}").unwrap();
    text.push_str("    servers:\n");
    for address in addresses {
        writeln!(text, "      - {{ address: \"{address}\" }}").unwrap();
    }
    let file = edge.config().with_file_name("web.yaml");
    std::fs::write(&file, text).unwrap();
    edge.ok(&["apply", "-f", &file.to_string_lossy(), "--prune", "--wait"]).unwrap();
    for address in addresses {
        edge.wait_for_server(&address.to_string(), true).unwrap();
    }
}

/// Answers by server; every request, each on a connection of its own, must be answered.
pub fn ask(client: &Netns, vip: IpAddr, requests: usize) -> BTreeMap<String, usize> {
    let target = SocketAddr::new(vip, HTTP_PORT);
    let mut answers = BTreeMap::new();
    let bodies = client.run(|| {
        let bodies = (0..requests).map(|_| http::get(target, "/", Duration::from_secs(5)).unwrap());
        bodies.collect::<Vec<_>>()
    });
    for body in bodies.unwrap() {
        *answers.entry(body).or_default() += 1;
    }
    answers
}

/// The two VIPs.
pub fn vips() -> [IpAddr; 2] {
    [VIP_V4, VIP_V6].map(|vip| vip.parse().unwrap())
}

/// Addresses of one family of all servers.
pub fn addresses(servers: &[Server], v4: bool) -> Vec<IpAddr> {
    servers.iter().map(|server| if v4 { server.v4() } else { server.v6() }).collect()
}

/// Packets that a device received, as `ip -s link` tells them.
pub fn received(netns: &Netns, device: &str) -> u64 {
    let text = netns.ip(&format!("-s -o link show dev {device}")).unwrap();
    let after = text.split("RX:").nth(1).unwrap().split('\\').nth(1).unwrap();
    after.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The binary under test.
pub fn snowshed() -> PathBuf {
    let path = std::env::var_os("SNOWSHED_BIN").expect("run by `cargo xtask vm`, which sets SNOWSHED_BIN");
    Path::new(&path).to_owned()
}
