//! Network address translation: flows by the client's tuple, and by our source address and port.
//!
//! Both ways are subprograms: a packet that is not translated pays for none of this, not even in registers.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_MMAPABLE, BPF_NOEXIST, xdp_md},
    helpers::generated::bpf_ktime_get_coarse_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
    programs::XdpContext,
};
use lb_common::abi::nat::{NatPlace, NatRange, NatSource};
use lb_common::abi::{Address, BackendEntry, ConfigEntry, FlowKey, NatFlow, Reason, ServiceEntry, limits};
use lb_common::hash::FlowHash;
use lb_common::headers::walk::MAX_TRANSPORT;
use lb_common::headers::{AddressWords, ETHERNET_LEN, Family, FlowKeyWords, Headers, Inherited};
use lb_common::link::{LinkHeader, ONE_TAG, TWO_TAGS};
use lb_common::nat::flow::{Standing, admit, is_live};
use lb_common::nat::lifetime;
use lb_common::nat::ports::{DRAWS, Fit, Place, index_of};
use lb_common::nat::rewrite::{Delta, Tuple, translate};
use lb_common::packet::Packet as _;
use lb_ebpf::{Frame, OnStack, atomic};

use crate::aside::reply;
use crate::verdict::{Verdict, Way};
use crate::{account, reject, steer, transmit};

#[map]
static NAT_FLOWS: Array<NatFlow> = Array::with_max_entries(limits::MAX_NAT_FLOWS, BPF_F_MMAPABLE);

#[map]
static NAT_INDEX: HashMap<FlowKey, NatPlace> = HashMap::with_max_entries(limits::MAX_NAT_FLOWS, 0);

#[map]
static NAT_POOL: Array<NatSource> = Array::with_max_entries(limits::MAX_NAT_SOURCES, 0);

#[map]
static NAT_SOURCES: HashMap<Address, u32> = HashMap::with_max_entries(limits::MAX_NAT_SOURCES, 0);

/// The headers of the packet at hand, from the program to its subprograms. Not on the stack: there is too little of it, and
/// the verifier would follow every kind of frame through all that is below.
#[map]
static NAT_PACKET: PerCpuArray<HandedOver> = PerCpuArray::with_max_entries(1, 0);

struct HandedOver {
    headers: Headers,
    key: FlowKeyWords,
}

/// Leaves the headers and the flow's key for [`forward`] or [`back`].
#[inline(always)]
pub(crate) fn hand_over(headers: &Headers) {
    if let Some(slot) = NAT_PACKET.get_ptr_mut(0) {
        // SAFETY: this CPU's own element; XDP programs on one CPU do not interrupt each other.
        unsafe { *slot = HandedOver { headers: *headers, key: headers.flow_key_words() } };
    }
}

/// The headers that were left. Offsets are cut to what they can be at most: that is all the verifier knows of them.
#[inline(always)]
pub(crate) fn handed_over() -> Option<(Headers, &'static FlowKey)> {
    let slot = NAT_PACKET.get_ptr_mut(0)?;
    // SAFETY: as above; the program that called wrote it just now. The words are the bytes of a key, whose alignment is 1.
    let (headers, key) = unsafe { (&(*slot).headers, &*(&raw const (*slot).key).cast::<FlowKey>()) };
    Some((Headers { link_len: headers.link_len & 0x1f, transport: headers.transport & MAX_TRANSPORT, ..*headers }, key))
}

/// A client's packet, on to the flow's server or answered in its place. Returns what [`crate::judged`] makes of the
/// verdict.
#[inline(always)]
pub(crate) fn forward(context: *mut xdp_md, service: &ServiceEntry, config: &ConfigEntry) -> u64 {
    const EMPTY_POOL: u32 = Reason::EmptyPool as u32;
    const UNKNOWN_FLOW: u32 = Reason::NatUnknownFlow as u32;
    const TOO_BIG: u32 = Reason::TooBig as u32;
    const TTL_EXCEEDED: u32 = Reason::TtlExceeded as u32;
    let judged = translated(context, service, config);
    if judged as u32 != Way::Drop as u32 {
        return judged;
    }
    // One after the other, and not one in the other: together their stacks would be too large.
    match (judged >> 32) as u32 {
        EMPTY_POOL => refused(context, service, true),
        UNKNOWN_FLOW => refused(context, service, false),
        TOO_BIG => reply::too_big(context, reply::noted_limit()),
        TTL_EXCEEDED => reply::time_exceeded(context),
        _ => judged,
    }
}

