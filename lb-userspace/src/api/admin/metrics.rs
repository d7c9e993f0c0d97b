//! `/metrics`: counters in the OpenMetrics text format.

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::api::peer::Peer;
use crate::api::{ApiError, Context, auth, throttle};
use crate::model::Role;

/// Counters in the OpenMetrics text format.
///
/// On this machine without a token; from another one with an operator's, as they name every tenant's objects.
#[utoipa::path(
    get, path = "/metrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")),
    security(())
)]
pub(in crate::api) async fn get(State(context): State<Context>, request: Request) -> Result<Response, ApiError> {
    if let Peer::Remote(_) = throttle::peer(&request) {
        let actor = auth::actor(&context, request.headers())?;
        if actor.role != Role::Operator {
            return Err(ApiError::metrics_denied());
        }
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, content_type)], (context.metrics)()).into_response())
}
