//! `cargo xtask dist`: the Debian package: the binary, its unit, manual pages, completions, dashboard and alerts.
//!
//! The package is written with `dpkg-deb`, which every Debian has; nothing is downloaded.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// Arguments of `cargo xtask dist`.
#[derive(clap::Args)]
pub struct Args {
    /// A binary that is built already; without it a release is built.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Where the package goes.
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,
}

/// Where the files of the repository go in the package.
const FILES: [(&str, &str); 8] = [
    ("deploy/systemd/snowshed.service", "usr/lib/systemd/system/snowshed.service"),
    ("deploy/prometheus/snowshed.rules.yml", "usr/share/snowshed/prometheus/snowshed.rules.yml"),
    ("deploy/prometheus/prometheus.yml", "usr/share/snowshed/prometheus/prometheus.yml"),
    ("deploy/grafana/snowshed.json", "usr/share/snowshed/grafana/snowshed.json"),
    ("examples/web.yaml", "usr/share/doc/snowshed/examples/web.yaml"),
    ("README.md", "usr/share/doc/snowshed/README.md"),
    ("LICENSE-MIT", "usr/share/doc/snowshed/LICENSE-MIT"),
    ("LICENSE-APACHE", "usr/share/doc/snowshed/LICENSE-APACHE"),
];

/// Where shells look for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/snowshed"),
    ("zsh", "usr/share/zsh/vendor-completions/_snowshed"),
    ("fish", "usr/share/fish/vendor_completions.d/snowshed.fish"),
];

/// The configuration; a package's upgrade leaves an edited one alone.
const CONFIG: &str = "etc/snowshed/agent.toml";

/// Runs `cargo xtask dist`.
///
/// # Errors
/// When the binary cannot be built, a file is missing, or `dpkg-deb` fails.
pub fn run(args: &Args) -> Result<()> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => {
            run::checked(run::cargo().args([
                "build",
                "--release",
                "--locked",
                "-p",
                "lb-userspace",
                "--bin",
                "snowshed",
            ]))?;
            run::root().join("target/release/snowshed")
        }
    };
    let out = run::root().join(&args.out);
    let tree = out.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    fill(&tree, &binary)?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("no Debian architecture is known for {other}"),
    };
    let package = out.join(format!("snowshed_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    control(&tree, &binary, architecture)?;
    run::checked(
        Command::new("dpkg-deb").args(["--root-owner-group", "-Zxz", "-z3", "--build"]).arg(&tree).arg(&package),
    )?;
    println!("dist: {}", package.display());
    Ok(())
}

/// Puts every file in its place.
fn fill(tree: &Path, binary: &Path) -> Result<()> {
    let program = tree.join("usr/bin/snowshed");
    copy(binary, &program, 0o755)?;
    run::checked(Command::new("strip").arg(&program))?;
    for (from, to) in FILES {
        copy(&run::root().join(from), &tree.join(to), 0o644)?;
    }
    write(&tree.join(CONFIG), &said(binary, &["agent", "--print-default-config"])?, 0o640)?;
    for (shell, to) in COMPLETIONS {
        write(&tree.join(to), &said(binary, &["completion", shell])?, 0o644)?;
    }
    let pages = tree.join("usr/share/man/man1");
    fs::create_dir_all(&pages).with_context(|| format!("cannot make {}", pages.display()))?;
    run::checked(Command::new(binary).arg("man").arg(&pages))?;
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "-n"]);
    for page in fs::read_dir(&pages).with_context(|| format!("cannot read {}", pages.display()))? {
        let page = page?.path();
        fs::set_permissions(&page, fs::Permissions::from_mode(0o644))?;
        gzip.arg(page);
    }
    run::checked(&mut gzip)
}

/// The package's description, its configuration files and its scripts.
fn control(tree: &Path, binary: &Path, architecture: &str) -> Result<()> {
    let mut text = String::new();
    writeln!(text, "Package: snowshed\nVersion: {}\nArchitecture: {architecture}", env!("CARGO_PKG_VERSION"))?;
    writeln!(text, "Maintainer: Snowshed <snowshed@localhost>\nSection: net\nPriority: optional")?;
    writeln!(text, "Installed-Size: {}", size(tree)?.div_ceil(1024))?;
    writeln!(text, "Depends: libc6 (>= {}), libgcc-s1", oldest_libc(binary)?)?;
    writeln!(text, "Description: eBPF/XDP layer-4 load balancer for Linux edge nodes")?;
    writeln!(text, " An XDP program steers packets to servers by consistent hashing in the kernel; an agent owns")?;
    writeln!(text, " the maps, serves the control API, checks the servers' health and keeps its ledger. Stopping")?;
    writeln!(text, " or removing the agent leaves forwarding running; `snowshed detach` ends it.")?;
    let folder = tree.join("DEBIAN");
    write(&folder.join("control"), text.as_bytes(), 0o644)?;
    write(&folder.join("conffiles"), format!("/{CONFIG}\n").as_bytes(), 0o644)?;
    for script in ["postinst", "prerm"] {
        copy(&run::root().join("deploy/debian").join(script), &folder.join(script), 0o755)?;
    }
    Ok(())
}

/// The newest version of the C library's symbols that a binary asks for.
fn oldest_libc(binary: &Path) -> Result<String> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let newest = versions(&bytes).max().with_context(|| format!("{} asks for no C library", binary.display()))?;
    Ok(format!("{}.{}", newest.0, newest.1))
}

/// Every `GLIBC_x.y` in a binary's string tables.
fn versions(bytes: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK).filter_map(|(at, _)| {
        let rest = &bytes[at + MARK.len()..];
        let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        let mut numbers = std::str::from_utf8(&rest[..end]).ok()?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

/// Bytes of every file below a directory.
fn size(directory: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let kind = entry.metadata()?;
        total += if kind.is_dir() { size(&entry.path())? } else { kind.len() };
    }
    Ok(total)
}

/// What a command prints.
fn said(binary: &Path, args: &[&str]) -> Result<Vec<u8>> {
    let output =
        Command::new(binary).args(args).output().with_context(|| format!("cannot start {}", binary.display()))?;
    if !output.status.success() {
        bail!("`snowshed {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, &bytes, mode)
}

fn write(to: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let directory = to.parent().context("a file in the package stands in no directory")?;
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot protect {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_version_is_found_among_others() {
        let bytes = b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0GLIBC_";
        assert_eq!(versions(bytes).max(), Some((2, 34)));
    }
}
