//! Subscribers: create, get, list, update, delete; subscribing a load balancer to one, and off.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::lbs::{self, deleted};
use super::{Id, Life, find_lb, in_lb, in_project, key, missing, now};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, commit, create as created, run, update as updated};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::{Arguments, Description, id};
use crate::api::view::View;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::authority::Sight;
use crate::delivery::{Address, parse_mailbox};
use crate::ledger::Snapshot;
use crate::model::{Actor, Document, Invalid, Kind, Lb, LbId, Name, Subscriber, SubscriberId, Times};

/// Makes a subscriber.
#[utoipa::path(
    post, path = "/subscribers",
    request_body = wire::CreateSubscriber,
    responses((status = 200, body = wire::Subscriber))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<wire::CreateSubscriber>,
) -> Result<Versioned<wire::Subscriber>, ApiError> {
    run(&context, move |context| {
        let wire::CreateSubscriber { project_id, organization_id, name, email_config, webhook_config } = request;
        let mut arguments = Arguments::default();
        let owner =
            arguments.owner(&context.ledger.snapshot(), &actor, project_id.as_deref(), organization_id.as_deref());
        let name = arguments.needed("name", name, "1 to 255 characters", Name::try_from);
        let address = address(context, &mut arguments, email_config, webhook_config);
        if address == Some(None) {
            let help = "one of `email_config` and `webhook_config` is needed: where is it told?";
            arguments.wrong("webhook_config", &Invalid::required(help));
        }
        let ((owner, name), address) = arguments.build(owner.zip(name).zip(address.flatten()))?;
        let subscriber =
            Subscriber { id: SubscriberId::new(), owner, name, address, times: Times::created(now(context)) };
        commit(
            context,
            &actor,
            "subscriber.create",
            |current| {
                Ok(Draft {
                    authority: in_project(current, &actor, owner.project)?,
                    changes: vec![created(Document::Subscriber(subscriber.clone()))],
                })
            },
            |after| show(context, after, &actor, subscriber.id, Life::Live),
        )
    })
    .await
}

/// The address that is named, if one is; two are wrong.
fn address(
    context: &Context,
    arguments: &mut Arguments,
    email: Option<wire::EmailConfig>,
    webhook: Option<wire::WebhookConfig>,
) -> Option<Option<Address>> {
    match (email, webhook) {
        (None, None) => Some(None),
        (Some(_), Some(_)) => {
            let help = "give either `email_config` or `webhook_config`: a subscriber is told in one way";
            arguments.wrong("webhook_config", &Invalid::constraint(help));
            None
        }
        (Some(wire::EmailConfig { email }), None) if context.delivery.sends_email => {
            let email = arguments.take("email_config.email", parse_mailbox(&email))?;
            Some(Some(Address::Email { email }))
        }
        (Some(_), None) => {
            let help = "this edge sends no e-mail: give `webhook_config`, or ask its operator for a mail server \
                        (`delivery.smtp_host` of agent.toml)";
            arguments.wrong("email_config", &Invalid::constraint(help));
            None
        }
        (None, Some(wire::WebhookConfig { uri })) => {
            let uri = arguments.take("webhook_config.uri", context.delivery.targets.parse(&uri))?;
            Some(Some(Address::Webhook { uri }))
        }
    }
}

/// Shows a subscriber.
#[utoipa::path(
    get, path = "/subscribers/{id}",
    params(openapi::WithDeleted),
    responses((status = 200, body = wire::Subscriber))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    life: Life,
) -> Result<Versioned<wire::Subscriber>, ApiError> {
    show(&context, &context.ledger.snapshot(), &actor, path.parse("subscriber_id")?, life)
}

/// Lists subscribers.
#[utoipa::path(
    get, path = "/subscribers",
    params(openapi::Paged, openapi::Owned, openapi::WithDeleted),
    responses((status = 200, body = wire::SubscriberList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<wire::SubscriberList>, ApiError> {
    let mut arguments = Arguments::default();
    let (listing, pairs) = Listing::read(pairs, &["project_id", "organization_id", "deleted"], &mut arguments)?;
    let life = Life::of(&pairs, &mut arguments);
    arguments.finish()?;
    let snapshot = context.ledger.snapshot();
    let view = View::new(&context, &snapshot);
    let seen = listing.sight(&snapshot, &actor).into_iter().flat_map(Sight::subscribers);
    let Page { items: page, total_count, next_cursor } =
        listing.page(seen.filter(|subscriber| life.counts(subscriber.times)));
    let subscribers = page.into_iter().map(|subscriber| view.subscriber(subscriber)).collect();
    Ok(Json(wire::SubscriberList { subscribers, total_count, next_cursor }))
}

/// Changes a subscriber: PUT as a whole, PATCH what is named.
#[utoipa::path(
    method(put, patch), path = "/subscribers/{id}",
    request_body = wire::UpdateSubscriber,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Subscriber))
)]
pub(in crate::api) async fn update(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    description: Description,
    Body(request): Body<wire::UpdateSubscriber>,
) -> Result<Versioned<wire::Subscriber>, ApiError> {
    run(&context, move |context| {
        let subscriber_id = path.parse("subscriber_id")?;
        find(&context.ledger.snapshot(), &actor, subscriber_id, Life::Live)?;
        let mut arguments = Arguments::default();
        let name = arguments.of(description, "name", request.name, "1 to 255 characters", Name::try_from);
        let address = address(context, &mut arguments, request.email_config, request.webhook_config);
        let (name, address) = arguments.build(name.zip(address))?;
        let now = now(context);
        commit(
            context,
            &actor,
            "subscriber.update",
            |current| {
                let before = find(current, &actor, subscriber_id, Life::Live)?;
                if_match.check(key(Kind::Subscriber, subscriber_id.as_uuid()), &*before)?;
                let before = Subscriber::clone(&before);
                let wanted = Subscriber {
                    name: name.clone().unwrap_or_else(|| before.name.clone()),
                    address: address.clone().unwrap_or_else(|| before.address.clone()),
                    ..before.clone()
                };
                let times = if wanted == before { before.times } else { before.times.updated(now) };
                let authority = in_project(current, &actor, before.owner.project)?;
                let after = Document::Subscriber(Subscriber { times, ..wanted });
                Ok(Draft { authority, changes: vec![updated(Document::Subscriber(before), after)] })
            },
            |after| show(context, after, &actor, subscriber_id, Life::Live),
        )
    })
    .await
}

