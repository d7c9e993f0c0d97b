//! What freezes, quarantines and plans have in common: places as text, and the operation that makes or ends one.

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::change::{Draft, create, update};
use crate::api::parse::{Arguments, id};
use crate::api::{ApiError, Context};
use crate::authority::{self, Write};
use crate::ledger::Snapshot;
use crate::model::{
    Actor, ActorId, Document, DocumentKey, Invalid, Kind, Measure, MeasureId, Place, Reach, Reason, Times, What,
};

/// How a place is written.
pub(super) const PLACES: &str = "`lb:ID`, `project:ID` or `organization:ID`";

/// A place out of its text; nothing else is one, least of all something empty.
pub(super) fn place(text: &str) -> Result<Place, Invalid> {
    if text == "zone" {
        return Ok(Place::Zone);
    }
    match text.split_once(':') {
        Some(("lb", text)) => id(text).map(|lb| Place::Lb { lb }),
        Some(("project", text)) => id(text).map(|project| Place::Project { project }),
        Some(("organization", text)) => id(text).map(|organization| Place::Organization { organization }),
        Some(("token", text)) => id(text).map(|token| Place::Actor { id: ActorId::Token(token) }),
        _ => Err(Invalid::format(format!("`{text}` is no place: {PLACES} is expected"))),
    }
}

/// The text of a place.
pub(super) fn text(place: &Place) -> String {
    match place {
        Place::Lb { lb } => format!("lb:{lb}"),
        Place::Project { project } => format!("project:{project}"),
        Place::Organization { organization } => format!("organization:{organization}"),
        Place::Actor { id } => id.to_string(),
        Place::Zone => "zone".to_owned(),
    }
}

/// A place of tenants that exists and that the actor sees: what is somebody else's looks like what is not there.
pub(super) fn tenant_place(snapshot: &Snapshot, actor: &Actor, place: Place) -> Result<Place, ApiError> {
    if matches!(place, Place::Actor { .. } | Place::Zone) {
        let help = format!("`{}` is no tenant's place: {PLACES} is expected", text(&place));
        return Err(ApiError::argument("place", &Invalid::constraint(help)));
    }
    if authority::place_reach(snapshot, &place).is_some_and(|reach| actor.reach.covers(&reach)) {
        return Ok(place);
    }
    let help = format!("there is no {place} that this token may see");
    Err(ApiError::argument("place", &Invalid::constraint(help)))
}

/// Reads a reason.
pub(super) fn reason(arguments: &mut Arguments, text: Option<String>) -> Option<Reason> {
    arguments.needed("reason", text, "why, for the people who will read it", Reason::try_from)
}

/// A new measure.
pub(super) fn new(actor: &Actor, reason: Reason, what: What, expires_at: Option<Timestamp>, now: Timestamp) -> Measure {
    Measure { id: MeasureId::new(), by: actor.person(), reason, expires_at, what, times: Times::created(now) }
}

/// The right to put a measure in force, to change or to end it.
pub(super) fn right(current: &Snapshot, actor: &Actor, measure: &Measure) -> Result<Write, ApiError> {
    let key = DocumentKey { kind: Kind::Measure, id: measure.id.as_uuid() };
    Write::measure(current, actor, measure).map_err(|denied| ApiError::denied(denied, key))
}

/// The draft that puts a measure in force.
pub(super) fn begin(current: &Snapshot, actor: &Actor, measure: &Measure) -> Result<Draft, ApiError> {
    let changes = vec![create(Document::Measure(measure.clone()))];
    Ok(Draft { authority: right(current, actor, measure)?, changes })
}

/// The draft that ends one, if it has not ended.
pub(super) fn end(current: &Snapshot, actor: &Actor, measure: &Measure, now: Timestamp) -> Result<Draft, ApiError> {
    let key = DocumentKey { kind: Kind::Measure, id: measure.id.as_uuid() };
    authority::check_end(current, actor, measure).map_err(|denied| ApiError::denied(denied, key))?;
    let after = Measure { times: measure.times.deleted(now), ..measure.clone() };
    let change = update(Document::Measure(measure.clone()), Document::Measure(after));
    let changes = if measure.times.is_live() { vec![change] } else { Vec::new() };
    Ok(Draft { authority: right(current, actor, measure)?, changes })
}

/// A measure of a kind that the actor may see.
pub(super) fn find(
    snapshot: &Snapshot,
    actor: &Actor,
    id: MeasureId,
    is_of_kind: impl Fn(&What) -> bool,
) -> Result<Arc<Measure>, ApiError> {
    let found = snapshot.measure(id).filter(|measure| is_of_kind(&measure.what) && is_seen(snapshot, actor, measure));
    found.cloned().ok_or_else(|| ApiError::not_found(DocumentKey { kind: Kind::Measure, id: id.as_uuid() }))
}

/// Measures in force that the actor may see, the oldest first.
pub(super) fn in_force(
    context: &Context,
    snapshot: &Snapshot,
    actor: &Actor,
    is_of_kind: impl Fn(&What) -> bool,
) -> Vec<Arc<Measure>> {
    let now = (context.clock)();
    let mut found: Vec<Arc<Measure>> = snapshot
        .measures()
        .filter(|measure| is_of_kind(&measure.what) && measure.is_in_force(now) && is_seen(snapshot, actor, measure))
        .cloned()
        .collect();
    found.sort_by_key(|measure| (measure.times.created_at, measure.id));
    found
}

/// What is the actor's own, and what is in force where he is.
fn is_seen(snapshot: &Snapshot, actor: &Actor, measure: &Measure) -> bool {
    if let What::Freeze { place: Place::Actor { id }, .. } = &measure.what {
        return *id == actor.id() || matches!(actor.reach, Reach::Fleet);
    }
    let reach = authority::measure_reach(snapshot, measure);
    reach.is_some_and(|reach| actor.reach.covers(&reach) || (measure.place().is_some() && reach.covers(&actor.reach)))
}
