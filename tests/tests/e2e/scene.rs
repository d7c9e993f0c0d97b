//! What every test begins with: a network, servers that answer, an agent, and one test at a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tests::edge::Edge;
use tests::http;
use tests::network::{Layout, Network};
use tests::server::{HTTP_PORT, UDP_PORT};

/// Times are measured and both cores are used: two tests at once would measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The VIPs of every test's load balancer.
pub const VIP_V4: &str = "203.0.113.10";
pub const VIP_V6: &str = "2001:db8:5::10";

/// A network with servers and an agent. Fields are in the order in which they are taken down.
pub struct Scene {
    pub edge: Edge,
    pub network: Network,
    _turn: MutexGuard<'static, ()>,
}

/// The address by which servers stand in a pool; VIPs are of both families, so two choices make four encapsulations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    V4,
    V6,
}

impl Scene {
    /// Servers run nginx and a UDP echo and have their decapsulator; the agent runs; no load balancer stands yet.
    pub fn new(layout: Layout, servers: usize) -> Self {
        Self::with_config(layout, servers, "")
    }

    /// As [`Scene::new`], with more sections for agent.toml.
    pub fn with_config(layout: Layout, servers: usize, extra: &str) -> Self {
        Self::build(layout, servers, extra, true)
    }

    /// As [`Scene::new`], but nothing is done to the servers: they know no VIP and unwrap nothing. The edge has source
    /// addresses of both families for translated flows.
    pub fn with_plain_servers(layout: Layout, servers: usize) -> Self {
        let net = if layout == Layout::TwoSegments { 78 } else { 77 };
        let extra = format!("nat_v4 = [\"10.{net}.0.200\"]\nnat_v6 = [\"fd{net}::200\"]\n");
        Self::build(layout, servers, &extra, false)
    }

