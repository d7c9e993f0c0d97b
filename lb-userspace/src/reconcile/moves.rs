//! Moving slots: which slots of a new table need tracking, and who owned them before.
//!
//! A slot is an interval of the hash range, so tables of different lengths can be laid over each other. Lengths are powers
//! of two (`plan::slots::LENGTHS`): each slot of the shorter table is some whole slots of the longer one. A slot of the
//! new table is *moving* when some flow that hashes into it may live on another server that is still up; the previous
//! owners' table then names the oldest owner since tracking began, because every flow opened later has an entry of
//! its own (`DATAPLANE.md`, "Just enough tracking").

use std::collections::BTreeSet;
use std::sync::Arc;

use lb_common::abi::Slot;

const TRACKED: u32 = Slot::MOVING | Slot::EXCEPTIONS;

/// A service's table and its previous owners' table, as `SLOTS` holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// The table, flags included; empty when no server is usable.
    pub(super) slots: Arc<[Slot]>,
    /// The previous owners' table; empty when no slot is moving.
    pub(super) previous: Arc<[Slot]>,
}

/// What is known of the server behind a backend index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its flows go on.
    Up,
    /// It is in its pool, but down: its flows are lost.
    Down,
    /// It is in no pool any more: nothing may point at it.
    Gone,
}

impl Table {
    /// Whether any slot is moving.
    pub(super) fn is_moving(&self) -> bool {
        !self.previous.is_empty()
    }

    /// How many slots have exceptions, when no slot is moving any more.
    pub(super) fn marked(&self) -> usize {
        if self.is_moving() {
            return 0;
        }
        self.slots.iter().filter(|slot| slot.0 & Slot::EXCEPTIONS != 0).count()
    }

    /// The table on which only these slots have exceptions still; `None` when it is the same.
    pub(super) fn unmarked(&self, kept: &BTreeSet<u32>) -> Option<Self> {
        let keeps = |number: usize| u32::try_from(number).is_ok_and(|number| kept.contains(&number));
        let slots: Arc<[Slot]> = self
            .slots
            .iter()
            .enumerate()
            .map(|(number, slot)| if keeps(number) { *slot } else { Slot::to_backend(slot.backend_index()) })
            .collect();
        (slots != self.slots).then(|| Self { slots, previous: Arc::default() })
    }

    /// Backend indexes that the tables refer to, ascending.
    pub(super) fn references(&self) -> Vec<u32> {
        let mut indexes: Vec<u32> =
            self.slots.iter().chain(self.previous.iter()).map(|slot| slot.backend_index()).collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes
    }

    /// The same without what no reconciler wrote: unknown bits, moving slots without a previous table, a previous
    /// table without moving slots.
    pub(super) fn sane(&self) -> Self {
        let is_moving = !self.previous.is_empty() && self.slots.iter().any(|slot| slot.0 & Slot::MOVING != 0);
        let slots = self.slots.iter().map(|slot| {
            let flag = match (slot.0 & TRACKED, is_moving) {
                (0, _) => 0,
                (flag, true) if flag & Slot::MOVING != 0 => Slot::MOVING,
                _ => Slot::EXCEPTIONS,
            };
            Slot(slot.backend_index() | flag)
        });
        let previous = self.previous.iter().map(|slot| Slot::to_backend(slot.backend_index()));
        Self { slots: slots.collect(), previous: if is_moving { previous.collect() } else { Arc::default() } }
    }

    /// The table after the window: flows may have exceptions, but none is noted any more.
    pub(super) fn settled(&self) -> Self {
        Self { slots: Arc::clone(&self.slots), previous: Arc::default() }.sane()
    }

    /// The tables that give each slot to its new owner and lose no flow of a server that is up.
    pub(super) fn advance(&self, owners: &[u32], standing: impl Fn(u32) -> Standing) -> Self {
        if self.has_owners(owners) && self.previous.iter().all(|slot| standing(slot.backend_index()) != Standing::Gone)
        {
            return self.clone();
        }
        if self.slots.is_empty() || owners.is_empty() {
            return Self { slots: owners.iter().map(|&owner| Slot::to_backend(owner)).collect(), ..Self::default() };
        }
        let mut previous = self.oldest_owners();
        let slots: Arc<[Slot]> = owners
            .iter()
            .enumerate()
            .map(|(number, &owner)| {
                let range = Interval::of(number, owners.len());
                let lives_elsewhere = |&before: &u32| before != owner && standing(before) == Standing::Up;
                let flag = if previous[range.within(previous.len())].iter().any(lives_elsewhere) {
                    Slot::MOVING
                } else if self.slots[range.within(self.slots.len())].iter().any(|slot| slot.0 & TRACKED != 0) {
                    Slot::EXCEPTIONS
                } else {
                    0
                };
                Slot(Slot::to_backend(owner).0 | flag)
            })
            .collect();
        if slots.iter().all(|slot| slot.0 & Slot::MOVING == 0) {
            return Self { slots, ..Self::default() };
        }
        let len = previous.len();
        for (number, before) in previous.iter_mut().enumerate() {
            if standing(*before) == Standing::Gone {
                *before = owners[Interval::of(number, len).first_of(owners.len())];
            }
        }
        Self { slots, previous: previous.into_iter().map(Slot::to_backend).collect() }
    }

