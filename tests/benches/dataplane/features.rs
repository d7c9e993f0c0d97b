//! What each feature costs: services beside each other in one loaded program, each with one thing that the plain one has
//! not, under packets of the same 1,000 flows.

use aya::EbpfLoader;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, PerCpuArray};
use lb_common::abi::backend::mode;
use lb_common::abi::capture::{CaptureEnd, CaptureFilter};
use lb_common::abi::nat::PORTS;
use lb_common::abi::protection::Rate;
use lb_common::abi::service::{flags, kind};
use lb_common::abi::{
    ConfigEntry, FlowEntry, FlowKey, ProtectionEntry, QuicKey, RangeEntry, RangeKey, Reason, SLOTS_PER_ELEMENT,
    ServiceEntry, ServiceKey, Slot, SlotPair, VipEntry, mapped_v4, names,
};
use lb_common::hash::FlowHash;
use tests::objects;

use crate::lab::{Lab, Traffic};
use crate::programs::{Plain, Program, SERVERS, SERVICE, SLOTS, backend, config, owner};

/// Flows of each.
pub const FLOWS: u32 = 1_000;
/// Source addresses: room for every new flow of a run.
const NAT_SOURCES: u32 = 24;
/// The index of the first server with translation.
const NAT_SERVERS: u32 = SERVERS;
/// Slots of each of the three tables: owners alone, moving ones, ones with exceptions.
const TABLE: u32 = SLOTS.next_multiple_of(SLOTS_PER_ELEMENT);
/// Prefixes of the access list, beside the one that lets the clients in.
const PREFIXES: u32 = 1_000;
/// Of QUIC.
const CONFIG_ID: u8 = 1;
const SERVER_ID_LEN: u8 = 8;

/// A feature under its packets.
pub struct Feature {
    /// What there is, beside what every packet has.
    pub name: &'static str,
    pub traffic: Traffic,
    /// It is the program that captures.
    pub captures: bool,
}

/// Every feature, the plain service first.
pub fn all() -> Vec<Feature> {
    let at = |name, port| Feature { name, traffic: Traffic { port, ..Traffic::plain(FLOWS) }, captures: false };
    let quic = Feature {
        traffic: Traffic { payload: short_header(), ..at("", 446).traffic },
        ..at("QUIC, routed by its id", 446)
    };
    let errors = Traffic { are_errors: true, ..Traffic::plain(FLOWS) };
    let new = Traffic { flows: Traffic::NONE_TWICE, ..at("", 451).traffic };
    vec![
        at("none", SERVICE.1),
        at("access list of 1,000 prefixes", 444),
        at("packet rate limit", 445),
        quic,
        at("port of a range", 9_500),
        at("slot with exceptions, none for the flow", 447),
        at("slot with exceptions, one for the flow", 448),
        at("moving slot", 449),
        Feature { traffic: errors, ..at("ICMP error about the flow", 443) },
        at("nat, flow is known", 450),
        Feature { traffic: new, ..at("nat, flow is new", 451) },
        Feature { captures: true, ..at("capture on, of other packets", 443) },
    ]
}

/// A QUIC packet of an open connection whose id names the server.
fn short_header() -> [u8; 12] {
    let mut payload = [0; 12];
    payload[..2].copy_from_slice(&[0x40, CONFIG_ID << 5]);
    payload[2..10].copy_from_slice(&quic_key().server);
    payload
}

fn quic_key() -> QuicKey {
    QuicKey::of(0x0123_4567_89ab_cdef, 446, CONFIG_ID, SERVER_ID_LEN)
}

