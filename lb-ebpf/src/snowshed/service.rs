//! Address, port and protocol → service. One lookup, and two more for a port of a range.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, lpm_trie::Key, lpm_trie::LpmTrie},
};
use lb_common::abi::service::kind;
use lb_common::abi::{RangeEntry, RangeKey, ServiceEntry, ServiceKey, ServiceKeyV4, limits};
use lb_common::headers::{Family, Headers};

#[map]
static SERVICES_V4: HashMap<ServiceKeyV4, ServiceEntry> = HashMap::with_max_entries(limits::MAX_SERVICES, 0);

#[map]
static SERVICES_V6: HashMap<ServiceKey, ServiceEntry> = HashMap::with_max_entries(limits::MAX_SERVICES, 0);

#[map]
static RANGES: LpmTrie<[u8; 20], RangeEntry> = LpmTrie::with_max_entries(limits::MAX_RANGES, 0);

/// The packet's service, if it is one of ours.
///
/// The maps are preallocated: an element stays readable for ever. What it holds may become another service's when the
/// agent has replaced it and then written a second one, while a packet is between here and its slot: that packet goes
/// where the other service's would.
#[inline(always)]
pub(crate) fn find(headers: &Headers) -> Option<&'static ServiceEntry> {
    match headers.family {
        Family::V4 => {
            let word = headers.service_key_v4_word();
            // SAFETY: the word is the bytes of a key, whose alignment is 1; for the element see above.
            unsafe { SERVICES_V4.get(&*(&raw const word).cast::<ServiceKeyV4>()) }
        }
        Family::V6 => {
            let words = headers.service_key_words();
            // SAFETY: the words are the bytes of a key, whose alignment is 1; for the element see above.
            unsafe { SERVICES_V6.get(&*(&raw const words).cast::<ServiceKey>()) }
        }
    }
}

/// The service of a key as [`key_words`] gives it.
#[inline(always)]
pub(crate) fn at(family: Family, words: &[u64; 3]) -> Option<&'static ServiceEntry> {
    match family {
        // SAFETY: the words begin with the bytes of a key, whose alignment is 1; for the element see `find`.
        Family::V4 => unsafe { SERVICES_V4.get(&*(&raw const *words).cast::<ServiceKeyV4>()) },
        // SAFETY: as above.
        Family::V6 => unsafe { SERVICES_V6.get(&*(&raw const *words).cast::<ServiceKey>()) },
    }
}

/// Key of the service at the packet's port, in the map of its IP version.
#[inline(always)]
pub(crate) fn key_words(headers: &Headers) -> [u64; 3] {
    match headers.family {
        Family::V4 => [headers.service_key_v4_word().0, 0, 0],
        Family::V6 => headers.service_key_words().0,
    }
}

/// Key of the service whose range the packet's port is in, as [`key_words`] gives it.
#[inline(always)]
pub(crate) fn range_words(headers: &Headers) -> Option<[u64; 3]> {
    let [high, low] = headers.destination.0;
    let last = headers.protocol as u64 | (headers.ports >> 16 << 16) as u64;
    let words = [u64::from(RangeKey::ALL_BITS) | high << 32, high >> 32 | low << 32, low >> 32 | last << 32];
    // SAFETY: the words are the bytes of a key, which has no alignment.
    let first = RANGES.get(unsafe { &*(&raw const words).cast::<Key<[u8; 20]>>() })?.first;
    let rest = u64::from(u16::from_le_bytes(first)) | (headers.protocol as u64) << 16 | u64::from(kind::RANGE) << 24;
    Some(match headers.family {
        Family::V4 => [u64::from(headers.destination.v4()) | rest << 32, 0, 0],
        Family::V6 => [high, low, rest],
    })
}
