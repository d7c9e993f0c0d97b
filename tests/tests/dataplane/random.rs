//! Random packets, services and tables against the model: verdicts, bytes, flow tables and counters.
//!
//! `SNOWSHED_PACKETS` says how many packets, `SNOWSHED_SEED` which seed is the first (0): a failure names seed and
//! packet, and that seed alone is `SNOWSHED_SEED=N SNOWSHED_PACKETS=20000`. A million, as rarely as the machine is idle:
//! `SNOWSHED_PACKETS=1000000 nice -n 19 cargo test -p tests --test dataplane -- --nocapture agree_on_random_packets`.
//! A seed that ever failed is kept.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::backend::state;
use lb_common::abi::protection::Rate;
use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, ProtectionEntry, ServiceEntry, Slot, mapped_v4};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::edge::{OTHER_INTERFACE, backend, backend_v6};
use crate::forwarding::{Pair, key};
use crate::model::nat::is_live;
use crate::packets::{Frame, Ip, Transport, V4, V6};

mod edges;
pub mod quic;

/// Packets of one seed.
const PACKETS: usize = 20_000;
/// Packets of a run, where nobody says otherwise.
const USUAL: usize = 80_000;

/// Seeds that once failed.
const KEPT: [u64; 1] = [41];

/// The seeds of the run; those that are kept are of every run that is not told where to begin.
fn seeds() -> BTreeSet<u64> {
    let packets = number("SNOWSHED_PACKETS").unwrap_or_else(|| tests::vm::scaled(USUAL));
    let first = number("SNOWSHED_SEED").map(|seed| seed as u64);
    let all = |first| first..first + packets.div_ceil(PACKETS) as u64;
    match first {
        Some(first) => all(first).collect(),
        None => all(0).chain(KEPT).collect(),
    }
}

fn number(variable: &str) -> Option<usize> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// In which no token comes back to a bucket.
const DAY_NS: u64 = 86_400_000_000_000;

#[test]
fn the_program_and_the_model_agree_on_random_packets() {
    let (mut beside, mut entries) = (0, BTreeMap::new());
    for seed in seeds() {
        let mut random = StdRng::seed_from_u64(seed);
        let mut pair = Pair::new(&backend(1));
        populate(&mut pair, &mut random);
        let mut edges = edges::Edges::default();
        for number in 0..PACKETS {
            let bytes = match random.random_range(0..5) {
                0 => reply(&mut random, &pair),
                1 => edges.frame(&mut random, &pair),
                _ => frame(&mut random),
            };
            let bytes = damaged(&mut random, bytes);
            pair.run(&format!("seed {seed}, packet {number}"), &bytes);
            if random.random_ratio(1, 200) {
                let index = random.random_range(0..16);
                let entry = some_backend(&mut random, index as u8);
                pair.set_backend(index, &entry);
            }
        }
        pair.check_counters();
        for (name, flows) in [
            (lb_common::abi::names::FLOWS_OPENED, &pair.model.opened),
            (lb_common::abi::names::FLOWS_PINNED, &pair.model.pinned),
        ] {
            *entries.entry(name).or_insert(0) += flows.len();
            for (key, entry) in flows {
                assert_eq!(pair.edge.flow(name, key), Some(*entry), "{name}");
            }
        }
        let mut given_up = 0;
        for (key, flow) in &pair.model.translated {
            let Some((_, found)) = pair.edge.nat_flow(key) else {
                // The place of a flow whose server is gone is free: chance may have given it to another.
                assert!(!is_live(&pair.model, flow), "{key:?}");
                given_up += 1;
                continue;
            };
            assert_eq!((found.source, found.ports[0]), flow.source, "{key:?}");
            assert_eq!((found.server, found.ports[1]), flow.server, "{key:?}");
        }
        assert!(pair.model.translated.len() > 50, "the test says little: {} flows", pair.model.translated.len());
        assert_eq!(pair.edge.nat_index_len() + given_up, pair.model.translated.len());
        beside += pair.model.translated.keys().filter(|key| key.via != [0; 3]).count();
        assert!(pair.model.verdicts.len() >= 28, "the test says little: {:?}", pair.model.verdicts);
    }
    let packets = seeds().len() * PACKETS;
    println!(
        "{packets} packets of {} seeds agree; {beside} flows of QUIC connections beside others of their tuple",
        seeds().len()
    );
    // One table more, one less: chance decides which slots are moving.
    let usual = 20 * seeds().len();
    assert!(entries.values().all(|entries| *entries > usual), "the test says little: {entries:?}");
    assert!(beside > 5 || packets < USUAL, "the test says little: {beside} flows beside others");
}

