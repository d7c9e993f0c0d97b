//! A document: any resource, as the ledger stores it before and after a change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Acl, Backend, Dependent, Frontend, Ip, Lb, LbId, Measure, NatSource, Organization, Project, Subscriber, Token,
};

/// When a resource was made, last changed, and deleted.
///
/// A deleted resource is a tombstone: it stays in the ledger and in the snapshot until a planned purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// When it left the snapshot. The log still has it, and so has a backup made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_at: Option<Timestamp>,
}

impl Times {
    /// Times of something made `now`.
    #[must_use]
    pub const fn created(now: Timestamp) -> Self {
        Self { created_at: now, updated_at: now, deleted_at: None, purged_at: None }
    }

    /// The same, changed `now`.
    #[must_use]
    pub const fn updated(self, now: Timestamp) -> Self {
        Self { updated_at: now, ..self }
    }

    /// The same, deleted `now`. Nothing else differs: brought back, it is what it was to the byte.
    #[must_use]
    pub const fn deleted(self, now: Timestamp) -> Self {
        Self { deleted_at: Some(now), ..self }
    }

    /// The same, purged `now`. Nothing else differs.
    #[must_use]
    pub const fn purged(self, now: Timestamp) -> Self {
        Self { purged_at: Some(now), ..self }
    }

    /// Whether it is neither deleted nor purged.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.deleted_at.is_none() && self.purged_at.is_none()
    }
}

/// Kind of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// [`Ip`].
    Ip,
    /// [`Lb`].
    Lb,
    /// [`Frontend`].
    Frontend,
    /// [`Backend`].
    Backend,
    /// [`Measure`].
    Measure,
    /// [`Acl`].
    Acl,
    /// [`NatSource`].
    NatSource,
    /// [`Organization`].
    Organization,
    /// [`Project`].
    Project,
    /// [`Token`].
    Token,
    /// [`Subscriber`].
    Subscriber,
    /// [`Dependent`].
    Dependent,
}

/// Kind and id of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocumentKey {
    /// Kind.
    pub kind: Kind,
    /// Id.
    pub id: uuid::Uuid,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Ip,
        Self::Lb,
        Self::Frontend,
        Self::Backend,
        Self::Measure,
        Self::Acl,
        Self::NatSource,
        Self::Organization,
        Self::Project,
        Self::Token,
        Self::Subscriber,
        Self::Dependent,
    ];

    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Lb => "lb",
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Measure => "measure",
            Self::Acl => "acl",
            Self::NatSource => "nat_source",
            Self::Organization => "organization",
            Self::Project => "project",
            Self::Token => "token",
            Self::Subscriber => "subscriber",
            Self::Dependent => "dependent",
        }
    }
}

impl std::fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}

/// Any resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "document")]
pub enum Document {
    /// A flexible IP.
    Ip(Ip),
    /// A load balancer.
    Lb(Lb),
    /// A frontend.
    Frontend(Frontend),
    /// A backend pool.
    Backend(Backend),
    /// A measure against harm.
    Measure(Measure),
    /// A rule of an access list.
    Acl(Acl),
    /// A source address of translated flows.
    NatSource(NatSource),
    /// An organization.
    Organization(Organization),
    /// A project.
    Project(Project),
    /// A token.
    Token(Token),
    /// A subscriber of load balancers.
    Subscriber(Subscriber),
    /// Something that depends on load balancers.
    Dependent(Dependent),
}

