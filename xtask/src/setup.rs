//! `cargo xtask setup`: installs what the other subcommands need, and nothing that is already there.
//!
//! Four kinds of things: Debian packages, a rustup toolchain that points at Debian's rustc (it has a core library
//! prebuilt for bpfel-unknown-none), bpf-linker, and the official SDKs that drive the API in the tests. Services that come with a package are not started.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run;

mod clients;

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub struct Args {
    /// Only list what is there and what is missing.
    #[arg(long)]
    check: bool,
}

/// What a subcommand needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Network namespaces, real servers and clients: demo, e2e, benches.
    Playground,
    /// The eBPF toolchain: `build-ebpf`, and the fresh build in `test`.
    Ebpf,
    /// Virtual machines: the emulator, and what fills an initramfs.
    Vm,
    /// The official SDKs: the test target `sdk`.
    Clients,
    /// What runs beside an edge in production: the test target `deploy`.
    Deploy,
}

/// Packages of the virtual machines; the servers and clients that run in them are the playground's.
const VM_PACKAGES: &[&str] =
    &["qemu-system-x86", "busybox-static", "debian-archive-keyring", "ipvsadm", "kmod", "xz-utils", "binutils"];

/// Packages of the playground: what runs in it, and what looks into it.
const PLAYGROUND_PACKAGES: &[&str] = &["nginx", "wrk", "ethtool", "iproute2", "curl", "bpftool", "procps", "tshark"];

/// Packages of what runs beside an edge: Prometheus, the checks of a unit, what makes and installs a package; and the
/// servers that health checks are for.
const DEPLOY_PACKAGES: &[&str] = &[
    "prometheus",
    "systemd",
    "dpkg",
    "binutils",
    "bash",
    "openssl",
    "redis-server",
    "slapd",
    "mariadb-client-core",
    "mariadb-server-core",
    "postgresql",
];

/// Packages of the eBPF toolchain. The `-web` ones are the newest rustc Debian keeps for its browsers.
const EBPF_PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
    "gcc",
];

/// The name rustup knows Debian's toolchain by.
pub const TOOLCHAIN: &str = "debian";
/// Oldest Debian rustc that builds the programs.
const RUSTC_MINIMUM: (u32, u32) = (1, 90);
pub const BPF_LINKER: &str = "0.13.0";
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Runs `cargo xtask setup`.
///
/// # Errors
/// When something is missing and cannot be installed here.
pub fn run(args: &Args) -> Result<()> {
    let missing = report(&[Need::Playground, Need::Ebpf, Need::Vm, Need::Clients, Need::Deploy]);
    if missing.is_empty() {
        println!("setup: everything is there");
        return Ok(());
    }
    if args.check {
        bail!("missing: {}", names(&missing));
    }
    install(&missing)
}

/// Makes sure of what a subcommand needs; says nothing when all is there.
///
/// # Errors
/// As [`run`].
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<Item> = items(needs).into_iter().filter(|item| !item.is_present()).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Something that can be there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Package(&'static str),
    Toolchain,
    BpfLinker,
    Clients,
}

impl Item {
    fn name(&self) -> String {
        match self {
            Self::Package(name) => format!("Debian package {name}"),
            Self::Toolchain => format!("rustup toolchain `{TOOLCHAIN}` → /usr"),
            Self::BpfLinker => format!("bpf-linker {BPF_LINKER}"),
            Self::Clients => "official SDKs in target/clients".to_owned(),
        }
    }

    fn is_present(&self) -> bool {
        match self {
            Self::Package(name) => run::output("dpkg-query", &["-W", "-f", "${db:Status-Status}", name])
                .is_some_and(|status| status == "installed"),
            Self::Toolchain => {
                Path::new("/usr/lib/rustlib/bpfel-unknown-none").is_dir()
                    && run::output("rustup", &["run", TOOLCHAIN, "rustc", "--version"])
                        .and_then(|text| rustc_version(&text))
                        .is_some_and(|version| version >= RUSTC_MINIMUM)
            }
            Self::BpfLinker => run::output(&bpf_linker().to_string_lossy(), &["--version"])
                .is_some_and(|text| text.trim().ends_with(BPF_LINKER)),
            Self::Clients => clients::are_present(),
        }
    }
}

/// Where cargo puts bpf-linker.
pub fn bpf_linker() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cargo"),
        PathBuf::from,
    );
    home.join("bin/bpf-linker")
}

