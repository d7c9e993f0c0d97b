//! Migrating a load balancer to another type. Its addresses, frontends and flows stay as they are.

use axum::extract::State;

use super::lbs::{show, still_there};
use super::{Id, find_lb, in_lb, key, now};
use crate::api::body::Body;
use crate::api::change::{Draft, commit, run, update as updated};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::idempotency::Caller;
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::model::{Document, Kind, Lb, LbId, LbType};

/// Changes the type of a load balancer.
#[utoipa::path(
    post, path = "/lbs/{id}/migrate",
    request_body = wire::MigrateLb,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Lb))
)]
pub(in crate::api) async fn migrate(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::MigrateLb>,
) -> Result<Versioned<wire::Lb>, ApiError> {
    run(&context, move |context| {
        let lb_id: LbId = path.parse("lb_id")?;
        find_lb(&context.ledger.snapshot(), &actor, lb_id)?;
        let mut arguments = Arguments::default();
        let kind = arguments.needed("type", request.kind, "one of /lb-types", |text| text.parse::<LbType>());
        let kind = arguments.build(kind)?;
        let now = now(context);
        commit(
            context,
            &actor,
            "lb.migrate",
            |current| {
                let before = find_lb(current, &actor, lb_id)?;
                if_match.check(key(Kind::Lb, lb_id.as_uuid()), &*before)?;
                still_there(&before)?;
                let times = if before.kind == kind { before.times } else { before.times.updated(now) };
                let after = Document::Lb(Lb { kind, times, ..Lb::clone(&before) });
                let change = updated(Document::Lb(Lb::clone(&before)), after);
                Ok(Draft { authority: in_lb(current, &actor, lb_id)?, changes: vec![change] })
            },
            |after| show(context, after, &actor, lb_id),
        )
    })
    .await
}
