//! `/snowshed/v1/tokens`: who may use the API. A secret is shown once; revoking holds from the next request on.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use jiff::Timestamp;

use super::tenants::{key, right, token, tombstone};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, commit, create as created, run};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::handlers::Id;
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::{Arguments, id};
use crate::api::{ApiError, Context, wire};
use crate::authority::{self, Denied, Secret, Sight, Write};
use crate::ledger::Snapshot;
use crate::model::{
    Act, Actor, Document, Invalid, Kind, Name, OrganizationId, Owner, ProjectId, Reach, Role, Scope, Times, Token,
    TokenId,
};

/// Makes a token; its secret is shown this once.
///
/// Makes a token. There is no `Idempotency-Key` for it: the answer would have to be kept, and it holds the secret.
#[utoipa::path(
    post, path = "/snowshed/v1/tokens",
    request_body = wire::CreateToken,
    responses((status = 200, body = wire::Token))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    headers: HeaderMap,
    actor: Caller,
    Body(request): Body<wire::CreateToken>,
) -> Result<Versioned<wire::Token>, ApiError> {
    if headers.contains_key("idempotency-key") {
        let help = "a token's creation takes no key: its answer holds the secret, and is not kept";
        return Err(ApiError::argument("Idempotency-Key", &Invalid::constraint(help)));
    }
    run(&context, move |context| {
        let (token_id, secret, now) = (TokenId::new(), Secret::draw(), (context.clock)());
        let of = key(Kind::Token, token_id.as_uuid());
        authority::may(&actor, Act::Administer).map_err(|denied| ApiError::denied(denied, of))?;
        let wanted = parse(&context.ledger.snapshot(), &actor, request, now)?;
        let Wanted { name, role, reach, expires_at } = wanted;
        let digest = context.token_key.digest(secret.as_str());
        let (made_by, times) = (actor.token, Times::created(now));
        let made = Token { id: token_id, name, role, reach, digest, expires_at, made_by, times };
        commit(
            context,
            &actor,
            "token.create",
            |current| {
                let write = Write::new_token(current, &actor, token_id, role, &reach);
                let authority = write.map_err(|denied| match denied {
                    Denied::Unseen => no_reach(role),
                    Denied::Role { .. } => ApiError::denied(denied, of),
                })?;
                Ok(Draft { authority, changes: vec![created(Document::Token(made.clone()))] })
            },
            |after| {
                let Versioned(mut shown) = show(context, after, &actor, token_id)?;
                shown.secret = Some(secret.as_str().to_owned());
                Ok(Versioned(shown))
            },
        )
    })
    .await
}

struct Wanted {
    name: Name,
    role: Role,
    reach: Reach,
    expires_at: Option<Timestamp>,
}

fn parse(current: &Snapshot, actor: &Actor, request: wire::CreateToken, now: Timestamp) -> Result<Wanted, ApiError> {
    let wire::CreateToken { name, role, organization_id, project_id, expires_at } = request;
    let mut arguments = Arguments::default();
    let name = arguments.needed("name", name, "1 to 255 characters", Name::try_from);
    let words = "operator, trust-safety, org-admin, project-editor or viewer";
    let role = arguments.needed("role", role, words, |text| text.parse::<Role>());
    let organization = arguments.or("organization_id", organization_id, None, |text| id(&text).map(Some));
    let project = arguments.or("project_id", project_id, None, |text| id(&text).map(Some));
    let expires_at = arguments.or("expires_at", expires_at, None, |text| future(&text, now).map(Some));
    let parsed = name.zip(role).zip(organization).zip(project).zip(expires_at);
    let ((((name, role), organization), project), expires_at) = arguments.build(parsed)?;
    let reach = reach(current, actor, role, organization, project)?;
    Ok(Wanted { name, role, reach, expires_at })
}

/// What a token is for: named whole, never guessed.
fn reach(
    current: &Snapshot,
    actor: &Actor,
    role: Role,
    organization: Option<OrganizationId>,
    project: Option<ProjectId>,
) -> Result<Reach, ApiError> {
    let reach = match (organization, project) {
        (organization, Some(id)) => {
            let found = Sight::new(current, actor).project(id).map(|project| project.owner);
            let is_of = |owner: &Owner| organization.is_none_or(|organization| organization == owner.organization);
            Reach::Project { owner: found.filter(is_of).ok_or_else(|| no_reach(role))? }
        }
        (Some(organization), None) => Reach::Organization { organization },
        (None, None) if role.fits(&Reach::Fleet) && role != Role::Viewer => Reach::Fleet,
        (None, None) => return Err(misfit(role)),
    };
    if role.fits(&reach) { Ok(reach) } else { Err(misfit(role)) }
}

