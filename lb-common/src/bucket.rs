//! A token bucket: one token per interval, so many at once.

/// State of a bucket; starts full at time 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When the bucket will be full again, in nanoseconds of the caller's clock.
    pub full_at_ns: u64,
}

impl Bucket {
    /// A full bucket after one token was taken.
    #[inline(always)]
    #[must_use]
    pub const fn taken_once(now_ns: u64, interval_ns: u64) -> Self {
        Self { full_at_ns: now_ns + interval_ns }
    }

    /// Takes one token; `false` when there is none. A token comes every `interval_ns`; `burst`, at least 1, fill it.
    ///
    /// The bucket is kept as the time at which it is full (the generic cell rate algorithm, ITU-T I.371): one number, no
    /// rounding, and no division that depends on the time passed.
    #[inline(always)]
    pub const fn take(&mut self, now_ns: u64, interval_ns: u64, burst: u32) -> bool {
        let full_at_ns = if self.full_at_ns > now_ns { self.full_at_ns } else { now_ns };
        if full_at_ns + interval_ns > now_ns + interval_ns * burst as u64 {
            return false;
        }
        self.full_at_ns = full_at_ns + interval_ns;
        true
    }
}
