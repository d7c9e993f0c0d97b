//! A network namespace: made by `ip netns`, entered by threads, removed on drop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

/// A namespace. Processes started from a thread inside it belong to it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    kept: bool,
}

impl Netns {
    /// Makes a namespace with its loopback up, both address families on, and no duplicate address detection.
    ///
    /// # Errors
    /// When `ip netns` fails: no root, or the name is taken.
    pub fn create(name: &str) -> Result<Self> {
        run("ip", &["netns", "add", name])?;
        let netns = Self { name: name.to_owned(), kept: false };
        netns.ip("link set lo up")?;
        for key in ["net/ipv6/conf/all/accept_dad", "net/ipv6/conf/default/accept_dad"] {
            netns.sysctl(key, "0")?;
        }
        for key in ["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"] {
            netns.sysctl(key, "0")?;
        }
        Ok(netns)
    }

    /// A namespace that stands already and is not ours to remove.
    pub(crate) fn existing(name: &str) -> Self {
        Self { name: name.to_owned(), kept: true }
    }

    /// Its name, as `ip netns exec` takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leaves the namespace standing when this value is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Runs `ip -n NAME …`; arguments are separated by blanks.
    ///
    /// # Errors
    /// When `ip` fails, with what it said.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        run("ip", &all)
    }

    /// Writes a sysctl of this namespace, for example `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the key does not exist or cannot be written.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.run(|| std::fs::write(&path, value))?.with_context(|| format!("write {value} to {}", path.display()))
    }

    /// Runs a program inside and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started or fails, with what it said.
    pub fn exec(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.run(|| run(program, arguments))?
    }

    /// Runs `work` on a thread inside the namespace and waits for it.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.open()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<T> {
                setns(&file, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
                Ok(work())
            });
            match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts `work` on a thread inside the namespace.
    ///
    /// # Errors
    /// When the namespace cannot be opened or the thread not be started.
    pub fn spawn<T: Send + 'static>(
        &self,
        thread_name: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let file = self.open()?;
        let body = move || {
            setns(&file, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
            work()
        };
        Builder::new().name(thread_name.to_owned()).spawn(body).context("start a thread")
    }

    /// MAC address of an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let line = self.ip(&format!("-o link show dev {interface}"))?;
        let text = line.split("link/ether ").nth(1).and_then(|rest| rest.split_whitespace().next());
        parse_mac(text.with_context(|| format!("{interface} has no MAC address"))?)
    }

    fn open(&self) -> Result<File> {
        let path = PathBuf::from("/run/netns").join(&self.name);
        File::open(&path).with_context(|| format!("open {}", path.display()))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.kept {
            // The next run removes what is left, so a failure here costs nothing but a name.
            let _removed = run("ip", &["netns", "del", &self.name]);
        }
    }
}

/// One end of a cable: a namespace and the name of the interface in it.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where.
    pub netns: &'a Netns,
    /// Interface name.
    pub interface: &'a str,
}

/// Lays a cable between two namespaces, both ends up.
///
/// Transmit offloads are off, because a partial checksum or a tag beside the packet does not survive XDP; so is GRO,
/// so that every packet arrives as it was sent.
///
/// # Errors
/// When `ip` or `ethtool` fails.
pub fn cable(left: End<'_>, right: End<'_>, mtu: u16) -> Result<()> {
    left.netns.ip(&format!(
        "link add {} mtu {mtu} numrxqueues 1 numtxqueues 1 type veth peer name {} mtu {mtu} numrxqueues 1 \
         numtxqueues 1 netns {}",
        left.interface, right.interface, right.netns.name
    ))?;
    for end in [left, right] {
        let mut arguments = vec!["-K", end.interface];
        arguments.extend(
            "tx off tso off gso off sg off rxvlan off txvlan off tx-vlan-stag-hw-insert off gro off".split(' '),
        );
        end.netns.exec("ethtool", &arguments)?;
        end.netns.ip(&format!("link set {} up", end.interface))?;
    }
    Ok(())
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails, with its standard error.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("start {program} (is it installed? `cargo xtask setup` does it)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}: {}", arguments.join(" "), output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    match bytes.try_into() {
        Ok(mac) => Ok(mac),
        Err(_) => bail!("`{text}` is no MAC address"),
    }
}
