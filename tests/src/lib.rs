//! The playground: network namespaces, cables, real servers and real clients around the product.
//!
//! The e2e tests, the demo and the benches build their networks from it, so what a newcomer sees in the demo is what
//! the tests hold. It stays light (no aya, no tokio, nothing of the product): xtask builds it first.
//!
//! Everything it makes carries a name that begins with [`leftovers::PREFIX`], is removed on drop, and is removed by
//! the next run if this one was killed. It needs root: see [`require_root`].

use anyhow::{Result, bail};

pub mod clients;
pub mod edge;
pub mod fabric;
pub mod http;
pub mod leftovers;
pub mod load;
pub mod netns;
pub mod network;
mod objects;
pub mod pass;
pub mod process;
pub mod server;
pub mod tagger;
pub mod tally;
pub mod udp;
pub mod vm;
pub mod wait;

pub use objects::objects;

/// Fails with what to do when the process may not make network namespaces.
///
/// # Errors
/// When the effective user is not root.
pub fn require_root(how: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this needs root (network namespaces and XDP). Run: {how}");
    }
    Ok(())
}
