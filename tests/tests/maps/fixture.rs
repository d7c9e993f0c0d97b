//! A namespace with an interface to attach to, a pin directory, and small maps.

use std::path::PathBuf;

use lb_common::abi::{BackendEntry, ProtectionEntry, ServiceKey, Slot, backend, mapped_v4};
use lb_userspace::config::XdpMode;
use lb_userspace::dataplane::detach::detach;
use lb_userspace::dataplane::{DataplaneError, KernelConfig, KernelDataplane, Publish, Sizes};
use tests::leftovers;
use tests::netns::{End, Netns, cable};

/// Fields are in the order in which they are taken down.
pub(crate) struct Fixture {
    pub(crate) edge: Netns,
    pub(crate) peer: Netns,
    pub(crate) pin_dir: PathBuf,
}

impl Fixture {
    /// `eth0` (10.9.0.1/24, fd09::1/64) of the edge is cabled to `eth0` (10.9.0.2, fd09::2) of the peer.
    pub(crate) fn new(tag: &str) -> Self {
        tests::require_root("cargo xtask test").unwrap();
        leftovers::mount_bpffs().unwrap();
        let name = leftovers::run_name(&format!("maps{tag}"));
        let edge = Netns::create(&format!("{name}-edge")).unwrap();
        let peer = Netns::create(&format!("{name}-peer")).unwrap();
        cable(End { netns: &edge, interface: "eth0" }, End { netns: &peer, interface: "eth0" }, 1500).unwrap();
        for (netns, host) in [(&edge, 1), (&peer, 2)] {
            netns.ip(&format!("address add 10.9.0.{host}/24 dev eth0")).unwrap();
            netns.ip(&format!("address add fd09::{host}/64 dev eth0 nodad")).unwrap();
        }
        Self { edge, peer, pin_dir: leftovers::pin_dir(&name) }
    }

    pub(crate) fn config(&self) -> KernelConfig {
        KernelConfig {
            pin_dir: self.pin_dir.clone(),
            interfaces: vec!["eth0".to_owned()],
            xdp_mode: XdpMode::Native,
            sizes: SIZES,
        }
    }

    /// Runs inside the edge's namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.edge.run(work).unwrap()
    }

    pub(crate) fn open(&self) -> KernelDataplane {
        self.try_open(self.config()).unwrap()
    }

    pub(crate) fn try_open(&self, config: KernelConfig) -> Result<KernelDataplane, DataplaneError> {
        self.inside(move || KernelDataplane::open(config))
    }

    /// Id of the program that the kernel runs on the edge's `eth0`, as `ip link` tells it.
    pub(crate) fn program_on_eth0(&self) -> Option<u32> {
        let line = self.edge.ip("-o -d link show dev eth0").unwrap();
        let after = line.split("prog/xdp id ").nth(1)?;
        after.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if self.pin_dir.exists() {
            let pin_dir = self.pin_dir.clone();
            if let Ok(outcome) = self.edge.run(move || detach(&pin_dir, None)) {
                outcome.unwrap();
            }
        }
    }
}

pub(crate) const SIZES: Sizes = Sizes {
    max_services: 16_384,
    max_backends: 1024,
    max_slots: 4 << 20,
    max_flows: 1024,
    max_nat_flows: 131_072,
    max_acl_prefixes: 200_000,
    max_sources: 1024,
};

pub(crate) fn key(number: u32) -> ServiceKey {
    let [_, a, b, c] = number.to_be_bytes();
    ServiceKey { address: mapped_v4([203, a, b, c]), port: 80_u16.to_be_bytes(), protocol: 6, kind: 0, pad: [0; 4] }
}

pub(crate) fn slots(len: usize, backend: u32) -> Vec<Slot> {
    vec![Slot::to_backend(backend); len]
}

pub(crate) fn publish<'a>(id: u32, slots: &'a [Slot], previous: &'a [Slot]) -> Publish<'a> {
    Publish { id, flags: 1, slots, previous, protection: ProtectionEntry::default(), generation: 7 }
}

pub(crate) fn backend_entry(identity: u64) -> BackendEntry {
    BackendEntry {
        address: mapped_v4([10, 9, 0, 2]),
        next_hop_mac: [2, 0, 0, 0, 0, 1],
        vlan_outer: [0; 2],
        source_mac: [2, 0, 0, 0, 0, 2],
        vlan_inner: [0; 2],
        ifindex: 9,
        mtu: 1500,
        port: 80_u16.to_be_bytes(),
        mode: backend::mode::IPIP,
        state: backend::state::UP | backend::state::RESOLVED,
        pad: [0; 2],
        generation: 3,
        identity,
    }
}
