//! Answers packets that no server can take, at a bounded rate.

use aya_ebpf::{Global, helpers::generated::bpf_ktime_get_ns, macros::map, maps::PerCpuArray};
use lb_common::abi::{Reason, ServiceEntry};
use lb_common::bucket::Bucket;
use lb_common::headers::Headers;
use lb_common::reply::Reply;
use lb_ebpf::Frame;

use crate::verdict::Verdict;

/// Nanoseconds per answer and CPU: 1,000 per second. Enough for people, too little to amplify a flood.
#[unsafe(no_mangle)]
static REJECT_INTERVAL_NS: Global<u64> = Global::new(1_000_000);
/// Answers that may leave at once.
#[unsafe(no_mangle)]
static REJECT_BURST: Global<u32> = Global::new(100);

#[map]
static REJECTS: PerCpuArray<Bucket> = PerCpuArray::with_max_entries(1, 0);

/// Turns the packet into its answer where the service's policy and the protocols' rules want one; otherwise drops it for
/// the reason given.
#[inline(always)]
pub(crate) fn answer(frame: Frame<'_>, headers: &Headers, service: &ServiceEntry, reason: Reason) -> Verdict {
    match Reply::to(&frame, headers, service.flags) {
        Some(reply) => send(frame, headers, reply, Reason::RejectLimited, Reason::Rejected),
        None => Verdict::drop(reason),
    }
}

/// Turns the packet into its answer, counted under `sent`; within the rate, otherwise drops it.
#[inline(always)]
pub(crate) fn send(frame: Frame<'_>, headers: &Headers, reply: Reply, limited: Reason, sent: Reason) -> Verdict {
    if !within_rate() {
        return Verdict::drop(limited);
    }
    let cut = reply.keeps(headers);
    let growth = reply.growth(headers) as i32;
    let Some(mut frame) = frame.cut_to(cut).and_then(|frame| frame.move_start(-growth)) else {
        return Verdict::drop(Reason::NoHeadroom);
    };
    match reply.write(&mut frame, headers) {
        Some(()) => Verdict::send_back(sent),
        None => Verdict::drop(Reason::NoHeadroom),
    }
}

#[inline(always)]
fn within_rate() -> bool {
    let Some(bucket) = REJECTS.get_ptr_mut(0) else { return false };
    // SAFETY: the helper has no arguments; the bucket is this CPU's own.
    unsafe { (*bucket).take(bpf_ktime_get_ns(), REJECT_INTERVAL_NS.load(), REJECT_BURST.load()) }
}
