//! The state machine of one server's health. It has no socket and no clock.

use std::num::NonZeroU8;
use std::time::Instant;

use jiff::Timestamp;

/// A moment, on the clock that never steps back and on the one people read.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For measuring.
    pub instant: Instant,
    /// For telling.
    pub time: Timestamp,
}

/// Probes in a row that change a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passed probes that bring a server in.
    pub rise: NonZeroU8,
    /// Failed probes that take it out.
    pub fall: NonZeroU8,
}

/// Health of one server.
///
/// ```text
///            first probe passed            first probe failed
///         ┌──────────────────── Unknown ────────────────────┐
///         ▼                                                 ▼
///  ┌──▶ Up ── `fall` failed probes in a row ─────────────▶ Down ◀──┐
///  │    │  ◀───────────── `rise` passed probes in a row ─── │      │
///  └────┘ passed: the count of failed ones starts again     └──────┘ failed: the count of passed ones starts again
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    state: State,
    /// Probes in a row that speak against the state; below the threshold.
    against: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Decided { up: bool, since: Timestamp, at: Instant },
}

/// A verdict that a probe has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The first verdict ever.
    First {
        /// Whether the server is up.
        up: bool,
    },
    /// From down to up.
    Rose,
    /// From up to down.
    Fell,
}

impl Machine {
    /// A server nobody has probed: the first probe decides.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { state: State::Unknown, against: 0 }
    }

    /// A server whose verdict is taken over from an agent before.
    #[must_use]
    pub const fn taken_over(up: bool, now: Now) -> Self {
        Self { state: State::Decided { up, since: now.time, at: now.instant }, against: 0 }
    }

    /// Takes the result of a probe. A verdict, if it brings one about.
    pub fn on_probe(&mut self, passed: bool, thresholds: Thresholds, now: Now) -> Option<Turn> {
        let turn = match self.state {
            State::Unknown => Turn::First { up: passed },
            State::Decided { up, .. } if up == passed => {
                self.against = 0;
                return None;
            }
            State::Decided { up, .. } => {
                self.against = self.against.saturating_add(1);
                let needed = if up { thresholds.fall } else { thresholds.rise };
                if self.against < needed.get() {
                    return None;
                }
                if up { Turn::Fell } else { Turn::Rose }
            }
        };
        self.state = State::Decided { up: passed, since: now.time, at: now.instant };
        self.against = 0;
        Some(turn)
    }

    /// Whether the last probes speak against the verdict.
    #[must_use]
    pub const fn is_doubted(&self) -> bool {
        self.against > 0
    }

    /// The verdict, since when, and the instant it was reached; `None` before the first.
    #[must_use]
    pub const fn verdict(&self) -> Option<(bool, Timestamp, Instant)> {
        match self.state {
            State::Unknown => None,
            State::Decided { up, since, at } => Some((up, since, at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Now {
        Now { instant: Instant::now(), time: Timestamp::UNIX_EPOCH }
    }

    fn thresholds(rise: u8, fall: u8) -> Thresholds {
        Thresholds { rise: NonZeroU8::new(rise).unwrap(), fall: NonZeroU8::new(fall).unwrap() }
    }

    #[test]
    fn the_first_probe_decides_at_once() {
        for up in [true, false] {
            let mut machine = Machine::unknown();
            assert_eq!(machine.verdict(), None);
            assert_eq!(machine.on_probe(up, thresholds(9, 9), now()), Some(Turn::First { up }));
            assert_eq!(machine.verdict().map(|(up, ..)| up), Some(up));
        }
    }

    #[test]
    fn a_server_taken_over_as_down_needs_its_rise() {
        let mut machine = Machine::taken_over(false, now());
        assert_eq!(machine.on_probe(true, thresholds(2, 1), now()), None);
        assert_eq!(machine.on_probe(true, thresholds(2, 1), now()), Some(Turn::Rose));
    }

    proptest! {
        #[test]
        fn a_verdict_turns_exactly_when_the_last_probes_in_a_row_reach_the_threshold(
            probes in prop::collection::vec(any::<bool>(), 1..200), rise in 1u8..6, fall in 1u8..6, start in any::<bool>()
        ) {
            let mut machine = Machine::taken_over(start, now());
            let mut up = start;
            for at in 0..probes.len() {
                let turn = machine.on_probe(probes[at], thresholds(rise, fall), now());
                let needed = usize::from(if up { fall } else { rise });
                // Probes that speak against the verdict, counted backwards since it was reached.
                let against = probes[..=at].iter().rev().take_while(|passed| **passed != up).count();
                let turns = against >= needed;
                prop_assert_eq!(turn.is_some(), turns, "probe {}", at);
                if turns {
                    prop_assert_eq!(turn, Some(if up { Turn::Fell } else { Turn::Rose }));
                    up = !up;
                }
                prop_assert_eq!(machine.verdict().map(|(up, ..)| up), Some(up));
            }
        }

        #[test]
        fn flapping_probes_turn_a_verdict_at_most_once_per_threshold(
            probes in prop::collection::vec(any::<bool>(), 0..500), rise in 1u8..8, fall in 1u8..8
        ) {
            let mut machine = Machine::taken_over(true, now());
            let turns = probes.iter().filter(|p| machine.on_probe(**p, thresholds(rise, fall), now()).is_some()).count();
            // A fall and a rise together need `rise + fall` probes.
            prop_assert!(turns <= 2 * probes.len() / usize::from(rise + fall) + 1);
        }

        #[test]
        fn alternating_probes_never_turn_a_verdict_that_needs_two(
            length in 0usize..300, rise in 2u8..8, fall in 2u8..8, start in any::<bool>()
        ) {
            let mut machine = Machine::taken_over(start, now());
            for probe in 0..length {
                prop_assert_eq!(machine.on_probe(probe % 2 == 0, thresholds(rise, fall), now()), None);
            }
        }
    }
}
