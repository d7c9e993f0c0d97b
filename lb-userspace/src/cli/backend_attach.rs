//! `snowshed backend attach|detach|status`: the decapsulator on a server. Local tools: they ask no agent.

mod host;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::detach::failed;
use super::failure::{Exit, Failure};
use super::output::{self, Format};
use super::terminal::Terminal;
use super::value;
use crate::config::XdpMode;
use crate::dataplane::decap::{DecapStatus, Decapsulator, PIN_ROOT};

/// The verbs that work on this machine, which is a server, and not on the agent's pools.
#[derive(Subcommand, Debug)]
pub enum OnServer {
    /// On a server: unwrap what the load balancer sends, in XDP, for these VIPs; the VIPs given before stay
    #[command(after_help = "Examples:
  snowshed backend attach --iface eth0 --vip 192.0.2.10
  snowshed backend attach --iface eth0 --vip 192.0.2.10,2001:db8::10 --add-address --mode generic")]
    Attach(Attach),
    /// On a server: unwrap for these VIPs no more, or, without --vip, take the program off
    #[command(after_help = "Examples:
  snowshed backend detach --iface eth0 --vip 192.0.2.10
  snowshed backend detach --iface eth0")]
    Detach(Detach),
    /// On a server: what is unwrapped, for which VIPs, and what was counted
    #[command(after_help = "Example:
  snowshed backend status -o json")]
    Status(Status),
}

/// Arguments of `backend attach`.
#[derive(Args, Debug)]
pub struct Attach {
    /// The interface that the load balancer's packets arrive on
    #[arg(long, value_name = "NAME")]
    iface: String,
    /// VIPs to unwrap for, separated by commas
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', required = true, value_parser = value::address)]
    vip: Vec<IpAddr>,
    /// Where in the receive path: native (in the driver) or generic (any driver, slower); native where it works
    /// when not given
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Give this machine the VIPs: adds those that it does not have to the loopback interface
    #[arg(long)]
    add_address: bool,
}

/// Where in the receive path the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// In the driver
    Native,
    /// After the driver
    Generic,
}

/// Arguments of `backend detach`.
#[derive(Args, Debug)]
pub struct Detach {
    /// The interface
    #[arg(long, value_name = "NAME")]
    iface: String,
    /// Only these VIPs, separated by commas; the program stays
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = value::address)]
    vip: Vec<IpAddr>,
}

/// Arguments of `backend status`.
#[derive(Args, Debug)]
pub struct Status {
    /// Only this interface
    #[arg(long, value_name = "NAME")]
    iface: Option<String>,
}

impl OnServer {
    /// Does it, and says what it did.
    ///
    /// # Errors
    /// When the kernel refuses, or nothing is attached where something is to be taken off.
    pub fn run(self, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let root = PathBuf::from(PIN_ROOT);
        match self {
            Self::Attach(args) => args.run(&root, terminal, format),
            Self::Detach(args) => args.run(&root, terminal, format),
            Self::Status(args) => args.run(&root, terminal, format),
        }
    }
}

impl Attach {
    fn run(self, root: &Path, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let vips: BTreeSet<IpAddr> = self.vip.into_iter().collect();
        let mode = match self.mode {
            None => XdpMode::Auto,
            Some(Mode::Native) => XdpMode::Native,
            Some(Mode::Generic) => XdpMode::Generic,
        };
        let decapsulator = Decapsulator::attach(root, &self.iface, mode).map_err(failed)?;
        decapsulator.add_vips(&vips).map_err(failed)?;
        let added = if self.add_address { host::add_missing(&vips)? } else { Vec::new() };
        let status = decapsulator.status().map_err(failed)?;
        let advice = host::advice(&self.iface, &status.vips)?;
        if !format.is_table() {
            let mut value = describe(&self.iface, &status);
            value["added_addresses"] = json!(added);
            value["advice"] = json!(advice);
            return output::value(terminal, format, &value);
        }
        show(terminal, &self.iface, &status)?;
        for address in added {
            terminal.line(format!("  added {address} to lo"))?;
        }
        advice.iter().try_for_each(|line| terminal.note(format!("note: {line}")))
    }
}

impl Detach {
    fn run(self, root: &Path, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let decapsulator =
            Decapsulator::open(root, &self.iface).map_err(failed)?.ok_or_else(|| nothing_on(&self.iface))?;
        if self.vip.is_empty() {
            let removed = decapsulator.detach().map_err(failed)?;
            if !format.is_table() {
                return output::value(terminal, format, &json!({"interface": self.iface, "removed": removed}));
            }
            return terminal.line(format!("{}: XDP is off; removed {} pins", self.iface, removed.len()));
        }
        let vips: BTreeSet<IpAddr> = self.vip.into_iter().collect();
        for absent in decapsulator.remove_vips(&vips).map_err(failed)? {
            terminal.note(format!("note: {absent} was not unwrapped for"))?;
        }
        let status = decapsulator.status().map_err(failed)?;
        if !format.is_table() {
            return output::value(terminal, format, &describe(&self.iface, &status));
        }
        show(terminal, &self.iface, &status)
    }
}

impl Status {
    fn run(self, root: &Path, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let interfaces = match &self.iface {
            Some(interface) => vec![interface.clone()],
            None => Decapsulator::interfaces(root).map_err(failed)?,
        };
        let mut all = Vec::new();
        for interface in interfaces {
            match Decapsulator::open(root, &interface).map_err(failed)? {
                Some(decapsulator) => all.push((interface, decapsulator.status().map_err(failed)?)),
                None => return Err(nothing_on(&interface)),
            }
        }
        if !format.is_table() {
            let all = all.iter().map(|(interface, status)| describe(interface, status)).collect();
            return output::value(terminal, format, &Value::Array(all));
        }
        if all.is_empty() {
            return terminal.note("no decapsulator is attached: `snowshed backend attach --iface NAME --vip ADDRESS`");
        }
        all.iter().try_for_each(|(interface, status)| show(terminal, interface, status))
    }
}

fn nothing_on(interface: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("no decapsulator is pinned for {interface}"))
        .help("`snowshed backend status` shows where there is one")
}

fn describe(interface: &str, status: &DecapStatus) -> Value {
    json!({
        "interface": interface,
        "mode": status.attachment.as_ref().map(|attachment| &attachment.mode),
        "attached": status.attachment.is_some(),
        "vips": status.vips,
        "counters": status.counters,
    })
}

fn show(terminal: &mut Terminal, interface: &str, status: &DecapStatus) -> Result<(), Failure> {
    let how = match &status.attachment {
        Some(attachment) => format!("attached ({} mode)", attachment.mode),
        None => "NOT attached: somebody took it off; run `snowshed backend attach` again".to_owned(),
    };
    let vips: Vec<String> = status.vips.iter().map(IpAddr::to_string).collect();
    let counters: Vec<String> = status.counters.iter().map(|(word, count)| format!("{word} {count}")).collect();
    terminal.line(format!("{interface}: {how}"))?;
    terminal.line(format!("  VIPs: {}", if vips.is_empty() { "none".to_owned() } else { vips.join(", ") }))?;
    terminal.line(format!("  packets: {}", counters.join(", ")))
}
