//! What is the same for every packet.

use aya_ebpf::{macros::map, maps::Array};
use lb_common::abi::ConfigEntry;

#[map]
static CONFIG: Array<ConfigEntry> = Array::with_max_entries(1, 0);

/// The configuration. Always there: the check is the verifier's.
#[inline(always)]
pub(crate) fn get() -> Option<&'static ConfigEntry> {
    CONFIG.get(0)
}

/// Whether there may be ranges of ports.
#[inline(always)]
pub(crate) fn has_ranges() -> bool {
    get().is_some_and(|config| config.ranges != 0)
}

/// Whether there are source addresses of translated flows.
#[inline(always)]
pub(crate) fn translates() -> bool {
    get().is_some_and(|config| config.nat_v4.count | config.nat_v6.count != 0)
}
