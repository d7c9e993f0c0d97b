//! Properties of the hash, the checksum and the header walk, for any input.
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use lb_common::abi::{ServiceKey, mapped_v4};
use lb_common::bucket::Bucket;
use lb_common::checksum::{Sum, updated};
use lb_common::hash::FlowHash;
use lb_common::headers::{AddressWords, Family, Headers, Parsed, parse, parse_common};
use proptest::prelude::*;

fn headers(v6: bool, source: [u64; 2], ports: u32) -> Headers {
    let (family, source, destination) = if v6 {
        (Family::V6, AddressWords(source), AddressWords([0x0000_0200_b80d_0120, 1]))
    } else {
        (Family::V4, AddressWords::mapped(source[0] as u32), AddressWords::mapped(0x0102_00c0))
    };
    Headers { family, link_len: 14, ip_len: 60, transport: 34, source, destination, ports, protocol: 6, tcp_flags: 0 }
}

/// RFC 1071 by its definition: sum of big-endian words modulo 2¹⁶ − 1, complemented.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = if sum > 0xffff { sum - 0xffff } else { sum };
    }
    !(sum as u16)
}

proptest! {
    #[test]
    fn the_checksum_is_that_of_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let sum = Sum::new().add_packet::<300, _>(bytes.as_slice(), 0, bytes.len()).unwrap();
        prop_assert_eq!(u16::from_be(sum.checksum()), naive(&bytes));
    }

    #[test]
    fn an_incremental_checksum_is_that_of_the_changed_bytes(
        mut bytes in proptest::collection::vec(any::<u8>(), 4..40), new: [u8; 2], at in 0usize..20,
    ) {
        let at = at * 2 % (bytes.len() & !1);
        // A sum of nothing but zeros has no other form to be updated from.
        let other = (at + 2) % (bytes.len() & !1);
        bytes[other] |= 1;
        let before = naive(&bytes).to_be();
        let old = [bytes[at], bytes[at + 1]];
        bytes[at..at + 2].copy_from_slice(&new);
        let after = updated(before, u16::from_le_bytes(old), u16::from_le_bytes(new));
        prop_assert_eq!(u16::from_be(after), naive(&bytes));
    }

    #[test]
    fn the_common_parse_says_what_the_full_one_says(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), tcp: bool) {
        if let Some(start) = bytes.get_mut(12..24) {
            start.copy_from_slice(&[8, 0, 0x45, start[3], 0, start[5] % 70, 0, 0, start[8] & 0x40, 0, 9, if tcp { 6 } else { 17 }]);
        }
        if let Some(headers) = parse_common(bytes.as_slice()) {
            prop_assert_eq!(parse(bytes.as_slice()), Ok(Parsed::Flow(headers)));
        }
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = (parse(bytes.as_slice()), parse_common(bytes.as_slice()), lb_common::decapsulation::find(bytes.as_slice()));
    }

    #[test]
    fn a_bucket_never_gives_more_than_burst_and_rate(steps in proptest::collection::vec(0u64..3_000, 1..400)) {
        let (mut bucket, mut now, mut given) = (Bucket::default(), 1_000_000, 0u64);
        for step in steps {
            now += step;
            given += u64::from(bucket.take(now, 1_000, 10));
            prop_assert!(given <= 10 + (now - 1_000_000) / 1_000);
        }
    }

    #[test]
    fn flows_spread_evenly_over_slots_under_any_key(key: [u64; 2], v6: bool) {
        const SLOTS: u32 = 64;
        const PER_SLOT: u32 = 256;
        let mut counts = [0u32; SLOTS as usize];
        for flow in 0..SLOTS * PER_SLOT {
            // Neighbouring addresses and ports: the least random input there is.
            let source = [u64::from(flow >> 8), u64::from(flow >> 8)];
            counts[FlowHash::of(&headers(v6, source, flow & 0xff), 0, key).slot(SLOTS) as usize] += 1;
        }
        let expected = f64::from(PER_SLOT);
        let chi: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        // 63 degrees of freedom: 150 is passed by chance less than once in 10⁸ keys.
        prop_assert!(chi < 150.0, "chi² {}", chi);
    }

    #[test]
    fn every_bit_of_a_flow_changes_half_of_the_hash(key: [u64; 2], v6: bool) {
        let bits = if v6 { 160 } else { 64 };
        for bit in 0..bits {
            let mut flips = 0;
            for sample in 0..128u64 {
                let base = ([sample.wrapping_mul(0x9e37_79b9_7f4a_7c15), sample * 77], (sample * 31) as u32);
                let mut other = base;
                match bit {
                    0..32 => other.1 ^= 1 << bit,
                    32..96 => other.0[0] ^= 1 << (bit - 32),
                    _ => other.0[1] ^= 1 << (bit - 96),
                }
                let hash = |(source, ports)| FlowHash::of(&headers(v6, source, ports), 0, key).0;
                flips += (hash(base) ^ hash(other)).count_ones();
            }
            let share = f64::from(flips) / (128.0 * 64.0);
            prop_assert!((0.44..0.56).contains(&share), "bit {}: {}", bit, share);
        }
    }
}

#[test]
fn the_slots_of_a_table_are_all_reached_and_none_beyond() {
    for len in [1, 251, 131_071] {
        assert_eq!(FlowHash(u64::MAX).slot(len), len - 1);
        assert_eq!(FlowHash(0).slot(len), 0);
    }
    assert_eq!(FlowHash(u64::MAX).slot(0), 0);
}

#[test]
fn a_service_key_is_of_one_ip_version() {
    let v4 = ServiceKey { address: mapped_v4([192, 0, 2, 1]), port: [0, 80], protocol: 6, kind: 0, pad: [0; 4] };
    let short = v4.v4().unwrap();
    assert_eq!((short.address, short.port, short.protocol), ([192, 0, 2, 1], [0, 80], 6));
    assert_eq!(ServiceKey::from(short), v4);
    // IPv4-compatible, not mapped: another prefix.
    let compatible = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1];
    assert_eq!(ServiceKey { address: compatible, ..v4 }.v4(), None);
}