pub fn populate(pair: &mut Pair, random: &mut StdRng) {
    for index in 0..16 {
        let entry = some_backend(random, index as u8);
        pair.set_backend(index, &entry);
    }
    let slots = (0..2000)
        .map(|_| {
            let flags = [0, 0, Slot::MOVING, Slot::EXCEPTIONS][random.random_range(0..4)];
            Slot(random.random_range(0..17) | flags)
        })
        .collect::<Vec<_>>();
    pair.set_slots(1000, &slots);
    protect(pair, random);
    quic::populate(pair, random);
    for id in 0..8u8 {
        pair.set_vip(vip(id % 2 == 1, id), random.random_range(0..16) & if id == 3 { 7 } else { 3 });
        for protocol in if id < 6 { [6, 17].as_slice() } else { &[] } {
            let entry = ServiceEntry {
                id: u32::from(id) + 10,
                flags: random.random_range(0..4)
                    | mode(random)
                    | affinity(random)
                    | protection(random)
                    | flags::RANGE
                    | quic::flags(random),
                slots_offset: 1000 + random.random_range(0..900),
                slots_len: if id == 5 { 0 } else { random.random_range(1..700) },
                previous_offset: 1000 + random.random_range(0..900),
                previous_len: random.random_range(0..700),
                generation: 1,
            };
            // Around the ports of the other services, and beside them.
            let (first, last) = (random.random_range(40..100), random.random_range(100..200));
            pair.set_range(key(vip(id % 2 == 1, id), first, *protocol), last, entry);
        }
        for port in [80, 53] {
            for protocol in [6, 17] {
                let entry = ServiceEntry {
                    id: u32::from(id),
                    flags: random.random_range(0..4)
                        | mode(random)
                        | affinity(random)
                        | protection(random)
                        | quic::flags(random),
                    slots_offset: 1000 + random.random_range(0..900),
                    slots_len: if id == 7 { 0 } else { random.random_range(1..700) },
                    previous_offset: 1000 + random.random_range(0..900),
                    previous_len: if id == 6 { 0 } else { random.random_range(1..700) },
                    generation: 1,
                };
                // One at least where connections of a tuple go by way of several servers.
                let flags = if (id, port, protocol) == (0, 53, 17) { quic::TRANSLATED } else { entry.flags };
                let entry = ServiceEntry { flags, ..entry };
                pair.set_service(key(vip(id % 2 == 1, id), port, protocol), entry);
            }
        }
    }
}

/// Flags of how packets reach the servers: in plain IP, translated, as they are, in UDP.
fn mode(random: &mut StdRng) -> u32 {
    [0, 4, 4, 8, 16, 16][random.random_range(0..6)]
}

/// How many low bits of an IPv6 client do not count; only with the flag that its ports do not, either.
fn affinity(random: &mut StdRng) -> u32 {
    [0, 0, 64, 1, 63, 65, 127][random.random_range(0..7)] << 16
}

/// Flags of what a service is protected by; most are not.
fn protection(random: &mut StdRng) -> u32 {
    [0, 0, 0, 0, 0, 0, 0, 0, 0x100, 0x200, 0x400, 0x600][random.random_range(0..12)]
}

/// Access lists 1 and 2, and limits that are reached for each service.
fn protect(pair: &mut Pair, random: &mut StdRng) {
    for acl in 1..3 {
        for _ in 0..200 {
            let mut address = mapped_v4([random.random(), 51, 100, random.random_range(0..4)]);
            if random.random() {
                address = vip(true, random.random_range(0..4));
                address[5] = 7;
            }
            let bits = random.random_range(if address[0] == 0 { 96..=128 } else { 1..=128 });
            let kept = u128::from_be_bytes(address) & u128::MAX << (128 - bits);
            pair.set_acl(acl, kept.to_be_bytes(), bits, random.random_range(1..3));
        }
    }
    for id in (0..8).chain(10..16) {
        let mut rate = |bursts: [u32; 2]| {
            let burst = random.random_range(bursts[0]..bursts[1]);
            Rate { interval_ns: if burst % 4 == 0 { 0 } else { DAY_NS }, burst, pad: 0 }
        };
        let (source, connections, packets) = (rate([1, 9]), rate([50, 300]), rate([200, 2000]));
        let acl = random.random_range(0..4);
        pair.set_protection(id, ProtectionEntry { acl, pad: 0, source, connections, packets });
    }
}

pub fn vip(v6: bool, id: u8) -> [u8; 16] {
    if v6 { [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, id] } else { mapped_v4([192, 0, 2, id]) }
}

fn some_backend(random: &mut StdRng, number: u8) -> BackendEntry {
    let mut entry = if random.random() { backend(number) } else { backend_v6(number) };
    entry.generation = random.random_range(1..3);
    entry.vlan_outer = [[0, 0], [0, 0], [0x20, 5]][random.random_range(0..3)];
    entry.vlan_inner = [[0, 0], [0, 9]][random.random_range(0..2)];
    entry.mtu = [1500, 1500, 1500, 70][random.random_range(0..4)];
    entry.ifindex = [entry.ifindex, entry.ifindex, OTHER_INTERFACE, 999][random.random_range(0..4)];
    match random.random_range(0..12) {
        0 => entry.identity = 0,
        1 => entry.state &= !state::RESOLVED,
        2 | 3 => entry.state &= !state::UP,
        _ => {}
    }
    entry
}

