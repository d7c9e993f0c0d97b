//! Network address translation: flows by the client's tuple, and by our source address and port.
//!
//! Both ways are subprograms: a packet that is not translated pays for none of this, not even in registers.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, xdp_md},
    helpers::generated::bpf_ktime_get_coarse_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
    programs::XdpContext,
};
use lb_common::abi::nat::{NAT_WAYS, NatBucket, NatRange, NatSource};
use lb_common::abi::service::flags;
use lb_common::abi::{Address, BackendEntry, ConfigEntry, NatFlow, Reason, ServiceEntry, limits};
use lb_common::hash::FlowHash;
use lb_common::headers::walk::MAX_TRANSPORT;
use lb_common::headers::{AddressWords, ETHERNET_LEN, Family, Headers, Inherited};
use lb_common::link::{LinkHeader, ONE_TAG, TWO_TAGS};
use lb_common::nat::flow::{Standing, admit, is_live};
use lb_common::nat::index::{Entry, NOWHERE, Probe};
use lb_common::nat::lifetime;
use lb_common::nat::ports::{DRAWS, Fit, Place, index_of};
use lb_common::nat::rewrite::{Delta, Tuple, translate};
use lb_common::packet::Packet as _;
use lb_ebpf::{Frame, OnStack, atomic};

use crate::aside::reply;
use crate::verdict::{Verdict, Way};
use crate::{account, config, quic, reject, steer, transmit};

#[map]
static NAT_FLOWS: Array<NatFlow> = Array::with_max_entries(limits::MAX_NAT_FLOWS, BPF_F_MMAPABLE);

#[map]
static NAT_INDEX: Array<NatBucket> = Array::with_max_entries(limits::MAX_NAT_BUCKETS, BPF_F_MMAPABLE);

/// Elements of `NAT_INDEX`, set where its size is.
#[unsafe(no_mangle)]
static NAT_BUCKETS: Global<u32> = Global::new(limits::MAX_NAT_BUCKETS);

#[map]
static NAT_POOL: Array<NatSource> = Array::with_max_entries(limits::MAX_NAT_SOURCES, 0);

#[map]
static NAT_SOURCES: HashMap<Address, u32> = HashMap::with_max_entries(limits::MAX_NAT_SOURCES, 0);

/// The headers of the packet at hand, from the program to its subprograms. Not on the stack: there is too little of it, and
/// the verifier would follow every kind of frame through all that is below.
#[map]
static NAT_PACKET: PerCpuArray<Headers> = PerCpuArray::with_max_entries(1, 0);

/// Leaves the headers for [`forward`] or [`back`].
#[inline(always)]
pub(crate) fn hand_over(headers: &Headers) {
    if let Some(slot) = NAT_PACKET.get_ptr_mut(0) {
        // SAFETY: this CPU's own element; XDP programs on one CPU do not interrupt each other.
        unsafe { *slot = *headers };
    }
}

/// The headers that were left. Offsets are cut to what they can be at most: that is all the verifier knows of them.
#[inline(always)]
pub(crate) fn handed_over() -> Option<Headers> {
    // SAFETY: as above; the program that called wrote it just now.
    let headers = unsafe { &*NAT_PACKET.get_ptr_mut(0)? };
    Some(Headers { link_len: headers.link_len & 0x1f, transport: headers.transport & MAX_TRANSPORT, ..*headers })
}

/// A client's packet, on to the flow's server or answered in its place. Returns what [`crate::judged`] makes of the
/// verdict.
#[inline(always)]
pub(crate) fn forward(context: *mut xdp_md, service: &ServiceEntry, config: &ConfigEntry) -> u64 {
    const EMPTY_POOL: u32 = Reason::EmptyPool as u32;
    const UNKNOWN_FLOW: u32 = Reason::NatUnknownFlow as u32;
    const TOO_BIG: u32 = Reason::TooBig as u32;
    const TTL_EXCEEDED: u32 = Reason::TtlExceeded as u32;
    let via = if service.flags & flags::QUIC != 0 { quic::via() } else { 0 };
    let mut judged = translated(context, config, via, 0);
    // A packet that opens a flow opens it, and then goes the way of all others: one after the other, and not one in the
    // other, together their stacks would be too large.
    if judged == OPENS {
        judged = opened(context, service, config, via);
        if judged == OPENED {
            judged = translated(context, config, via, 1);
        }
        // Another CPU gave the place away meanwhile: the packet's repetition opens it again.
        if judged == OPENS {
            judged = crate::judged(Verdict::drop(Reason::NatPortsExhausted));
        }
    }
    if judged as u32 != Way::Drop as u32 {
        return judged;
    }
    match (judged >> 32) as u32 {
        EMPTY_POOL => refused(context, service, true),
        UNKNOWN_FLOW => refused(context, service, false),
        TOO_BIG => reply::too_big(context, reply::noted_limit()),
        TTL_EXCEEDED => reply::time_exceeded(context),
        _ => judged,
    }
}

