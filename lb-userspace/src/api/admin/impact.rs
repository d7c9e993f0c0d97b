//! `/snowshed/v1/impact`: what would break if a place were gone, before it is. Plans say the same of their load balancers.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::{Extension, Json};

use super::measures;
use crate::api::change::run;
use crate::api::listing::Pairs;
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::wire::{Impact, PlanSubject};
use crate::api::{ApiError, Context};
use crate::ledger::Snapshot;
use crate::model::{Actor, LbId, OrganizationId, Place, Reach};
use crate::observe::Rate;

/// Load balancers that are shown.
const SAMPLE: usize = 100;

/// What hangs on load balancers.
pub(super) struct Blast {
    pub(super) organizations: BTreeMap<OrganizationId, u64>,
    pub(super) dependents: BTreeMap<String, u64>,
    pub(super) total: Rate,
    /// The first by id.
    pub(super) sample: Vec<PlanSubject>,
}

impl Blast {
    /// # Errors
    /// When the live traffic cannot be read: a guess would be worse than no answer.
    pub(super) fn of(context: &Context, snapshot: &Snapshot, ids: &BTreeSet<LbId>) -> Result<Self, ApiError> {
        let rates = context.live_traffic.of(ids);
        let rates = rates.map_err(|error| ApiError::unavailable(&format!("no live traffic: {error}")))?;
        let lbs: Vec<_> = ids.iter().filter_map(|lb| snapshot.lb(*lb)).collect();
        let mut organizations = BTreeMap::new();
        for lb in &lbs {
            *organizations.entry(lb.owner.organization).or_default() += 1;
        }
        let sample = lbs.iter().take(SAMPLE).map(|lb| PlanSubject {
            lb: lb.id,
            name: lb.name.to_string(),
            organization_id: lb.owner.organization,
            packets_per_second: rates.get(&lb.id).copied().unwrap_or_default().packets_per_second,
        });
        Ok(Self {
            organizations,
            dependents: snapshot.dependents_by_kind(ids),
            total: rates.values().fold(Rate::default(), |sum, rate| sum.plus(*rate)),
            sample: sample.collect(),
        })
    }
}

/// Shows what would break if a place were gone.
#[utoipa::path(
    get, path = "/snowshed/v1/impact",
    params(openapi::ImpactQuery),
    responses((status = 200, body = Impact))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<Impact>, ApiError> {
    let pairs = pairs.known(&["place"])?;
    let mut arguments = Arguments::default();
    let place = pairs.one(&mut arguments, "place").map(str::to_owned);
    let help = "`lb:ID`, `project:ID`, `organization:ID`, or `zone` for everything";
    let place = arguments.needed("place", place, help, |text| measures::place(&text));
    let place = arguments.build(place)?;
    run(&context, move |context| {
        let snapshot = context.ledger.snapshot();
        let place = match place {
            Place::Zone if matches!(actor.reach, Reach::Fleet) => Place::Zone,
            place => measures::tenant_place(&snapshot, &actor, place)?,
        };
        let live: Vec<_> = snapshot.lbs_at(&place).filter(|lb| lb.times.is_live()).collect();
        let ids: BTreeSet<LbId> = live.iter().map(|lb| lb.id).collect();
        let Blast { organizations, dependents, total, sample } = Blast::of(context, &snapshot, &ids)?;
        let addresses = ids.iter().flat_map(|lb| snapshot.ips_of(*lb)).filter(|ip| ip.times.is_live()).count();
        let holding = ids.iter().flat_map(|lb| snapshot.holders_of(*lb)).map(|one| one.id).collect::<BTreeSet<_>>();
        Ok(Json(Impact {
            place: measures::text(&place),
            count: ids.len() as u64,
            addresses: addresses as u64,
            protected: live.iter().filter(|lb| lb.protected).count() as u64,
            holding: holding.len() as u64,
            organizations,
            dependents,
            packets_per_second: total.packets_per_second,
            connections_per_second: total.connections_per_second,
            sample,
        }))
    })
    .await
}
