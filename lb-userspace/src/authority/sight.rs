//! What an actor sees of a snapshot: everything that handlers read goes through this.

use std::sync::Arc;

use crate::ledger::{Operation, Snapshot};
use crate::model::{
    Acl, AclId, Actor, Backend, BackendId, Document, Frontend, FrontendId, Ip, IpId, Lb, LbId, Organization,
    OrganizationId, Owner, Project, ProjectId, Reach, Scope, Subscriber, SubscriberId, Token, TokenId,
};

/// A snapshot through the eyes of an actor.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    snapshot: &'a Snapshot,
    reach: Reach,
}

impl<'a> Sight<'a> {
    /// What this actor sees.
    #[must_use]
    pub const fn new(snapshot: &'a Snapshot, actor: &Actor) -> Self {
        Self { snapshot, reach: actor.reach }
    }

    /// The part of it that two filters leave. They narrow and never widen: what lies elsewhere is nothing.
    #[must_use]
    pub fn narrowed(self, organization: Option<OrganizationId>, project: Option<ProjectId>) -> Option<Self> {
        let mut reach = self.reach;
        if let Some(organization) = organization {
            let asked = Reach::Organization { organization };
            reach = match reach {
                Reach::Project { owner } => (owner.organization == organization).then_some(reach)?,
                _ => reach.covers(&asked).then_some(asked)?,
            };
        }
        if let Some(project) = project {
            let owner = self.owner_of(project)?;
            reach = reach.covers_owner(owner).then_some(Reach::Project { owner })?;
        }
        Some(Self { reach, ..self })
    }

    /// A project's owner pair; an actor's own is known without the ledger.
    fn owner_of(self, project: ProjectId) -> Option<Owner> {
        match self.reach {
            Reach::Project { owner } => (owner.project == project).then_some(owner),
            _ => self.snapshot.tenants().project(project).map(|project| project.owner),
        }
    }

    /// Whether a project lies within.
    #[must_use]
    pub fn sees_project(self, project: ProjectId) -> bool {
        matches!(self.reach, Reach::Fleet) || self.owner_of(project).is_some_and(|owner| self.reach.covers_owner(owner))
    }

    /// Whether a scope lies within.
    #[must_use]
    pub fn sees(self, scope: &Scope) -> bool {
        match *scope {
            Scope::Measure { measure } => {
                let measure = self.snapshot.measure(measure);
                let reach = measure.and_then(|measure| super::measure_reach(self.snapshot, measure));
                reach.is_some_and(|reach| self.reach.covers(&reach))
            }
            Scope::Lb { project, .. } | Scope::Lbs { project, .. } | Scope::Project { project } => {
                self.sees_project(project)
            }
            Scope::Organization { organization } => self.reach.covers(&Reach::Organization { organization }),
            Scope::Token { token } => self.token(token).is_some(),
        }
    }

    /// An operation as far as it lies within: all of it, or of one that was done to a whole organization what was done to
    /// the actor's own project.
    #[must_use]
    pub fn part_of(self, operation: Operation) -> Option<Operation> {
        if matches!(self.reach, Reach::Fleet) || self.sees(&operation.scope) {
            return Some(operation);
        }
        let Scope::Organization { .. } = operation.scope else { return None };
        let mut part = operation;
        part.changes.retain(|change| self.sees_document(&change.after));
        part.removed.retain(|removed| self.reach.covers_owner(removed.owner));
        (!part.changes.is_empty()).then_some(part)
    }

    /// Whether a document of a project, or a measure there, lies within.
    fn sees_document(self, document: &Document) -> bool {
        let owner = match document {
            Document::Ip(ip) => Some(ip.owner),
            Document::Subscriber(subscriber) => Some(subscriber.owner),
            Document::Dependent(dependent) => Some(dependent.owner),
            Document::Measure(measure) => {
                let reach = super::measure_reach(self.snapshot, measure);
                return reach.is_some_and(|reach| self.reach.covers(&reach));
            }
            document => document.lb().and_then(|lb| self.snapshot.lb(lb)).map(|lb| lb.owner),
        };
        owner.is_some_and(|owner| self.reach.covers_owner(owner))
    }

