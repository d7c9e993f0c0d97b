//! A frontend: a port of a load balancer's addresses, and the backend pool behind it.

use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BackendId, FrontendId, LbId, Name, Times};

/// A port that is listened on; its protocol is the backend's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontend {
    /// Id.
    pub id: FrontendId,
    /// The load balancer it belongs to.
    pub lb: LbId,
    /// Name; not unique.
    pub name: Name,
    /// The port.
    pub inbound_port: NonZeroU16,
    /// The backend pool.
    pub backend: BackendId,
    /// Idle time the tenant allows a client; kept for the modes that hold flow state.
    pub timeout_client: Option<Duration>,
    /// Created, updated, deleted.
    pub times: Times,
}
