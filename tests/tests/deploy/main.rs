//! What runs beside an edge in production: the package, the unit, the alerts, the dashboard and the shell's completion,
//! each against a running agent. Needs root.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends it")]

mod completion;
mod monitoring;
mod package;
mod servers;
mod unit;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tests::edge::Edge;
use tests::network::{Layout, Network};

/// One network at a time: two would share the cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// An edge with two servers, configured and not started. Fields are in the order in which they are taken down.
struct Scene {
    edge: Edge,
    network: Network,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// An edge of this binary.
    fn of(binary: &Path) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        tests::require_root("sudo -E env \"PATH=$PATH\" cargo xtask test --tier e2e").unwrap();
        let mut network = Network::create("deploy", Layout::OneSegment, 2).unwrap();
        for server in &mut network.servers {
            server.start_nginx().unwrap();
        }
        let edge = Edge::configure(&network, binary, "").unwrap();
        Self { edge, network, _turn: turn }
    }

    /// A running edge with a load balancer `web` of the network's servers.
    fn running() -> Self {
        let mut scene = Self::of(&snowshed());
        scene.edge.start(&scene.network).unwrap();
        let servers: Vec<String> =
            scene.network.servers.iter().map(|server| format!("{{ address: {} }}", server.v4())).collect();
        let manifest = format!(
            "name: web\nips: [ipv4]\nfrontends: [{{ name: http, inbound_port: 80, backend: pool }}]\nbackends:\n  \
             - name: pool\n    forward_port: 80\n    forwarding: ipip\n    servers: [{}]\n    health_check: {{ interval: 200ms }}\n",
            servers.join(", ")
        );
        scene.edge.apply(&manifest).unwrap();
        scene
    }
}

/// Root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The binary under test: `SNOWSHED_BIN`, or the debug build.
fn snowshed() -> PathBuf {
    let path = std::env::var_os("SNOWSHED_BIN").map_or_else(|| root().join("target/debug/snowshed"), PathBuf::from);
    assert!(path.exists(), "{} is not built: cargo xtask test --tier e2e builds it", path.display());
    path
}

/// Runs a program; it must succeed. What it printed.
fn ok(program: &str, arguments: &[&str]) -> String {
    tests::netns::run(program, arguments).unwrap()
}
