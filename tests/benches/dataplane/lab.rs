//! A namespace with two veth ends: the generator's and the edge's.

use std::process::Command;

use aya::maps::Array;
use aya::programs::TestRunAttrs;
use aya::programs::{TestRun as _, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod};

use tests::objects;

use crate::programs::{Program, SERVICE};

/// As in `lb-ebpf/src/bin/bench/generate.rs`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Generator {
    flows: u32,
    sent: u32,
    address: [u8; 4],
    port: [u8; 2],
    mac: [u8; 6],
    payload: [u8; 12],
}

#[expect(unsafe_code, reason = "plain data without padding")]
// SAFETY: `repr(C)`, 32 bytes, no padding.
unsafe impl Pod for Generator {}

/// Interface of the generator, interface of the edge.
const GENERATOR: &str = "bench-gen";
const EDGE: &str = "bench-edge";
/// Packets per batch: what a network driver hands to XDP at once.
const BATCH: u32 = 64;

/// What the generator sends to the service's address.
#[derive(Clone, Copy)]
pub struct Traffic {
    /// Flows to go around.
    pub flows: u32,
    pub port: u16,
    pub payload: [u8; 12],
    /// ICMP errors about packets of the flows instead of the flows' packets.
    pub are_errors: bool,
}

impl Traffic {
    /// So many flows that none comes back.
    pub const NONE_TWICE: u32 = u32::MAX;

    /// UDP to the service that all programs have.
    pub const fn plain(flows: u32) -> Self {
        Self { flows, port: SERVICE.1, payload: [0; 12], are_errors: false }
    }
}

/// The lab; gone with the process.
pub struct Lab {
    generator: Ebpf,
    /// Number of the edge's interface.
    pub edge: u32,
    /// MAC addresses of the edge and of the generator.
    pub macs: [[u8; 6]; 2],
    /// Packets of flows that never come back, so far.
    fresh: u32,
    _stats: std::os::fd::OwnedFd,
}

impl Lab {
    pub fn new() -> Self {
        let stats = aya::sys::enable_stats(aya::sys::Stats::RunTime).unwrap();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root and CAP_SYS_ADMIN");
        ip(&["link", "add", GENERATOR, "type", "veth", "peer", "name", EDGE]);
        for name in [GENERATOR, EDGE] {
            ip(&["link", "set", name, "addrgenmode", "none"]);
            ip(&["link", "set", name, "up"]);
        }
        let mut generator = EbpfLoader::new().load_file(objects().join("bench.o")).unwrap();
        for name in ["generate", "generate_errors", "empty"] {
            program(&mut generator, name).load().unwrap();
        }
        // Native XDP back to a veth end needs a program there; the empty one drops.
        program(&mut generator, "empty").attach(GENERATOR, XdpMode::Driver).unwrap();
        let macs = [EDGE, GENERATOR].map(mac);
        Self { generator, edge: index(EDGE), macs, fresh: 0, _stats: stats }
    }

    /// Nanoseconds per packet of a program over so many flows.
    pub fn run(&mut self, program: &mut Program, flows: u32, packets: u32) -> f64 {
        self.run_traffic(program, &Traffic::plain(flows), packets)
    }

    /// The same of packets that are not all alike.
    pub fn run_traffic(&mut self, program: &mut Program, traffic: &Traffic, packets: u32) -> f64 {
        let mut sent = 0;
        if traffic.flows == Traffic::NONE_TWICE {
            sent = self.fresh;
            self.fresh += packets;
        }
        let (address, port, payload) = (SERVICE.0, traffic.port.to_be_bytes(), traffic.payload);
        let settings = Generator { flows: traffic.flows, sent, address, port, mac: self.macs[0], payload };
        let mut array = Array::try_from(self.generator.map_mut("GENERATOR").unwrap()).unwrap();
        array.set(0, settings, 0).unwrap();
        let link = program.xdp().attach(EDGE, XdpMode::Driver).unwrap();
        let before = program.xdp().info().unwrap();
        self.generate(packets, traffic.are_errors);
        let after = program.xdp().info().unwrap();
        program.xdp().detach(link).unwrap();
        let count = after.run_count() - before.run_count();
        assert!(count > u64::from(packets) * 9 / 10, "{count} of {packets} packets arrived at {}", program.name);
        (after.run_time() - before.run_time()).as_nanos() as f64 / count as f64
    }

    fn generate(&mut self, packets: u32, are_errors: bool) {
        let ingress = index(GENERATOR);
        let (name, len) = if are_errors { ("generate_errors", 70) } else { ("generate", 64) };
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, len, 0, ingress, 0, 0].map(u32::to_ne_bytes).concat();
        let generate: &Xdp = self.generator.program(name).unwrap().try_into().unwrap();
        generate
            .test_run(TestRunOptions {
                data_in: Some(&[0; 70][..len as usize]),
                ctx_in: Some(&context),
                repeat: packets,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            })
            .unwrap();
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    ebpf.program_mut(name).unwrap().try_into().unwrap()
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn index(interface: &str) -> u32 {
    nix::net::if_::if_nametoindex(interface).unwrap()
}

/// From netlink, by way of `ip`: /sys shows another namespace's interfaces.
fn mac(interface: &str) -> [u8; 6] {
    let output = Command::new("ip").args(["-o", "link", "show", interface]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let word = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
    let bytes = word.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect::<Vec<_>>();
    bytes.try_into().unwrap()
}