fn misfit(role: Role) -> ApiError {
    let (argument, what) = match role {
        Role::Operator | Role::TrustSafety => ("organization_id", "is for the fleet: give no organization and project"),
        Role::OrgAdmin => ("organization_id", "is for an organization: give `organization_id` and no `project_id`"),
        Role::ProjectEditor => ("project_id", "is for a project: give `project_id`"),
        Role::Viewer => ("project_id", "is for a project or an organization: give `project_id` or `organization_id`"),
    };
    ApiError::argument(argument, &Invalid::required(format!("a token of the role {} {what}", role.as_str())))
}

fn no_reach(role: Role) -> ApiError {
    let argument = if role == Role::OrgAdmin { "organization_id" } else { "project_id" };
    let help = "there is no such project or organization for this token".to_owned();
    ApiError::argument(argument, &Invalid::constraint(help))
}

fn future(text: &str, now: Timestamp) -> Result<Timestamp, Invalid> {
    let time: Timestamp = text
        .parse()
        .map_err(|_| Invalid::format(format!("`{text}` is no time: one such as 2027-01-01T00:00:00Z is expected")))?;
    if time <= now {
        return Err(Invalid::constraint(format!("{time} is past: a token ends in the future, or never")));
    }
    Ok(time)
}

/// Shows a token.
#[utoipa::path(get, path = "/snowshed/v1/tokens/{id}", responses((status = 200, body = wire::Token)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
) -> Result<Versioned<wire::Token>, ApiError> {
    show(&context, &context.ledger.snapshot(), &actor, path.parse("token_id")?)
}

/// Lists tokens, without their secrets.
#[utoipa::path(
    get, path = "/snowshed/v1/tokens",
    params(openapi::Paged, openapi::Owned, openapi::WithRevoked),
    responses((status = 200, body = wire::TokenList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<wire::TokenList>, ApiError> {
    let mut arguments = Arguments::default();
    let own = ["organization_id", "project_id", "revoked"];
    let (listing, pairs) = Listing::read(pairs, &own, &mut arguments)?;
    let with_revoked = pairs.flag(&mut arguments, "revoked");
    arguments.finish()?;
    let snapshot = context.ledger.snapshot();
    let seen = listing.sight(&snapshot, &actor).into_iter().flat_map(Sight::tokens);
    let Page { items: page, total_count, next_cursor } =
        listing.page(seen.filter(|one| with_revoked || one.times.is_live()));
    Ok(Json(wire::TokenList {
        tokens: page.into_iter().map(|one| token(&context, one)).collect(),
        total_count,
        next_cursor,
    }))
}

/// Revokes a token.
///
/// Revokes a token; that holds from the next request on.
#[utoipa::path(delete, path = "/snowshed/v1/tokens/{id}", params(openapi::IfMatch), responses((status = 204)))]
pub(in crate::api) async fn revoke(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let id: TokenId = path.parse("token_id")?;
    run(&context, move |context| {
        commit(
            context,
            &actor,
            "token.revoke",
            |current| {
                let before = find(current, &actor, id)?;
                let write = Write::authorize(current, &actor, Act::Administer, Scope::Token { token: id });
                let authority = right(write, key(Kind::Token, id.as_uuid()))?;
                let document = Document::Token((*before).clone());
                Ok(Draft { authority, changes: tombstone(&if_match, document, &*before, (context.clock)())? })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

fn find(snapshot: &Snapshot, actor: &Actor, id: TokenId) -> Result<Arc<Token>, ApiError> {
    let found = Sight::new(snapshot, actor).token(id).cloned();
    found.ok_or_else(|| ApiError::not_found(key(Kind::Token, id.as_uuid())))
}

fn show(
    context: &Context,
    snapshot: &Snapshot,
    actor: &Actor,
    id: TokenId,
) -> Result<Versioned<wire::Token>, ApiError> {
    find(snapshot, actor, id).map(|found| Versioned(token(context, &found)))
}

impl Listed for &Arc<Token> {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn created_at(&self) -> Timestamp {
        self.times.created_at
    }

    fn id(&self) -> uuid::Uuid {
        self.id.as_uuid()
    }
}
