//! Loaded programs, which tests take over from one another with empty maps: the verifier takes longer than a test does,
//! and ten times longer on an emulated processor.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Mutex;

use aya::maps::{Map, MapData, ProgramArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::bpf_cmd;
use lb_common::abi::names;
use tests::objects;

/// Those that no test has at the moment.
static IDLE: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());

/// The load balancer with small maps, and the program that poisons the headroom before it runs.
pub struct Loaded {
    pub ebpf: Ebpf,
    pub poison: Ebpf,
    /// Of answers, see [`super::edge::Edge::with_reject_burst`].
    burst: u32,
}

impl Loaded {
    /// One with empty maps.
    pub fn take(burst: u32) -> Self {
        let mut idle = IDLE.lock().unwrap();
        let found = idle.iter().position(|loaded| loaded.burst == burst).map(|position| idle.swap_remove(position));
        drop(idle);
        match found {
            Some(loaded) => {
                loaded.ebpf.maps().filter(|(name, _)| !name.starts_with('.')).for_each(|(_, map)| empty(map));
                loaded
            }
            None => Self::load(burst),
        }
    }

    /// For the next test.
    pub fn give_back(self) {
        IDLE.lock().unwrap().push(self);
    }

    fn load(burst: u32) -> Self {
        const DAY_NS: u64 = 86_400_000_000_000;
        let mut loader = EbpfLoader::new();
        loader.override_global("REJECT_INTERVAL_NS", &DAY_NS, true).override_global("REJECT_BURST", &burst, true);
        loader.override_global("ECHO_INTERVAL_NS", &DAY_NS, true).override_global("ECHO_BURST", &burst, true);
        for (map, entries) in [
            (names::SERVICES_V4, 256),
            (names::SERVICES_V6, 256),
            (names::SLOTS, 32_768),
            (names::BACKENDS, 256),
            (names::FLOWS_OPENED, 4096),
            (names::FLOWS_PINNED, 4096),
            (names::VIPS, 256),
            (names::FRAGMENTS, 4096),
            (names::SERVICE_STATS, 256),
            (names::BACKEND_STATS, 256),
            (names::PROTECTION, 256),
            (names::BUCKETS, 256),
            (names::SOURCES, 4096),
        ] {
            loader.map_max_entries(map, entries);
        }
        let mut ebpf = loader.load_file(objects().join("snowshed.o")).unwrap();
        let program: &mut Xdp = ebpf.program_mut(names::PROGRAM).unwrap().try_into().unwrap();
        program.load().unwrap();
        let fd = program.fd().unwrap().try_clone().unwrap();
        let mut poison = EbpfLoader::new().load_file(objects().join("bench.o")).unwrap();
        let mut next = ProgramArray::try_from(poison.map_mut("POISONED").unwrap()).unwrap();
        next.set(0, &fd, 0).unwrap();
        let program: &mut Xdp = poison.program_mut("poison").unwrap().try_into().unwrap();
        program.load().unwrap();
        Self { ebpf, poison, burst }
    }
}

fn empty(map: &Map) {
    match map {
        Map::Array(data) => zero(data, 1),
        Map::PerCpuArray(data) => zero(data, aya::util::nr_cpus().unwrap()),
        Map::HashMap(data) | Map::LruHashMap(data) | Map::DevMapHash(data) | Map::LpmTrie(data) => clear(data),
        // Of captures, which these tests do not load.
        Map::RingBuf(_) => {}
        other => panic!("a map of a kind that is never emptied: {other:?}"),
    }
}

/// `union bpf_attr` of `BPF_MAP_*_BATCH`.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: i32,
    flags: [u64; 2],
}

/// `union bpf_attr` of `BPF_MAP_*_ELEM` and `BPF_MAP_GET_NEXT_KEY`.
#[repr(C)]
struct Element {
    map: i32,
    pad: u32,
    key: u64,
    next: u64,
    flags: u64,
}

fn zero(map: &MapData, values_per_element: usize) {
    let info = map.info().unwrap();
    let keys: Vec<u32> = (0..info.max_entries()).collect();
    let value = (info.value_size() as usize).next_multiple_of(8) * values_per_element;
    let values = vec![0_u8; value * keys.len()];
    let batch = Batch {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: info.max_entries(),
        map: map.fd().as_fd().as_raw_fd(),
        flags: [0; 2],
    };
    assert!(call(bpf_cmd::BPF_MAP_UPDATE_BATCH, &batch), "{info:?}: {}", std::io::Error::last_os_error());
}

fn clear(map: &MapData) {
    let info = map.info().unwrap();
    let mut key = vec![0_u8; info.key_size() as usize];
    let element = |key, next| Element { map: map.fd().as_fd().as_raw_fd(), pad: 0, key, next, flags: 0 };
    while call(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &element(0, key.as_mut_ptr() as u64)) {
        let deleted = call(bpf_cmd::BPF_MAP_DELETE_ELEM, &element(key.as_ptr() as u64, 0));
        assert!(deleted, "{info:?}: {}", std::io::Error::last_os_error());
    }
}

/// `bpf(2)`; whether it succeeded.
#[expect(
    unsafe_code,
    reason = "aya neither writes arrays at once nor empties maps of which it does not know the types"
)]
fn call<T>(command: bpf_cmd, attribute: &T) -> bool {
    // SAFETY: the attribute is of the command, and its pointers are to what is as large as the map's info says.
    unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attribute), size_of::<T>()) == 0 }
}
