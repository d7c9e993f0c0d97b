//! The backlog: services that the maps do not hold as planned, why, and when each is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use lb_common::abi::ServiceKey;

use super::services::address_of_key;
use crate::model::LbId;
use crate::plan::ServiceAddress;
use crate::recovery::heal::Fault;

/// First and longest wait before a service is tried again.
const WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// Services written between two publications of the progress.
pub(super) const STEP: usize = 64;

/// What comes first, and what is tried again at once: the reconciler follows it, and nothing else writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// The higher the weight of a load balancer, the sooner its services are written; others have 0.
    pub weights: BTreeMap<LbId, u64>,
    /// Load balancers whose services are to be tried again at once, each with the number of that wish; numbers grow.
    pub retries: BTreeMap<LbId, u64>,
}

/// A service that could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Why.
    pub fault: Fault,
    /// The error, for people.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
    /// Tries so far.
    pub attempts: u32,
    /// When it is tried again.
    pub next: Timestamp,
}

/// What the maps hold and do not hold; published while much is written, and after every activation.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    /// Services that could not be written.
    pub waiting: OrdMap<ServiceAddress, Waiting>,
    /// Services that the maps hold as they were last written.
    pub programmed: OrdSet<ServiceAddress>,
    /// Generation of the ledger of which everything was written or has failed.
    pub generation: u64,
    /// What is being written now.
    pub work: Option<Work>,
}

/// Much that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// When it began.
    pub since: Timestamp,
    /// Services to be written.
    pub total: usize,
    /// Of these, written or failed.
    pub done: usize,
}

/// What failed, and when it is due.
#[derive(Debug, Default)]
pub(super) struct Tries {
    pub(super) waiting: OrdMap<ServiceAddress, Waiting>,
    /// The newest wish for a retry that was followed.
    seen: u64,
}

impl Tries {
    /// Why a service is not tried yet, if it is not.
    pub(super) fn not_yet(&self, key: &ServiceKey, now: Timestamp) -> Option<&Waiting> {
        self.waiting.get(&address_of_key(key)?).filter(|waiting| waiting.next > now)
    }

    /// A service could not be written.
    pub(super) fn failed(&mut self, key: &ServiceKey, fault: Fault, what: String, now: Timestamp) {
        let Some(address) = address_of_key(key) else { return };
        let before = self.waiting.get(&address);
        let attempts = before.map_or(0, |before| before.attempts) + 1;
        let wait = match fault {
            // They wait for another write or for another ledger, and cost the kernel nothing.
            Fault::ServerNotWritten | Fault::NewerTable => Duration::ZERO,
            _ => WAIT.0.saturating_mul(1 << (attempts - 1).min(16)).min(WAIT.1),
        };
        let since = before.filter(|before| before.fault == fault).map_or(now, |before| before.since);
        let next = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        self.waiting.insert(address, Waiting { fault, what, since, attempts, next });
    }

    /// A service is as it should be.
    pub(super) fn done(&mut self, key: &ServiceKey) {
        if let Some(address) = address_of_key(key).filter(|_| !self.waiting.is_empty()) {
            self.waiting.remove(&address);
        }
    }

    /// Something about a service changed: it does not wait.
    pub(super) fn at_once(&mut self, address: &ServiceAddress) {
        if let Some(waiting) = self.waiting.get_mut(address) {
            waiting.next = Timestamp::MIN;
        }
    }

    /// A map has room again.
    pub(super) fn room(&mut self) {
        let full: Vec<ServiceAddress> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.fault == Fault::MapFull)
            .map(|(address, _)| *address)
            .collect();
        full.iter().for_each(|address| self.at_once(address));
    }

    /// Follows wishes for a retry; `lb_of` names the load balancer of a service.
    pub(super) fn follow(&mut self, steering: &Steering, lb_of: impl Fn(&ServiceAddress) -> Option<LbId>) {
        let wished: BTreeSet<LbId> =
            steering.retries.iter().filter(|(_, number)| **number > self.seen).map(|(lb, _)| *lb).collect();
        if wished.is_empty() {
            return;
        }
        self.seen = steering.retries.values().copied().max().unwrap_or(self.seen);
        let again: Vec<ServiceAddress> = self
            .waiting
            .keys()
            .filter(|address| lb_of(address).is_some_and(|lb| wished.contains(&lb)))
            .copied()
            .collect();
        again.iter().for_each(|address| self.at_once(address));
    }

    /// When the next is due.
    pub(super) fn next_change(&self) -> Option<Timestamp> {
        self.waiting.values().map(|waiting| waiting.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;
    use crate::reconcile::key_of;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn a_service_waits_twice_as_long_after_every_failure_up_to_ten_seconds_and_not_after_a_change() {
        let address =
            ServiceAddress { address: [192, 0, 2, 1].into(), port: 80, protocol: Protocol::Tcp, is_range: false };
        let key = key_of(&address);
        let mut tries = Tries::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..13 {
            tries.failed(&key, Fault::MapFull, "full".to_owned(), now);
            let next = tries.waiting[&address].next;
            waits.push(next.duration_since(now).as_millis());
            now = next;
        }
        assert_eq!(waits[..4], [10, 20, 40, 80]);
        assert_eq!(waits[10..], [10_000; 3]);
        assert_eq!((tries.waiting[&address].attempts, tries.waiting[&address].since), (13, at(0)));
        assert!(tries.not_yet(&key, at(0)).is_some());
        tries.at_once(&address);
        assert!(tries.not_yet(&key, at(0)).is_none());
        tries.failed(&key, Fault::MapFull, "full".to_owned(), now);
        tries.room();
        assert!(tries.not_yet(&key, now).is_none(), "a map has room again");
        tries.done(&key);
        assert!(tries.waiting.is_empty());
    }
}
