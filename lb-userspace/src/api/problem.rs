//! Errors of the API: every failure as Scaleway's typed body and its status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::wire::{Detail, Problem, ProblemKind};
use crate::authority::Denied;
use crate::guard::{Refusal, Report};
use crate::ledger::LedgerError;
use crate::model::text::InvalidReason;
use crate::model::{Act, DocumentKey, Invalid, Role};

/// A request that is answered with an error.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ApiError(Box<Problem>);

impl ApiError {
    pub(super) fn new(problem: Problem) -> Self {
        Self(Box::new(problem))
    }

    /// Wrong arguments.
    pub(super) fn arguments(details: Vec<Detail>) -> Self {
        let first = details.first();
        let name = first.and_then(|detail| detail.argument_name.clone()).unwrap_or_default();
        let help = first.and_then(|detail| detail.help_message.clone()).unwrap_or_default();
        let others = match details.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        Self::new(Problem {
            kind: ProblemKind::InvalidArguments,
            message: format!("invalid argument `{name}`{others}"),
            help_message: help,
            details,
            ..Problem::default()
        })
    }

    /// One wrong argument.
    pub(super) fn argument(name: &str, invalid: &Invalid) -> Self {
        Self::arguments(vec![detail(name, invalid)])
    }

    /// No such resource, or none that the token may see: the two look the same.
    pub(super) fn not_found(key: DocumentKey) -> Self {
        Self::new(Problem {
            kind: ProblemKind::NotFound,
            message: format!("there is no {key} in the project of this token"),
            help_message: format!("list what there is: `snowshed {} list`", key.kind.as_str()),
            resource: Some(key.kind.as_str().to_owned()),
            resource_id: Some(key.id.to_string()),
            ..Problem::default()
        })
    }

    /// No such resource, of a kind that has no documents.
    pub(super) fn no_such(resource: &str, id: uuid::Uuid) -> Self {
        Self::new(Problem {
            kind: ProblemKind::NotFound,
            message: format!("there is no {resource} {id} in the project of this token"),
            help_message: "this version has none of them; making one says why".to_owned(),
            resource: Some(resource.to_owned()),
            resource_id: Some(id.to_string()),
            ..Problem::default()
        })
    }

    /// Something other than a resource is not there.
    pub(super) fn nothing_there(message: String, help_message: String) -> Self {
        Self::new(Problem { kind: ProblemKind::NotFound, message, help_message, ..Problem::default() })
    }

    /// The agent is too busy or too slow.
    pub(super) fn unavailable(message: &str) -> Self {
        Self::new(Problem {
            kind: ProblemKind::Unavailable,
            message: message.to_owned(),
            help_message: "nothing was changed: try again".to_owned(),
            ..Problem::default()
        })
    }

    /// The agent failed.
    pub(super) fn internal(message: &str) -> Self {
        Self::new(Problem {
            kind: ProblemKind::Internal,
            message: message.to_owned(),
            help_message: "the agent's log says more".to_owned(),
            ..Problem::default()
        })
    }

    /// Not seen, which is not found; or seen, and not for this token's role.
    pub(super) fn denied(denied: Denied, key: DocumentKey) -> Self {
        let Denied::Role { role, act } = denied else { return Self::not_found(key) };
        let action = match act {
            Act::Read => "read",
            Act::Edit | Act::Administer => "write",
            Act::Contain => "contain",
        };
        let (resource, action) = (Some(key.kind.as_str().to_owned()), Some(action.to_owned()));
        let roles: Vec<&str> = Role::ALL.into_iter().filter(|role| role.may(act)).map(Role::as_str).collect();
        Self::new(Problem {
            kind: ProblemKind::PermissionsDenied,
            message: format!("a token of the role {} may not do that", role.as_str()),
            help_message: format!("nothing was changed: use a token of the role {}", roles.join(" or ")),
            details: vec![Detail { resource, action, ..Detail::default() }],
            ..Problem::default()
        })
    }

    fn deleted(key: DocumentKey) -> Self {
        Self::new(Problem {
            kind: ProblemKind::TransientState,
            message: format!("{key} is deleted"),
            help_message: "a deleted resource cannot be changed, and nothing can be added to it".to_owned(),
            resource: Some(key.kind.as_str().to_owned()),
            resource_id: Some(key.id.to_string()),
            current_state: Some("to_delete".to_owned()),
            ..Problem::default()
        })
    }

    /// Something uses it, or is in it.
    pub(super) fn in_use(key: DocumentKey, help: String) -> Self {
        Self::new(Problem {
            kind: ProblemKind::PreconditionFailed,
            message: format!("{key} is in use"),
            help_message: help,
            resource: Some(key.kind.as_str().to_owned()),
            resource_id: Some(key.id.to_string()),
            precondition: Some("resource_still_in_use".to_owned()),
            ..Problem::default()
        })
    }

