//! A loaded load balancer with small maps, run on one packet at a time.

use aya::maps::lpm_trie::{Key, LpmTrie};
use std::ops::{Deref, DerefMut};

use aya::Pod;
use aya::maps::{Array, HashMap, PerCpuArray, xdp::DevMapHash};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::abi::nat::{NatBucket, NatRange, NatSource};
use lb_common::abi::{
    AclKey, BackendEntry, BackendStats, ConfigEntry, FlowEntry, FlowKey, NatFlow, ProtectionEntry, QuicKey, RangeEntry,
    RangeKey, Reason, SLOTS_PER_ELEMENT, ServiceEntry, ServiceKey, ServiceStats, Slot, SlotPair, VipEntry,
    backend::state, mapped_v4, names, services_map,
};
use lb_common::hash::FlowHash;
use lb_common::nat::index::{Entry, Probe};

use crate::loaded::Loaded;

/// What an XDP program answers.
pub const DROP: u32 = 1;
pub const PASS: u32 = 2;
pub const TX: u32 = 3;
pub const REDIRECT: u32 = 4;

/// `BPF_PROG_TEST_RUN` gives packets to the loopback interface, number 1.
pub const INGRESS: u32 = 1;
/// A key of `EGRESS` other than the ingress.
pub const OTHER_INTERFACE: u32 = 77;

pub const CONFIG: ConfigEntry = ConfigEntry {
    hash_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
    outer_source_v6: [0xfd, 0, 0, 0x10, 0, 0, 0, 0x55, 1, 2, 3, 4, 5, 6, 7, 8],
    outer_source_v4: [172, 16, 9, 9],
    abi_version: lb_common::abi::ABI_VERSION,
    nat_v4: NatRange { first: 0, count: 1 },
    nat_v6: NatRange { first: 1, count: 1 },
    ranges: 1,
    pad: 0,
};

/// Source addresses of translated flows, IPv4 and IPv6; the number of each is its position.
pub const NAT_SOURCES: [[u8; 16]; 2] =
    [mapped_v4([10, 9, 0, 1]), [0xfd, 0, 0, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]];

/// A type of the ABI as aya wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Plain<T>(pub T);

#[expect(unsafe_code, reason = "the types of the ABI are plain data without padding")]
// SAFETY: only used with types of `lb_common::abi`, which are `repr(C)` with explicit padding.
unsafe impl<T: Copy + 'static> Pod for Plain<T> {}

/// A resolved IPv4 backend behind the ingress interface.
pub fn backend(number: u8) -> BackendEntry {
    BackendEntry {
        address: mapped_v4([10, 0, 0, number]),
        next_hop_mac: [2, 0, 0, 0, 1, number],
        vlan_outer: [0; 2],
        source_mac: [2, 0, 0, 0, 2, 2],
        vlan_inner: [0; 2],
        ifindex: INGRESS,
        mtu: 1500,
        port: [0, 80],
        mode: lb_common::abi::backend::mode::IPIP,
        state: state::UP | state::RESOLVED | state::V4,
        pad: [0; 2],
        generation: 1,
        identity: u64::from(number) + 1000,
    }
}

/// A resolved IPv6 backend behind the ingress interface.
pub fn backend_v6(number: u8) -> BackendEntry {
    let mut entry = backend(number);
    entry.address = [0xfd, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number];
    entry.state &= !state::V4;
    entry
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// XDP action.
    pub action: u32,
    /// The frame afterwards.
    pub bytes: Vec<u8>,
}

/// The program and its maps.
pub struct Edge {
    /// `None` once it was given back.
    loaded: Option<Loaded>,
}

impl Deref for Edge {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        self.loaded.as_ref().unwrap()
    }
}

impl DerefMut for Edge {
    fn deref_mut(&mut self) -> &mut Loaded {
        self.loaded.as_mut().unwrap()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(loaded) = self.loaded.take() {
            loaded.give_back();
        }
    }
}

impl Edge {
    /// The object with small maps, empty but for [`CONFIG`] and [`NAT_SOURCES`].
    pub fn new() -> Self {
        Self::with_reject_burst(100_000)
    }

    /// As [`Edge::new`]; answers stop after so many, because no new one is allowed for a day.
    pub fn with_reject_burst(burst: u32) -> Self {
        let mut edge = Self { loaded: Some(Loaded::take(burst)) };
        edge.set_config(&CONFIG);
        edge.set_nat_sources();
        edge
    }

    pub fn set_config(&mut self, config: &ConfigEntry) {
        self.array(names::CONFIG).set(0, Plain(*config), 0).unwrap();
    }

    fn set_nat_sources(&mut self) {
        for (number, address) in (0u32..).zip(NAT_SOURCES) {
            self.array(names::NAT_POOL).set(number, Plain(NatSource { address, number, pad: 0 }), 0).unwrap();
            let mut sources =
                HashMap::<_, [u8; 16], u32>::try_from(self.ebpf.map_mut(names::NAT_SOURCES).unwrap()).unwrap();
            sources.insert(address, number, 0).unwrap();
        }
    }

