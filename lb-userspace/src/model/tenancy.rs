//! Who owns, who acts, and on what: the tenant, the actor and the scope.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Invalid, LbId, OrganizationId, ProjectId};

/// Owner of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The organization the project belongs to.
    pub organization: OrganizationId,
    /// The project.
    pub project: ProjectId,
}

impl Owner {
    /// The edge itself: what it reserves for its own work belongs to no tenant, and no tenant has these ids (no text
    /// becomes one).
    pub const EDGE: Self = Self {
        organization: OrganizationId::from_uuid(uuid::Uuid::nil()),
        project: ProjectId::from_uuid(uuid::Uuid::nil()),
    };
}

/// Who makes a change: the holder of a token. Recorded in the ledger with every operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Name of the token, as the configuration gives it.
    pub name: String,
    /// What the token may see and change.
    pub owner: Owner,
}

/// What a change may touch. There is no "everything": absent, empty and wildcard scopes cannot be built.
///
/// ```compile_fail
/// # use lb_userspace::model::Scope;
/// let everything: Scope = Scope::default();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Scope {
    /// One load balancer and what belongs to it.
    Lb {
        /// The load balancer.
        lb: LbId,
        /// Its project.
        project: ProjectId,
    },
    /// These load balancers of a project and what belongs to them, in one operation.
    Lbs {
        /// The load balancers: at least one.
        lbs: LbSet,
        /// Their project.
        project: ProjectId,
    },
    /// One project: creating load balancers, everything about IPs.
    Project {
        /// The project.
        project: ProjectId,
    },
}

impl Scope {
    /// The project the scope lies in.
    #[must_use]
    pub const fn project(&self) -> ProjectId {
        match self {
            Self::Lb { project, .. } | Self::Lbs { project, .. } | Self::Project { project } => *project,
        }
    }
}

/// Load balancers, at least one: a selection that came out empty is an error where it is made, never "all of them".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<LbId>", into = "BTreeSet<LbId>")]
pub struct LbSet(BTreeSet<LbId>);

impl LbSet {
    /// Whether a load balancer is among them.
    #[must_use]
    pub fn contains(&self, lb: LbId) -> bool {
        self.0.contains(&lb)
    }

    /// In the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = LbId> {
        self.0.iter().copied()
    }

    /// How many there are: 1 or more.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl TryFrom<BTreeSet<LbId>> for LbSet {
    type Error = Invalid;

    fn try_from(lbs: BTreeSet<LbId>) -> Result<Self, Invalid> {
        if lbs.is_empty() {
            return Err(Invalid::constraint("no load balancer is selected: name at least one"));
        }
        Ok(Self(lbs))
    }
}

impl From<LbSet> for BTreeSet<LbId> {
    fn from(lbs: LbSet) -> Self {
        lbs.0
    }
}
