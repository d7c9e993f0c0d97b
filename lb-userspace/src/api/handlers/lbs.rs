//! Load balancers: create, get, list, update, delete.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::allocate::allocate;
use super::{Id, find_lb, in_lb, in_project, key, now};
use crate::api::body::{Body, NoBody};
use crate::api::change::{Draft, Order, commit, commit_as, create as created, run, update as updated};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs, is_tagged};
use crate::api::openapi;
use crate::api::parse::{Arguments, Description, id};
use crate::api::view::View;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::authority::Sight;
use crate::ledger::{Change, Snapshot};
use crate::model::{
    Actor, ClosedPort, Document, Family, Invalid, Ip, IpId, Kind, Lb, LbId, LbType, Name, Owner, Tags, Times,
};
use crate::observe::Rate;

/// Makes a load balancer.
#[utoipa::path(post, path = "/lbs", request_body = wire::CreateLb, responses((status = 200, body = wire::Lb)))]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<wire::CreateLb>,
) -> Result<Versioned<wire::Lb>, ApiError> {
    run(&context, move |context| {
        let (lb, addresses) = parse(&context.ledger.snapshot(), &actor, request, now(context))?;
        commit(
            context,
            &actor,
            "lb.create",
            |current| {
                let mut changes = vec![created(Document::Lb(lb.clone()))];
                changes.extend(addresses.changes(context, current, &lb)?);
                Ok(Draft { authority: in_project(current, &actor, lb.owner.project)?, changes })
            },
            |after| show(context, after, &actor, lb.id),
        )
    })
    .await
}

/// Shows a load balancer, also a deleted one.
#[utoipa::path(get, path = "/lbs/{id}", responses((status = 200, body = wire::Lb)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
) -> Result<Versioned<wire::Lb>, ApiError> {
    show(&context, &context.ledger.snapshot(), &actor, path.parse("lb_id")?)
}

/// Lists load balancers.
#[utoipa::path(
    get, path = "/lbs",
    params(openapi::Paged, openapi::Owned, openapi::LbFilter),
    responses((status = 200, body = wire::LbList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<wire::LbList>, ApiError> {
    let mut arguments = Arguments::default();
    let own = ["project_id", "organization_id", "tags", "lb_ids", "deleted"];
    let (listing, pairs) = Listing::read(pairs, &own, &mut arguments)?;
    let ids: Option<Vec<LbId>> = pairs.all("lb_ids").map(|text| arguments.take("lb_ids", id(text))).collect();
    let with_deleted = pairs.flag(&mut arguments, "deleted");
    let ids = arguments.build(ids)?;
    let tags: Vec<&str> = pairs.all("tags").collect();
    run_list(&context, &actor, &listing, |lb| {
        (with_deleted || lb.times.is_live()) && (ids.is_empty() || ids.contains(&lb.id)) && is_tagged(&tags, &lb.tags)
    })
}

fn run_list(
    context: &Context,
    actor: &Actor,
    listing: &Listing,
    filter: impl Fn(&Lb) -> bool,
) -> Result<Json<wire::LbList>, ApiError> {
    let snapshot = context.ledger.snapshot();
    let view = View::new(context, &snapshot);
    let seen = listing.sight(&snapshot, actor).into_iter().flat_map(Sight::lbs);
    let Page { items: page, total_count, next_cursor } = listing.page(seen.filter(|lb| filter(lb)));
    Ok(Json(wire::LbList { lbs: page.into_iter().map(|lb| view.lb(lb)).collect(), total_count, next_cursor }))
}

/// Changes a load balancer: PUT as a whole, PATCH what is named.
#[utoipa::path(
    method(put, patch), path = "/lbs/{id}",
    request_body = wire::UpdateLb,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Lb))
)]
pub(in crate::api) async fn update(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    description: Description,
    Body(request): Body<wire::UpdateLb>,
) -> Result<Versioned<wire::Lb>, ApiError> {
    run(&context, move |context| {
        let lb_id = path.parse("lb_id")?;
        find_lb(&context.ledger.snapshot(), &actor, lb_id)?;
        let mut arguments = Arguments::default();
        let name = arguments.of(description, "name", request.name, "1 to 255 characters", Name::try_from);
        let text = arguments.or("description", request.description, None, |text| Lb::parse_description(text).map(Some));
        let tags = arguments.or("tags", request.tags, None, |tags| Tags::try_from(tags).map(Some));
        ssl_compatibility_level(&mut arguments, request.ssl_compatibility_level);
        let closed =
            arguments.or("on_closed_port", request.on_closed_port, None, |text| text.parse::<ClosedPort>().map(Some));
        let parsed = name.zip(text).zip(tags).zip(closed);
        let (((name, text), tags), on_closed_port) = arguments.build(parsed)?;
        let now = now(context);
        commit(
            context,
            &actor,
            "lb.update",
            |current| {
                let before = find_lb(current, &actor, lb_id)?;
                if_match.check(key(Kind::Lb, lb_id.as_uuid()), &*before)?;
                still_there(&before)?;
                let wanted = Lb {
                    name: name.clone().unwrap_or_else(|| before.name.clone()),
                    description: text
                        .clone()
                        .unwrap_or_else(|| description.absent(before.description.clone(), String::new())),
                    tags: tags.clone().unwrap_or_else(|| description.absent(before.tags.clone(), Tags::default())),
                    answers_echo: request.answers_echo.unwrap_or(before.answers_echo),
                    on_closed_port: on_closed_port.unwrap_or(before.on_closed_port),
                    protected: request.protected.unwrap_or(before.protected),
                    ..Lb::clone(&before)
                };
                let times = if wanted == *before { before.times } else { before.times.updated(now) };
                let change = updated(Document::Lb(Lb::clone(&before)), Document::Lb(Lb { times, ..wanted }));
                Ok(Draft { authority: in_lb(current, &actor, lb_id)?, changes: vec![change] })
            },
            |after| show(context, after, &actor, lb_id),
        )
    })
    .await
}

