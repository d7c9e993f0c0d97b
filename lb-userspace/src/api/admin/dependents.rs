//! `/snowshed/v1/dependents`: what is lost or misled when a load balancer is gone. They are counted before anything is removed, can
//! ask whether to act, and hold deletions until they let go.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::{advice, measures};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, Order, commit, commit_as, create as created, run, update};
use crate::api::etag::{self, IfMatch, Versioned};
use crate::api::handlers::{Id, Life};
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::{Arguments, id};
use crate::api::wire::{
    CreateDependent, Dependent as Shown, DependentAdvice, DependentList, ReleaseDependent, SubscriberSecret,
};
use crate::api::{ApiError, Context};
use crate::authority::Write;
use crate::ledger::Snapshot;
use crate::model::{
    Act, Actor, Dependent, DependentId, DependentKind, Document, DocumentKey, Invalid, Kind, LbId, LbSet, Name, Owner,
    Scope, Times, Webhook,
};

mod changing;

pub(in crate::api) use changing::*;

/// Registers a dependent of load balancers.
#[utoipa::path(
    post, path = "/snowshed/v1/dependents",
    request_body = CreateDependent,
    responses((status = 200, body = Shown))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<CreateDependent>,
) -> Result<Versioned<Shown>, ApiError> {
    run(&context, move |context| {
        let CreateDependent { kind, name, lb_ids, webhook, finalizer } = request;
        let mut arguments = Arguments::default();
        let kind =
            arguments.needed("kind", kind, "what it is, such as kubernetes or database", DependentKind::try_from);
        let name = arguments.needed("name", name, "1 to 255 characters", Name::try_from);
        let lbs = arguments.needed("lb_ids", lb_ids, "the load balancers it depends on", lb_set);
        let webhook = arguments.or("webhook", webhook, None, |text| told_at(context, text).map(Some));
        let parsed = kind.zip(name).zip(lbs).zip(webhook);
        let (((kind, name), lbs), webhook) = arguments.build(parsed)?;
        let owner = owner_of(&context.ledger.snapshot(), &actor, &lbs)?;
        let (id, times) = (DependentId::new(), Times::created((context.clock)()));
        let made = Dependent { id, owner, kind, name, lbs, webhook, finalizer: finalizer.unwrap_or(false), times };
        commit(
            context,
            &actor,
            "dependent.create",
            |current| {
                let authority = right(current, &actor, &made)?;
                Ok(Draft { authority, changes: vec![created(Document::Dependent(made.clone()))] })
            },
            |after| find(after, &actor, id, Life::Live).map(|found| Versioned(shown(after, &found))),
        )
    })
    .await
}

/// Shows a dependent.
#[utoipa::path(
    get, path = "/snowshed/v1/dependents/{id}",
    params(openapi::WithDeleted),
    responses((status = 200, body = Shown))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    life: Life,
) -> Result<Versioned<Shown>, ApiError> {
    let snapshot = context.ledger.snapshot();
    let found = find(&snapshot, &actor, path.parse("dependent_id")?, life)?;
    Ok(Versioned(shown(&snapshot, &found)))
}

