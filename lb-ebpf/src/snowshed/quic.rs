//! QUIC packets to the servers that their connection ids name ([`lb_common::quic`]). A packet of a service without QUIC
//! pays for none of this.

use aya_ebpf::{bindings::xdp_md, macros::map, maps::HashMap, maps::PerCpuArray, programs::XdpContext};
use lb_common::abi::{BackendEntry, FlowEntry, QuicKey, Reason, ServiceEntry, limits};
use lb_common::quic::{QuicKeyWords, Says, read};
use lb_common::steer::Decision;
use lb_ebpf::Frame;

use crate::{account, nat, steer};

#[map]
static QUIC_SERVERS: HashMap<QuicKey, FlowEntry> = HashMap::with_max_entries(limits::MAX_QUIC_SERVERS, 0);

/// The server that the packet at hand names, from [`route`] to what forwards it.
#[map]
static QUIC_NAMED: PerCpuArray<Named> = PerCpuArray::with_max_entries(1, 0);

/// What stands in `QUIC_NAMED`.
struct Named {
    /// [`NAMED`] or 0.
    is_named: u32,
    entry: FlowEntry,
}

const NAMED: u32 = 1;

/// Finds the server that a packet names whose headers were handed over, and notes it for [`named`].
#[inline(always)]
pub(crate) fn route(context: *mut xdp_md, service: &ServiceEntry) {
    // Nothing of its answer is needed; a global function has one.
    let _ = quic_route(context, service.id, service.flags);
}

/// The packet at hand names no server: nothing was read of it that could.
#[inline(always)]
pub(crate) fn forget() {
    note(None);
}

/// The server that the packet at hand names, if it serves.
#[inline(always)]
pub(crate) fn named() -> Option<Decision<&'static BackendEntry>> {
    // SAFETY: this CPU's own element; XDP programs on one CPU do not interrupt each other.
    let named = unsafe { &*QUIC_NAMED.get_ptr(0)? };
    if named.is_named != NAMED {
        return None;
    }
    steer::named(named.entry)
}

/// Which of its tuple's translated flows the packet at hand is of: as [`lb_common::abi::FlowKey::via`].
#[inline(always)]
pub(crate) fn via() -> u32 {
    match named() {
        Some(decision) => nat::via(decision.index),
        None => 0,
    }
}

#[inline(always)]
fn note(entry: Option<FlowEntry>) {
    if let Some(slot) = QUIC_NAMED.get_ptr_mut(0) {
        // SAFETY: as in `named`.
        let slot = unsafe { &mut *slot };
        slot.is_named = 0;
        if let Some(entry) = entry {
            (slot.is_named, slot.entry) = (NAMED, entry);
        }
    }
}

/// A global function: the verifier looks at it once, alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn quic_route(context: *mut xdp_md, service: u32, service_flags: u32) -> u64 {
    let context = XdpContext::new(context);
    forget();
    let Some(headers) = nat::handed_over() else { return 0 };
    let words = match read(&Frame::new(&context), &headers, service, service_flags) {
        Says::Nothing => return 0,
        Says::Stranger => return stranger(),
        Says::Server(words) => words,
    };
    let Some(entry) = server(&words) else { return stranger() };
    if steer::named(entry).is_none() {
        return stranger();
    }
    note(Some(entry));
    account::verdict(Reason::QuicRouted as u32);
    1
}

#[inline(always)]
fn stranger() -> u64 {
    account::verdict(Reason::QuicStranger as u32);
    0
}

#[inline(always)]
fn server(words: &QuicKeyWords) -> Option<FlowEntry> {
    // SAFETY: the words are the bytes of a key, whose alignment is 1. The value is copied at once.
    unsafe { QUIC_SERVERS.get(&*(&raw const *words).cast::<QuicKey>()) }.copied()
}