/// The program of traffic, or the one that captures, with every service.
pub fn program(lab: &Lab, captures: bool) -> Program {
    let places = NAT_SOURCES * PORTS;
    let buckets = lb_common::nat::index::buckets(places);
    let mut loader = EbpfLoader::new();
    loader.map_max_entries(names::NAT_FLOWS, places).map_max_entries(names::NAT_INDEX, buckets);
    loader.override_global(names::NAT_BUCKETS, &buckets, true);
    // A thousand flows need no million places.
    loader.map_max_entries(names::FLOWS_OPENED, 65_536).map_max_entries(names::FLOWS_PINNED, 65_536);
    let ebpf = loader.load_file(objects().join("snowshed.o")).unwrap();
    let function = if captures { names::CAPTURING_PROGRAM } else { names::PROGRAM };
    let mut program = Program { name: "snowshed", mode: "", function, ebpf };
    program.xdp().load().unwrap();
    let config = ConfigEntry { ranges: 1, ..config(NAT_SOURCES) };
    Array::try_from(program.map(names::CONFIG)).unwrap().set(0, Plain(config), 0).unwrap();
    let mut backends = Array::try_from(program.map(names::BACKENDS)).unwrap();
    for server in 0..SERVERS {
        backends.set(server, Plain(backend(lab, server, mode::IPIP)), 0).unwrap();
        backends.set(NAT_SERVERS + server, Plain(backend(lab, server, mode::NAT)), 0).unwrap();
    }
    program.fill_pool(NAT_SOURCES);
    fill_slots(&mut program);
    fill_services(&mut program);
    fill_aids(&mut program, config.hash_key);
    if captures {
        let mut filters = Array::try_from(program.map(names::CAPTURE_FILTER)).unwrap();
        let client = CaptureEnd::new(mapped_v4([198, 51, 100, 1]), 128, 0);
        let reasons = CaptureFilter::bits(Reason::ALL.iter().copied());
        let rate = Rate::per_second(1_000);
        let filter = CaptureFilter { until_ns: u64::MAX, rate, reasons, client, snap: 128, ..CaptureFilter::default() };
        filters.set(0, Plain(filter), 0).unwrap();
    }
    program
}

/// Whether the packets took the ways that they were to take: nearly all were sent on, and those of QUIC by their ids.
pub fn check(program: &mut Program) {
    let verdicts = PerCpuArray::<_, u64>::try_from(program.map(names::VERDICTS)).unwrap();
    let count = |reason: Reason| verdicts.get(&(reason as u32), 0).unwrap().iter().sum::<u64>();
    let all: u64 = Reason::ALL.iter().map(|reason| count(*reason)).sum();
    let (sent, routed) = (count(Reason::Transmitted), count(Reason::QuicRouted));
    assert!(sent + routed > all / 100 * 99, "{sent} and {routed} of {all} packets were sent on");
    let captures = program.function == names::CAPTURING_PROGRAM;
    assert!(captures || routed > 0, "no packet of QUIC was routed by its id");
}

/// Four tables behind each other: owners, moving, with exceptions, owners that translate.
fn fill_slots(program: &mut Program) {
    let mut slots = Array::try_from(program.map(names::SLOTS)).unwrap();
    for (table, flag, first) in [(0, 0, 0), (1, Slot::MOVING, 0), (2, Slot::EXCEPTIONS, 0), (3, 0, NAT_SERVERS)] {
        for element in 0..TABLE / SLOTS_PER_ELEMENT {
            let slot = |slot| Slot(Slot::to_backend(first + owner(element * SLOTS_PER_ELEMENT + slot)).0 | flag);
            let pair: SlotPair = [0, 1].map(slot);
            slots.set((table * TABLE) / SLOTS_PER_ELEMENT + element, Plain(pair), 0).unwrap();
        }
    }
}

