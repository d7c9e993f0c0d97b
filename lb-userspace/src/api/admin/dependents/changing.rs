//! Changing a dependent: its name, its load balancers, where it is told, and that deletions wait for it.

use axum::extract::State;

use super::{find, key, lb_set, owner_of, right, shown, told_at};
use crate::api::body::Body;
use crate::api::change::{Draft, commit, run, update as updated};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::handlers::{Id, Life};
use crate::api::idempotency::Caller;
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::wire::{Dependent as Shown, UpdateDependent};
use crate::api::{ApiError, Context};
use crate::model::{Dependent, DependentId, Document, Invalid, Name};

/// Changes a dependent; what is absent stays.
#[utoipa::path(
    patch, path = "/snowshed/v1/dependents/{id}",
    request_body = UpdateDependent,
    params(openapi::IfMatch),
    responses((status = 200, body = Shown))
)]
pub(in crate::api) async fn change(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<UpdateDependent>,
) -> Result<Versioned<Shown>, ApiError> {
    let id: DependentId = path.parse("dependent_id")?;
    run(&context, move |context| {
        let there = find(&context.ledger.snapshot(), &actor, id, Life::Live)?;
        let UpdateDependent { name, lb_ids, webhook, finalizer } = request;
        let mut arguments = Arguments::default();
        let name = arguments.or("name", name, None, |text| Name::try_from(text).map(Some));
        let lbs = arguments.or("lb_ids", lb_ids, None, |ids| lb_set(ids).map(Some));
        let webhook = arguments.or("webhook", webhook, None, |text| match text.as_str() {
            "" => Ok(Some(None)),
            _ => told_at(context, text).map(|webhook| Some(Some(webhook))),
        });
        if finalizer == Some(false) && there.finalizer {
            let help = format!("letting go takes a reason: POST /snowshed/v1/dependents/{id}/release");
            arguments.wrong("finalizer", &Invalid::constraint(help));
        }
        let ((name, lbs), webhook) = arguments.build(name.zip(lbs).zip(webhook))?;
        if let Some(lbs) = &lbs
            && owner_of(&context.ledger.snapshot(), &actor, lbs)? != there.owner
        {
            let help = "these are of another project: register another dependent there";
            return Err(ApiError::argument("lb_ids", &Invalid::constraint(help)));
        }
        let now = (context.clock)();
        commit(
            context,
            &actor,
            "dependent.update",
            |current| {
                let before = find(current, &actor, id, Life::Live)?;
                if_match.check(key(id), &*before)?;
                let wanted = Dependent {
                    name: name.clone().unwrap_or_else(|| before.name.clone()),
                    lbs: lbs.clone().unwrap_or_else(|| before.lbs.clone()),
                    webhook: webhook.clone().unwrap_or_else(|| before.webhook.clone()),
                    finalizer: finalizer.unwrap_or(before.finalizer),
                    ..Dependent::clone(&before)
                };
                let times = if wanted == *before { before.times } else { before.times.updated(now) };
                let after = Document::Dependent(Dependent { times, ..wanted });
                let change = updated(Document::Dependent(Dependent::clone(&before)), after);
                Ok(Draft { authority: right(current, &actor, &before)?, changes: vec![change] })
            },
            |after| find(after, &actor, id, Life::Live).map(|found| Versioned(shown(after, &found))),
        )
    })
    .await
}
