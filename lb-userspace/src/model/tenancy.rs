//! Who owns, who acts, and on what: the tenant, the actor and the scope.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ActorId, Invalid, LbId, MeasureId, OrganizationId, Person, ProjectId, TokenId};

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

/// Who makes a change. Recorded in the ledger with every operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The token; `None` when the agent acts by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// Name of the token.
    pub name: String,
    /// What the token may do.
    pub role: Role,
    /// What the token may see, and where it may do that.
    pub reach: Reach,
}

impl Actor {
    /// The agent itself, doing what nobody asked for in a request.
    #[must_use]
    pub fn agent(name: impl Into<String>) -> Self {
        Self { token: None, name: name.into(), role: Role::Operator, reach: Reach::Fleet }
    }

    /// Somebody who edits one project.
    #[must_use]
    pub fn editor(name: impl Into<String>, owner: Owner) -> Self {
        Self { token: None, name: name.into(), role: Role::ProjectEditor, reach: Reach::Project { owner } }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.token.map_or_else(|| ActorId::Agent(self.name.clone()), ActorId::Token)
    }

    /// Who it is, as it is remembered.
    #[must_use]
    pub fn person(&self) -> Person {
        Person { id: self.id(), name: self.name.clone() }
    }

    /// The project of an actor that has exactly one.
    #[must_use]
    pub const fn project(&self) -> Option<Owner> {
        match self.reach {
            Reach::Project { owner } => Some(owner),
            Reach::Organization { .. } | Reach::Fleet => None,
        }
    }
}

/// A part of the fleet: where a document lies, or how far a token sees. It is no [`Scope`]: what sees everything still
/// names what it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Reach {
    /// One project.
    Project {
        /// The project.
        owner: Owner,
    },
    /// An organization and its projects.
    Organization {
        /// The organization.
        organization: OrganizationId,
    },
    /// Every organization.
    Fleet,
}

impl Reach {
    /// Whether another part lies within this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fleet, _) => true,
            (Self::Organization { organization }, Self::Organization { organization: other }) => organization == other,
            (Self::Organization { organization }, Self::Project { owner }) => *organization == owner.organization,
            (Self::Project { owner }, Self::Project { owner: other }) => owner == other,
            _ => false,
        }
    }

    /// The organization that it lies in; the fleet lies in none.
    #[must_use]
    pub const fn organization(&self) -> Option<OrganizationId> {
        match self {
            Self::Project { owner } => Some(owner.organization),
            Self::Organization { organization } => Some(*organization),
            Self::Fleet => None,
        }
    }

    /// Whether what a project owns lies within.
    #[must_use]
    pub fn covers_owner(&self, owner: Owner) -> bool {
        self.covers(&Self::Project { owner })
    }
}

/// What a token's holder may do, from the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the edges: everything, everywhere.
    Operator,
    /// Sees everything, and contains abuse; edits nothing.
    TrustSafety,
    /// Everything in one organization, its projects and tokens too.
    OrgAdmin,
    /// Edits the load balancers and addresses of a project.
    ProjectEditor,
    /// Sees, and changes nothing.
    Viewer,
}

/// Kinds of deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Looking.
    Read,
    /// Making, changing and deleting load balancers, addresses and what belongs to them.
    Edit,
    /// Making and deleting projects and tokens; organizations too for whoever reaches the fleet.
    Administer,
    /// Containing abuse: quarantine, removal.
    Contain,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Operator, Self::TrustSafety, Self::OrgAdmin, Self::ProjectEditor, Self::Viewer];

    /// Whether it may do something, where it reaches.
    #[must_use]
    pub const fn may(self, act: Act) -> bool {
        match self {
            Self::Operator => true,
            Self::TrustSafety => matches!(act, Act::Read | Act::Contain),
            Self::OrgAdmin => matches!(act, Act::Read | Act::Edit | Act::Administer),
            Self::ProjectEditor => matches!(act, Act::Read | Act::Edit),
            Self::Viewer => matches!(act, Act::Read),
        }
    }

    /// Whether a token of this role may have a reach.
    #[must_use]
    pub const fn fits(self, reach: &Reach) -> bool {
        match self {
            Self::Operator | Self::TrustSafety => matches!(reach, Reach::Fleet),
            Self::OrgAdmin => matches!(reach, Reach::Organization { .. }),
            Self::ProjectEditor => matches!(reach, Reach::Project { .. }),
            Self::Viewer => true,
        }
    }

    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::TrustSafety => "trust-safety",
            Self::OrgAdmin => "org-admin",
            Self::ProjectEditor => "project-editor",
            Self::Viewer => "viewer",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            Invalid::constraint(format!("`{text}` is no role: {} are", Self::ALL.map(Self::as_str).join(", ")))
        })
    }
}

/// What a change may touch. There is no "everything": absent, empty and wildcard scopes cannot be built.
///
/// ```
/// # use lb_userspace::model::{ProjectId, Scope};
/// let one: Scope = Scope::Project { project: ProjectId::new() };
/// ```
///
/// ```compile_fail,E0599
/// # use lb_userspace::model::{ProjectId, Scope};
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
    /// One organization: itself, its projects and what they own.
    Organization {
        /// The organization.
        organization: OrganizationId,
    },
    /// One token.
    Token {
        /// The token.
        token: TokenId,
    },
    /// One measure against harm.
    Measure {
        /// The measure.
        measure: MeasureId,
    },
}

impl Scope {
    /// The project that it lies in, if it lies in one.
    #[must_use]
    pub const fn project(&self) -> Option<ProjectId> {
        match self {
            Self::Lb { project, .. } | Self::Lbs { project, .. } | Self::Project { project } => Some(*project),
            Self::Organization { .. } | Self::Token { .. } | Self::Measure { .. } => None,
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
