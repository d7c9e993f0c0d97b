//! The control API: Scaleway's Load Balancer shapes over HTTP, on a Unix socket and on loopback.
//!
//! A handler reads a request into the model, proposes a change, and hands it to [`change::commit`], which asks the
//! guard and appends to the ledger. Architecture Invariant: no handler touches a map.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::authority::{LastUsed, TokenKey};
use crate::delivery::{Outbox, SigningKey, Targets};
use crate::explain::ConnectionId;
use crate::faults::Faults;
use crate::guard::Limits;
use crate::health::HealthView;
use crate::ledger::Authorized;
use crate::model::Pools;
use crate::observe::{Events, LiveTraffic, Traffic, capture};
use crate::plan::{ServiceAddress, Tables};
use crate::reconcile::Status;
use crate::recovery::heal::Heal;

mod admin;
mod auth;
mod body;
mod change;
mod etag;
mod expect;
mod handlers;
mod idempotency;
mod listing;
pub mod openapi;
mod parse;
pub mod peer;
mod problem;
mod rehearsal;
mod requests;
mod router;
pub mod serve;
pub mod throttle;
pub mod tls;
mod view;
pub mod wire;

pub use problem::ApiError;
#[cfg(test)]
pub(crate) use problem::listed_by;
pub use requests::Requests;
pub use router::router;
pub use serve::{Listeners, ServeError, serve};
pub use throttle::{Rates, Throttle};
pub use tls::Tls;

/// What the API works with.
#[derive(Clone)]
pub struct Context {
    /// Where changes go.
    pub ledger: Authorized,
    /// What the reconciler last did.
    pub status: watch::Receiver<Status>,
    /// What the maps should hold.
    pub tables: watch::Receiver<Arc<Tables>>,
    /// What the checkers know.
    pub health: watch::Receiver<Arc<HealthView>>,
    /// Quotas.
    pub limits: Limits,
    /// Address pools.
    pub pools: Pools,
    /// The `{zone}` of the paths.
    pub zone: String,
    /// Makes the digests of the tokens' secrets.
    pub token_key: TokenKey,
    /// When tokens were used.
    pub last_used: Arc<LastUsed>,
    /// How often who may ask.
    pub throttle: Arc<Throttle>,
    /// The clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// What happens on this edge.
    pub events: Arc<Events>,
    /// Counts what is asked.
    pub requests: Arc<Requests>,
    /// The counters of the maps, or why they cannot be read.
    pub traffic: Arc<dyn Fn() -> Result<Traffic, String> + Send + Sync>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Knows the live traffic.
    pub live_traffic: Arc<dyn LiveTraffic>,
    /// The scoreboard.
    pub heal: Arc<Heal>,
    /// What is told to the outside, and what may be.
    pub delivery: Delivery,
    /// What a test took away: nothing otherwise.
    pub faults: Faults,
    /// Answers `/snowshed/v1/explain`.
    pub explain: Arc<dyn Explain>,
    /// Answers `/snowshed/v1/capture`.
    pub captures: Arc<dyn Captures>,
}

/// What the API knows of deliveries.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What waits, and what was given up.
    pub outbox: Arc<Outbox>,
    /// Derives the recipients' secrets.
    pub key: SigningKey,
    /// Where webhooks may go.
    pub targets: Targets,
    /// An SMTP server is configured.
    pub sends_email: bool,
    /// The request expects to be refused, or is rehearsed: nothing is done.
    pub expects_denial: bool,
}

/// Explains from the live maps which server a client's packets go to.
pub trait Explain: Send + Sync {
    /// The way of a packet from `client` to `service`; of an open QUIC connection, where its id is given.
    fn explain(
        &self,
        client: SocketAddr,
        service: ServiceAddress,
        connection_id: Option<ConnectionId>,
    ) -> BoxFuture<'_, Result<serde_json::Value, ExplainError>>;
}

/// Shows packets with the verdicts on them as they come.
pub trait Captures: Send + Sync {
    /// Begins a capture; it ends when the stream is let go.
    fn begin(&self, order: CaptureOrder) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, CaptureError>>;
}

/// A capture that is wanted.
#[derive(Clone, Debug)]
pub struct CaptureOrder {
    /// Who wants it.
    pub by: String,
    /// Which packets.
    pub wanted: capture::Wanted,
    /// How they are written.
    pub format: capture::Format,
    /// It ends after so many.
    pub count: Option<u64>,
    /// It ends after so long.
    pub lasts: Duration,
}

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is one already.
    #[error("{by} captures already, until {until} at the latest")]
    Busy {
        /// Who wanted it.
        by: String,
        /// When it ends.
        until: Timestamp,
    },
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
    /// The program could not be loaded or swapped.
    #[error("{0}")]
    Failed(String),
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No such service in the maps, or client and service are of different families.
    #[error("{0}")]
    NotFound(String),
    /// The maps cannot be read.
    #[error("the maps cannot be read: {0}")]
    Failed(String),
}
