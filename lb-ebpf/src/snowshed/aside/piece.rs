//! Packets in pieces: what the first says holds for the others.

use aya_ebpf::{macros::map, maps::LruHashMap};
use lb_common::abi::{FragmentEntry, FragmentKey, limits};
use lb_common::headers::Headers;
use lb_common::headers::walk::{Fragment, Walked};
use lb_common::nat::lifetime::ticks;

use crate::nat;

#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry> = LruHashMap::with_max_entries(limits::MAX_FRAGMENTS, 0);

/// How long the other pieces may take: what Linux waits for the last one, in seconds.
const SECONDS: u32 = 30;

/// Notes ports and protocol of a first piece.
#[inline(always)]
pub(super) fn remember(headers: &Headers, identification: u32) {
    let words = Walked::fragment_key_words(headers, identification);
    // SAFETY: the words are the bytes of a key, whose alignment is 1.
    let key = unsafe { &*(&raw const words).cast::<FragmentKey>() };
    let entry = FragmentEntry { ports: headers.ports, seen: nat::now(), protocol: headers.protocol, pad: [0; 3] };
    // A table that has no room at the moment: the other pieces are counted as unknown.
    let _ = FRAGMENTS.insert(key, &entry, 0);
}

/// Gives another piece the ports and the protocol of the first. `None` when that was not seen.
#[inline(always)]
pub(super) fn recall(headers: &mut Headers, fragment: Option<Fragment>) -> Option<()> {
    let words = Walked::fragment_key_words(headers, fragment?.identification);
    // SAFETY: as above; the value is twelve bytes, copied at once, and should the element be reused meanwhile, the piece
    // goes where that packet goes: a wrong server once, never a wrong read.
    let entry = unsafe { FRAGMENTS.get(&*(&raw const words).cast::<FragmentKey>()) }.copied()?;
    if nat::now().wrapping_sub(entry.seen) > ticks(SECONDS) {
        return None;
    }
    (headers.ports, headers.protocol) = (entry.ports, entry.protocol);
    Some(())
}
