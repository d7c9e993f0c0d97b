//! A flexible IP: its own object, which outlives the load balancer it is attached to.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Invalid, IpId, LbId, Owner, Tags, Times};

/// An address reserved for a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip {
    /// Id.
    pub id: IpId,
    /// Owner.
    pub owner: Owner,
    /// The address, one of the edge's pools.
    pub address: IpAddr,
    /// The load balancer it is attached to. The only place where this relation is held.
    pub lb: Option<LbId>,
    /// Reverse DNS name, as the tenant gave it; empty for none.
    pub reverse: String,
    /// Labels.
    pub tags: Tags,
    /// Created, updated, deleted.
    pub times: Times,
}

impl Ip {
    /// Most characters of a reverse DNS name (RFC 1035, section 2.3.4).
    pub const MAX_REVERSE_CHARS: usize = 253;

    /// A reverse DNS name; empty for none.
    ///
    /// # Errors
    /// [`Invalid`] when it is not labels of letters, digits, `-` and `_` with dots between.
    pub fn parse_reverse(name: String) -> Result<String, Invalid> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_'))
        };
        let labels = name.strip_suffix('.').unwrap_or(&name);
        if name.is_empty() || (labels.len() <= Self::MAX_REVERSE_CHARS && labels.split('.').all(is_label)) {
            return Ok(name);
        }
        Err(Invalid::format(
            "a DNS name is expected, such as `www.example.org`: labels of 1 to 63 letters, digits, `-` and `_` with \
             dots between, at most 253 characters; empty for none",
        ))
    }
}
