//! Packets for a capture, with what became of them: before and after everything else, in the program that captures only.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_xdp_load_bytes},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
    programs::XdpContext,
};
use lb_common::abi::capture::{CaptureFilter, CaptureRecord, MAX_SNAP};
use lb_common::bucket::Bucket;
use lb_common::capture::Sight;
use lb_ebpf::{Frame, atomic};

use crate::verdict::Way;

#[map]
static CAPTURE_FILTER: Array<CaptureFilter> = Array::with_max_entries(1, 0);

/// The smallest there is; made larger for the program that captures.
#[map]
static CAPTURE_EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);

#[map]
static CAPTURE_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[map]
static CAPTURE_RATE: Array<Bucket> = Array::with_max_entries(1, 0);

#[map]
static CAPTURED: PerCpuArray<Captured> = PerCpuArray::with_max_entries(1, 0);

/// The packet at hand.
#[repr(C)]
struct Captured {
    record: CaptureRecord,
    /// As it came in, and right behind it as it leaves.
    bytes: [u8; 2 * (MAX_SNAP as usize + 1)],
    /// [`interest`] in it.
    interest: u64,
}

/// Values of [`Captured::interest`].
mod interest {
    /// None.
    pub(super) const NO: u64 = 0;
    /// It depends on what leaves: a server's answer is known by the address that it is given.
    pub(super) const PERHAPS: u64 = 1;
    /// It came in as one of interest.
    pub(super) const YES: u64 = 2;
}

#[inline(always)]
fn captured() -> Option<&'static mut Captured> {
    // SAFETY: this CPU's own element; XDP programs on one CPU do not interrupt each other.
    CAPTURED.get_ptr_mut(0).map(|captured| unsafe { &mut *captured })
}

/// Keeps the packet as it came in.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_before(context: *mut xdp_md) -> u64 {
    let (Some(captured), Some(filter)) = (captured(), CAPTURE_FILTER.get(0)) else { return 0 };
    captured.interest = interest::NO;
    // SAFETY: the helper has no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if now > filter.until_ns {
        return 0;
    }
    let context = XdpContext::new(context);
    let frame = Frame::new(&context);
    let Some(sight) = Sight::of(&frame) else { return 0 };
    captured.record.time_ns = now;
    captured.record.ifindex = frame.ingress();
    (captured.record.in_len, captured.record.in_kept) = load(&frame, &context, captured, 0, filter.snap);
    captured.interest = if sight.is_wanted(filter) { interest::YES } else { interest::PERHAPS };
    0
}

/// Hands on what was kept, with what became of it and what leaves in its place.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_after(context: *mut xdp_md, judged: u64) -> u64 {
    let (Some(captured), Some(filter)) = (captured(), CAPTURE_FILTER.get(0)) else { return 0 };
    let (action, reason) = (judged as u32, (judged >> 32) as u32);
    if captured.interest == interest::NO || !filter.wants(reason) {
        return 0;
    }
    let context = XdpContext::new(context);
    let frame = Frame::new(&context);
    let is_sent = action == Way::SendBack as u32 || action == Way::SendElsewhere as u32;
    if captured.interest == interest::PERHAPS {
        let is_wanted = is_sent && Sight::of(&frame).is_some_and(|sight| sight.is_wanted(filter));
        if !is_wanted {
            return 0;
        }
    }
    let Some(bucket) = CAPTURE_RATE.get_ptr_mut(0) else { return 0 };
    // SAFETY: the bucket is a map's value.
    if !unsafe { atomic::take(bucket, &filter.rate, captured.record.time_ns) } {
        lose();
        return 0;
    }
    (captured.record.reason, captured.record.action) = (reason, action);
    // SAFETY: the helper has no arguments.
    captured.record.cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let at = captured.record.in_kept;
    (captured.record.out_len, captured.record.out_kept) =
        if is_sent { load(&frame, &context, captured, at, filter.snap) } else { (0, 0) };
    hand_on(captured);
    0
}

/// What the verifier is to know of a number, and the compiler not.
#[inline(always)]
fn bounded(kept: u32) -> usize {
    core::hint::black_box(kept) as usize & MAX_SNAP as usize
}

/// Copies the beginning of the packet as it is now: its length, and how much of it was kept.
#[inline(always)]
fn load(frame: &Frame<'_>, context: &XdpContext, captured: &mut Captured, at: u32, snap: u32) -> (u32, u32) {
    let len = frame.total_len() as u32;
    let kept = if len < snap { len } else { snap };
    if kept == 0 {
        return (len, 0);
    }
    // Linux 6.1 learns nothing from a test for zero: so it is seen that one byte is copied at least.
    let kept = bounded(kept - 1) as u32 + 1;
    // SAFETY: two of what the mask lets through fit one behind the other.
    let failed =
        unsafe { bpf_xdp_load_bytes(context.ctx, 0, captured.bytes.as_mut_ptr().add(bounded(at)).cast(), kept) };
    (len, if failed == 0 { kept } else { 0 })
}

#[inline(always)]
fn hand_on(captured: &Captured) {
    let len = size_of::<CaptureRecord>() + bounded(captured.record.in_kept) + bounded(captured.record.out_kept);
    // SAFETY: record and bytes stand one behind the other, without a gap; the element is aligned to eight bytes.
    let bytes = unsafe { core::slice::from_raw_parts((&raw const *captured).cast::<u8>(), len) };
    if CAPTURE_EVENTS.output::<[u8]>(bytes, 0).is_err() {
        lose();
    }
}

#[inline(always)]
fn lose() {
    if let Some(lost) = CAPTURE_LOST.get_ptr_mut(0) {
        // SAFETY: this CPU's own element; XDP programs on one CPU do not interrupt each other.
        unsafe { *lost += 1 }
    }
}
