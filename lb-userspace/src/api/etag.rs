//! Versions of documents: the `ETag` of an answer, and changes that are made only to the version somebody read
//! (`If-Match`, RFC 9110 §13.1.1). Without `If-Match` a change is made to whatever is there.

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::ApiError;
use super::wire;
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
        let etag = HeaderValue::from_str(&format!("\"{}\"", self.0.etag()));
        let mut response = axum::Json(self.0).into_response();
        if let Ok(etag) = etag {
            response.headers_mut().insert(ETAG, etag);
        }
        response
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
        match self {
            Self::OneOf(versions) if !versions.contains(&of(document)) => Err(ApiError::stale(key)),
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
