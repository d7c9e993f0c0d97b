//! `/snowshed/v1/heal`: the scoreboard of this edge, and what a person may say to it. Nothing here writes the ledger or the
//! maps: the reconciler does what it is asked for.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::{Extension, Json};

use super::measures;
use crate::api::body::Body;
use crate::api::change::run;
use crate::api::handlers::Id;
use crate::api::idempotency::Caller;
use crate::api::listing::Pairs;
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::wire::{HealAnswer, HealList, ResolveFindings, RetryHealing};
use crate::api::{ApiError, Context};
use crate::authority::Sight;
use crate::ledger::Snapshot;
use crate::model::{Act, Actor, DocumentKey, Invalid, Kind, LbId, Place, Reach};
use crate::recovery::heal::{Fault, Instance, State as Healed};

/// Most load balancers of an answer.
const MOST: usize = 1000;

/// Shows the scoreboard of every load balancer and what is amiss.
#[utoipa::path(
    get, path = "/snowshed/v1/heal",
    params(openapi::HealFilter),
    responses((status = 200, body = HealList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<HealList>, ApiError> {
    let pairs = pairs.known(&["state", "fault"])?;
    let mut arguments = Arguments::default();
    let states: Vec<Option<Healed>> = pairs.all("state").map(|text| arguments.take("state", state(text))).collect();
    let faults: Vec<Option<Fault>> = pairs.all("fault").map(|text| arguments.take("fault", fault(text))).collect();
    let parsed =
        states.into_iter().collect::<Option<BTreeSet<_>>>().zip(faults.into_iter().collect::<Option<BTreeSet<_>>>());
    let (states, faults) = arguments.build(parsed)?;
    run(&context, move |context| {
        let mut board = context.heal.board((context.clock)());
        let snapshot = context.ledger.snapshot();
        let sight = Sight::new(&snapshot, &actor);
        board.load_balancers.retain(|instance| sight.lb(instance.lb_id).is_some());
        board.recount();
        // Without a filter those that somebody may want to look at.
        let is_wanted = |instance: &Instance| {
            let is_state = match states.is_empty() {
                true => !faults.is_empty() || instance.state != Healed::Ready || !instance.findings.is_empty(),
                false => states.contains(&instance.state),
            };
            is_state && (faults.is_empty() || instance.findings.iter().any(|finding| faults.contains(&finding.fault)))
        };
        board.load_balancers.retain(is_wanted);
        let total_count = board.load_balancers.len();
        board.load_balancers.truncate(MOST);
        let crate::recovery::heal::Board { summary, edge, load_balancers } = board;
        Ok(Json(HealList { summary, edge, load_balancers, total_count }))
    })
    .await
}

/// Shows how a load balancer stands, and what is amiss with it.
#[utoipa::path(get, path = "/snowshed/v1/lbs/{id}/heal", responses((status = 200, body = Instance)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<Instance>, ApiError> {
    pairs.known(&[])?;
    let lb: LbId = path.parse("lb_id")?;
    run(&context, move |context| {
        let missing = || ApiError::not_found(DocumentKey { kind: Kind::Lb, id: lb.as_uuid() });
        if Sight::new(&context.ledger.snapshot(), &actor).lb(lb).is_none() {
            return Err(missing());
        }
        let board = context.heal.board((context.clock)());
        let found = board.load_balancers.into_iter().find(|instance| instance.lb_id == lb);
        found.map(Json).ok_or_else(missing)
    })
    .await
}

/// Tries again what needs attention, at once.
#[utoipa::path(
    post, path = "/snowshed/v1/heal/retry",
    request_body = RetryHealing,
    responses((status = 200, body = HealAnswer))
)]
pub(in crate::api) async fn retry(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<RetryHealing>,
) -> Result<Json<HealAnswer>, ApiError> {
    run(&context, move |context| {
        let mut arguments = Arguments::default();
        let place = arguments.needed("place", request.place, PLACES, |text| measures::place(&text));
        let place = arguments.build(place)?;
        let snapshot = context.ledger.snapshot();
        let lbs = lbs_at(&snapshot, &actor, &place)?;
        let count = lbs.len();
        if context.ledger.carries_out() {
            context.heal.retry(lbs);
            log::info!("{} asks that {place} is healed at once", actor.name);
        }
        Ok(Json(HealAnswer { count }))
    })
    .await
}

/// Takes findings of a load balancer for settled.
#[utoipa::path(
    post, path = "/snowshed/v1/heal/resolve",
    request_body = ResolveFindings,
    responses((status = 200, body = HealAnswer))
)]
pub(in crate::api) async fn resolve(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<ResolveFindings>,
) -> Result<Json<HealAnswer>, ApiError> {
    run(&context, move |context| {
        let mut arguments = Arguments::default();
        let place = arguments.needed("place", request.place, "`lb:ID`", |text| match measures::place(&text)? {
            place @ Place::Lb { .. } => Ok(place),
            _ => Err(Invalid::constraint(format!("`{text}`: one load balancer, `lb:ID`, is expected"))),
        });
        let reason = measures::reason(&mut arguments, request.reason);
        let fault = arguments.or("fault", request.fault, None, |text| fault(&text).map(Some));
        let ((place, reason), fault) = arguments.build(place.zip(reason).zip(fault))?;
        let lbs = lbs_at(&context.ledger.snapshot(), &actor, &place)?;
        let now = (context.clock)();
        let mut count = 0;
        if context.ledger.carries_out() {
            for lb in lbs {
                count += context.heal.resolve(lb, fault, &actor.name, reason.as_str(), now);
            }
            log::info!("{} has dealt with {count} findings of {place}: {}", actor.name, reason.as_str());
        }
        Ok(Json(HealAnswer { count }))
    })
    .await
}

const PLACES: &str = "`lb:ID`, `project:ID`, `organization:ID`, or `zone` for the whole edge";

/// Load balancers at a place that the actor sees and may do something about.
fn lbs_at(snapshot: &Snapshot, actor: &Actor, place: &Place) -> Result<Vec<LbId>, ApiError> {
    let place = match place {
        Place::Zone if matches!(actor.reach, Reach::Fleet) => Place::Zone,
        place => measures::tenant_place(snapshot, actor, place.clone())?,
    };
    let lbs: Vec<LbId> = snapshot.lbs_at(&place).filter(|lb| lb.times.is_live()).map(|lb| lb.id).collect();
    if !actor.role.may(Act::Edit) && !actor.role.may(Act::Contain) {
        let id = lbs.first().map_or(uuid::Uuid::nil(), |lb| lb.as_uuid());
        let denied = crate::authority::Denied::Role { role: actor.role, act: Act::Edit };
        return Err(ApiError::denied(denied, DocumentKey { kind: Kind::Lb, id }));
    }
    Ok(lbs)
}

fn state(text: &str) -> Result<Healed, Invalid> {
    Healed::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        Invalid::constraint(format!("`{text}` is no state: {} are", Healed::ALL.map(Healed::as_str).join(", ")))
    })
}

fn fault(text: &str) -> Result<Fault, Invalid> {
    Fault::ALL.into_iter().find(|fault| fault.as_str() == text).ok_or_else(|| {
        Invalid::constraint(format!("`{text}` is no reason: {} are", Fault::ALL.map(Fault::as_str).join(", ")))
    })
}
