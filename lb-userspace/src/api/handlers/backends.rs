//! Backends: create, get, list, update, delete.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::health_checks;
use super::lbs::deleted;
use super::servers::{self, Wanted};
use super::{Id, Life, find_backend, find_lb, in_lb, key, now};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, commit, create as created, run, update as updated};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::idempotency::{Answer, Caller};
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::{Arguments, Description, NO_HEADER, NO_PROXY, NO_TLS, proxied};
use crate::api::view::View;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::ledger::Snapshot;
use crate::model::{
    Actor, Algorithm, Backend, BackendId, Document, EmptyPool, Forwarding, Invalid, Kind, LbId, Name, PrefixV6,
    Protocol, Proxied, Quic, StickySessions, Times, address,
};

/// Makes a backend.
#[utoipa::path(
    post, path = "/lbs/{id}/backends",
    request_body = wire::CreateBackend,
    responses((status = 200, body = wire::Backend))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    Body(request): Body<wire::CreateBackend>,
) -> Result<Versioned<wire::Backend>, ApiError> {
    run(&context, move |context| {
        let lb: LbId = path.parse("lb_id")?;
        find_lb(&context.ledger.snapshot(), &actor, lb)?;
        let backend = parse(request, lb, Times::created(now(context)))?;
        commit(
            context,
            &actor,
            "backend.create",
            |current| {
                find_lb(current, &actor, lb)?;
                let changes = vec![created(Document::Backend(backend.clone()))];
                Ok(Draft { authority: in_lb(current, &actor, lb)?, changes })
            },
            |after| show(context, after, &actor, backend.id, Life::Live),
        )
    })
    .await
}

/// Shows a backend.
#[utoipa::path(
    get, path = "/backends/{id}",
    params(openapi::WithDeleted),
    responses((status = 200, body = wire::Backend))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    life: Life,
) -> Result<Versioned<wire::Backend>, ApiError> {
    show(&context, &context.ledger.snapshot(), &actor, path.parse("backend_id")?, life)
}

/// Lists the backends of a load balancer.
#[utoipa::path(
    get, path = "/lbs/{id}/backends",
    params(openapi::Paged, openapi::WithDeleted),
    responses((status = 200, body = wire::BackendList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<wire::BackendList>, ApiError> {
    let lb = path.parse("lb_id")?;
    let mut arguments = Arguments::default();
    let (listing, pairs) = Listing::read(pairs, &["deleted"], &mut arguments)?;
    let life = Life::of(&pairs, &mut arguments);
    arguments.finish()?;
    let snapshot = context.ledger.snapshot();
    find_lb(&snapshot, &actor, lb)?;
    let Page { items: page, total_count, next_cursor } =
        listing.page(snapshot.backends_of(lb).filter(|backend| life.counts(backend.times)));
    let view = View::new(&context, &snapshot);
    Ok(Json(wire::BackendList {
        backends: page.into_iter().map(|backend| view.backend(backend)).collect(),
        total_count,
        next_cursor,
    }))
}

/// Changes a backend: PUT as a whole, PATCH what is named.
#[utoipa::path(
    method(put, patch), path = "/backends/{id}",
    request_body = wire::UpdateBackend,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Backend))
)]
pub(in crate::api) async fn update(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    description: Description,
    Body(request): Body<wire::UpdateBackend>,
) -> Result<Versioned<wire::Backend>, ApiError> {
    run(&context, move |context| {
        let backend_id = path.parse("backend_id")?;
        find_backend(&context.ledger.snapshot(), &actor, backend_id, Life::Live)?;
        let mut arguments = Arguments::default();
        let settings = settings(&mut arguments, request, description);
        let settings = arguments.build(settings)?;
        change(
            context,
            &actor,
            &if_match,
            backend_id,
            "backend.update",
            |before| settings.over(before, description),
            Versioned,
        )
    })
    .await
}

