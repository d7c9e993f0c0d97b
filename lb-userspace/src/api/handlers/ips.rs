//! Flexible IPs: reserve, get, list, update, release.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::allocate::allocate;
use super::lbs::deleted;
use super::{Id, Life, find_ip, in_project, key, now};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, commit, create as created, run, update as updated};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs, is_tagged};
use crate::api::openapi;
use crate::api::parse::{Arguments, id};
use crate::api::view::View;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::authority::Sight;
use crate::ledger::Snapshot;
use crate::model::{Actor, Document, Family, Invalid, Ip, IpId, Kind, LbId, Tags, Times, address};

/// Reserves a flexible IP.
#[utoipa::path(post, path = "/ips", request_body = wire::CreateIp, responses((status = 200, body = wire::Ip)))]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<wire::CreateIp>,
) -> Result<Versioned<wire::Ip>, ApiError> {
    run(&context, move |context| {
        let wire::CreateIp { project_id, organization_id, is_ipv6, ip_address, reverse, tags } = request;
        let mut arguments = Arguments::default();
        let owner =
            arguments.owner(&context.ledger.snapshot(), &actor, project_id.as_deref(), organization_id.as_deref());
        let address = arguments.or("ip_address", ip_address, None, |text: String| address::parse(&text).map(Some));
        let family = family(&mut arguments, is_ipv6, address.flatten());
        let reverse = arguments.or("reverse", reverse, String::new(), Ip::parse_reverse);
        let tags = arguments.or("tags", tags, Tags::default(), Tags::try_from);
        let (((address, reverse), tags), owner) = arguments.build(address.zip(reverse).zip(tags).zip(owner))?;
        let (ip_id, now) = (IpId::new(), now(context));
        commit(
            context,
            &actor,
            "ip.create",
            |current| {
                let address = match address {
                    Some(address) => address,
                    None => allocate(context, current, family)?,
                };
                let ip = Ip {
                    id: ip_id,
                    owner,
                    address,
                    lb: None,
                    reverse: reverse.clone(),
                    tags: tags.clone(),
                    times: Times::created(now),
                };
                Ok(Draft {
                    authority: in_project(current, &actor, owner.project)?,
                    changes: vec![created(Document::Ip(ip))],
                })
            },
            |after| show(context, after, &actor, ip_id, Life::Live),
        )
    })
    .await
}

/// The family that is asked for; that of a named address must be the same.
fn family(arguments: &mut Arguments, is_ipv6: Option<bool>, address: Option<IpAddr>) -> Family {
    let asked = is_ipv6.map(|is_ipv6| if is_ipv6 { Family::V6 } else { Family::V4 });
    if let Some((asked, address)) = asked.zip(address)
        && asked != Family::of(address)
    {
        let help = format!(
            "{address} is no {} address: leave `is_ipv6` out, or give an address of that family",
            asked.as_str()
        );
        arguments.wrong("is_ipv6", &Invalid::constraint(help));
    }
    asked.unwrap_or(Family::V4)
}

/// Shows a flexible IP.
#[utoipa::path(
    get, path = "/ips/{id}",
    params(openapi::WithDeleted),
    responses((status = 200, body = wire::Ip))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    life: Life,
) -> Result<Versioned<wire::Ip>, ApiError> {
    show(&context, &context.ledger.snapshot(), &actor, path.parse("ip_id")?, life)
}

