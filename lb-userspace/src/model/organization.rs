//! An organization and its projects: the tenants, as documents of the ledger.

use serde::{Deserialize, Serialize};

use super::{Name, OrganizationId, Owner, Times};

/// A tenant who pays; the parent of projects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Id.
    pub id: OrganizationId,
    /// Name; not unique.
    pub name: Name,
    /// Created, updated, deleted.
    pub times: Times,
}

/// What owns load balancers and addresses. It stays in its organization for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Its own id, and that of its organization.
    pub owner: Owner,
    /// Name; not unique.
    pub name: Name,
    /// Created, updated, deleted.
    pub times: Times,
}
