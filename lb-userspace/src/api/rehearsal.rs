//! Rehearsals: the API over ledgers that are forgotten, so that a dry run is answered by the same code as the real one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::HeaderMap;
use uuid::Uuid;

use super::router::routes;
use super::{ApiError, Context, Delivery, auth};
use crate::model::TokenId;

/// Most rehearsals at a time; the one that was silent for the longest makes room.
const MAX: usize = 16;
/// A rehearsal that is silent for so long is over.
const SILENCE: Duration = Duration::from_secs(60);

/// The rehearsals that are under way.
#[derive(Default)]
pub(super) struct Rehearsals(Mutex<HashMap<(Option<TokenId>, Uuid), Rehearsal>>);

struct Rehearsal {
    router: Router,
    used: Instant,
}

impl Rehearsals {
    /// The router of a rehearsal, which begins with its first request. It is its token's own.
    ///
    /// # Errors
    /// When nobody knows who asks.
    pub(super) fn router(&self, id: Uuid, context: &Context, headers: &HeaderMap) -> Result<Router, ApiError> {
        let token = auth::actor(context, headers)?.token;
        let now = Instant::now();
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, rehearsal| now.duration_since(rehearsal.used) < SILENCE);
        if let Some(rehearsal) = running.get_mut(&(token, id)) {
            rehearsal.used = now;
            return Ok(rehearsal.router.clone());
        }
        if running.len() >= MAX
            && let Some(oldest) = running.iter().min_by_key(|(_, rehearsal)| rehearsal.used).map(|(key, _)| *key)
        {
            running.remove(&oldest);
        }
        let delivery = Delivery { expects_denial: true, ..context.delivery.clone() };
        let router = routes(Context { ledger: context.ledger.rehearsal(), delivery, ..context.clone() });
        running.insert((token, id), Rehearsal { router: router.clone(), used: now });
        Ok(router)
    }
}
