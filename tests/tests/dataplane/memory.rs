//! What the maps cost.

use aya::{EbpfLoader, maps::Map};

use tests::objects;

/// All maps of the load balancer at their default sizes, in bytes, on a machine with two CPUs; more than a third is `SLOTS`.
const BOUND: u64 = 176 << 20;
/// The same where the kernel does not count what its maps take (before Linux 6.4): it says keys and values of all entries,
/// also keys for arrays, which hold none, and entries that trees have room for and do not hold.
const BOUND_OF_ESTIMATE: u64 = 256 << 20;

#[test]
fn the_maps_at_their_default_sizes_take_less_memory_than_the_stated_bound() {
    let ebpf = EbpfLoader::new().load_file(objects().join("snowshed.o")).unwrap();
    let (mut total, mut parts) = (0, Vec::new());
    for (name, map) in ebpf.maps() {
        let bytes = bytes(map);
        parts.push((name, bytes));
        total += bytes;
    }
    let bound = if counts_map_memory() { BOUND } else { BOUND_OF_ESTIMATE };
    assert!(total <= bound, "{total} of {bound} bytes: {parts:?}");
}

fn counts_map_memory() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 4)
}

#[test]
fn every_map_of_the_load_balancer_has_its_name_in_the_abi() {
    use lb_common::abi::names;
    let named = [
        names::SERVICES_V4,
        names::SERVICES_V6,
        names::SLOTS,
        names::BACKENDS,
        names::CONFIG,
        names::FLOWS_OPENED,
        names::FLOWS_PINNED,
        names::EGRESS,
        names::SERVICE_STATS,
        names::BACKEND_STATS,
        names::VERDICTS,
        names::REJECTS,
        names::NAT_FLOWS,
        names::NAT_INDEX,
        names::NAT_PACKET,
        names::NAT_POOL,
        names::NAT_SOURCES,
        names::PROTECTION,
        names::ACL,
        names::SOURCES,
        names::BUCKETS,
        names::VIPS,
        names::RANGES,
        names::QUIC_SERVERS,
        names::QUIC_NAMED,
        names::FRAGMENTS,
        names::ASIDE,
        names::WAY,
        names::LIMIT,
        names::ANSWERS,
        names::CAPTURE_FILTER,
        names::CAPTURE_EVENTS,
        names::CAPTURE_LOST,
        names::CAPTURE_RATE,
        names::CAPTURED,
    ];
    let ebpf = EbpfLoader::new().load_file(objects().join("snowshed.o")).unwrap();
    let mut maps: Vec<&str> = ebpf.maps().map(|(name, _)| name).filter(|name| !name.starts_with('.')).collect();
    maps.sort_unstable();
    let mut expected = named.to_vec();
    expected.sort_unstable();
    assert_eq!(maps, expected);
}

/// As the kernel accounts it (`memlock` in the map's fdinfo).
fn bytes(map: &Map) -> u64 {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let data = match map {
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::DevMapHash(data)
        | Map::LpmTrie(data)
        | Map::RingBuf(data) => data,
        other => panic!("a map of a kind this test does not know: {other:?}"),
    };
    let info = format!("/proc/self/fdinfo/{}", data.fd().as_fd().as_raw_fd());
    let text = std::fs::read_to_string(info).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).unwrap();
    line.trim().parse().unwrap()
}
