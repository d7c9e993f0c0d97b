//! Address, port and protocol → service. One lookup.

use aya_ebpf::{macros::map, maps::HashMap};
use lb_common::abi::{ServiceEntry, ServiceKey, limits};
use lb_common::headers::Headers;

#[map]
static SERVICES: HashMap<ServiceKey, ServiceEntry> = HashMap::with_max_entries(limits::MAX_SERVICES, 0);

/// The packet's service, if it is one of ours.
#[inline(always)]
pub(crate) fn find(headers: &Headers) -> Option<&'static ServiceEntry> {
    let words = headers.service_key_words();
    // SAFETY: the words begin with the bytes of a key, whose alignment is 1. The map is preallocated, so the element
    // stays readable for the whole program run (RCU); an update by the agent replaces the element instead of writing
    // into it.
    unsafe { SERVICES.get(&*(&raw const words).cast::<ServiceKey>()) }
}