    /// The translated flow of a client's tuple: its index and what stands there.
    pub fn nat_flow(&self, key: &FlowKey) -> Option<(u32, NatFlow)> {
        let index = Array::<_, Plain<NatBucket>>::try_from(self.ebpf.map(names::NAT_INDEX).unwrap()).unwrap();
        let flows = Array::<_, Plain<NatFlow>>::try_from(self.ebpf.map(names::NAT_FLOWS).unwrap()).unwrap();
        let probe = self.nat_probe(key);
        let entries = probe.buckets.into_iter().flat_map(|bucket| index.get(&bucket, 0).unwrap().0.tagged(probe.tag));
        let found = entries.filter_map(|place| Some((place, flows.get(&place, 0).ok()?.0)));
        found.into_iter().find(|(_, flow)| flow.key == *key && flow.protocol != 0)
    }

    /// Where the index may have a client's tuple.
    pub fn nat_probe(&self, key: &FlowKey) -> Probe {
        Probe::of(FlowHash::of_key(key, CONFIG.hash_key), lb_common::abi::limits::MAX_NAT_BUCKETS)
    }

    pub fn set_nat_bucket(&mut self, index: u32, bucket: NatBucket) {
        self.array(names::NAT_INDEX).set(index, Plain(bucket), 0).unwrap();
    }

    /// What stands at a place.
    pub fn nat_place(&self, index: u32) -> NatFlow {
        let flows = Array::<_, Plain<NatFlow>>::try_from(self.ebpf.map(names::NAT_FLOWS).unwrap()).unwrap();
        flows.get(&index, 0).unwrap().0
    }

    pub fn set_nat_flow(&mut self, index: u32, flow: &NatFlow) {
        self.array(names::NAT_FLOWS).set(index, Plain(*flow), 0).unwrap();
    }

    /// The same flow in every one of these places.
    pub fn fill_nat_flows(&mut self, places: std::ops::Range<u32>, flow: &NatFlow) {
        let mut array = self.array(names::NAT_FLOWS);
        for index in places {
            array.set(index, Plain(*flow), 0).unwrap();
        }
    }

    /// Entries of `NAT_INDEX`.
    pub fn nat_index_len(&self) -> usize {
        let index = Array::<_, Plain<NatBucket>>::try_from(self.ebpf.map(names::NAT_INDEX).unwrap()).unwrap();
        index.iter().flat_map(|bucket| bucket.unwrap().0.0).filter(|entry| Entry(*entry) != Entry::FREE).count()
    }

    pub fn set_vip(&mut self, address: [u8; 16], flags: u32) {
        let mut vips =
            HashMap::<_, [u8; 16], Plain<VipEntry>>::try_from(self.ebpf.map_mut(names::VIPS).unwrap()).unwrap();
        vips.insert(address, Plain(VipEntry { flags, pad: 0 }), 0).unwrap();
    }

    pub fn set_service(&mut self, key: &ServiceKey, entry: &ServiceEntry) {
        let map = self.ebpf.map_mut(services_map(key)).unwrap();
        match key.v4() {
            Some(key) => HashMap::try_from(map).unwrap().insert(Plain(key), Plain(*entry), 0).unwrap(),
            None => HashMap::try_from(map).unwrap().insert(Plain(*key), Plain(*entry), 0).unwrap(),
        }
    }

    /// Puts a prefix into `RANGES`.
    pub fn set_range(&mut self, key: &RangeKey, entry: RangeEntry) {
        let mut data = [0; 20];
        data[..16].copy_from_slice(&key.address);
        data[16..].copy_from_slice(&[key.protocol, 0, key.port[0], key.port[1]]);
        let map = self.ebpf.map_mut(names::RANGES).unwrap();
        let mut ranges = LpmTrie::<_, [u8; 20], Plain<RangeEntry>>::try_from(map).unwrap();
        ranges.insert(&Key::new(key.prefix_len, data), Plain(entry), 0).unwrap();
    }

    pub fn set_protection(&mut self, id: u32, entry: &ProtectionEntry) {
        self.array(names::PROTECTION).set(id, Plain(*entry), 0).unwrap();
    }

    /// Puts a prefix into `ACL`.
    pub fn set_acl(&mut self, key: &AclKey, verdict: u32) {
        let mut data = [0; 20];
        data[..4].copy_from_slice(&key.acl.to_ne_bytes());
        data[4..].copy_from_slice(&key.address);
        let mut acl = LpmTrie::<_, [u8; 20], u32>::try_from(self.ebpf.map_mut(names::ACL).unwrap()).unwrap();
        acl.insert(&Key::new(key.prefix_len, data), verdict, 0).unwrap();
    }

