//! `Expect: deny`: a request that must be refused. It meets the same router over a ledger that cannot be written, so
//! that carrying it out is impossible whatever it says; an answer of success becomes a 417.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

use super::ApiError;

const DENY: &str = "deny";
const CONTINUE: &str = "100-continue";

enum Expectation {
    Nothing,
    Deny,
    Unknown,
}

/// Sends a request that expects to be refused to the router that can do nothing else.
pub(super) async fn dispatch(State(denying): State<Router>, request: Request, next: Next) -> Response {
    match expectation(request.headers()) {
        Expectation::Nothing => next.run(request).await,
        Expectation::Unknown => ApiError::unknown_expectation().into_response(),
        Expectation::Deny => {
            let is_change = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
            let response = denying.oneshot(request).await.unwrap_or_else(|never| match never {});
            if is_change && response.status().is_success() {
                return ApiError::would_be_allowed().into_response();
            }
            response
        }
    }
}

/// A misspelt expectation must not be taken for none.
fn expectation(headers: &HeaderMap) -> Expectation {
    let mut found = Expectation::Nothing;
    for value in headers.get_all(header::EXPECT) {
        let Ok(value) = value.to_str() else { return Expectation::Unknown };
        for word in value.split(',').map(str::trim) {
            if word.eq_ignore_ascii_case(DENY) {
                found = Expectation::Deny;
            } else if !word.eq_ignore_ascii_case(CONTINUE) {
                return Expectation::Unknown;
            }
        }
    }
    found
}
