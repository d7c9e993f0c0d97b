//! `snowshed detach`: takes the load balancer's program off this machine. A local tool: it asks no agent.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::{self, Format};
use super::terminal::Terminal;
use crate::answering;
use crate::dataplane::detach::{Detached, attached, detach};
use crate::dataplane::{Attachment, DataplaneError, directories};
use crate::health::unroute;

/// Arguments of `detach`.
#[derive(Args, Debug)]
pub struct Detach {
    /// Only this interface; the maps stay
    #[arg(long, value_name = "NAME")]
    iface: Option<String>,
    /// The agent's `dataplane.pin_dir`
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/bpf/snowshed")]
    pin_dir: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Detach {
    /// Asks, takes off, and says what it did.
    ///
    /// # Errors
    /// When it is not confirmed, nothing is there, an agent runs, or the kernel refuses.
    pub fn run(&self, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        // Of every version: one that was upgraded half-way is taken off whole.
        let directories = directories(&self.pin_dir).map_err(failed)?;
        let mut present = Vec::new();
        for directory in &directories {
            present.extend(attached(directory).map_err(failed)?.unwrap_or_default());
        }
        if directories.is_empty() {
            return Err(Failure::new(Exit::NotFound, format!("nothing is pinned in {}", self.pin_dir.display()))
                .help("give the agent's `dataplane.pin_dir` with --pin-dir; `ip link` shows what XDP runs where"));
        }
        if let Some(only) = &self.iface {
            present.retain(|attachment| attachment.interface == *only);
            if present.is_empty() {
                return Err(Failure::new(Exit::NotFound, format!("the program is not attached to {only}")));
            }
        }
        self.confirm(terminal, &present)?;
        let mut done = Detached::default();
        for directory in &directories {
            let Detached { attachments, removed } =
                detach(directory, self.iface.as_deref()).map_err(failed)?.unwrap_or_default();
            done.attachments.extend(attachments);
            done.removed.extend(removed);
        }
        let names: Vec<String> = done.attachments.iter().map(|attachment| attachment.interface.clone()).collect();
        answering::withdraw(&names).map_err(|error| {
            Failure::error(format!(
                "XDP is off {}, but addresses of translated flows stay there: {error}",
                names.join(" ")
            ))
            .help("`ip addr` shows them as deprecated, with `proto 0x53`; `ip addr del` takes them off")
        })?;
        // Of one interface the agent's probes may go on through the others.
        if self.iface.is_none() {
            unroute().map_err(|error| {
                Failure::error(format!("XDP is off, but the rule of the probes' mark stays: {error}"))
                    .help("`ip rule` shows it with fwmark 0x5350; `ip rule del fwmark 0x5350` takes it off, `ip -6 rule` likewise")
            })?;
        }
        if !format.is_table() {
            return output::value(terminal, format, &json!(done));
        }
        for Attachment { interface, mode, .. } in &done.attachments {
            terminal.line(format!("{interface}: XDP is off ({mode} mode)"))?;
        }
        terminal.line(format!("removed {} pins under {}", done.removed.len(), self.pin_dir.display()))
    }

    fn confirm(&self, terminal: &mut Terminal, present: &[Attachment]) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let names: Vec<&str> = present.iter().map(|attachment| attachment.interface.as_str()).collect();
        let names = if names.is_empty() { "no interface".to_owned() } else { names.join(" ") };
        if !terminal.interactive {
            return Err(Failure::usage(format!("forwarding on {names} would stop, and nobody can be asked"))
                .help("if that is what you want, add --yes"));
        }
        terminal.note(format!("forwarding stops on: {names}"))?;
        let answer = terminal.ask("Type the interface names, or yes:")?;
        if answer == "yes" || answer == names {
            return Ok(());
        }
        Err(Failure::usage("not confirmed: nothing was done"))
    }
}

/// A failure of the data plane, with what to do about it.
pub(super) fn failed(error: DataplaneError) -> Failure {
    let mut cause = std::error::Error::source(&error);
    let mut why = String::new();
    while let Some(one) = cause {
        why.push_str(&format!(": {one}"));
        cause = one.source();
    }
    match error {
        DataplaneError::Setup { doing, remedy, .. } => Failure::error(format!("{doing}{why}")).help(remedy),
        error => Failure::error(format!("{error}{why}")),
    }
}
