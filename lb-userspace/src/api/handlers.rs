//! The handlers of Scaleway's paths, one file per noun.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use super::body::wrong;
use super::listing::Pairs;
use super::parse::{self, Arguments};
use super::{ApiError, Context};
use crate::authority::{Sight, Write};
use crate::ledger::Snapshot;
use crate::model::{
    Acl, AclId, Act, Actor, Backend, BackendId, DocumentKey, Frontend, FrontendId, Invalid, Ip, IpId, Kind, Lb, LbId,
    ProjectId, Scope, Times,
};

pub(super) mod absent;
pub(super) mod acls;
mod allocate;
pub(super) mod backends;
pub(super) mod frontends;
pub(super) mod health_checks;
pub(super) mod ips;
pub(super) mod lb_types;
pub(super) mod lbs;
pub(super) mod migrate;
pub(super) mod servers;
pub(super) mod stats;
pub(super) mod subscribers;
pub(super) mod undelete;

/// Whether something that is deleted is there for a request: for a reader who asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It is not.
    Live,
    /// It is: `deleted=true`.
    Deleted,
}

impl Life {
    /// Reads `deleted` out of a query.
    pub(super) fn of(pairs: &Pairs, arguments: &mut Arguments) -> Self {
        if pairs.flag(arguments, "deleted") { Self::Deleted } else { Self::Live }
    }

    pub(super) const fn counts(self, times: Times) -> bool {
        matches!(self, Self::Deleted) || times.is_live()
    }
}

/// A query that says nothing but `deleted`.
impl<S: Send + Sync> FromRequestParts<S> for Life {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let pairs = Pairs::from_request_parts(parts, state).await?.known(&["deleted"])?;
        let mut arguments = Arguments::default();
        let life = Self::of(&pairs, &mut arguments);
        arguments.finish()?;
        Ok(life)
    }
}

/// The `{id}` of a path; the zone was looked at before.
#[derive(Debug, Deserialize)]
pub(super) struct Id {
    id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::from_request_parts(parts, state).await.map(|Path(id)| id).map_err(|rejection| {
            ApiError::arguments(vec![wrong("path", "format", format!("the path cannot be read: {rejection}"))])
        })
    }
}

impl Id {
    /// What stands in the path.
    pub(super) fn text(&self) -> &str {
        &self.id
    }

    pub(super) fn parse<T: std::str::FromStr<Err = Invalid>>(&self, argument: &str) -> Result<T, ApiError> {
        parse::id(&self.id).map_err(|invalid| ApiError::argument(argument, &invalid))
    }
}

/// A load balancer that the actor sees, also a deleted one.
fn find_lb(snapshot: &Snapshot, actor: &Actor, id: LbId) -> Result<Arc<Lb>, ApiError> {
    Sight::new(snapshot, actor).lb(id).cloned().ok_or_else(|| missing(Kind::Lb, id.as_uuid()))
}

fn find_ip(snapshot: &Snapshot, actor: &Actor, id: IpId, life: Life) -> Result<Arc<Ip>, ApiError> {
    let found = Sight::new(snapshot, actor).ip(id).filter(|ip| life.counts(ip.times));
    found.cloned().ok_or_else(|| missing(Kind::Ip, id.as_uuid()))
}

fn find_frontend(snapshot: &Snapshot, actor: &Actor, id: FrontendId, life: Life) -> Result<Arc<Frontend>, ApiError> {
    let found = Sight::new(snapshot, actor).frontend(id).filter(|frontend| life.counts(frontend.times));
    found.cloned().ok_or_else(|| missing(Kind::Frontend, id.as_uuid()))
}

fn find_backend(snapshot: &Snapshot, actor: &Actor, id: BackendId, life: Life) -> Result<Arc<Backend>, ApiError> {
    let found = Sight::new(snapshot, actor).backend(id).filter(|backend| life.counts(backend.times));
    found.cloned().ok_or_else(|| missing(Kind::Backend, id.as_uuid()))
}

fn find_acl(snapshot: &Snapshot, actor: &Actor, id: AclId, life: Life) -> Result<Arc<Acl>, ApiError> {
    let found = Sight::new(snapshot, actor).acl(id).filter(|acl| life.counts(acl.times));
    found.cloned().ok_or_else(|| missing(Kind::Acl, id.as_uuid()))
}

fn missing(kind: Kind, id: uuid::Uuid) -> ApiError {
    ApiError::not_found(key(kind, id))
}

const fn key(kind: Kind, id: uuid::Uuid) -> DocumentKey {
    DocumentKey { kind, id }
}

/// The right to edit a load balancer.
fn in_lb(current: &Snapshot, actor: &Actor, lb: LbId) -> Result<Write, ApiError> {
    let project = find_lb(current, actor, lb)?.owner.project;
    let write = Write::authorize(current, actor, Act::Edit, Scope::Lb { lb, project });
    write.map_err(|denied| ApiError::denied(denied, key(Kind::Lb, lb.as_uuid())))
}

/// The right to edit what a project owns.
fn in_project(current: &Snapshot, actor: &Actor, project: ProjectId) -> Result<Write, ApiError> {
    let write = Write::authorize(current, actor, Act::Edit, Scope::Project { project });
    write.map_err(|denied| ApiError::denied(denied, key(Kind::Project, project.as_uuid())))
}

fn now(context: &Context) -> jiff::Timestamp {
    (context.clock)()
}