    fn build(layout: Layout, servers: usize, extra: &str, prepared: bool) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        tests::require_root("sudo -E env \"PATH=$PATH\" cargo xtask test --tier e2e").unwrap();
        let mut network = Network::create("e2e", layout, servers).unwrap();
        for server in &mut network.servers {
            server.start_nginx().unwrap();
            if !prepared {
                for address in [server.v4(), server.v6()] {
                    server.start_echo(address).unwrap();
                }
                continue;
            }
            for vip in vips() {
                server.add_vip(vip).unwrap();
                server.start_echo(vip).unwrap();
            }
            server.attach_decapsulator(&snowshed(), &vips()).unwrap();
        }
        let mut edge = Edge::configure(&network, &snowshed(), extra).unwrap();
        edge.start(&network).unwrap();
        Self { edge, network, _turn: turn }
    }

    /// Applies a load balancer over the first servers, one for each weight, and waits until the probes have found each
    /// of them up.
    pub fn balance(&self, weights: &[u32]) {
        self.edge.apply(&self.manifest(Outer::V4, weights)).unwrap();
        self.wait_until_up(Outer::V4, weights.len());
    }

    /// Waits until the first so many servers are known to be up.
    pub fn wait_until_up(&self, outer: Outer, servers: usize) {
        for server in &self.network.servers[..servers] {
            self.wait_for(&address(server, outer), true);
        }
    }

    /// Waits until the probes of a server have found it up or down.
    pub fn wait_for(&self, address: &str, up: bool) {
        let what = format!("the probes to find {address} {}", if up { "up" } else { "down" });
        self.edge
            .wait_for_status(&what, |status| {
                let servers = tests::edge::servers(status);
                let mut of_address = servers.into_iter().filter(|server| server["address"] == *address).peekable();
                of_address.peek().is_some()
                    && of_address.all(|server| server["usable"] == up && !server["last_probe"].is_null())
            })
            .unwrap();
    }

    /// The load balancer `web`: HTTP and UDP on both VIPs.
    pub fn manifest(&self, outer: Outer, weights: &[u32]) -> String {
        self.manifest_with(outer, weights, "")
    }

    /// As [`Scene::manifest`], with more keys for both backends.
    pub fn manifest_with(&self, outer: Outer, weights: &[u32], keys: &str) -> String {
        let mut text = format!("name: web\nips: [{VIP_V4}, \"{VIP_V6}\"]\nfrontends:\n");
        for (name, port) in [("http", HTTP_PORT), ("echo", UDP_PORT)] {
            writeln!(text, "  - {{ name: {name}, inbound_port: {port}, backend: {name} }}").unwrap();
        }
        text.push_str("backends:\n");
        for (name, protocol, port) in [("http", "tcp", HTTP_PORT), ("echo", "udp", UDP_PORT)] {
            writeln!(text, "  - name: {name}\n    protocol: {protocol}\n    forward_port: {port}").unwrap();
            let time = probe_time();
            writeln!(text, "    health_check: {{ port: 80, interval: {time}, timeout: {time}, fall: 2, rise: 2 }}")
                .unwrap();
            if !keys.contains("forwarding:") {
                writeln!(text, "    forwarding: ipip").unwrap();
            }
            if !keys.is_empty() {
                writeln!(text, "    {keys}").unwrap();
            }
            text.push_str("    servers:\n");
            for (server, weight) in self.network.servers.iter().zip(weights) {
                writeln!(text, "      - {{ address: \"{}\", weight: {weight} }}", address(server, outer)).unwrap();
            }
        }
        text
    }

    /// One request from the client to a VIP.
    pub fn get(&self, vip: &str) -> anyhow::Result<String> {
        let target = http_target(vip);
        self.network.client.run(|| http::get(target, "/", Duration::from_secs(2))).unwrap()
    }

    /// Answers by server of so many requests, each on a connection of its own; every one must be answered.
    pub fn ask(&self, vip: &str, requests: usize) -> BTreeMap<String, usize> {
        let target = http_target(vip);
        let mut answers = BTreeMap::new();
        let bodies = self.network.client.run(|| {
            let bodies = (0..requests).map(|_| http::get(target, "/", Duration::from_secs(2)).unwrap());
            bodies.collect::<Vec<_>>()
        });
        for body in bodies.unwrap() {
            *answers.entry(body).or_default() += 1;
        }
        answers
    }

    /// Every reason's counter, as the edge's metrics tell them.
    pub fn verdict(&self, reason: &str) -> u64 {
        let metrics = self.metrics();
        let label = format!("\"{reason}\"");
        let lines = metrics.lines().filter(|line| line.starts_with("snowshed_") && line.contains("verdict"));
        let value = lines.filter(|line| line.contains(&label)).find_map(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("no verdict {reason} in:\n{metrics}"))
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        let token = std::fs::read_to_string(self.edge.token_file()).unwrap();
        let header = format!("Authorization: Bearer {}", token.trim());
        self.network.edge.exec("curl", &["-sSf", "-H", &header, "http://127.0.0.1:7480/metrics"]).unwrap()
    }

    /// Name of a server by position.
    pub fn name(&self, server: usize) -> String {
        self.network.servers[server].name().to_owned()
    }

    /// IPv4 address of a server by position.
    pub fn v4(&self, server: usize) -> String {
        self.network.servers[server].v4().to_string()
    }
}

/// Interval and timeout of the probes: as short as a busy server can answer here.
pub fn probe_time() -> &'static str {
    if tests::vm::is_slow() { "1s" } else { "100ms" }
}

/// The two VIPs.
pub fn vips() -> Vec<IpAddr> {
    [VIP_V4, VIP_V6].map(|vip| vip.parse().unwrap()).to_vec()
}

/// HTTP on a VIP.
pub fn http_target(vip: &str) -> SocketAddr {
    SocketAddr::new(vip.parse().unwrap(), HTTP_PORT)
}

fn address(server: &tests::server::Server, outer: Outer) -> String {
    match outer {
        Outer::V4 => server.v4().to_string(),
        Outer::V6 => server.v6().to_string(),
    }
}

/// The binary under test: `SNOWSHED_BIN`, or the debug build.
fn snowshed() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/snowshed");
    let path = std::env::var_os("SNOWSHED_BIN").map_or(built, PathBuf::from);
    assert!(path.exists(), "{} is not built: cargo xtask test --tier e2e builds it", path.display());
    path
}
