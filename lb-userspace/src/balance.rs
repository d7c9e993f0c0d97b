//! `leastconn`: servers that carry more than their share get fewer new flows, by measuring.
//!
//! Every [`EVERY`] the load of each server is read, and its share is moved towards what would even the loads out.
//! What the load is depends on the forwarding:
//! - `nat`: the live flows of the server in the table of translated flows (not those that are over or closing);
//! - all others: packets sent to the server since the last reading. Their flows are nowhere counted (that is what makes
//!   them cheap), and a count of opened flows would only show what the share itself decides; packets come from every
//!   flow that lives, so where flows are alike they are in proportion to the live ones.
//!
//! The control is proportional, not integrating: the wanted share falls as the load rises, so that loads which would differ
//! by a factor x differ by its cube root. A share follows at a bounded step, and not at all within [`TOLERANCE`]: a dead zone,
//! and not a share that stays behind, which would swing for ever where flows live long, since what is measured follows a
//! share only after a flow's lifetime (Popov's criterion holds for the first, and not for the second). Shares stay within
//! [`LEAST`] and [`MOST`], so no server that takes flows is left without.
//!
//! The shares are this edge's own: unlike all else in a table they differ between edges.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::health::HealthView;
use crate::ledger::Snapshot;
use crate::model::{Algorithm, Backend, BackendId, Family, Forwarding};
use crate::plan::slots::FULL;
use crate::plan::{ServerRef, Shares};

mod follow;

pub use follow::{Measure, Reading, follow};

/// Time between two readings.
pub const EVERY: Duration = Duration::from_secs(2);

/// Part of the way to the wanted share, in logarithms, that is gone with each reading.
const STEP: f64 = 1.0 / 16.0;
/// Bounds of a share relative to the weight's: they differ by sixteen, so the smallest is a sixteenth of the greatest,
/// and one step changes a share by a fifth at most (sixteen to the power of [`STEP`]).
const LEAST: f64 = 0.25;
const MOST: f64 = 4.0;
/// A share that is wrong by no more than this factor, up or down, stays.
const TOLERANCE: f64 = 1.25;
/// A share is told again once it, or another one of its pool, differs by this part: each time moves slots.
const WORTH_TELLING: f64 = 1.0 / 32.0;
/// Below this load for each server there is nothing to even out.
const TOO_FEW: f64 = 4.0;

/// Servers that share new flows: of one pool, all standing by or none, and of one IP version where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    backend: BackendId,
    backup: bool,
    family: Option<Family>,
}

/// Weights of servers that take flows, by group.
pub type Groups = BTreeMap<Group, BTreeMap<IpAddr, u32>>;

/// Every group that goes by measuring.
#[must_use]
pub fn groups(snapshot: &Snapshot, health: &HealthView) -> Groups {
    let mut groups = Groups::new();
    let pools = snapshot.backends().filter(|pool| pool.algorithm == Algorithm::Leastconn && pool.times.is_live());
    for pool in pools {
        for server in pool.servers.iter().filter(|server| !server.drains()) {
            if health.is_usable(ServerRef { backend: pool.id, address: server.address }) {
                let family = pool.forwarding.keeps_family().then_some(Family::of(server.address));
                let group = Group { backend: pool.id, backup: server.backup, family };
                groups.entry(group).or_default().insert(server.address, server.weight.get());
            }
        }
    }
    groups
}

/// Pools whose servers' load is their live flows; that of the others is their packets.
#[must_use]
pub fn counts_flows(backend: &Backend) -> bool {
    backend.forwarding == Forwarding::Nat
}

/// Follows the loads.
#[derive(Debug, Default)]
pub struct Balancer {
    /// Relative shares, 1 being what the weight says.
    held: BTreeMap<Group, BTreeMap<IpAddr, f64>>,
    told: BTreeMap<Group, BTreeMap<IpAddr, u16>>,
}

impl Balancer {
    /// Takes a reading: the load of each server, absent being none. The shares, if they are to be told anew.
    pub fn step(&mut self, groups: &Groups, loads: &BTreeMap<ServerRef, f64>) -> Option<Shares> {
        let before = self.told.clone();
        self.held.retain(|group, _| groups.contains_key(group));
        self.told.retain(|group, _| groups.contains_key(group));
        for (group, weights) in groups {
            let load = |address: &IpAddr| {
                loads.get(&ServerRef { backend: group.backend, address: *address }).copied().unwrap_or(0.0)
            };
            let held = self.held.entry(*group).or_default();
            held.retain(|address, _| weights.contains_key(address));
            approach(held, &wanted(weights, load));
            let shares = shares_of(held);
            let is_other = self.told.get(group).is_none_or(|told| is_worth_telling(told, &shares));
            if is_other {
                self.told.insert(*group, shares);
            }
        }
        (self.told != before).then(|| self.shares())
    }

    fn shares(&self) -> Shares {
        let of = |group: &Group, address: &IpAddr| ServerRef { backend: group.backend, address: *address };
        let all = self
            .told
            .iter()
            .flat_map(|(group, shares)| shares.iter().map(move |(address, share)| (of(group, address), *share)));
        all.collect()
    }
}

/// The share of each server that would even the loads out.
fn wanted(weights: &BTreeMap<IpAddr, u32>, load: impl Fn(&IpAddr) -> f64) -> BTreeMap<IpAddr, f64> {
    let total: f64 = weights.keys().map(&load).sum();
    let weight: f64 = weights.values().copied().map(f64::from).sum();
    let mean = total / weight.max(1.0);
    let of = |(address, weight): (&IpAddr, &u32)| {
        if total < TOO_FEW * weights.len() as f64 {
            return (*address, 1.0);
        }
        let relative = load(address) / f64::from(*weight) / mean;
        (*address, relative.max(0.01).powi(-2).clamp(LEAST, MOST))
    };
    weights.iter().map(of).collect()
}

/// Moves the shares a part of the way to what is wanted; servers that are new begin at 1.
fn approach(held: &mut BTreeMap<IpAddr, f64>, wanted: &BTreeMap<IpAddr, f64>) {
    for (address, wanted) in wanted {
        let share = held.entry(*address).or_insert(1.0);
        let wrong = wanted / *share;
        let beyond = wrong.clamp(1.0 / TOLERANCE, TOLERANCE);
        *share = (*share * (wrong / beyond).powf(STEP)).clamp(LEAST, MOST);
    }
}

/// Shares in parts of the greatest.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 256")]
fn shares_of(held: &BTreeMap<IpAddr, f64>) -> BTreeMap<IpAddr, u16> {
    let greatest = held.values().copied().fold(LEAST, f64::max);
    let of = |share: &f64| (share / greatest * f64::from(FULL)).round().clamp(1.0, f64::from(FULL)) as u16;
    held.iter().map(|(address, share)| (*address, of(share))).collect()
}

fn is_worth_telling(told: &BTreeMap<IpAddr, u16>, shares: &BTreeMap<IpAddr, u16>) -> bool {
    let differs = |(address, share): (&IpAddr, &u16)| {
        told.get(address).is_none_or(|told| {
            let (told, share) = (f64::from(*told), f64::from(*share));
            (told - share).abs() > told.max(share) * WORTH_TELLING
        })
    };
    told.len() != shares.len() || shares.iter().any(differs)
}

#[cfg(test)]
mod tests;
