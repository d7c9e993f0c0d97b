//! What the probes know of a load balancer's servers.

use axum::extract::State;
use axum::{Extension, Json};

use super::{Id, find_lb};
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::{Arguments, id};
use crate::api::view::instance_id;
use crate::api::wire::stats::{BackendServerStats, BackendStatsList, HealthCheckStatus, LbStats, ServerState};
use crate::api::{ApiError, Context};
use crate::health::{HealthView, ProbeOutcome};
use crate::model::{Actor, Backend, BackendId, LbId, Server};
use crate::plan::ServerRef;

/// Lists what the probes know of the servers.
#[utoipa::path(
    get, path = "/lbs/{id}/backend-stats",
    params(openapi::Paged, openapi::OfBackend),
    responses((status = 200, body = BackendStatsList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<BackendStatsList>, ApiError> {
    let lb: LbId = path.parse("lb_id")?;
    let mut arguments = Arguments::default();
    let (listing, pairs) = Listing::read(pairs, &["backend_id"], &mut arguments)?;
    let backend = only(&pairs, &mut arguments);
    let backend = arguments.build(backend)?;
    let Page { items: page, total_count, next_cursor } =
        listing.page(stats(&context, &actor, lb, backend)?.into_iter());
    Ok(Json(BackendStatsList { backend_servers_stats: page, total_count, next_cursor }))
}

/// Shows what the probes know of every server.
///
/// The same without pages: deprecated by Scaleway.
#[utoipa::path(
    get, path = "/lbs/{id}/stats",
    params(openapi::OfBackend),
    responses((status = 200, body = LbStats))
)]
pub(in crate::api) async fn all(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<LbStats>, ApiError> {
    let lb: LbId = path.parse("lb_id")?;
    let pairs = pairs.known(&["backend_id"])?;
    let mut arguments = Arguments::default();
    let backend = only(&pairs, &mut arguments);
    let backend = arguments.build(backend)?;
    Ok(Json(LbStats { backend_servers_stats: stats(&context, &actor, lb, backend)? }))
}

/// The backend that is asked for, if one is.
fn only(pairs: &Pairs, arguments: &mut Arguments) -> Option<Option<BackendId>> {
    let text = pairs.one(arguments, "backend_id");
    arguments.or("backend_id", text, None, |text| id(text).map(Some))
}

fn stats(
    context: &Context,
    actor: &Actor,
    lb: LbId,
    only: Option<BackendId>,
) -> Result<Vec<BackendServerStats>, ApiError> {
    let snapshot = context.ledger.snapshot();
    find_lb(&snapshot, actor, lb)?;
    let health = context.health.borrow().clone();
    let now = (context.clock)();
    let backends = snapshot.backends_of(lb).filter(|backend| backend.times.is_live());
    let wanted = backends.filter(|backend| only.is_none_or(|only| backend.id == only));
    let instance_id = instance_id(lb, &context.zone);
    let of_backend = |backend: &Backend| {
        let servers = backend
            .servers
            .iter()
            .map(|server| BackendServerStats { instance_id, ..one(backend.id, server, &health, now) });
        servers.collect::<Vec<_>>()
    };
    Ok(wanted.flat_map(|backend| of_backend(backend)).collect())
}

/// A server on no instance yet.
fn one(backend_id: BackendId, server: &Server, health: &HealthView, now: jiff::Timestamp) -> BackendServerStats {
    let known = health.servers.get(&ServerRef { backend: backend_id, address: server.address });
    let last = known.and_then(|known| known.last.as_ref());
    let is_usable = known.is_none_or(|known| known.usable);
    BackendServerStats {
        instance_id: uuid::Uuid::nil(),
        backend_id,
        ip: server.address,
        server_state: match (last, is_usable) {
            (None, _) => ServerState::Starting,
            (Some(_), false) => ServerState::Stopped,
            (Some(_), true) if server.is_out(now) => ServerState::Stopped,
            (Some(_), true) if server.drains() => ServerState::Stopping,
            (Some(_), true) => ServerState::Running,
        },
        server_state_changed_at: last.and(known).map(|known| known.since),
        last_health_check_status: match last {
            None => HealthCheckStatus::Unknown,
            Some(ProbeOutcome::Passed) => HealthCheckStatus::Passed,
            Some(_) => HealthCheckStatus::Failed,
        },
    }
}

/// Servers are listed by backend and, within it, in the order of the pool.
impl Listed for BackendServerStats {
    fn name(&self) -> String {
        self.ip.to_string()
    }

    fn created_at(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    fn id(&self) -> uuid::Uuid {
        self.backend_id.as_uuid()
    }
}
