//! What no service takes at first sight: pieces of packets, extension headers, ICMP, closed ports. Everything
//! that is for none of our addresses leaves here, untouched.
//!
//! Each step is a global function: the verifier looks at it once, alone, and only the deepest step's stack counts. What one
//! step finds, the next reads in `ASIDE`.

use aya_ebpf::{
    bindings::xdp_md,
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use lb_common::abi::{Address, Reason, ServiceEntry, VipEntry, limits};
use lb_common::headers::{Headers, walk::MAX_TRANSPORT};
#[cfg(doc)]
use lb_common::icmp::Quote;
use lb_ebpf::OnStack;

use crate::verdict::Verdict;
use crate::{config, gue, nat, service};

#[path = "aside/flow.rs"]
mod flow;
#[path = "aside/look.rs"]
mod look;
#[path = "aside/piece.rs"]
mod piece;
#[path = "aside/quote.rs"]
mod quote;
#[path = "aside/reply.rs"]
pub(crate) mod reply;
#[path = "aside/translate.rs"]
mod translate;
#[path = "aside/way.rs"]
mod way;

#[map]
static VIPS: HashMap<Address, VipEntry> = HashMap::with_max_entries(limits::MAX_SERVICES, 0);

#[map]
static ASIDE: PerCpuArray<Found> = PerCpuArray::with_max_entries(1, 0);

/// What was found of the packet at hand.
struct Found {
    /// Of an error: those of the flow's own packets, see [`Quote::headers`].
    headers: Headers,
    /// Flags of the address it goes to; 0 of a source address of translated flows, [`ANY_ADDRESS`] of any.
    vip: u32,
    /// [`what`] it is.
    what: u32,
    /// Of an error: where the quoted headers begin, as [`Quote::ip`] and [`Quote::transport`].
    quoted: [u32; 2],
    /// Key of the service in the map of its IP version.
    service: [u64; 3],
}

/// [`Found::vip`] of a packet of which only the headers were looked at.
const ANY_ADDRESS: u32 = u32::MAX;

/// Values of [`Found::what`].
mod what {
    /// A packet with everything that was read of it.
    pub(super) const WHOLE: u32 = 0;
    /// A piece without transport header; its ports are those of the first piece.
    pub(super) const PIECE: u32 = 1;
    /// An ICMP error from the client's side.
    pub(super) const ERROR: u32 = 2;
    /// An ICMP error from the servers' side, to a source address of translated flows.
    pub(super) const ERROR_TO_SOURCE: u32 = 3;
}

/// No verdict has this bit: something is to be done first.
pub(crate) const STEP: u64 = 1 << 63;
/// Find out what the packet is.
pub(crate) const LOOK: u64 = STEP | 14;

/// What is to be done next, where a step ends with no verdict.
mod next {
    use super::STEP;
    /// Find what an error quotes.
    pub(super) const QUOTE: u64 = STEP | 1;
    /// Find the service.
    pub(super) const SERVICE: u64 = STEP | 2;
    /// Send the packet to its server, in a tunnel.
    pub(super) const TUNNEL: u64 = STEP | 3;
    /// Send the packet to its server as it is.
    pub(super) const DIRECT: u64 = STEP | 12;
    /// Send the packet to its server, in UDP.
    pub(super) const GUE: u64 = STEP | 13;
    /// Find the translated flow of a piece or an error.
    pub(super) const WAY: u64 = STEP | 4;
    /// Translate it.
    pub(super) const TRANSLATE: u64 = STEP | 5;
    /// A whole packet of a translated flow, from the client.
    pub(super) const FORWARD: u64 = STEP | 6;
    /// A whole packet of a translated flow, from the server.
    pub(super) const BACK: u64 = STEP | 7;
    /// Answer an echo request.
    pub(super) const ECHO: u64 = STEP | 8;
    /// Nobody listens.
    pub(super) const CLOSED: u64 = STEP | 9;
    /// The service has no server.
    pub(super) const EMPTY: u64 = STEP | 10;
    /// The packet does not fit.
    pub(super) const TOO_BIG: u64 = STEP | 11;
}

/// A whole packet that no service has by its own port: the step that looks for a range. Pays for one lookup, and for no
/// second look at the frame.
#[inline(always)]
pub(crate) fn look_in_ranges(headers: &Headers) -> u64 {
    note(headers, ANY_ADDRESS, what::WHOLE);
    next::SERVICE
}

/// A whole packet of a service at its own port, that may name its server: the step that sends it in a tunnel.
#[inline(always)]
pub(crate) fn into_tunnel(headers: &Headers) -> u64 {
    note(headers, ANY_ADDRESS, what::WHOLE);
    if let Some(found) = found() {
        found.service = service::key_words(headers);
    }
    next::TUNNEL
}

/// What becomes of a packet that [`lb_common::headers::parse`] leaves, or no service has; `first` is the first step.
/// Returns what [`crate::judged`] makes of the verdict.
#[inline(always)]
pub(crate) fn judge(context: *mut xdp_md, first: u64) -> u64 {
    match aside_steps(context, first) {
        next::FORWARD => match (service_found(), config::get()) {
            (Some(service), Some(config)) => nat::forward(context, service, config),
            _ => crate::judged(Verdict::drop(Reason::NoBackend)),
        },
        next::BACK => nat::back(context),
        judged => judged,
    }
}

/// A verdict, or the steps that the program itself takes: they use too much of the stack to be called from here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn aside_steps(context: *mut xdp_md, first: u64) -> u64 {
    let mut step = first;
    if step == next::SERVICE {
        step = flow::aside_service(context);
    }
    if step == LOOK {
        step = look::aside_look(context);
    }
    if step == next::QUOTE {
        step = quote::aside_quote(context);
    }
    if step == next::SERVICE {
        step = flow::aside_service(context);
    }
    if step == next::TUNNEL {
        step = flow::aside_tunnel(context);
    }
    if step == next::DIRECT {
        step = flow::aside_direct(context);
    }
    if step == next::GUE {
        step = flow::aside_gue();
    }
    if step & (gue::CHOSEN | STEP) == gue::CHOSEN {
        step = gue::gue_send(context, step as u32);
        if step == crate::judged(Verdict::drop(Reason::TooBig))
            && found().is_some_and(|found| found.what == what::WHOLE)
        {
            step = next::TOO_BIG;
        }
    }
    if step == next::WAY {
        step = way::aside_way(context);
    }
    match step {
        next::TRANSLATE => translate::aside_translate(context),
        next::ECHO => reply::aside_echo(context),
        next::CLOSED => reply::aside_reply(context, reply::CLOSED, 0),
        next::EMPTY => reply::aside_reply(context, reply::EMPTY, 0),
        next::TOO_BIG => reply::too_big(context, reply::noted_limit()),
        judged => judged,
    }
}

