//! The properties the tables promise.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

fn pool(weights: &[u32]) -> Vec<Candidate> {
    weights
        .iter()
        .enumerate()
        .map(|(number, &weight)| Candidate {
            address: IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + number as u32)),
            port: 80,
            weight,
            share: FULL,
        })
        .collect()
}

fn counts(table: &[u16], servers: usize) -> Vec<u32> {
    let mut counts = vec![0; servers];
    for &position in table {
        counts[position as usize] += 1;
    }
    counts
}

/// Checks that each count is the exact share rounded down or up.
fn assert_exact(counts: &[u32], weights: &[u32], length: usize) {
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    for (&count, &weight) in counts.iter().zip(weights) {
        let floor = (u64::from(weight) * length as u64 / sum) as u32;
        assert!(count == floor || count == floor + 1, "{count} slots of {length} for weight {weight} of {sum}");
    }
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![Just(1u32), 1u32..20, 1u32..=65_535], 1..24)
}

/// A pool in which each server is available or not.
fn pools() -> impl Strategy<Value = Vec<Candidate>> {
    weights().prop_flat_map(|weights| {
        let len = weights.len();
        (Just(weights), prop::collection::vec(prop::bool::weighted(0.7), len)).prop_map(|(weights, available)| {
            let mut pool = pool(&weights);
            for (server, available) in pool.iter_mut().zip(available) {
                server.share = if available { FULL } else { 0 };
            }
            pool
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn quotas_are_exact_to_one_slot(weights in weights(), seed: u64) {
        let servers = pool(&weights);
        let table = table(seed, &servers);
        prop_assert_eq!(table.len(), length(&servers) as usize);
        assert_exact(&counts(&table, servers.len()), &weights, table.len());
    }

    #[test]
    fn a_server_going_down_moves_only_its_slots_and_its_return_restores_exactly_those(
        servers in pools(), victim: prop::sample::Index, seed: u64,
    ) {
        let victim = victim.index(servers.len());
        let mut up = servers.clone();
        up[victim].share = FULL;
        let mut down = servers;
        down[victim].share = 0;

        let before = table(seed, &up);
        let after = table(seed, &down);
        if down.iter().any(|server| server.share > 0) {
            for (slot, (&before, &after)) in before.iter().zip(&after).enumerate() {
                prop_assert!(down[after as usize].share > 0, "slot {} went to a server that is down", slot);
                if before as usize != victim {
                    prop_assert_eq!(before, after, "slot {} moved without need", slot);
                }
            }
        } else {
            prop_assert!(after.is_empty());
        }
        prop_assert_eq!(table(seed, &up), before);
    }

    #[test]
    fn a_share_moves_slots_of_its_server_only_and_a_greater_one_only_towards_it(
        servers in pools(), rising: prop::sample::Index, shares in (0u32..=FULL, 0u32..=FULL), seed: u64,
    ) {
        let rising = rising.index(servers.len());
        let (less, more) = (shares.0.min(shares.1), shares.0.max(shares.1));
        let with = |share| {
            let mut servers = servers.clone();
            servers[rising].share = share;
            table(seed, &servers)
        };
        let (before, after) = (with(less), with(more));
        if more > 0 && quotas(&servers, length(&servers))[rising] > 0 {
            prop_assert!(after.contains(&(rising as u16)), "a server that takes flows has no slot");
        }
        for (slot, (before, after)) in before.iter().zip(&after).enumerate() {
            prop_assert!(before == after || usize::from(*after) == rising, "slot {} moved from {} to {}", slot, before, after);
        }
    }

    #[test]
    fn the_table_depends_on_what_the_servers_are_and_not_on_where_they_stand(
        (servers, shuffled) in pools().prop_flat_map(|servers| (Just(servers.clone()), Just(servers).prop_shuffle())),
        seed: u64,
    ) {
        let owners = |servers: &[Candidate]| -> Vec<IpAddr> {
            table(seed, servers).into_iter().map(|position| servers[position as usize].address).collect()
        };
        prop_assert_eq!(owners(&servers), owners(&shuffled));
    }

    #[test]
    fn one_more_server_of_the_same_length_takes_its_share_and_little_else_moves(count in 2usize..40, seed: u64) {
        let fewer = pool(&vec![1; count]);
        let more = pool(&vec![1; count + 1]);
        prop_assume!(length(&fewer) == length(&more));
        let (before, after) = (table(seed, &fewer), table(seed, &more));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        let share = after.len().div_ceil(count + 1);
        // What the newcomer takes, and at most twice that again among the others.
        prop_assert!(moved >= share - 1 && moved <= 3 * share, "{} slots of {} moved, the share is {}", moved, after.len(), share);
    }
}

#[test]
fn weights_one_to_a_hundred_to_a_thousand_are_honoured() {
    let weights = [1, 100, 1000];
    let servers = pool(&weights);
    let table = table(7, &servers);
    let counts = counts(&table, 3);
    assert_exact(&counts, &weights, table.len());
    assert!(counts[0] >= 10, "the smallest server has {} slots of {}", counts[0], table.len());
}

#[test]
fn the_smallest_share_of_the_largest_ratio_is_still_served() {
    let weights = [1, 65_535];
    let counts = counts(&table(7, &pool(&weights)), 2);
    assert_exact(&counts, &weights, 131_072);
    assert!(counts[0] >= 1);
}

#[test]
fn refilled_slots_follow_the_weights_of_the_servers_that_are_left() {
    let mut servers = pool(&[3000, 1, 2, 4]);
    servers[0].share = 0;
    let table = table(7, &servers);
    let counts = counts(&table, 4);
    let total = table.len() as f64;
    for (position, expected) in [(1, 1.0 / 7.0), (2, 2.0 / 7.0), (3, 4.0 / 7.0)] {
        let share = f64::from(counts[position]) / total;
        assert!((share - expected).abs() < 0.03, "server {position} has {share} instead of about {expected}");
    }
}

#[test]
fn parts_of_shares_divide_the_slots_as_weights_would() {
    // Weight times share: 1 : 1 : 2 of four servers, one of which is away.
    let mut servers = pool(&[2, 4, 2, 4]);
    for (server, share) in servers.iter_mut().zip([FULL / 2, FULL / 4, FULL, 0]) {
        server.share = share;
    }
    let table = table(7, &servers);
    let counts = counts(&table, 4);
    let total = table.len() as f64;
    for (position, expected) in [(0, 0.25), (1, 0.25), (2, 0.5), (3, 0.0)] {
        let share = f64::from(counts[position]) / total;
        assert!((share - expected).abs() < 0.06, "server {position} has {share} instead of about {expected}");
    }
}

#[test]
fn the_table_is_the_same_on_every_edge_and_in_every_version() {
    // Fleets run mixed versions during an upgrade: a change of these numbers moves flows and needs a new seed scheme.
    let mut servers = pool(&[1, 2, 3]);
    servers[1].share = 0;
    let table = table(42, &servers);
    assert_eq!(table.len(), 512);
    let digest = table.iter().fold(0u64, |digest, &position| score::mix(digest ^ u64::from(position)));
    assert_eq!(digest, 0x29c5_cc3e_4069_b01d, "digest {digest:#018x}");
}

#[test]
fn without_an_available_server_the_table_is_empty() {
    let mut servers = pool(&[1, 1]);
    assert!(table(1, &[]).is_empty());
    for server in &mut servers {
        server.share = 0;
    }
    assert!(table(1, &servers).is_empty());
}

#[test]
fn lengths_grow_with_the_servers_and_with_the_spread_of_their_weights() {
    assert_eq!(length(&pool(&[1])), 256);
    assert_eq!(length(&pool(&[1, 1, 1])), 512);
    assert_eq!(length(&pool(&[1; 1000])), 131_072);
    assert_eq!(length(&pool(&[1, 100, 1000])), 16_384);
}