    pub fn set_slots(&mut self, offset: u32, slots: &[Slot]) {
        let mut array = self.array::<SlotPair>(names::SLOTS);
        for (index, slot) in (offset..).zip(slots) {
            let element = index / SLOTS_PER_ELEMENT;
            let mut pair = array.get(&element, 0).unwrap();
            pair.0[(index % SLOTS_PER_ELEMENT) as usize] = *slot;
            array.set(element, pair, 0).unwrap();
        }
    }

    pub fn set_backend(&mut self, index: u32, entry: &BackendEntry) {
        self.array(names::BACKENDS).set(index, Plain(*entry), 0).unwrap();
    }

    pub fn set_quic_server(&mut self, key: &QuicKey, entry: &FlowEntry) {
        let mut servers = HashMap::try_from(self.ebpf.map_mut(names::QUIC_SERVERS).unwrap()).unwrap();
        servers.insert(Plain(*key), Plain(*entry), 0).unwrap();
    }

    /// Lets packets be redirected to [`OTHER_INTERFACE`].
    pub fn allow_egress(&mut self) {
        let mut egress = DevMapHash::try_from(self.ebpf.map_mut(names::EGRESS).unwrap()).unwrap();
        egress.insert(OTHER_INTERFACE, 1, None, 0).unwrap();
    }

    pub fn flow(&self, map: &'static str, key: &FlowKey) -> Option<FlowEntry> {
        let flows = HashMap::<_, Plain<FlowKey>, Plain<FlowEntry>>::try_from(self.ebpf.map(map).unwrap()).unwrap();
        // When it was seen last is the kernel's business.
        flows.get(&Plain(*key), 0).ok().map(|entry| FlowEntry { seen: 0, ..entry.0 })
    }

    /// When a flow's entry was asked for last.
    pub fn seen(&self, map: &'static str, key: &FlowKey) -> Option<u32> {
        let flows = HashMap::<_, Plain<FlowKey>, Plain<FlowEntry>>::try_from(self.ebpf.map(map).unwrap()).unwrap();
        flows.get(&Plain(*key), 0).ok().map(|entry| entry.0.seen)
    }

    /// Entries of a flow table.
    pub fn flows_len(&self, map: &'static str) -> usize {
        let flows = HashMap::<_, Plain<FlowKey>, Plain<FlowEntry>>::try_from(self.ebpf.map(map).unwrap()).unwrap();
        flows.keys().filter_map(Result::ok).count()
    }

    pub fn set_flow(&mut self, map: &'static str, key: &FlowKey, entry: &FlowEntry) {
        let mut flows = HashMap::try_from(self.ebpf.map_mut(map).unwrap()).unwrap();
        flows.insert(Plain(*key), Plain(*entry), 0).unwrap();
    }

    /// Sum over the CPUs of the counter of a reason.
    pub fn verdict(&self, reason: Reason) -> u64 {
        self.per_cpu::<u64>(names::VERDICTS, reason as u32).iter().sum()
    }

    /// All counters of reasons that are not 0.
    pub fn verdicts(&self) -> Vec<(Reason, u64)> {
        Reason::ALL.iter().map(|reason| (*reason, self.verdict(*reason))).filter(|(_, count)| *count > 0).collect()
    }

    pub fn service_stats(&self, id: u32) -> ServiceStats {
        let cpus = self.per_cpu::<ServiceStats>(names::SERVICE_STATS, id);
        cpus.iter().fold(ServiceStats::default(), |sum, one| sum.plus(one))
    }

    pub fn backend_stats(&self, index: u32) -> BackendStats {
        self.per_cpu::<BackendStats>(names::BACKEND_STATS, index).iter().fold(BackendStats::default(), |sum, one| {
            BackendStats { packets: sum.packets + one.packets, bytes: sum.bytes + one.bytes }
        })
    }

    /// Runs the program on a frame, with every byte of headroom that it may use set to 0xff beforehand.
    pub fn run(&self, frame: &[u8]) -> Outcome {
        let program: &Xdp = self.poison.program("poison").unwrap().try_into().unwrap();
        run(program, frame)
    }

    fn array<T: Copy + 'static>(&mut self, map: &'static str) -> Array<&mut aya::maps::MapData, Plain<T>> {
        Array::try_from(self.ebpf.map_mut(map).unwrap()).unwrap()
    }

    pub fn per_cpu<T: Copy + 'static>(&self, map: &'static str, index: u32) -> Vec<T> {
        let array = PerCpuArray::<_, Plain<T>>::try_from(self.ebpf.map(map).unwrap()).unwrap();
        array.get(&index, 0).unwrap().iter().map(|value| value.0).collect()
    }
}

/// Runs a program on a frame.
pub fn run(program: &Xdp, frame: &[u8]) -> Outcome {
    let mut bytes = vec![0; 16_384];
    let result = program
        .test_run(TestRunOptions { data_in: Some(frame), data_out: Some(&mut bytes), ..TestRunOptions::default() })
        .unwrap();
    bytes.truncate(result.data_size_out as usize);
    Outcome { action: result.return_value, bytes }
}