/// Notes what was found, for the next step.
#[inline(always)]
fn note(headers: &Headers, vip: u32, what: u32) {
    if let Some(found) = found() {
        found.headers = *headers;
        (found.vip, found.what) = (vip, what);
    }
}

/// What the steps before noted.
#[inline(always)]
fn found() -> Option<&'static mut Found> {
    // SAFETY: this CPU's own element; XDP programs on one CPU do not interrupt each other, and no step keeps what it
    // has from here beyond its next call of this.
    ASIDE.get_ptr_mut(0).map(|found| unsafe { &mut *found })
}

/// The headers that were noted. Offsets are cut to what they can be at most: that is all the verifier knows of them.
#[inline(always)]
fn headers_of(found: &Found) -> Headers {
    Headers {
        link_len: found.headers.link_len & 0x1f,
        transport: found.headers.transport & MAX_TRANSPORT,
        ip_len: found.headers.ip_len & 0x1_ffff,
        ..found.headers
    }
}

/// The service that was noted. A map's key may stand in another map: nothing of it is on the stack.
#[inline(always)]
fn service_found() -> Option<&'static ServiceEntry> {
    let found = found()?;
    service::at(found.headers.family, &found.service)
}

/// What we know of an address, if it is ours.
#[inline(always)]
fn vip(headers: &Headers) -> Option<u32> {
    let key = OnStack(headers.destination.address());
    // SAFETY: the map is preallocated; the value is read at once.
    unsafe { VIPS.get(&key.0) }.map(|vip| vip.flags)
}

/// The service of a packet to one of our addresses, or of one that no service has by its own port; its key is noted.
#[inline(always)]
fn find_service(found: &mut Found, headers: &Headers) -> Option<&'static ServiceEntry> {
    if found.vip != ANY_ADDRESS {
        found.service = service::key_words(headers);
        if let Some(service) = service::at(headers.family, &found.service) {
            return Some(service);
        }
        if !config::has_ranges() {
            return None;
        }
    }
    found.service = service::range_words(headers)?;
    service::at(headers.family, &found.service)
}