/// Not a verdict: the packet opens a flow, if one can be.
const OPENS: u64 = 1 << 63;
/// Not a verdict: it is open.
const OPENED: u64 = 1 << 62;

#[inline(never)]
fn translated(context: *mut xdp_md, config: &ConfigEntry, via: u32, is_opened: u64) -> u64 {
    let context = XdpContext::new(context);
    let Some(headers) = handed_over() else { return crate::judged(Verdict::drop(Reason::Malformed)) };
    let judged = to_server(Frame::new(&context), &headers, config, via, is_opened != 0);
    judged.unwrap_or_else(|reason| crate::judged(Verdict::drop(reason)))
}

/// Opens the flow of the packet, where its service has a server that takes it. [`OPENED`], or why not.
#[inline(never)]
fn opened(context: *mut xdp_md, service: &ServiceEntry, config: &ConfigEntry, via: u32) -> u64 {
    let context = XdpContext::new(context);
    let Some(headers) = handed_over() else { return crate::judged(Verdict::drop(Reason::Malformed)) };
    match open(&Frame::new(&context), &headers, service, config, via) {
        Ok(()) => OPENED,
        Err(reason) => crate::judged(Verdict::drop(reason)),
    }
}

#[inline(never)]
pub(crate) fn refused(context: *mut xdp_md, service: &ServiceEntry, is_empty: bool) -> u64 {
    let context = XdpContext::new(context);
    let Some(headers) = handed_over() else { return crate::judged(Verdict::drop(Reason::Malformed)) };
    let reason = if is_empty { Reason::EmptyPool } else { Reason::NatUnknownFlow };
    crate::judged(reject::answer(Frame::new(&context), &headers, service, reason))
}

/// A packet that no service has: a server's answer on its way back to the client, or not ours. Returns as [`forward`].
#[inline(always)]
pub(crate) fn back(context: *mut xdp_md) -> u64 {
    let judged = returned(context);
    if judged == crate::judged(Verdict::drop(Reason::TtlExceeded)) { reply::time_exceeded(context) } else { judged }
}

#[inline(never)]
fn returned(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    let Some(headers) = handed_over() else { return crate::judged(Verdict::drop(Reason::Malformed)) };
    crate::judged(to_client(Frame::new(&context), &headers))
}

#[inline(always)]
fn to_server(
    frame: Frame<'_>,
    headers: &Headers,
    config: &ConfigEntry,
    via: u32,
    is_opened: bool,
) -> Result<u64, Reason> {
    let now = now();
    let probe = Probe::of(FlowHash::of_flow(headers, via, config.hash_key), NAT_BUCKETS.load());
    let known = element_at(look_up(&probe, headers, via));
    let backend = known.as_ref().and_then(|flow| steer::backend(flow.backend));
    let standing = match (&known, backend) {
        // Just opened: also to a server that is down, where the service has no other.
        (Some(_), Some(_)) if is_opened => Standing::Follows,
        (Some(flow), Some(backend)) => Standing::of(headers, flow, backend, now),
        _ => Standing::without_flow(headers),
    };
    let (flow, backend) = match (standing, known, backend) {
        (Standing::Follows, Some(flow), Some(backend)) => (flow, backend),
        (Standing::Unknown, ..) => return Err(Reason::NatUnknownFlow),
        _ => return Ok(OPENS),
    };
    admitted(headers, ttl(&frame, headers)?, backend)?;
    let (bytes, ingress) = (frame.len() as u64, frame.ingress());
    let link = LinkHeader::answering(&frame, headers).ok_or(Reason::Malformed)?;
    if flow.link != link.0 || flow.ifindex != ingress {
        (flow.link, flow.ifindex) = (link.0, ingress);
    }
    let marks = lifetime::after_client(flow, headers.tcp_flags);
    if flow.from_client != marks {
        flow.from_client = marks;
    }
    seen(flow, now);
    rewrite(frame, headers, &flow.to_server(backend), flow.delta(), LinkHeader::to(backend))?;
    account::backend(flow.backend, bytes);
    Ok(crate::judged(transmit::through(backend.ifindex, ingress)))
}

