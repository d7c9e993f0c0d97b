//! Bodies of `/snowshed/v1/heal`.

use serde::{Deserialize, Serialize};

use crate::recovery::heal::{Finding, Instance, Summary};

/// Answer of `GET /snowshed/v1/heal`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HealList {
    /// Counts of every load balancer that the token may see.
    pub summary: Summary,
    /// What is amiss with the edge as a whole.
    pub edge: Vec<Finding>,
    /// Those that the filters leave, at most 1000.
    pub load_balancers: Vec<Instance>,
    /// How many the filters leave.
    pub total_count: usize,
}

/// Body of `POST /snowshed/v1/heal/retry`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryHealing {
    /// Where: `lb:ID`, `project:ID`, `organization:ID` or `zone`.
    pub place: Option<String>,
}

/// Body of `POST /snowshed/v1/heal/resolve`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveFindings {
    /// The load balancer: `lb:ID`.
    pub place: Option<String>,
    /// Only findings of this reason; all of them when absent.
    pub fault: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
}

/// How many load balancers or findings that were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HealAnswer {
    /// The number.
    pub count: usize,
}
