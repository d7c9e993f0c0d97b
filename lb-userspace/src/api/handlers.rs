//! The handlers of Scaleway's paths, one file per noun.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use super::body::wrong;
use super::parse;
use super::{ApiError, Context};
use crate::ledger::Snapshot;
use crate::model::{
    Acl, AclId, Actor, Backend, BackendId, DocumentKey, Frontend, FrontendId, Invalid, Ip, IpId, Kind, Lb, LbId, Scope,
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

    fn parse<T: std::str::FromStr<Err = Invalid>>(&self, argument: &str) -> Result<T, ApiError> {
        parse::id(&self.id).map_err(|invalid| ApiError::argument(argument, &invalid))
    }
}

/// A load balancer of the actor's project, also a deleted one.
fn find_lb(snapshot: &Snapshot, actor: &Actor, id: LbId) -> Result<Arc<Lb>, ApiError> {
    let found = snapshot.lb(id).filter(|lb| lb.owner == actor.owner);
    found.cloned().ok_or_else(|| missing(Kind::Lb, id.as_uuid()))
}

fn find_ip(snapshot: &Snapshot, actor: &Actor, id: IpId) -> Result<Arc<Ip>, ApiError> {
    let found = snapshot.ip(id).filter(|ip| ip.owner == actor.owner && ip.times.is_live());
    found.cloned().ok_or_else(|| missing(Kind::Ip, id.as_uuid()))
}

fn find_frontend(snapshot: &Snapshot, actor: &Actor, id: FrontendId) -> Result<Arc<Frontend>, ApiError> {
    let found =
        snapshot.frontend(id).filter(|frontend| frontend.times.is_live() && is_own(snapshot, actor, frontend.lb));
    found.cloned().ok_or_else(|| missing(Kind::Frontend, id.as_uuid()))
}

fn find_backend(snapshot: &Snapshot, actor: &Actor, id: BackendId) -> Result<Arc<Backend>, ApiError> {
    let found = snapshot.backend(id).filter(|backend| backend.times.is_live() && is_own(snapshot, actor, backend.lb));
    found.cloned().ok_or_else(|| missing(Kind::Backend, id.as_uuid()))
}

fn find_acl(snapshot: &Snapshot, actor: &Actor, id: AclId) -> Result<Arc<Acl>, ApiError> {
    let found = snapshot.acl(id).filter(|acl| acl.times.is_live() && is_own(snapshot, actor, acl.lb));
    found.cloned().ok_or_else(|| missing(Kind::Acl, id.as_uuid()))
}

fn is_own(snapshot: &Snapshot, actor: &Actor, lb: LbId) -> bool {
    snapshot.lb(lb).is_some_and(|lb| lb.owner == actor.owner)
}

fn missing(kind: Kind, id: uuid::Uuid) -> ApiError {
    ApiError::not_found(key(kind, id))
}

const fn key(kind: Kind, id: uuid::Uuid) -> DocumentKey {
    DocumentKey { kind, id }
}

const fn in_lb(actor: &Actor, lb: LbId) -> Scope {
    Scope::Lb { lb, project: actor.owner.project }
}

const fn in_project(actor: &Actor) -> Scope {
    Scope::Project { project: actor.owner.project }
}

fn now(context: &Context) -> jiff::Timestamp {
    (context.clock)()
}
