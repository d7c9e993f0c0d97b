//! The paths, and what every request passes: who asks, which zone, how large, how long.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};

use super::handlers::{
    absent, acls, backends, frontends, health_checks, ips, lb_types, lbs, migrate, servers, stats, subscribers,
    undelete,
};
use super::wire::{Problem, ProblemKind};
use super::{ApiError, Context, Delivery, admin, auth, body, expect, idempotency, requests};
use crate::ledger::DenyingLedger;
use crate::model::Invalid;

/// Longest time a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

const ZONES: &str = "/lb/v1/zones/";

/// The API. What expects to be refused goes to the same routes over a ledger that cannot be written.
pub fn router(context: Context) -> Router {
    let ledger = Arc::new(DenyingLedger::new(Arc::clone(&context.ledger)));
    let delivery = Delivery { expects_denial: true, ..context.delivery.clone() };
    let denying = routes(Context { ledger, delivery, ..context.clone() });
    // A path is matched after that, in one router only: what the first has found would stand in the second's way.
    Router::new().fallback_service(routes(context)).layer(from_fn_with_state(denying, expect::dispatch))
}

fn routes(context: Context) -> Router {
    let guarded = Router::new()
        .nest("/lb/v1/zones/{zone}", zoned())
        .route("/snowshed/v1/status", get(admin::status::get))
        .route("/snowshed/v1/explain", get(admin::explain::get))
        .route("/snowshed/v1/freezes", get(admin::freezes::list).post(admin::freezes::create))
        .route("/snowshed/v1/freezes/{id}", delete(admin::freezes::delete))
        .route("/snowshed/v1/quarantines", get(admin::quarantines::list).post(admin::quarantines::create))
        .route("/snowshed/v1/releases", post(admin::quarantines::release))
        .route("/snowshed/v1/hold", get(admin::holds::list))
        .route("/snowshed/v1/hold/releases", post(admin::holds::release))
        .route("/snowshed/v1/hold/releases/{id}/approve", post(admin::holds::approve))
        .route("/snowshed/v1/plans", post(admin::plans::create))
        .route("/snowshed/v1/plans/{id}", get(admin::plans::get))
        .route("/snowshed/v1/plans/{id}/approve", post(admin::plans::approve))
        .route("/snowshed/v1/plans/{id}/apply", post(admin::plans::apply))
        .route("/snowshed/v1/operations", get(admin::operations::list))
        .route("/snowshed/v1/operations/{id}", get(admin::operations::get))
        .route("/snowshed/v1/events", get(admin::events::get))
        .route("/snowshed/v1/deliveries", get(admin::deliveries::list))
        .route("/snowshed/v1/deliveries/{id}", get(admin::deliveries::get))
        .route("/snowshed/v1/deliveries/{id}/redeliver", post(admin::deliveries::redeliver))
        .route("/snowshed/v1/subscribers/{id}/secret", get(subscribers::secret))
        .route("/snowshed/v1/alarm-targets", get(admin::deliveries::alarm_targets))
        .route("/snowshed/v1/lbs/{id}/advice", get(admin::advice::get))
        .route("/snowshed/v1/heal", get(admin::heal::list))
        .route("/snowshed/v1/heal/retry", post(admin::heal::retry))
        .route("/snowshed/v1/heal/resolve", post(admin::heal::resolve))
        .route("/snowshed/v1/lbs/{id}/heal", get(admin::heal::get))
        .route("/snowshed/v1/impact", get(admin::impact::get))
        .route("/snowshed/v1/incident", get(admin::incident::get))
        .route("/snowshed/v1/dependents", get(admin::dependents::list).post(admin::dependents::create))
        .route("/snowshed/v1/dependents/{id}", get(admin::dependents::get).delete(admin::dependents::delete))
        .route("/snowshed/v1/dependents/{id}/advice", get(admin::dependents::get_advice))
        .route("/snowshed/v1/dependents/{id}/release", post(admin::dependents::release))
        .route("/snowshed/v1/undo", post(admin::recovery::undo))
        .route("/snowshed/v1/restore", post(admin::recovery::restore))
        .merge(tenancy())
        .layer(from_fn_with_state(context.clone(), idempotency::replay))
        .layer(from_fn_with_state(context.clone(), zone))
        .layer(from_fn_with_state(context.clone(), auth::authenticate));
    Router::new()
        .merge(guarded)
        .route("/healthz", get(admin::health::get))
        .route("/metrics", get(admin::metrics::get))
        .fallback(no_path)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn(deadline))
        .layer(from_fn_with_state(context.clone(), requests::count))
        .layer(DefaultBodyLimit::max(body::MAX_BYTES))
        .with_state(context)
}

