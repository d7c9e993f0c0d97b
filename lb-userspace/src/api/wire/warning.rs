//! What is kept of a request and has no effect, as an answer says it.

use serde::{Deserialize, Serialize};

use super::Millis;
use crate::model::{Backend, Frontend};

/// A field that is kept and shown, because the tools that tenants have always write it, and does nothing to packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Warning {
    /// The field.
    pub argument_name: String,
    /// Why it has no effect, and what has.
    pub help_message: String,
}

impl Warning {
    /// Those of a backend: one for each field that was said.
    #[must_use]
    pub fn of_backend(backend: &Backend) -> Vec<Self> {
        let kept = &backend.proxied;
        let idle = "a flow ends when its ends close it, or when the edge needs its place";
        let connect = "the client connects to the server itself";
        [
            kept.timeout_server.map(|time| Self::new("timeout_server", Millis(time), idle)),
            kept.timeout_connect.map(|time| Self::new("timeout_connect", Millis(time), connect)),
            kept.timeout_tunnel.map(|time| Self::new("timeout_tunnel", Millis(time), idle)),
            kept.max_retries.filter(|count| *count > 0).map(|count| {
                let help = "the client connects to the server itself, and TCP tries again; servers that fail their checks are left out";
                Self::new("max_retries", count, help)
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Those of a frontend.
    #[must_use]
    pub fn of_frontend(frontend: &Frontend) -> Vec<Self> {
        let idle = "a flow ends when its ends close it, or when the edge needs its place";
        frontend.timeout_client.map(|time| Self::new("timeout_client", Millis(time), idle)).into_iter().collect()
    }

    fn new(field: &str, value: impl std::fmt::Display, why: &str) -> Self {
        let help_message =
            format!("`{field}` of {value} is kept and has no effect: connections are not ended at layer 4; {why}");
        Self { argument_name: field.to_owned(), help_message }
    }
}
