//! Mass failure: when a large share of all servers goes down at once, the checker is the likelier culprit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::machine::Now;
use crate::plan::ServerRef;

/// Fewer servers than this are never a mass failure.
const LEAST: usize = 2;

/// Watches how many servers go down within a window, and holds them while they are too many.
///
/// `checked` is the number of servers that could go down: the caller leaves out those that never were up.
///
/// Servers in doubt, whose last probes failed but not often enough yet, count as well: when all fail together, the first
/// that is found down finds the others in doubt, and none of them is taken out.
///
/// A server counts from the moment it went down until its window is over, it comes back, or it is removed. While a
/// hold lasts, every server that goes down is held too; the hold ends when the share of held servers has fallen to
/// the limit.
#[derive(Debug)]
pub(super) struct Watch {
    /// Above this share of all checked servers.
    share: f64,
    /// Servers that went down lately and have not come back, and until when they count.
    lately: BTreeMap<ServerRef, Instant>,
    /// The same in the order of time.
    ends: BTreeSet<(Instant, ServerRef)>,
    /// Servers that are held; empty without a hold.
    held: BTreeSet<ServerRef>,
    since: Option<Timestamp>,
}

/// What an event changed for other servers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nothing.
    Same,
    /// A hold began: these keep their last good state.
    Began(Vec<ServerRef>),
    /// The hold ended: these stay in use until they have failed anew.
    Ended(Vec<ServerRef>),
}

impl Watch {
    pub(super) const fn new(share: f64) -> Self {
        Self { share, lately: BTreeMap::new(), ends: BTreeSet::new(), held: BTreeSet::new(), since: None }
    }

    /// A server that was up went down; it counts for `window`.
    pub(super) fn on_down(
        &mut self,
        server: ServerRef,
        window: Duration,
        checked: usize,
        doubted: usize,
        now: Now,
    ) -> Hold {
        self.forget(server);
        if self.since.is_some() {
            self.held.insert(server);
            return Hold::Same;
        }
        let end = now.instant + window;
        self.lately.insert(server, end);
        self.ends.insert((end, server));
        while let Some((end, old)) = self.ends.first().copied()
            && end < now.instant
        {
            self.ends.remove(&(end, old));
            self.lately.remove(&old);
        }
        if !self.too_many(self.lately.len() + doubted, checked) {
            return Hold::Same;
        }
        self.since = Some(now.time);
        self.ends.clear();
        self.held = std::mem::take(&mut self.lately).into_keys().collect();
        Hold::Began(self.held.iter().copied().collect())
    }

    /// A server came back, or is checked no more.
    pub(super) fn on_up_or_gone(&mut self, server: ServerRef, checked: usize, doubted: usize) -> Hold {
        self.forget(server);
        self.on_checked(checked, doubted)
    }

    /// The number of checked servers, or of those in doubt, changed.
    pub(super) fn on_checked(&mut self, checked: usize, doubted: usize) -> Hold {
        if self.since.is_none() || self.too_many(self.held.len() + doubted, checked) {
            return Hold::Same;
        }
        self.since = None;
        Hold::Ended(std::mem::take(&mut self.held).into_iter().collect())
    }

    pub(super) fn is_held(&self, server: ServerRef) -> bool {
        self.held.contains(&server)
    }

    /// The servers that are held, since when.
    pub(super) fn current(&self) -> Option<(Timestamp, &BTreeSet<ServerRef>)> {
        self.since.map(|since| (since, &self.held))
    }

    fn too_many(&self, down: usize, checked: usize) -> bool {
        down >= LEAST && down as f64 > self.share * checked as f64
    }