impl Document {
    /// Kind and id.
    #[must_use]
    pub const fn key(&self) -> DocumentKey {
        match self {
            Self::Ip(ip) => DocumentKey { kind: Kind::Ip, id: ip.id.as_uuid() },
            Self::Lb(lb) => DocumentKey { kind: Kind::Lb, id: lb.id.as_uuid() },
            Self::Frontend(frontend) => DocumentKey { kind: Kind::Frontend, id: frontend.id.as_uuid() },
            Self::Backend(backend) => DocumentKey { kind: Kind::Backend, id: backend.id.as_uuid() },
            Self::Measure(measure) => DocumentKey { kind: Kind::Measure, id: measure.id.as_uuid() },
            Self::Acl(acl) => DocumentKey { kind: Kind::Acl, id: acl.id.as_uuid() },
            Self::NatSource(source) => DocumentKey { kind: Kind::NatSource, id: source.id.as_uuid() },
            Self::Organization(organization) => DocumentKey { kind: Kind::Organization, id: organization.id.as_uuid() },
            Self::Project(project) => DocumentKey { kind: Kind::Project, id: project.owner.project.as_uuid() },
            Self::Token(token) => DocumentKey { kind: Kind::Token, id: token.id.as_uuid() },
            Self::Subscriber(subscriber) => DocumentKey { kind: Kind::Subscriber, id: subscriber.id.as_uuid() },
            Self::Dependent(dependent) => DocumentKey { kind: Kind::Dependent, id: dependent.id.as_uuid() },
        }
    }

    /// Created, updated, deleted.
    #[must_use]
    pub const fn times(&self) -> &Times {
        match self {
            Self::Ip(ip) => &ip.times,
            Self::Lb(lb) => &lb.times,
            Self::Frontend(frontend) => &frontend.times,
            Self::Backend(backend) => &backend.times,
            Self::Measure(measure) => &measure.times,
            Self::Acl(acl) => &acl.times,
            Self::NatSource(source) => &source.times,
            Self::Organization(organization) => &organization.times,
            Self::Project(project) => &project.times,
            Self::Token(token) => &token.times,
            Self::Subscriber(subscriber) => &subscriber.times,
            Self::Dependent(dependent) => &dependent.times,
        }
    }

    /// Created, updated, deleted, to be changed.
    #[must_use]
    pub const fn times_mut(&mut self) -> &mut Times {
        match self {
            Self::Ip(ip) => &mut ip.times,
            Self::Lb(lb) => &mut lb.times,
            Self::Frontend(frontend) => &mut frontend.times,
            Self::Backend(backend) => &mut backend.times,
            Self::Acl(acl) => &mut acl.times,
            Self::NatSource(source) => &mut source.times,
            Self::Measure(measure) => &mut measure.times,
            Self::Organization(organization) => &mut organization.times,
            Self::Project(project) => &mut project.times,
            Self::Token(token) => &mut token.times,
            Self::Subscriber(subscriber) => &mut subscriber.times,
            Self::Dependent(dependent) => &mut dependent.times,
        }
    }

    /// What people call it: its name, or of an IP its address.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Ip(ip) => ip.address.to_string(),
            Self::Lb(lb) => lb.name.to_string(),
            Self::Frontend(frontend) => frontend.name.to_string(),
            Self::Backend(backend) => backend.name.to_string(),
            Self::Acl(acl) => acl.name.to_string(),
            Self::NatSource(source) => source.address.to_string(),
            Self::Measure(measure) => measure.what.word().to_owned(),
            Self::Organization(organization) => organization.name.to_string(),
            Self::Project(project) => project.name.to_string(),
            Self::Token(token) => token.name.to_string(),
            Self::Subscriber(subscriber) => subscriber.name.to_string(),
            Self::Dependent(dependent) => dependent.name.to_string(),
        }
    }

    /// The load balancer that it is, belongs to, or is attached to.
    #[must_use]
    pub const fn lb(&self) -> Option<LbId> {
        match self {
            Self::Ip(ip) => ip.lb,
            Self::Lb(lb) => Some(lb.id),
            Self::Frontend(frontend) => Some(frontend.lb),
            Self::Backend(backend) => Some(backend.lb),
            Self::Acl(acl) => Some(acl.lb),
            Self::Measure(_)
            | Self::NatSource(_)
            | Self::Organization(_)
            | Self::Project(_)
            | Self::Token(_)
            | Self::Subscriber(_)
            | Self::Dependent(_) => None,
        }
    }
}
