//! The guard: judges a proposed change before it reaches the ledger. Pure: the same inputs give the same report.
//!
//! Every rule is one function in its own file below `rules/`; it looks at the whole proposed state, not at a request.

use crate::ledger::{Change, Snapshot};
use crate::model::{Actor, DocumentKey, Invalid, Pools, Scope};

pub mod limits;
mod rules;

pub use limits::Limits;

/// A change that somebody wants to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// What it may touch.
    pub scope: Scope,
    /// Every document before and after.
    pub changes: Vec<Change>,
    /// It brings back what the ledger held before: what is deleted may live again.
    pub is_recovery: bool,
}

/// What the guard found; an empty one allows the change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
}

/// Something that a rule does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the rule.
    pub rule: &'static str,
    /// The document it is about.
    pub key: DocumentKey,
    /// What is wrong.
    pub refusal: Refusal,
}

/// What is wrong with a change. Variants are facts; the API turns them into its error types.
#[derive(Clone, Debug, PartialEq, Eq)]
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