    fn forget(&mut self, server: ServerRef) {
        self.held.remove(&server);
        if let Some(end) = self.lately.remove(&server) {
            self.ends.remove(&(end, server));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::BackendId;

    const WINDOW: Duration = Duration::from_secs(10);

    fn server(number: u8) -> ServerRef {
        ServerRef { backend: BackendId::from_uuid(uuid::Uuid::from_u128(1)), address: [10, 0, 0, number].into() }
    }

    fn at(start: Instant, millis: u64) -> Now {
        Now { instant: start + Duration::from_millis(millis), time: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn more_than_half_within_the_window_begins_a_hold_and_its_fall_ends_it() {
        let start = Instant::now();
        let mut watch = Watch::new(0.5);
        assert_eq!(watch.on_down(server(1), WINDOW, 4, 0, at(start, 0)), Hold::Same);
        assert_eq!(watch.on_down(server(2), WINDOW, 4, 0, at(start, 100)), Hold::Same, "half is not more than half");
        assert_eq!(
            watch.on_down(server(3), WINDOW, 4, 0, at(start, 200)),
            Hold::Began(vec![server(1), server(2), server(3)])
        );
        assert_eq!(watch.current().map(|(_, held)| held.len()), Some(3));
        assert_eq!(watch.on_down(server(4), WINDOW, 4, 0, at(start, 60_000)), Hold::Same);
        assert!(watch.is_held(server(4)), "what goes down during a hold is held too");
        assert_eq!(watch.on_up_or_gone(server(1), 4, 0), Hold::Same);
        assert_eq!(watch.on_up_or_gone(server(2), 4, 0), Hold::Ended(vec![server(3), server(4)]));
        assert_eq!(watch.current(), None);
    }

    #[test]
    fn servers_in_doubt_count_so_that_the_first_of_many_that_fail_together_is_held() {
        let start = Instant::now();
        let mut watch = Watch::new(0.5);
        assert_eq!(watch.on_down(server(1), WINDOW, 4, 2, at(start, 0)), Hold::Began(vec![server(1)]));
        assert_eq!(watch.on_checked(4, 2), Hold::Same);
        assert_eq!(watch.on_checked(4, 1), Hold::Ended(vec![server(1)]), "the others passed: it is down alone");
    }

    #[test]
    fn a_single_server_is_never_a_mass_failure() {
        let mut watch = Watch::new(0.1);
        assert_eq!(watch.on_down(server(1), WINDOW, 1, 0, at(Instant::now(), 0)), Hold::Same);
    }

    #[test]
    fn servers_that_went_down_one_after_the_other_over_more_than_the_window_are_not_held() {
        let start = Instant::now();
        let mut watch = Watch::new(0.5);
        for number in 1..=10 {
            let now = at(start, u64::from(number) * 10_001);
            assert_eq!(watch.on_down(server(number), WINDOW, 10, 0, now), Hold::Same);
        }
    }

    #[test]
    fn a_share_of_one_switches_it_off() {
        let start = Instant::now();
        let mut watch = Watch::new(1.0);
        for number in 1..=10 {
            assert_eq!(watch.on_down(server(number), WINDOW, 10, 0, at(start, 0)), Hold::Same);
        }
    }

    proptest! {
        /// Against a model that keeps every server's last change and counts from scratch.
        #[test]
        fn a_hold_is_on_exactly_while_the_share_says_so(
            events in prop::collection::vec((0u8..12, any::<bool>(), 0u64..4_000), 1..200), share in 0.05f64..1.0
        ) {
            const CHECKED: usize = 12;
            let start = Instant::now();
            let mut watch = Watch::new(share);
            let mut down: BTreeMap<u8, Option<u64>> = BTreeMap::new();
            let mut held: Option<BTreeSet<u8>> = None;
            let mut millis = 0;
            for (number, goes_down, wait) in events {
                millis += wait;
                if goes_down == down.contains_key(&number) {
                    continue;
                }
                let above = |count: usize| count >= 2 && count as f64 > share * CHECKED as f64;
                if goes_down {
                    watch.on_down(server(number), WINDOW, CHECKED, 0, at(start, millis));
                    down.insert(number, Some(millis));
                    if let Some(held) = &mut held {
                        held.insert(number);
                    } else {
                        let recent = |since: Option<u64>| since.is_some_and(|since| millis - since <= 10_000);
                        let lately: BTreeSet<u8> =
                            down.iter().filter(|(_, since)| recent(**since)).map(|(number, _)| *number).collect();
                        held = above(lately.len()).then_some(lately);
                    }
                } else {
                    watch.on_up_or_gone(server(number), CHECKED, 0);
                    down.remove(&number);
                    if let Some(some) = &mut held {
                        some.remove(&number);
                        if !above(some.len()) {
                            held = None;
                            // What was held had its window; it does not count again.
                            down.values_mut().for_each(|since| *since = None);
                        }
                    }
                }
                prop_assert_eq!(watch.current().is_some(), held.is_some());
                for number in 0..12 {
                    let expected = held.as_ref().is_some_and(|held| held.contains(&number));
                    prop_assert_eq!(watch.is_held(server(number)), expected, "server {}", number);
                }
            }
        }
    }
}