/// Lists flexible IPs.
#[utoipa::path(
    get, path = "/ips",
    params(openapi::Paged, openapi::Owned, openapi::IpFilter, openapi::WithDeleted),
    responses((status = 200, body = wire::IpList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<wire::IpList>, ApiError> {
    let mut arguments = Arguments::default();
    let own = ["project_id", "organization_id", "tags", "ip_address", "ip_type", "deleted"];
    let (listing, pairs) = Listing::read(pairs, &own, &mut arguments)?;
    let wanted = pairs.one(&mut arguments, "ip_address");
    let wanted = arguments.or("ip_address", wanted, None, |text| address::parse(text).map(Some));
    let life = Life::of(&pairs, &mut arguments);
    let family = pairs.one(&mut arguments, "ip_type");
    let family = arguments.or("ip_type", family, None, ip_type);
    let (wanted, family) = arguments.build(wanted.zip(family))?;
    let tags: Vec<&str> = pairs.all("tags").collect();
    let snapshot = context.ledger.snapshot();
    let ips = listing.sight(&snapshot, &actor).into_iter().flat_map(Sight::ips).filter(|ip| {
        life.counts(ip.times)
            && wanted.is_none_or(|address| ip.address == address)
            && family.is_none_or(|family| Family::of(ip.address) == family)
            && is_tagged(&tags, &ip.tags)
    });
    let Page { items: page, total_count, next_cursor } = listing.page(ips);
    let view = View::new(&context, &snapshot);
    Ok(Json(wire::IpList { ips: page.into_iter().map(|ip| view.ip(ip)).collect(), total_count, next_cursor }))
}

fn ip_type(text: &str) -> Result<Option<Family>, Invalid> {
    match text {
        "all" => Ok(None),
        "ipv4" => Ok(Some(Family::V4)),
        "ipv6" => Ok(Some(Family::V6)),
        _ => Err(Invalid::constraint(format!("`{text}` is no type of address: all, ipv4 and ipv6 are"))),
    }
}

/// Changes a flexible IP.
#[utoipa::path(
    patch, path = "/ips/{id}",
    request_body = wire::UpdateIp,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Ip))
)]
pub(in crate::api) async fn update(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::UpdateIp>,
) -> Result<Versioned<wire::Ip>, ApiError> {
    run(&context, move |context| {
        let ip_id = path.parse("ip_id")?;
        find_ip(&context.ledger.snapshot(), &actor, ip_id, Life::Live)?;
        let mut arguments = Arguments::default();
        let reverse = arguments.or("reverse", request.reverse, None, |text| Ip::parse_reverse(text).map(Some));
        let tags = arguments.or("tags", request.tags, None, |tags| Tags::try_from(tags).map(Some));
        let lb = arguments.or("lb_id", request.lb_id, None, |lb| attachment(lb.as_deref()).map(Some));
        let ((reverse, tags), lb) = arguments.build(reverse.zip(tags).zip(lb))?;
        let now = now(context);
        commit(
            context,
            &actor,
            "ip.update",
            |current| {
                let before = find_ip(current, &actor, ip_id, Life::Live)?;
                if_match.check(key(Kind::Ip, ip_id.as_uuid()), &*before)?;
                if let Some(Some(lb)) = lb
                    && Sight::new(current, &actor).lb(lb).is_none_or(|lb| lb.owner != before.owner)
                {
                    let help = format!("there is no load balancer {lb} in the project of this token");
                    return Err(ApiError::argument("lb_id", &Invalid::constraint(help)));
                }
                let wanted = Ip {
                    reverse: reverse.clone().unwrap_or_else(|| before.reverse.clone()),
                    tags: tags.clone().unwrap_or_else(|| before.tags.clone()),
                    lb: lb.unwrap_or(before.lb),
                    ..Ip::clone(&before)
                };
                let times = if wanted == *before { before.times } else { before.times.updated(now) };
                let change = updated(Document::Ip(Ip::clone(&before)), Document::Ip(Ip { times, ..wanted }));
                Ok(Draft { authority: in_project(current, &actor, before.owner.project)?, changes: vec![change] })
            },
            |after| show(context, after, &actor, ip_id, Life::Live),
        )
    })
    .await
}

/// A load balancer, or none for `null` and an empty text.
fn attachment(text: Option<&str>) -> Result<Option<LbId>, Invalid> {
    text.filter(|text| !text.is_empty()).map(id).transpose()
}

/// Releases a flexible IP.
#[utoipa::path(delete, path = "/ips/{id}", params(openapi::IfMatch), responses((status = 204)))]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let ip_id = path.parse("ip_id")?;
    run(&context, move |context| {
        let now = now(context);
        commit(
            context,
            &actor,
            "ip.delete",
            |current| {
                let before = find_ip(current, &actor, ip_id, Life::Live)?;
                if_match.check(key(Kind::Ip, ip_id.as_uuid()), &*before)?;
                // Attached ones are refused by the guard, with what to do.
                let change = deleted(Document::Ip(Ip::clone(&before)), now);
                Ok(Draft { authority: in_project(current, &actor, before.owner.project)?, changes: vec![change] })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

fn show(
    context: &Context,
    snapshot: &Snapshot,
    actor: &Actor,
    id: IpId,
    life: Life,
) -> Result<Versioned<wire::Ip>, ApiError> {
    let ip = find_ip(snapshot, actor, id, life)?;
    Ok(Versioned(View::new(context, snapshot).ip(&ip)))
}

impl Listed for &Arc<Ip> {
    fn name(&self) -> String {
        self.reverse.clone()
    }

    fn created_at(&self) -> jiff::Timestamp {
        self.times.created_at
    }

    fn id(&self) -> uuid::Uuid {
        self.id.as_uuid()
    }
}
