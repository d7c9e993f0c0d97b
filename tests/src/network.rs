//! The networks: clients, an edge and servers, on one segment or on two.
//!
//! ```text
//! Layout::OneSegment                              Layout::TwoSegments
//!   client ──┐                                      client ── (front) ── edge ── (back) ── server1 …
//!     edge ──┼── switch                               the edge redirects; its kernel routes the answers
//!  server1 ──┤     the edge answers through the
//!  server2 ──┘     interface it heard from (XDP_TX)
//! ```
//! Servers answer the clients directly: on one segment without touching the edge, on two through the edge's kernel,
//! whose XDP program sees no VIP as destination.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::edge::Site;
use crate::leftovers;
use crate::netns::{End, Netns, cable, run};
use crate::pass;
use crate::server::Server;
use crate::tagger::{self, Tagger};

/// Addresses that VIPs are taken from: these prefixes are routed to the edge.
pub const VIP_PREFIXES: [&str; 2] = ["203.0.113.0/24", "2001:db8:5::/64"];

/// MTU towards clients.
pub(crate) const FRONT_MTU: u16 = 1500;
/// MTU between edge and servers: room for an outer header.
pub(crate) const BACK_MTU: u16 = 1600;

/// Where the servers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Clients, edge and servers on one segment: the edge transmits on the interface it received on.
    OneSegment,
    /// Servers behind another interface of the edge: the edge redirects.
    TwoSegments,
    /// As [`Layout::OneSegment`], at this machine's own virtio NICs, which something outside joins: only in a virtual
    /// machine of `cargo xtask vm`.
    Nics,
}

/// A network with everything in it. Fields are in the order in which they are taken down.
#[derive(Debug)]
pub struct Network {
    /// The servers, `server1` first.
    pub servers: Vec<Server>,
    /// Where clients run.
    pub client: Netns,
    /// Where the agent runs and the XDP program is attached, on [`Network::INTERFACE`].
    pub edge: Netns,
    tagger: Option<Tagger>,
    switches: Vec<Netns>,
    layout: Layout,
    name: String,
    directory: PathBuf,
    kept: bool,
}

impl Network {
    /// Name of the interface towards the clients in every namespace.
    pub const INTERFACE: &'static str = "eth0";
    /// Name of the edge's interface towards servers that stand on a segment of their own.
    pub const BACK_INTERFACE: &'static str = "eth1";
    /// Address of the (first) client.
    pub const CLIENT_V4: &'static str = "10.77.0.2";

    /// Builds the network and removes what killed runs left behind. `tag` tells runs apart: letters only.
    ///
    /// # Errors
    /// When a namespace, cable, address or route cannot be made.
    pub fn create(tag: &str, layout: Layout, servers: usize) -> Result<Self> {
        leftovers::sweep()?;
        leftovers::mount_bpffs()?;
        let name = leftovers::run_name(tag);
        leftovers::remove(&name)?;
        let directory = leftovers::run_dir(&name);
        std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let netns = |role: &str| Netns::create(&format!("{name}-{role}"));

        let mut network = Self {
            servers: Vec::new(),
            client: netns("client")?,
            edge: netns("edge")?,
            tagger: None,
            switches: vec![netns("front")?],
            layout,
            name: name.clone(),
            directory,
            kept: false,
        };
        network.build_front()?;
        if layout == Layout::TwoSegments {
            network.switches.push(netns("back")?);
            network.build_back()?;
        }
        for number in 1..=servers {
            network.add_server(number)?;
        }
        Ok(network)
    }

    /// The run's name; namespaces are called after it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where logs, configuration and ledger stand.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the agent pins.
    #[must_use]
    pub fn pin_dir(&self) -> PathBuf {
        leftovers::pin_dir(&self.name)
    }

