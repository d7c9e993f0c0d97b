//! Frontends: create, get, list, update, delete.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::lbs::deleted;
use super::{Id, Life, find_frontend, find_lb, in_lb, key, now};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, commit, create as created, run, update as updated};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::{Arguments, Description, NO_TLS, id, proxied};
use crate::api::view::View;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::ledger::Snapshot;
use crate::model::{
    Acl, Actor, BackendId, Document, Frontend, FrontendId, Invalid, Kind, LbId, Name, RateLimits, Times, address,
};

/// What a request sets; `None` keeps it.
struct Settings {
    name: Option<Name>,
    inbound_port: Option<NonZeroU16>,
    /// The last port of a range, or none of it.
    inbound_port_end: Option<Option<NonZeroU16>>,
    backend: Option<BackendId>,
    /// `Some(None)` takes it away.
    timeout_client: Option<Option<Duration>>,
    limits: [Option<u32>; 3],
}

impl Settings {
    /// Limits over those that were there.
    fn limits(&self, before: RateLimits) -> RateLimits {
        let [source, connections, packets] = self.limits;
        RateLimits {
            connections_per_source: source.unwrap_or(before.connections_per_source),
            connections: connections.unwrap_or(before.connections),
            packets: packets.unwrap_or(before.packets),
        }
    }

    /// The ports over those that were there. A last port that was not asked for does not outlive its first.
    fn ports(&self, before: Option<&Frontend>) -> Result<Option<(NonZeroU16, Option<NonZeroU16>)>, ApiError> {
        let Some(first) = self.inbound_port.or(before.map(|before| before.inbound_port)) else { return Ok(None) };
        let kept = before.filter(|before| before.inbound_port == first).and_then(|before| before.inbound_port_end);
        let last = self.inbound_port_end.unwrap_or(kept);
        let mut arguments = Arguments::default();
        if let Some(last) = last.filter(|last| *last <= first) {
            let help = format!("{last} is not above {first}, the first port of the range; leave it out for one port");
            arguments.wrong("inbound_port_end", &Invalid::constraint(help));
        }
        arguments.finish()?;
        Ok(Some((first, last)))
    }
}

/// Makes a frontend.
#[utoipa::path(
    post, path = "/lbs/{id}/frontends",
    request_body = wire::CreateFrontend,
    responses((status = 200, body = wire::Frontend))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    Body(request): Body<wire::CreateFrontend>,
) -> Result<Versioned<wire::Frontend>, ApiError> {
    run(&context, move |context| {
        let lb: LbId = path.parse("lb_id")?;
        find_lb(&context.ledger.snapshot(), &actor, lb)?;
        let settings = parse(request, Description::Whole)?;
        let limits = settings.limits(RateLimits::default());
        let ports = settings.ports(None)?;
        let Settings { name, inbound_port: _, inbound_port_end: _, backend, timeout_client, limits: _ } = settings;
        let whole = name.zip(ports).zip(backend);
        let ((name, (inbound_port, inbound_port_end)), backend) = Arguments::default().build(whole)?;
        let timeout_client = timeout_client.flatten();
        let times = Times::created(now(context));
        let id = FrontendId::new();
        let frontend =
            Frontend { id, lb, name, inbound_port, inbound_port_end, backend, timeout_client, limits, times };
        commit(
            context,
            &actor,
            "frontend.create",
            |current| {
                find_lb(current, &actor, lb)?;
                let changes = vec![created(Document::Frontend(frontend.clone()))];
                Ok(Draft { authority: in_lb(current, &actor, lb)?, changes })
            },
            |after| show(context, after, &actor, frontend.id, Life::Live),
        )
    })
    .await
}

/// Shows a frontend.
#[utoipa::path(
    get, path = "/frontends/{id}",
    params(openapi::WithDeleted),
    responses((status = 200, body = wire::Frontend))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    life: Life,
) -> Result<Versioned<wire::Frontend>, ApiError> {
    show(&context, &context.ledger.snapshot(), &actor, path.parse("frontend_id")?, life)
}

