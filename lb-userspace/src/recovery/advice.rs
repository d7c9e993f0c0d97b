//! Advice to what depends on a load balancer: is it safe to act on what it sees through it? Pure.
//!
//! In the incident 229 clusters replaced healthy nodes because they could not reach them through a load balancer that
//! was gone. Whatever the edge itself has not settled is a reason to wait.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::health::HealthView;
use crate::ledger::{Snapshot, service};
use crate::model::{LbId, Measure};
use crate::plan::Tables;
use crate::reconcile::Status;
use crate::recovery::heal::board::wanted_services;

/// What advice is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The newest snapshot.
    pub snapshot: &'a Snapshot,
    /// What the reconciler last did.
    pub status: &'a Status,
    /// What the maps should hold.
    pub tables: &'a Tables,
    /// What the checkers know.
    pub health: &'a HealthView,
    /// The ledger cannot be trusted, and why.
    pub ledger_error: Option<&'a str>,
    /// What time it is: freezes end by themselves.
    pub now: Timestamp,
}

/// Whether to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Advice {
    /// The load balancer.
    pub lb_id: LbId,
    /// What is seen through the load balancer is so: act on it.
    pub safe: bool,
    /// Why not; empty when it is safe.
    pub reasons: Vec<Reason>,
}

/// Why not to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = AdviceReason)]
pub struct Reason {
    /// A word for programs; they never change.
    pub code: Code,
    /// A sentence for people.
    pub what: String,
}

/// Words for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AdviceCode)]
pub enum Code {
    /// The load balancer is deleted.
    Deleted,
    /// It is quarantined.
    Quarantined,
    /// Nothing of it can be reached: it has no address, no frontend, no server that takes clients, or denies everybody.
    Unreachable,
    /// The edge forwards for it against the ledger.
    Held,
    /// Read-only mode where it is: somebody contains something.
    Frozen,
    /// Its last change is not in the maps yet: it is being made, healed or restored.
    Pending,
    /// The maps cannot be brought up to date.
    Failing,
    /// The program is attached nowhere.
    Detached,
    /// So many servers look down that the checker is suspected.
    MassFailure,
    /// The ledger was destroyed; the edge holds its last good tables.
    LedgerLost,
}

/// Advice about a load balancer; `None` when there is none of that id.
#[must_use]
pub fn of(lb: LbId, facts: &Facts<'_>) -> Option<Advice> {
    let Facts { snapshot, status, tables, health, ledger_error, now } = *facts;
    let document = snapshot.lb(lb)?;
    let mut reasons = Vec::new();
    let mut add = |code, what: String| reasons.push(Reason { code, what });
    if !document.times.is_live() {
        add(Code::Deleted, "the load balancer is deleted: what cannot be reached through it may be healthy".to_owned());
    }
    if snapshot.is_quarantined(document) {
        add(Code::Quarantined, "the load balancer is quarantined: it forwards nothing on purpose".to_owned());
    }
    if document.times.is_live() && service::of(snapshot, lb).is_nothing() {
        let what = "nothing of it can be reached: it has no address, frontend or server that takes clients, or its access \
                    list denies everybody";
        add(Code::Unreachable, what.to_owned());
    }
    let held = held(snapshot, status, lb);
    if held > 0 {
        add(Code::Held, format!("the edge holds {held} of its services against the ledger, until a person has looked"));
    }
    let owner = document.owner;
    let holds_here = |freeze: &&Arc<Measure>| {
        freeze.is_in_force(now) && freeze.place().is_some_and(|at| at.covers(document) || at.covers_owner(owner))
    };
    if let Some(freeze) = snapshot.freezes().find(holds_here) {
        let place = freeze.place().map(ToString::to_string).unwrap_or_default();
        add(Code::Frozen, format!("read-only mode in {place}: {}", freeze.reason.as_str()));
    }
    let touched = snapshot.touched(lb).0;
    let missing = missing_services(snapshot, tables, lb);
    if document.times.is_live() && (status.applied_generation < touched || missing > 0) {
        let applied = status.applied_generation;
        let what = format!(
            "it is being healed: its change {touched} is not in the maps yet (they hold {applied}), {missing} of its \
             services are missing"
        );
        add(Code::Pending, what);
    }
    if let Some(error) = &status.last_error {
        add(Code::Failing, format!("the maps could not be brought up to date: {error}"));
    }
    if status.attachments.is_empty() {
        add(Code::Detached, "the program is attached to no interface".to_owned());
    }
    if let Some(failure) = &health.mass_failure {
        let (down, checked) = (failure.down, failure.checked);
        add(Code::MassFailure, format!("{down} of {checked} servers look down at once: the checker is suspected"));
    }
    if let Some(error) = ledger_error {
        add(Code::LedgerLost, error.to_owned());
    }
    Some(Advice { lb_id: lb, safe: reasons.is_empty(), reasons })
}

/// Services at the load balancer's addresses that are held.
fn held(snapshot: &Snapshot, status: &Status, lb: LbId) -> usize {
    let at: Vec<String> = snapshot.ips_of(lb).map(|ip| format!("{} ", ip.address)).collect();
    status.held.iter().filter(|service| at.iter().any(|address| service.starts_with(address.as_str()))).count()
}

/// Services that the load balancer should have and the tables do not.
fn missing_services(snapshot: &Snapshot, tables: &Tables, lb: LbId) -> usize {
    wanted_services(snapshot, lb).filter(|(service, _)| !tables.services.contains_key(service)).count()
}
