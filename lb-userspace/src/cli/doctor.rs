//! `snowshed doctor`: looks at this machine, the agent and the servers, and says what to do about what is wrong.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::to_value;

use super::client::Client;
use super::failure::Failure;
use super::global::Global;
use super::output::{self, Format};
use super::terminal::{Paint, Terminal};
use crate::api::wire::{ServerStatus, ServiceStatus, StatusReport};
use crate::config::{self, Config};
use crate::dataplane::tun;
use crate::doctor::reach::{self, Answer};
use crate::doctor::{Finding, Level, interfaces, kernel, maps, probe_device};
use crate::health::Tunnel;
use crate::model::{Forwarding, Protocol};

/// How long a server may take to take a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// The agent's configuration file
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
}

impl Doctor {
    /// Looks at everything and shows what was found, the worst first.
    ///
    /// # Errors
    /// When something does not work: the command fails then.
    pub async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), Failure> {
        let mut findings = kernel(Path::new("/"));
        let config = match Config::load(&self.config) {
            Ok(config) => Some(config),
            Err(error) => {
                let remedy =
                    "give the agent's file with --config; `snowshed agent --check` says everything that is wrong";
                findings.push(Finding::failure("agent", error.to_string().trim().to_owned(), remedy));
                None
            }
        };
        if let Some(config) = &config {
            let dataplane = &config.dataplane;
            findings.extend(interfaces(Path::new("/"), &dataplane.interfaces, &dataplane.pin_dir));
            findings.extend(maps(&dataplane.pin_dir));
            findings.push(probe_device(Path::new(tun::DEVICE)));
        }
        match Client::new(global)?.status().await {
            Ok(report) => {
                findings.extend(agent(&report));
                findings.extend(own_addresses(&report));
                let asked = tokio::task::spawn_blocking(move || servers(&report)).await;
                findings.extend(asked.map_err(|error| Failure::error(format!("the servers were not asked: {error}")))?);
            }
            Err(failure) => findings.push(Finding::failure("agent", failure.what, failure.help)),
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        show(&findings, terminal, global.output)?;
        match findings.iter().filter(|finding| finding.level == Level::Failure).count() {
            0 => Ok(()),
            failures => Err(Failure::error(format!("{failures} of {} findings are failures", findings.len()))),
        }
    }
}

/// What the agent says of itself.
fn agent(report: &StatusReport) -> Vec<Finding> {
    let reconcile = &report.reconcile;
    let mut findings = vec![Finding::ok("agent", format!("version {} answers", report.version))];
    if let Some(error) = &reconcile.last_error {
        let remedy = "it is tried again; the agent's log says more";
        findings.push(Finding::failure("agent", format!("the maps could not be brought up to date: {error}"), remedy));
    }
    if reconcile.applied_generation < report.ledger_generation {
        let what = format!(
            "the maps are at generation {}, the ledger is at {}",
            reconcile.applied_generation, report.ledger_generation
        );
        findings.push(Finding::warning("agent", what, "wait, and look at `snowshed status`"));
    }
    for (address, why) in &reconcile.unresolved {
        findings.push(Finding::failure("server", format!("no way to {address}"), why.to_string()));
    }
    for service in &reconcile.empty_services {
        let remedy = "`snowshed status` says why each of its servers is down";
        findings.push(Finding::failure("server", format!("{service} has no usable server"), remedy));
    }
    findings
}

