//! The paths, and what every request passes: who asks, which zone, how large, how long.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::handlers::{
    absent, acls, backends, frontends, health_checks, ips, lb_types, lbs, migrate, servers, stats, subscribers,
    undelete,
};
use super::wire::{Problem, ProblemKind};
use super::{ApiError, Context, Delivery, admin, auth, body, etag, expect, idempotency, requests, throttle};
use crate::model::Invalid;

/// Longest time a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

const ZONES: &str = "/lb/v1/zones/";

/// The API. What expects to be refused goes to the same routes over a ledger that cannot be written, and what is
/// rehearsed over one that is forgotten.
pub fn router(context: Context) -> Router {
    let ledger = context.ledger.denying();
    let delivery = Delivery { expects_denial: true, ..context.delivery.clone() };
    let denying = routes(Context { ledger, delivery, ..context.clone() });
    // A path is matched after that, in one router only: what the first has found would stand in the second's way.
    let elsewhere = expect::Elsewhere { context: context.clone(), denying, rehearsals: Arc::default() };
    Router::new().fallback_service(routes(context)).layer(from_fn_with_state(elsewhere, expect::dispatch))
}

/// Every documented route, as OpenAPI's; [`super::openapi`] completes it.
pub(super) fn documented() -> utoipa::openapi::OpenApi {
    let mut all = guarded().into_openapi();
    all.merge(open().into_openapi());
    all
}

pub(super) fn routes(context: Context) -> Router {
    let guarded = Router::from(guarded())
        .layer(from_fn(etag::refuse_unread))
        .layer(from_fn_with_state(context.clone(), idempotency::replay))
        .layer(from_fn_with_state(context.clone(), zone))
        .layer(from_fn_with_state(context.clone(), auth::authenticate));
    Router::new()
        .merge(guarded)
        .merge(Router::from(open()))
        .fallback(no_path)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn(deadline))
        .layer(from_fn_with_state(context.clone(), throttle::by_source))
        .layer(from_fn_with_state(context.clone(), requests::count))
        .layer(DefaultBodyLimit::max(body::MAX_BYTES))
        .with_state(context)
}

/// What anybody may ask.
fn open() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(admin::health::get))
        .routes(routes!(admin::metrics::get))
        .routes(routes!(admin::document::get))
}

/// What takes a token.
///
/// To add a route: write `#[utoipa::path(post, path = "/snowshed/v1/things", request_body = wire::CreateThing,
/// responses((status = 200, body = wire::Thing)))]` and a doc comment (the summary) above the handler, derive
/// `utoipa::ToSchema` for the wire types, and name the handler here in `routes!` (handlers of one path together). Paths
/// below the zone are relative to it. Query parameters are structs of `openapi.rs`: `params(openapi::Paged)`. The token,
/// `{id}`, `{zone}`, `Idempotency-Key` and the errors are added by themselves. Then write `docs/openapi.json` anew with
/// `cargo xtask openapi`, and the tests go over the new operation.
fn guarded() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .nest("/lb/v1/zones/{zone}", zoned())
        .routes(routes!(admin::status::get))
        .routes(routes!(admin::explain::get))
        .routes(routes!(admin::capture::get))
        .routes(routes!(admin::freezes::list, admin::freezes::create))
        .routes(routes!(admin::freezes::delete))
        .routes(routes!(admin::quarantines::list, admin::quarantines::create))
        .routes(routes!(admin::quarantines::release))
        .routes(routes!(admin::holds::list))
        .routes(routes!(admin::holds::release))
        .routes(routes!(admin::holds::approve))
        .routes(routes!(admin::plans::create))
        .routes(routes!(admin::plans::get))
        .routes(routes!(admin::plans::approve))
        .routes(routes!(admin::plans::apply))
        .routes(routes!(admin::purges::list))
        .routes(routes!(admin::purges::get))
        .routes(routes!(admin::operations::list))
        .routes(routes!(admin::operations::get))
        .routes(routes!(admin::events::get))
        .routes(routes!(admin::deliveries::list))
        .routes(routes!(admin::deliveries::get))
        .routes(routes!(admin::deliveries::redeliver))
        .routes(routes!(subscribers::secret))
        .routes(routes!(admin::deliveries::alarm_targets))
        .routes(routes!(admin::advice::get))
        .routes(routes!(admin::heal::list))
        .routes(routes!(admin::heal::retry))
        .routes(routes!(admin::heal::resolve))
        .routes(routes!(admin::heal::get))
        .routes(routes!(admin::impact::get))
        .routes(routes!(admin::incident::get))
        .routes(routes!(admin::dependents::list, admin::dependents::create))
        .routes(routes!(admin::dependents::get, admin::dependents::change, admin::dependents::delete))
        .routes(routes!(admin::dependents::get_advice))
        .routes(routes!(admin::dependents::release))
        .routes(routes!(admin::dependents::secret))
        .routes(routes!(admin::recovery::undo))
        .routes(routes!(admin::recovery::restore))
        .merge(tenancy())
}

/// Scaleway's paths, relative to a zone.
fn zoned() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(lbs::list, lbs::create))
        .routes(routes!(lbs::get, lbs::update, lbs::delete))
        .routes(routes!(frontends::list, frontends::create))
        .routes(routes!(backends::list, backends::create))
        .routes(routes!(migrate::migrate))
        .routes(routes!(undelete::undelete))
        .routes(routes!(stats::list))
        .routes(routes!(stats::all))
        .routes(routes!(lb_types::list))
        .routes(routes!(ips::list, ips::create))
        .routes(routes!(ips::get, ips::update, ips::delete))
        .routes(routes!(frontends::get, frontends::update, frontends::delete))
        .routes(routes!(acls::list, acls::create, acls::set))
        .routes(routes!(acls::get, acls::update, acls::delete))
        .routes(routes!(backends::get, backends::update, backends::delete))
        .routes(routes!(servers::set, servers::add, servers::remove))
        .routes(routes!(health_checks::update))
        .routes(routes!(subscribers::list, subscribers::create))
        .routes(routes!(subscribers::get, subscribers::update))
        // Scaleway's path, which is not where the others are.
        .routes(routes!(subscribers::delete))
        .routes(routes!(subscribers::subscribe))
        .routes(routes!(subscribers::unsubscribe))
        // What is not built refuses everything: there is nothing to describe.
        .merge(absent::routes().into())
}

/// Organizations, projects and tokens.
fn tenancy() -> OpenApiRouter<Context> {
    use admin::{organizations, projects, tokens};
    OpenApiRouter::new()
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(organizations::get, organizations::rename, organizations::delete))
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(projects::get, projects::rename, projects::delete))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::get, tokens::revoke))
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
         /lb/v1/zones/{zone}, and /snowshed/v1/status, explain, capture, lbs/{id}/advice, lbs/{id}/heal, heal, dependents, purges, impact, incident, operations, events, deliveries, undo, restore, organizations, \
         projects and tokens, /healthz and /metrics; /openapi.json describes all of it"
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
