//! The body of every error.

use serde::{Deserialize, Serialize};

/// An error: Scaleway's typed body, with a text in `message` and what to do in `help_message`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// What kind of error.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// What is wrong, one sentence.
    pub message: String,
    /// What is allowed, or what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help_message: String,
    /// Each wrong argument, quota or permission.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
    /// Kind of the resource: `lb`, `ip`, `frontend`, `backend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// `transient_state`: the state that does not allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_state: Option<String>,
    /// `precondition_failed`: `resource_still_in_use`, `attribute_must_be_set`, or Snowshed's own [`Problem::STALE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precondition: Option<String>,
    /// `invalid_arguments`: the guard's rule that refused it; absent when the request is wrong by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<String>,
    /// `denied_authentication`: `api_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `denied_authentication`: `not_found` or `invalid_argument`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `locked`, `too_many_requests`: seconds until it is worth trying again; also in `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// The `precondition` of a change to another version than the one that `If-Match` names.
    pub const STALE: &'static str = "etag_must_match";
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Detail {
    /// `invalid_arguments`: path of the field, for example `health_check.port` or `servers[1].weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argument_name: Option<String>,
    /// `invalid_arguments`: `required`, `format`, `constraint` or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was wrong with it and what is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help_message: Option<String>,
    /// `quotas_exceeded`, `permissions_denied`: what of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// `quotas_exceeded`: how many are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// `quotas_exceeded`: how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// `permissions_denied`: `read` or `write`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// `type` of an error. The first group is Scaleway's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// 400: an argument is wrong.
    InvalidArguments,
    /// 401: no token, or an unknown one.
    DeniedAuthentication,
    /// 403: the token may not do that.
    PermissionsDenied,
    /// 403: a quota is reached.
    QuotasExceeded,
    /// 404: there is no such resource for this token, or no such path.
    NotFound,
    /// 409: the resource is in a state that does not allow it.
    TransientState,
    /// 412: something else must be done first.
    PreconditionFailed,
    /// 503: no address is left in the pools.
    OutOfStock,
    /// 423: locked.
    Locked,
    /// 417: the request expected to be refused, and would have been carried out.
    ExpectationFailed,
    /// 405: the path has other methods.
    MethodNotAllowed,
    /// 429: asked more often than the token or its machine may; `retry_after` says when to come again.
    TooManyRequests,
    /// 413: the body is too large.
    TooLarge,
    /// 408 or 503: the agent was too slow or too busy; try again.
    Unavailable,
    /// 500: the agent failed; its log says why.
    #[default]
    #[serde(other)]
    Internal,
}
