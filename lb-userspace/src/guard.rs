//! The guard: judges a proposed change before it reaches the ledger. Pure: the same inputs give the same report.
//!
//! Every rule is one function in its own file below `rules/`; it looks at the whole proposed state, not at a request.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::ledger::{Account, Change, Exceeded, Snapshot};
use crate::model::{Actor, DocumentKey, Invalid, LbId, Measure, MeasureId, Pools, Scope, Takedown};
use crate::observe::Rate;

pub mod limits;
mod rules;

pub use limits::Limits;

/// A change that somebody wants to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposed {
    /// What it may touch.
    pub scope: Scope,
    /// Every document before and after.
    pub changes: Vec<Change>,
    /// Verb and noun of the operation.
    pub verb: String,
    /// When.
    pub at: Timestamp,
    /// The plan it carries out, if it does.
    pub plan: Option<MeasureId>,
    /// It brings back what the ledger held before: what is deleted may live again.
    pub is_recovery: bool,
    /// Live traffic that would be cut off, of those load balancers that must have none.
    pub traffic: BTreeMap<LbId, Rate>,
}

impl Proposed {
    /// A change like any other: no plan, no recovery, and no traffic in its way.
    #[must_use]
    pub fn new(scope: Scope, changes: Vec<Change>, verb: impl Into<String>, at: Timestamp) -> Self {
        let traffic = BTreeMap::new();
        Self { scope, changes, verb: verb.into(), at, plan: None, is_recovery: false, traffic }
    }
}

/// What the guard found; an empty one allows the change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Everything that is wrong, in the order of the rules and the changes.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether the change may be made.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.violations.is_empty()
    }

    /// The budget that is used up, when nothing else is wrong.
    #[must_use]
    pub fn exceeded(&self) -> Option<&Exceeded> {
        match self.violations.as_slice() {
            [Violation { refusal: Refusal::Budget { exceeded }, .. }] => Some(exceeded),
            _ => None,
        }
    }
}

/// Something that a rule does not allow.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Name of the rule.
    pub rule: &'static str,
    /// The document it is about.
    pub key: DocumentKey,
    /// What is wrong.
    pub refusal: Refusal,
}

/// What is wrong with a change. Variants are facts; the API turns them into its error types.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// A field has a value that the rest of the state does not allow.
    Argument {
        /// Field of the API.
        argument: &'static str,
        /// What is wrong, and what is allowed.
        invalid: Invalid,
    },
    /// A quota is reached.
    Quota {
        /// What there are too many of.
        resource: &'static str,
        /// How many are allowed.
        quota: usize,
        /// How many there were before.
        current: usize,
    },
    /// The resource is deleted.
    Deleted {
        /// The deleted resource.
        key: DocumentKey,
    },
    /// Something else still uses the resource.
    InUse {
        /// What uses it, and what to do.
        help: String,
    },
    /// The load balancer is protected.
    Protected,
    /// The load balancer has live traffic.
    Traffic {
        /// How much.
        rate: Rate,
    },
    /// Too many for one call: it takes a plan.
    PlanNeeded {
        /// Load balancers that would be taken out of service.
        count: usize,
        /// By a quarantine, or otherwise.
        account: Account,
    },
    /// The address of a quarantined load balancer would leave it.
    Quarantined {
        /// The load balancer.
        lb: LbId,
    },
    /// The address of a load balancer that Trust & Safety removed would leave it.
    StaysDown {
        /// The load balancer.
        lb: LbId,
        /// By which plan, and why.
        takedown: Takedown,
    },
    /// Trust & Safety removed the load balancer.
    TakenDown {
        /// By which plan, and why.
        takedown: Takedown,
    },
    /// Read-only mode.
    Frozen {
        /// The freeze.
        freeze: Box<Measure>,
    },
    /// A budget of removals is used up: the answer is read-only mode.
    Budget {
        /// Which, and by what.
        exceeded: Box<Exceeded>,
    },
    /// The change lies outside what the actor may touch.
    OutOfScope {
        /// What lies where.
        what: String,
    },
}

/// Judges a change of `current` by every rule.
#[must_use]
pub fn judge(current: &Snapshot, proposed: &Proposed, actor: &Actor, limits: &Limits, pools: &Pools) -> Report {
    let after =
        current.after(current.generation(), current.head(), proposed.changes.iter().map(|change| &change.after));
    let case = rules::Case { current, after: &after, proposed, actor, limits, pools };
    let mut violations = Vec::new();
    for (name, rule) in rules::ALL {
        rule(&case, &mut |key, refusal| violations.push(Violation { rule: name, key, refusal }));
    }
    Report { violations }
}

#[cfg(test)]
mod tests;
