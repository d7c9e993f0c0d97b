//! Weighted rendezvous in integer arithmetic: who inherits a slot.
//!
//! With u a hash of (slot, server) in (0, 1], the server with the smallest -log(u)/weight wins: each wins in proportion
//! to its weight, and one server's absence moves nothing between the others (Thaler and Ravishankar, 1998; Schindelhauer
//! and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005).

/// A server that may inherit slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heir {
    /// Its key.
    pub(super) key: u64,
    /// Its share, 1 or more.
    pub(super) weight: u32,
    /// Its position in the pool.
    pub(super) position: u16,
}

/// The position of the heir that wins a slot; ties go to the first. `None` without heirs.
pub(super) fn heir(slot: u64, heirs: &[Heir]) -> Option<u16> {
    let mut best: Option<(u64, u64, u16)> = None;
    for heir in heirs {
        let cost = minus_log2(mix(slot ^ heir.key));
        let weight = u64::from(heir.weight);
        // cost / weight < best cost / best weight, multiplied out: costs are below 2^39, weights at most 2^24.
        if best.is_none_or(|(best_cost, best_weight, _)| cost * best_weight < best_cost * weight) {
            best = Some((cost, weight, heir.position));
        }
    }
    best.map(|(_, _, position)| position)
}

/// A well-mixed 64-bit permutation (the finalizer of SplitMix64).
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number below `bound` from a hash.
pub(super) const fn below(hash: u64, bound: u32) -> u32 {
    ((hash as u128 * bound as u128) >> 64) as u32
}

const STEP_BITS: u32 = 10;
const STEPS: usize = 1 << STEP_BITS;
const FRACTION_BITS: u32 = 32;

/// log2(1 + i / STEPS) with 32 fractional bits.
static LOG2: [u64; STEPS + 1] = log2_table();

const fn log2_table() -> [u64; STEPS + 1] {
    let mut table = [0; STEPS + 1];
    let mut step = 0;
    while step < STEPS {
        table[step] = log2_fraction((1 << 31) + ((step as u64) << (31 - STEP_BITS)));
        step += 1;
    }
    table[STEPS] = 1 << FRACTION_BITS;
    table
}

/// log2 of a number in [1, 2) given with 31 fractional bits, bit by bit: squaring doubles the logarithm.
const fn log2_fraction(mut x: u64) -> u64 {
    let mut result = 0;
    let mut bit = FRACTION_BITS;
    while bit > 0 {
        bit -= 1;
        x = (x * x) >> 31;
        if x >= 1 << 32 {
            result |= 1 << bit;
            x >>= 1;
        }
    }
    result
}

/// -log2((hash + 1) / 2^64) with 32 fractional bits: 0 to just below 65 · 2^32, falling with the hash.
fn minus_log2(hash: u64) -> u64 {
    let hash = hash | 1;
    let zeros = hash.leading_zeros();
    let normal = hash << zeros;
    let mantissa = normal & (u64::MAX >> 1);
    let step = (mantissa >> (63 - STEP_BITS)) as usize;
    // The part of the mantissa below the step, as a fraction of a step with 24 bits.
    let rest = (mantissa >> (63 - STEP_BITS - 24)) & 0xff_ffff;
    let (low, high) = (LOG2[step], LOG2[step + 1]);
    let fraction = low + (((high - low) * rest) >> 24);
    (u64::from(zeros + 1) << FRACTION_BITS) - fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_floating_point_to_six_digits() {
        for shift in 0..64 {
            for pattern in [u64::MAX, 0xb504_f333_f9de_6484, 0x8000_0000_0000_0001, 0xdead_beef_dead_beef] {
                let hash = pattern >> shift;
                let exact = 64.0 - ((hash | 1) as f64).log2();
                let ours = minus_log2(hash) as f64 / (1u64 << FRACTION_BITS) as f64;
                assert!((exact - ours).abs() < 1e-6, "{hash:#x}: {exact} and {ours}");
            }
        }
    }

    #[test]
    fn the_logarithm_never_rises_with_the_hash() {
        let mut hash = 1u64;
        while hash < u64::MAX - (hash >> 9) {
            let next = hash + (hash >> 9) + 1;
            assert!(minus_log2(next) <= minus_log2(hash), "{hash:#x}");
            hash = next;
        }
    }

    #[test]
    fn heirs_win_in_proportion_to_their_weights() {
        let heirs: Vec<Heir> = [1u32, 10, 100]
            .into_iter()
            .enumerate()
            .map(|(position, weight)| Heir { key: mix(position as u64), weight, position: position as u16 })
            .collect();
        let mut won = [0u32; 3];
        for slot in 0..1_110_000u64 {
            won[heir(mix(slot), &heirs).unwrap() as usize] += 1;
        }
        for (won, expected) in won.into_iter().zip([10_000u32, 100_000, 1_000_000]) {
            assert!(won.abs_diff(expected) < expected / 20, "{won} instead of about {expected}");
        }
    }
}
