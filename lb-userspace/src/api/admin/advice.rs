//! `/snowshed/v1/lbs/{id}/advice`: whether it is safe to act on what is seen through a load balancer.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use crate::api::handlers::Id;
use crate::api::listing::Pairs;
use crate::api::{ApiError, Context};
use crate::authority::Sight;
use crate::ledger::Snapshot;
use crate::model::{Actor, DocumentKey, Kind, LbId};
use crate::recovery::advice::{self, Advice, Facts};

/// Says whether it is safe to act on what is seen through a load balancer.
#[utoipa::path(get, path = "/snowshed/v1/lbs/{id}/advice", responses((status = 200, body = Advice)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<Advice>, ApiError> {
    pairs.known(&[])?;
    let lb: LbId = path.parse("lb_id")?;
    let snapshot = context.ledger.snapshot();
    let missing = || ApiError::not_found(DocumentKey { kind: Kind::Lb, id: lb.as_uuid() });
    if Sight::new(&snapshot, &actor).lb(lb).is_none() {
        return Err(missing());
    }
    about(&context, &snapshot, lb).map(Json).ok_or_else(missing)
}

/// Advice about a load balancer; `None` when there is none of that id.
pub(super) fn about(context: &Context, snapshot: &Snapshot, lb: LbId) -> Option<Advice> {
    let error = context.ledger.check().err().map(|error| error.to_string());
    let (status, health) = (context.status.borrow().clone(), Arc::clone(&context.health.borrow()));
    let tables = Arc::clone(&context.tables.borrow());
    let (ledger_error, now) = (error.as_deref(), (context.clock)());
    let facts = Facts { snapshot, status: &status, tables: &tables, health: &health, ledger_error, now };
    advice::of(lb, &facts)
}
