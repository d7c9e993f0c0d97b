//! What a request expects (`Expect:`), other than to be carried out.
//!
//! `deny`: it must be refused. It meets the same router over a ledger that cannot be written, so that carrying it out is
//! impossible whatever it says; an answer of success becomes a 417. `rehearsal=UUID`: it wants the answer and nothing
//! else. It meets the same router over a ledger that is forgotten; requests with the same UUID see what the earlier ones
//! made. Who does not know such an expectation must refuse the request (RFC 9110, 10.1.1), and so does an older agent.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;
use uuid::Uuid;

use super::rehearsal::Rehearsals;
use super::{ApiError, Context};

const DENY: &str = "deny";
const CONTINUE: &str = "100-continue";

const REHEARSAL: &str = "rehearsal=";

/// Where requests go that expect something else than to be carried out.
#[derive(Clone)]
pub(super) struct Elsewhere {
    /// To who asks, for those that rehearse.
    pub(super) context: Context,
    /// The router that can do nothing.
    pub(super) denying: Router,
    /// Those that are forgotten.
    pub(super) rehearsals: Arc<Rehearsals>,
}

enum Expectation {
    Nothing,
    Deny,
    Rehearsal(Uuid),
    Unknown,
}

/// Sends a request to the router that does what it expects.
pub(super) async fn dispatch(State(elsewhere): State<Elsewhere>, request: Request, next: Next) -> Response {
    match expectation(request.headers()) {
        Expectation::Nothing => next.run(request).await,
        Expectation::Unknown => ApiError::unknown_expectation().into_response(),
        Expectation::Rehearsal(id) => match elsewhere.rehearsals.router(id, &elsewhere.context, &request) {
            Ok(router) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
            Err(problem) => problem.into_response(),
        },
        Expectation::Deny => {
            let is_change = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
            let response = elsewhere.denying.oneshot(request).await.unwrap_or_else(|never| match never {});
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
            if word.eq_ignore_ascii_case(CONTINUE) {
                continue;
            }
            // Both at once cannot be meant.
            if !matches!(found, Expectation::Nothing) {
                return Expectation::Unknown;
            }
            if word.eq_ignore_ascii_case(DENY) {
                found = Expectation::Deny;
            } else if let Some(id) = word.strip_prefix(REHEARSAL) {
                let Ok(id) = id.parse() else { return Expectation::Unknown };
                found = Expectation::Rehearsal(id);
            } else {
                return Expectation::Unknown;
            }
        }
    }
    found
}
