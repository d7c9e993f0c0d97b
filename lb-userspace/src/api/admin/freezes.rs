//! `/snowshed/v1/freezes`: read-only mode, by hand; and its end, also of one that a budget put in force.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::SignedDuration;

use super::measures;
use crate::api::body::{Bare, Body};
use crate::api::change::{Order, commit_as, run};
use crate::api::handlers::Id;
use crate::api::idempotency::Caller;
use crate::api::listing::Pairs;
use crate::api::parse::Arguments;
use crate::api::wire::measure::{CreateFreeze, Freeze, FreezeList};
use crate::api::{ApiError, Context};
use crate::authority::Sight;
use crate::ledger::Snapshot;
use crate::model::{Actor, ActorId, Invalid, Measure, MeasureId, Place, What};

/// Longest freeze, seconds: 30 days. Nobody should forget one.
const LONGEST: u64 = 30 * 24 * 3600;
/// Verbs have at most this many characters.
const VERB_CHARS: usize = 64;

const fn is_freeze(what: &What) -> bool {
    matches!(what, What::Freeze { .. })
}

/// Lists the freezes in force.
#[utoipa::path(get, path = "/snowshed/v1/freezes", responses((status = 200, body = FreezeList)))]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    axum::Extension(actor): axum::Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<FreezeList>, ApiError> {
    pairs.known(&[])?;
    let snapshot = context.ledger.snapshot();
    let freezes: Vec<Freeze> =
        measures::in_force(&context, &snapshot, &actor, is_freeze).iter().filter_map(|freeze| shown(freeze)).collect();
    Ok(Json(FreezeList { total_count: freezes.len() as u64, freezes }))
}

/// Freezes a place: changes there are refused.
#[utoipa::path(
    post, path = "/snowshed/v1/freezes",
    request_body = CreateFreeze,
    responses((status = 200, body = Freeze))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<CreateFreeze>,
) -> Result<Json<Freeze>, ApiError> {
    run(&context, move |context| {
        let CreateFreeze { place, verb, reason, lasts_seconds } = request;
        let mut arguments = Arguments::default();
        let place = arguments.needed("place", place, measures::PLACES, |text| measures::place(&text));
        let verb = arguments.or("verb", verb, None, |text| parse_verb(text).map(Some));
        let reason = measures::reason(&mut arguments, reason);
        let help = "how long it lasts, at most 30 days";
        let lasts = arguments.needed("lasts_seconds", lasts_seconds, help, lasts);
        let parsed = place.zip(verb).zip(reason).zip(lasts);
        let (((place, verb), reason), lasts) = arguments.build(parsed)?;
        let now = (context.clock)();
        let place = own_place(&context.ledger.snapshot(), &actor, place)?;
        let expires_at = now.checked_add(lasts).unwrap_or(jiff::Timestamp::MAX);
        let what = What::Freeze { place, verb, operations: Vec::new() };
        let why = reason.as_str().to_owned();
        let freeze = measures::new(&actor, reason, what, Some(expires_at), now);
        let order = Order { reason: why, ..Order::new("freeze.create") };
        commit_as(
            context,
            &actor,
            &order,
            |current, _| measures::begin(current, &actor, &freeze),
            |after| show(after, &actor, freeze.id),
        )
    })
    .await
}

/// Ends a freeze.
///
/// Ending what has ended changes nothing.
#[utoipa::path(delete, path = "/snowshed/v1/freezes/{id}", responses((status = 204)))]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let id: MeasureId = path.parse("freeze_id")?;
    run(&context, move |context| {
        commit_as(
            context,
            &actor,
            &Order::new("freeze.end"),
            |current, now| {
                let freeze = measures::find(current, &actor, id, is_freeze)?;
                measures::end(current, &actor, &freeze, now)
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

fn own_place(snapshot: &Snapshot, actor: &Actor, place: Place) -> Result<Place, ApiError> {
    match place {
        Place::Actor { id: ActorId::Token(token) } if Sight::new(snapshot, actor).token(token).is_none() => {
            let help = format!("there is no token {token} that this token may see");
            Err(ApiError::argument("place", &Invalid::constraint(help)))
        }
        Place::Actor { .. } | Place::Zone => Ok(place),
        place => measures::tenant_place(snapshot, actor, place),
    }
}

fn parse_verb(text: String) -> Result<String, Invalid> {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|char| char.is_ascii_lowercase() || char == '_');
    match text.split_once('.') {
        Some((noun, verb)) if text.len() <= VERB_CHARS && is_word(noun) && is_word(verb) => Ok(text),
        _ => Err(Invalid::format(format!(
            "`{text}` is no verb: a noun and a verb such as `lb.delete` are expected, as `snowshed ops list` shows them"
        ))),
    }
}

fn lasts(seconds: u64) -> Result<SignedDuration, Invalid> {
    match i64::try_from(seconds) {
        Ok(whole) if (1..=LONGEST).contains(&seconds) => Ok(SignedDuration::from_secs(whole)),
        _ => {
            Err(Invalid::constraint(format!("{seconds} is outside 1 to {LONGEST} (30 days): nobody should forget one")))
        }
    }
}

fn show(snapshot: &Snapshot, actor: &Actor, id: MeasureId) -> Result<Json<Freeze>, ApiError> {
    let freeze = measures::find(snapshot, actor, id, is_freeze)?;
    shown(&freeze).map(Json).ok_or_else(|| ApiError::internal("a freeze is none"))
}

/// A freeze as it is shown.
pub(in crate::api) fn shown(measure: &Measure) -> Option<Freeze> {
    let What::Freeze { place, verb, operations } = &measure.what else { return None };
    Some(Freeze {
        id: measure.id,
        place: measures::text(place),
        verb: verb.clone(),
        reason: measure.reason.as_str().to_owned(),
        by: measure.by.name.clone(),
        created_at: measure.times.created_at,
        expires_at: measure.expires_at,
        operations: operations.clone(),
    })
}
