//! Pauses between attempts: each twice the one before, up to a longest, with chance so that recipients that failed
//! together are not asked again together.

use std::time::Duration;

/// When an attempt is repeated, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Pause after the first attempt.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// Attempts before a letter is given up; at least 1.
    pub attempts: u32,
}

impl Backoff {
    /// The pause after this many failed attempts; nothing when the letter is given up. `chance` from 0 to 1 takes it from
    /// half of the full pause to all of it. What the recipient asked for is kept up to the longest pause.
    #[must_use]
    pub fn pause(&self, failed: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        let doubled = 2_u32.checked_pow(failed.saturating_sub(1)).and_then(|times| self.first.checked_mul(times));
        let full = doubled.unwrap_or(self.longest).min(self.longest);
        let pause = full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        Some(pause.max(asked.unwrap_or_default().min(self.longest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(3600), attempts: 32 };

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_last_attempt() {
        let seconds = |failed| BACKOFF.pause(failed, None, 1.0).map(|pause| pause.as_secs());
        assert_eq!([1, 2, 3, 10, 11, 31].map(seconds), [5, 10, 20, 2560, 3600, 3600].map(Some));
        assert_eq!([32, 33, u32::MAX].map(seconds), [None; 3]);
        let forever = Backoff { attempts: u32::MAX, ..BACKOFF };
        assert_eq!(forever.pause(4_000_000, None, 1.0), Some(BACKOFF.longest));
    }

    #[test]
    fn chance_takes_at_most_half_and_a_recipient_may_ask_for_more_but_not_for_ever() {
        assert_eq!(BACKOFF.pause(2, None, 0.0), Some(Duration::from_secs(5)));
        assert_eq!(BACKOFF.pause(1, Some(Duration::from_secs(60)), 1.0), Some(Duration::from_secs(60)));
        assert_eq!(BACKOFF.pause(1, Some(Duration::from_secs(1)), 1.0), Some(Duration::from_secs(5)));
        assert_eq!(BACKOFF.pause(1, Some(Duration::from_secs(1 << 40)), 1.0), Some(BACKOFF.longest));
    }
}