/// Deletes a subscriber that no load balancer names.
#[utoipa::path(delete, path = "/lb/subscription/{id}", params(openapi::IfMatch), responses((status = 204)))]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let subscriber_id = path.parse("subscriber_id")?;
    run(&context, move |context| {
        commit(
            context,
            &actor,
            "subscriber.delete",
            |current| {
                let before = find(current, &actor, subscriber_id, Life::Live)?;
                if_match.check(key(Kind::Subscriber, subscriber_id.as_uuid()), &*before)?;
                let authority = in_project(current, &actor, before.owner.project)?;
                let change = deleted(Document::Subscriber(Subscriber::clone(&before)), now(context));
                Ok(Draft { authority, changes: vec![change] })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

/// Tells a subscriber of a load balancer.
///
/// From now on, instead of the one that was told before.
#[utoipa::path(
    post, path = "/lb/{id}/subscribe",
    request_body = wire::Subscribe,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Lb))
)]
pub(in crate::api) async fn subscribe(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::Subscribe>,
) -> Result<Versioned<wire::Lb>, ApiError> {
    let lb_id: LbId = path.parse("lb_id")?;
    run(&context, move |context| {
        find_lb(&context.ledger.snapshot(), &actor, lb_id)?;
        let mut arguments = Arguments::default();
        let help = "the id of a subscriber of the load balancer's project";
        let subscriber = arguments.needed("subscriber_id", request.subscriber_id, help, |text| id(&text));
        let subscriber = arguments.build(subscriber)?;
        assign(context, &actor, &if_match, "lb.subscribe", lb_id, Some(subscriber))
    })
    .await
}

/// Tells nobody of a load balancer any more.
#[utoipa::path(
    delete, path = "/lb/{id}/unsubscribe",
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Lb))
)]
pub(in crate::api) async fn unsubscribe(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<Versioned<wire::Lb>, ApiError> {
    let lb_id: LbId = path.parse("lb_id")?;
    run(&context, move |context| assign(context, &actor, &if_match, "lb.unsubscribe", lb_id, None)).await
}

fn assign(
    context: &Context,
    actor: &Caller,
    if_match: &IfMatch,
    verb: &'static str,
    lb_id: LbId,
    subscriber: Option<SubscriberId>,
) -> Result<Versioned<wire::Lb>, ApiError> {
    let now = now(context);
    commit(
        context,
        actor,
        verb,
        |current| {
            let before = Lb::clone(&*find_lb(current, actor, lb_id)?);
            if_match.check(key(Kind::Lb, lb_id.as_uuid()), &before)?;
            lbs::still_there(&before)?;
            let authority = in_lb(current, actor, lb_id)?;
            if before.subscriber == subscriber {
                return Ok(Draft { authority, changes: Vec::new() });
            }
            let after = Lb { subscriber, times: before.times.updated(now), ..before.clone() };
            Ok(Draft { authority, changes: vec![updated(Document::Lb(before), Document::Lb(after))] })
        },
        |after| lbs::show(context, after, actor, lb_id),
    )
}

/// Shows the secret that verifies the signatures of a subscriber's webhooks: to whoever may change it.
#[utoipa::path(
    get, path = "/snowshed/v1/subscribers/{id}/secret",
    responses((status = 200, body = wire::SubscriberSecret))
)]
pub(in crate::api) async fn secret(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<wire::SubscriberSecret>, ApiError> {
    pairs.known(&[])?;
    let snapshot = context.ledger.snapshot();
    let subscriber = find(&snapshot, &actor, path.parse("subscriber_id")?, Life::Live)?;
    in_project(&snapshot, &actor, subscriber.owner.project)?;
    Ok(Json(wire::SubscriberSecret { secret: context.delivery.key.secret_of(subscriber.recipient()).reveal() }))
}

fn find(snapshot: &Snapshot, actor: &Actor, id: SubscriberId, life: Life) -> Result<Arc<Subscriber>, ApiError> {
    let found = Sight::new(snapshot, actor).subscriber(id).filter(|subscriber| life.counts(subscriber.times));
    found.cloned().ok_or_else(|| missing(Kind::Subscriber, id.as_uuid()))
}

fn show(
    context: &Context,
    snapshot: &Snapshot,
    actor: &Actor,
    id: SubscriberId,
    life: Life,
) -> Result<Versioned<wire::Subscriber>, ApiError> {
    let subscriber = find(snapshot, actor, id, life)?;
    Ok(Versioned(View::new(context, snapshot).subscriber(&subscriber)))
}

impl Listed for &Arc<Subscriber> {
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
