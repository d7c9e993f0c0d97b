//! The slot arena's bookkeeping: which ranges are free, and which wait until no packet can still read them.
//!
//! Pure: the time is given. Ranges handed out or claimed belong to the caller until released; they are not listed
//! here, so there is nothing that could disagree with the services that point at them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A range of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The first slot.
    pub offset: u32,
    /// How many; 0 is the empty range, which belongs to nobody.
    pub len: u32,
}

impl Range {
    /// The slot after the last.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset as u64 + self.len as u64
    }

    /// The first `len` slots and the rest.
    #[must_use]
    pub fn split_at(self, len: u32) -> (Self, Self) {
        let len = len.min(self.len);
        (Self { offset: self.offset, len }, Self { offset: self.offset + len, len: self.len - len })
    }
}

/// First fit over coalesced free ranges.
#[derive(Clone, Debug)]
pub struct Arena {
    capacity: u32,
    grace: Duration,
    /// Free ranges by offset; never adjacent to each other, never empty.
    free: BTreeMap<u32, u32>,
    /// Released ranges, the oldest first, and when each may be used again.
    waiting: VecDeque<(Instant, Range)>,
}

impl Arena {
    /// An arena in which everything is free. `grace` is how long a released range waits.
    #[must_use]
    pub fn new(capacity: u32, grace: Duration) -> Self {
        let mut free = BTreeMap::new();
        if capacity > 0 {
            free.insert(0, capacity);
        }
        Self { capacity, grace, free, waiting: VecDeque::new() }
    }

    /// Slots in the arena.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Slots that could be handed out now or after the grace period.
    #[must_use]
    pub fn available(&self) -> u64 {
        let free: u64 = self.free.values().map(|&len| u64::from(len)).sum();
        free + self.waiting.iter().map(|(_, range)| u64::from(range.len)).sum::<u64>()
    }

    /// Takes a range that a service was found to point at. False, and nothing taken, when it is outside the arena
    /// or not wholly free.
    #[must_use]
    pub fn claim(&mut self, range: Range) -> bool {
        if range.len == 0 {
            return true;
        }
        let Some((&offset, &len)) = self.free.range(..=range.offset).next_back() else { return false };
        let free = Range { offset, len };
        if free.end() < range.end() {
            return false;
        }
        self.take(free, range);
        true
    }

    /// Hands out `len` slots, or `None` when no free range is long enough.
    #[must_use]
    pub fn allocate(&mut self, len: u32, now: Instant) -> Option<Range> {
        if len == 0 {
            return Some(Range::default());
        }
        self.settle(now);
        let (&offset, &found) = self.free.iter().find(|&(_, &free)| free >= len)?;
        let range = Range { offset, len };
        self.take(Range { offset, len: found }, range);
        Some(range)
    }

    /// Gives back a range that packets may still read: it waits.
    pub fn release(&mut self, range: Range, now: Instant) {
        if range.len > 0 {
            self.waiting.push_back((now + self.grace, range));
        }
    }

    /// Gives back a range that no packet ever saw: it is free at once.
    pub fn cancel(&mut self, range: Range) {
        self.put_back(range);
    }

    fn settle(&mut self, now: Instant) {
        while let Some(&(ready, range)) = self.waiting.front() {
            if ready > now {
                break;
            }
            self.waiting.pop_front();
            self.put_back(range);
        }
    }

    fn take(&mut self, free: Range, taken: Range) {
        self.free.remove(&free.offset);
        if free.offset < taken.offset {
            self.free.insert(free.offset, taken.offset - free.offset);
        }
        let rest = free.end() - taken.end();
        if let (Ok(start), Ok(rest)) = (u32::try_from(taken.end()), u32::try_from(rest))
            && rest > 0
        {
            self.free.insert(start, rest);
        }
    }

