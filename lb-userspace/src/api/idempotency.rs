//! The same request twice, carried out once (`Idempotency-Key`, draft-ietf-httpapi-idempotency-key-header).
//!
//! The key, a digest of the request and the answer are part of the operation in the ledger: they are there if and only
//! if the change is, also after a crash. Errors are not kept: nothing was changed, and the request may be sent again.

use std::ops::Deref;

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::ETAG;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::change::run;
use super::etag::{HasEtag, Versioned, VersionedList};
use super::peer::Peer;
use super::{ApiError, Context, body};
use crate::ledger::{Attempt, Kept, Snapshot};
use crate::model::{Actor, Generation, Invalid};

const KEY: &str = "Idempotency-Key";
/// Says that an answer is that of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Most characters of a key.
const MAX_CHARS: usize = 255;

/// Who makes a change, and the key of the request if it has one.
pub(super) struct Caller {
    actor: Actor,
    asked: Option<Asked>,
}

/// A request with a key.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    key: String,
    /// SHA-256 over method, path, query, `If-Match` and body, hexadecimal.
    request: String,
}

impl Caller {
    /// What the ledger keeps with the change, if the request has a key.
    pub(super) fn attempt(&self, answer: &impl Answer) -> Result<Option<Attempt>, ApiError> {
        let Some(Asked { key, request }) = self.asked.clone() else { return Ok(None) };
        let answer = answer.kept().map_err(|error| {
            log::error!("an answer cannot be kept: {error}");
            ApiError::internal("the answer cannot be kept")
        })?;
        Ok(Some(Attempt { key, request, answer }))
    }

    /// Whether a request with the same key was carried out.
    pub(super) fn is_known(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        let asked = self.asked.as_ref().zip(self.actor.token);
        asked.is_some_and(|(asked, token)| snapshot.attempt(token, &asked.key, now).is_some())
    }
}

impl Deref for Caller {
    type Target = Actor;

    fn deref(&self) -> &Actor {
        &self.actor
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let actor = parts.extensions.get::<Actor>().cloned();
        let actor = actor.ok_or_else(|| ApiError::internal("the request was not authenticated"))?;
        Ok(Self { actor, asked: parts.extensions.get::<Asked>().cloned() })
    }
}

/// The answer of a change: something that can be kept.
pub(super) trait Answer {
    /// Its status, its version and its body.
    fn kept(&self) -> Result<Kept, serde_json::Error>;
}

impl<T: Serialize + HasEtag> Answer for Versioned<T> {
    fn kept(&self) -> Result<Kept, serde_json::Error> {
        let body = serde_json::to_string(&self.0)?;
        Ok(Kept { status: StatusCode::OK.as_u16(), etag: Some(self.0.etag().to_owned()), body })
    }
}

impl<T: Serialize> Answer for VersionedList<T> {
    fn kept(&self) -> Result<Kept, serde_json::Error> {
        let body = serde_json::to_string(&self.list)?;
        Ok(Kept { status: StatusCode::OK.as_u16(), etag: Some(self.etag.clone()), body })
    }
}

impl<T: Serialize> Answer for Json<T> {
    fn kept(&self) -> Result<Kept, serde_json::Error> {
        Ok(Kept { status: StatusCode::OK.as_u16(), etag: None, body: serde_json::to_string(&self.0)? })
    }
}

impl Answer for StatusCode {
    fn kept(&self) -> Result<Kept, serde_json::Error> {
        Ok(Kept { status: self.as_u16(), etag: None, body: String::new() })
    }
}

/// Answers a request whose key is known as it was answered then; others go on, with their key as extension.
pub(super) async fn replay(State(context): State<Context>, request: Request, next: Next) -> Response {
    let is_change = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if !is_change || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    match look_up(&context, request).await {
        Ok(Found::Answer(kept)) => again(kept),
        Ok(Found::New(request)) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

enum Found {
    Answer(Kept),
    New(Request),
}

async fn look_up(context: &Context, request: Request) -> Result<Found, ApiError> {
    let key = read(request.headers()).map_err(|invalid| ApiError::argument(KEY, &invalid))?;
    let (parts, body) = request.into_parts();
    let mut unread = Request::new(body);
    unread.extensions_mut().insert(parts.extensions.get::<Peer>().copied().unwrap_or_default());
    // A large body is read in the share of whoever sends it.
    if let Some(actor) = parts.extensions.get::<Actor>() {
        unread.extensions_mut().insert(actor.clone());
    }
    let bytes = body::bytes(unread, &()).await?;
    let asked = Asked { key, request: digest(&parts, &bytes) };
    let Some(actor) = parts.extensions.get::<Actor>().cloned() else {
        return Err(ApiError::internal("the request was not authenticated"));
    };
    let snapshot = context.ledger.snapshot();
    let at = actor.token.and_then(|token| snapshot.attempt(token, &asked.key, (context.clock)()));
    let mut request = Request::from_parts(parts, axum::body::Body::from(bytes));
    let Some(generation) = at else {
        request.extensions_mut().insert(asked);
        return Ok(Found::New(request));
    };
    run(context, move |context| answered(context, generation, &asked)).await.map(Found::Answer)
}

/// The answer that an operation keeps, if this is the request it answered.
fn answered(context: &Context, generation: Generation, asked: &Asked) -> Result<Kept, ApiError> {
    let before = Generation(generation.0.saturating_sub(1));
    let attempt = context.ledger.operations(before, 1)?.into_iter().next().and_then(|operation| operation.attempt);
    match attempt {
        Some(attempt) if attempt.key == asked.key && attempt.request == asked.request => Ok(attempt.answer),
        Some(_) => {
            let help = format!("`{}` was the key of another request: a new request has a key of its own", asked.key);
            Err(ApiError::argument(KEY, &Invalid::constraint(help)))
        }
        None => Err(ApiError::internal("the ledger has lost an answer it kept")),
    }
}

fn read(headers: &HeaderMap) -> Result<String, Invalid> {
    let mut values = headers.get_all(KEY).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Invalid::constraint("the header is given twice; once is allowed"));
    };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > MAX_CHARS {
        return Err(Invalid::format(format!("a key of 1 to {MAX_CHARS} ASCII characters is expected, such as a UUID")));
    }
    Ok(key.to_owned())
}

fn digest(parts: &Parts, body: &[u8]) -> String {
    let mut hasher = Sha256::new();
    let if_match = parts.headers.get_all(header::IF_MATCH).iter().map(HeaderValue::as_bytes);
    let uri = parts.extensions.get::<axum::extract::OriginalUri>().map_or(&parts.uri, |uri| &uri.0);
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    for part in [parts.method.as_str().as_bytes(), target.as_bytes()].into_iter().chain(if_match).chain([body]) {
        // The length first: parts cannot run into each other.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn again(kept: Kept) -> Response {
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let mut response = (status, kept.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(etag) = kept.etag.and_then(|etag| HeaderValue::from_str(&format!("\"{etag}\"")).ok()) {
        headers.insert(ETAG, etag);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