#[inline(never)]
fn translated(context: *mut xdp_md, service: &ServiceEntry, config: &ConfigEntry) -> u64 {
    let context = XdpContext::new(context);
    let Some((headers, key)) = handed_over() else { return crate::judged(Verdict::drop(Reason::Malformed)) };
    let verdict = to_server(Frame::new(&context), &headers, key, service, config);
    crate::judged(verdict.unwrap_or_else(Verdict::drop))
}

#[inline(never)]
pub(crate) fn refused(context: *mut xdp_md, service: &ServiceEntry, is_empty: bool) -> u64 {
    let context = XdpContext::new(context);
    let Some((headers, _)) = handed_over() else { return crate::judged(Verdict::drop(Reason::Malformed)) };
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
    let Some((headers, _)) = handed_over() else { return crate::judged(Verdict::drop(Reason::Malformed)) };
    crate::judged(to_client(Frame::new(&context), &headers))
}

#[inline(always)]
fn to_server(
    frame: Frame<'_>,
    headers: &Headers,
    key: &FlowKey,
    service: &ServiceEntry,
    config: &ConfigEntry,
) -> Result<Verdict, Reason> {
    let now = now();
    let place = place_of(key);
    let known = place.and_then(element);
    let backend = known.as_ref().and_then(|flow| steer::backend(flow.backend));
    let standing = match (&known, backend) {
        (Some(flow), Some(backend)) => Standing::of(headers, flow, backend, now),
        _ => Standing::without_flow(headers),
    };
    let (flow, backend) = match (standing, known, backend) {
        (Standing::Follows, Some(flow), Some(backend)) => {
            admitted(headers, ttl(&frame, headers)?, backend)?;
            (flow, backend)
        }
        (Standing::Unknown, ..) => return Err(Reason::NatUnknownFlow),
        _ => {
            let hash = FlowHash::of(headers, service.flags, config.hash_key);
            let decision = steer::owner(service, hash)?;
            admitted(headers, ttl(&frame, headers)?, decision.backend)?;
            let index_flag = if place.is_some() { BPF_ANY } else { BPF_NOEXIST };
            open(headers, decision.index, decision.backend, hash, config, now, index_flag)?
        }
    };
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
    Ok(transmit::through(backend.ifindex, ingress))
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

/// Gives a new flow a place, and notes it.
#[inline(always)]
fn open(
    headers: &Headers,
    backend_index: u32,
    backend: &'static BackendEntry,
    hash: FlowHash,
    config: &ConfigEntry,
    now: u32,
    index_flag: u32,
) -> Result<(&'static mut NatFlow, &'static BackendEntry), Reason> {
    let range = match headers.family {
        Family::V4 => config.nat_v4,
        Family::V6 => config.nat_v6,
    };
    if range.count == 0 {
        return Err(Reason::NatNoSource);
    }
    let seed = hash.0 ^ u64::from(now) << 32;
    let packed = u64::from(range.first) | u64::from(range.count) << 32;
    let mut drawn = nat_draw(seed, packed, backend_index, now, 0);
    let evicts = drawn == NO_PLACE;
    if evicts {
        drawn = nat_draw(seed, packed, backend_index, now, 1);
    }
    let place = Place { source: (drawn >> 16) as u32, port: drawn as u16 };
    let source = NAT_POOL.get(place.source).filter(|_| drawn != NO_PLACE).ok_or(Reason::NatPortsExhausted)?;
    let index = place.index(source.number);
    let flow = element_at(index).ok_or(Reason::NatPortsExhausted)?;
    let id = claim(flow, now).ok_or(Reason::NatPortsExhausted)?;
    if flow.protocol != 0 {
        forget(flow, index, id.wrapping_sub(1));
    }
    if evicts {
        account::verdict(Reason::NatEvicted as u32);
    }
    fill(flow, headers, source, place.port, backend_index, backend, now);
    if NAT_INDEX.insert(&flow.key, &NatPlace { index, id }, u64::from(index_flag)).is_err() {
        // Another CPU opened the same flow meanwhile, or the index is full: the packet's repetition finds out.
        flow.protocol = 0;
        return Err(Reason::NatPortsExhausted);
    }
    Ok((flow, backend))
}

/// The first of some places drawn by chance that is vacant, or that yields: element of `NAT_POOL` above bit 16, port
/// below; [`NO_PLACE`] when there is none. The drawing changes with time, so that a repeated packet finds others.
///
/// A global function: the verifier looks at it once, and not for each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nat_draw(seed: u64, range: u64, backend: u32, now: u32, yields: u32) -> u64 {
    let wanted = if yields == 0 { Fit::Vacant } else { Fit::Yields };
    let range = NatRange { first: range as u32, count: (range >> 32) as u32 };
    let Some(backend) = steer::backend(backend) else { return NO_PLACE };
    for draw in 0..DRAWS {
        let place = Place::drawn(seed, draw, range);
        let Some(source) = NAT_POOL.get(place.source) else { continue };
        let Some(flow) = NAT_FLOWS.get(place.index(source.number)) else { continue };
        // What a dead server's flows hold is free.
        let is_live = steer::backend(flow.backend).is_some_and(|of| is_live(flow, of));
        let fit = if is_live { Fit::of(flow, &backend.address, backend.port, now) } else { Fit::Vacant };
        if fit == wanted {
            return u64::from(place.source) << 16 | u64::from(place.port);
        }
    }
    NO_PLACE
}

