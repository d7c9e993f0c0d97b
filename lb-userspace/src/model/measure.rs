//! A measure: something put in force to contain harm. A freeze, a quarantine, a plan of a removal, the release of
//! services that an edge holds, a purge that is announced.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ActorId, Generation, Invalid, Lb, LbId, MeasureId, OrganizationId, Owner, Person, ProjectId, Purge, Scope, Times,
};

/// A measure. Ending one is its tombstone; nothing of it is ever edited but the progress of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Id.
    pub id: MeasureId,
    /// Who put it in force.
    pub by: Person,
    /// Why, for people; never empty.
    pub reason: Reason,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What it is.
    pub what: What,
    /// Created, updated, ended.
    pub times: Times,
}

/// Why somebody does something: 1 to 1024 characters, not only blanks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(String);

/// What a measure does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum What {
    /// Read-only mode: operations are refused.
    Freeze {
        /// Where.
        place: Place,
        /// The verb that is refused; all of them when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verb: Option<String>,
        /// The operations that led to it, if a budget did.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        operations: Vec<Generation>,
    },
    /// Traffic is dropped in the data plane, and everything else stays as it is.
    Quarantine {
        /// Whose.
        place: Place,
    },
    /// Something to be done to many, or by Trust & Safety: first said, then done.
    Plan(Plan),
    /// Services that an edge holds against the ledger are let go.
    LetGo {
        /// Every service that is let go: `address port/protocol`.
        services: Vec<String>,
        /// Who agreed to it, beside whoever made it. Not the word of a plan: it is no leave to remove anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agreed_by: Option<Person>,
    },
    /// What was deleted long ago leaves the snapshot.
    Purge(Purge),
}

/// Where a freeze or a quarantine holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Place {
    /// One load balancer.
    Lb {
        /// The load balancer.
        lb: LbId,
    },
    /// One project.
    Project {
        /// The project.
        project: ProjectId,
    },
    /// One organization.
    Organization {
        /// The organization.
        organization: OrganizationId,
    },
    /// Everything that one token does; freezes only.
    Actor {
        /// The token.
        id: ActorId,
    },
    /// The whole zone; freezes only.
    Zone,
}

/// What would be done to which load balancers, as they were when it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What is done to each.
    pub action: Action,
    /// The load balancers, each with the generation of its last change. A plan whose subjects changed is stale.
    pub subjects: BTreeMap<LbId, Generation>,
    /// The selector it was made from, for people.
    pub selector: String,
    /// The place as a whole, when a quarantine or a release is of one: whatever stands there then, and later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The undo or the restore that it carries out, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Who agreed to it, beside whoever made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<Person>,
    /// When it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Timestamp>,
}

/// An undo or a restore that a second person is to approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// What becomes what it was.
    pub of: Recovered,
    /// Names every change that was shown: others are not made.
    pub digest: String,
    /// Load balancers that it takes out of service.
    pub out_of_service: usize,
}

/// What a recovery brings back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Recovered {
    /// What was before an operation.
    Undo {
        /// The operation.
        operation: Generation,
    },
    /// A scope as it was.
    Restore {
        /// The last operation that counts.
        at: Generation,
        /// What is restored.
        scope: Scope,
    },
}

impl Recovered {
    /// Verb of the operation that carries it out.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Undo { .. } => "undo",
            Self::Restore { .. } => "restore",
        }
    }
}

/// What a plan does to each of its load balancers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A tombstone, which forwards through its grace.
    Delete,
    /// The load balancer's traffic is dropped.
    Quarantine,
    /// The end of its quarantine.
    Release,
    /// What was deleted lives again.
    Undelete,
    /// What an undo or a restore says ([`Plan::recovery`]).
    Recover,
}

impl Action {
    /// Every action that can be asked for by its word.
    pub const ALL: [Self; 4] = [Self::Delete, Self::Quarantine, Self::Release, Self::Undelete];

    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Quarantine => "quarantine",
            Self::Release => "release",
            Self::Undelete => "undelete",
            Self::Recover => "recover",
        }
    }

    /// Verb of the operation that carries a plan out.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Delete => "lb.delete",
            Self::Quarantine => "lb.quarantine",
            Self::Release => "lb.release",
            Self::Undelete => "lb.undelete",
            Self::Recover => "recover",
        }
    }
}

impl std::str::FromStr for Action {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or_else(|| {
            Invalid::constraint(format!("`{text}` is no action: {} are", Self::ALL.map(Self::as_str).join(", ")))
        })
    }
}

impl What {
    /// The word for what it is.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Freeze { .. } => "freeze",
            Self::Quarantine { .. } => "quarantine",
            Self::Plan(_) => "plan",
            Self::LetGo { .. } => "let_go",
            Self::Purge(_) => "purge",
        }
    }
}

