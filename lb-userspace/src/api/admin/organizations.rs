//! `/snowshed/v1/organizations`: the tenants. Operators make them; everybody sees his own.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::tenants::{key, organization, renamed, right, tombstone};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, commit, create as created, run, update as updated};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::handlers::Id;
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::{ApiError, Context, wire};
use crate::authority::{self, Sight, Write};
use crate::ledger::Snapshot;
use crate::model::{Act, Actor, Document, Kind, Name, Organization, OrganizationId, Scope, Times};

/// Makes an organization.
#[utoipa::path(
    post, path = "/snowshed/v1/organizations",
    request_body = wire::tenancy::Named,
    responses((status = 200, body = wire::Organization))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<wire::tenancy::Named>,
) -> Result<Versioned<wire::Organization>, ApiError> {
    run(&context, move |context| {
        let id = OrganizationId::new();
        let key = key(Kind::Organization, id.as_uuid());
        let authority = right(Write::new_organization(&actor, id), key)?;
        let mut arguments = Arguments::default();
        let name = arguments.needed("name", request.name, "1 to 255 characters", Name::try_from);
        let name = arguments.build(name)?;
        let made = Organization { id, name, times: Times::created((context.clock)()) };
        let change = created(Document::Organization(made));
        commit(
            context,
            &actor,
            "organization.create",
            |_| Ok(Draft { authority: authority.clone(), changes: vec![change.clone()] }),
            |after| show(after, &actor, id),
        )
    })
    .await
}

/// Shows an organization.
#[utoipa::path(get, path = "/snowshed/v1/organizations/{id}", responses((status = 200, body = wire::Organization)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
) -> Result<Versioned<wire::Organization>, ApiError> {
    show(&context.ledger.snapshot(), &actor, path.parse("organization_id")?)
}

/// Lists organizations.
#[utoipa::path(
    get, path = "/snowshed/v1/organizations",
    params(openapi::Paged, openapi::WithDeleted),
    responses((status = 200, body = wire::OrganizationList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<wire::OrganizationList>, ApiError> {
    let mut arguments = Arguments::default();
    let (listing, pairs) = Listing::read(pairs, &["deleted"], &mut arguments)?;
    let with_deleted = pairs.flag(&mut arguments, "deleted");
    arguments.finish()?;
    let snapshot = context.ledger.snapshot();
    let seen = Sight::new(&snapshot, &actor).organizations();
    let Page { items: page, total_count, next_cursor } =
        listing.page(seen.filter(|one| with_deleted || one.times.is_live()));
    let organizations = page.into_iter().map(|one| organization(one)).collect();
    Ok(Json(wire::OrganizationList { organizations, total_count, next_cursor }))
}

/// Renames an organization.
#[utoipa::path(
    patch, path = "/snowshed/v1/organizations/{id}",
    request_body = wire::tenancy::Named,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Organization))
)]
pub(in crate::api) async fn rename(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::tenancy::Named>,
) -> Result<Versioned<wire::Organization>, ApiError> {
    run(&context, move |context| {
        let id: OrganizationId = path.parse("organization_id")?;
        find(&context.ledger.snapshot(), &actor, id)?;
        let mut arguments = Arguments::default();
        let name = arguments.needed("name", request.name, "1 to 255 characters", Name::try_from);
        let name = arguments.build(name)?;
        commit(
            context,
            &actor,
            "organization.update",
            |current| {
                let before = find(current, &actor, id)?;
                let authority = authorize(current, &actor, id)?;
                if_match.check(key(Kind::Organization, id.as_uuid()), &*before)?;
                let times = renamed(&before.name, before.times, &name, (context.clock)());
                let after = Organization { name: name.clone(), times, ..(*before).clone() };
                let change = updated(Document::Organization((*before).clone()), Document::Organization(after));
                Ok(Draft { authority, changes: vec![change] })
            },
            |after| show(after, &actor, id),
        )
    })
    .await
}

/// Deletes an organization that holds nothing.
///
/// Deletes an organization that has no projects any more. Its tokens end with it.
#[utoipa::path(
    delete, path = "/snowshed/v1/organizations/{id}",
    params(openapi::IfMatch),
    responses((status = 204))
)]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let id: OrganizationId = path.parse("organization_id")?;
    run(&context, move |context| {
        commit(
            context,
            &actor,
            "organization.delete",
            |current| {
                let before = find(current, &actor, id)?;
                let authority = match before.times.is_live() {
                    true => authorize(current, &actor, id)?,
                    false => right(Write::new_organization(&actor, id), key(Kind::Organization, id.as_uuid()))?,
                };
                let left = current.tenants().projects_of(id).filter(|project| project.times.is_live()).count();
                if left > 0 {
                    let help = format!("{left} projects are in it: delete them first");
                    return Err(ApiError::in_use(key(Kind::Organization, id.as_uuid()), help));
                }
                let document = Document::Organization((*before).clone());
                let changes = tombstone(&if_match, document, &*before, (context.clock)())?;
                Ok(Draft { authority, changes })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

fn find(snapshot: &Snapshot, actor: &Actor, id: OrganizationId) -> Result<Arc<Organization>, ApiError> {
    let found = Sight::new(snapshot, actor).organization(id).cloned();
    found.ok_or_else(|| ApiError::not_found(key(Kind::Organization, id.as_uuid())))
}

/// The right to change what is seen; those who see it from within a project may not.
fn authorize(current: &Snapshot, actor: &Actor, id: OrganizationId) -> Result<Write, ApiError> {
    let key = key(Kind::Organization, id.as_uuid());
    authority::may(actor, Act::Administer).map_err(|denied| ApiError::denied(denied, key))?;
    right(Write::authorize(current, actor, Act::Administer, Scope::Organization { organization: id }), key)
}

fn show(snapshot: &Snapshot, actor: &Actor, id: OrganizationId) -> Result<Versioned<wire::Organization>, ApiError> {
    find(snapshot, actor, id).map(|found| Versioned(organization(&found)))
}

impl Listed for &Arc<Organization> {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn created_at(&self) -> jiff::Timestamp {
        self.times.created_at
    }

    fn id(&self) -> uuid::Uuid {
        self.id.as_uuid()
    }
}
