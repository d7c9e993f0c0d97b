//! `/snowshed/v1/deliveries`: webhooks and e-mails that wait, that were given up, and that arrived lately; and
//! `/snowshed/v1/alarm-targets`: who is told of the edge's own alarms.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jiff::Timestamp;
use uuid::Uuid;

use crate::api::body::Bare;
use crate::api::change::run;
use crate::api::handlers::Id;
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::{ApiError, Context, wire};
use crate::authority::{Sight, Write};
use crate::delivery::{Address, Delivery, Filter, OutboxError, Recipient, State as Progress};
use crate::ledger::{LedgerError, Snapshot};
use crate::model::{Act, Actor, DocumentKey, Invalid, Kind, Reach, Scope};
use crate::observe::chain;

/// Lists deliveries: what waits, what was given up and what arrived lately.
#[utoipa::path(
    get, path = "/snowshed/v1/deliveries",
    params(openapi::Paged, openapi::DeliveryFilter),
    responses((status = 200, body = wire::DeliveryList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<wire::DeliveryList>, ApiError> {
    let mut arguments = Arguments::default();
    let (listing, pairs) = Listing::read(pairs, &["state", "recipient_id"], &mut arguments)?;
    let state = pairs.one(&mut arguments, "state");
    let state = arguments.or("state", state, None, |text| progress(text).map(Some));
    let recipient = pairs.one(&mut arguments, "recipient_id");
    let recipient = arguments.or("recipient_id", recipient, None, |text| uuid(text).map(Some));
    let (state, recipient) = arguments.build(state.zip(recipient))?;
    run(&context, move |context| {
        let snapshot = context.ledger.snapshot();
        let found = context.delivery.outbox.deliveries(&Filter { state, recipient }).map_err(failed)?;
        let seen = found.into_iter().filter(|delivery| sees(&snapshot, &actor, delivery)).map(Arc::new);
        let Page { items: page, total_count, next_cursor } = listing.page(seen);
        Ok(Json(wire::DeliveryList {
            deliveries: page.into_iter().map(Arc::unwrap_or_clone).collect(),
            total_count,
            next_cursor,
        }))
    })
    .await
}

/// Shows a delivery.
#[utoipa::path(get, path = "/snowshed/v1/deliveries/{id}", responses((status = 200, body = Delivery)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<Delivery>, ApiError> {
    pairs.known(&[])?;
    let id = uuid(path.text()).map_err(|invalid| ApiError::argument("delivery_id", &invalid))?;
    run(&context, move |context| find(context, &context.ledger.snapshot(), &actor, id).map(Json)).await
}

/// Sends a dead letter again.
///
/// One that waits anyway is left alone; one that was delivered is refused.
#[utoipa::path(post, path = "/snowshed/v1/deliveries/{id}/redeliver", responses((status = 200, body = Delivery)))]
pub(in crate::api) async fn redeliver(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    _: Bare,
) -> Result<Json<Delivery>, ApiError> {
    let id = uuid(path.text()).map_err(|invalid| ApiError::argument("delivery_id", &invalid))?;
    run(&context, move |context| {
        let snapshot = context.ledger.snapshot();
        let delivery = find(context, &snapshot, &actor, id)?;
        may_edit(&snapshot, &actor, &delivery)?;
        if context.delivery.expects_denial {
            return Err(LedgerError::Denied.into());
        }
        if delivery.state == Progress::Delivered {
            let help = "it was delivered: a letter is not sent twice".to_owned();
            return Err(ApiError::argument("delivery_id", &Invalid::constraint(help)));
        }
        context.delivery.outbox.redeliver(id, (context.clock)()).map_err(failed)?;
        find(context, &snapshot, &actor, id).map(Json)
    })
    .await
}

/// Lists who is told of the edge's own alarms.
///
/// With the secrets that verify their webhooks: for operators; others are told of none.
#[utoipa::path(get, path = "/snowshed/v1/alarm-targets", responses((status = 200, body = wire::AlarmTargetList)))]
pub(in crate::api) async fn alarm_targets(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<wire::AlarmTargetList>, ApiError> {
    pairs.known(&[])?;
    let may_see = actor.reach == Reach::Fleet && actor.role.may(Act::Edit);
    let targets = context.delivery.outbox.alarm_targets().iter().filter(|_| may_see);
    let alarm_targets: Vec<wire::AlarmTarget> = targets
        .map(|address| {
            let recipient = Recipient::of_alarms(address);
            let is_webhook = matches!(address, Address::Webhook { .. });
            let secret = is_webhook.then(|| context.delivery.key.secret_of(recipient).reveal());
            wire::AlarmTarget { id: recipient.id, address: address.clone(), secret }
        })
        .collect();
    Ok(Json(wire::AlarmTargetList { total_count: alarm_targets.len() as u64, alarm_targets }))
}

fn find(context: &Context, snapshot: &Snapshot, actor: &Actor, id: Uuid) -> Result<Delivery, ApiError> {
    let found = context.delivery.outbox.delivery(id).map_err(failed)?;
    found.filter(|delivery| sees(snapshot, actor, delivery)).ok_or_else(|| {
        let help = "list what there is: `snowshed delivery list`".to_owned();
        ApiError::nothing_there(format!("there is no delivery {id} in the project of this token"), help)
    })
}

/// What is nobody's in particular is the operators'.
fn sees(snapshot: &Snapshot, actor: &Actor, delivery: &Delivery) -> bool {
    match delivery.letter.project_id {
        Some(project) => Sight::new(snapshot, actor).sees_project(project),
        None => actor.reach == Reach::Fleet,
    }
}

fn may_edit(snapshot: &Snapshot, actor: &Actor, delivery: &Delivery) -> Result<(), ApiError> {
    let denied = match delivery.letter.project_id {
        Some(project) => Write::authorize(snapshot, actor, Act::Edit, Scope::Project { project }).err(),
        None if actor.role.may(Act::Edit) => None,
        None => Some(crate::authority::Denied::Role { role: actor.role, act: Act::Edit }),
    };
    let project = delivery.letter.project_id.map_or(Uuid::nil(), |project| project.as_uuid());
    denied.map_or(Ok(()), |denied| Err(ApiError::denied(denied, DocumentKey { kind: Kind::Project, id: project })))
}

fn progress(text: &str) -> Result<Progress, Invalid> {
    Progress::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let words = Progress::ALL.map(Progress::as_str).join(", ");
        Invalid::constraint(format!("`{text}` is no state of a delivery: {words} are"))
    })
}

fn uuid(text: &str) -> Result<Uuid, Invalid> {
    match Uuid::try_parse(text) {
        Ok(id) if !id.is_nil() => Ok(id),
        _ => Err(Invalid::format(format!("`{text}` is not an id: a UUID is expected"))),
    }
}

fn failed(error: OutboxError) -> ApiError {
    log::error!("{}", chain(&error));
    ApiError::internal(&error.to_string())
}

impl Listed for Arc<Delivery> {
    fn name(&self) -> String {
        self.letter.kind.clone()
    }

    fn created_at(&self) -> Timestamp {
        self.posted_at
    }

    fn id(&self) -> Uuid {
        self.id
    }
}