/// How a load balancer is deleted.
struct Deletion {
    /// Its addresses go with it.
    release_ip: bool,
    /// Also while it has live traffic.
    with_traffic: bool,
    /// Without a grace period.
    now: bool,
}

/// Deletes a load balancer; it can be brought back.
///
/// Deleting what is deleted changes nothing.
#[utoipa::path(
    delete, path = "/lbs/{id}",
    params(openapi::LbDeletion, openapi::IfMatch),
    responses((status = 204))
)]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    pairs: Pairs,
    _: NoBody,
) -> Result<StatusCode, ApiError> {
    let lb_id: LbId = path.parse("lb_id")?;
    let pairs = pairs.known(&["release_ip", "with_traffic", "now"])?;
    let mut arguments = Arguments::default();
    let deletion = Deletion {
        release_ip: pairs.flag(&mut arguments, "release_ip"),
        with_traffic: pairs.flag(&mut arguments, "with_traffic"),
        now: pairs.flag(&mut arguments, "now"),
    };
    arguments.finish()?;
    run(&context, move |context| {
        let lb = find_lb(&context.ledger.snapshot(), &actor, lb_id)?;
        let order = Order { traffic: deletion.traffic(context, &lb)?, ..Order::new("lb.delete") };
        commit_as(
            context,
            &actor,
            &order,
            |current, now| {
                let before = find_lb(current, &actor, lb_id)?;
                if_match.check(key(Kind::Lb, lb_id.as_uuid()), &*before)?;
                Ok(Draft {
                    authority: in_lb(current, &actor, lb_id)?,
                    changes: deletion.changes(current, &before, now),
                })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

impl Deletion {
    fn changes(&self, current: &Snapshot, before: &Lb, now: jiff::Timestamp) -> Vec<Change> {
        if !before.times.is_live() {
            return Vec::new();
        }
        let after = Lb { at_once: self.now, times: before.times.deleted(now), ..before.clone() };
        let mut changes = vec![updated(Document::Lb(before.clone()), Document::Lb(after))];
        let released = current.ips_of(before.id).filter(|ip| self.release_ip && ip.times.is_live());
        changes.extend(released.map(|ip| deleted(Document::Ip(Ip::clone(ip)), now)));
        changes
    }

    /// Traffic that would be cut off, if none may be. Without a grace period only drained servers may have any.
    fn traffic(&self, context: &Context, lb: &Lb) -> Result<BTreeMap<LbId, Rate>, ApiError> {
        if !lb.times.is_live() || (self.with_traffic && !self.now) || is_drained(&context.ledger.snapshot(), lb.id) {
            return Ok(BTreeMap::new());
        }
        context.live_traffic.of(&BTreeSet::from([lb.id])).map_err(|error| {
            ApiError::unavailable(&format!("whether the load balancer has live traffic cannot be read: {error}"))
        })
    }
}

/// Whether every server of a load balancer is drained.
fn is_drained(snapshot: &Snapshot, lb: LbId) -> bool {
    let mut servers = snapshot.backends_of(lb).filter(|backend| backend.times.is_live()).flat_map(|it| &it.servers);
    let mut servers = servers.by_ref().peekable();
    servers.peek().is_some() && servers.all(|server| server.drains())
}

/// Refuses to change a deleted load balancer, also to what it is already.
pub(super) fn still_there(lb: &Lb) -> Result<(), ApiError> {
    let key = key(Kind::Lb, lb.id.as_uuid());
    if lb.times.is_live() { Ok(()) } else { Err(ApiError::deleted(key)) }
}

/// A tombstone.
pub(in crate::api) fn deleted(before: Document, now: jiff::Timestamp) -> Change {
    let mut after = before.clone();
    let times = after.times_mut();
    *times = times.deleted(now);
    updated(before, after)
}

pub(super) fn show(
    context: &Context,
    snapshot: &Snapshot,
    actor: &Actor,
    id: LbId,
) -> Result<Versioned<wire::Lb>, ApiError> {
    let lb = find_lb(snapshot, actor, id)?;
    Ok(Versioned(View::new(context, snapshot).lb(&lb)))
}

/// Addresses of a new load balancer.
struct Addresses {
    existing: Vec<(String, IpId)>,
    assign_v4: bool,
    assign_v6: bool,
    owner: Owner,
    /// Ids of the IPs that are reserved, IPv4 and IPv6; the same in every try.
    new: [IpId; 2],
}

impl Addresses {
    fn changes(&self, context: &Context, current: &Snapshot, lb: &Lb) -> Result<Vec<Change>, ApiError> {
        let mut arguments = Arguments::default();
        let mut existing: Vec<Arc<Ip>> = Vec::new();
        for (argument, id) in &self.existing {
            match current.ip(*id).filter(|ip| ip.owner == self.owner && ip.times.is_live()) {
                Some(ip) => existing.push(Arc::clone(ip)),
                None => {
                    let help = format!("there is no IP {id} in the project of this token");
                    arguments.wrong(argument, &Invalid::constraint(help));
                }
            }
        }
        arguments.finish()?;
        let mut changes = Vec::new();
        for (family, wanted, id) in
            [(Family::V4, self.assign_v4, self.new[0]), (Family::V6, self.assign_v6, self.new[1])]
        {
            if wanted && !existing.iter().any(|ip| Family::of(ip.address) == family) {
                let address = allocate(context, current, family)?;
                changes.push(created(Document::Ip(self.reserved(id, address, lb))));
            }
        }
        changes.extend(existing.iter().map(|ip| {
            let times = ip.times.updated(lb.times.created_at);
            let after = Ip { lb: Some(lb.id), times, ..Ip::clone(ip) };
            updated(Document::Ip(Ip::clone(ip)), Document::Ip(after))
        }));
        Ok(changes)
    }

    fn reserved(&self, id: IpId, address: IpAddr, lb: &Lb) -> Ip {
        Ip {
            id,
            owner: self.owner,
            address,
            lb: Some(lb.id),
            reverse: String::new(),
            tags: Tags::default(),
            times: lb.times,
        }
    }
}

fn parse(
    current: &Snapshot,
    actor: &Actor,
    request: wire::CreateLb,
    now: jiff::Timestamp,
) -> Result<(Lb, Addresses), ApiError> {
    let wire::CreateLb {
        project_id,
        organization_id,
        name,
        description,
        ip_id,
        ip_ids,
        assign_flexible_ip,
        assign_flexible_ipv6,
        tags,
        kind,
        ssl_compatibility_level: ssl,
        answers_echo,
        on_closed_port,
        protected,
    } = request;
    let mut arguments = Arguments::default();
    let owner = arguments.owner(current, actor, project_id.as_deref(), organization_id.as_deref());
    let name = arguments.needed("name", name, "1 to 255 characters", Name::try_from);
    let description = arguments.or("description", description, String::new(), Lb::parse_description);
    let tags = arguments.or("tags", tags, Tags::default(), Tags::try_from);
    let kind = arguments.or("type", kind, LbType::default(), |text| text.parse());
    ssl_compatibility_level(&mut arguments, ssl);
    let answers_echo = answers_echo.unwrap_or(true);
    let on_closed_port =
        arguments.or("on_closed_port", on_closed_port, ClosedPort::default(), |text| text.parse::<ClosedPort>());
    let existing = existing(&mut arguments, ip_id, ip_ids);
    let addresses = existing.zip(owner).map(|(existing, owner)| Addresses {
        assign_v4: assign_flexible_ip.unwrap_or(existing.is_empty()),
        assign_v6: assign_flexible_ipv6.unwrap_or(false),
        existing,
        owner,
        new: [IpId::new(), IpId::new()],
    });
    let parsed = name.zip(description).zip(tags).zip(kind).zip(owner).zip(on_closed_port);
    let lb = parsed.map(|(((((name, description), tags), kind), owner), on_closed_port)| Lb {
        id: LbId::new(),
        owner,
        name,
        description,
        tags,
        kind,
        answers_echo,
        on_closed_port,
        subscriber: None,
        protected: protected.unwrap_or(false),
        at_once: false,
        taken_down: None,
        times: Times::created(now),
    });
    arguments.build(lb.zip(addresses))
}

/// The IPs that are named, each with its argument.
fn existing(
    arguments: &mut Arguments,
    ip_id: Option<String>,
    ip_ids: Option<Vec<String>>,
) -> Option<Vec<(String, IpId)>> {
    if ip_id.is_some() && ip_ids.as_ref().is_some_and(|ids| !ids.is_empty()) {
        arguments.wrong("ip_id", &Invalid::constraint("give either `ip_id` or `ip_ids`; `ip_ids` is the newer one"));
        return None;
    }
    let many = ip_ids.into_iter().flatten().enumerate().map(|(index, text)| (format!("ip_ids[{index}]"), text));
    let one = ip_id.into_iter().map(|text| ("ip_id".to_owned(), text));
    let mut ids: Vec<(String, IpId)> = Vec::new();
    let mut is_right = true;
    for (argument, text) in many.chain(one) {
        match arguments.take(&argument, id::<IpId>(&text)) {
            Some(id) if ids.iter().any(|(_, other)| *other == id) => {
                arguments.wrong(&argument, &Invalid::constraint(format!("{id} is named twice; once is allowed")));
                is_right = false;
            }
            Some(id) => ids.push((argument, id)),
            None => is_right = false,
        }
    }
    is_right.then_some(ids)
}

fn ssl_compatibility_level(arguments: &mut Arguments, level: Option<String>) {
    const TAKEN: [&str; 2] = ["ssl_compatibility_level_unknown", "ssl_compatibility_level_intermediate"];
    if let Some(level) = level.filter(|level| !TAKEN.contains(&level.as_str())) {
        let help =
            format!("`{level}` is not available: TLS is not terminated; leave it out, or give {}", TAKEN.join(" or "));
        arguments.wrong("ssl_compatibility_level", &Invalid::constraint(help));
    }
}

impl Listed for &Arc<Lb> {
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
