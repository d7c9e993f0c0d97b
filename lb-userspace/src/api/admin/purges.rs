//! `/snowshed/v1/purges`: what was deleted long ago and will leave the ledger's snapshot, said a day before. Nobody makes one
//! by request: a freeze of the verb `purge.apply` stops them, and `undelete` calls them off.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};

use super::measures;
use crate::api::handlers::Id;
use crate::api::listing::Pairs;
use crate::api::wire::{Purge as Shown, PurgeList};
use crate::api::{ApiError, Context};
use crate::ledger::{Snapshot, purge::spoilt};
use crate::model::{Actor, Kind, LbId, Measure, MeasureId, What};
use crate::purge::addresses;

/// Load balancers and addresses that are shown.
const SAMPLE: usize = 100;

const fn is_purge(what: &What) -> bool {
    matches!(what, What::Purge(_))
}

/// Lists the purges that wait.
#[utoipa::path(get, path = "/snowshed/v1/purges", responses((status = 200, body = PurgeList)))]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<PurgeList>, ApiError> {
    pairs.known(&[])?;
    let purges = waiting(&context, &context.ledger.snapshot(), &actor);
    Ok(Json(PurgeList { total_count: purges.len() as u64, purges }))
}

/// Shows a purge, also one that was carried out or called off.
#[utoipa::path(get, path = "/snowshed/v1/purges/{id}", responses((status = 200, body = Shown)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
) -> Result<Json<Shown>, ApiError> {
    let id: MeasureId = path.parse("purge_id")?;
    let snapshot = context.ledger.snapshot();
    let measure = measures::find(&snapshot, &actor, id, is_purge)?;
    shown(&snapshot, &measure).map(Json).ok_or_else(|| ApiError::internal("a purge is none"))
}

/// Purges that wait, as far as the actor sees them.
pub(super) fn waiting(context: &Context, snapshot: &Snapshot, actor: &Actor) -> Vec<Shown> {
    let found = measures::in_force(context, snapshot, actor, is_purge);
    let shown = found.iter().filter_map(|measure| shown(snapshot, measure));
    shown.filter(|purge| purge.applied_at.is_none()).collect()
}

fn shown(snapshot: &Snapshot, measure: &Measure) -> Option<Shown> {
    let purge = measure.purge()?;
    let mut documents: BTreeMap<String, u64> = BTreeMap::new();
    for key in &purge.documents {
        *documents.entry(key.kind.as_str().to_owned()).or_default() += 1;
    }
    let lbs = purge.documents.iter().filter(|key| key.kind == Kind::Lb).map(|key| LbId::from_uuid(key.id));
    let waits = purge.applied_at.is_none() && measure.times.is_live();
    Some(Shown {
        id: measure.id,
        organization_id: purge.owner.organization,
        project_id: purge.owner.project,
        documents,
        lb_ids: lbs.take(SAMPLE).collect(),
        addresses: addresses(snapshot, purge).iter().take(SAMPLE).map(ToString::to_string).collect(),
        reason: measure.reason.as_str().to_owned(),
        not_before: purge.not_before,
        expires_at: measure.expires_at,
        applied_at: purge.applied_at,
        ended_at: measure.times.deleted_at,
        stale: if waits { spoilt(snapshot, measure, purge) } else { None },
    })
}
