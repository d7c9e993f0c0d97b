//! A server: its namespace, a real nginx that tells its name, and a UDP echo that does too.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::netns::Netns;
use crate::network::Network;
use crate::process::Process;
use crate::udp::Echo;
use crate::wait;

/// Port of HTTP, on the servers and on the VIPs.
pub const HTTP_PORT: u16 = 80;
/// Port of the UDP echo, on the servers and on the VIPs.
pub const UDP_PORT: u16 = 7007;

/// A machine behind the load balancer.
#[derive(Debug)]
pub struct Server {
    name: String,
    nginx: Option<Process>,
    echoes: Vec<Echo>,
    addresses: [IpAddr; 2],
    directory: PathBuf,
    kept: bool,
    /// Where it runs.
    pub netns: Netns,
}

impl Server {
    pub(crate) fn new(name: String, netns: Netns, addresses: [IpAddr; 2], directory: &Path) -> Self {
        Self { name, nginx: None, echoes: Vec::new(), addresses, directory: directory.to_owned(), kept: false, netns }
    }

    /// Its name: what its answers say.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address.
    #[must_use]
    pub const fn v4(&self) -> IpAddr {
        self.addresses[0]
    }

    /// Its IPv6 address.
    #[must_use]
    pub const fn v6(&self) -> IpAddr {
        self.addresses[1]
    }

    /// Starts nginx and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started or does not answer.
    pub fn start_nginx(&mut self) -> Result<()> {
        let directory = self.directory.join(&self.name);
        std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let config = directory.join("nginx.conf");
        std::fs::write(&config, nginx_config(&self.name, &directory)?)
            .with_context(|| format!("write {}", config.display()))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&directory).arg("-c").arg(&config);
        let log = directory.join("nginx.log");
        let nginx = self.nginx.insert(Process::start(&self.netns, &self.name, command, &log)?);
        let target = (self.addresses[0], HTTP_PORT).into();
        wait::until_some(&format!("nginx of {}", self.name), Duration::from_secs(10), || {
            nginx.expect_running()?;
            let answered = self.netns.run(|| http::get(target, "/", Duration::from_secs(1)))?;
            Ok(answered.ok().filter(|body| *body == self.name).map(drop))
        })
    }

    /// Kills nginx and its worker at once: connections end, the port closes, the machine stays.
    ///
    /// # Errors
    /// When nginx does not run.
    pub fn kill_nginx(&mut self) -> Result<()> {
        self.nginx.take().with_context(|| format!("{} runs no nginx", self.name))?.kill()
    }

    /// Takes a VIP: on the loopback, as a server behind direct server return does.
    ///
    /// # Errors
    /// When the address cannot be added.
    pub fn add_vip(&self, vip: IpAddr) -> Result<()> {
        let length = if vip.is_ipv4() { 32 } else { 128 };
        self.netns.ip(&format!("address add {vip}/{length} dev lo nodad")).map(drop)
    }

    /// Starts a UDP echo on an address of this server, which must stand already.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start_echo(&mut self, address: IpAddr) -> Result<()> {
        self.start_echo_on((address, UDP_PORT).into())
    }

    /// As [`Server::start_echo`], on a port of its own.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start_echo_on(&mut self, address: SocketAddr) -> Result<()> {
        self.echoes.push(Echo::start(&self.netns, address, &self.name)?);
        Ok(())
    }

    /// Makes the kernel's own tunnel devices unwrap what comes to this server, all four pairs of families.
    ///
    /// # Errors
    /// When the kernel lacks one of the devices.
    pub fn add_tunnel_devices(&self) -> Result<()> {
        let [v4, v6] = self.addresses;
        for (name, kind) in [
            ("ipip4", format!("ipip local {v4} remote any")),
            ("sit4", format!("sit mode ip6ip local {v4} remote any")),
            ("tunnel6", format!("ip6tnl mode any local {v6} remote any")),
        ] {
            self.netns.ip(&format!("link add {name} type {kind}"))?;
            self.netns.ip(&format!("link set {name} up"))?;
            // The outer source has no route back through the tunnel; a new device takes the larger of both settings.
            self.netns.sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "0")?;
        }
        Ok(())
    }

    /// Attaches the product's decapsulator for these VIPs.
    ///
    /// # Errors
    /// When `snowshed backend attach` fails, with what it said.
    pub fn attach_decapsulator(&self, snowshed: &Path, vips: &[IpAddr]) -> Result<()> {
        let note = note_of_decapsulator(&self.directory, &self.name);
        std::fs::write(&note, snowshed.as_os_str().as_bytes()).with_context(|| format!("write {}", note.display()))?;
        self.decapsulator(snowshed, "attach", vips).map(drop)
    }

    /// Runs `snowshed backend VERB --iface … --vip …` here and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn decapsulator(&self, snowshed: &Path, verb: &str, vips: &[IpAddr]) -> Result<String> {
        let mut command = Command::new(snowshed);
        command.args(["backend", verb, "--iface", Network::INTERFACE]);
        for vip in vips {
            command.args(["--vip", &vip.to_string()]);
        }
        let output = self.netns.run(|| command.output())?.context("start snowshed")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "snowshed backend {verb} on {}: {}", self.name, said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn keep(&mut self) {
        self.kept = true;
        self.netns.keep();
        if let Some(nginx) = &mut self.nginx {
            nginx.keep();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.kept {
            // What stays pinned is removed when the next decapsulator is attached.
            let _detached = detach_decapsulator(&self.netns, &self.directory, &self.name);
        }
    }
}

/// Takes a server's decapsulator off, if the run in `directory` attached one: its pins outlive the namespace.
pub(crate) fn detach_decapsulator(netns: &Netns, directory: &Path, server: &str) -> Result<()> {
    let note = note_of_decapsulator(directory, server);
    let Ok(snowshed) = std::fs::read(&note) else { return Ok(()) };
    let program = String::from_utf8_lossy(&snowshed);
    netns.exec(&program, &["backend", "detach", "--iface", Network::INTERFACE])?;
    std::fs::remove_file(&note).with_context(|| format!("remove {}", note.display()))
}

/// The file that says which binary attached a server's decapsulator.
fn note_of_decapsulator(directory: &Path, server: &str) -> PathBuf {
    directory.join(format!("{server}.decapsulator"))
}

fn nginx_config(name: &str, directory: &Path) -> Result<String> {
    let mut text = String::new();
    let directory = directory.display();
    writeln!(text, "daemon off;\nworker_processes 1;\nuser root;\npid {directory}/nginx.pid;")?;
    writeln!(text, "error_log {directory}/error.log warn;\nevents {{ worker_connections 8192; }}")?;
    writeln!(text, "http {{\n  access_log off;\n  keepalive_timeout 600s;\n  keepalive_requests 100000000;")?;
    for part in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "  {part}_temp_path {directory}/{part};")?;
    }
    writeln!(text, "  server {{\n    listen {HTTP_PORT} backlog=4096;\n    listen [::]:{HTTP_PORT} backlog=4096;")?;
    writeln!(text, "    location / {{ default_type text/plain; return 200 \"{name}\"; }}\n  }}\n}}")?;
    Ok(text)
}
