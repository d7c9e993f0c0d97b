//! `/snowshed/v1/hold`: what this edge holds in its maps against the ledger, and an operator's release of exactly that.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::measures;
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, Order, commit_as, run, update};
use crate::api::handlers::Id;
use crate::api::idempotency::Caller;
use crate::api::listing::Pairs;
use crate::api::parse::Arguments;
use crate::api::wire::measure::{HeldService, Hold, HoldRelease, ReleaseHold};
use crate::api::{ApiError, Context};
use crate::authority::{Denied, Sight};
use crate::ledger::{Snapshot, second_person};
use crate::model::{
    Act, Actor, Document, DocumentKey, Invalid, Kind, Lb, Measure, MeasureId, Plan, Reach, Reason, What,
};

const fn is_release(what: &What) -> bool {
    matches!(what, What::LetGo { .. })
}

/// Shows what the edge holds in its maps against the ledger.
#[utoipa::path(get, path = "/snowshed/v1/hold", responses((status = 200, body = Hold)))]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    axum::Extension(actor): axum::Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<Hold>, ApiError> {
    pairs.known(&[])?;
    let snapshot = context.ledger.snapshot();
    let held = context.status.borrow().held.clone();
    let services: Vec<HeldService> = held.iter().filter_map(|service| shown_held(&snapshot, &actor, service)).collect();
    let releases = releases(&context, &snapshot, &actor);
    Ok(Json(Hold { total_count: services.len() as u64, services, releases }))
}

/// Lets go of what is held.
///
/// Lets go exactly what is named and held. What more than one person should look at waits for a second one.
#[utoipa::path(
    post, path = "/snowshed/v1/hold/releases",
    request_body = ReleaseHold,
    responses((status = 200, body = HoldRelease))
)]
pub(in crate::api) async fn release(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<ReleaseHold>,
) -> Result<Json<HoldRelease>, ApiError> {
    run(&context, move |context| {
        operators_only(&actor)?;
        let (services, reason) = parse(request, &context.status.borrow().held)?;
        let now = (context.clock)();
        let why = reason.as_str().to_owned();
        let what = What::LetGo { services, agreed_by: None };
        let expires_at = Some(now.checked_add(Plan::KEEPS).unwrap_or(Timestamp::MAX));
        let measure = measures::new(&actor, reason, what, expires_at, now);
        let order = Order { reason: why, ..Order::new("hold.release") };
        commit_as(
            context,
            &actor,
            &order,
            |current, _| measures::begin(current, &actor, &measure),
            |after| show(after, &actor, measure.id),
        )
    })
    .await
}

/// Approves a release that somebody else made.
///
/// The approver is never the requester.
#[utoipa::path(
    post, path = "/snowshed/v1/hold/releases/{id}/approve",
    responses((status = 200, body = HoldRelease))
)]
pub(in crate::api) async fn approve(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    _: Bare,
) -> Result<Json<HoldRelease>, ApiError> {
    let id: MeasureId = path.parse("release_id")?;
    run(&context, move |context| {
        commit_as(
            context,
            &actor,
            &Order::new("hold.approve"),
            |current, now| {
                let measure = measures::find(current, &actor, id, is_release)?;
                let wrong = |precondition, help: &str| Err(ApiError::plan(id, precondition, help));
                if !measure.is_in_force(now) {
                    return wrong("release_is_current", "it has expired: look at what is held now, and make it anew");
                }
                if let Err(why) = second_person(current, &measure, &actor) {
                    return wrong("release_needs_another_person", &why.to_string());
                }
                let changes =
                    if measure.waits_for_approval() { vec![approved(&measure, &actor, now)] } else { Vec::new() };
                Ok(Draft { authority: measures::right(current, &actor, &measure)?, changes })
            },
            |after| show(after, &actor, id),
        )
    })
    .await
}

