//! Atomic operations that the compiler has no intrinsic for on this target.

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
