//! Errors of the API: every failure as Scaleway's typed body and its status.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::wire::{Detail, Problem, ProblemKind};
use crate::authority::Denied;
use crate::guard::{Refusal, Report};
use crate::ledger::{Account, Exceeded, LedgerError};
use crate::model::text::InvalidReason;
use crate::model::{Act, DocumentKey, Invalid, Kind, LbId, Measure, MeasureId, Plan, Role, Takedown};
use crate::observe::Rate;

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
            help_message: format!("list what there is: `{}`", listed_by(key.kind)),
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

    /// Somebody asks more often than it may.
    pub(super) fn too_often(who: &str, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::new(Problem {
            kind: ProblemKind::TooManyRequests,
            message: format!("{who} asks too often"),
            help_message: format!(
                "nothing was read or changed: try again in {seconds} s. The operator sets the limits (`requests_per_token`, \
                 `requests_per_source` of [api])"
            ),
            retry_after: Some(seconds),
            ..Problem::default()
        })
    }

    /// Everybody's counters are asked for from afar by somebody who is no operator.
    pub(super) fn metrics_denied() -> Self {
        let detail =
            Detail { resource: Some("metrics".to_owned()), action: Some("read".to_owned()), ..Detail::default() };
        Self::new(Problem {
            kind: ProblemKind::PermissionsDenied,
            message: "the token may not read the edge's metrics".to_owned(),
            help_message: "from another machine they take an operator's token; on the edge itself none".to_owned(),
            details: vec![detail],
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

    pub(super) fn deleted(key: DocumentKey) -> Self {
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

    /// A plan that cannot be carried out.
    pub(super) fn plan(plan: MeasureId, precondition: &str, help: &str) -> Self {
        Self::new(Problem {
            kind: ProblemKind::PreconditionFailed,
            message: format!("the plan {plan} cannot be carried out"),
            help_message: format!("nothing was changed: {help}"),
            resource: Some("plan".to_owned()),
            resource_id: Some(plan.to_string()),
            precondition: Some(precondition.to_owned()),
            ..Problem::default()
        })
    }

    /// Read-only mode. Never "not found" or "denied": clients take those for "gone", and rebuild.
    pub(super) fn frozen(freeze: &Measure, now: Timestamp) -> Self {
        let place = freeze.place().map(ToString::to_string).unwrap_or_default();
        let left = freeze.expires_at.map_or(3600, |end| end.duration_since(now).as_secs().max(1));
        Self::new(Problem {
            kind: ProblemKind::Locked,
            message: format!("read-only mode in {place}: {}", freeze.reason.as_str()),
            help_message: format!(
                "nothing was changed, reads keep working, and nothing is gone: do not make anything anew. Put in force by \
                 {} until {}; an operator ends it early with `snowshed thaw {}`",
                freeze.by.name,
                freeze.expires_at.map_or_else(|| "it is ended".to_owned(), |end| end.to_string()),
                freeze.id
            ),
            resource: Some("freeze".to_owned()),
            resource_id: Some(freeze.id.to_string()),
            retry_after: Some(left.unsigned_abs()),
            ..Problem::default()
        })
    }

    /// The request expected to be refused, and would have been carried out.
    pub(super) fn would_be_allowed() -> Self {
        Self::new(Problem {
            kind: ProblemKind::ExpectationFailed,
            message: "the request was expected to be refused, and would have been carried out".to_owned(),
            help_message: "nothing was done. Sent without `Expect: deny` it is carried out".to_owned(),
            ..Problem::default()
        })
    }

    /// An expectation that nobody knows.
    pub(super) fn unknown_expectation() -> Self {
        Self::new(Problem {
            kind: ProblemKind::ExpectationFailed,
            message: "the request has an expectation that is not known".to_owned(),
            help_message:
                "nothing was done. `Expect: deny` is known: the request must be refused; and `Expect: rehearsal=UUID`: \
                           nothing comes of it"
                    .to_owned(),
            ..Problem::default()
        })
    }

    /// A stream is asked for with an expectation.
    pub(super) fn no_stream_expected() -> Self {
        Self::new(Problem {
            kind: ProblemKind::ExpectationFailed,
            message: "events are not streamed to a request that is rehearsed or expects to be refused".to_owned(),
            help_message: "leave `Expect` out, or read the kept events without `Accept: text/event-stream`".to_owned(),
            ..Problem::default()
        })
    }

    /// All places for rehearsals are others'.
    pub(super) fn too_many_rehearsals() -> Self {
        Self::new(Problem {
            kind: ProblemKind::Unavailable,
            message: "too many rehearsals are under way".to_owned(),
            help_message: "nothing was done: try the dry run again in a minute; one that is silent ends by then"
                .to_owned(),
            ..Problem::default()
        })
    }

    fn precondition(key: DocumentKey, message: String, help_message: String, precondition: &str) -> Self {
        Self::new(Problem {
            kind: ProblemKind::PreconditionFailed,
            message,
            help_message,
            resource: Some(key.kind.as_str().to_owned()),
            resource_id: Some(key.id.to_string()),
            precondition: Some(precondition.to_owned()),
            ..Problem::default()
        })
    }

    /// An undo or a restore that would take out more than the budget has left, without a plan behind it.
    fn beyond_budget(key: DocumentKey, exceeded: &Exceeded) -> Self {
        let help = "nothing was changed. Keep it as a plan (`keep: true`; `snowshed undo …  --keep`, `snowshed restore … \
                    --keep`), which a second person approves (`snowshed ts approve`) and anybody of you applies";
        Self::precondition(key, exceeded.to_string(), help.to_owned(), "removal_is_within_budget")
    }

    /// A budget that is used up, where no freeze could be put in force: the request expected to be refused.
    pub(super) fn would_freeze(exceeded: &Exceeded) -> Self {
        Self::new(Problem {
            kind: ProblemKind::Locked,
            message: format!("refused, and without `Expect: deny` it would be read-only mode from now on: {exceeded}"),
            help_message:
                "nothing was changed, and nothing was frozen. Above the budget it takes a plan that a second \
                           person approves"
                    .to_owned(),
            ..Problem::default()
        })
    }

    fn protected(key: DocumentKey) -> Self {
        let help =
            "take the protection off first (PATCH with {\"protected\": false}; `snowshed lb update --no-protected`)";
        Self::precondition(key, format!("{key} is protected"), help.to_owned(), "lb_is_not_protected")
    }

    fn live_traffic(key: DocumentKey, rate: Rate) -> Self {
        let message = format!(
            "{key} has live traffic: {:.1} packets and {:.1} new connections a second in the last minutes",
            rate.packets_per_second, rate.connections_per_second
        );
        let help = "nothing was changed. If it is to go nevertheless, say so: `with_traffic=true` (`--with-traffic`); to go at \
                    once (`now`, `--now`), its servers are drained first";
        Self::precondition(key, message, help.to_owned(), "lb_has_no_traffic")
    }

    fn plan_needed(key: DocumentKey, count: usize, account: Account) -> Self {
        let message = format!("{count} load balancers would be taken out of service by one call");
        let help = match account {
            Account::Removals => {
                "nothing was changed. More than one takes a plan: POST /snowshed/v1/plans, look at it, then apply it"
                    .to_owned()
            }
            Account::Quarantines => format!(
                "nothing was changed. More than {} take a plan that a second person approves: `snowshed ts quarantine \
                 --parent PLACE --whole --reason TEXT --keep`, then `ts approve` and `ts apply`. It does not become stale, \
                 and no budget of the tenant is in its way",
                Plan::ALONE
            ),
        };
        Self::precondition(key, message, help, "plan_is_made")
    }

    /// The address of a quarantined load balancer would leave it. As in read-only mode it is nothing that is gone.
    fn quarantined(key: DocumentKey, lb: LbId) -> Self {
        Self::new(Problem {
            kind: ProblemKind::Locked,
            message: format!("{key} belongs to the load balancer {lb}, which is quarantined"),
            help_message:
                "nothing was changed, and nothing is gone: its addresses stay with it until Trust & Safety or an \
                           operator releases it"
                    .to_owned(),
            resource: Some(key.kind.as_str().to_owned()),
            resource_id: Some(key.id.to_string()),
            ..Problem::default()
        })
    }

    /// Somebody would bring back what Trust & Safety removed.
    pub(super) fn taken_down(key: DocumentKey, takedown: &Takedown) -> Self {
        let message = format!("{key} was removed by Trust & Safety: {}", takedown.reason.as_str());
        let help = format!(
            "nothing was changed. Ask Trust & Safety or an operator, and name the plan {}: only they bring it back",
            takedown.plan
        );
        Self::of_trust_and_safety(key, message, help)
    }

    /// The address of what Trust & Safety removed would serve elsewhere.
    pub(super) fn stays_down(key: DocumentKey, lb: LbId, takedown: &Takedown) -> Self {
        let reason = takedown.reason.as_str();
        let message = format!("{key} belongs to the load balancer {lb}, which was removed by Trust & Safety: {reason}");
        let help = format!(
            "nothing was changed. Its addresses stay with it: take another one, or ask Trust & Safety or an operator, and \
             name the plan {}: only they bring it back or let an address go",
            takedown.plan
        );
        Self::of_trust_and_safety(key, message, help)
    }

    fn of_trust_and_safety(key: DocumentKey, message: String, help_message: String) -> Self {
        let detail = Detail {
            resource: Some(key.kind.as_str().to_owned()),
            action: Some("write".to_owned()),
            ..Detail::default()
        };
        Self::new(Problem {
            kind: ProblemKind::PermissionsDenied,
            message,
            help_message,
            resource: Some(key.kind.as_str().to_owned()),
            resource_id: Some(key.id.to_string()),
            details: vec![detail],
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
            help_message: "delete what is not needed, take a larger type (`/lb-types`), or ask the operator to raise the limit in agent.toml".to_owned(),
            details: vec![detail],
            ..Problem::default()
        })
    }
}

/// The command that lists what there is of a kind.
pub(crate) const fn listed_by(kind: Kind) -> &'static str {
    match kind {
        Kind::Ip => "snowshed ip list",
        Kind::Lb => "snowshed lb list",
        Kind::Frontend => "snowshed frontend list --lb LB",
        Kind::Backend => "snowshed backend list --lb LB",
        Kind::Measure => "snowshed measures",
        Kind::Acl => "snowshed acl list --lb LB --frontend FRONTEND",
        Kind::NatSource => "snowshed status",
        Kind::Organization => "snowshed org list",
        Kind::Project => "snowshed project list",
        Kind::Token => "snowshed token list",
        Kind::Subscriber => "snowshed subscriber list",
        Kind::Dependent => "snowshed dependent list",
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
        let mut rule = None;
        for violation in report.violations {
            let error = match violation.refusal {
                Refusal::Argument { argument, invalid } => {
                    arguments.push(detail(argument, &invalid));
                    rule.get_or_insert(violation.rule);
                    continue;
                }
                Refusal::Quota { resource, quota, current } => Self::quota(resource, quota, current),
                Refusal::Deleted { key } => Self::deleted(key),
                Refusal::InUse { help } => Self::in_use(violation.key, help),
                Refusal::OutOfScope { what } => Self::out_of_scope(&what),
                Refusal::Protected => Self::protected(violation.key),
                Refusal::Traffic { rate } => Self::live_traffic(violation.key, rate),
                Refusal::PlanNeeded { count, account } => Self::plan_needed(violation.key, count, account),
                Refusal::Quarantined { lb } => Self::quarantined(violation.key, lb),
                Refusal::StaysDown { lb, takedown } => Self::stays_down(violation.key, lb, &takedown),
                Refusal::TakenDown { takedown } => Self::taken_down(violation.key, &takedown),
                Refusal::Frozen { freeze } => Self::frozen(&freeze, freeze.times.updated_at),
                Refusal::Budget { exceeded } => Self::beyond_budget(violation.key, &exceeded),
            };
            if arguments.is_empty() {
                return error;
            }
        }
        let mut refused = Self::arguments(arguments);
        refused.0.refused_by = rule.map(str::to_owned);
        refused
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        if let LedgerError::Conflict { .. } = error {
            return Self::unavailable("others changed the ledger at the same time, again and again");
        }
        match error {
            LedgerError::Frozen(freeze) => return Self::frozen(&freeze, freeze.times.updated_at),
            LedgerError::Denied => return Self::would_be_allowed(),
            LedgerError::Exceeded(exceeded) => return Self::would_freeze(&exceeded),
            LedgerError::RehearsalIsFull { .. } => {
                return Self::new(Problem {
                    kind: ProblemKind::TooLarge,
                    message: error.to_string(),
                    help_message: "nothing was changed: rehearse and apply it in parts, for example one file at a time"
                        .to_owned(),
                    ..Problem::default()
                });
            }
            _ => {}
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
            ProblemKind::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            ProblemKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ProblemKind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            ProblemKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ProblemKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = (status, axum::Json(&*self.0)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