/// What the server of some translated flow answers; sometimes to nobody.
pub fn reply(random: &mut StdRng, pair: &Pair) -> Vec<u8> {
    let flows = pair.model.translated.iter().collect::<Vec<_>>();
    if flows.is_empty() {
        return frame(random);
    }
    let (key, flow) = flows[random.random_range(0..flows.len())];
    let [source, destination] = [flow.server.1, flow.source.1].map(u16::from_be_bytes);
    let destination = if random.random_ratio(1, 20) { random.random() } else { destination };
    let transport = if key.protocol == 6 {
        let flags = [16, 16, 18, 17, 4, random.random()][random.random_range(0..6)];
        Transport::Tcp { source, destination, seq: random.random(), ack: random.random(), flags }
    } else {
        Transport::Udp { source, destination }
    };
    let (server, address) = (flow.server.0, flow.source.0);
    let ip = if address[..10] == [0; 10] {
        let v4 = |address: [u8; 16]| address[12..].try_into().unwrap();
        let ttl = random.random_range(0..9);
        Ip::V4(V4 { source: v4(server), destination: v4(address), tos: 0, ttl, id: 7, fragment: 0, options: vec![] })
    } else {
        Ip::V6(V6 { source: server, destination: address, class: 0, hops: random.random_range(0..9) })
    };
    let payload = (0..random.random_range(0..64)).map(|_| random.random()).collect();
    let tags = [vec![], vec![(0x8100, random.random())]][random.random_range(0..2)].clone();
    Frame { tags, ip, transport, payload, padding: 0 }.bytes()
}

/// Mostly packets of services.
pub fn frame(random: &mut StdRng) -> Vec<u8> {
    let id = random.random_range(0..9);
    let v6 = if random.random_ratio(1, 20) { random.random() } else { id % 2 == 1 };
    let tags = [
        vec![],
        vec![],
        vec![(0x8100, random.random())],
        vec![(0x88a8, 2), (0x8100, 3)],
        vec![(0x9100, 2), (0x8100, 3)],
    ];
    let destination = if random.random_ratio(1, 20) { 9999 } else { ports(random) };
    // Few clients send much over QUIC: some of them by way of several servers.
    let kind = random.random_range(0..12);
    let is_quic = (1..6).contains(&kind) && random.random_ratio(3, 4);
    let (source, host) = if is_quic {
        (random.random_range(0..2), [0, 0])
    } else {
        (random.random_range(0..400), [random.random(), random.random_range(0..4)])
    };
    let transport = match kind {
        0 => Transport::Other { protocol: random.random() },
        1..6 => Transport::Udp { source, destination },
        _ => {
            let flags = [2, 16, 16, 24, 17, 4, 18, random.random()][random.random_range(0..8)];
            Transport::Tcp { source, destination, seq: random.random(), ack: random.random(), flags }
        }
    };
    let ip = if v6 {
        let mut client = vip(true, random.random_range(0..4));
        client[5] = [7, 7, 7, 0xff][random.random_range(0..4)];
        Ip::V6(V6 {
            source: client,
            destination: vip(true, id),
            class: random.random(),
            hops: random.random_range(0..9),
        })
    } else {
        Ip::V4(V4 {
            source: [host[0], 51, 100, host[1]],
            destination: [192, 0, 2, id],
            tos: random.random(),
            ttl: random.random_range(0..9),
            id: random.random(),
            fragment: [0x4000, 0, 0x2000, 0x8000, 0x00b9][[0, 0, 0, 0, 1, 1, 2, 3, 4][random.random_range(0..9)]],
            options: vec![1; [0, 0, 0, 4, 40][random.random_range(0..5)]],
        })
    };
    let payload = if is_quic { quic::payload(random) } else { some_bytes(random) };
    let padding = [0, 0, 6][random.random_range(0..3)];
    Frame { tags: tags[random.random_range(0..5)].clone(), ip, transport, payload, padding }.bytes()
}

fn some_bytes(random: &mut StdRng) -> Vec<u8> {
    (0..random.random_range(0..64)).map(|_| random.random()).collect()
}

/// A port of a service, or of a range around or beside those.
fn ports(random: &mut StdRng) -> u16 {
    [80, 53, 80, 53, random.random_range(30..210)][random.random_range(0..5)]
}

/// Sometimes with something wrong.
pub fn damaged(random: &mut StdRng, mut bytes: Vec<u8>) -> Vec<u8> {
    if random.random_ratio(1, 8) {
        let at = random.random_range(0..bytes.len().min(80));
        bytes[at] = random.random();
    }
    if random.random_ratio(1, 12) {
        bytes.truncate(random.random_range(14..=bytes.len()));
    }
    bytes
}
