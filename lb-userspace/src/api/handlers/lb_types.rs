//! `/lb-types`: what can be given as `type`.

use axum::extract::State;
use axum::{Extension, Json};

use crate::api::listing::{Listing, Pairs};
use crate::api::parse::Arguments;
use crate::api::wire::{LbTypeInfo, LbTypeList};
use crate::api::{ApiError, Context};
use crate::model::{Actor, LbType};

pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<LbTypeList>, ApiError> {
    let mut arguments = Arguments::default();
    let (_, _) = Listing::read(pairs, &actor, &["project_id", "organization_id"], &mut arguments)?;
    arguments.finish()?;
    let info = |kind: LbType| LbTypeInfo {
        name: kind.as_str().to_owned(),
        stock_status: "available".to_owned(),
        description: "a quota class; every type is forwarded the same way".to_owned(),
        zone: context.zone.clone(),
    };
    let lb_types: Vec<LbTypeInfo> = LbType::ALL.into_iter().map(info).collect();
    Ok(Json(LbTypeList { total_count: lb_types.len() as u64, lb_types }))
}
