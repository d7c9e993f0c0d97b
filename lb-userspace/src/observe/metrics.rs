//! The registry: what is measured as it happens, and what is read from the edge at each scrape.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Edge;
use crate::reconcile::Observer;

/// Upper bounds of the time an activation takes, in seconds.
const ACTIVATION_BUCKETS: [f64; 10] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
/// Upper bounds of the time from a deciding probe to the maps, in seconds; 0.05 is the promise.
const HEALTH_BUCKETS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Every metric of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    measured: Measured,
}

/// What the reconciler reports as it works.
#[derive(Clone, Debug)]
struct Measured {
    activation: Histogram,
    failures: Counter,
    health_to_dataplane: Histogram,
}

impl Metrics {
    /// Metrics of an edge; nothing is read before the first scrape.
    #[must_use]
    pub fn new(edge: Edge) -> Self {
        let measured = Measured {
            activation: Histogram::new(ACTIVATION_BUCKETS),
            failures: Counter::default(),
            health_to_dataplane: Histogram::new(HEALTH_BUCKETS),
        };
        let mut registry = Registry::default();
        registry.register_with_unit(
            "snowshed_reconcile_activation",
            "Time an activation of the reconciler took",
            Unit::Seconds,
            measured.activation.clone(),
        );
        registry.register(
            "snowshed_reconcile_failures",
            "Activations of the reconciler that could not apply everything",
            measured.failures.clone(),
        );
        registry.register_with_unit(
            "snowshed_health_to_dataplane",
            "Time from the probe that decided a server's state to the maps",
            Unit::Seconds,
            measured.health_to_dataplane.clone(),
        );
        registry.register_collector(Box::new(edge));
        Self { registry, measured }
    }

    /// What the reconciler should report to.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(self.measured.clone())
    }

    /// The text of `/metrics`, in the OpenMetrics format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            // Writing to a string does not fail; a collector that does is a defect, and must be seen.
            log::error!("the metrics could not be written whole");
        }
        text
    }
}

impl Observer for Measured {
    fn activated(&self, took: Duration, has_failed: bool) {
        self.activation.observe(took.as_secs_f64());
        if has_failed {
            self.failures.inc();
        }
    }

    fn health_applied(&self, since_probe: Duration) {
        self.health_to_dataplane.observe(since_probe.as_secs_f64());
    }
}
