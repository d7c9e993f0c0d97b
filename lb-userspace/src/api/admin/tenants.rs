//! What the handlers of organizations, projects and tokens share.

use crate::api::change::update;
use crate::api::etag::{self, IfMatch};
use crate::api::{ApiError, Context, wire};
use crate::authority::{Denied, Write};
use crate::ledger::Change;
use crate::model::{Document, DocumentKey, Kind, Name, Organization, Project, Reach, Times, Token};

pub(super) const fn key(kind: Kind, id: uuid::Uuid) -> DocumentKey {
    DocumentKey { kind, id }
}

/// A right, or the error of somebody who does not have it.
pub(super) fn right(write: Result<Write, Denied>, key: DocumentKey) -> Result<Write, ApiError> {
    write.map_err(|denied| ApiError::denied(denied, key))
}

/// The deletion of a document at the version that a request names; nothing, of one that is deleted.
pub(super) fn tombstone(
    if_match: &IfMatch,
    before: Document,
    version: &impl serde::Serialize,
    now: jiff::Timestamp,
) -> Result<Vec<Change>, ApiError> {
    if_match.check(before.key(), version)?;
    if !before.times().is_live() {
        return Ok(Vec::new());
    }
    let mut after = before.clone();
    let times = after.times_mut();
    *times = times.deleted(now);
    Ok(vec![update(before, after)])
}

/// Times of something that is renamed, if that changes it.
pub(super) fn renamed(before: &Name, times: Times, after: &Name, now: jiff::Timestamp) -> Times {
    if before == after { times } else { times.updated(now) }
}

pub(super) fn organization(organization: &Organization) -> wire::Organization {
    wire::Organization {
        id: organization.id,
        name: organization.name.to_string(),
        created_at: organization.times.created_at,
        updated_at: organization.times.updated_at,
        deleted_at: organization.times.deleted_at,
        etag: etag::of(organization),
    }
}

pub(super) fn project(project: &Project) -> wire::Project {
    wire::Project {
        id: project.owner.project,
        organization_id: project.owner.organization,
        name: project.name.to_string(),
        created_at: project.times.created_at,
        updated_at: project.times.updated_at,
        deleted_at: project.times.deleted_at,
        etag: etag::of(project),
    }
}

pub(super) fn token(context: &Context, token: &Token) -> wire::Token {
    let (organization_id, project_id) = match token.reach {
        Reach::Project { owner } => (Some(owner.organization), Some(owner.project)),
        Reach::Organization { organization } => (Some(organization), None),
        Reach::Fleet => (None, None),
    };
    wire::Token {
        id: token.id,
        name: token.name.to_string(),
        role: token.role,
        organization_id,
        project_id,
        expires_at: token.expires_at,
        made_by: token.made_by,
        last_used_at: context.last_used.of(token.id),
        created_at: token.times.created_at,
        revoked_at: token.times.deleted_at,
        secret: None,
        etag: etag::of(token),
    }
}
