//! Versions of documents: the `ETag` of an answer, and changes that are made only to the version somebody read
//! (`If-Match`, RFC 9110 §13.1.1). Without `If-Match` a change is made to whatever is there.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::wire;
use super::{ApiError, router};
use crate::model::{DocumentKey, Invalid};

/// Version of a document: 32 hexadecimal digits over everything the ledger holds of it. What the data plane or other
/// documents do does not change it.
pub(super) fn of(document: &impl Serialize) -> String {
    match serde_json::to_vec(document) {
        Ok(bytes) => Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect(),
        Err(error) => {
            // No version matches the empty one: whoever asks for it is refused.
            log::error!("a document has no version: {error}");
            String::new()
        }
    }
}

/// An object with its version, which also stands in the `ETag` header.
pub(super) struct Versioned<T>(pub(super) T);

/// A list that is changed as a whole, with the version of all of it, which stands in the `ETag` header alone.
pub(super) struct VersionedList<T> {
    /// The version.
    pub(super) etag: String,
    /// The answer.
    pub(super) list: T,
}

impl<T: Serialize> IntoResponse for VersionedList<T> {
    fn into_response(self) -> Response {
        with_etag(axum::Json(self.list).into_response(), &self.etag)
    }
}

fn with_etag(mut response: Response, etag: &str) -> Response {
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Refuses `If-Match` where no version is compared: a condition that is not looked at would be none.
pub(super) async fn refuse_unread(request: Request, next: Next) -> Response {
    if request.headers().contains_key(IF_MATCH)
        && let Some(path) = request.extensions().get::<MatchedPath>()
        && UNCONDITIONAL.contains(&(request.method().as_str().to_ascii_lowercase(), path.as_str().to_owned()))
    {
        let help = "this operation changes no version of an object that somebody read: leave the header out";
        return ApiError::argument("If-Match", &Invalid::constraint(help)).into_response();
    }
    next.run(request).await
}

/// Operations that change something and document no `If-Match`: method and path.
static UNCONDITIONAL: LazyLock<BTreeSet<(String, String)>> = LazyLock::new(|| {
    let document = serde_json::to_value(router::documented()).unwrap_or_default();
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let is_conditional = parameters.into_iter().any(|parameter| parameter["name"] == "If-Match");
            if method != "get" && !is_conditional {
                found.insert((method.clone(), path.clone()));
            }
        }
    }
    found
});

/// Something that has a version.
pub(super) trait HasEtag {
    /// The version.
    fn etag(&self) -> &str;
}

macro_rules! has_etag {
    ($($kind:ty),*) => {
        $(impl HasEtag for $kind {
            fn etag(&self) -> &str {
                &self.etag
            }
        })*
    };
}
has_etag!(
    wire::Acl,
    wire::Dependent,
    wire::Lb,
    wire::Ip,
    wire::Frontend,
    wire::Backend,
    wire::Subscriber,
    wire::Organization,
    wire::Project,
    wire::Token
);

impl<T: Serialize + HasEtag> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let etag = self.0.etag().to_owned();
        with_etag(axum::Json(self.0).into_response(), &etag)
    }
}

/// The versions a change may be made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// Any: the header is absent or `*`.
    Any,
    /// One of these.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// Refuses the change when the document is at another version.
    pub(super) fn check(&self, key: DocumentKey, document: &impl Serialize) -> Result<(), ApiError> {
        self.check_version(key, || of(document))
    }

    /// The same of a version that is made only where it is compared.
    pub(super) fn check_version(&self, key: DocumentKey, version: impl FnOnce() -> String) -> Result<(), ApiError> {
        match self {
            Self::OneOf(versions) if !versions.contains(&version()) => Err(ApiError::stale(key)),
            Self::Any | Self::OneOf(_) => Ok(()),
        }
    }

    fn read(headers: &HeaderMap) -> Result<Self, Invalid> {
        let mut versions = Vec::new();
        for value in headers.get_all(IF_MATCH) {
            let text = value.to_str().map_err(|_| Invalid::format("the header is no ASCII text"))?.trim();
            if text == "*" {
                return Ok(Self::Any);
            }
            for part in text.split(',').map(str::trim) {
                let version = part.strip_prefix('"').and_then(|part| part.strip_suffix('"'));
                let version = version.filter(|version| !version.contains('"')).ok_or_else(|| {
                    Invalid::format(format!(
                        "`{part}` is no version: one such as \"0123…\" (with its quotes, as in `ETag`) or * is expected"
                    ))
                })?;
                versions.push(version.to_owned());
            }
        }
        Ok(if headers.contains_key(IF_MATCH) { Self::OneOf(versions) } else { Self::Any })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::read(&parts.headers).map_err(|invalid| ApiError::argument("If-Match", &invalid))
    }
}
