//! Request bodies: JSON into wire shapes, with the path of what does not fit. What a request says where nobody reads
//! it (a body of a `DELETE`, a query of a `PUT`) is refused: somebody meant it to narrow what the request does.

use std::sync::LazyLock;

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::ApiError;
use super::listing::Pairs;
use super::peer::Peer;
use super::throttle;
use super::wire::{Detail, Problem, ProblemKind};
use crate::model::Actor;
use crate::shares::Shares;

/// Largest body, bytes: an access list with as many networks as there may be.
pub(super) const MAX_BYTES: usize = 6 << 20;

/// A body up to this many bytes is read whoever else is sending one.
const SMALL_BYTES: u64 = 64 << 10;

/// Larger ones are read eight at a time, and two of one tenant, so that all of them together are bounded too. The Unix
/// socket's do not wait.
static LARGE: LazyLock<Shares> = LazyLock::new(|| Shares::new(8, 2));

/// A JSON body of a request without a query.
pub(super) struct Body<T>(pub(super) T);

/// A request that has no body; `{}` is none.
pub(super) struct NoBody;

/// A request that has neither body nor query.
pub(super) struct Bare;

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let request = without_query(request, state).await?;
        read(&bytes(request, state).await?).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let bytes = bytes(request, state).await?;
        if !bytes.iter().all(u8::is_ascii_whitespace) {
            let Nothing {} = read(&bytes)?;
        }
        Ok(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for Bare {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        NoBody::from_request(without_query(request, state).await?, state).await.map(|NoBody| Self)
    }
}

async fn without_query<S: Send + Sync>(request: Request, state: &S) -> Result<Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    Pairs::from_request_parts(&mut parts, state).await?.known(&[])?;
    Ok(Request::from_parts(parts, body))
}

pub(super) async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let is_small = request.body().size_hint().upper().is_some_and(|upper| upper <= SMALL_BYTES);
    let tenant = request.extensions().get::<Actor>().and_then(|actor| actor.reach.organization());
    // Places are never closed; who waits too long is answered by the router's deadline.
    let _place = if is_small || throttle::peer(&request) == Peer::Socket { None } else { LARGE.take(tenant).await };
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::new(Problem {
                kind: ProblemKind::TooLarge,
                message: "the body is too large".to_owned(),
                help_message: format!("at most {MAX_BYTES} bytes are read"),
                ..Problem::default()
            })
        } else {
            ApiError::arguments(vec![wrong("body", "format", format!("the body could not be read: {rejection}"))])
        }
    })
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        let help = "a JSON object is expected, for example {\"name\": \"web\"}".to_owned();
        return Err(ApiError::arguments(vec![wrong("body", "required", help)]));
    }
    // serde takes a list for a struct, field by field; no client means that.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        let help = "the body is no JSON object: {…} is expected".to_owned();
        return Err(ApiError::arguments(vec![wrong("body", "format", help)]));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        misfit(if path == "." { String::new() } else { path }, &error.into_inner())
    })?;
    deserializer.end().map_err(|error| misfit(String::new(), &error))?;
    Ok(value)
}

fn misfit(path: String, error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    let detail = match unknown_field(&text) {
        Some((name, known)) => {
            let parent = path.strip_suffix(&name).unwrap_or(&path).trim_end_matches('.');
            let full = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            wrong(&full, "unknown", unknown(&name, &known))
        }
        None if path.is_empty() => wrong("body", "format", format!("the body is not the expected JSON: {text}")),
        None => {
            let what = text.split(" at line ").next().unwrap_or(&text);
            wrong(&path, "format", format!("the value does not fit: {what}"))
        }
    };
    ApiError::arguments(vec![detail])
}

/// Name and known names out of serde's message; there is no other way to them.
fn unknown_field(text: &str) -> Option<(String, Vec<&str>)> {
    let quoted: Vec<&str> = text.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2).collect();
    let (name, known) = quoted.split_first()?;
    Some(((*name).to_owned(), known.to_vec()))
}

/// What to write instead of an unknown name.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|candidate| distance(name, candidate));
    let hint = match nearest {
        Some(nearest) if distance(name, nearest) <= 1 + name.len() / 3 => format!("; did you mean `{nearest}`?"),
        _ => ";".to_owned(),
    };
    let all = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("`{name}` is not known here{hint} Known are: {all}")
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

pub(super) fn wrong(name: &str, reason: &str, help: String) -> Detail {
    Detail {
        argument_name: Some(name.to_owned()),
        reason: Some(reason.to_owned()),
        help_message: Some(help),
        ..Detail::default()
    }
}