fn items(needs: &[Need]) -> Vec<Item> {
    let mut items = Vec::new();
    for need in needs {
        match need {
            Need::Playground => items.extend(PLAYGROUND_PACKAGES.iter().map(|name| Item::Package(name))),
            Need::Vm => items.extend(VM_PACKAGES.iter().map(|name| Item::Package(name))),
            Need::Ebpf => {
                items.extend(EBPF_PACKAGES.iter().map(|name| Item::Package(name)));
                items.extend([Item::Toolchain, Item::BpfLinker]);
            }
            Need::Clients => items.extend([Item::Package("python3-venv"), Item::Clients]),
            Need::Deploy => items.extend(DEPLOY_PACKAGES.iter().map(|name| Item::Package(name))),
        }
    }
    items
}

fn report(needs: &[Need]) -> Vec<Item> {
    let mut missing = Vec::new();
    for item in items(needs) {
        let present = item.is_present();
        println!("  {:<44} {}", item.name(), if present { "present" } else { "missing" });
        if !present {
            missing.push(item);
        }
    }
    missing
}

fn names(items: &[Item]) -> String {
    items.iter().map(Item::name).collect::<Vec<_>>().join(", ")
}

fn install(missing: &[Item]) -> Result<()> {
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|item| match item {
            Item::Package(name) => Some(*name),
            Item::Toolchain | Item::BpfLinker | Item::Clients => None,
        })
        .collect();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    if missing.contains(&Item::Toolchain) {
        link_toolchain()?;
    }
    if missing.contains(&Item::BpfLinker) {
        install_bpf_linker()?;
    }
    if missing.contains(&Item::Clients) {
        clients::install()?;
    }
    match missing.iter().find(|item| !item.is_present()) {
        None => {
            println!("setup: installed {}", names(missing));
            Ok(())
        }
        Some(item) => bail!("{} is still missing after its installation", item.name()),
    }
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if run::output("apt-get", &["--version"]).is_none() {
        bail!(
            "this is not Debian or Ubuntu: install these with the system's own package manager, then run again: {}",
            packages.join(", ")
        );
    }
    if !run::is_root() {
        bail!(
            "packages are missing ({}) and only root can install them.\n  \
             Run:  sudo -E env \"PATH=$PATH\" cargo xtask setup",
            packages.join(" ")
        );
    }
    println!("setup: installing {} Debian packages: {}", packages.len(), packages.join(" "));
    run::checked(&mut run::program("apt-get", &["-o", "Acquire::Retries=3", "update", "-q"]))?;
    let _services_stay_down = ServicesStayDown::new()?;
    let mut apt =
        run::program("apt-get", &["-o", "Acquire::Retries=3", "install", "-y", "-q", "--no-install-recommends"]);
    run::checked(apt.args(packages).env("DEBIAN_FRONTEND", "noninteractive")).context(
        "apt-get could not install the packages; the eBPF toolchain needs Debian 12 or newer with its security suite",
    )
}

fn link_toolchain() -> Result<()> {
    println!("setup: linking the rustup toolchain `{TOOLCHAIN}` to Debian's rustc");
    if run::output("rustup", &["--version"]).is_none() {
        bail!("rustup is missing: install it from https://rustup.rs, then run again");
    }
    run::checked(&mut run::program("rustup", &["toolchain", "link", TOOLCHAIN, "/usr"]))
}

fn install_bpf_linker() -> Result<()> {
    println!("setup: building bpf-linker {BPF_LINKER} (about a minute)");
    run::checked(
        run::cargo()
            .args(["install", "--locked", "--force", "--version", BPF_LINKER])
            .args(["--no-default-features", "--features", "llvm-22", "bpf-linker"])
            .env("LLVM_PREFIX", LLVM_PREFIX),
    )
}

/// While it lives, packages do not start their services; a policy that somebody set before is left alone.
struct ServicesStayDown {
    ours: bool,
}

impl ServicesStayDown {
    fn new() -> Result<Self> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;

        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY) {
            Ok(mut file) => {
                file.write_all(b"#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
                Ok(Self { ours: true })
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).with_context(|| format!("cannot write {POLICY}")),
        }
    }
}

impl Drop for ServicesStayDown {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            eprintln!("warning: cannot remove {POLICY}: {error}; remove it by hand, or services will not start");
        }
    }
}

/// Major and minor version in `rustc 1.96.0 (…)`.
fn rustc_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("rustc ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_rustc_is_read_from_its_own_words() {
        assert_eq!(rustc_version("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"), Some((1, 96)));
        assert_eq!(rustc_version("rustc nonsense"), None);
        assert_eq!(rustc_version(""), None);
    }

    #[test]
    fn every_need_names_its_items_once() {
        let all = items(&[Need::Playground, Need::Ebpf, Need::Clients, Need::Deploy]);
        for (position, item) in all.iter().enumerate() {
            assert!(!all[position + 1..].contains(item), "{} twice", item.name());
        }
    }
}
