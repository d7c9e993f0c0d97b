//! Where the clients that others wrote stand once `cargo xtask setup` has installed them: the official SDKs of the API
//! in Python and JavaScript, and what runs them.

use std::path::{Path, PathBuf};

/// The sources: pinned versions, and the conversations the clients hold with an agent.
#[must_use]
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Where they are installed: a Python environment that also holds node, with `node_modules` beside its `bin`.
#[must_use]
pub fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients")
}

/// A program of the environment, for example `pytest`.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    installed().join("bin").join(name)
}

/// Files of [`sources`] that say what is installed; a change of one of them is a new installation.
pub const PINS: [&str; 3] = ["requirements.txt", "package.json", "package-lock.json"];
