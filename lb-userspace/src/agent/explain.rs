//! Answers `explain` from the live maps.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::api::{Explain, ExplainError};
use crate::dataplane::Dataplane;
use crate::explain::{self, ConnectionId};
use crate::plan::ServiceAddress;

/// Reads the maps that the reconciler writes; a look is a handful of reads.
pub(super) struct FromMaps<D>(pub(super) std::sync::Arc<Mutex<D>>);

impl<D: Dataplane + 'static> Explain for FromMaps<D> {
    fn explain(
        &self,
        client: SocketAddr,
        service: ServiceAddress,
        connection_id: Option<ConnectionId>,
    ) -> BoxFuture<'_, Result<serde_json::Value, ExplainError>> {
        let dataplane = std::sync::Arc::clone(&self.0);
        async move {
            let look = move || {
                let dataplane = dataplane.lock().unwrap_or_else(PoisonError::into_inner);
                explain::explain(&*dataplane, client, service, connection_id.as_ref())
            };
            match tokio::task::spawn_blocking(look).await {
                Ok(Ok(explanation)) => {
                    serde_json::to_value(explanation).map_err(|error| ExplainError::Failed(error.to_string()))
                }
                Ok(Err(error @ explain::ExplainError::Family { .. })) => Err(ExplainError::NotFound(error.to_string())),
                Ok(Err(error)) => Err(ExplainError::Failed(crate::observe::chain(&error))),
                Err(error) => Err(ExplainError::Failed(error.to_string())),
            }
        }
        .boxed()
    }
}
