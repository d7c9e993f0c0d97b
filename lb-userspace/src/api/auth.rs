//! Who asks: the token of a request, as Scaleway's SDKs send it (`X-Auth-Token`) or as a bearer.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::wire::{Problem, ProblemKind};
use super::{ApiError, Context, throttle};
use crate::model::Actor;

/// Lets a request through with its [`Actor`] as extension.
pub(super) async fn authenticate(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    let passed = actor(&context, request.headers()).and_then(|actor| {
        if let Some(token) = actor.token {
            context.throttle.token(throttle::peer(&request), token, &actor.name)?;
        }
        Ok(actor)
    });
    match passed {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whoever holds the secret's token. The ledger is asked each time: a revocation holds from the next request on.
pub(super) fn actor(context: &Context, headers: &HeaderMap) -> Result<Actor, ApiError> {
    // Looked up by a digest that nobody without the key can aim at: how long that takes says nothing of a secret.
    let digest = context.token_key.digest(secret(headers)?);
    let snapshot = context.ledger.snapshot();
    let unknown = || denied("not_found", "the token is not known, or was revoked");
    let token = snapshot.tenants().token_with(&digest).ok_or_else(unknown)?;
    let now = (context.clock)();
    if !token.times.is_live() || !snapshot.tenants().is_live_reach(&token.reach) {
        return Err(unknown());
    }
    if !token.is_valid(now) {
        return Err(denied("expired", "the token has expired"));
    }
    context.last_used.note(token.id, now);
    Ok(Actor { token: Some(token.id), name: token.name.to_string(), role: token.role, reach: token.reach })
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
        help_message: "send a token as `X-Auth-Token: TOKEN` or `Authorization: Bearer TOKEN`; `snowshed token \
                       create` makes one"
            .to_owned(),
        method: Some("api_key".to_owned()),
        reason: Some(reason.to_owned()),
        ..Problem::default()
    })
}