/// An edge's hold is the fleet's: no role of a tenant, and not Trust & Safety, lets go of it.
pub(super) fn operators_only(actor: &Actor) -> Result<(), ApiError> {
    let (role, act) = (actor.role, Act::Administer);
    let is_operator = role.may(act) && matches!(actor.reach, Reach::Fleet);
    let key = DocumentKey { kind: Kind::Measure, id: uuid::Uuid::nil() };
    if is_operator { Ok(()) } else { Err(ApiError::denied(Denied::Role { role, act }, key)) }
}

fn approved(measure: &Arc<Measure>, actor: &Actor, now: Timestamp) -> crate::ledger::Change {
    let before = Measure::clone(measure);
    let mut after = Measure { times: before.times.updated(now), ..before.clone() };
    if let What::LetGo { agreed_by, .. } = &mut after.what {
        *agreed_by = Some(actor.person());
    }
    update(Document::Measure(before), Document::Measure(after))
}

fn parse(request: ReleaseHold, held: &[String]) -> Result<(Vec<String>, Reason), ApiError> {
    let ReleaseHold { services, count, reason } = request;
    let mut arguments = Arguments::default();
    let wrong = |help: String| Err(Invalid::constraint(help));
    let selected = match (services, count) {
        (Some(services), None) if !services.is_empty() => {
            let wanted: BTreeSet<String> = services.into_iter().collect();
            match wanted.iter().find(|service| !held.contains(service)) {
                Some(foreign) => wrong(format!("`{foreign}` is not held: GET /snowshed/v1/hold names what is")),
                None => Ok(wanted.into_iter().collect()),
            }
        }
        (None, Some(count)) if count > 0 && count == held.len() as u64 => Ok(held.to_vec()),
        (None, Some(count)) => wrong(format!("{} services are held, not {count}: nothing is released", held.len())),
        _ => wrong(
            "exactly one of `services` (at least one) and `count` (all that are held, which must be this many) is \
             expected"
                .to_owned(),
        ),
    };
    let services = arguments.take("services", selected);
    let reason = measures::reason(&mut arguments, reason);
    arguments.build(services.zip(reason))
}

/// What a service that is held belongs to, if the actor sees that.
pub(super) fn shown_held(snapshot: &Snapshot, actor: &Actor, service: &str) -> Option<HeldService> {
    let address: IpAddr = service.split(' ').next()?.parse().ok()?;
    let id = snapshot.ip_with_address(address).and_then(|ip| ip.lb);
    let lb: Option<&Lb> = id.and_then(|id| snapshot.lb(id)).map(|lb| &**lb);
    let is_seen = match lb {
        Some(lb) => Sight::new(snapshot, actor).lb(lb.id).is_some(),
        None => matches!(actor.reach, Reach::Fleet),
    };
    is_seen.then(|| HeldService {
        service: service.to_owned(),
        lb_id: lb.map(|lb| lb.id),
        lb_name: lb.map(|lb| lb.name.to_string()),
        organization_id: lb.map(|lb| lb.owner.organization),
        deleted_at: lb.and_then(|lb| lb.times.deleted_at),
    })
}

/// Releases in force or waiting.
pub(super) fn releases(context: &Context, snapshot: &Snapshot, actor: &Actor) -> Vec<HoldRelease> {
    measures::in_force(context, snapshot, actor, is_release).iter().filter_map(|release| shown(release)).collect()
}

fn show(snapshot: &Snapshot, actor: &Actor, id: MeasureId) -> Result<Json<HoldRelease>, ApiError> {
    let measure = measures::find(snapshot, actor, id, is_release)?;
    shown(&measure).map(Json).ok_or_else(|| ApiError::internal("a release is none"))
}

fn shown(measure: &Measure) -> Option<HoldRelease> {
    let What::LetGo { services, agreed_by } = &measure.what else { return None };
    Some(HoldRelease {
        id: measure.id,
        services: services.clone(),
        reason: measure.reason.as_str().to_owned(),
        by: measure.by.name.clone(),
        needs_approval: services.len() > Plan::ALONE,
        approved_by: agreed_by.as_ref().map(|person| person.name.clone()),
        created_at: measure.times.created_at,
        expires_at: measure.expires_at,
    })
}
