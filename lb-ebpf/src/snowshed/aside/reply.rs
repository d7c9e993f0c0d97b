//! Answers of our addresses: echo, closed ports, and errors about packets that go no further; each at a bounded rate.

use aya_ebpf::{
    Global, bindings::xdp_md, helpers::generated::bpf_ktime_get_coarse_ns, macros::map, maps::PerCpuArray,
    programs::XdpContext,
};
use lb_common::abi::{Reason, vip::flags};
use lb_common::bucket::Bucket;
use lb_common::headers::walk::{Kind, walk};
use lb_common::headers::{Family, Headers};
use lb_common::icmp::{self, Message};
use lb_common::reply::{self, Reply, Says};
use lb_ebpf::Frame;

use crate::reject;
use crate::verdict::Verdict;

/// Nanoseconds per answer to an echo request and CPU: 10,000 per second. Monitoring needs few, a flood gets no more.
#[unsafe(no_mangle)]
static ECHO_INTERVAL_NS: Global<u64> = Global::new(100_000);
/// Echo answers that may leave at once.
#[unsafe(no_mangle)]
static ECHO_BURST: Global<u32> = Global::new(1_000);

#[map]
static ANSWERS: PerCpuArray<Bucket> = PerCpuArray::with_max_entries(1, 0);

/// The largest packet that a server of the packet at hand takes, from the forwarding to the answer.
#[map]
static LIMIT: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// Nobody listens.
pub(super) const CLOSED: u32 = 0;
/// The service has no server, and its policy is to answer.
pub(super) const EMPTY: u32 = 1;
/// The packet does not fit.
const TOO_BIG: u32 = 2;
/// The packet's hops are used up.
const TTL: u32 = 3;

/// Smallest MTU of IPv6 (RFC 8200 §5): no path may ask for less.
const LEAST_V6: u32 = 1280;

/// Answers a packet that is larger than `most` bytes. Returns what [`crate::judged`] makes of the verdict.
#[inline(always)]
pub(crate) fn too_big(context: *mut xdp_md, most: u32) -> u64 {
    aside_reply(context, TOO_BIG, most)
}

/// Answers a packet whose hops are used up.
#[inline(always)]
pub(crate) fn time_exceeded(context: *mut xdp_md) -> u64 {
    aside_reply(context, TTL, 0)
}

/// Notes the largest packet that fits, for [`noted_limit`].
#[inline(always)]
pub(crate) fn note_limit(most: u32) {
    if let Some(slot) = LIMIT.get_ptr_mut(0) {
        // SAFETY: this CPU's own element; XDP programs on one CPU do not interrupt each other.
        unsafe { *slot = most };
    }
}

/// What was noted for the packet at hand.
#[inline(always)]
pub(crate) fn noted_limit() -> u32 {
    // SAFETY: as above.
    LIMIT.get_ptr_mut(0).map_or(0, |slot| unsafe { *slot })
}

/// Turns an echo request into its answer.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_echo(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    let mut frame = Frame::new(&context);
    let Some(found) = super::found() else { return crate::judged(Verdict::drop(Reason::BadHeaders)) };
    let headers = super::headers_of(found);
    if reply::is_answerable(&frame, &headers) != Some(true) || !echo_within_rate() {
        return crate::judged(Verdict::drop(Reason::EchoDropped));
    }
    let answered =
        icmp::answer_echo(&mut frame, &headers).and_then(|()| reply::turn_link(&mut frame, headers.link_len));
    crate::judged(match answered {
        Some(()) => Verdict::send_back(Reason::EchoAnswered),
        None => Verdict::drop(Reason::BadHeaders),
    })
}

#[inline(always)]
fn echo_within_rate() -> bool {
    let Some(bucket) = ANSWERS.get_ptr_mut(0) else { return false };
    // SAFETY: the helper has no arguments; the bucket is this CPU's own.
    unsafe { (*bucket).take(bpf_ktime_get_coarse_ns(), ECHO_INTERVAL_NS.load(), ECHO_BURST.load()) }
}

/// Answers a packet that goes no further, where the protocols' rules and the policy want that.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn aside_reply(context: *mut xdp_md, about: u32, most: u32) -> u64 {
    let context = XdpContext::new(context);
    let frame = Frame::new(&context);
    let (limited, sent) = match about {
        CLOSED => (Reason::ClosedDropped, Reason::ClosedRejected),
        EMPTY => (Reason::EmptyPool, Reason::Rejected),
        TOO_BIG => (Reason::TooBig, Reason::TooBigAnswered),
        _ => (Reason::TtlExceeded, Reason::TtlAnswered),
    };
    let Ok(walked) = walk(&frame, frame.total_len()) else { return crate::judged(Verdict::drop(limited)) };
    let headers = walked.headers;
    // A piece other than the first has no port to be answered from (RFC 1122 §3.2.2), and no error answers an error.
    let may_answer = match walked.kind {
        Kind::Flow | Kind::Other => true,
        Kind::Icmp => Message::of(&frame, &headers) == Some(Message::Echo),
        Kind::Piece | Kind::Broken => false,
    };
    let reply = if may_answer { answer(&frame, &headers, about, most) } else { None };
    crate::judged(match reply {
        Some(reply) => reject::send(frame, &headers, reply, limited, sent),
        None => Verdict::drop(limited),
    })
}

#[inline(always)]
fn answer(frame: &Frame<'_>, headers: &Headers, about: u32, most: u32) -> Option<Reply> {
    match about {
        CLOSED if super::vip(headers)? & flags::REJECT != 0 => Reply::closed(frame, headers),
        CLOSED => None,
        EMPTY => Reply::closed(frame, headers),
        TOO_BIG if headers.family == Family::V6 && most < LEAST_V6 => None,
        TOO_BIG => Reply::error(frame, headers, Says::too_big(headers.family, most)),
        _ => Reply::error(frame, headers, Says::time_exceeded(headers.family)),
    }
}