    /// The document is at another version than the request names.
    pub(super) fn stale(key: DocumentKey) -> Self {
        Self::new(Problem {
            kind: ProblemKind::PreconditionFailed,
            message: format!("{key} has changed since it was read"),
            help_message: "nothing was changed: read it again and decide anew (If-Match names the version read)"
                .to_owned(),
            resource: Some(key.kind.as_str().to_owned()),
            resource_id: Some(key.id.to_string()),
            precondition: Some(Problem::STALE.to_owned()),
            ..Problem::default()
        })
    }

    /// What was planned is not what would be done now.
    pub(super) fn stale_plan(plan: &str) -> Self {
        Self::new(Problem {
            kind: ProblemKind::PreconditionFailed,
            message: format!("the plan {plan} is stale: its subjects have changed, or it was made for something else"),
            help_message:
                "nothing was changed: ask for the plan again (the same request without `plan`) and look at it"
                    .to_owned(),
            precondition: Some("plan_is_current".to_owned()),
            ..Problem::default()
        })
    }

    fn out_of_scope(what: &str) -> Self {
        let detail = Detail { resource: Some("lb".to_owned()), action: Some("write".to_owned()), ..Detail::default() };
        Self::new(Problem {
            kind: ProblemKind::PermissionsDenied,
            message: format!("the token may not do that: {what}"),
            help_message: "use a token of the project that owns the resource".to_owned(),
            details: vec![detail],
            ..Problem::default()
        })
    }

    fn quota(resource: &str, quota: usize, current: usize) -> Self {
        let detail = Detail {
            resource: Some(resource.to_owned()),
            quota: u64::try_from(quota).ok(),
            current: u64::try_from(current).ok(),
            ..Detail::default()
        };
        Self::new(Problem {
            kind: ProblemKind::QuotasExceeded,
            message: format!("the quota of {quota} for `{resource}` is reached ({current} are there)"),
            help_message: "delete what is not needed, or ask the operator to raise the limit in agent.toml".to_owned(),
            details: vec![detail],
            ..Problem::default()
        })
    }
}

/// A wrong argument as a detail.
pub(super) fn detail(name: &str, invalid: &Invalid) -> Detail {
    let reason = match invalid.reason {
        InvalidReason::Required => "required",
        InvalidReason::Format => "format",
        InvalidReason::Constraint => "constraint",
    };
    Detail {
        argument_name: Some(name.to_owned()),
        reason: Some(reason.to_owned()),
        help_message: Some(invalid.help.clone()),
        ..Detail::default()
    }
}

/// What the guard refused: all wrong arguments together, or else the first thing that is wrong.
impl From<Report> for ApiError {
    fn from(report: Report) -> Self {
        let mut arguments: Vec<Detail> = Vec::new();
        for violation in report.violations {
            let error = match violation.refusal {
                Refusal::Argument { argument, invalid } => {
                    arguments.push(detail(argument, &invalid));
                    continue;
                }
                Refusal::Quota { resource, quota, current } => Self::quota(resource, quota, current),
                Refusal::Deleted { key } => Self::deleted(key),
                Refusal::InUse { help } => Self::in_use(violation.key, help),
                Refusal::OutOfScope { what } => Self::out_of_scope(&what),
            };
            if arguments.is_empty() {
                return error;
            }
        }
        Self::arguments(arguments)
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        if let LedgerError::Conflict { .. } = error {
            return Self::unavailable("others changed the ledger at the same time, again and again");
        }
        // What the engine refuses the guard should have refused: either way the operator must read of it.
        log::error!("the ledger did not take a change: {}", crate::observe::chain(&error));
        match error {
            LedgerError::Destroyed { .. } => Self::new(Problem {
                kind: ProblemKind::Unavailable,
                message: "the ledger was destroyed: nothing was changed, changes are refused, forwarding goes on"
                    .to_owned(),
                help_message: "ask the operator to run `snowshed backup restore`; docs/runbook.md has the steps"
                    .to_owned(),
                ..Problem::default()
            }),
            LedgerError::Refused(what) => Self::internal(&format!("the ledger's engine refused the change: {what}")),
            _ => Self::internal("the ledger could not be written; nothing was changed"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            ProblemKind::InvalidArguments => StatusCode::BAD_REQUEST,
            ProblemKind::DeniedAuthentication => StatusCode::UNAUTHORIZED,
            ProblemKind::PermissionsDenied | ProblemKind::QuotasExceeded => StatusCode::FORBIDDEN,
            ProblemKind::NotFound => StatusCode::NOT_FOUND,
            ProblemKind::TransientState => StatusCode::CONFLICT,
            ProblemKind::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            ProblemKind::OutOfStock | ProblemKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ProblemKind::Locked => StatusCode::LOCKED,
            ProblemKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ProblemKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ProblemKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = (status, axum::Json(&*self.0)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
