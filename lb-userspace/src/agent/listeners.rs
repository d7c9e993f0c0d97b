//! Opens what the API listens on, and keeps its certificate fresh.

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::AgentError;
use crate::api;
use crate::config::Config;

/// Where the API listens; its certificate is followed, and SIGHUP means "read it again".
pub(super) async fn bind(
    config: &Config,
    components: &mut JoinSet<&'static str>,
) -> Result<api::Listeners, AgentError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(AgentError::Runtime)?;
    let Some((certificate, key)) = config.api.tls_certificate.as_ref().zip(config.api.tls_key.as_ref()) else {
        components.spawn(async move {
            while hangup.recv().await.is_some() {
                log::info!("SIGHUP: there is no certificate to read again; other settings are taken at a restart");
            }
            "signal handler"
        });
        return Ok(api::Listeners::bind(&config.api.socket, &config.api.listen, None).await?);
    };
    let tls = api::Tls::open(certificate, key).map_err(api::ServeError::from)?;
    let served = tls.config().map_err(api::ServeError::from)?;
    components.spawn(async move {
        tls.follow(hangup).await;
        "certificate watcher"
    });
    Ok(api::Listeners::bind(&config.api.socket, &config.api.listen, Some(served)).await?)
}