/// [`admit`], and notes for the answer what would fit.
#[inline(always)]
fn admitted(headers: &Headers, ttl: u8, backend: &BackendEntry) -> Result<(), Reason> {
    let admitted = admit(headers, ttl, backend);
    if admitted == Err(Reason::TooBig) {
        reply::note_limit(u32::from(backend.mtu));
    }
    admitted
}

#[inline(always)]
fn to_client(frame: Frame<'_>, headers: &Headers) -> Verdict {
    let Some(number) = number_of(headers) else { return Verdict::pass(Reason::NoService) };
    let port = u16::from_be((headers.ports >> 16) as u16);
    let Some(flow) = index_of(number, port).and_then(element_at).filter(|flow| flow.is_from_server(headers)) else {
        return Verdict::pass(Reason::NatNoFlow);
    };
    match ttl(&frame, headers) {
        Ok(2..) => {}
        Ok(_) => return Verdict::drop(Reason::TtlExceeded),
        Err(reason) => return Verdict::drop(reason),
    }
    let marks = lifetime::after_server(flow, headers.tcp_flags);
    if flow.from_server != marks {
        flow.from_server = marks;
    }
    seen(flow, now());
    let ingress = frame.ingress();
    match rewrite(frame, headers, &flow.to_client(), flow.delta().reversed(), LinkHeader(flow.link)) {
        Ok(()) => transmit::through(flow.ifindex, ingress),
        Err(reason) => Verdict::drop(reason),
    }
}

/// Where a new flow goes.
#[derive(Clone, Copy)]
struct Opened {
    /// Index into `BACKENDS`.
    index: u32,
    backend: &'static BackendEntry,
    /// The server's port, network order.
    port: [u8; 2],
}

/// The server's port, network order: behind a range the one that the client asked for.
#[inline(always)]
fn port_of(service: &ServiceEntry, headers: &Headers, backend: &BackendEntry) -> [u8; 2] {
    let [.., high, low] = headers.ports.to_le_bytes();
    if service.flags & flags::RANGE != 0 { [high, low] } else { backend.port }
}

/// Gives a new flow a place, and notes it: in the place of the one that its tuple had, if it had one.
#[inline(always)]
fn open(
    frame: &Frame<'_>,
    headers: &Headers,
    service: &ServiceEntry,
    config: &ConfigEntry,
    via: u32,
) -> Result<(), Reason> {
    let now = now();
    let decision = steer::owner(service, FlowHash::of(headers, service.flags, config.hash_key))?;
    let backend = decision.backend;
    admitted(headers, ttl(frame, headers)?, backend)?;
    let to = Opened { index: decision.index, backend, port: port_of(service, headers, backend) };
    let hash = FlowHash::of_flow(headers, via, config.hash_key);
    let probe = Probe::of(hash, NAT_BUCKETS.load());
    let before = match look_up(&probe, headers, via) {
        NOWHERE => Entry::FREE,
        place => Entry::new(probe.tag, place),
    };
    let range = match headers.family {
        Family::V4 => config.nat_v4,
        Family::V6 => config.nat_v6,
    };
    if range.count == 0 {
        return Err(Reason::NatNoSource);
    }
    let seed = hash.0 ^ u64::from(now) << 32;
    let packed = u64::from(range.first) | u64::from(range.count) << 32;
    let port = u32::from(u16::from_le_bytes(to.port));
    let mut drawn = nat_draw(seed, packed, to.index, now, port);
    let evicts = drawn == NO_PLACE;
    if evicts {
        drawn = nat_draw(seed, packed, to.index, now, port | YIELDS);
    }
    let place = Place { source: (drawn >> 16) as u32, port: drawn as u16 };
    let source = NAT_POOL.get(place.source).filter(|_| drawn != NO_PLACE).ok_or(Reason::NatPortsExhausted)?;
    let index = place.index(source.number);
    let flow = element_at(index).ok_or(Reason::NatPortsExhausted)?;
    if !claim(flow, now) {
        return Err(Reason::NatPortsExhausted);
    }
    if flow.tag != 0 {
        nat_forget(index);
    }
    if evicts {
        account::verdict(Reason::NatEvicted as u32);
    }
    fill(flow, headers, source, place.port, to, now);
    let [_, a, b, c] = headers.last_word(via).to_le_bytes();
    flow.key.via = [a, b, c];
    flow.tag = probe.tag;
    let [first, second] = probe.buckets;
    let buckets = u64::from(first) | u64::from(second) << 32;
    if nat_note(buckets, Entry::new(probe.tag, index).0, before.0) == 0 {
        // Both buckets are full: the packet's repetition finds out whether they still are.
        flow.protocol = 0;
        return Err(Reason::NatPortsExhausted);
    }
    Ok(())
}

