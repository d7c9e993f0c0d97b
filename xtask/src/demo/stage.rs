//! Where the demo plays: the network, the servers, the agent and the load balancer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ::tests::edge::Edge;
use ::tests::network::{Layout, Network};
use anyhow::{Context, Result};

/// First letters of the playground's names.
pub const TAG: &str = "demo";

/// The load balancer, as a person writes it.
const MANIFEST: &str = include_str!("demo.yaml");
/// The VIPs and weights that stand in it.
const VIP_V4: &str = "203.0.113.10";
const VIP_V6: &str = "2001:db8:5::10";
const WEIGHTS: [u32; 3] = [3, 2, 1];

/// The stage. Fields are in the order in which they are taken down.
pub struct Stage {
    /// The agent and its command line.
    pub edge: Edge,
    /// Clients, edge and servers.
    pub network: Network,
    /// Weight of each server.
    pub weights: BTreeMap<String, u32>,
}

impl Stage {
    /// Builds everything and makes the load balancer.
    pub fn build(snowshed: &Path) -> Result<Self> {
        let step = |what: &str| println!("  {what}");
        println!("\nbuilding the playground");
        step("network namespaces: a client, an edge, three servers on one segment");
        let mut network = Network::create(TAG, Layout::OneSegment, WEIGHTS.len())?;
        step("servers: nginx and a UDP echo on each, the VIPs on the loopback, `snowshed backend attach`");
        let vips: Vec<IpAddr> = vec![VIP_V4.parse()?, VIP_V6.parse()?];
        for server in &mut network.servers {
            server.start_nginx()?;
            for vip in &vips {
                server.add_vip(*vip)?;
                server.start_echo(*vip)?;
            }
            server.attach_decapsulator(snowshed, &vips)?;
        }
        step("edge: the agent, with its own agent.toml");
        let mut edge = Edge::configure(&network, snowshed, "")?;
        edge.start(&network)?;
        let names = network.servers.iter().map(|server| server.name().to_owned());
        let weights = names.zip(WEIGHTS).collect();
        let stage = Self { edge, network, weights };
        stage.make_load_balancer()?;
        Ok(stage)
    }

    /// The VIP of IPv4.
    pub fn v4(&self) -> Result<IpAddr> {
        VIP_V4.parse().context("the VIP of IPv4")
    }

    /// The VIP of IPv6.
    pub fn v6(&self) -> Result<IpAddr> {
        VIP_V6.parse().context("the VIP of IPv6")
    }

    /// Leaves everything up, and says what to try.
    pub fn keep(&mut self) -> Result<()> {
        self.network.keep()?;
        self.edge.keep();
        let name = self.network.name();
        let snowshed = self.edge.snowshed().display();
        println!("\nthe playground stays up. Try:");
        println!("  export SNOWSHED_SOCKET={}", self.edge.socket().display());
        println!("  export SNOWSHED_TOKEN_FILE={}", self.edge.token_file().display());
        println!("  {snowshed} status");
        println!("  {snowshed} explain {}:40000 {VIP_V4}:80", Network::CLIENT_V4);
        println!("  {snowshed} server update --lb web --backend http 10.77.0.13 --drain");
        println!("  ip netns exec {name}-client curl http://{VIP_V4}/ 'http://[{VIP_V6}]/'");
        println!("  ip netns exec {name}-edge curl -H \"Authorization: Bearer $(cat $SNOWSHED_TOKEN_FILE)\" \\");
        println!("      http://127.0.0.1:7480/metrics");
        println!("  kill -9 {}      # the agent; requests go on", self.edge.pid()?);
        println!("logs: {}", self.network.directory().display());
        println!("remove it: cargo xtask demo --clean");
        Ok(())
    }

    fn make_load_balancer(&self) -> Result<()> {
        println!("\n$ cat demo.yaml\n{}", indented(MANIFEST));
        println!("$ snowshed apply -f demo.yaml --wait\n{}", indented(&self.edge.apply(MANIFEST)?));
        for server in &self.network.servers {
            self.edge.wait_for_server(&server.v4().to_string(), true)?;
        }
        println!("$ snowshed status\n{}", indented(&self.edge.ok(&["status"])?));
        Ok(())
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
