//! Three machines: a client, the edge (the jail itself) and one machine that plays every server.
//!
//! ```text
//!   client ── eth0 ─ edge ─ eth1 ── servers     the edge redirects what is encapsulated; servers answer clients
//!                                                directly, through the edge's kernel
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};

use super::fleet::Fleet;
use super::{Doing as _, DrillError};
use crate::config::XdpMode;
use crate::dataplane::decap::Decapsulator;

/// The machines beside the edge.
#[derive(Debug)]
pub(super) struct Machines {
    client: File,
    servers: File,
    _decapsulator: Decapsulator,
}

/// One of the machines.
#[derive(Clone, Copy, Debug)]
pub(super) enum Machine {
    Client,
    Servers,
}

impl Machines {
    pub(super) fn build(fleet: &Fleet) -> Result<Self, DrillError> {
        ip("link set lo up")?;
        for (machine, interface, mtu) in [("client", "eth0", 1500), ("servers", "eth1", 1600)] {
            ip(&format!("netns add {machine}"))?;
            ip(&format!("-n {machine} link set lo up"))?;
            ip(&format!(
                "link add {interface} mtu {mtu} numrxqueues 1 numtxqueues 1 type veth peer name eth0 mtu {mtu} \
                 numrxqueues 1 numtxqueues 1 netns {machine}"
            ))?;
            offloads_off("ethtool", &[], interface)?;
            offloads_off("ip", &["netns", "exec", machine, "ethtool"], "eth0")?;
            ip(&format!("link set {interface} up"))?;
            ip(&format!("-n {machine} link set eth0 up"))?;
        }
        for command in [
            "addr add 10.77.0.1/24 dev eth0",
            "addr add 10.88.0.1/24 dev eth1",
            "-n client addr add 10.77.0.2/24 dev eth0",
            "-n client route add default via 10.77.0.1",
            "-n servers addr add 10.88.0.2/24 dev eth0",
            "-n servers route add default via 10.88.0.1",
            "-n servers route add local 10.100.0.0/14 dev lo",
            "-n servers route add local 172.20.0.0/14 dev lo",
            "route add 10.100.0.0/14 via 10.88.0.2",
        ] {
            ip(command)?;
        }
        let (client, servers) = (open("client")?, open("servers")?);
        sysctl("net/ipv4/ip_forward", "1")?;
        let lenient = || {
            for key in
                ["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter", "net/ipv4/conf/eth0/rp_filter"]
            {
                sysctl(key, "0")?;
            }
            Ok(())
        };
        lenient()?;
        sysctl("net/ipv4/conf/eth1/rp_filter", "0")?;
        within(&servers, lenient)?;
        let vips: BTreeSet<IpAddr> = fleet.sample().iter().map(|service| IpAddr::V4(service.address)).collect();
        let decapsulator = within(&servers, || {
            let root = Path::new(crate::dataplane::decap::PIN_ROOT);
            let decapsulator =
                Decapsulator::attach(root, "eth0", XdpMode::Native).doing("attaching the decapsulator")?;
            decapsulator.add_vips(&vips).doing("telling the decapsulator the addresses")?;
            Ok(decapsulator)
        })?;
        Ok(Self { client, servers, _decapsulator: decapsulator })
    }

    /// Starts work on a thread inside a machine.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        machine: Machine,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T, DrillError>>, DrillError> {
        let file = match machine {
            Machine::Client => &self.client,
            Machine::Servers => &self.servers,
        };
        let file = file.try_clone().doing("naming a machine")?;
        Ok(std::thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).doing("entering a machine")?;
            Ok(work())
        }))
    }
}

fn within<T: Send>(machine: &File, work: impl FnOnce() -> Result<T, DrillError> + Send) -> Result<T, DrillError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(machine, CloneFlags::CLONE_NEWNET).doing("entering a machine")?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err(DrillError::new("setting up a machine", "the thread broke off")))
    })
}

fn open(name: &str) -> Result<File, DrillError> {
    File::open(Path::new("/run/netns").join(name)).doing("opening a machine")
}

fn sysctl(key: &str, value: &str) -> Result<(), DrillError> {
    std::fs::write(Path::new("/proc/sys").join(key), value).doing(&format!("setting {key}"))
}

/// A partial checksum or a tag beside the packet does not survive XDP.
fn offloads_off(program: &str, before: &[&str], interface: &str) -> Result<(), DrillError> {
    let off = "tx off tso off gso off sg off rxvlan off txvlan off gro off";
    let mut arguments = before.to_vec();
    arguments.extend(["-K", interface]);
    arguments.extend(off.split(' '));
    run(program, &arguments)
}

fn ip(arguments: &str) -> Result<(), DrillError> {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

fn run(program: &str, arguments: &[&str]) -> Result<(), DrillError> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| {
        DrillError::new(&shown, format!("{error}: is it installed? The drill needs iproute2 and ethtool"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(DrillError::new(shown, String::from_utf8_lossy(&output.stderr).trim()))
}