    fn has_owners(&self, owners: &[u32]) -> bool {
        self.slots.len() == owners.len()
            && self.slots.iter().zip(owners).all(|(slot, owner)| slot.backend_index() == *owner)
    }

    /// The owner that flows without an entry live on, for each slot of the longer one of this table and its previous
    /// owners' table: there every flow of a slot has the same one.
    fn oldest_owners(&self) -> Vec<u32> {
        if self.previous.is_empty() {
            return self.slots.iter().map(|slot| slot.backend_index()).collect();
        }
        let len = self.previous.len().max(self.slots.len());
        let oldest = (0..len).map(|number| {
            let range = Interval::of(number, len);
            let now = self.slots[range.first_of(self.slots.len())];
            if now.0 & Slot::MOVING != 0 {
                self.previous[range.first_of(self.previous.len())].backend_index()
            } else {
                now.backend_index()
            }
        });
        oldest.collect()
    }
}

/// The 32-bit hashes that fall into a slot: slot = hash · length / 2^32.
#[derive(Clone, Copy, Debug)]
struct Interval {
    first: u64,
    last: u64,
}

impl Interval {
    fn of(slot: usize, len: usize) -> Self {
        let begin = |slot: u64| (slot << 32).div_ceil(len as u64);
        Self { first: begin(slot as u64), last: begin(slot as u64 + 1) - 1 }
    }

    /// Slots of a table of another length that these hashes fall into.
    fn within(self, len: usize) -> std::ops::RangeInclusive<usize> {
        slot_of(self.first, len)..=slot_of(self.last, len)
    }

    /// The slot of a table of another length that the first of these hashes falls into, and all of them if that table
    /// is no longer than this one's.
    fn first_of(self, len: usize) -> usize {
        slot_of(self.first, len)
    }
}