    /// The edge's interface that the servers are reached through.
    #[must_use]
    pub fn server_side_interface(&self) -> &'static str {
        match self.layout {
            Layout::OneSegment | Layout::Nics => Self::INTERFACE,
            Layout::TwoSegments => Self::BACK_INTERFACE,
        }
    }

    /// Leaves everything standing when this value is dropped; [`leftovers::remove`] takes it down.
    ///
    /// # Errors
    /// When the note for later runs cannot be written.
    pub fn keep(&mut self) -> Result<()> {
        std::fs::write(self.directory.join("kept"), b"").context("note that the playground is kept")?;
        self.kept = true;
        self.client.keep();
        self.edge.keep();
        self.switches.iter_mut().for_each(Netns::keep);
        self.servers.iter_mut().for_each(Server::keep);
        Ok(())
    }

    /// Puts VLAN tags (outermost first) on what the client sends to these VIPs. Once, and not on a network that is
    /// kept.
    ///
    /// # Errors
    /// When the client cannot be cabled anew.
    pub fn tag_clients(&mut self, vlans: &[u16], vips: &[IpAddr]) -> Result<()> {
        let between = Netns::create(&format!("{}-tagger", self.name))?;
        self.client.ip(&format!("link del {}", Self::INTERFACE))?;
        let (client, inside) = (End { netns: &self.client, interface: Self::INTERFACE }, tagger::INSIDE);
        cable(client, End { netns: &between, interface: inside }, FRONT_MTU)?;
        // The tags come on top of the clients' MTU.
        plug(&between, tagger::OUTSIDE, &self.switches[0], "client", BACK_MTU)?;
        self.address_client()?;
        self.tagger = Some(Tagger::start(between, vlans, vips)?);
        Ok(())
    }

    fn address_client(&self) -> Result<()> {
        address(&self.client, Self::INTERFACE, &["10.77.0.2/24", "fd77::2/64"])?;
        self.client.ip("route add default via 10.77.0.1")?;
        self.client.ip("-6 route add default via fd77::1").map(drop)
    }

    fn build_front(&self) -> Result<()> {
        let front = &self.switches[0];
        // On one segment the servers are here too, and encapsulated packets need the larger MTU.
        let edge_mtu = if self.layout == Layout::TwoSegments { FRONT_MTU } else { BACK_MTU };
        if self.layout == Layout::Nics {
            take_nic(&self.client, FRONT_MTU)?;
            take_nic(&self.edge, edge_mtu)?;
        } else {
            front.ip("link add br0 type bridge")?;
            plug(&self.client, Self::INTERFACE, front, "client", FRONT_MTU)?;
            self.plug_edge(Self::INTERFACE, "edge", edge_mtu)?;
            front.ip("link set br0 up")?;
        }
        self.address_client()?;
        self.address_edge()?;
        // One client machine plays many: thousands of short connections must not run out of ports.
        self.client.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        self.client.sysctl("net/ipv4/tcp_tw_reuse", "1")?;
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            self.edge.sysctl(key, "1")?;
        }
        // The edge shares a segment with the servers: it must not tell clients of a shorter way.
        self.edge.sysctl("net/ipv4/conf/all/send_redirects", "0")?;
        self.edge.sysctl("net/ipv4/conf/eth0/send_redirects", "0")
    }

    /// Cables an interface of the edge to a new port of the clients' switch.
    ///
    /// # Errors
    /// When the cable cannot be laid.
    pub fn plug_edge(&self, interface: &str, port: &str, mtu: u16) -> Result<()> {
        let front = &self.switches[0];
        plug(&self.edge, interface, front, port, mtu)?;
        pass::attach(front, port, &self.scratch_pin(port))
    }

    /// Gives the edge's [`Network::INTERFACE`] its addresses.
    ///
    /// # Errors
    /// When they cannot be added.
    pub fn address_edge(&self) -> Result<()> {
        address(&self.edge, Self::INTERFACE, &["10.77.0.1/24", "fd77::1/64"])
    }

    /// A path on the BPF file system that nothing else uses.
    fn scratch_pin(&self, name: &str) -> PathBuf {
        self.pin_dir().with_file_name(format!("{}-{name}", self.name))
    }

    fn build_back(&self) -> Result<()> {
        let back = &self.switches[1];
        back.ip("link add br0 type bridge")?;
        plug(&self.edge, Self::BACK_INTERFACE, back, "edge", BACK_MTU)?;
        pass::attach(back, "edge", &self.scratch_pin("back"))?;
        back.ip("link set br0 up")?;
        address(&self.edge, Self::BACK_INTERFACE, &["10.78.0.1/24", "fd78::1/64"])
    }

    fn add_server(&mut self, number: usize) -> Result<()> {
        let name = format!("server{number}");
        let netns = Netns::create(&format!("{}-{name}", self.name))?;
        let net = if self.layout == Layout::TwoSegments { 78 } else { 77 };
        match self.layout {
            Layout::OneSegment => plug(&netns, Self::INTERFACE, &self.switches[0], &name, BACK_MTU)?,
            Layout::TwoSegments => plug(&netns, Self::INTERFACE, &self.switches[1], &name, BACK_MTU)?,
            Layout::Nics => take_nic(&netns, BACK_MTU)?,
        }
        let host = 10 + number;
        let (v4, v6) = (format!("10.{net}.0.{host}"), format!("fd{net}::{host}"));
        address(&netns, Self::INTERFACE, &[&format!("{v4}/24"), &format!("{v6}/64")])?;
        if self.layout == Layout::TwoSegments {
            netns.ip("route add default via 10.78.0.1")?;
            netns.ip("-6 route add default via fd78::1")?;
        }
        self.servers.push(Server::new(name, netns, [parse(&v4)?, parse(&v6)?], &self.directory));
        Ok(())
    }
}