/// The first of some places drawn by chance that is vacant, or that yields: element of `NAT_POOL` above bit 16, port
/// below; [`NO_PLACE`] when there is none. The drawing changes with time, so that a repeated packet finds others. `wanted` is
/// the server's port as it stands in memory, and [`YIELDS`].
///
/// A global function: the verifier looks at it once, and not for each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nat_draw(seed: u64, range: u64, backend: u32, now: u32, wanted: u32) -> u64 {
    let port = (wanted as u16).to_le_bytes();
    let wanted = if wanted & YIELDS == 0 { Fit::Vacant } else { Fit::Yields };
    let range = NatRange { first: range as u32, count: (range >> 32) as u32 };
    let Some(backend) = steer::backend(backend) else { return NO_PLACE };
    for draw in 0..DRAWS {
        let place = Place::drawn(seed, draw, range);
        let Some(source) = NAT_POOL.get(place.source) else { continue };
        let Some(flow) = NAT_FLOWS.get(place.index(source.number)) else { continue };
        // What a dead server's flows hold is free.
        let is_live = steer::backend(flow.backend).is_some_and(|of| is_live(flow, of));
        let fit = if is_live { Fit::of(flow, &backend.address, port, now) } else { Fit::Vacant };
        if fit == wanted {
            return u64::from(place.source) << 16 | u64::from(place.port);
        }
    }
    NO_PLACE
}

/// Flag of [`nat_draw`]: a flow that yields is wanted, none is vacant.
const YIELDS: u32 = 1 << 16;

/// No place was found.
const NO_PLACE: u64 = u64::MAX;

/// Makes an element ours, a new id in it; `false` when another CPU or a packet of the flow in it was first.
#[inline(always)]
fn claim(flow: &mut NatFlow, now: u32) -> bool {
    // Id and time of the last packet are one word: what was used since it was looked at is not claimed.
    let before = u64::from(flow.id) | u64::from(flow.seen) << 32;
    let id = flow.id.wrapping_add(1);
    let after = u64::from(id) | u64::from(now) << 32;
    // SAFETY: the element's first eight bytes, aligned to its 64.
    let found = unsafe { atomic::compare_exchange((&raw mut *flow).cast(), before, after) };
    found == before
}

#[inline(always)]
fn fill(flow: &mut NatFlow, headers: &Headers, source: &NatSource, port: u16, to: Opened, now: u32) {
    let backend = to.backend;
    let [a, b, c, d] = headers.ports.to_le_bytes();
    flow.backend = to.index;
    flow.generation = backend.generation;
    // By words: of two copies of byte arrays, LLVM 22 loses the second.
    flow.source = AddressWords::of(&source.address).address();
    flow.ports = [port.to_be_bytes(), to.port];
    flow.protocol = headers.protocol;
    flow.from_client = 0;
    flow.from_server = 0;
    flow.ifindex = 0;
    flow.key.source = headers.source.address();
    flow.key.destination = headers.destination.address();
    flow.key.source_port = [a, b];
    flow.key.destination_port = [c, d];
    flow.key.protocol = headers.protocol;
    flow.server = AddressWords::of(&backend.address).address();
    flow.opened = now;
    let delta = Delta::between(&Tuple::of(headers), &flow.to_server(backend));
    flow.address_delta = delta.addresses;
    flow.transport_delta = delta.transport;
}

