//! Organizations, projects and tokens at one generation, tombstones included.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;

use crate::model::{
    Actor, Digest, Document, Organization, OrganizationId, Owner, Project, ProjectId, Reach, Token, TokenId,
};

/// The tenants and who may act for them.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    organizations: OrdMap<OrganizationId, Arc<Organization>>,
    projects: OrdMap<ProjectId, Arc<Project>>,
    projects_by_organization: OrdSet<(OrganizationId, ProjectId)>,
    tokens: OrdMap<TokenId, Arc<Token>>,
    tokens_by_digest: OrdMap<Digest, TokenId>,
}

impl Tenants {
    /// An organization, also a deleted one.
    #[must_use]
    pub fn organization(&self, id: OrganizationId) -> Option<&Arc<Organization>> {
        self.organizations.get(&id)
    }

    /// Every organization in the order of the ids, also deleted ones.
    pub fn organizations(&self) -> impl Iterator<Item = &Arc<Organization>> {
        self.organizations.values()
    }

    /// A project, also a deleted one.
    #[must_use]
    pub fn project(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.projects.get(&id)
    }

    /// Every project in the order of the ids, also deleted ones.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    /// Projects of an organization, also deleted ones.
    pub fn projects_of(&self, organization: OrganizationId) -> impl Iterator<Item = &Arc<Project>> {
        self.projects_by_organization
            .range((organization, ProjectId::from_uuid(uuid::Uuid::nil()))..)
            .take_while(move |(of, _)| *of == organization)
            .filter_map(|(_, id)| self.projects.get(id))
    }

    /// A token, also a revoked one.
    #[must_use]
    pub fn token(&self, id: TokenId) -> Option<&Arc<Token>> {
        self.tokens.get(&id)
    }

    /// Every token in the order of the ids, also revoked ones.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values()
    }

    /// The token whose secret has this digest, also a revoked one.
    #[must_use]
    pub fn token_with(&self, digest: &Digest) -> Option<&Arc<Token>> {
        self.tokens_by_digest.get(digest).and_then(|id| self.tokens.get(id))
    }

    /// Whether an organization and a project of it are there and not deleted.
    #[must_use]
    pub fn is_live(&self, owner: Owner) -> bool {
        self.project(owner.project).is_some_and(|project| project.owner == owner && project.times.is_live())
            && self.is_live_organization(owner.organization)
    }

    /// Whether an actor's token may still be used.
    #[must_use]
    pub fn holds(&self, actor: &Actor, now: Timestamp) -> bool {
        let token = actor.token.and_then(|id| self.token(id));
        token.is_some_and(|token| token.is_valid(now) && self.is_live_reach(&token.reach))
    }

    /// Whether all of a reach is there and not deleted.
    #[must_use]
    pub fn is_live_reach(&self, reach: &Reach) -> bool {
        match *reach {
            Reach::Project { owner } => self.is_live(owner),
            Reach::Organization { organization } => self.is_live_organization(organization),
            Reach::Fleet => true,
        }
    }

    fn is_live_organization(&self, id: OrganizationId) -> bool {
        self.organization(id).is_some_and(|organization| organization.times.is_live())
    }

    /// Takes a document in, if it is one of these.
    pub(super) fn put(&mut self, document: &Document) {
        match document {
            Document::Organization(organization) => {
                self.organizations.insert(organization.id, Arc::new(organization.clone()));
            }
            Document::Project(project) => {
                let Owner { organization, project: id } = project.owner;
                self.projects_by_organization.insert((organization, id));
                self.projects.insert(id, Arc::new(project.clone()));
            }
            Document::Token(token) => {
                if let Some(before) = self.tokens.insert(token.id, Arc::new(token.clone())) {
                    self.tokens_by_digest.remove(&before.digest);
                }
                self.tokens_by_digest.insert(token.digest, token.id);
            }
            Document::Measure(_)
            | Document::Ip(_)
            | Document::Lb(_)
            | Document::Frontend(_)
            | Document::Backend(_)
            | Document::Acl(_)
            | Document::NatSource(_)
            | Document::Subscriber(_)
            | Document::Dependent(_) => {}
        }
    }
}
