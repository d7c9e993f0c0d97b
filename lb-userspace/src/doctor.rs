//! `doctor`: what on this machine keeps the edge from working well, each finding with its remedy. Changes nothing.

use std::path::Path;

use serde::Serialize;

use crate::dataplane::{Attachment, DataplaneError, KernelConfig};
use crate::netlink::Netlink;

mod maps;
mod offloads;
pub mod reach;

pub use maps::maps;

/// What was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `ok`, `warning` or `failure`.
    pub level: Level,
    /// What was looked at: `kernel`, `interface`, `maps`, `agent` or `server`.
    pub area: &'static str,
    /// What was found.
    pub what: String,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could.
    Warning,
    /// It does not work.
    Failure,
}

impl Finding {
    /// As it should be.
    pub fn ok(area: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, area, what: what.into(), remedy: String::new() }
    }

    /// It works, but not as well as it could.
    pub fn warning(area: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, area, what: what.into(), remedy: remedy.into() }
    }

    /// It does not work.
    pub fn failure(area: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Failure, area, what: what.into(), remedy: remedy.into() }
    }
}

/// Oldest kernel that the programs load on.
const OLDEST: (u32, u32) = (6, 1);

/// What this machine's kernel offers. `root` is `/`, or a directory that stands in for it.
#[must_use]
pub fn kernel(root: &Path) -> Vec<Finding> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).map(|text| text.trim().to_owned());
    let mut findings = Vec::new();
    let release = read("proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    findings.push(match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Finding::ok("kernel", format!("Linux {release}")),
        _ => Finding::failure(
            "kernel",
            format!("Linux {release} is older than {}.{}", OLDEST.0, OLDEST.1),
            "boot a newer kernel: Debian 12 and later have one",
        ),
    });
    let btf = root.join("sys/kernel/btf/vmlinux").exists();
    findings.push(if btf {
        Finding::ok("kernel", "types of the kernel (BTF) are there")
    } else {
        Finding::warning(
            "kernel",
            "the kernel has no BTF: tools show maps as bytes",
            "boot a kernel with CONFIG_DEBUG_INFO_BTF",
        )
    });
    // The file is absent where the compiler cannot be turned off.
    if read("proc/sys/net/core/bpf_jit_enable").is_ok_and(|value| value == "0") {
        let remedy = "sysctl -w net.core.bpf_jit_enable=1";
        findings.push(Finding::warning("kernel", "eBPF programs are interpreted, not compiled", remedy));
    }
    let mounts = read("proc/mounts").unwrap_or_default();
    let is_mounted = mounts.lines().any(|line| line.split(' ').nth(2) == Some("bpf"));
    findings.push(if is_mounted {
        Finding::ok("kernel", "a bpf file system is mounted")
    } else {
        let remedy = "mount -t bpf bpf /sys/fs/bpf; the agent does so too when it starts";
        Finding::warning("kernel", "no bpf file system is mounted: nothing outlives the agent", remedy)
    });
    findings
}

/// What the probes of servers behind tunnels need.
#[must_use]
pub fn probe_device(device: &Path) -> Finding {
    if device.exists() {
        return Finding::ok("kernel", "servers are probed the way traffic goes: there are TUN devices");
    }
    Finding::warning(
        "kernel",
        format!(
            "there is no {}: servers are probed at their own addresses, not through their tunnels",
            device.display()
        ),
        "modprobe tun; a container is given the device",
    )
}

/// The interfaces that traffic arrives on: attached, how, and what of their settings loses packets.
#[must_use]
pub fn interfaces(root: &Path, wanted: &[String], pin_dir: &Path) -> Vec<Finding> {
    let directory = KernelConfig::versioned(pin_dir);
    let attached = match crate::dataplane::detach::attached(&directory) {
        Ok(attached) => attached.unwrap_or_default(),
        Err(error) => return vec![pins_unreadable(&directory, &error)],
    };
    wanted.iter().flat_map(|interface| of_interface(root, interface, &attached)).collect()
}

fn pins_unreadable(directory: &Path, error: &DataplaneError) -> Finding {
    let what = format!("{} cannot be read: {}", directory.display(), crate::observe::chain(error));
    Finding::failure("interface", what, "run as root")
}