/// Takes the flow that was at a place out of the index, unless its tuple has another place by now.
///
/// A global function, as [`nat_draw`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nat_forget(place: u32) -> u64 {
    let (Some(flow), Some(config)) = (NAT_FLOWS.get(place), config::get()) else { return 0 };
    let probe = Probe::of(FlowHash::of_key(&flow.key, config.hash_key), NAT_BUCKETS.load());
    u64::from(exchange(probe.buckets, Entry::new(flow.tag, place), Entry::FREE))
}

/// Notes a flow's entry in the buckets of its tuple, two indices in one word: in the place of another if that is there,
/// otherwise in a free one, or in that of a flow that is no more. Returns 0 when there is no room.
///
/// A global function, as [`nat_draw`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nat_note(buckets: u64, entry: u64, before: u64) -> u64 {
    let buckets = [buckets as u32, (buckets >> 32) as u32];
    let (entry, before) = (Entry(entry), Entry(before));
    if before != Entry::FREE && exchange(buckets, before, entry) {
        return 1;
    }
    if exchange(buckets, Entry::FREE, entry) {
        return 1;
    }
    for bucket in buckets {
        for way in 0..NAT_WAYS {
            let Some(found) = entry_at(bucket, way) else { return 0 };
            let is_stale =
                NAT_FLOWS.get(found.place()).is_none_or(|flow| flow.protocol == 0 || flow.tag != found.tag());
            if is_stale && exchange_at(bucket, way, found, entry) {
                return 1;
            }
        }
    }
    0
}

/// Puts an entry in the place of another in one of two buckets; `false` when it is in neither.
#[inline(always)]
fn exchange(buckets: [u32; 2], before: Entry, after: Entry) -> bool {
    for bucket in buckets {
        for way in 0..NAT_WAYS {
            if entry_at(bucket, way) == Some(before) && exchange_at(bucket, way, before, after) {
                return true;
            }
        }
    }
    false
}

#[inline(always)]
fn entry_at(bucket: u32, way: usize) -> Option<Entry> {
    NAT_INDEX.get(bucket)?.0.get(way).copied().map(Entry)
}

#[inline(always)]
fn exchange_at(bucket: u32, way: usize, before: Entry, after: Entry) -> bool {
    let Some(bucket) = NAT_INDEX.get_ptr_mut(bucket) else { return false };
    // SAFETY: elements of an array stay; other CPUs write entries by atomic exchange only.
    let Some(word) = (unsafe { (*bucket).0.get_mut(way) }) else { return false };
    // SAFETY: an aligned word of a map's value.
    unsafe { atomic::compare_exchange(word, before.0, after.0) == before.0 }
}

/// Replaces addresses, ports and the link header.
#[inline(always)]
fn rewrite(mut frame: Frame<'_>, headers: &Headers, to: &Tuple, delta: Delta, link: LinkHeader) -> Result<(), Reason> {
    translate(&mut frame, headers, to, delta).ok_or(Reason::Malformed)?;
    relink(frame, headers, link)
}

/// Replaces the link header.
#[inline(always)]
pub(crate) fn relink(mut frame: Frame<'_>, headers: &Headers, link: LinkHeader) -> Result<(), Reason> {
    let growth = link.bytes() as i32 - headers.link_len as i32;
    if growth != 0 {
        frame = frame.move_start(-growth).ok_or(Reason::NoHeadroom)?;
    }
    let ethertype = headers.family.ethertype();
    match link.bytes() {
        ETHERNET_LEN => link.write::<ETHERNET_LEN, _>(&mut frame, ethertype),
        ONE_TAG => link.write::<ONE_TAG, _>(&mut frame, ethertype),
        _ => link.write::<TWO_TAGS, _>(&mut frame, ethertype),
    }
    .ok_or(Reason::NoHeadroom)
}

/// Whether a packet is for a source address of translated flows.
#[inline(always)]
pub(crate) fn is_source(headers: &Headers) -> bool {
    number_of(headers).is_some()
}

