//! The programs that are measured, each with its maps filled for the same service: 100 servers, one slot table.

use aya::maps::{Array, HashMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::abi::backend::{mode, state};
use lb_common::abi::nat::{NatRange, NatSource, PORTS};
use lb_common::abi::service::flags;
use lb_common::abi::{
    ABI_VERSION, BackendEntry, ConfigEntry, SLOTS_PER_ELEMENT, ServiceEntry, ServiceKeyV4, Slot, SlotPair, mapped_v4,
    names,
};

use tests::objects;

use crate::lab::Lab;

/// Address and port of the service.
pub const SERVICE: ([u8; 4], u16) = ([192, 0, 2, 1], 443);
pub(crate) const SERVERS: u32 = 100;
/// The length that the planner gives a service of 100 servers.
pub(crate) const SLOTS: u32 = 16_381;

/// A loaded program.
pub struct Program {
    pub name: &'static str,
    pub mode: &'static str,
    pub(crate) function: &'static str,
    pub(crate) ebpf: Ebpf,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Plain<T>(pub(crate) T);

#[expect(unsafe_code, reason = "plain data without padding")]
// SAFETY: only used with `repr(C)` types without implicit padding.
unsafe impl<T: Copy + 'static> Pod for Plain<T> {}

impl Program {
    /// The empty program first: the others are measured over it.
    pub fn all(lab: &Lab) -> Vec<Self> {
        vec![
            Self::of_bench("empty", "none", "empty"),
            Self::of_bench("xdp_tx_floor", "none", "send_back"),
            Self::minimal(lab),
            Self::product(lab, "ipip", 0),
            // At the default sizes; a million flows are then more than there are places.
            Self::product(lab, "nat", 2),
            Self::product(lab, "nat24", 24),
        ]
    }

    pub fn xdp(&mut self) -> &mut Xdp {
        self.ebpf.program_mut(self.function).unwrap().try_into().unwrap()
    }

    fn of_bench(name: &'static str, mode: &'static str, function: &'static str) -> Self {
        let ebpf = EbpfLoader::new().load_file(objects().join("bench.o")).unwrap();
        let mut program = Self { name, mode, function, ebpf };
        program.xdp().load().unwrap();
        program
    }

    /// `lb-ebpf/src/bin/bench/minimal.rs`.
    fn minimal(lab: &Lab) -> Self {
        let mut program = Self::of_bench("minimal_encapsulator", "ipip", "minimal");
        let [edge, generator] = lab.macs;
        let (address, port) = SERVICE;
        let mut services = HashMap::<_, [u8; 8], [u32; 2]>::try_from(program.map("MINIMAL_SERVICES")).unwrap();
        let key = [&address[..], &port.to_be_bytes(), &17u16.to_ne_bytes()].concat();
        services.insert(<[u8; 8]>::try_from(key).unwrap(), [0, SLOTS], 0).unwrap();
        let mut slots = Array::try_from(program.map("MINIMAL_SLOTS")).unwrap();
        for slot in 0..SLOTS {
            slots.set(slot, owner(slot), 0).unwrap();
        }
        let mut servers = Array::<_, [u8; 16]>::try_from(program.map("MINIMAL_SERVERS")).unwrap();
        for server in 0..SERVERS {
            let bytes = [&[10, 1, 0, server as u8][..], &generator, &edge].concat();
            servers.set(server, <[u8; 16]>::try_from(bytes).unwrap(), 0).unwrap();
        }
        program
    }

    /// The product, at its default map sizes; translating with so many source addresses, or not at all.
    fn product(lab: &Lab, forwarding: &'static str, nat_sources: u32) -> Self {
        let is_nat = nat_sources > 0;
        let buckets = lb_common::nat::index::buckets(nat_sources * PORTS);
        let mut loader = EbpfLoader::new();
        if nat_sources > 2 {
            loader.map_max_entries(names::NAT_FLOWS, nat_sources * PORTS);
            loader.map_max_entries(names::NAT_INDEX, buckets).override_global(names::NAT_BUCKETS, &buckets, true);
        }
        let ebpf = loader.load_file(objects().join("snowshed.o")).unwrap();
        let mut program = Self { name: "snowshed", mode: forwarding, function: names::PROGRAM, ebpf };
        program.xdp().load().unwrap();
        let (address, port) = SERVICE;
        Array::try_from(program.map(names::CONFIG)).unwrap().set(0, Plain(config(nat_sources)), 0).unwrap();
        let key = ServiceKeyV4 { address, port: port.to_be_bytes(), protocol: 17, kind: 0 };
        let entry = ServiceEntry {
            id: 1,
            flags: if is_nat { flags::NAT } else { 0 },
            slots_offset: 0,
            slots_len: SLOTS,
            previous_offset: 0,
            previous_len: 0,
            generation: 1,
        };
        HashMap::try_from(program.map(names::SERVICES_V4)).unwrap().insert(Plain(key), Plain(entry), 0).unwrap();
        let mut slots = Array::try_from(program.map(names::SLOTS)).unwrap();
        for element in 0..SLOTS.div_ceil(SLOTS_PER_ELEMENT) {
            let pair: SlotPair = [0, 1].map(|slot| Slot::to_backend(owner(element * SLOTS_PER_ELEMENT + slot)));
            slots.set(element, Plain(pair), 0).unwrap();
        }
        let mut backends = Array::try_from(program.map(names::BACKENDS)).unwrap();
        for server in 0..SERVERS {
            let mode = if is_nat { mode::NAT } else { mode::IPIP };
            backends.set(server, Plain(backend(lab, server, mode)), 0).unwrap();
        }
        if is_nat {
            program.fill_pool(nat_sources);
        }
        program
    }

    /// Source addresses of translated flows.
    pub(crate) fn fill_pool(&mut self, nat_sources: u32) {
        let mut pool = Array::try_from(self.map(names::NAT_POOL)).unwrap();
        for number in 0..nat_sources {
            let address = mapped_v4([10, 9, 0, number as u8]);
            pool.set(number, Plain(NatSource { address, number, pad: 0 }), 0).unwrap();
        }
    }

    pub(crate) fn map(&mut self, name: &str) -> &mut aya::maps::Map {
        self.ebpf.map_mut(name).unwrap()
    }
}

/// The product's configuration, with so many source addresses.
pub(crate) fn config(nat_sources: u32) -> ConfigEntry {
    ConfigEntry {
        hash_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        outer_source_v6: [0xfd; 16],
        outer_source_v4: [172, 16, 0, 0],
        abi_version: ABI_VERSION,
        nat_v4: NatRange { first: 0, count: nat_sources },
        nat_v6: NatRange::default(),
        ranges: 0,
        pad: 0,
    }
}

/// A server's entry.
pub(crate) fn backend(lab: &Lab, server: u32, mode: u8) -> BackendEntry {
    let [edge, generator] = lab.macs;
    BackendEntry {
        address: mapped_v4([10, 1, 0, server as u8]),
        next_hop_mac: generator,
        vlan_outer: [0; 2],
        source_mac: edge,
        vlan_inner: [0; 2],
        ifindex: lab.edge,
        mtu: 1500,
        port: SERVICE.1.to_be_bytes(),
        mode,
        state: state::UP | state::RESOLVED | state::V4,
        pad: [0; 2],
        generation: 1,
        identity: u64::from(server) + 1,
    }
}

/// Which server owns a slot: all alike, in no order.
pub(crate) fn owner(slot: u32) -> u32 {
    slot.wrapping_mul(0x9e37_79b1) % SERVERS
}
