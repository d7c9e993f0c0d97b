//! Rehearsals: the API over ledgers that are forgotten, so that a dry run is answered by the same code as the real one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use uuid::Uuid;

use super::router::routes;
use super::{ApiError, Context, Delivery, auth, throttle};
use crate::model::TokenId;
use crate::shares::{Share, Sharer, Shares};

/// Most rehearsals of organizations at a time, and of one of them.
const OF_TENANTS: (usize, usize) = (12, 2);
/// Most rehearsals of the fleet's operators at a time: no tenant takes their places.
const OF_FLEET: usize = 4;
/// A rehearsal that is silent for so long is over.
const SILENCE: Duration = Duration::from_secs(60);

type Key = (Option<TokenId>, Uuid);

/// The rehearsals that are under way.
pub(super) struct Rehearsals {
    running: Mutex<HashMap<Key, Rehearsal>>,
    tenants: Shares,
    fleet: Shares,
}

struct Rehearsal {
    router: Router,
    sharer: Sharer,
    used: Instant,
    _share: Share,
}

impl Default for Rehearsals {
    fn default() -> Self {
        let (all, each) = OF_TENANTS;
        Self { running: Mutex::default(), tenants: Shares::new(all, each), fleet: Shares::new(OF_FLEET, OF_FLEET) }
    }
}

impl Rehearsals {
    /// The router of a rehearsal, which begins with its first request. It is its token's own.
    ///
    /// # Errors
    /// When nobody knows who asks, when it asks too often, or when all places are others'.
    pub(super) fn router(&self, id: Uuid, context: &Context, request: &Request) -> Result<Router, ApiError> {
        let peer = throttle::peer(request);
        // What reaches a rehearsal's own routes is counted there.
        let actor = auth::actor(context, request.headers())
            .map_err(|unknown| context.throttle.source(peer).err().unwrap_or(unknown))?;
        let key = (actor.token, id);
        if let Some(rehearsal) = self.running().get_mut(&key) {
            rehearsal.used = Instant::now();
            return Ok(rehearsal.router.clone());
        }
        context.throttle.source(peer)?;
        if let Some(token) = actor.token {
            context.throttle.token(peer, token, &actor.name)?;
        }
        let sharer = actor.reach.organization();
        let share = self.place(key, sharer).ok_or_else(ApiError::too_many_rehearsals)?;
        // It takes a while: nobody else waits for it.
        let delivery = Delivery { expects_denial: true, ..context.delivery.clone() };
        let router = routes(Context { ledger: context.ledger.rehearsal(), delivery, ..context.clone() });
        let made = Rehearsal { router, sharer, used: Instant::now(), _share: share };
        // Another request of the same rehearsal may have been faster: there is one of it.
        Ok(self.running().entry(key).or_insert(made).router.clone())
    }

    /// A place for a new one. The sharer's own make room for it, the same token's first; nobody else's do.
    fn place(&self, (token, _): Key, sharer: Sharer) -> Option<Share> {
        let shares = if sharer.is_some() { &self.tenants } else { &self.fleet };
        let mut running = self.running();
        if let Some(share) = shares.try_take(sharer) {
            return Some(share);
        }
        let own = running.iter().filter(|(_, rehearsal)| rehearsal.sharer == sharer);
        let oldest = own.min_by_key(|((of, _), rehearsal)| (*of != token, rehearsal.used)).map(|(key, _)| *key)?;
        running.remove(&oldest);
        shares.try_take(sharer)
    }

    /// Those that are not over.
    fn running(&self) -> MutexGuard<'_, HashMap<Key, Rehearsal>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, rehearsal| rehearsal.used.elapsed() < SILENCE);
        running
    }
}
