//! The hold: an edge that would take too many services out of its maps, without an approved plan in the ledger, leaves
//! them where they are and says so. They forward with their last good tables until a plan or a person lets them go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use lb_common::abi::ServiceKey;

use super::apply::Trouble;
use super::services::{address_of_key, shown};
use super::{Reconciler, key_of};
use crate::dataplane::{Dataplane, Publish};
use crate::faults::Layer;
use crate::ledger::Snapshot;
use crate::model::{Action, LbId, What};

mod memory;

use memory::{Kept, Memory};

/// How many services may leave without a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HoldLimit {
    /// The window, ending now, in which they are counted.
    pub window: Duration,
    /// So many always may.
    pub services: usize,
    /// So many of a hundred may.
    pub percent: usize,
}

impl Default for HoldLimit {
    fn default() -> Self {
        Self { window: Duration::from_secs(600), services: 5, percent: 2 }
    }
}

/// What is held, and what has left within the window. The next agent knows both: a restart lets nothing go.
#[derive(Debug, Default)]
pub(super) struct Hold {
    pub(super) held: BTreeSet<ServiceKey>,
    /// Those of them that are held only until the memory works again: then they are as if they were leaving just now.
    waiting: BTreeSet<ServiceKey>,
    left: BTreeSet<(Timestamp, String)>,
    memory: Memory,
    /// What was left behind has been read.
    is_recalled: bool,
    /// What was left behind could not be read: so long nothing leaves.
    blind_until: Option<Timestamp>,
}

impl Hold {
    /// What is remembered in a file.
    pub(super) fn remembering(path: PathBuf) -> Self {
        Self { memory: Memory::at(path), ..Self::default() }
    }

    fn kept(&self) -> Kept {
        Kept { held: self.held.difference(&self.waiting).map(shown).collect(), left: self.left.clone() }
    }
}

/// What the ledger lets go.
struct Permits {
    /// Load balancers that a plan deleted, or a recovery took something from, and when: what is deleted again is another
    /// matter.
    lbs: BTreeSet<(LbId, Timestamp)>,
    services: BTreeSet<String>,
}

impl Permits {
    fn new(snapshot: &Snapshot, now: Timestamp) -> Self {
        let mut permits = Self { lbs: BTreeSet::new(), services: BTreeSet::new() };
        for measure in snapshot.measures() {
            match &measure.what {
                What::Plan(plan) if matches!(plan.action, Action::Delete | Action::Recover) => {
                    permits.lbs.extend(plan.subjects.keys().copied().zip(plan.applied_at.into_iter().cycle()));
                }
                What::LetGo { services, .. } if measure.is_in_force(now) && !measure.waits_for_approval() => {
                    permits.services.extend(services.iter().cloned())
                }
                _ => {}
            }
        }
        permits
    }

    fn allow(&self, snapshot: &Snapshot, key: &ServiceKey) -> bool {
        let Some(service) = address_of_key(key) else { return true };
        let lb = snapshot.ip_with_address(service.address).and_then(|ip| ip.lb);
        let deleted_at = lb.and_then(|lb| snapshot.lb(lb)?.times.deleted_at.map(|at| (lb, at)));
        deleted_at.is_some_and(|deletion| self.lbs.contains(&deletion)) || self.services.contains(&service.to_string())
    }
}

impl<D: Dataplane> Reconciler<D> {
    /// Takes the services out of what is to be removed that are held, and puts those back that may go by now.
    pub(super) fn hold(&mut self, now: Timestamp, trouble: &mut Trouble) {
        if self.settings.faults.is_off(Layer::Edge) {
            return;
        }
        self.recall(now, trouble);
        for key in std::mem::take(&mut self.hold.waiting) {
            self.hold.held.remove(&key);
            self.dirty.insert(key);
        }
        let is_planned =
            |key: &ServiceKey| address_of_key(key).is_some_and(|address| self.tables.services.contains_key(&address));
        let mut candidates: BTreeSet<ServiceKey> = self.dirty.iter().copied().filter(|key| !is_planned(key)).collect();
        candidates.extend(self.hold.held.iter().copied().filter(|key| !is_planned(key)));
        // What did not come from a ledger is nobody's.
        candidates.retain(|key| self.services.held.get(key).is_some_and(|held| held.generation > 0));
        self.hold.held.retain(|key| candidates.contains(key));
        if candidates.is_empty() {
            return self.remember(BTreeSet::new(), trouble);
        }
        let permits = Permits::new(&self.snapshot, now);
        let (may_go, others): (BTreeSet<_>, BTreeSet<_>) =
            candidates.into_iter().partition(|key| permits.allow(&self.snapshot, key));
        for key in may_go {
            self.hold.held.remove(&key);
            self.dirty.insert(key);
        }
        let leaving = self.without_replacement(others.difference(&self.hold.held).copied().collect());
        let is_within = self.fits(leaving.len(), now);
        if is_within {
            self.hold.left.extend(leaving.iter().map(|key| (now, shown(key))));
        } else {
            self.hold.held.extend(&leaving);
            if self.is_blind(now) {
                self.hold.waiting.extend(&leaving);
            }
        }
        self.remember(if is_within { leaving } else { BTreeSet::new() }, trouble);
        self.dirty.retain(|key| !self.hold.held.contains(key));
        self.keep_held(trouble);
        self.say(is_within);
    }