/// The number of the source address that a packet is for.
#[inline(always)]
pub(crate) fn number_of(headers: &Headers) -> Option<u32> {
    let key = OnStack(headers.destination.address());
    // SAFETY: the map is preallocated; the value is four bytes, copied at once.
    unsafe { NAT_SOURCES.get(&key.0) }.copied()
}

/// Which of its tuple's flows a packet is of that names a server: the tuple's own when that goes to this server or is over,
/// otherwise one beside it. So two connections of one socket, or of two clients that had the same address and port one
/// after the other, each keep their server.
#[inline(always)]
pub(crate) fn via(server: u32) -> u32 {
    nat_via(server + 1)
}

/// [`via`], as [`lb_common::abi::FlowKey::via`]. A global function, as [`nat_draw`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nat_via(via: u32) -> u32 {
    let Some(headers) = handed_over() else { return 0 };
    let own = standing_of(&headers, 0);
    if own == via {
        return 0;
    }
    if standing_of(&headers, via) == via {
        return via;
    }
    if own == 0 { 0 } else { via }
}

/// One more than the index of the server that the flow goes to which a packet would follow by way of a server; 0 where there
/// is none.
#[inline(always)]
fn standing_of(headers: &Headers, via: u32) -> u32 {
    let Some(config) = config::get() else { return 0 };
    let probe = Probe::of(FlowHash::of_flow(headers, via, config.hash_key), NAT_BUCKETS.load());
    let Some(flow) = element_at(look_up(&probe, headers, via)) else { return 0 };
    let Some(backend) = steer::backend(flow.backend) else { return 0 };
    match Standing::of(headers, flow, backend, now()) {
        Standing::Follows => flow.backend + 1,
        _ => 0,
    }
}

/// The flow of a client's packet.
#[inline(always)]
pub(crate) fn flow_of(headers: &Headers) -> Option<&'static NatFlow> {
    let hash = FlowHash::of_flow(headers, 0, config::get()?.hash_key);
    flow_at(look_up(&Probe::of(hash, NAT_BUCKETS.load()), headers, 0))
}

/// What stands at a place; [`NatFlow::is_from_server`] says whether it is a packet's flow.
#[inline(always)]
pub(crate) fn flow_at(index: u32) -> Option<&'static NatFlow> {
    element_at(index).map(|flow| &*flow)
}

/// The place of a client's packet's flow; [`NOWHERE`] when it has none. A number and no `Option`: of that the compiler
/// moves around what was never written, and the verifier does not take it.
#[inline(always)]
fn look_up(probe: &Probe, headers: &Headers, via: u32) -> u32 {
    match look_in(probe.buckets[0], probe.tag, headers, via) {
        NOWHERE => look_in(probe.buckets[1], probe.tag, headers, via),
        place => place,
    }
}

#[inline(always)]
fn look_in(bucket: u32, tag: u32, headers: &Headers, via: u32) -> u32 {
    let Some(bucket) = NAT_INDEX.get(bucket) else { return NOWHERE };
    for place in bucket.tagged(tag) {
        if element_at(place).is_some_and(|flow| flow.is_from_client(headers, via)) {
            return place;
        }
    }
    NOWHERE
}

#[inline(always)]
fn element_at(index: u32) -> Option<&'static mut NatFlow> {
    // SAFETY: elements of an array stay. All fields are plain words: when two CPUs meet in a flow, the last one's marks
    // and times stand, as good as the other's.
    NAT_FLOWS.get_ptr_mut(index).map(|flow| unsafe { &mut *flow })
}

/// Notes the time of a packet. Written only when it is another: flows of one tick share their line between CPUs.
#[inline(always)]
fn seen(flow: &mut NatFlow, now: u32) {
    if flow.seen != now {
        flow.seen = now;
    }
}

#[inline(always)]
fn ttl(frame: &Frame<'_>, headers: &Headers) -> Result<u8, Reason> {
    Inherited::read(frame, headers).map(|inherited| inherited.ttl as u8).ok_or(Reason::Malformed)
}

/// The clock of flows.
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: the helper has no arguments.
    lifetime::tick(unsafe { bpf_ktime_get_coarse_ns() })
}
