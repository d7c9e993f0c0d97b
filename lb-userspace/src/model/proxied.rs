//! What tenants' tools say of a proxy's own connections to its servers: kept and shown, without effect at layer 4.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of a proxy that Terraform's provider and the cloud controller always write. `None` was not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxied {
    /// Idle time a server is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_server: Option<Duration>,
    /// Time in which a connection to a server is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_connect: Option<Duration>,
    /// Idle time of a tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_tunnel: Option<Duration>,
    /// Times that a failed connection to a server is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
}
