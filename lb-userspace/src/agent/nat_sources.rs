//! Reserves in the ledger the source addresses of translated flows that the configuration names, each with its number.
//!
//! An address keeps its number for as long as it is known: the flows that a restarted agent finds in the maps go on.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::ledger::{Change, Ledger, LedgerError, Proposal, Snapshot};
use crate::model::{Actor, Document, NatSource, NatSourceId, Owner, Scope, Times};

/// Why they cannot be reserved.
#[derive(Debug, thiserror::Error)]
pub enum NatSourceError {
    /// A tenant has the address.
    #[error(
        "{0} is named in `addresses.nat_v4` or `nat_v6`, but the ledger knows it as a load balancer's address: name \
         another, in no pool of load balancers"
    )]
    Taken(IpAddr),
    /// There are more than places for their flows.
    #[error("there are more source addresses of translated flows than `dataplane.max_nat_flows` has places for")]
    TooMany,
    /// The ledger did not take the operation.
    #[error("the source addresses of translated flows cannot be reserved")]
    Ledger(#[from] LedgerError),
}

/// Makes the ledger hold exactly `wanted` as live source addresses, with numbers below `capacity`. One operation of the
/// agent's own, or none.
pub(super) fn reserve(
    ledger: &dyn Ledger,
    wanted: &BTreeSet<IpAddr>,
    capacity: u32,
    now: Timestamp,
) -> Result<(), NatSourceError> {
    let snapshot = ledger.snapshot();
    let changes = changes(&snapshot, wanted, capacity, now)?;
    if changes.is_empty() {
        return Ok(());
    }
    let operation = ledger.append(Proposal {
        expected: snapshot.generation(),
        actor: Actor::agent("agent"),
        scope: Scope::Project { project: Owner::EDGE.project },
        verb: "nat_source.reserve".to_owned(),
        reason: "the configuration names these source addresses of translated flows".to_owned(),
        at: now,
        attempt: None,
        plan: None,
        changes,
    })?;
    log::info!("generation {}: {} source addresses of translated flows", operation.generation, wanted.len());
    Ok(())
}

/// What has to change.
fn changes(
    snapshot: &Snapshot,
    wanted: &BTreeSet<IpAddr>,
    capacity: u32,
    now: Timestamp,
) -> Result<Vec<Change>, NatSourceError> {
    if let Some(taken) = wanted.iter().find(|address| snapshot.ip_with_address(**address).is_some()) {
        return Err(NatSourceError::Taken(*taken));
    }
    let stays =
        |source: &NatSource| source.times.is_live() && wanted.contains(&source.address) && source.number < capacity;
    let mut numbers = Numbers::new(snapshot, capacity, stays);
    let mut changes = Vec::new();
    for source in snapshot.nat_sources().filter(|source| !stays(source)) {
        let after = if wanted.contains(&source.address) {
            let number = numbers.take(Some(source.number))?;
            NatSource {
                number,
                times: Times { deleted_at: None, ..source.times.updated(now) },
                ..NatSource::clone(source)
            }
        } else if source.times.is_live() {
            NatSource { times: source.times.deleted(now), ..NatSource::clone(source) }
        } else {
            continue;
        };
        let before = Some(Document::NatSource(NatSource::clone(source)));
        changes.push(Change { before, after: Document::NatSource(after) });
    }
    let known: BTreeSet<IpAddr> = snapshot.nat_sources().map(|source| source.address).collect();
    for address in wanted.difference(&known) {
        let source = NatSource {
            id: NatSourceId::new(),
            address: *address,
            number: numbers.take(None)?,
            times: Times::created(now),
        };
        changes.push(Change { before: None, after: Document::NatSource(source) });
    }
    Ok(changes)
}

/// Numbers that may be given out: first those that nobody ever had, then those of retired addresses, the longest
/// retired first.
struct Numbers {
    fresh: BTreeSet<u32>,
    retired: Vec<u32>,
}