fn fill_services(program: &mut Program) {
    let quic = flags::QUIC
        | u32::from(CONFIG_ID) << flags::QUIC_CONFIG_SHIFT
        | u32::from(SERVER_ID_LEN) << flags::QUIC_LEN_SHIFT;
    let mut services = HashMap::try_from(program.map(names::SERVICES_V4)).unwrap();
    for (port, service_flags, table, is_range) in [
        (SERVICE.1, 0, 0, false),
        (444, flags::ACL, 0, false),
        (445, flags::LIMITED, 0, false),
        (446, quic, 0, false),
        (9_000, flags::RANGE, 0, true),
        (447, 0, 2, false),
        (448, 0, 2, false),
        (449, 0, 1, false),
        (450, flags::NAT, 3, false),
        (451, flags::NAT, 3, false),
    ] {
        let entry = ServiceEntry {
            id: u32::from(port),
            flags: service_flags,
            slots_offset: table * TABLE,
            slots_len: SLOTS,
            previous_offset: 0,
            previous_len: if table == 1 { SLOTS } else { 0 },
            generation: 1,
        };
        let kind = if is_range { kind::RANGE } else { kind::PORT };
        services.insert(Plain(key(port, kind).v4().unwrap()), Plain(entry), 0).unwrap();
    }
}

fn key(port: u16, kind: u8) -> ServiceKey {
    ServiceKey { address: mapped_v4(SERVICE.0), port: port.to_be_bytes(), protocol: 17, kind, pad: [0; 4] }
}

/// What the services refer to.
fn fill_aids(program: &mut Program, hash_key: [u64; 2]) {
    let mut protections = Array::try_from(program.map(names::PROTECTION)).unwrap();
    let list = ProtectionEntry { acl: 1, ..ProtectionEntry::default() };
    // So many that none is refused.
    let limit = ProtectionEntry { packets: Rate::per_second(1_000_000_000), ..ProtectionEntry::default() };
    protections.set(444, Plain(list), 0).unwrap();
    protections.set(445, Plain(limit), 0).unwrap();
    let mut acl = LpmTrie::<_, [u8; 20], u32>::try_from(program.map(names::ACL)).unwrap();
    let mut line = |address: [u8; 4], bits: u32, verdict: u32| {
        let data = [&1_u32.to_ne_bytes()[..], &mapped_v4(address)].concat();
        acl.insert(&Key::new(32 + 96 + bits, data.try_into().unwrap()), verdict, 0).unwrap();
    };
    line([10, 0, 0, 0], 8, 1);
    for number in 0..PREFIXES {
        let [_, _, high, low] = number.to_be_bytes();
        line([172, high, low, 0], 24, 2);
    }
    let mut vips = HashMap::try_from(program.map(names::VIPS)).unwrap();
    vips.insert(Plain(mapped_v4(SERVICE.0)), Plain(VipEntry::default()), 0).unwrap();
    let mut ranges = LpmTrie::<_, [u8; 20], Plain<RangeEntry>>::try_from(program.map(names::RANGES)).unwrap();
    for prefix in RangeKey::covering(&key(9_000, kind::RANGE), 11_000) {
        let data = [&prefix.address[..], &[prefix.protocol, 0], &prefix.port].concat();
        let entry = RangeEntry { first: 9_000_u16.to_be_bytes(), pad: [0; 2] };
        ranges.insert(&Key::new(prefix.prefix_len, data.try_into().unwrap()), Plain(entry), 0).unwrap();
    }
    let mut named = HashMap::try_from(program.map(names::QUIC_SERVERS)).unwrap();
    named.insert(Plain(quic_key()), Plain(FlowEntry::naming(7, 1)), 0).unwrap();
    let mut pinned = HashMap::try_from(program.map(names::FLOWS_PINNED)).unwrap();
    for number in 0..FLOWS {
        let flow = FlowKey {
            source: mapped_v4((0x0a00_0000 + (number >> 12)).to_be_bytes()),
            destination: mapped_v4(SERVICE.0),
            source_port: (1024 + (number & 0xfff) as u16).to_be_bytes(),
            destination_port: 448_u16.to_be_bytes(),
            protocol: 17,
            via: [0; 3],
        };
        // Another server than the slot's.
        let own = owner(FlowHash::of_key(&flow, hash_key).slot(SLOTS));
        pinned.insert(Plain(flow), Plain(FlowEntry::naming((own + 1) % SERVERS, 1)), 0).unwrap();
    }
}
