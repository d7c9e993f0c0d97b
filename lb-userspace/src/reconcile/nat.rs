//! What the maps hold of the source addresses of translated flows.

use lb_common::abi::nat::{NatRange, NatSource};
use lb_common::abi::{ConfigEntry, address_of, limits};

use crate::dataplane::NatSources;
use crate::plan::PlannedNatSource;

/// First element of `NAT_POOL` for IPv6; those below are for IPv4. So neither moves the other when it grows.
const FIRST_V6: u32 = limits::MAX_NAT_SOURCES_PER_FAMILY;

/// The maps that a plan's sources make.
pub(super) fn maps_of(sources: &[PlannedNatSource]) -> NatSources {
    let mut maps = NatSources::default();
    let mut ends = [0, FIRST_V6];
    for source in sources {
        let address = address_of(source.address);
        maps.known.insert(address, source.number);
        if source.takes_new {
            let end = &mut ends[usize::from(source.address.is_ipv6())];
            maps.pool.insert(*end, NatSource { address, number: source.number, pad: 0 });
            *end += 1;
        }
    }
    maps
}

/// The configuration with the ranges of a pool.
pub(super) fn with_ranges(config: ConfigEntry, sources: &NatSources) -> ConfigEntry {
    let range = |of: std::ops::Range<u32>| {
        let count = u32::try_from(sources.pool.range(of.clone()).count()).unwrap_or(u32::MAX);
        if count == 0 { NatRange::default() } else { NatRange { first: of.start, count } }
    };
    ConfigEntry { nat_v4: range(0..FIRST_V6), nat_v6: range(FIRST_V6..limits::MAX_NAT_SOURCES), ..config }
}

/// Both: what is there and not yet replaced, and what shall be. On the way from one to the other no packet finds an
/// element of the pool that is empty, or an address that is not known.
pub(super) fn grown(present: &NatSources, wanted: &NatSources) -> NatSources {
    let mut both = present.clone();
    both.known.extend(&wanted.known);
    both.pool.extend(&wanted.pool);
    both
}
