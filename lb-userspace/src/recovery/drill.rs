//! `snowshed drill avalanche`: the incident at full size, on throw-away everything, with live traffic and a stopwatch.
//!
//! The drill runs in a [`Jail`]: network and mount namespaces of its own, in which the production ledger, pins,
//! sockets and interfaces do not exist. What switches a layer of protection off wants a `&Jail`, and only entering
//! one gives it: an agent in production has no way to build it.

use std::time::Instant;

mod budget;
mod edge;
mod fleet;
mod jail;
mod machines;
mod product;
mod quarantine;
mod report;
mod scenarios;
mod traffic;

pub use jail::Jail;
pub use report::{Figures, Timeline};

/// How the drill is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Times the size of the incident.
    pub scale: usize,
}

/// Why a drill could not be carried out. A promise that is not kept is no error: it is a figure.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {why}")]
pub struct DrillError {
    /// What was being done.
    doing: String,
    /// What happened.
    why: String,
}

impl DrillError {
    fn new(doing: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { doing: doing.into(), why: why.to_string() }
    }
}

/// Names what was being done when something failed.
trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, DrillError>;
}

impl<T, E: std::error::Error> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, DrillError> {
        self.map_err(|error| DrillError::new(what, crate::observe::chain(&error)))
    }
}

/// Runs every scenario; `say` hears of each step as it begins.
///
/// # Errors
/// When the scene cannot be built or a step does not end: never because a figure is bad.
pub fn avalanche(jail: &Jail, settings: Settings, say: &mut dyn FnMut(&str)) -> Result<Figures, DrillError> {
    let started = Instant::now();
    let fleet = fleet::Fleet::of_the_incident(settings.scale);
    say(&format!(
        "the fleet of the incident: {} load balancers of {} organizations, {} of them in traffic",
        fleet.lbs.len(),
        fleet.organizations,
        fleet.sample().len()
    ));
    let machines = machines::Machines::build(&fleet)?;
    let product = product::Product::new(jail, &fleet)?;
    product.seed(jail, &fleet)?;
    let mut drill = scenarios::Drill::new(jail, fleet, machines, product, started);
    drill.run(say)
}