/// No place was found.
const NO_PLACE: u64 = u64::MAX;

/// Makes an element ours, its new id in it; `None` when another CPU or a packet of the flow in it was first.
#[inline(always)]
fn claim(flow: &mut NatFlow, now: u32) -> Option<u32> {
    // Id and time of the last packet are one word: what was used since it was looked at is not claimed.
    let before = u64::from(flow.id) | u64::from(flow.seen) << 32;
    let id = flow.id.wrapping_add(1);
    let after = u64::from(id) | u64::from(now) << 32;
    // SAFETY: the element's first eight bytes, aligned to its 64.
    let found = unsafe { atomic::compare_exchange((&raw mut *flow).cast(), before, after) };
    (found == before).then_some(id)
}

#[inline(always)]
fn fill(
    flow: &mut NatFlow,
    headers: &Headers,
    source: &NatSource,
    port: u16,
    backend_index: u32,
    backend: &BackendEntry,
    now: u32,
) {
    let [a, b, c, d] = headers.ports.to_le_bytes();
    flow.backend = backend_index;
    flow.generation = backend.generation;
    // By words: of two copies of byte arrays, LLVM 22 loses the second.
    flow.source = AddressWords::of(&source.address).address();
    flow.ports = [port.to_be_bytes(), backend.port];
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

/// Removes the index entry of the flow that was in an element, unless its tuple has another flow by now.
#[inline(always)]
fn forget(flow: &NatFlow, index: u32, id: u32) {
    // SAFETY: the map is preallocated; the value is eight bytes, copied at once.
    if (unsafe { NAT_INDEX.get(&flow.key) }).copied() == Some(NatPlace { index, id }) {
        // Gone already is as good.
        let _ = NAT_INDEX.remove(&flow.key);
    }
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

/// The flow of a client's tuple.
#[inline(always)]
pub(crate) fn flow_of(key: &FlowKey) -> Option<&'static NatFlow> {
    place_of(key).and_then(element).map(|flow| &*flow)
}

/// What stands at a place; [`NatFlow::is_from_server`] says whether it is a packet's flow.
#[inline(always)]
pub(crate) fn flow_at(index: u32) -> Option<&'static NatFlow> {
    element_at(index).map(|flow| &*flow)
}

/// Where the index says that the flow of a client's packet is.
#[inline(always)]
fn place_of(key: &FlowKey) -> Option<NatPlace> {
    // SAFETY: the map is preallocated; the value is eight bytes, copied at once; should it be another flow's by then,
    // the element's id tells.
    unsafe { NAT_INDEX.get(key) }.copied()
}

/// The flow, if it is still there.
#[inline(always)]
fn element(place: NatPlace) -> Option<&'static mut NatFlow> {
    element_at(place.index).filter(|flow| flow.id == place.id)
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
