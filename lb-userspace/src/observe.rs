//! What the agent tells about itself: Prometheus metrics and events. Log lines stand where things happen.

pub mod capture;
mod edge;
pub mod events;
mod live;
mod metrics;
pub mod traffic;

pub use edge::{CounterSource, Edge, HealSource};
pub use events::Events;
pub use live::{EVERY as TRAFFIC_EVERY, LiveTraffic, Rate, Sampler};
pub use metrics::Metrics;
pub use traffic::Traffic;

/// Sends log lines to stderr, level info unless `RUST_LOG` says otherwise. A second call does nothing.
pub fn init_log() {
    let environment = env_logger::Env::default().default_filter_or("info");
    if env_logger::Builder::from_env(environment).format_timestamp_millis().try_init().is_err() {
        log::debug!("logging was set up already");
    }
}

/// An error with its sources in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
