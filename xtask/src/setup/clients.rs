//! The clients that others wrote: the official SDKs, pinned, in a Python environment below `target/` that also holds
//! node. Nothing of them is installed on the machine.

use anyhow::{Context, Result};
use tests::clients::{PINS, installed, program, sources};

use crate::run;

/// Debian's Python, whose `venv` module is a package of its own.
const PYTHON: &str = "/usr/bin/python3";

/// Whether exactly the pinned versions are installed.
pub fn are_present() -> bool {
    pins().is_ok_and(|pins| std::fs::read_to_string(note()).is_ok_and(|noted| noted == pins))
}

/// Installs them anew.
///
/// # Errors
/// When a registry is out of reach, or a version is not there any more.
pub fn install() -> Result<()> {
    println!("setup: installing the official SDKs below target/clients (about a minute)");
    let folder = installed();
    let shown = folder.to_string_lossy();
    run::checked(&mut run::program(PYTHON, &["-m", "venv", "--clear", &shown]))?;
    let requirements = sources().join("requirements.txt");
    let pip = program("pip");
    run::checked(
        run::program(&pip.to_string_lossy(), &["install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
            .arg(&requirements),
    )?;
    for pin in PINS {
        std::fs::copy(sources().join(pin), folder.join(pin)).with_context(|| format!("copy {pin}"))?;
    }
    let npm = program("npm");
    run::checked(
        run::program(
            &npm.to_string_lossy(),
            &["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", &shown],
        )
        .env("PATH", path_with(&folder.join("bin"))?),
    )?;
    std::fs::write(note(), pins()?).with_context(|| format!("write {}", note().display()))
}

/// `npm` looks for `node` on the path.
fn path_with(bin: &std::path::Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(all).context("the PATH cannot be extended")
}

/// What was installed: written last, so that a broken installation is not taken for one.
fn note() -> std::path::PathBuf {
    installed().join("installed")
}

fn pins() -> Result<String> {
    let read = |pin: &&str| std::fs::read_to_string(sources().join(pin)).with_context(|| format!("read {pin}"));
    PINS.iter().map(read).collect()
}
