//! `/lb-types`: what can be given as `type`.

use axum::extract::State;
use axum::{Extension, Json};

use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::wire::{LbTypeInfo, LbTypeList};
use crate::api::{ApiError, Context};
use crate::model::{Actor, Class, LbType};

/// Lists the types of load balancers.
#[utoipa::path(
    get, path = "/lb-types",
    params(openapi::Paged, openapi::Owned),
    responses((status = 200, body = LbTypeList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<LbTypeList>, ApiError> {
    let mut arguments = Arguments::default();
    let (listing, _) = Listing::read(pairs, &["project_id", "organization_id"], &mut arguments)?;
    arguments.finish()?;
    let sees = listing.sight(&context.ledger.snapshot(), &actor).is_some();
    let Page { items: page, total_count, next_cursor } = listing.page(LbType::ALL.into_iter().filter(|_| sees));
    let info = |kind: LbType| LbTypeInfo {
        name: kind.as_str().to_owned(),
        stock_status: "available".to_owned(),
        bandwidth: 0,
        multicloud: true,
        description: description(kind),
        zone: context.zone.clone(),
    };
    Ok(Json(LbTypeList { lb_types: page.into_iter().map(info).collect(), total_count, next_cursor }))
}

fn description(kind: LbType) -> String {
    let Class { frontends, backends, servers_per_backend } = kind.class();
    let quotas = match kind {
        LbType::Xl => "as many frontends, backends and servers as the edge allows".to_owned(),
        _ => format!("up to {frontends} frontends, {backends} backends and {servers_per_backend} servers of each"),
    };
    format!("{quotas}; every type is forwarded the same way")
}

/// Types are all of one age: by age they stay in the order of the sizes.
impl Listed for LbType {
    fn name(&self) -> String {
        self.as_str().to_owned()
    }

    fn created_at(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    fn id(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }
}