fn of_interface(root: &Path, interface: &str, attached: &[Attachment]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Ok(ifindex) = nix::net::if_::if_nametoindex(interface) else {
        let remedy = "correct `dataplane.interfaces` in agent.toml; `ip link` lists what there is";
        return vec![Finding::failure("interface", format!("{interface} does not exist"), remedy)];
    };
    findings.push(match attached.iter().find(|one| one.interface == interface).map(|one| one.mode.as_str()) {
        Some("generic") => Finding::warning(
            "interface",
            format!("{interface}: XDP runs in generic mode, in the network stack: several times slower"),
            "use a NIC whose driver has XDP, or set `dataplane.xdp_mode = \"native\"` to be told why it has none",
        ),
        Some(mode) => Finding::ok("interface", format!("{interface}: XDP is attached in {mode} mode")),
        None => Finding::failure(
            "interface",
            format!("{interface}: the program is not attached, no traffic is balanced"),
            "start the agent; its log says what stands in the way",
        ),
    });
    findings.extend(link(interface, ifindex));
    let is_generic = attached.iter().any(|one| one.interface == interface && one.mode == "generic");
    findings.extend(offloads::of(interface, ifindex, is_generic));
    for scope in ["all", interface] {
        let path = root.join("proc/sys/net/ipv4/conf").join(scope).join("rp_filter");
        if std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "1") {
            findings.push(Finding::warning(
                "interface",
                format!(
                    "{scope}: reverse path filtering is strict: answers of servers that this edge routes may be lost"
                ),
                format!("sysctl -w net.ipv4.conf.{scope}.rp_filter=2"),
            ));
        }
    }
    findings
}

fn link(interface: &str, ifindex: u32) -> Vec<Finding> {
    use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
    let asked = Netlink::open().and_then(|mut netlink| netlink.link(ifindex));
    let link = match asked {
        Ok(Some(link)) => link,
        Ok(None) => return Vec::new(),
        Err(error) => {
            return vec![Finding::failure("interface", format!("{interface}: the kernel does not tell: {error}"), "")];
        }
    };
    let mut findings = Vec::new();
    if !link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp) {
        let what = format!("{interface} is down or has no carrier");
        findings.push(Finding::failure("interface", what, format!("ip link set {interface} up; look at the cable")));
    }
    let mtu = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    if let Some(mtu) = mtu.filter(|mtu| *mtu < 1540) {
        findings.push(Finding::warning(
            "interface",
            format!("{interface}: with an MTU of {mtu}, packets of clients above {} bytes do not fit an IPv4 outer header, above {} an IPv6 one", mtu.saturating_sub(20), mtu.saturating_sub(40)),
            "raise the MTU towards the servers to 1540 or more, or lower the MSS that the servers announce",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn host(release: &str, jit: &str, mounts: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/kernel/osrelease", release),
            ("proc/sys/net/core/bpf_jit_enable", jit),
            ("proc/mounts", mounts),
            ("sys/kernel/btf/vmlinux", ""),
        ] {
            std::fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(root.path().join(path), text).unwrap();
        }
        root
    }

    #[test]
    fn a_kernel_is_judged_by_its_version_and_by_what_it_has() {
        let levels = |root: &tempfile::TempDir| kernel(root.path()).iter().map(|it| it.level).collect::<Vec<_>>();
        let good = host("6.1.0-18-amd64\n", "1\n", "bpf /sys/fs/bpf bpf rw 0 0\n");
        assert_eq!(levels(&good), [Level::Ok; 3]);
        std::fs::remove_file(good.path().join("sys/kernel/btf/vmlinux")).unwrap();
        assert_eq!(levels(&good), [Level::Ok, Level::Warning, Level::Ok]);
        for old in ["5.15.0", "6.0.19", "nonsense"] {
            let findings = kernel(host(old, "0\n", "").path());
            assert_eq!(findings[0].level, Level::Failure, "{old}");
            assert_eq!(findings[2..].iter().map(|it| it.level).collect::<Vec<_>>(), [Level::Warning; 2]);
            assert!(findings.iter().all(|it| it.level == Level::Ok || !it.remedy.is_empty()));
        }
    }

    #[test]
    fn without_a_tun_device_the_probes_are_said_to_go_straight() {
        let here = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(probe_device(here.path()).level, Level::Ok);
        let absent = probe_device(Path::new("/dev/nosuch"));
        assert!(absent.level == Level::Warning && absent.what.contains("/dev/nosuch") && !absent.remedy.is_empty());
    }

    #[test]
    fn an_interface_that_is_not_there_is_a_failure_with_what_to_do() {
        let findings = of_interface(Path::new("/"), "nosuch0", &[]);
        assert_eq!((findings.len(), findings[0].level), (1, Level::Failure));
        assert!(findings[0].remedy.contains("dataplane.interfaces"));
    }
}