    fn put_back(&mut self, range: Range) {
        if range.len == 0 {
            return;
        }
        let mut merged = range;
        if let Some((&offset, &len)) = self.free.range(..range.offset).next_back()
            && (Range { offset, len }).end() == u64::from(range.offset)
        {
            self.free.remove(&offset);
            merged = Range { offset, len: len + range.len };
        }
        if let Ok(end) = u32::try_from(merged.end())
            && let Some(len) = self.free.remove(&end)
        {
            merged.len += len;
        }
        self.free.insert(merged.offset, merged.len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: Duration = Duration::from_secs(2);

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(u32),
        Release(usize),
        Cancel(usize),
        Wait(u64),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u32..60).prop_map(Step::Allocate),
            3 => any::<usize>().prop_map(Step::Release),
            1 => any::<usize>().prop_map(Step::Cancel),
            2 => (0_u64..3000).prop_map(Step::Wait),
            1 => Just(Step::Restart),
        ]
    }

    fn overlap(one: Range, other: Range) -> bool {
        u64::from(one.offset) < other.end() && u64::from(other.offset) < one.end()
    }

    proptest! {
        #[test]
        fn ranges_in_use_or_waiting_are_never_handed_out(steps in prop::collection::vec(step(), 0..200)) {
            let start = Instant::now();
            let mut now = start;
            let mut arena = Arena::new(500, GRACE);
            let mut live: Vec<Range> = Vec::new();
            let mut waiting: Vec<(Instant, Range)> = Vec::new();
            for step in steps {
                match step {
                    Step::Allocate(len) => {
                        waiting.retain(|(ready, _)| *ready > now);
                        if let Some(range) = arena.allocate(len, now) {
                            prop_assert_eq!(range.len, len);
                            prop_assert!(range.end() <= 500);
                            for other in live.iter().chain(waiting.iter().map(|(_, range)| range)) {
                                prop_assert!(len == 0 || !overlap(range, *other), "{range:?} over {other:?}");
                            }
                            if len > 0 {
                                live.push(range);
                            }
                        } else {
                            // Full only when no gap between what is held is long enough.
                            let mut held: Vec<Range> =
                                live.iter().copied().chain(waiting.iter().map(|(_, range)| *range)).collect();
                            held.sort();
                            let mut from = 0_u64;
                            for range in held {
                                prop_assert!(u64::from(range.offset) - from < u64::from(len));
                                from = range.end();
                            }
                            prop_assert!(500 - from < u64::from(len));
                        }
                    }
                    Step::Release(pick) if !live.is_empty() => {
                        let range = live.swap_remove(pick % live.len());
                        arena.release(range, now);
                        waiting.push((now + GRACE, range));
                    }
                    Step::Cancel(pick) if !live.is_empty() => {
                        let range = live.swap_remove(pick % live.len());
                        arena.cancel(range);
                    }
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::Restart => {
                        // Adoption: nobody remembers what waited; the caller starts long after.
                        now += GRACE;
                        waiting.clear();
                        arena = Arena::new(500, GRACE);
                        for range in &live {
                            prop_assert!(arena.claim(*range));
                        }
                    }
                    Step::Release(_) | Step::Cancel(_) => {}
                }
                let used: u64 = live.iter().map(|range| u64::from(range.len)).sum();
                prop_assert_eq!(arena.available() + used, 500);
            }
            for range in live.drain(..) {
                arena.release(range, now);
            }
            prop_assert_eq!(arena.allocate(500, now + GRACE), Some(Range { offset: 0, len: 500 }));
        }
    }

    #[test]
    fn a_claim_outside_the_arena_or_over_another_takes_nothing() {
        let mut arena = Arena::new(100, GRACE);
        assert!(arena.claim(Range { offset: 10, len: 20 }));
        for (offset, len) in [(10, 20), (29, 1), (5, 6), (0, 100), (90, 11), (100, 1), (u32::MAX, u32::MAX)] {
            assert!(!arena.claim(Range { offset, len }), "{offset} {len}");
        }
        assert_eq!(arena.available(), 80);
        assert!(arena.claim(Range { offset: 30, len: 70 }));
        assert!(arena.claim(Range { offset: 0, len: 10 }));
        assert_eq!(arena.allocate(1, Instant::now()), None);
    }

    #[test]
    fn the_end_of_the_largest_arena_is_reached_without_overflow() {
        let now = Instant::now();
        let mut arena = Arena::new(u32::MAX, GRACE);
        let all = arena.allocate(u32::MAX, now).unwrap();
        assert_eq!(arena.allocate(1, now), None);
        arena.release(all, now);
        assert_eq!(arena.allocate(1, now), None, "it waits");
        assert_eq!(arena.allocate(u32::MAX, now + GRACE), Some(all));
    }
}
