//! The source addresses of translated flows that a snapshot gives.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::ledger::Snapshot;
use crate::model::NatSource;

/// A source address of translated flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PlannedNatSource {
    /// The address.
    pub address: IpAddr,
    /// Which places of the flow table are its own.
    pub number: u32,
    /// New flows get it; otherwise only those it has go on.
    pub takes_new: bool,
}

/// One for each number, in their order: the live one, or else the one that was retired last.
pub(super) fn sources(snapshot: &Snapshot) -> Arc<[PlannedNatSource]> {
    let mut by_number: BTreeMap<u32, &NatSource> = BTreeMap::new();
    // A live one has no time of deletion, and counts as the latest.
    let rank = |source: &NatSource| (source.times.is_live(), source.times.deleted_at, source.id);
    for source in snapshot.nat_sources() {
        let holder = by_number.entry(source.number).or_insert(source);
        if rank(source) > rank(holder) {
            *holder = source;
        }
    }
    by_number
        .into_values()
        .map(|source| PlannedNatSource {
            address: source.address,
            number: source.number,
            takes_new: source.times.is_live(),
        })
        .collect()
}
