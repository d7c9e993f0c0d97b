//! `/openapi.json`: what this API is, for programs.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::api::openapi::DOCUMENT;

/// Describes this API (OpenAPI 3.1).
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, body = serde_json::Value)), security(()))]
pub(in crate::api) async fn get() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}
