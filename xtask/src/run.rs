//! Running other programs from the workspace root: said aloud, and checked.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).unwrap_or(Path::new(".")).to_path_buf()
}

/// The cargo that runs this task.
///
/// It sees the environment of a cargo that a person starts: build scripts (ring's is one) ask to be run again when
/// `CARGO_MANIFEST_DIR` is another, and what the outer cargo says of this package would have half of the libraries
/// compiled anew whenever a task follows a plain `cargo test`, and the other way round.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let is_of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.to_string_lossy().starts_with(of));
        if is_of_package {
            command.env_remove(name);
        }
    }
    command.current_dir(root());
    command
}

/// A program with arguments, in the workspace root.
pub fn program(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(root());
    command
}

/// Runs a command whose output the user sees.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0.
pub fn checked(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Standard output of a command that ended well; `None` otherwise, also when there is no such program.
pub fn output(name: &str, args: &[&str]) -> Option<String> {
    let output = program(name, args).stderr(std::process::Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether this process may load programs and make namespaces.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Refuses to go on without root, and says how to come back with it.
///
/// # Errors
/// When not root.
pub fn require_root(what: &str, task: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    bail!(
        "{what}: root is needed, to load eBPF programs and make network namespaces.\n  \
         Run:  sudo -E env \"PATH=$PATH\" cargo xtask {task}"
    )
}