impl Numbers {
    fn new(snapshot: &Snapshot, capacity: u32, stays: impl Fn(&NatSource) -> bool) -> Self {
        let (kept, left): (Vec<_>, Vec<_>) = snapshot.nat_sources().partition(|source| stays(source));
        let mut fresh: BTreeSet<u32> = (0..capacity).collect();
        for source in kept {
            fresh.remove(&source.number);
        }
        let mut retired: Vec<(bool, Option<Timestamp>, u32)> = left
            .into_iter()
            .filter(|source| fresh.remove(&source.number))
            .map(|source| (source.times.is_live(), source.times.deleted_at, source.number))
            .collect();
        retired.sort_unstable();
        Self { fresh, retired: retired.into_iter().map(|(.., number)| number).collect() }
    }

    /// The number an address had before if it is still to be had, otherwise the best of the others.
    fn take(&mut self, before: Option<u32>) -> Result<u32, NatSourceError> {
        if let Some(at) = self.retired.iter().position(|number| Some(*number) == before) {
            return Ok(self.retired.remove(at));
        }
        match self.fresh.pop_first() {
            Some(number) => Ok(number),
            None if self.retired.is_empty() => Err(NatSourceError::TooMany),
            None => Ok(self.retired.remove(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::MemoryLedger;

    const CAPACITY: u32 = 3;

    fn reserve_at(ledger: &MemoryLedger, wanted: &[&str], second: i64) -> Result<(), NatSourceError> {
        let wanted = wanted.iter().map(|address| address.parse().unwrap()).collect();
        reserve(ledger, &wanted, CAPACITY, Timestamp::from_second(second).unwrap())
    }

    fn live(ledger: &MemoryLedger) -> Vec<(String, u32)> {
        let snapshot = ledger.snapshot();
        let mut live: Vec<_> = snapshot
            .nat_sources()
            .filter(|source| source.times.is_live())
            .map(|source| (source.address.to_string(), source.number))
            .collect();
        live.sort();
        live
    }

    fn named(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
        pairs.iter().map(|(address, number)| ((*address).to_owned(), *number)).collect()
    }

    #[test]
    fn an_address_keeps_its_number_whatever_comes_and_goes_beside_it() {
        let ledger = MemoryLedger::new();
        reserve_at(&ledger, &["10.0.0.2", "10.0.0.3"], 1).unwrap();
        assert_eq!(live(&ledger), named(&[("10.0.0.2", 0), ("10.0.0.3", 1)]));
        reserve_at(&ledger, &["10.0.0.3", "10.0.0.1"], 2).unwrap();
        assert_eq!(
            live(&ledger),
            named(&[("10.0.0.1", 2), ("10.0.0.3", 1)]),
            "a number never had before a retired one"
        );
        reserve_at(&ledger, &["10.0.0.3", "10.0.0.2"], 3).unwrap();
        assert_eq!(live(&ledger), named(&[("10.0.0.2", 0), ("10.0.0.3", 1)]), "back with the number it had");
    }

    #[test]
    fn nothing_is_written_when_the_ledger_holds_what_is_wanted() {
        let ledger = MemoryLedger::new();
        reserve_at(&ledger, &[], 1).unwrap();
        assert_eq!(ledger.snapshot().generation().0, 0);
        reserve_at(&ledger, &["10.0.0.2"], 1).unwrap();
        reserve_at(&ledger, &["10.0.0.2"], 2).unwrap();
        assert_eq!(ledger.snapshot().generation().0, 1);
        let operation = &ledger.operations(crate::model::Generation(0), 1).unwrap()[0];
        assert_eq!(operation.actor, Actor::agent("agent"));
    }

    #[test]
    fn without_fresh_numbers_the_longest_retired_gives_its_own() {
        let ledger = MemoryLedger::new();
        reserve_at(&ledger, &["10.0.0.1", "10.0.0.2", "10.0.0.3"], 1).unwrap();
        reserve_at(&ledger, &["10.0.0.1", "10.0.0.3"], 2).unwrap();
        reserve_at(&ledger, &["10.0.0.1"], 3).unwrap();
        reserve_at(&ledger, &["10.0.0.1", "10.0.0.4"], 4).unwrap();
        assert_eq!(live(&ledger), named(&[("10.0.0.1", 0), ("10.0.0.4", 1)]), "that of 10.0.0.2, retired first");
        let too_many = reserve_at(&ledger, &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"], 5);
        assert!(matches!(too_many, Err(NatSourceError::TooMany)));
    }
}
