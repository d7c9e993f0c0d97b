//! How much there may be of everything a tenant can make: the one file of quotas.

use serde::{Deserialize, Serialize};

/// Quotas. Deleted resources do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Load balancers of a project.
    pub lbs_per_project: usize,
    /// IPs of a project, attached or not.
    pub ips_per_project: usize,
    /// Frontends of a load balancer.
    pub frontends_per_lb: usize,
    /// Backends of a load balancer.
    pub backends_per_lb: usize,
    /// Servers of a backend.
    pub servers_per_backend: usize,
    /// Subscribers of a project.
    pub subscribers_per_project: usize,
    /// Rules of a frontend's access list.
    pub acls_per_frontend: usize,
    /// Networks that the rules of a frontend name together.
    pub acl_prefixes_per_frontend: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lbs_per_project: 20_000,
            ips_per_project: 40_000,
            frontends_per_lb: 100,
            backends_per_lb: 100,
            servers_per_backend: 1_000,
            subscribers_per_project: 100,
            acls_per_frontend: 100,
            acl_prefixes_per_frontend: 100_000,
        }
    }
}
