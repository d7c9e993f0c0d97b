//! When each server is probed next: spread over the interval, the same for the same seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A new server is probed for the first time within this, however long its interval.
const FIRST_WITHIN: Duration = Duration::from_secs(2);

/// Due times of checks, earliest first. A check stands in it at most once; one that is gone is left in and passed
/// over by whoever takes it. Adding and taking cost the logarithm of their number.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    due: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Schedule {
    pub(super) fn add(&mut self, at: Instant, check: u64) {
        self.due.push(Reverse((at, check)));
    }

    /// The earliest due time.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// The earliest check, if it is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Instant, u64)> {
        if self.next()? > now {
            return None;
        }
        self.due.pop().map(|Reverse(entry)| entry)
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// Drops what is gone.
    pub(super) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.due.retain(|Reverse((_, check))| keep(*check));
    }
}

/// Time to a check's first probe: soon, and spread.
pub(super) fn first(seed: u64, check: u64, interval: Duration) -> Duration {
    interval.min(FIRST_WITHIN).mul_f64(fraction(seed, check, 0))
}

/// Time between a check's probe number `round` (counted from 0) and the next.
///
/// The second probe spreads the checks over their whole interval; after that they stay apart, and a twentieth of
/// jitter keeps them from falling in step with something else that is periodic.
pub(super) fn next(seed: u64, check: u64, round: u64, interval: Duration) -> Duration {
    let fraction = fraction(seed, check, round + 1);
    if round == 0 && interval > FIRST_WITHIN {
        return interval.mul_f64(0.05 + 0.95 * fraction);
    }
    interval.mul_f64(0.975 + 0.05 * fraction)
}

/// An even-looking fraction in [0, 1) (splitmix64's finalizer).
fn fraction(seed: u64, check: u64, round: u64) -> f64 {
    let mut z = seed ^ check.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round.wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many of `checks` fall into each tenth of `span`.
    fn tenths(times: impl Iterator<Item = Duration>, span: Duration) -> [usize; 10] {
        let mut tenths = [0; 10];
        for time in times {
            tenths[((time.as_secs_f64() / span.as_secs_f64() * 10.0) as usize).min(9)] += 1;
        }
        tenths
    }

    #[test]
    fn thirty_thousand_servers_are_spread_evenly() {
        let interval = Duration::from_secs(60);
        for tenth in tenths((0..30_000).map(|check| first(7, check, interval)), FIRST_WITHIN) {
            assert!((2_700..3_300).contains(&tenth), "first probes: {tenth}");
        }
        let phases = (0..30_000).map(|check| next(7, check, 0, interval) - interval.mul_f64(0.05));
        for tenth in tenths(phases, interval.mul_f64(0.95)) {
            assert!((2_700..3_300).contains(&tenth), "second probes: {tenth}");
        }
    }

    proptest! {
        #[test]
        fn a_seed_gives_the_same_times_and_every_time_is_within_its_interval(
            seed in any::<u64>(), check in any::<u64>(), round in 0u64..u64::MAX, millis in 50u64..3_600_000
        ) {
            let interval = Duration::from_millis(millis);
            prop_assert_eq!(next(seed, check, round, interval), next(seed, check, round, interval));
            prop_assert!(first(seed, check, interval) <= interval.min(FIRST_WITHIN));
            let gap = next(seed, check, round, interval);
            prop_assert!(gap >= interval.mul_f64(0.049) && gap <= interval.mul_f64(1.026), "{:?}", gap);
        }

        #[test]
        fn checks_are_taken_in_the_order_of_their_times_and_never_early(
            times in prop::collection::vec(0u64..1000, 1..100), until in 0u64..1000
        ) {
            let start = Instant::now();
            let mut schedule = Schedule::default();
            for (check, millis) in times.iter().enumerate() {
                schedule.add(start + Duration::from_millis(*millis), check as u64);
            }
            let now = start + Duration::from_millis(until);
            let mut last = start;
            let mut taken = 0;
            while let Some((at, check)) = schedule.take(now) {
                prop_assert!(at >= last && at <= now);
                prop_assert_eq!(at, start + Duration::from_millis(times[check as usize]));
                last = at;
                taken += 1;
            }
            prop_assert_eq!(taken, times.iter().filter(|millis| **millis <= until).count());
        }
    }
}