impl Site for Network {
    fn netns(&self) -> &Netns {
        &self.edge
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    fn pin_dir(&self) -> PathBuf {
        leftovers::pin_dir(&self.name)
    }

    /// What servers answer through the edge must find the program on their side, too.
    fn interfaces(&self) -> Vec<&'static str> {
        match self.layout {
            Layout::TwoSegments => vec![Self::INTERFACE, Self::BACK_INTERFACE],
            Layout::OneSegment | Layout::Nics => vec![Self::INTERFACE],
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.servers.clear();
        for directory in [self.pin_dir(), self.directory.clone()] {
            // Whatever stays is removed by the next run's sweep.
            let _removed = std::fs::remove_dir_all(directory);
        }
    }
}

/// Moves the first virtio NIC that nobody has into a machine. It returns when the machine is gone.
fn take_nic(machine: &Netns, mtu: u16) -> Result<()> {
    let mut nics = Vec::new();
    for entry in std::fs::read_dir("/sys/class/net").context("list the interfaces")? {
        let entry = entry?;
        let driver = std::fs::read_link(entry.path().join("device/driver")).unwrap_or_default();
        nics.extend(driver.ends_with("virtio_net").then(|| entry.file_name().to_string_lossy().into_owned()));
    }
    let nic = nics.into_iter().min().context("no virtio NIC is left (they are in the machines of `cargo xtask vm`)")?;
    run("ip", &["link", "set", &nic, "down", "netns", machine.name()])?;
    machine.ip(&format!("link set {nic} name {} mtu {mtu}", Network::INTERFACE))?;
    machine.ip(&format!("link set {} up", Network::INTERFACE)).map(drop)
}

/// Cable from a machine's interface to a port of a switch.
pub(crate) fn plug(machine: &Netns, interface: &str, switch: &Netns, port: &str, mtu: u16) -> Result<()> {
    cable(End { netns: machine, interface }, End { netns: switch, interface: port }, mtu)?;
    switch.ip(&format!("link set {port} master br0")).map(drop)
}

pub(crate) fn address(netns: &Netns, interface: &str, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        netns.ip(&format!("address add {address} dev {interface} nodad",))?;
    }
    Ok(())
}

pub(crate) fn parse(address: &str) -> Result<IpAddr> {
    address.parse().with_context(|| format!("parse {address}"))
}
