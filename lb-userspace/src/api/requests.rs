//! How often the API was asked, by route, method and status: bounded by what the router knows, whatever is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use super::Context;

/// Requests so far; shared between the API, which counts, and the metrics, which show.
#[derive(Debug, Default)]
pub struct Requests(Mutex<BTreeMap<Asked, u64>>);

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The route with its placeholders, for example `/lb/v1/zones/{zone}/lbs/{id}`; `none` for a path there is not.
    pub route: Arc<str>,
    /// The method in capitals; `other` for one the API never takes.
    pub method: &'static str,
    /// The status of the answer.
    pub status: u16,
}

impl Requests {
    /// The counts, in the order of route, method and status.
    #[must_use]
    pub fn counts(&self) -> Vec<(Asked, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(asked, count)| (asked.clone(), *count)).collect()
    }

    fn count(&self, asked: Asked) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(asked).or_default() += 1;
    }
}

/// Counts a request when its answer is known.
pub(super) async fn count(State(context): State<Context>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).into();
    let method = word(request.method());
    let response = next.run(request).await;
    context.requests.count(Asked { route, method, status: response.status().as_u16() });
    response
}

fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
