//! Who owns, who acts, and on what: the tenant, the actor and the scope.

use serde::{Deserialize, Serialize};

use super::{LbId, OrganizationId, ProjectId};

/// Owner of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The organization the project belongs to.
    pub organization: OrganizationId,
    /// The project.
    pub project: ProjectId,
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
            Self::Lb { project, .. } | Self::Project { project } => *project,
        }
    }
}