    /// A load balancer, also a deleted one.
    #[must_use]
    pub fn lb(self, id: LbId) -> Option<&'a Arc<Lb>> {
        self.snapshot.lb(id).filter(|lb| self.reach.covers_owner(lb.owner))
    }

    /// An IP, also a deleted one.
    #[must_use]
    pub fn ip(self, id: IpId) -> Option<&'a Arc<Ip>> {
        self.snapshot.ip(id).filter(|ip| self.reach.covers_owner(ip.owner))
    }

    /// The IP that holds an address, also a deleted one.
    #[must_use]
    pub fn ip_with_address(self, address: std::net::IpAddr) -> Option<&'a Arc<Ip>> {
        self.snapshot.ip_with_address(address).filter(|ip| self.reach.covers_owner(ip.owner))
    }

    /// A frontend, also a deleted one.
    #[must_use]
    pub fn frontend(self, id: FrontendId) -> Option<&'a Arc<Frontend>> {
        self.snapshot.frontend(id).filter(|frontend| self.lb(frontend.lb).is_some())
    }

    /// A backend, also a deleted one.
    #[must_use]
    pub fn backend(self, id: BackendId) -> Option<&'a Arc<Backend>> {
        self.snapshot.backend(id).filter(|backend| self.lb(backend.lb).is_some())
    }

    /// A rule of an access list, also a deleted one.
    #[must_use]
    pub fn acl(self, id: AclId) -> Option<&'a Arc<Acl>> {
        self.snapshot.acl(id).filter(|acl| self.lb(acl.lb).is_some())
    }

    /// A subscriber, also a deleted one.
    #[must_use]
    pub fn subscriber(self, id: SubscriberId) -> Option<&'a Arc<Subscriber>> {
        self.snapshot.subscriber(id).filter(|subscriber| self.reach.covers_owner(subscriber.owner))
    }

    /// Subscribers, also deleted ones.
    pub fn subscribers(self) -> impl Iterator<Item = &'a Arc<Subscriber>> {
        self.snapshot.subscribers().filter(move |subscriber| self.reach.covers_owner(subscriber.owner))
    }

    /// Load balancers, also deleted ones; within a project in the order of the ids.
    pub fn lbs(self) -> impl Iterator<Item = &'a Arc<Lb>> {
        let snapshot = self.snapshot;
        let all = matches!(self.reach, Reach::Fleet).then(|| snapshot.lbs()).into_iter().flatten();
        all.chain(self.own_projects().into_iter().flat_map(move |project| snapshot.lbs_in(project)))
            .filter(move |lb| self.reach.covers_owner(lb.owner))
    }

    /// IPs, also deleted ones; within a project in the order of the ids.
    pub fn ips(self) -> impl Iterator<Item = &'a Arc<Ip>> {
        let snapshot = self.snapshot;
        let all = matches!(self.reach, Reach::Fleet).then(|| snapshot.ips()).into_iter().flatten();
        all.chain(self.own_projects().into_iter().flat_map(move |project| snapshot.ips_in(project)))
            .filter(move |ip| self.reach.covers_owner(ip.owner))
    }

    /// The projects of a reach that is not the whole fleet.
    fn own_projects(self) -> Vec<ProjectId> {
        match self.reach {
            Reach::Project { owner } => vec![owner.project],
            Reach::Organization { organization } => {
                self.snapshot.tenants().projects_of(organization).map(|project| project.owner.project).collect()
            }
            Reach::Fleet => Vec::new(),
        }
    }

    /// An organization: the actor's own, or any for the fleet's actors; also a deleted one.
    #[must_use]
    pub fn organization(self, id: OrganizationId) -> Option<&'a Arc<Organization>> {
        self.snapshot.tenants().organization(id).filter(|organization| self.sees_organization(organization.id))
    }

    /// Organizations, also deleted ones.
    pub fn organizations(self) -> impl Iterator<Item = &'a Arc<Organization>> {
        let all = self.snapshot.tenants().organizations();
        all.filter(move |organization| self.sees_organization(organization.id))
    }

    fn sees_organization(self, id: OrganizationId) -> bool {
        match self.reach {
            // Whoever has a project knows the name of its organization.
            Reach::Project { owner } => owner.organization == id,
            _ => self.reach.covers(&Reach::Organization { organization: id }),
        }
    }

    /// A project, also a deleted one.
    #[must_use]
    pub fn project(self, id: ProjectId) -> Option<&'a Arc<Project>> {
        self.snapshot.tenants().project(id).filter(|project| self.reach.covers_owner(project.owner))
    }

    /// Projects, also deleted ones.
    pub fn projects(self) -> impl Iterator<Item = &'a Arc<Project>> {
        self.snapshot.tenants().projects().filter(move |project| self.reach.covers_owner(project.owner))
    }

    /// A token, also a revoked one.
    #[must_use]
    pub fn token(self, id: TokenId) -> Option<&'a Arc<Token>> {
        self.snapshot.tenants().token(id).filter(|token| self.reach.covers(&token.reach))
    }

    /// Tokens, also revoked ones.
    pub fn tokens(self) -> impl Iterator<Item = &'a Arc<Token>> {
        self.snapshot.tenants().tokens().filter(move |token| self.reach.covers(&token.reach))
    }
}