/// Deletes a backend.
#[utoipa::path(delete, path = "/backends/{id}", params(openapi::IfMatch), responses((status = 204)))]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let backend_id = path.parse("backend_id")?;
    run(&context, move |context| {
        let now = now(context);
        commit(
            context,
            &actor,
            "backend.delete",
            |current| {
                let before = find_backend(current, &actor, backend_id, Life::Live)?;
                if_match.check(key(Kind::Backend, backend_id.as_uuid()), &*before)?;
                let change = deleted(Document::Backend(Backend::clone(&before)), now);
                Ok(Draft { authority: in_lb(current, &actor, before.lb)?, changes: vec![change] })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

/// Changes a backend, and answers with what is shown of it as it is then.
pub(super) fn change<A: Answer>(
    context: &Context,
    actor: &Caller,
    if_match: &IfMatch,
    id: BackendId,
    verb: &'static str,
    wanted: impl Fn(&Backend) -> Result<Backend, ApiError>,
    shown: fn(wire::Backend) -> A,
) -> Result<A, ApiError> {
    let now = now(context);
    commit(
        context,
        actor,
        verb,
        |current| {
            let before = find_backend(current, actor, id, Life::Live)?;
            if_match.check(key(Kind::Backend, id.as_uuid()), &*before)?;
            let wanted = wanted(&before)?;
            let times = if wanted == *before { before.times } else { before.times.updated(now) };
            let after = Document::Backend(Backend { times, ..wanted });
            let change = updated(Document::Backend(Backend::clone(&before)), after);
            Ok(Draft { authority: in_lb(current, actor, before.lb)?, changes: vec![change] })
        },
        |after| show(context, after, actor, id, Life::Live).map(|Versioned(backend)| shown(backend)),
    )
}

/// What creation and update set; `None` keeps it, or is the default.
struct Settings {
    name: Option<Name>,
    protocol: Option<Protocol>,
    forward_port: Option<NonZeroU16>,
    algorithm: Option<Algorithm>,
    sticky_sessions: Option<StickySessions>,
    sticky_prefix_v6: Option<PrefixV6>,
    quic_server_id_length: Option<u8>,
    quic_config_id: Option<u8>,
    /// `Some(None)` takes it away.
    slow_start: Option<Option<Duration>>,
    forwarding: Option<Forwarding>,
    on_empty: Option<EmptyPool>,
    proxied: Said,
}

/// What a request says of a proxy's connections; `Some(None)` takes it away.
struct Said {
    server: Option<Option<Duration>>,
    connect: Option<Option<Duration>>,
    tunnel: Option<Option<Duration>>,
    max_retries: Option<u32>,
}

impl Said {
    fn over(&self, before: Proxied) -> Proxied {
        Proxied {
            timeout_server: self.server.unwrap_or(before.timeout_server),
            timeout_connect: self.connect.unwrap_or(before.timeout_connect),
            timeout_tunnel: self.tunnel.unwrap_or(before.timeout_tunnel),
            max_retries: self.max_retries.or(before.max_retries),
        }
    }
}

impl Settings {
    /// These settings over those of a backend.
    fn over(&self, before: &Backend, description: Description) -> Result<Backend, ApiError> {
        let sticky_sessions = self
            .sticky_sessions
            .unwrap_or_else(|| description.absent(before.sticky_sessions, StickySessions::default()));
        Ok(Backend {
            name: self.name.clone().unwrap_or_else(|| before.name.clone()),
            protocol: self.protocol.unwrap_or(before.protocol),
            forward_port: self.forward_port.unwrap_or(before.forward_port),
            algorithm: self.algorithm.unwrap_or_else(|| description.absent(before.algorithm, Algorithm::default())),
            sticky_sessions,
            sticky_prefix_v6: prefix(sticky_sessions, self.sticky_prefix_v6, before.sticky_prefix_v6)
                .map_err(|invalid| ApiError::argument("sticky_prefix_v6", &invalid))?,
            quic: Quic::changed(before.quic, self.quic_server_id_length, self.quic_config_id)
                .map_err(|invalid| ApiError::argument("quic_config_id", &invalid))?,
            slow_start: self.slow_start.unwrap_or(before.slow_start),
            forwarding: self.forwarding.unwrap_or(before.forwarding),
            on_empty: self.on_empty.unwrap_or(before.on_empty),
            proxied: self.proxied.over(description.absent(before.proxied, Proxied::default())),
            ..before.clone()
        })
    }
}

fn parse(request: wire::CreateBackend, lb: LbId, times: Times) -> Result<Backend, ApiError> {
    let mut arguments = Arguments::default();
    let settings = settings(&mut arguments, request.settings(), Description::Whole);
    let port = settings.as_ref().and_then(|settings| settings.forward_port).unwrap_or(NonZeroU16::MIN);
    let spec = request.health_check.unwrap_or_default();
    let health_check = health_checks::parse(&mut arguments, "health_check.", spec, &health_checks::default(port));
    let servers = match (request.server_ip, request.servers) {
        (None, None) => Some(Vec::new()),
        (server_ip, servers) => servers::parse(&mut arguments, server_ip, servers),
    };
    let now = times.created_at;
    let servers = servers.and_then(|wanted| arguments.take("servers", Wanted::merge(&[], &wanted, false, now)));
    let whole = settings.and_then(|settings| {
        let needed = settings.name.clone().zip(settings.protocol).zip(settings.forward_port)?;
        Some((settings, needed))
    });
    let sticky = whole.as_ref().and_then(|(settings, _)| settings.sticky_sessions).unwrap_or_default();
    let given = whole.as_ref().and_then(|(settings, _)| settings.sticky_prefix_v6);
    let prefix = arguments.take("sticky_prefix_v6", prefix(sticky, given, PrefixV6::WHOLE));
    let quic = whole
        .as_ref()
        .map_or(Ok(None), |(settings, _)| Quic::changed(None, settings.quic_server_id_length, settings.quic_config_id));
    let quic = arguments.take("quic_config_id", quic);
    let parsed = whole.zip(health_check).zip(servers).zip(prefix.zip(quic));
    let ((((settings, ((name, protocol), forward_port)), health_check), servers), (sticky_prefix_v6, quic)) =
        arguments.build(parsed)?;
    Ok(Backend {
        id: BackendId::new(),
        lb,
        name,
        protocol,
        forward_port,
        algorithm: settings.algorithm.unwrap_or_default(),
        sticky_sessions: sticky,
        sticky_prefix_v6,
        quic,
        slow_start: settings.slow_start.flatten(),
        forwarding: settings.forwarding.unwrap_or_default(),
        on_empty: settings.on_empty.unwrap_or_default(),
        servers,
        health_check,
        proxied: settings.proxied.over(Proxied::default()),
        times,
    })
}

fn settings(arguments: &mut Arguments, request: wire::UpdateBackend, description: Description) -> Option<Settings> {
    let name = arguments.of(description, "name", request.name.clone(), "1 to 255 characters", Name::try_from);
    let protocol = request.forward_protocol.as_deref();
    let protocol = arguments.of(description, "forward_protocol", protocol, "`tcp` or `udp`", str::parse);
    let port = arguments.of(description, "forward_port", request.forward_port, "1 to 65535", address::parse_port);
    let algorithm =
        arguments.or("forward_port_algorithm", request.forward_port_algorithm.as_deref(), None, optional::<Algorithm>);
    let sticky = arguments.or("sticky_sessions", request.sticky_sessions.as_deref(), None, optional::<StickySessions>);
    let forwarding = arguments.or("forwarding", request.forwarding.as_deref(), None, optional::<Forwarding>);
    let on_empty = arguments.or("on_empty", request.on_empty.as_deref(), None, optional::<EmptyPool>);
    let said = said(arguments, &request);
    let prefix = arguments.or("sticky_prefix_v6", request.sticky_prefix_v6, None, |bits| bits.try_into().map(Some));
    let slow_start =
        arguments.or("slow_start", request.slow_start, None, |time| Backend::parse_slow_start(time.0).map(Some));
    let length = arguments
        .or("quic_server_id_length", request.quic_server_id_length, None, |bytes| Quic::parse_length(bytes).map(Some));
    let config =
        arguments.or("quic_config_id", request.quic_config_id, None, |number| Quic::parse_config_id(number).map(Some));
    unavailable(arguments, &request);
    let needed = name.zip(protocol).zip(port);
    let kept = algorithm
        .zip(sticky)
        .zip(forwarding)
        .zip(on_empty)
        .zip(said)
        .zip(prefix.zip(slow_start))
        .zip(length.zip(config));
    needed.zip(kept).map(|(((name, protocol), forward_port), kept)| {
        let ((((((algorithm, sticky_sessions), forwarding), on_empty), proxied), times), quic) = kept;
        let ((sticky_prefix_v6, slow_start), (quic_server_id_length, quic_config_id)) = (times, quic);
        Settings {
            name,
            protocol,
            forward_port,
            algorithm,
            sticky_sessions,
            sticky_prefix_v6,
            quic_server_id_length,
            quic_config_id,
            slow_start,
            forwarding,
            on_empty,
            proxied,
        }
    })
}

fn said(arguments: &mut Arguments, request: &wire::UpdateBackend) -> Option<Said> {
    let mut time = |name, time| arguments.or(name, time, None, |time| proxied(time).map(Some));
    let times = time("timeout_server", request.timeout_server)
        .zip(time("timeout_connect", request.timeout_connect))
        .zip(time("timeout_tunnel", request.timeout_tunnel));
    let max_retries = arguments.or("max_retries", request.max_retries, None, |count| {
        let help = || Invalid::constraint(format!("{count} is outside 0 to {}", i32::MAX));
        i32::try_from(count).ok().and_then(|count| u32::try_from(count).ok()).map(Some).ok_or_else(help)
    });
    times.zip(max_retries).map(|(((server, connect), tunnel), max_retries)| Said {
        server,
        connect,
        tunnel,
        max_retries,
    })
}

/// The prefix that ties IPv6 clients: none is to be given, or kept, where nothing ties them.
fn prefix(sticky: StickySessions, given: Option<PrefixV6>, before: PrefixV6) -> Result<PrefixV6, Invalid> {
    match (sticky, given) {
        (StickySessions::Table, given) => Ok(given.unwrap_or(before)),
        (StickySessions::None, None | Some(PrefixV6::WHOLE)) => Ok(PrefixV6::WHOLE),
        (StickySessions::None, Some(_)) => Err(Invalid::constraint(
            "a prefix ties clients with `sticky_sessions: table` only: set that as well, or leave the prefix out",
        )),
    }
}

fn optional<T: std::str::FromStr<Err = Invalid>>(text: &str) -> Result<Option<T>, Invalid> {
    text.parse().map(Some)
}

/// Settings of a proxy, which Snowshed is not: only what turns them off is taken.
fn unavailable(arguments: &mut Arguments, request: &wire::UpdateBackend) {
    let is_empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    let is_off = |flag: Option<bool>| flag != Some(true);
    let is_zero = |number: Option<i64>| matches!(number, None | Some(0));
    let is_no_time = |time: Option<wire::Millis>| time.is_none_or(|time| time.0.is_zero());
    let is_one_of =
        |text: &Option<String>, words: &[&str]| text.as_ref().is_none_or(|text| words.contains(&text.as_str()));
    arguments.off(
        "sticky_sessions_cookie_name",
        is_empty(&request.sticky_sessions_cookie_name),
        "there are no cookies at layer 4; `sticky_sessions: table` keeps a client's address at one server",
    );
    arguments.off("send_proxy_v2", is_off(request.send_proxy_v2), NO_HEADER);
    arguments.off(
        "timeout_queue",
        is_no_time(request.timeout_queue),
        "there is no queue: packets go to a server or are refused; leave it out",
    );
    arguments.off(
        "on_marked_down_action",
        is_one_of(&request.on_marked_down_action, &["on_marked_down_action_none"]),
        "`on_marked_down_action_none` is: the packets of a down server's connections go to another server anyway, which \
         resets what it does not know",
    );
    arguments.off(
        "proxy_protocol",
        is_one_of(&request.proxy_protocol, &["proxy_protocol_none", "proxy_protocol_unknown"]),
        NO_HEADER,
    );
    arguments.off(
        "failover_host",
        is_empty(&request.failover_host),
        "HTTP is not read here; a standby server (`backup: true`) is what there is; leave it out",
    );
    arguments.off("ssl_bridging", is_off(request.ssl_bridging), NO_TLS);
    arguments.off("ignore_ssl_server_verify", is_off(request.ignore_ssl_server_verify), NO_TLS);
    arguments.off("redispatch_attempt_count", is_zero(request.redispatch_attempt_count), NO_PROXY);
    arguments.off(
        "max_connections",
        is_zero(request.max_connections),
        "0 is: direct answers pass the edge by: connections that are open cannot be counted; a frontend's `connection_rate_limit` \
         limits new ones",
    );
    arguments.off("host", is_empty(&request.host), "HTTP is not read here; leave it out");
}

fn show(
    context: &Context,
    snapshot: &Snapshot,
    actor: &Actor,
    id: BackendId,
    life: Life,
) -> Result<Versioned<wire::Backend>, ApiError> {
    let backend = find_backend(snapshot, actor, id, life)?;
    Ok(Versioned(View::new(context, snapshot).backend(&backend)))
}

impl Listed for &Arc<Backend> {
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
