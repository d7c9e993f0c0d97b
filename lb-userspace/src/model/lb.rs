//! A load balancer: a name, a type, and what is attached to it.

use serde::{Deserialize, Serialize};

use super::{Invalid, LbId, MeasureId, Name, Owner, Reason, SubscriberId, Tags, Times};

/// A load balancer. Its addresses, frontends and backends point at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lb {
    /// Id.
    pub id: LbId,
    /// Owner.
    pub owner: Owner,
    /// Name; not unique.
    pub name: Name,
    /// Free text, at most [`Lb::MAX_DESCRIPTION_CHARS`].
    pub description: String,
    /// Labels.
    pub tags: Tags,
    /// Quota and rate class.
    pub kind: LbType,
    /// Its addresses answer echo requests.
    #[serde(default = "answers", skip_serializing_if = "Clone::clone")]
    pub answers_echo: bool,
    /// What a client sees of a port of its addresses that nobody listens on.
    #[serde(default, skip_serializing_if = "ClosedPort::is_default")]
    pub on_closed_port: ClosedPort,
    /// Who is told when its state changes. One that is deleted is told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<SubscriberId>,
    /// It refuses to be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// It was deleted without a grace period: it has no traffic, or its servers are drained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
    /// Trust & Safety removed it, and nobody else brings it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_down: Option<Takedown>,
    /// Created, updated, deleted.
    pub times: Times,
}

/// The removal of a load balancer by Trust & Safety or an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Takedown {
    /// The plan that did it.
    pub plan: MeasureId,
    /// Why.
    pub reason: Reason,
}

/// The default of [`Lb::answers_echo`].
const fn answers() -> bool {
    true
}

/// What a client sees of a port that nobody listens on. The packet never goes up to the edge's own stack: that might send
/// it back to where it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedPort {
    /// TCP RST, or ICMP port or protocol unreachable.
    #[default]
    Reject,
    /// Nothing.
    Drop,
}

impl ClosedPort {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Drop => "drop",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl std::str::FromStr for ClosedPort {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Reject, Self::Drop]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| Invalid::constraint(format!("`{text}` is not known here: reject or drop is expected")))
    }
}

impl Lb {
    /// Most characters of a description.
    pub const MAX_DESCRIPTION_CHARS: usize = 1024;

    /// A description.
    ///
    /// # Errors
    /// [`Invalid`] when it is too long or has control characters other than line breaks and tabs.
    pub fn parse_description(text: String) -> Result<String, Invalid> {
        let count = text.chars().count();
        if count > Self::MAX_DESCRIPTION_CHARS {
            return Err(Invalid::constraint(format!(
                "the description has {count} characters; at most {} are allowed",
                Self::MAX_DESCRIPTION_CHARS
            )));
        }
        if text.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\t')) {
            return Err(Invalid::format("a description has no control characters other than line breaks and tabs"));
        }
        Ok(text)
    }
}

/// Types of load balancer on offer (`/lb-types`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LbType {
    /// `LB-S`.
    #[default]
    #[serde(rename = "LB-S")]
    S,
    /// `LB-GP-M`.
    #[serde(rename = "LB-GP-M")]
    M,
    /// `LB-GP-L`.
    #[serde(rename = "LB-GP-L")]
    L,
    /// `LB-GP-XL`.
    #[serde(rename = "LB-GP-XL")]
    Xl,
}

/// Quotas of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Frontends of a load balancer.
    pub frontends: usize,
    /// Backends of a load balancer.
    pub backends: usize,
    /// Servers of each of its backends.
    pub servers_per_backend: usize,
}

impl LbType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::S, Self::M, Self::L, Self::Xl];

    /// What a load balancer of this type may have, within the edge's own quotas.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::S => Class { frontends: 50, backends: 50, servers_per_backend: 200 },
            Self::M => Class { frontends: 75, backends: 75, servers_per_backend: 500 },
            Self::L => Class { frontends: 100, backends: 100, servers_per_backend: 1_000 },
            Self::Xl => Class { frontends: usize::MAX, backends: usize::MAX, servers_per_backend: usize::MAX },
        }
    }

    /// The API's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S => "LB-S",
            Self::M => "LB-GP-M",
            Self::L => "LB-GP-L",
            Self::Xl => "LB-GP-XL",
        }
    }
}

impl std::str::FromStr for LbType {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            Invalid::constraint(format!(
                "`{text}` is no load balancer type: {} are offered",
                Self::ALL.map(Self::as_str).join(", ")
            ))
        })
    }
}
