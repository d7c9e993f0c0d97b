//! `/snowshed/v1/quarantines` and `/snowshed/v1/releases`: a tenant's traffic is dropped in the data plane, and nothing
//! else of it changes; the release gives everything back.

use axum::Json;
use axum::extract::State;

use super::measures;
use crate::api::body::Body;
use crate::api::change::{Draft, Order, commit_as, run};
use crate::api::idempotency::Caller;
use crate::api::listing::Pairs;
use crate::api::parse::Arguments;
use crate::api::wire::measure::{Contain, Quarantine, QuarantineList};
use crate::api::{ApiError, Context};
use crate::ledger::Snapshot;
use crate::model::{Actor, Invalid, Measure, Place, Reason, What};

const fn is_quarantine(what: &What) -> bool {
    matches!(what, What::Quarantine { .. })
}

/// Lists the quarantines in force.
#[utoipa::path(get, path = "/snowshed/v1/quarantines", responses((status = 200, body = QuarantineList)))]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    axum::Extension(actor): axum::Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<QuarantineList>, ApiError> {
    pairs.known(&[])?;
    let snapshot = context.ledger.snapshot();
    let found = measures::in_force(&context, &snapshot, &actor, is_quarantine);
    let quarantines: Vec<Quarantine> = found.iter().filter_map(|measure| shown(&snapshot, measure)).collect();
    Ok(Json(QuarantineList { total_count: quarantines.len() as u64, quarantines }))
}

/// Quarantines a place: its traffic is dropped.
///
/// Quarantining what is quarantined changes nothing.
#[utoipa::path(
    post, path = "/snowshed/v1/quarantines",
    request_body = Contain,
    responses((status = 200, body = Quarantine))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<Contain>,
) -> Result<Json<Quarantine>, ApiError> {
    run(&context, move |context| {
        let (place, reason) = parse(request)?;
        let place = measures::tenant_place(&context.ledger.snapshot(), &actor, place)?;
        let why = reason.as_str().to_owned();
        let what = What::Quarantine { place: place.clone() };
        let measure = measures::new(&actor, reason, what, None, (context.clock)());
        let order = Order { reason: why, ..Order::new("lb.quarantine") };
        commit_as(
            context,
            &actor,
            &order,
            |current, _| match current.quarantine_at(&place) {
                None => measures::begin(current, &actor, &measure),
                Some(there) => Ok(Draft { authority: measures::right(current, &actor, there)?, changes: Vec::new() }),
            },
            |after| {
                let measure = after.quarantine_at(&place).and_then(|measure| shown(after, measure));
                measure.map(Json).ok_or_else(|| ApiError::internal("the quarantine is not there"))
            },
        )
    })
    .await
}

/// Ends the quarantine of a place.
///
/// Releases exactly the quarantine of that place; one that is wider or narrower stays.
#[utoipa::path(
    post, path = "/snowshed/v1/releases",
    request_body = Contain,
    responses((status = 200, body = Quarantine))
)]
pub(in crate::api) async fn release(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<Contain>,
) -> Result<Json<Quarantine>, ApiError> {
    run(&context, move |context| {
        let (place, reason) = parse(request)?;
        let snapshot = context.ledger.snapshot();
        let place = measures::tenant_place(&snapshot, &actor, place)?;
        let Some(measure) = snapshot.quarantine_at(&place).cloned() else {
            let help = format!("there is no quarantine of {place}: GET /snowshed/v1/quarantines lists what there is");
            return Err(ApiError::argument("place", &Invalid::constraint(help)));
        };
        let order = Order { reason: reason.as_str().to_owned(), ..Order::new("lb.release") };
        commit_as(
            context,
            &actor,
            &order,
            |current, now| {
                let there = current.measure(measure.id).unwrap_or(&measure);
                measures::end(current, &actor, there, now)
            },
            |after| shown(after, &measure).map(Json).ok_or_else(|| ApiError::internal("a quarantine is none")),
        )
    })
    .await
}

fn parse(request: Contain) -> Result<(Place, Reason), ApiError> {
    let Contain { place, reason } = request;
    let mut arguments = Arguments::default();
    let place = arguments.needed("place", place, measures::PLACES, |text| measures::place(&text));
    let reason = measures::reason(&mut arguments, reason);
    arguments.build(place.zip(reason))
}

/// A quarantine as it is shown.
pub(super) fn shown(snapshot: &Snapshot, measure: &Measure) -> Option<Quarantine> {
    let What::Quarantine { place } = &measure.what else { return None };
    Some(Quarantine {
        id: measure.id,
        place: measures::text(place),
        reason: measure.reason.as_str().to_owned(),
        by: measure.by.name.clone(),
        created_at: measure.times.created_at,
        load_balancers: snapshot.lbs_at(place).filter(|lb| lb.times.is_live()).count() as u64,
    })
}
