//! Random QUIC packets: of every header, with connection ids of our servers and of nobody.

use lb_common::abi::{FlowEntry, QuicKey};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::forwarding::Pair;

/// Configurations and lengths of server ids that services have: two that are none, and one that is too long.
const SHAPES: [(u32, u32); 8] = [(0, 1), (0, 4), (0, 4), (2, 4), (0, 8), (0, 8), (6, 0), (0, 9)];
/// Flags of a service that translates, and goes by connection ids of the first configuration with ids of four bytes.
pub const TRANSLATED: u32 = 4 | 64 | 4 << 27;
/// Server ids are so many times the same byte, below this.
const IDS: u8 = 6;

/// Flags of connection ids; half of the services go by them.
pub fn flags(random: &mut StdRng) -> u32 {
    let (config, len) = SHAPES[random.random_range(0..SHAPES.len())];
    (if random.random() { 64 } else { 0 }) | config << 24 | len << 27
}

/// Servers for the ids of every service; some of these are gone.
pub fn populate(pair: &mut Pair, random: &mut StdRng) {
    for service in (0..8_u32).chain(10..16) {
        for (config, len) in SHAPES.into_iter().filter(|(_, len)| (1..=8).contains(len)) {
            for id in 0..IDS - 1 {
                let mut server = [0; 8];
                server[..len as usize].fill(id);
                let (len, config) = (len as u8, config as u8);
                let key = QuicKey { server, service: service.to_le_bytes(), len, config, pad: [0; 2] };
                let backend = random.random_range(0..17);
                let known = pair.model.backends.get(&backend).map_or(1, |backend| backend.generation);
                let generation = if random.random_ratio(1, 6) { known + 1 } else { known };
                let entry = FlowEntry::naming(backend, generation);
                pair.set_quic_server(key, entry);
            }
        }
    }
}

/// What is in a UDP packet.
pub fn payload(random: &mut StdRng) -> Vec<u8> {
    let config = [0, 0, 0, 0, 2, 7][random.random_range(0..6)];
    let id = [&[config << 5 | random.random_range(0..32)][..], &[random.random_range(0..IDS); 8]].concat();
    let rest: Vec<u8> = (0..random.random_range(0..30)).map(|_| random.random()).collect();
    let low = random.random_range(0..16_u8);
    let first = [0x40, 0x40, 0x40, 0x00, 0xc0, 0xd0, 0xe0, 0xe0, 0xf0][random.random_range(0..9)] | low;
    if first & 0x80 == 0 {
        return [&[first][..], &id, &rest].concat();
    }
    let version = [[0, 0, 0, 1], [0, 0, 0, 1], [0x6b, 0x33, 0x43, 0xcf], [0; 4]][random.random_range(0..4)];
    let len = [0, 4, 8, 9, 20][random.random_range(0..5)];
    [&[first][..], &version, &[len], &id, &rest].concat()
}