/// Lists the frontends of a load balancer.
#[utoipa::path(
    get, path = "/lbs/{id}/frontends",
    params(openapi::Paged, openapi::WithDeleted),
    responses((status = 200, body = wire::FrontendList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<wire::FrontendList>, ApiError> {
    let lb = path.parse("lb_id")?;
    let mut arguments = Arguments::default();
    let (listing, pairs) = Listing::read(pairs, &["deleted"], &mut arguments)?;
    let life = Life::of(&pairs, &mut arguments);
    arguments.finish()?;
    let snapshot = context.ledger.snapshot();
    find_lb(&snapshot, &actor, lb)?;
    let live = snapshot.frontends_of(lb).filter(|frontend| life.counts(frontend.times));
    let Page { items: page, total_count, next_cursor } = listing.page(live);
    let view = View::new(&context, &snapshot);
    let frontends = page.into_iter().map(|frontend| view.frontend(frontend)).collect();
    Ok(Json(wire::FrontendList { frontends, total_count, next_cursor }))
}

/// Changes a frontend: PUT as a whole, PATCH what is named.
#[utoipa::path(
    method(put, patch), path = "/frontends/{id}",
    request_body = wire::UpdateFrontend,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Frontend))
)]
pub(in crate::api) async fn update(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    description: Description,
    Body(request): Body<wire::UpdateFrontend>,
) -> Result<Versioned<wire::Frontend>, ApiError> {
    run(&context, move |context| {
        let frontend_id = path.parse("frontend_id")?;
        find_frontend(&context.ledger.snapshot(), &actor, frontend_id, Life::Live)?;
        let settings = parse(request, description)?;
        let now = now(context);
        commit(
            context,
            &actor,
            "frontend.update",
            |current| {
                let before = find_frontend(current, &actor, frontend_id, Life::Live)?;
                if_match.check(key(Kind::Frontend, frontend_id.as_uuid()), &*before)?;
                let (inbound_port, inbound_port_end) =
                    settings.ports(Some(&before))?.unwrap_or((before.inbound_port, before.inbound_port_end));
                let wanted = Frontend {
                    name: settings.name.clone().unwrap_or_else(|| before.name.clone()),
                    inbound_port,
                    inbound_port_end,
                    backend: settings.backend.unwrap_or(before.backend),
                    timeout_client: settings
                        .timeout_client
                        .unwrap_or_else(|| description.absent(before.timeout_client, None)),
                    limits: settings.limits(RateLimits {
                        connections_per_source: description.absent(before.limits.connections_per_source, 0),
                        ..before.limits
                    }),
                    ..Frontend::clone(&before)
                };
                let times = if wanted == *before { before.times } else { before.times.updated(now) };
                let after = Document::Frontend(Frontend { times, ..wanted });
                let change = updated(Document::Frontend(Frontend::clone(&before)), after);
                Ok(Draft { authority: in_lb(current, &actor, before.lb)?, changes: vec![change] })
            },
            |after| show(context, after, &actor, frontend_id, Life::Live),
        )
    })
    .await
}

/// Deletes a frontend.
#[utoipa::path(delete, path = "/frontends/{id}", params(openapi::IfMatch), responses((status = 204)))]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let frontend_id = path.parse("frontend_id")?;
    run(&context, move |context| {
        let now = now(context);
        commit(
            context,
            &actor,
            "frontend.delete",
            |current| {
                let before = find_frontend(current, &actor, frontend_id, Life::Live)?;
                if_match.check(key(Kind::Frontend, frontend_id.as_uuid()), &*before)?;
                let rules = current.acls_of(frontend_id).filter(|acl| acl.times.is_live());
                let mut changes: Vec<_> = rules.map(|acl| deleted(Document::Acl(Acl::clone(acl)), now)).collect();
                changes.push(deleted(Document::Frontend(Frontend::clone(&before)), now));
                Ok(Draft { authority: in_lb(current, &actor, before.lb)?, changes })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

fn parse(request: wire::CreateFrontend, description: Description) -> Result<Settings, ApiError> {
    let wire::CreateFrontend {
        name,
        inbound_port,
        inbound_port_end,
        backend_id,
        timeout_client,
        certificate_id,
        certificate_ids,
        enable_http3,
        connection_rate_limit,
        service_connection_rate_limit,
        packet_rate_limit,
        enable_access_logs,
    } = request;
    let mut arguments = Arguments::default();
    let name = arguments.of(description, "name", name, "1 to 255 characters", Name::try_from);
    let port = arguments.of(description, "inbound_port", inbound_port, "1 to 65535", address::parse_port);
    let last = arguments.or("inbound_port_end", inbound_port_end, None, |port| {
        if port == 0 { Ok(Some(None)) } else { address::parse_port(port).map(|port| Some(Some(port))) }
    });
    let what = "the id of a backend of this load balancer";
    let backend = arguments.of(description, "backend_id", backend_id, what, |text| id(&text));
    let timeout_client = arguments.or("timeout_client", timeout_client, None, |time| proxied(time).map(Some));
    let is_empty = |text: Option<String>| text.is_none_or(|text| text.is_empty());
    arguments.off("certificate_id", is_empty(certificate_id), NO_TLS);
    arguments.off("certificate_ids", certificate_ids.is_none_or(|ids| ids.is_empty()), NO_TLS);
    arguments.off(
        "enable_http3",
        enable_http3 != Some(true),
        "HTTP is not read here: QUIC passes as UDP, to a backend with `forward_protocol: udp`; leave it out",
    );
    let mut limit = |name, limit| arguments.or(name, limit, None, |limit| RateLimits::parse(limit).map(Some));
    let limits = limit("connection_rate_limit", connection_rate_limit)
        .zip(limit("service_connection_rate_limit", service_connection_rate_limit))
        .zip(limit("packet_rate_limit", packet_rate_limit))
        .map(|((source, connections), packets)| [source, connections, packets]);
    arguments.off(
        "enable_access_logs",
        enable_access_logs != Some(true),
        "connections are not ended here and their requests not seen: servers log them, metrics count packets; leave it out",
    );
    let settings = name.zip(port.zip(last)).zip(backend).zip(timeout_client).zip(limits).map(
        |((((name, (inbound_port, inbound_port_end)), backend), timeout_client), limits)| Settings {
            name,
            inbound_port,
            inbound_port_end,
            backend,
            timeout_client,
            limits,
        },
    );
    arguments.build(settings)
}

fn show(
    context: &Context,
    snapshot: &Snapshot,
    actor: &Actor,
    id: FrontendId,
    life: Life,
) -> Result<Versioned<wire::Frontend>, ApiError> {
    let frontend = find_frontend(snapshot, actor, id, life)?;
    Ok(Versioned(View::new(context, snapshot).frontend(&frontend)))
}

impl Listed for &Arc<Frontend> {
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
