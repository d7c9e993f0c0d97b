//! A small site: a client, a router, two edges behind one route, and servers with the kernel's own tunnel devices.
//!
//! ```text
//!   client ── router ──┬── edge a    the router spreads the VIPs' flows over both edges (ECMP by the 5-tuple)
//!                      ├── edge b
//!                      ├── server1   answers through the router
//!                      └── server2 …
//! ```
//! It needs a kernel with ipip, sit and ip6_tunnel: those of `cargo xtask vm`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::edge::{Edge, Site};
use crate::leftovers;
use crate::netns::Netns;
use crate::network::{BACK_MTU, FRONT_MTU, Network, VIP_PREFIXES, address, parse, plug};
use crate::pass;
use crate::server::Server;

/// The site. Fields are in the order in which they are taken down.
#[derive(Debug)]
pub struct Fabric {
    /// The agents of edge a and edge b.
    pub agents: Vec<Edge>,
    /// The servers, `server1` first.
    pub servers: Vec<Server>,
    /// Where clients run.
    pub client: Netns,
    /// Routes, and switches the segment of edges and servers.
    pub router: Netns,
    /// Edge a and edge b.
    pub edges: Vec<Machine>,
    name: String,
}

/// A machine with an agent.
#[derive(Debug)]
pub struct Machine {
    netns: Netns,
    directory: PathBuf,
    pin_dir: PathBuf,
}

impl Site for Machine {
    fn netns(&self) -> &Netns {
        &self.netns
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    fn pin_dir(&self) -> PathBuf {
        self.pin_dir.clone()
    }
}

impl Fabric {
    /// Builds the site, with nginx on every server and an agent on both edges. No load balancer stands yet.
    ///
    /// # Errors
    /// When a machine cannot be made, or what runs on it does not answer.
    pub fn create(tag: &str, servers: usize, snowshed: &Path) -> Result<Self> {
        leftovers::sweep()?;
        leftovers::mount_bpffs()?;
        let name = leftovers::run_name(tag);
        let directory = leftovers::run_dir(&name);
        std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let mut fabric = Self {
            agents: Vec::new(),
            servers: Vec::new(),
            client: Netns::create(&format!("{name}-client"))?,
            router: Netns::create(&format!("{name}-router"))?,
            edges: Vec::new(),
            name,
        };
        fabric.build_router()?;
        for letter in ["a", "b"] {
            fabric.add_edge(letter)?;
        }
        fabric.route_to(&[0, 1])?;
        for number in 1..=servers {
            fabric.add_server(number)?;
        }
        for edge in &fabric.edges {
            let mut agent = Edge::configure(edge, snowshed, "")?;
            agent.start(edge)?;
            fabric.agents.push(agent);
        }
        Ok(fabric)
    }

    /// Lets the router send the VIPs' flows to these edges (0 is edge a).
    ///
    /// # Errors
    /// When a route cannot be set.
    pub fn route_to(&self, edges: &[usize]) -> Result<()> {
        for (family, prefix, net) in [("-4", VIP_PREFIXES[0], "10.81.0."), ("-6", VIP_PREFIXES[1], "fd81::")] {
            let hops: String = edges.iter().map(|edge| format!(" nexthop via {net}{}", edge + 2)).collect();
            self.router.ip(&format!("{family} route replace {prefix}{hops}"))?;
        }
        Ok(())
    }

    /// Gives every server these VIPs.
    ///
    /// # Errors
    /// When an address cannot be added.
    pub fn add_vips(&self, vips: &[std::net::IpAddr]) -> Result<()> {
        vips.iter().try_for_each(|vip| self.servers.iter().try_for_each(|server| server.add_vip(*vip)))
    }

    fn build_router(&self) -> Result<()> {
        let (router, client) = (&self.router, &self.client);
        let ends = [(client, Network::INTERFACE), (router, "client")];
        let [left, right] = ends.map(|(netns, interface)| crate::netns::End { netns, interface });
        crate::netns::cable(left, right, FRONT_MTU)?;
        address(client, Network::INTERFACE, &["10.80.0.2/24", "fd80::2/64"])?;
        client.ip("route add default via 10.80.0.1")?;
        client.ip("-6 route add default via fd80::1")?;
        address(router, "client", &["10.80.0.1/24", "fd80::1/64"])?;
        router.ip(&format!("link add br0 mtu {BACK_MTU} type bridge"))?;
        router.ip("link set br0 up")?;
        address(router, "br0", &["10.81.0.1/24", "fd81::1/64"])?;
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            router.sysctl(key, "1")?;
        }
        // By addresses, protocol and ports: one client's flows use both edges.
        for key in ["net/ipv4/fib_multipath_hash_policy", "net/ipv6/fib_multipath_hash_policy"] {
            router.sysctl(key, "1")?;
        }
        Ok(())
    }

    fn add_edge(&mut self, letter: &str) -> Result<()> {
        let role = format!("edge{letter}");
        let netns = Netns::create(&format!("{}-{role}", self.name))?;
        plug(&netns, Network::INTERFACE, &self.router, &role, BACK_MTU)?;
        let pin_dir = leftovers::pin_dir(&format!("{}-{role}", self.name));
        pass::attach(&self.router, &role, &leftovers::pin_dir(&format!("{}-{role}-scratch", self.name)))?;
        let host = self.edges.len() + 2;
        self.join_segment(&netns, host)?;
        let directory = leftovers::run_dir(&self.name).join(role);
        std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        self.edges.push(Machine { netns, directory, pin_dir });
        Ok(())
    }

    fn add_server(&mut self, number: usize) -> Result<()> {
        let name = format!("server{number}");
        let netns = Netns::create(&format!("{}-{name}", self.name))?;
        plug(&netns, Network::INTERFACE, &self.router, &name, BACK_MTU)?;
        let host = number + 10;
        self.join_segment(&netns, host)?;
        let addresses = [parse(&format!("10.81.0.{host}"))?, parse(&format!("fd81::{host}"))?];
        let mut server = Server::new(name, netns, addresses, &leftovers::run_dir(&self.name));
        server.add_tunnel_devices()?;
        server.start_nginx()?;
        self.servers.push(server);
        Ok(())
    }

    fn join_segment(&self, netns: &Netns, host: usize) -> Result<()> {
        address(netns, Network::INTERFACE, &[&format!("10.81.0.{host}/24"), &format!("fd81::{host}/64")])?;
        netns.ip("route add default via 10.81.0.1")?;
        netns.ip("-6 route add default via fd81::1").map(drop)
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        self.agents.clear();
        self.servers.clear();
        let pins = self.edges.iter().map(|edge| edge.pin_dir.clone());
        for directory in pins.chain([leftovers::run_dir(&self.name)]) {
            // Whatever stays is removed by the next run's sweep.
            let _removed = std::fs::remove_dir_all(directory);
        }
    }
}