/// Every server of every TCP service, asked the way traffic goes: through its tunnel for the VIP or, where addresses are
/// translated, for its own address.
fn servers(report: &StatusReport) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Of the ports of a range nobody says which a server listens on.
    let is_asked = |service: &&ServiceStatus| service.protocol == Protocol::Tcp && service.port_end.is_none();
    for service in report.services.iter().filter(is_asked) {
        let vip = SocketAddr::new(service.address, service.port);
        for server in &service.servers {
            let of = format!("{} for {vip}", server.address);
            match service.forwarding {
                Forwarding::Nat => {
                    findings.push(directly(SocketAddr::new(server.address, server.port)));
                    continue;
                }
                Forwarding::L2 => {
                    let remedy =
                        "the VIP stands on the server's loopback, `arp_ignore=1`, and the service listens on it";
                    findings.push(by_its_probes(&of, "by its MAC", remedy, server));
                    continue;
                }
                Forwarding::Gue => {
                    findings.push(by_its_probes(
                        &of,
                        "in UDP",
                        "the VIP stands on the server, which unwraps GUE",
                        server,
                    ));
                    continue;
                }
                Forwarding::Ipip => {}
            }
            findings.push(match reach::ask(server.address, vip) {
                Ok(Answer::Accepts) => Finding::ok("server", format!("{of}: answers through the tunnel")),
                Ok(Answer::Refuses) => Finding::failure(
                    "server",
                    format!("{of}: unwraps packets, but nothing listens on the VIP's port"),
                    format!("let the service listen on {vip}, or on every address"),
                ),
                Ok(Answer::Silent) => Finding::failure(
                    "server",
                    format!("{of}: no answer through the tunnel"),
                    format!(
                        "on the server: `snowshed backend attach --iface IFACE --vip {0}` (or a tunnel device of the \
                         kernel), `ip address add {0} dev lo`, rp_filter not strict, and no firewall for protocols 4 and 41",
                        service.address
                    ),
                ),
                Err(error) => Finding::warning("server", format!("{of} could not be asked: {error}"), "run as root"),
            });
        }
    }
    findings
}

/// The agent's probes reach such a server as traffic does: what they found is the answer.
fn by_its_probes(of: &str, way: &str, remedy: &str, server: &ServerStatus) -> Finding {
    let found = server.last_probe.as_deref();
    match found {
        Some(_) if server.up => Finding::ok("server", format!("{of}: answers the probes {way}")),
        Some(why) => Finding::failure("server", format!("{of}: {why}"), remedy),
        None => Finding::warning("server", format!("{of}: was not probed yet"), "ask again in a moment"),
    }
}

/// VIPs that are addresses of this machine, too.
fn own_addresses(report: &StatusReport) -> Vec<Finding> {
    let vips: BTreeSet<IpAddr> = report.services.iter().map(|service| service.address).collect();
    let own = vips.into_iter().filter(|vip| Tunnel::is_own(*vip));
    let warning = |vip| {
        Finding::warning(
            "interface",
            format!(
                "{vip} is a load balancer's address and this machine's own: what listens here (SSH, for one) answers at it \
                 on ports that no frontend has, and its servers are probed at their own addresses, not through tunnels"
            ),
            "take it off this machine's interfaces; upstream routes lead it here without that",
        )
    };
    own.map(warning).collect()
}

fn directly(server: SocketAddr) -> Finding {
    match TcpStream::connect_timeout(&server, PATIENCE) {
        Ok(_) => Finding::ok("server", format!("{server}: answers")),
        Err(error) => Finding::failure(
            "server",
            format!("{server}: does not answer: {error}"),
            "is the service running, and does it let the edge's addresses in?",
        ),
    }
}

fn show(findings: &[Finding], terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
    if format != Format::Table {
        let value = to_value(findings).map_err(|error| Failure::error(error.to_string()))?;
        return output::value(terminal, format, &value);
    }
    for finding in findings {
        let mark = match finding.level {
            Level::Ok => "ok     ".to_owned(),
            Level::Warning => terminal.paint(Paint::Yellow, "warning"),
            Level::Failure => terminal.paint(Paint::Red, "FAILURE"),
        };
        terminal.line(format!("{mark} {:<9} {}", finding.area, finding.what))?;
        for line in finding.remedy.lines() {
            terminal.line(format!("                  → {line}"))?;
        }
    }
    Ok(())
}
