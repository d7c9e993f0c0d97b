//! How often one source and one token may ask: token buckets, each kept as one instant (the generic cell rate
//! algorithm), in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::peer::{Peer, Source};
use super::{ApiError, Context};
use crate::model::TokenId;

/// Buckets of a kind that are kept apart. What comes when there are as many shares one.
const MAX_BUCKETS: usize = 65_536;
/// Full buckets are forgotten at most this often.
const SWEEP: Duration = Duration::from_millis(100);

/// Requests a second, each; twice as many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of one token, over TCP.
    pub per_token: u32,
    /// Of one remote source, whoever it says it is.
    pub per_source: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { per_token: 200, per_source: 400 }
    }
}

/// What was asked lately.
#[derive(Debug)]
pub struct Throttle {
    tokens: Buckets<TokenId>,
    sources: Buckets<Source>,
}

impl Throttle {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { tokens: Buckets::new(rates.per_token), sources: Buckets::new(rates.per_source) }
    }

    /// Lets a request of a source pass, whoever it will turn out to be. This machine's are not counted: a proxy here
    /// would be one source.
    pub(super) fn source(&self, peer: Peer) -> Result<(), ApiError> {
        let Peer::Remote(source) = peer else { return Ok(()) };
        self.sources.take(source, Instant::now()).map_err(|wait| ApiError::too_often(&source.to_string(), wait))
    }

    /// Lets a request of a token pass. Over the Unix socket everything passes: root is never locked out.
    pub(super) fn token(&self, peer: Peer, token: TokenId, name: &str) -> Result<(), ApiError> {
        if peer == Peer::Socket {
            return Ok(());
        }
        let who = || format!("the token `{name}`");
        self.tokens.take(token, Instant::now()).map_err(|wait| ApiError::too_often(&who(), wait))
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(Rates::default())
    }
}

/// Where a request comes from.
pub(super) fn peer(request: &Request) -> Peer {
    request.extensions().get().copied().unwrap_or_default()
}

/// Refuses a source that asks too often, before anything is read of what it asks.
pub(super) async fn by_source(State(context): State<Context>, request: Request, next: Next) -> Response {
    match context.throttle.source(peer(&request)) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// A bucket per key: one request every `interval`, and `burst` of them at once after a rest.
#[derive(Debug)]
struct Buckets<K> {
    interval: Duration,
    burst: Duration,
    state: Mutex<Filled<K>>,
}

#[derive(Debug)]
struct Filled<K> {
    /// When each bucket will be full again. A full one need not be kept.
    full_at: HashMap<K, Instant>,
    /// The bucket of those for whom there is no room.
    rest: Option<Instant>,
    swept: Option<Instant>,
}

impl<K: Copy + Eq + Hash> Buckets<K> {
    fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let state = Filled { full_at: HashMap::new(), rest: None, swept: None };
        Self { interval, burst: Duration::from_secs(2), state: Mutex::new(state) }
    }

    /// Takes one out of a bucket.
    ///
    /// # Errors
    /// The time until there is one in it again.
    fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if !state.full_at.contains_key(&key) && state.full_at.len() >= MAX_BUCKETS {
            if state.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
                state.swept = Some(now);
                state.full_at.retain(|_, full_at| *full_at > now);
            }
            if state.full_at.len() >= MAX_BUCKETS {
                let next = self.after(state.rest, now)?;
                state.rest = Some(next);
                return Ok(());
            }
        }
        let next = self.after(state.full_at.get(&key).copied(), now)?;
        state.full_at.insert(key, next);
        Ok(())
    }

    /// When a bucket will be full again, once another one is taken out.
    fn after(&self, full_at: Option<Instant>, now: Instant) -> Result<Instant, Duration> {
        let next = full_at.map_or(now, |full_at| full_at.max(now)) + self.interval;
        match next.duration_since(now).checked_sub(self.burst) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(buckets: &Buckets<u32>, key: u32, now: Instant, times: usize) -> usize {
        (0..times).filter(|_| buckets.take(key, now).is_ok()).count()
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate_and_says_how_long_to_wait() {
        let (buckets, now) = (Buckets::new(10), Instant::now());
        assert_eq!(taken(&buckets, 1, now, 100), 20);
        assert_eq!(buckets.take(1, now), Err(Duration::from_millis(100)));
        assert_eq!(taken(&buckets, 2, now, 100), 20, "another key has a bucket of its own");
        assert_eq!(taken(&buckets, 1, now + Duration::from_secs(1), 100), 10);
        assert_eq!(taken(&buckets, 1, now + Duration::from_secs(60), 100), 20);
    }

    #[test]
    fn more_keys_than_buckets_share_one_until_others_are_full_again() {
        let (buckets, now) = (Buckets::new(10), Instant::now());
        let most = u32::try_from(MAX_BUCKETS).unwrap();
        assert!((0..most).all(|key| buckets.take(key, now).is_ok()));
        let passed = (most..most + 1000).filter(|key| buckets.take(*key, now).is_ok()).count();
        assert_eq!(passed, 20);
        assert_eq!(buckets.state.lock().unwrap().full_at.len(), MAX_BUCKETS);
        assert!(buckets.take(0, now).is_ok(), "who has a bucket keeps it");
        assert!(buckets.take(most, now + Duration::from_secs(1)).is_ok());
        assert_eq!(buckets.state.lock().unwrap().full_at.len(), 1, "full ones are forgotten");
    }
}
