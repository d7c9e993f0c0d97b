//! Slot tables: Maglev with exact weights, and refills that move nothing else.
//!
//! The base table is computed over all servers of a pool (Eisenbud et al., "Maglev", NSDI 2016, §3.4), except that
//! every server takes exactly its quota of turns, by largest remainder. Slots whose owner is not available are
//! filled again one by one by weighted rendezvous among the available servers. So a server that goes away moves only
//! its own slots, and its return restores exactly those. A server that is to get a part of its share keeps that part of
//! its own slots, always the same ones, and the rest is filled again as if it were away: growing or shrinking a share
//! moves no slot between two others.
//!
//! Architecture Invariant: a table is a pure function of (servers, weights, shares, seed), in integer
//! arithmetic: every edge computes the same one bit for bit, whatever the order of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

use lb_common::abi::address_of;

use super::score;

/// Table lengths in use: powers of two, not Maglev's primes. A slot of a shorter table is then exactly some slots of a
/// longer one, so that a pool may outgrow its table again and again while flows are tracked, and each flow is still
/// found on the server it began on. A walk needs no prime: an odd stride visits every slot, too.
pub const LENGTHS: [u32; 10] = [256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];

/// Most servers in one table: positions are `u16`.
pub const MAX_SERVERS: usize = 1 << 16;

const SLOTS_PER_SERVER: u64 = 100;
const SLOTS_OF_SMALLEST: u64 = 10;

/// A server as the table sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Address and port identify the server.
    pub address: IpAddr,
    /// As above.
    pub port: u16,
    /// Its share, 1 or more.
    pub weight: u32,
    /// How much of its own slots it keeps, of [`FULL`]: 0 when it takes no new flows.
    pub share: u32,
}

/// A share that is whole.
pub const FULL: u32 = 256;

/// For each slot the position in `servers`; empty when none of them is available.
///
/// At most [`MAX_SERVERS`] servers are looked at. The result depends on what the servers are, not on where they stand.
#[must_use]
pub fn table(seed: u64, servers: &[Candidate]) -> Vec<u16> {
    let servers = &servers[..servers.len().min(MAX_SERVERS)];
    if servers.iter().all(|server| server.share == 0) {
        return Vec::new();
    }
    let keys: Vec<u64> = servers.iter().map(|server| key(seed, server)).collect();
    let mut slots = base(servers, &keys);
    if servers.iter().any(|server| server.share < FULL) {
        refill(seed, servers, &keys, &mut slots);
    }
    slots
}

/// Length of the table: the first that gives every server about a hundred slots and the one with the smallest weight
/// about ten, or the longest.
#[must_use]
pub fn length(servers: &[Candidate]) -> u32 {
    let sum: u64 = servers.iter().map(|server| u64::from(server.weight)).sum();
    let smallest = servers.iter().map(|server| u64::from(server.weight)).min().unwrap_or(1).max(1);
    let wanted = (SLOTS_PER_SERVER * servers.len() as u64).max((SLOTS_OF_SMALLEST * sum).div_ceil(smallest));
    let longest = LENGTHS[LENGTHS.len() - 1];
    LENGTHS.into_iter().find(|length| u64::from(*length) >= wanted).unwrap_or(longest)
}

/// Slots of each server: in proportion to its weight, exact to one slot, the sum being the length (largest remainder,
/// ties to the server that comes first by address and port).
#[must_use]
pub fn quotas(servers: &[Candidate], length: u32) -> Vec<u32> {
    let sum: u64 = servers.iter().map(|server| u64::from(server.weight)).sum::<u64>().max(1);
    let exact = |server: &Candidate| u64::from(server.weight) * u64::from(length);
    let mut quotas: Vec<u32> = servers.iter().map(|server| (exact(server) / sum) as u32).collect();
    let missing = length - quotas.iter().sum::<u32>();
    let mut by_remainder: Vec<usize> = (0..servers.len()).collect();
    by_remainder.sort_unstable_by_key(|&position| {
        let server = &servers[position];
        (Reverse(exact(server) % sum), server.address, server.port)
    });
    for position in by_remainder.into_iter().take(missing as usize) {
        quotas[position] += 1;
    }
    quotas
}