    /// Takes up what the agent before held. Where that cannot be read, nothing leaves for a window.
    fn recall(&mut self, now: Timestamp, trouble: &mut Trouble) {
        if std::mem::replace(&mut self.hold.is_recalled, true) {
            return;
        }
        match self.hold.memory.recall() {
            Ok(Kept { held, left }) => {
                self.hold.held.extend(self.services.held.keys().filter(|key| held.contains(&shown(key))));
                self.hold.left = left;
            }
            Err(error) => {
                let window = self.settings.hold.window;
                self.hold.blind_until = Some(now.checked_add(window).unwrap_or(Timestamp::MAX));
                log::error!("nothing leaves the maps without an approved plan for {} s: {error}", window.as_secs());
                trouble.note(|| error);
            }
        }
    }

    /// Writes down what is held and what leaves now, before it does. What cannot be remembered does not leave.
    fn remember(&mut self, leaving: BTreeSet<ServiceKey>, trouble: &mut Trouble) {
        if let Err(error) = self.hold.memory.remember(self.hold.kept()) {
            trouble.note(|| error);
            let names: BTreeSet<String> = leaving.iter().map(shown).collect();
            self.hold.left.retain(|(_, service)| !names.contains(service));
            self.hold.held.extend(&leaving);
            self.hold.waiting.extend(leaving);
        }
    }

    /// Whether what was left behind could not be read, a window ago or less.
    fn is_blind(&self, now: Timestamp) -> bool {
        self.hold.blind_until.is_some_and(|end| end > now)
    }

    /// Services that leave and whose address gets no other in the same breath: a changed port is no removal.
    fn without_replacement(&self, leaving: BTreeSet<ServiceKey>) -> BTreeSet<ServiceKey> {
        let mut new: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for service in self.dirty.iter().filter_map(address_of_key) {
            let is_new = !self.services.held.contains_key(&key_of(&service));
            if is_new && self.tables.services.contains_key(&service) {
                *new.entry(service.address).or_default() += 1;
            }
        }
        let is_replaced = |key: &ServiceKey| {
            let count =
                address_of_key(key).and_then(|service| new.get_mut(&service.address)).filter(|count| **count > 0);
            count.map(|count| *count -= 1).is_some()
        };
        let mut is_replaced = is_replaced;
        leaving.into_iter().filter(|key| !is_replaced(key)).collect()
    }

    /// Whether so many more may leave now.
    fn fits(&mut self, leaving: usize, now: Timestamp) -> bool {
        let limit = self.settings.hold;
        let oldest = now.checked_sub(limit.window).unwrap_or(Timestamp::MIN);
        // What a clock that was ahead wrote down would count until then.
        self.hold.left.retain(|(at, _)| (oldest..=now).contains(at));
        if self.is_blind(now) {
            return leaving == 0;
        }
        let left = self.hold.left.len();
        let all = self.services.held.len() + left;
        left + leaving <= limit.services.max(all * limit.percent / 100)
    }

    /// What is held and was altered by somebody is written again as it was.
    fn keep_held(&mut self, trouble: &mut Trouble) {
        for key in &self.hold.held {
            let Some(held) = self.services.held.get_mut(key).filter(|held| !held.in_map) else { continue };
            let publish = Publish {
                id: held.id,
                flags: held.flags,
                slots: &held.table.slots,
                previous: &held.table.previous,
                protection: held.protection,
                generation: held.generation,
            };
            match self.dataplane.publish_service(key, &publish) {
                Ok(()) => {
                    held.in_map = true;
                    self.services.programmed.extend(address_of_key(key));
                }
                Err(error) => trouble.note(|| format!("held service {}: {error}", shown(key))),
            }
        }
    }

    fn say(&mut self, is_within: bool) {
        let held: Vec<String> = self.hold.held.iter().map(shown).collect();
        if !is_within && held.len() != self.status.held.len() {
            log::error!(
                "HELD: {} services would be removed without an approved plan; they forward on with their last good tables \
                 (`snowshed hold list` names them; `snowshed undo` brings back what was deleted, an applied plan or \
                 `snowshed hold release` lets go what is meant to go)",
                held.len()
            );
        }
    }
}
