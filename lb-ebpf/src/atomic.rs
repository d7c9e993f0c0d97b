//! Atomic operations that the compiler has no intrinsic for on this target.

use lb_common::abi::protection::Rate;
use lb_common::bucket::Bucket;

/// How often a token is tried for while other CPUs take theirs; who loses every time is refused.
const TRIES: u32 = 8;

/// Puts `after` in the place of `before`, if that is what stands there. Returns what stood there.
///
/// # Safety
/// `word` is aligned to eight bytes and points into a map's value.
#[inline(always)]
pub unsafe fn compare_exchange(word: *mut u64, before: u64, after: u64) -> u64 {
    let found: u64;
    // SAFETY: the caller's contract.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {after})",
            word = in(reg) word,
            after = in(reg) after,
            inout("r0") before => found,
        );
    }
    found
}

/// Takes a token of a bucket that every CPU takes from; `false` when there is none.
///
/// # Safety
/// `bucket` points into a map's value.
#[inline(always)]
pub unsafe fn take(bucket: *mut Bucket, rate: &Rate, now: u64) -> bool {
    for _ in 0..TRIES {
        // SAFETY: a bucket is one word in a map's value, aligned to eight bytes; should the element be reused
        // meanwhile, its new owner has a token less.
        let before = unsafe { bucket.read_volatile() };
        let mut after = before;
        if !after.take(now, rate.interval_ns, rate.burst) {
            return false;
        }
        // SAFETY: as above.
        let found = unsafe { compare_exchange(bucket.cast(), before.full_at_ns, after.full_at_ns) };
        if found == before.full_at_ns {
            return true;
        }
    }
    false
}
