//! A purge: what was deleted long ago leaves the snapshot, and with it what was reserved for it. Said a day before it is done.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{DocumentKey, Owner};

/// What of one project will be purged, and when at the earliest. Only the agent makes one, and only the agent carries it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// Whose it is.
    pub owner: Owner,
    /// Every document that goes: those that were deleted, and what belongs to deleted load balancers.
    pub documents: BTreeSet<DocumentKey>,
    /// It is not carried out before.
    pub not_before: Timestamp,
    /// When it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Timestamp>,
}

impl Purge {
    /// Verb of the operation that carries one out.
    pub const VERB: &'static str = "purge.apply";
    /// Shortest time between saying and doing.
    pub const STANDS: SignedDuration = SignedDuration::from_hours(24);
    /// How long one can be carried out after it was said.
    pub const KEEPS: SignedDuration = SignedDuration::from_hours(72);
}