impl Measure {
    /// How long one that has ended is kept: longer than what it deleted can be brought back. The log has it for ever.
    pub const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

    /// When it ended or ends, as far as that is known: it was ended, it expires, or it was carried out.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        let is_done = match &self.what {
            What::Plan(plan) => plan.applied_at,
            What::Purge(purge) => purge.applied_at,
            What::Freeze { .. } | What::Quarantine { .. } | What::LetGo { .. } => None,
        };
        self.times.deleted_at.or(is_done).or(self.expires_at)
    }

    /// Whether it is in force: neither ended nor expired.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.times.is_live() && self.expires_at.is_none_or(|end| end > now)
    }

    /// Where it holds, if it is a freeze or a quarantine.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        match &self.what {
            What::Freeze { place, .. } | What::Quarantine { place } => Some(place),
            What::Plan(_) | What::LetGo { .. } | What::Purge(_) => None,
        }
    }

    /// Whether a second person must agree, and nobody has: it does nothing yet.
    #[must_use]
    pub fn waits_for_approval(&self) -> bool {
        match &self.what {
            What::Plan(plan) => plan.needs_approval() && !plan.is_approved(),
            What::LetGo { services, agreed_by } => services.len() > Plan::ALONE && agreed_by.is_none(),
            What::Freeze { .. } | What::Quarantine { .. } | What::Purge(_) => false,
        }
    }

    /// The purge it is, if it is one.
    #[must_use]
    pub const fn purge(&self) -> Option<&Purge> {
        match &self.what {
            What::Purge(purge) => Some(purge),
            _ => None,
        }
    }

    /// The plan it is, if it is one.
    #[must_use]
    pub const fn plan(&self) -> Option<&Plan> {
        match &self.what {
            What::Plan(plan) => Some(plan),
            _ => None,
        }
    }
}

impl Place {
    /// Whether what a load balancer is and has lies in this place.
    #[must_use]
    pub fn covers(&self, lb: &Lb) -> bool {
        match self {
            Self::Lb { lb: id } => *id == lb.id,
            Self::Project { project } => *project == lb.owner.project,
            Self::Organization { organization } => *organization == lb.owner.organization,
            Self::Actor { .. } => false,
            Self::Zone => true,
        }
    }

    /// Whether what an owner has lies in this place.
    #[must_use]
    pub fn covers_owner(&self, owner: Owner) -> bool {
        match self {
            Self::Lb { .. } | Self::Actor { .. } => false,
            Self::Project { project } => *project == owner.project,
            Self::Organization { organization } => *organization == owner.organization,
            Self::Zone => true,
        }
    }
}

/// `project 1111…`, `zone`.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lb { lb } => write!(f, "load balancer {lb}"),
            Self::Project { project } => write!(f, "project {project}"),
            Self::Organization { organization } => write!(f, "organization {organization}"),
            Self::Actor { id } => write!(f, "{id}"),
            Self::Zone => f.write_str("the zone"),
        }
    }
}

impl Plan {
    /// Most subjects that need nobody's approval.
    pub const ALONE: usize = 10;
    /// How long a plan can be carried out.
    pub const KEEPS: jiff::SignedDuration = jiff::SignedDuration::from_mins(15);

    /// Verb of the operation that carries it out.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.recovery.as_ref().map_or_else(|| self.action.verb(), |recovery| recovery.of.verb())
    }

    /// Whether a second person must agree.
    #[must_use]
    pub fn needs_approval(&self) -> bool {
        self.recovery.as_ref().map_or(self.subjects.len(), |recovery| recovery.out_of_service) > Self::ALONE
    }

    /// Whether a second person agreed.
    #[must_use]
    pub const fn is_approved(&self) -> bool {
        self.approved_by.is_some()
    }

    /// SHA-256 over action, ids and versions, hexadecimal: two plans with the same do the same.
    #[must_use]
    pub fn digest(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut hasher = Sha256::new();
        hasher.update(self.action.as_str());
        for (lb, generation) in &self.subjects {
            hasher.update(lb.as_uuid().as_bytes());
            hasher.update(generation.0.to_be_bytes());
        }
        for text in self.place.iter().map(ToString::to_string).chain(self.recovery.iter().map(|it| it.digest.clone())) {
            hasher.update(text);
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Reason {
    /// Most characters.
    pub const MAX_CHARS: usize = 1024;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Reason {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let count = text.chars().count();
        if text.trim().is_empty() || count > Self::MAX_CHARS || text.chars().any(char::is_control) {
            return Err(Invalid::constraint(format!(
                "a reason in 1 to {} characters, without control characters, is expected: people will read it",
                Self::MAX_CHARS
            )));
        }
        Ok(Self(text))
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}
