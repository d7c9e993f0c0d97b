//! Health of the servers: who is up, since when, and why.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::ServerRef;

mod checker;
#[cfg(test)]
pub(crate) mod fixture;
mod machine;
mod mass_failure;
mod probe;
mod run;
mod schedule;
mod source;
pub mod tunnel;

pub use checker::{Checker, Job, Settings, Urgency};
pub use machine::{Machine, Now, Thresholds, Turn};
pub use probe::{Network, Prober};
pub use run::{Health, ProbeCounts, start};
pub use source::source_towards;
pub(crate) use tunnel::own_addresses;
pub use tunnel::{Through, Tunnel, unroute};

/// What the checkers know. Servers without a check are absent and count as up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthView {
    /// By server.
    pub servers: BTreeMap<ServerRef, ServerHealth>,
    /// More servers than the configured share went down at once: the checker is suspected, their last good state
    /// is kept, and an alarm is raised.
    pub mass_failure: Option<MassFailure>,
}

impl HealthView {
    /// Whether traffic may be sent to a server.
    #[must_use]
    pub fn is_usable(&self, server: ServerRef) -> bool {
        self.servers.get(&server).is_none_or(|health| health.usable)
    }
}

/// Health of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerHealth {
    /// What the probes say.
    pub up: bool,
    /// What the data plane is told: `up`, or the last good state while a mass failure holds it and until it has failed
    /// anew after that.
    pub usable: bool,
    /// When `up` last changed.
    pub since: Timestamp,
    /// When it came back, if this agent saw it down before: a slow start begins here.
    pub rose_at: Option<Timestamp>,
    /// When the deciding probe ended; measures the way to the data plane.
    pub decided_at: std::time::Instant,
    /// The last probe's outcome; `None` before the first.
    pub last: Option<ProbeOutcome>,
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// As expected.
    #[error("passed")]
    Passed,
    /// The connection was refused.
    #[error("connection refused: nothing listens on the port, or a firewall rejects the edge's address")]
    Refused,
    /// No answer in time.
    #[error("no answer within the timeout")]
    TimedOut,
    /// The network could not reach the server.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// No answer the way traffic goes.
    #[error("{0}")]
    NotThrough(String),
    /// The answer was not the expected one.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

/// A suspected failure of the checker itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MassFailure {
    /// When it began.
    pub since: Timestamp,
    /// Servers that look down, and those whose last probes failed.
    pub down: usize,
    /// Servers that are checked, without those that never were up.
    pub checked: usize,
    /// What most of their probes ended with.
    #[serde(default)]
    pub cause: Cause,
    /// Addresses that the probes come from: what the servers' filters must allow.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub probe_sources: Vec<IpAddr>,
}

/// What a mass failure most likely comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MassFailureCause)]
pub enum Cause {
    /// The probes are not answered: a filter drops them, or the answers to them.
    #[default]
    Unanswered,
    /// The probes are refused: a filter rejects them, or nothing listens any more.
    Refused,
    /// The network says that it cannot reach the servers.
    Unreachable,
    /// The servers answer otherwise than expected.
    Unexpected,
}

/// The sentence of the one alarm.
impl std::fmt::Display for MassFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { down, checked, cause, probe_sources, .. } = self;
        let sources: Vec<String> = probe_sources.iter().map(ToString::to_string).collect();
        let sources = match sources.as_slice() {
            [] => "the source address of the probes".to_owned(),
            sources => format!("the probes from {}", sources.join(" and ")),
        };
        let likely = match cause {
            Cause::Unanswered => format!(
                "nothing answers: most likely filters drop {sources} since lately; let the servers allow that address"
            ),
            Cause::Refused => format!(
                "connections are refused: most likely filters reject {sources} since lately; let the servers allow that \
                 address"
            ),
            Cause::Unreachable => format!(
                "they cannot be reached: most likely this edge has lost its way to them (link, route, gateway), or filters \
                 reject {sources}"
            ),
            Cause::Unexpected => {
                "they answer, but not as expected: most likely what the checks ask for was changed on \
                                  all of them"
                    .to_owned()
            }
        };
        write!(
            f,
            "{down} of {checked} checked servers look down at once, {likely}. Until it is over they keep their last good \
             state and their traffic"
        )
    }
}
