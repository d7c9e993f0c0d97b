//! `cargo xtask vm --shell`: a person at the machine, the site of [`Fabric`] around them.

use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tests::edge::Edge;
use tests::fabric::Fabric;
use tests::network::VIP_PREFIXES;
use tests::vm::Job;

/// What both edges serve.
const VIPS: [&str; 2] = ["203.0.113.10", "2001:db8:5::10"];

/// Builds the site and gives a person a shell on the port; returns when the shell ends.
///
/// # Errors
/// When the site cannot be built or the shell not be started.
pub fn run(job: &Job, port: &mut File) -> Result<()> {
    let snowshed = Path::new(job.environment.get("SNOWSHED_BIN").context("the job names no binary")?);
    writeln!(port, "building the site …")?;
    let fabric = Fabric::create("shell", 2, snowshed)?;
    let vips = VIPS.map(|vip| vip.parse::<IpAddr>());
    for vip in vips {
        fabric.add_vips(&[vip.context("read a VIP")?])?;
    }
    for agent in &fabric.agents {
        agent.apply(&manifest(&fabric))?;
    }
    explain(port, &fabric)?;
    let mut shell = Command::new("setsid");
    shell.args(["-c", "bash", "--norc", "-i"]).envs(&job.environment).env("HOME", "/").env("PS1", "\\w# ");
    let [a, _] = fabric.agents.as_slice() else { anyhow::bail!("the site has not two edges") };
    shell.env("SNOWSHED_SOCKET", a.socket()).env("SNOWSHED_TOKEN_FILE", a.token_file());
    let end = || port.try_clone().context("share the port");
    shell.stdin(end()?).stdout(end()?).stderr(end()?);
    shell.status().context("start a shell").map(drop)
}

fn manifest(fabric: &Fabric) -> String {
    let servers: Vec<String> = fabric.servers.iter().map(|server| format!("{{ address: {} }}", server.v4())).collect();
    format!(
        "name: web\nips: [{}, \"{}\"]\nfrontends: [{{ name: http, inbound_port: 80, backend: http }}]\nbackends:\n  \
         - {{ name: http, protocol: tcp, forwarding: ipip, forward_port: 80, servers: [{}] }}\n",
        VIPS[0],
        VIPS[1],
        servers.join(", ")
    )
}

fn explain(port: &mut File, fabric: &Fabric) -> Result<()> {
    let sockets: Vec<String> = fabric.agents.iter().map(Edge::socket).map(|path| path.display().to_string()).collect();
    let client = fabric.client.name();
    writeln!(port, "\nclient – router – edge a, edge b (ECMP) – server1, server2; VIPs {} and {}", VIPS[0], VIPS[1])?;
    writeln!(port, "  ip netns exec {client} curl http://{}/", VIPS[0])?;
    writeln!(port, "  snowshed status                       # edge a; edge b: SNOWSHED_SOCKET={}", sockets[1])?;
    writeln!(port, "  snowshed explain 10.80.0.2:40000 {}:80", VIPS[0])?;
    writeln!(port, "  ip netns exec {} ip route show {}", fabric.router.name(), VIP_PREFIXES[0])?;
    writeln!(port, "The machine powers off when this shell ends.\n")?;
    Ok(())
}