const fn slot_of(hash: u64, len: usize) -> usize {
    ((hash * len as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UP: fn(u32) -> Standing = |_| Standing::Up;

    fn table(owners: &[u32]) -> Table {
        Table::default().advance(owners, UP)
    }

    fn flags(table: &Table) -> Vec<u32> {
        table.slots.iter().map(|slot| slot.0 & TRACKED).collect()
    }

    fn previous(table: &Table) -> Vec<u32> {
        table.previous.iter().map(|slot| slot.0).collect()
    }

    #[test]
    fn a_first_table_moves_nothing() {
        let first = table(&[1, 2, 1]);
        assert_eq!(flags(&first), [0, 0, 0]);
        assert!(!first.is_moving());
    }

    #[test]
    fn slots_that_leave_a_server_that_is_up_are_moving_and_remember_it() {
        let moved = table(&[1, 2, 1]).advance(&[1, 1, 2], UP);
        assert_eq!(flags(&moved), [0, Slot::MOVING, Slot::MOVING]);
        assert_eq!(previous(&moved), [1, 2, 1]);
    }

    #[test]
    fn slots_of_a_dead_server_move_without_tracking() {
        let standing = |index| if index == 2 { Standing::Down } else { Standing::Up };
        let moved = table(&[1, 2, 1]).advance(&[1, 1, 1], standing);
        assert_eq!(flags(&moved), [0, 0, 0]);
        assert!(!moved.is_moving());
    }

    #[test]
    fn a_slot_that_moves_again_keeps_its_oldest_owner() {
        let twice = table(&[1, 1]).advance(&[2, 1], UP).advance(&[3, 1], UP);
        assert_eq!(flags(&twice), [Slot::MOVING, 0]);
        assert_eq!(previous(&twice), [1, 1]);
    }

    #[test]
    fn a_slot_that_comes_back_keeps_looking_for_the_flows_opened_meanwhile() {
        let back = table(&[1, 1]).advance(&[2, 1], UP).advance(&[1, 1], UP);
        assert_eq!(flags(&back), [Slot::EXCEPTIONS, 0]);
        assert!(!back.is_moving());
    }

    #[test]
    fn after_the_window_moving_slots_have_exceptions_and_no_previous_owner() {
        let settled = table(&[1, 1]).advance(&[2, 1], UP).settled();
        assert_eq!(flags(&settled), [Slot::EXCEPTIONS, 0]);
        assert!(settled.previous.is_empty());
        assert_eq!(settled.advance(&[2, 1], UP), settled);
    }

    #[test]
    fn nothing_points_at_a_server_that_is_gone() {
        let moving = table(&[1, 2]).advance(&[3, 2], UP);
        let gone = |index| if index == 1 { Standing::Gone } else { Standing::Up };
        let after = moving.advance(&[3, 2], gone);
        assert_eq!(flags(&after), [Slot::EXCEPTIONS, 0]);
        assert_eq!(after.references(), [2, 3]);
    }

    #[test]
    fn a_table_of_another_length_is_laid_over_the_old_one() {
        let longer = table(&[1, 2]).advance(&[1, 3, 2, 2], UP);
        assert_eq!(flags(&longer), [0, Slot::MOVING, 0, 0]);
        assert_eq!(previous(&longer), [1, 2]);
        // And again, while it is tracked: the previous owners' table is as fine as what it has to remember.
        let longest = longer.advance(&[1, 1, 3, 3, 2, 3, 2, 2], UP);
        assert_eq!(flags(&longest), [0, 0, Slot::MOVING, Slot::MOVING, 0, Slot::MOVING, 0, 0]);
        assert_eq!(previous(&longest), [1, 1, 2, 2]);
        let shorter = longest.advance(&[1, 2], UP);
        assert_eq!(flags(&shorter), [Slot::EXCEPTIONS, Slot::EXCEPTIONS]);
    }

    #[test]
    fn what_no_reconciler_wrote_is_cleaned() {
        let odd = Table { slots: [Slot(Slot::MOVING | (1 << 27) | 5)].into(), previous: Arc::default() };
        assert_eq!(&*odd.sane().slots, [Slot(Slot::EXCEPTIONS | 5)]);
        let idle = Table { slots: [Slot(5)].into(), previous: [Slot(6)].into() };
        assert!(idle.sane().previous.is_empty());
    }

    fn owners() -> impl Strategy<Value = Vec<u32>> {
        prop::sample::select(vec![1usize, 2, 4, 8, 16]).prop_flat_map(|len| prop::collection::vec(0u32..5, len))
    }

    proptest! {
        /// A flow opened before any change, while its server stays up, never loses it: each change either keeps the
        /// server, or makes the slot moving with that server as the previous owner; also where lengths change.
        #[test]
        fn a_flow_finds_its_server_through_any_history(
            histories in prop::collection::vec(owners(), 1..8), hash: u32,
        ) {
            let mut now = table(&histories[0]);
            let home = now.slots[slot_of(u64::from(hash), now.slots.len())].backend_index();
            for owners in &histories[1..] {
                now = now.advance(owners, UP);
                prop_assert_eq!(found_without_entry(&now, hash), home);
            }
        }

        #[test]
        fn advancing_twice_changes_nothing(
            history in prop::collection::vec(owners(), 1..6), standings in prop::collection::vec(0u8..3, 5),
        ) {
            let standing = |index: u32| match standings[index as usize] {
                0 => Standing::Up,
                1 => Standing::Down,
                _ => Standing::Gone,
            };
            let mut now = Table::default();
            for owners in &history {
                now = now.advance(owners, UP);
            }
            let last: Vec<u32> = history[history.len() - 1].iter().map(|&owner| if standing(owner) == Standing::Gone { 9 } else { owner }).collect();
            let standing = |index: u32| if index == 9 { Standing::Up } else { standing(index) };
            let once = now.advance(&last, standing);
            prop_assert!(once.has_owners(&last));
            prop_assert!(once.references().into_iter().all(|index| standing(index) != Standing::Gone));
            prop_assert_eq!(&once.advance(&last, standing), &once);
            prop_assert_eq!(&once.sane(), &once);
        }
    }

    /// Where the kernel program sends a packet that opens no flow and has no entry.
    fn found_without_entry(table: &Table, hash: u32) -> u32 {
        let slot = table.slots[slot_of(u64::from(hash), table.slots.len())];
        if slot.0 & Slot::MOVING == 0 {
            return slot.backend_index();
        }
        table.previous[slot_of(u64::from(hash), table.previous.len())].backend_index()
    }
}
