//! How full the pinned maps are.

use std::os::fd::AsFd as _;
use std::path::Path;

use lb_common::abi::names;

use super::maps::{Backends, Map, Slots};
use super::nat::Places;
use super::object::{Sizes, kind};
use super::pins::PinDir;
use super::services::Services;
use super::{DataplaneError, object, sys};

/// A map and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Its name.
    pub map: &'static str,
    /// Entries in use.
    pub used: u32,
    /// Entries there is room for.
    pub size: u32,
    /// The setting that sizes it; empty when none does.
    pub setting: &'static str,
    /// What is oldest gives way when it is full: it is made to be full.
    pub forgets: bool,
}

/// Every map that fills up, of what is pinned in a directory; nothing when there is none. Takes a system call for each
/// entry.
///
/// # Errors
/// [`DataplaneError`] when a map cannot be read.
pub fn of(pin_dir: &Path) -> Result<Vec<Fill>, DataplaneError> {
    let Some(directory) = PinDir::existing(pin_dir)? else { return Ok(Vec::new()) };
    let mut fills = Vec::new();
    for shape in Sizes::default().shapes() {
        let path = directory.pin(shape.name);
        let counts = matches!(shape.kind, kind::HASH | kind::LRU_HASH | kind::LPM_TRIE);
        if !counts || !path.exists() {
            continue;
        }
        let failed = |error| object::refused_by_kernel(format!("reading {}", path.display()), error);
        let map = sys::open_pinned(&path).map_err(failed)?;
        let info = sys::map_info(map.as_fd()).map_err(failed)?;
        let used = count(&map, info.key_size, info.max_entries).map_err(failed)?;
        let forgets = shape.kind == kind::LRU_HASH;
        fills.push(Fill { map: shape.name, used, size: info.max_entries, setting: shape.setting, forgets });
    }
    let open = |name| Map::open(name, &directory.pin(name));
    if directory.pin(names::BACKENDS).exists() {
        let backends = Backends::new(open(names::BACKENDS)?)?;
        let mut used = 0;
        for index in 0..backends.capacity() {
            used += u32::from(backends.get(index)?.is_some());
        }
        let size = backends.capacity();
        fills.push(Fill { map: names::BACKENDS, used, size, setting: "max_backends", forgets: false });
        let services = Services::open(|name| directory.pin(name))?.all()?;
        let used = services.iter().map(|(_, entry)| entry.slots_len.saturating_add(entry.previous_len)).sum();
        let size = Slots::new(open(names::SLOTS)?)?.capacity();
        fills.push(Fill { map: names::SLOTS, used, size, setting: "max_slots", forgets: false });
        let usage = Places::new(open(names::NAT_FLOWS)?)?.usage();
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let (used, size) = (small(usage.flows.values().sum()), small(usage.places));
        fills.push(Fill { map: names::NAT_FLOWS, used, size, setting: "max_nat_flows", forgets: false });
    }
    Ok(fills)
}

/// Follows the keys. Of a map that changes meanwhile a key may be seen twice: never more are counted than there is room
/// for.
fn count(map: &std::os::fd::OwnedFd, key_size: u32, max_entries: u32) -> std::io::Result<u32> {
    let mut key: Option<Vec<u8>> = None;
    for used in 0..max_entries {
        let mut next = vec![0; key_size as usize];
        if !sys::map_next_key(map.as_fd(), key.as_deref(), &mut next)? {
            return Ok(used);
        }
        key = Some(next);
    }
    Ok(max_entries)
}