/// The key of a server: a hash of what it is.
fn key(seed: u64, server: &Candidate) -> u64 {
    let address = u128::from_be_bytes(address_of(server.address));
    let folded = score::mix(seed ^ (address >> 64) as u64);
    let folded = score::mix(folded ^ address as u64);
    score::mix(folded ^ u64::from(server.port))
}

/// The table over all servers, available or not.
fn base(servers: &[Candidate], keys: &[u64]) -> Vec<u16> {
    const FREE: u32 = u32::MAX;
    let length = length(servers);
    let quotas = quotas(servers, length);

    // A server's turns are spread evenly over time: the k-th of q turns is at (2k + 1) / 2q. Ties go by address and
    // port.
    let mut order: Vec<usize> = (0..servers.len()).collect();
    order.sort_unstable_by_key(|&position| (servers[position].address, servers[position].port));
    let mut turns: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::with_capacity(servers.len());
    let mut walks = Vec::with_capacity(servers.len());
    for (rank, &position) in order.iter().enumerate() {
        let step = (1u64 << 48) / u64::from(quotas[position].max(1));
        walks.push(Walk::new(keys[position], length, quotas[position], step));
        if quotas[position] > 0 {
            turns.push(Reverse((step / 2, rank as u32)));
        }
    }

    let mut slots = vec![FREE; length as usize];
    while let Some(mut next) = turns.peek_mut() {
        let Reverse((at, rank)) = *next;
        let walk = &mut walks[rank as usize];
        while slots[walk.at as usize] != FREE {
            walk.advance(length);
        }
        slots[walk.at as usize] = order[rank as usize] as u32;
        walk.turns_left -= 1;
        if walk.turns_left == 0 {
            std::collections::binary_heap::PeekMut::pop(next);
        } else {
            *next = Reverse((at + walk.step, rank));
        }
    }
    slots.into_iter().map(|position| position as u16).collect()
}

/// A server's way through its own permutation of the slots.
struct Walk {
    at: u32,
    skip: u32,
    turns_left: u32,
    step: u64,
}

impl Walk {
    fn new(key: u64, length: u32, turns_left: u32, step: u64) -> Self {
        let at = score::below(score::mix(key ^ 1), length);
        let skip = 2 * score::below(score::mix(key ^ 2), length / 2) + 1;
        Self { at, skip, turns_left, step }
    }

    fn advance(&mut self, length: u32) {
        self.at += self.skip;
        if self.at >= length {
            self.at -= length;
        }
    }
}

/// Gives the slots that servers do not keep to all that take flows.
fn refill(seed: u64, servers: &[Candidate], keys: &[u64], slots: &mut [u16]) {
    let mut heirs: Vec<score::Heir> = (0..servers.len())
        .filter(|&position| servers[position].share > 0)
        .map(|position| score::Heir {
            key: keys[position],
            weight: servers[position].weight * servers[position].share.min(FULL),
            position: position as u16,
        })
        .collect();
    heirs.sort_unstable_by_key(|heir| {
        let server = &servers[heir.position as usize];
        (server.address, server.port)
    });
    for number in given_up(servers, keys, slots) {
        if let Some(heir) = score::heir(score::mix(seed ^ score::mix(number as u64)), &heirs) {
            slots[number] = heir;
        }
    }
}

/// Slots that their owners do not keep. A server that takes flows keeps one at least.
fn given_up(servers: &[Candidate], keys: &[u64], slots: &[u16]) -> Vec<usize> {
    let mut given_up = Vec::new();
    let mut partial: Vec<Vec<(u64, usize)>> = vec![Vec::new(); servers.len()];
    for (number, &owner) in slots.iter().enumerate() {
        let owner = usize::from(owner);
        match servers[owner].share {
            0 => given_up.push(number),
            FULL.. => {}
            _ => partial[owner].push((score::mix(keys[owner] ^ score::mix(number as u64)), number)),
        }
    }
    for (server, mut own) in servers.iter().zip(partial) {
        own.sort_unstable();
        let kept = (own.len() * server.share as usize).div_ceil(FULL as usize);
        given_up.extend(own.into_iter().skip(kept).map(|(_, number)| number));
    }
    given_up
}

#[cfg(test)]
mod tests;
