//! The keyed flow hash, and the slot it selects.
//!
//! Words are 32 bits as they stand in the packet, read little-endian on every machine. Each block of four is summed
//! as NH does (Black, Halevi, Krawczyk, Krovetz, Rogaway: UMAC, CRYPTO'99): `(w0 + k0)·(w1 + k1) + (w2 + k2)·(w3 + k3)`
//! with the additions modulo 2³². Who does not know the key finds two flows that collide with probability 2⁻³² only,
//! so nobody can aim a flood at one server. Between blocks and at the end a bijection of 64 bits spreads every bit over
//! all others (the finalizer of SplitMix64). An IPv4 flow is exactly one block.

use crate::abi::FlowKey;
use crate::abi::service::flags;
use crate::headers::{AddressWords, Family, Headers};

/// 64 bits that depend on every bit of the flow and of the key. The high half selects the slot, the low bits vary the
/// outer source address: the two do not depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(pub u64);

impl FlowHash {
    /// Hash of a packet's flow, or of its source alone where the service asks for it.
    #[inline(always)]
    #[must_use]
    pub const fn of(headers: &Headers, service_flags: u32, key: [u64; 2]) -> Self {
        if service_flags & flags::SOURCE_AFFINITY != 0 {
            return Self::of_source(headers.family, headers.source, host_bits(service_flags), key);
        }
        Self::of_flow(headers, 0, key)
    }

    /// As [`Self::of`], of the key that the packet's flow has in the tables.
    #[must_use]
    pub const fn of_entry(flow: &FlowKey, service_flags: u32, key: [u64; 2]) -> Self {
        if service_flags & flags::SOURCE_AFFINITY != 0 {
            let source = AddressWords::of(&flow.source);
            let family = if source.is_mapped() { Family::V4 } else { Family::V6 };
            return Self::of_source(family, source, host_bits(service_flags), key);
        }
        Self::of_key(flow, key)
    }

    /// Hash of a packet's whole tuple, and of the server that its flow goes by way of ([`FlowKey::via`]).
    #[inline(always)]
    #[must_use]
    pub const fn of_flow(headers: &Headers, via: u32, key: [u64; 2]) -> Self {
        let ends = [headers.source, headers.destination];
        Self::of_tuple(headers.family, ends, [headers.ports, headers.last_word(via)], key)
    }

    /// As [`Self::of_flow`], of the key that a packet's flow has in the tables.
    #[inline(always)]
    #[must_use]
    pub const fn of_key(flow: &FlowKey, key: [u64; 2]) -> Self {
        let ends = [AddressWords::of(&flow.source), AddressWords::of(&flow.destination)];
        let family = if ends[0].is_mapped() { Family::V4 } else { Family::V6 };
        let ([a, b], [c, d]) = (flow.source_port, flow.destination_port);
        Self::of_tuple(family, ends, [u32::from_le_bytes([a, b, c, d]), flow.last_word()], key)
    }

    #[inline(always)]
    const fn of_tuple(family: Family, ends: [AddressWords; 2], last: [u32; 2], key: [u64; 2]) -> Self {
        let [source, destination] = ends;
        match family {
            Family::V4 => Self(mix(block([source.v4(), destination.v4(), last[0], last[1]], key))),
            Family::V6 => {
                let source = mix(block(words(source.0), key));
                let both = mix(source.wrapping_add(block(words(destination.0), key)));
                Self(mix(both.wrapping_add(block([last[0], last[1], 0, 0], key))))
            }
        }
    }

    #[inline(always)]
    const fn of_source(family: Family, source: AddressWords, host_bits: u32, key: [u64; 2]) -> Self {
        match family {
            Family::V4 => Self(mix(block([source.v4(), 0, 0, 0], key))),
            Family::V6 => Self(mix(block(words(prefix(source.0, host_bits)), key))),
        }
    }

    /// Slot in a table of `len` slots: multiply and shift, no division. 0 when the table is empty.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self, len: u32) -> u32 {
        (((self.0 >> 32) * len as u64) >> 32) as u32
    }
}

/// Low bits of an IPv6 client that do not count.
#[inline(always)]
const fn host_bits(service_flags: u32) -> u32 {
    service_flags >> flags::HOST_BITS_SHIFT & flags::HOST_BITS_MASK
}

/// An address without its low bits, 0 to 127 of them; the words as they stand in the packet.
#[inline(always)]
const fn prefix(address: [u64; 2], host_bits: u32) -> [u64; 2] {
    let (high, low) =
        if host_bits < 64 { (u64::MAX, u64::MAX << host_bits) } else { (u64::MAX << (host_bits & 63), 0) };
    [address[0] & high.to_be(), address[1] & low.to_be()]
}

/// Four words under the key.
#[inline(always)]
const fn block(words: [u32; 4], key: [u64; 2]) -> u64 {
    let first = words[0].wrapping_add(key[0] as u32) as u64 * words[1].wrapping_add((key[0] >> 32) as u32) as u64;
    let second = words[2].wrapping_add(key[1] as u32) as u64 * words[3].wrapping_add((key[1] >> 32) as u32) as u64;
    first.wrapping_add(second)
}

/// SplitMix64's finalizer (variant 13 of Stafford's mixers).
#[inline(always)]
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[inline(always)]
const fn words(pair: [u64; 2]) -> [u32; 4] {
    [pair[0] as u32, (pair[0] >> 32) as u32, pair[1] as u32, (pair[1] >> 32) as u32]
}