/// Lists dependents.
#[utoipa::path(
    get, path = "/snowshed/v1/dependents",
    params(openapi::Paged, openapi::Owned, openapi::DependentFilter, openapi::WithDeleted),
    responses((status = 200, body = DependentList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<DependentList>, ApiError> {
    let mut arguments = Arguments::default();
    let (listing, pairs) =
        Listing::read(pairs, &["project_id", "organization_id", "lb_id", "kind", "deleted"], &mut arguments)?;
    let lb = pairs.one(&mut arguments, "lb_id");
    let lb = arguments.or("lb_id", lb, None, |text| id::<LbId>(text).map(Some));
    let kind = pairs.one(&mut arguments, "kind");
    let kind = arguments.or("kind", kind, None, |text| DependentKind::try_from(text.to_owned()).map(Some));
    let life = Life::of(&pairs, &mut arguments);
    let (lb, kind) = arguments.build(lb.zip(kind))?;
    let snapshot = context.ledger.snapshot();
    let sight = listing.sight(&snapshot, &actor);
    let is_seen = |one: &&Arc<Dependent>| {
        life.counts(one.times)
            && sight.is_some_and(|sight| sight.sees_project(one.owner.project))
            && lb.is_none_or(|lb| one.lbs.contains(lb))
            && kind.as_ref().is_none_or(|kind| one.kind == *kind)
    };
    let Page { items: page, total_count, next_cursor } = listing.page(snapshot.dependents().filter(is_seen));
    let dependents = page.into_iter().map(|one| shown(&snapshot, one)).collect();
    Ok(Json(DependentList { dependents, total_count, next_cursor }))
}

/// Deletes a dependent, which then holds nothing any more. Deleting what is deleted is not found.
#[utoipa::path(delete, path = "/snowshed/v1/dependents/{id}", params(openapi::IfMatch), responses((status = 204)))]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let id: DependentId = path.parse("dependent_id")?;
    run(&context, move |context| {
        commit_as(
            context,
            &actor,
            &Order::new("dependent.delete"),
            |current, now| {
                let before = find(current, &actor, id, Life::Live)?;
                if_match.check(key(id), &*before)?;
                let after = Dependent { times: before.times.deleted(now), ..Dependent::clone(&before) };
                let change = update(Document::Dependent(Dependent::clone(&before)), Document::Dependent(after));
                Ok(Draft { authority: right(current, &actor, &before)?, changes: vec![change] })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

/// Makes deletions wait for a dependent no longer. Its owner says so; an operator or Trust & Safety may say it instead, with
/// a reason that stands in the ledger.
#[utoipa::path(
    post, path = "/snowshed/v1/dependents/{id}/release",
    request_body = ReleaseDependent,
    params(openapi::IfMatch),
    responses((status = 200, body = Shown))
)]
pub(in crate::api) async fn release(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<ReleaseDependent>,
) -> Result<Versioned<Shown>, ApiError> {
    let id: DependentId = path.parse("dependent_id")?;
    run(&context, move |context| {
        find(&context.ledger.snapshot(), &actor, id, Life::Live)?;
        let mut arguments = Arguments::default();
        let reason = measures::reason(&mut arguments, request.reason);
        let reason = arguments.build(reason)?;
        let order = Order { reason: reason.as_str().to_owned(), ..Order::new("dependent.release") };
        commit_as(
            context,
            &actor,
            &order,
            |current, now| {
                let before = find(current, &actor, id, Life::Live)?;
                if_match.check(key(id), &*before)?;
                let times = if before.finalizer { before.times.updated(now) } else { before.times };
                let after = Dependent { finalizer: false, times, ..Dependent::clone(&before) };
                let change = update(Document::Dependent(Dependent::clone(&before)), Document::Dependent(after));
                Ok(Draft { authority: right(current, &actor, &before)?, changes: vec![change] })
            },
            |after| find(after, &actor, id, Life::Live).map(|found| Versioned(shown(after, &found))),
        )
    })
    .await
}

/// Says whether a dependent may act on what it sees through its load balancers.
#[utoipa::path(get, path = "/snowshed/v1/dependents/{id}/advice", responses((status = 200, body = DependentAdvice)))]
pub(in crate::api) async fn get_advice(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<DependentAdvice>, ApiError> {
    pairs.known(&[])?;
    let snapshot = context.ledger.snapshot();
    let found = find(&snapshot, &actor, path.parse("dependent_id")?, Life::Live)?;
    let load_balancers: Vec<_> = found.lbs.iter().filter_map(|lb| advice::about(&context, &snapshot, lb)).collect();
    let safe = load_balancers.len() == found.lbs.len() && load_balancers.iter().all(|advice| advice.safe);
    Ok(Json(DependentAdvice { dependent_id: found.id, safe, load_balancers }))
}

/// An address that may be told, by what it says; whether its name leads elsewhere is looked at when it is told.
fn told_at(context: &Context, text: String) -> Result<Webhook, Invalid> {
    let webhook = Webhook::try_from(text)?;
    context.delivery.targets.parse(webhook.as_str())?;
    Ok(webhook)
}

/// Shows the secret that verifies the signatures of a dependent's webhooks: to whoever may change it.
#[utoipa::path(
    get, path = "/snowshed/v1/dependents/{id}/secret",
    responses((status = 200, body = SubscriberSecret))
)]
pub(in crate::api) async fn secret(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<SubscriberSecret>, ApiError> {
    pairs.known(&[])?;
    let snapshot = context.ledger.snapshot();
    let found = find(&snapshot, &actor, path.parse("dependent_id")?, Life::Live)?;
    right(&snapshot, &actor, &found)?;
    Ok(Json(SubscriberSecret { secret: context.delivery.key.secret_of(found.recipient()).reveal() }))
}

fn lb_set(ids: Vec<String>) -> Result<LbSet, Invalid> {
    let lbs: BTreeSet<LbId> = ids.iter().map(|text| id(text)).collect::<Result<_, _>>()?;
    LbSet::try_from(lbs)
}

/// The project of all of these load balancers; each must be there for the actor.
fn owner_of(snapshot: &Snapshot, actor: &Actor, lbs: &LbSet) -> Result<Owner, ApiError> {
    let mut owner = None;
    for lb in lbs.iter() {
        let found = snapshot.lb(lb).filter(|lb| actor.reach.covers_owner(lb.owner)).map(|lb| lb.owner);
        let is_same = found.is_some() && owner.is_none_or(|owner| found == Some(owner));
        if !is_same {
            let help = match found {
                None => format!("there is no load balancer {lb} that this token may see"),
                Some(_) => format!("{lb} is of another project than the others: register one dependent in each"),
            };
            return Err(ApiError::argument("lb_ids", &Invalid::constraint(help)));
        }
        owner = found;
    }
    owner.ok_or_else(|| ApiError::argument("lb_ids", &Invalid::constraint("name at least one load balancer")))
}

fn right(current: &Snapshot, actor: &Actor, dependent: &Dependent) -> Result<Write, ApiError> {
    let act = if actor.role.may(Act::Edit) { Act::Edit } else { Act::Contain };
    let scope = Scope::Project { project: dependent.owner.project };
    Write::authorize(current, actor, act, scope).map_err(|denied| ApiError::denied(denied, key(dependent.id)))
}

const fn key(id: DependentId) -> DocumentKey {
    DocumentKey { kind: Kind::Dependent, id: id.as_uuid() }
}

/// One that is registered and that the actor sees.
fn find(snapshot: &Snapshot, actor: &Actor, id: DependentId, life: Life) -> Result<Arc<Dependent>, ApiError> {
    let found = snapshot.dependent(id).filter(|one| life.counts(one.times) && actor.reach.covers_owner(one.owner));
    found.cloned().ok_or_else(|| ApiError::not_found(key(id)))
}

fn shown(snapshot: &Snapshot, one: &Dependent) -> Shown {
    let holds = |lb: &LbId| snapshot.holders_of(*lb).any(|holder| holder.id == one.id);
    let is_held = |lb: &LbId| snapshot.lb(*lb).is_some_and(|lb| !lb.times.is_live()) && holds(lb);
    Shown {
        id: one.id,
        kind: one.kind.as_str().to_owned(),
        name: one.name.to_string(),
        organization_id: one.owner.organization,
        project_id: one.owner.project,
        lb_ids: one.lbs.iter().collect(),
        webhook: one.webhook.as_ref().map(|webhook| webhook.as_str().to_owned()),
        finalizer: one.finalizer,
        holding: one.lbs.iter().filter(is_held).collect(),
        created_at: one.times.created_at,
        updated_at: one.times.updated_at,
        deleted_at: one.times.deleted_at,
        etag: etag::of(one),
    }
}

impl Listed for &Arc<Dependent> {
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
