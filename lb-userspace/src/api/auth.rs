//! Who asks: the token of a request, as Scaleway's SDKs send it (`X-Auth-Token`) or as a bearer.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::wire::{Problem, ProblemKind};
use super::{ApiError, Context};
use crate::model::{Actor, Owner};

/// Somebody who may use the API. Of the secret only the SHA-256 is kept.
#[derive(Clone)]
pub struct Token {
    name: String,
    digest: [u8; 32],
    owner: Owner,
}

impl Token {
    /// A token with a secret.
    #[must_use]
    pub fn from_secret(name: impl Into<String>, secret: &str, owner: Owner) -> Self {
        Self { name: name.into(), digest: Sha256::digest(secret).into(), owner }
    }

    /// A token of which only the SHA-256 of the secret is known.
    #[must_use]
    pub fn from_sha256(name: impl Into<String>, digest: [u8; 32], owner: Owner) -> Self {
        Self { name: name.into(), digest, owner }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Every token.
#[derive(Clone, Debug, Default)]
pub struct Tokens(std::sync::Arc<[Token]>);

impl Tokens {
    /// These tokens.
    #[must_use]
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Self {
        Self(tokens.into_iter().collect())
    }

    /// The actor a secret belongs to. Takes the same time wherever a digest differs and whichever token it is.
    fn actor(&self, secret: &str) -> Option<Actor> {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let mut found = None;
        for token in self.0.iter() {
            if is_same(&token.digest, &digest) {
                found = Some(token);
            }
        }
        found.map(|token| Actor { name: token.name.clone(), owner: token.owner })
    }
}

fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// Lets a request through with its [`Actor`] as extension.
pub(super) async fn authenticate(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    match actor(&context.tokens, request.headers()) {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn actor(tokens: &Tokens, headers: &HeaderMap) -> Result<Actor, ApiError> {
    let secret = secret(headers)?;
    tokens.actor(secret).ok_or_else(|| denied("not_found", "the token is not known to this agent"))
}

fn secret(headers: &HeaderMap) -> Result<&str, ApiError> {
    let text = |name: &str| {
        let value = headers.get(name)?;
        Some(value.to_str().map(str::trim).map_err(|_| denied("invalid_argument", "the token is no ASCII text")))
    };
    if let Some(secret) = text("x-auth-token") {
        return secret;
    }
    let Some(authorization) = text("authorization") else {
        return Err(denied("invalid_argument", "the request has no token"));
    };
    match authorization?.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => Ok(secret.trim()),
        _ => Err(denied("invalid_argument", "the Authorization header is no bearer token")),
    }
}

fn denied(reason: &str, message: &str) -> ApiError {
    ApiError::new(Problem {
        kind: ProblemKind::DeniedAuthentication,
        message: message.to_owned(),
        help_message: "send a token of [[api.tokens]] in agent.toml as `X-Auth-Token: TOKEN` or \
                       `Authorization: Bearer TOKEN`"
            .to_owned(),
        method: Some("api_key".to_owned()),
        reason: Some(reason.to_owned()),
        ..Problem::default()
    })
}
