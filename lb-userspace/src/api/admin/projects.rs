//! `/snowshed/v1/projects`: what owns load balancers. Operators and the organization's administrators make them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::tenants::{key, project, renamed, right, tombstone};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, commit, create as created, run, update as updated};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::handlers::Id;
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::{Arguments, id};
use crate::api::{ApiError, Context, wire};
use crate::authority::{self, Sight, Write};
use crate::ledger::Snapshot;
use crate::model::{Act, Actor, Document, Invalid, Kind, Name, OrganizationId, Owner, Project, ProjectId};
use crate::model::{Reach, Scope, Times};

/// Makes a project.
#[utoipa::path(
    post, path = "/snowshed/v1/projects",
    request_body = wire::CreateProject,
    responses((status = 200, body = wire::Project))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<wire::CreateProject>,
) -> Result<Versioned<wire::Project>, ApiError> {
    run(&context, move |context| {
        let project = ProjectId::new();
        authority::may(&actor, Act::Administer)
            .map_err(|denied| ApiError::denied(denied, key(Kind::Project, project.as_uuid())))?;
        let mut arguments = Arguments::default();
        let name = arguments.needed("name", request.name, "1 to 255 characters", Name::try_from);
        let organization = organization(&mut arguments, &actor, request.organization_id);
        let (name, organization) = arguments.build(name.zip(organization))?;
        let owner = Owner { organization, project };
        let made = Project { owner, name, times: Times::created((context.clock)()) };
        commit(
            context,
            &actor,
            "project.create",
            |current| {
                let scope = Scope::Organization { organization };
                let authority = Write::authorize(current, &actor, Act::Administer, scope).map_err(|_| {
                    let help = format!("there is no organization {organization} for this token");
                    ApiError::argument("organization_id", &Invalid::constraint(help))
                })?;
                Ok(Draft { authority, changes: vec![created(Document::Project(made.clone()))] })
            },
            |after| show(after, &actor, project),
        )
    })
    .await
}

/// The organization that is named, or the token's own.
fn organization(arguments: &mut Arguments, actor: &Actor, named: Option<String>) -> Option<OrganizationId> {
    match (named, actor.reach) {
        (Some(text), _) => arguments.take("organization_id", id(&text)),
        (None, Reach::Organization { organization }) => Some(organization),
        (None, _) => {
            let help = "`organization_id` is needed: a token of the fleet has no organization of its own";
            arguments.wrong("organization_id", &Invalid::required(help));
            None
        }
    }
}

/// Shows a project.
#[utoipa::path(get, path = "/snowshed/v1/projects/{id}", responses((status = 200, body = wire::Project)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
) -> Result<Versioned<wire::Project>, ApiError> {
    show(&context.ledger.snapshot(), &actor, path.parse("project_id")?)
}

/// Lists projects.
#[utoipa::path(
    get, path = "/snowshed/v1/projects",
    params(openapi::Paged, openapi::OfOrganization, openapi::WithDeleted),
    responses((status = 200, body = wire::ProjectList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<wire::ProjectList>, ApiError> {
    let mut arguments = Arguments::default();
    let (listing, pairs) = Listing::read(pairs, &["organization_id", "deleted"], &mut arguments)?;
    let with_deleted = pairs.flag(&mut arguments, "deleted");
    arguments.finish()?;
    let snapshot = context.ledger.snapshot();
    let seen = listing.sight(&snapshot, &actor).into_iter().flat_map(Sight::projects);
    let Page { items: page, total_count, next_cursor } =
        listing.page(seen.filter(|one| with_deleted || one.times.is_live()));
    Ok(Json(wire::ProjectList {
        projects: page.into_iter().map(|one| project(one)).collect(),
        total_count,
        next_cursor,
    }))
}

/// Renames a project.
#[utoipa::path(
    patch, path = "/snowshed/v1/projects/{id}",
    request_body = wire::tenancy::Named,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Project))
)]
pub(in crate::api) async fn rename(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::tenancy::Named>,
) -> Result<Versioned<wire::Project>, ApiError> {
    run(&context, move |context| {
        let id: ProjectId = path.parse("project_id")?;
        find(&context.ledger.snapshot(), &actor, id)?;
        let mut arguments = Arguments::default();
        let name = arguments.needed("name", request.name, "1 to 255 characters", Name::try_from);
        let name = arguments.build(name)?;
        commit(
            context,
            &actor,
            "project.update",
            |current| {
                let before = find(current, &actor, id)?;
                let authority = authorize(current, &actor, &before)?;
                if_match.check(key(Kind::Project, id.as_uuid()), &*before)?;
                let times = renamed(&before.name, before.times, &name, (context.clock)());
                let after = Project { name: name.clone(), times, ..(*before).clone() };
                let change = updated(Document::Project((*before).clone()), Document::Project(after));
                Ok(Draft { authority, changes: vec![change] })
            },
            |after| show(after, &actor, id),
        )
    })
    .await
}

/// Deletes a project that holds nothing.
///
/// Deletes a project that owns nothing any more. Its tokens end with it.
#[utoipa::path(delete, path = "/snowshed/v1/projects/{id}", params(openapi::IfMatch), responses((status = 204)))]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let id: ProjectId = path.parse("project_id")?;
    run(&context, move |context| {
        commit(
            context,
            &actor,
            "project.delete",
            |current| {
                let before = find(current, &actor, id)?;
                let authority = authorize(current, &actor, &before)?;
                let lbs = current.lbs_in(id).filter(|lb| lb.times.is_live()).count();
                let ips = current.ips_in(id).filter(|ip| ip.times.is_live()).count();
                if lbs + ips > 0 {
                    let help = format!("it owns {lbs} load balancers and {ips} IPs: delete them first");
                    return Err(ApiError::in_use(key(Kind::Project, id.as_uuid()), help));
                }
                let document = Document::Project((*before).clone());
                let changes = tombstone(&if_match, document, &*before, (context.clock)())?;
                Ok(Draft { authority, changes })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

fn find(snapshot: &Snapshot, actor: &Actor, id: ProjectId) -> Result<Arc<Project>, ApiError> {
    let found = Sight::new(snapshot, actor).project(id).cloned();
    found.ok_or_else(|| ApiError::not_found(key(Kind::Project, id.as_uuid())))
}

/// The right to change a project: that of whoever administers its organization.
fn authorize(current: &Snapshot, actor: &Actor, project: &Project) -> Result<Write, ApiError> {
    let scope = Scope::Organization { organization: project.owner.organization };
    let write = Write::authorize(current, actor, Act::Administer, scope);
    let key = key(Kind::Project, project.owner.project.as_uuid());
    authority::may(actor, Act::Administer).map_err(|denied| ApiError::denied(denied, key))?;
    right(write, key)
}

fn show(snapshot: &Snapshot, actor: &Actor, id: ProjectId) -> Result<Versioned<wire::Project>, ApiError> {
    find(snapshot, actor, id).map(|found| Versioned(project(&found)))
}

impl Listed for &Arc<Project> {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn created_at(&self) -> jiff::Timestamp {
        self.times.created_at
    }

    fn id(&self) -> uuid::Uuid {
        self.owner.project.as_uuid()
    }
}