/// Scaleway's paths below a zone.
fn zoned() -> Router<Context> {
    Router::new()
        .route("/lbs", get(lbs::list).post(lbs::create))
        .route("/lbs/{id}", get(lbs::get).put(lbs::update).patch(lbs::update).delete(lbs::delete))
        .route("/lbs/{id}/frontends", get(frontends::list).post(frontends::create))
        .route("/lbs/{id}/backends", get(backends::list).post(backends::create))
        .route("/lbs/{id}/migrate", post(migrate::migrate))
        .route("/lbs/{id}/undelete", post(undelete::undelete))
        .route("/lbs/{id}/backend-stats", get(stats::list))
        .route("/lbs/{id}/stats", get(stats::all))
        .route("/lb-types", get(lb_types::list))
        .route("/ips", get(ips::list).post(ips::create))
        .route("/ips/{id}", get(ips::get).patch(ips::update).delete(ips::delete))
        .route(
            "/frontends/{id}",
            get(frontends::get).put(frontends::update).patch(frontends::update).delete(frontends::delete),
        )
        .route("/frontends/{id}/acls", get(acls::list).post(acls::create).put(acls::set))
        .route("/acls/{id}", get(acls::get).put(acls::update).patch(acls::update).delete(acls::delete))
        .route(
            "/backends/{id}",
            get(backends::get).put(backends::update).patch(backends::update).delete(backends::delete),
        )
        .route("/backends/{id}/servers", put(servers::set).post(servers::add).delete(servers::remove))
        .route("/backends/{id}/healthcheck", put(health_checks::update))
        .route("/subscribers", get(subscribers::list).post(subscribers::create))
        .route("/subscribers/{id}", get(subscribers::get).put(subscribers::update).patch(subscribers::update))
        // Scaleway's path, which is not where the others are.
        .route("/lb/subscription/{id}", delete(subscribers::delete))
        .route("/lb/{id}/subscribe", post(subscribers::subscribe))
        .route("/lb/{id}/unsubscribe", delete(subscribers::unsubscribe))
        .merge(absent::routes())
}

/// Organizations, projects and tokens.
fn tenancy() -> Router<Context> {
    use admin::{organizations, projects, tokens};
    Router::new()
        .route("/snowshed/v1/organizations", get(organizations::list).post(organizations::create))
        .route(
            "/snowshed/v1/organizations/{id}",
            get(organizations::get).patch(organizations::rename).delete(organizations::delete),
        )
        .route("/snowshed/v1/projects", get(projects::list).post(projects::create))
        .route("/snowshed/v1/projects/{id}", get(projects::get).patch(projects::rename).delete(projects::delete))
        .route("/snowshed/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/snowshed/v1/tokens/{id}", get(tokens::get).delete(tokens::revoke))
}

/// Refuses other zones than the configured one.
async fn zone(State(context): State<Context>, request: Request, next: Next) -> Response {
    let asked = request.extensions().get::<axum::extract::OriginalUri>().map_or(request.uri(), |uri| &uri.0);
    let named = asked.path().strip_prefix(ZONES).and_then(|rest| rest.split('/').next());
    match named {
        Some(named) if named != context.zone => {
            let help = format!("`{named}` is not the zone of this agent: it serves `{}`", context.zone);
            ApiError::argument("zone", &Invalid::constraint(help)).into_response()
        }
        _ => next.run(request).await,
    }
}

async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(Problem {
            kind: ProblemKind::Unavailable,
            message: format!("the request took longer than {REQUEST_TIMEOUT:?}"),
            help_message: "whether it was carried out is not known: read, and try again".to_owned(),
            ..Problem::default()
        })
        .into_response(),
    }
}

async fn no_path(uri: Uri) -> ApiError {
    ApiError::nothing_there(
        format!("there is no path {}", uri.path()),
        "this version serves lbs, ips, frontends, acls, backends, their servers and health checks, subscribers and lb-types below \
         /lb/v1/zones/{zone}, and /snowshed/v1/status, explain, lbs/{id}/advice, lbs/{id}/heal, heal, dependents, impact, incident, operations, events, deliveries, undo, restore, organizations, \
         projects and tokens, /healthz and /metrics"
            .to_owned(),
    )
}

async fn no_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Problem {
        kind: ProblemKind::MethodNotAllowed,
        message: format!("{} does not take {method}", uri.path()),
        help_message: "the `Allow` header names what it takes".to_owned(),
        ..Problem::default()
    })
}
