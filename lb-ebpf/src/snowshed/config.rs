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
