//! Bodies of `/snowshed/v1/dependents`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{DependentId, LbId, OrganizationId, ProjectId};
use crate::recovery::advice::Advice;

/// Body of `POST /snowshed/v1/dependents`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDependent {
    /// What it is, in a word: `kubernetes`, `database`, `iot_hub`, …
    pub kind: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// The load balancers it depends on, at least one, all of one project.
    pub lb_ids: Option<Vec<String>>,
    /// Where it is told of what happens to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Deletions of them wait for it. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finalizer: Option<bool>,
}

/// Body of `PATCH /snowshed/v1/dependents/{id}`: what is absent stays.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateDependent {
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The load balancers it depends on from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lb_ids: Option<Vec<String>>,
    /// Where it is told of what happens to them; nowhere when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// True: deletions wait for it. Letting go takes a reason, and is a request of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finalizer: Option<bool>,
}

/// Body of `POST /snowshed/v1/dependents/{id}/release`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseDependent {
    /// Why, for people; whoever releases somebody else's says it to them.
    pub reason: Option<String>,
}

/// A registered dependent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Dependent {
    /// Id.
    pub id: DependentId,
    /// What it is.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Owner's organization.
    pub organization_id: OrganizationId,
    /// Owner's project.
    pub project_id: ProjectId,
    /// The load balancers it depends on.
    pub lb_ids: Vec<LbId>,
    /// Where it is told.
    pub webhook: Option<String>,
    /// Deletions wait for it.
    pub finalizer: bool,
    /// Deleted load balancers that forward on because it has not let them go.
    pub holding: Vec<LbId>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was deleted; such things are shown to who asks for them only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Version; `If-Match` takes it (in quotes).
    #[serde(default)]
    pub etag: String,
}

/// Answer of `GET /snowshed/v1/dependents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DependentList {
    /// A page of them.
    pub dependents: Vec<Dependent>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Whether it is safe to act on what is seen through the load balancers of a dependent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DependentAdvice {
    /// The dependent.
    pub dependent_id: DependentId,
    /// Of all of them it is.
    pub safe: bool,
    /// Of each.
    pub load_balancers: Vec<Advice>,
}

/// Who a deletion waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WaitsFor {
    /// The dependent.
    pub dependent_id: DependentId,
    /// What it is.
    pub kind: String,
    /// Its name.
    pub name: String,
}
