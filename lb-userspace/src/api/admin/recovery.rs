//! `/snowshed/v1/undo` and `/snowshed/v1/restore`: first the plan, then, with the plan's name, one operation.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use crate::api::body::Body;
use crate::api::change::run;
use crate::api::idempotency::Caller;
use crate::api::parse::{Arguments, id};
use crate::api::wire::{RecoveryPlan, RecoverySample, RestoreRequest, UndoRequest};
use crate::api::{ApiError, Context};
use crate::authority::{Sight, Write};
use crate::guard::{self, Proposed};
use crate::ledger::{Entry, LedgerError, Operation, Snapshot};
use crate::model::{Act, Actor, Document, Generation, Invalid, LbId, OperationId, ProjectId, Scope};
use crate::recovery::{Reversal, Touches, restore, undo};

/// Operations read at a time while one is looked for.
const PAGE: usize = 256;
/// Changes that a plan shows.
const SAMPLE: usize = 100;
/// How often a recovery is tried anew because the ledger moved.
const MAX_TRIES: usize = 16;

/// Takes an operation back: plans it, and with the plan does it.
#[utoipa::path(
    post, path = "/snowshed/v1/undo",
    request_body = UndoRequest,
    responses((status = 200, body = RecoveryPlan))
)]
pub(in crate::api) async fn undo(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<UndoRequest>,
) -> Result<Json<RecoveryPlan>, ApiError> {
    run(&context, move |context| {
        let mut arguments = Arguments::default();
        let help = "the id or the number of an operation, as `snowshed ops list` shows it";
        let wanted = arguments.needed("operation", request.operation, help, which);
        let wanted = arguments.build(wanted)?;
        let recovery = Recovery { verb: "undo", plan: request.plan, reason: request.reason };
        recovery.run(context, &actor, |current, now| {
            let (operation, since) = find(context, wanted)?;
            let operation = operation.filter(|operation| is_undone(current, &actor, operation));
            let operation = operation.ok_or_else(|| no_operation(wanted))?;
            let reversal = undo::undo(&operation, current, &since, now);
            Ok((operation.scope.clone(), reversal, format!("undo of operation {}", operation.generation)))
        })
    })
    .await
}

/// Brings a scope back to an earlier state: plans it, and with the plan does it.
#[utoipa::path(
    post, path = "/snowshed/v1/restore",
    request_body = RestoreRequest,
    responses((status = 200, body = RecoveryPlan))
)]
pub(in crate::api) async fn restore(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<RestoreRequest>,
) -> Result<Json<RecoveryPlan>, ApiError> {
    run(&context, move |context| {
        let mut arguments = Arguments::default();
        let help = "a time such as 2026-04-07T16:30:00Z, or the number of an operation";
        let at = arguments.needed("at", request.at, help, when);
        let scope = arguments.needed("scope", request.scope, SCOPE, |text: String| Named::parse(&text));
        let (at, scope) = arguments.build(at.zip(scope))?;
        let recovery = Recovery { verb: "restore", plan: request.plan, reason: request.reason };
        recovery.run(context, &actor, |current, now| {
            let past = match at {
                At::Generation(generation) if generation > current.generation() => {
                    let help = format!("the ledger ends at operation {}", current.generation());
                    return Err(ApiError::argument("at", &Invalid::constraint(help)));
                }
                At::Generation(generation) => restore::at_generation(&context.ledger.reader(), generation)?,
                At::Time(time) => restore::at_time(&context.ledger.reader(), time)?,
            };
            let scope = scope.scope(current, &actor)?;
            let reversal = restore::restore(&past, current, &scope, now);
            Ok((scope, reversal, format!("restore to operation {}", past.generation())))
        })
    })
    .await
}

/// Whether an operation is one that the actor may take back: one of a project, or of several of an organization. What was
/// done to tenants and tokens stays done: a revoked token never comes back.
fn is_undone(current: &Snapshot, actor: &Actor, operation: &Operation) -> bool {
    let is_of_tenants = |change: &crate::ledger::Change| {
        matches!(change.after, Document::Organization(_) | Document::Project(_) | Document::Token(_))
    };
    let is_of_projects = match &operation.scope {
        Scope::Organization { .. } => !operation.changes.iter().any(is_of_tenants),
        scope => scope.project().is_some(),
    };
    is_of_projects && Sight::new(current, actor).sees(&operation.scope)
}

/// What a recovery is asked to do.
struct Recovery {
    verb: &'static str,
    /// The plan that is agreed to; without it nothing is done but the planning.
    plan: Option<String>,
    reason: Option<String>,
}

impl Recovery {
    /// Plans from the newest snapshot; carries the plan out when it is the one that was agreed to.
    fn run(
        &self,
        context: &Context,
        actor: &Actor,
        draft: impl Fn(&Snapshot, Timestamp) -> Result<(Scope, Reversal, String), ApiError>,
    ) -> Result<Json<RecoveryPlan>, ApiError> {
        for _ in 0..MAX_TRIES {
            let current = context.ledger.snapshot();
            let now = (context.clock)();
            let (scope, reversal, what) = draft(&current, now)?;
            let mut shown = plan(&current, &reversal, &what);
            if reversal.changes.is_empty() {
                return Ok(Json(shown));
            }
            let authority = Write::authorize(&current, actor, Act::Edit, scope).map_err(|denied| {
                let key = reversal.changes.first().map(crate::ledger::Change::key);
                key.map_or_else(
                    || ApiError::internal("a recovery without a change"),
                    |key| ApiError::denied(denied, key),
                )
            })?;
            let proposed = Proposed {
                is_recovery: true,
                ..Proposed::new(authority.scope().clone(), reversal.changes, self.verb, now)
            };
            let report = guard::judge(&current, &proposed, actor, &context.limits, &context.pools);
            if !report.is_allowed() {
                return Err(report.into());
            }
            let Some(agreed) = &self.plan else { return Ok(Json(shown)) };
            if *agreed != shown.plan {
                return Err(ApiError::stale_plan(agreed));
            }
            let entry = Entry {
                expected: current.generation(),
                actor: actor.clone(),
                verb: self.verb.to_owned(),
                reason: self.reason.as_ref().map_or_else(|| what.clone(), |reason| format!("{what}: {reason}")),
                at: now,
                attempt: None,
                plan: None,
                changes: proposed.changes,
            };
            match context.ledger.append(authority, entry) {
                Ok(operation) => {
                    log::info!("operation {}: {what} by {}", operation.generation, actor.name);
                    shown.applied = true;
                    shown.operation = Some(operation.id);
                    shown.generation = operation.generation.0;
                    return Ok(Json(shown));
                }
                Err(LedgerError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApiError::unavailable("others changed the ledger at the same time, again and again"))
    }
}

fn plan(current: &Snapshot, reversal: &Reversal, what: &str) -> RecoveryPlan {
    let (mut revived, mut deleted) = (0, 0);
    let mut lbs: BTreeSet<LbId> = BTreeSet::new();
    for change in &reversal.changes {
        let was_live = change.before.as_ref().is_some_and(|before| before.times().is_live());
        match (was_live, change.after.times().is_live()) {
            (false, true) => revived += 1,
            (true, false) => deleted += 1,
            _ => {}
        }
        lbs.extend(change.after.lb());
    }
    let organizations: BTreeSet<_> =
        lbs.iter().filter_map(|lb| current.lb(*lb)).map(|lb| lb.owner.organization).collect();
    let dependents = current.dependents_by_kind(&lbs);
    let sample = reversal.changes.iter().take(SAMPLE).map(|change| RecoverySample {
        kind: change.key().kind,
        id: change.key().id,
        action: action(change),
    });
    RecoveryPlan {
        plan: reversal.digest(),
        dependents,
        what: what.to_owned(),
        applied: false,
        operation: None,
        generation: current.generation().0,
        changes: reversal.changes.len(),
        revived,
        deleted,
        unchanged: reversal.unchanged,
        load_balancers: lbs.len(),
        organizations: organizations.len(),
        conflicts: reversal.conflicts.clone(),
        sample: sample.collect(),
    }
}

fn action(change: &crate::ledger::Change) -> String {
    let was_live = change.before.as_ref().is_some_and(|before| before.times().is_live());
    match (was_live, change.after.times().is_live()) {
        (false, _) => "revive",
        (true, false) => "delete",
        (true, true) => "change",
    }
    .to_owned()
}

/// An operation by its id or its number.
#[derive(Clone, Copy, Debug)]
enum Which {
    Id(OperationId),
    Number(Generation),
}

fn which(text: String) -> Result<Which, Invalid> {
    match text.parse::<u64>() {
        Ok(0) => Err(Invalid::constraint("operations are numbered from 1 on")),
        Ok(number) => Ok(Which::Number(Generation(number))),
        Err(_) => id(&text).map(Which::Id),
    }
}

/// The operation, and who changed what after it.
fn find(context: &Context, wanted: Which) -> Result<(Option<Operation>, Touches), ApiError> {
    let mut after = match wanted {
        Which::Number(Generation(number)) => Generation(number - 1),
        Which::Id(_) => Generation(0),
    };
    let mut found = None;
    let mut since = Touches::default();
    loop {
        let page = context.ledger.operations(after, PAGE)?;
        let is_last = page.len() < PAGE;
        for operation in page {
            after = operation.generation;
            let is_it = match wanted {
                Which::Id(id) => operation.id == id,
                Which::Number(number) => operation.generation == number,
            };
            if is_it {
                found = Some(operation);
            } else if found.is_some() {
                since.note(&operation);
            }
        }
        if is_last {
            return Ok((found, since));
        }
    }
}

fn no_operation(wanted: Which) -> ApiError {
    let named = match wanted {
        Which::Id(id) => id.to_string(),
        Which::Number(number) => number.to_string(),
    };
    ApiError::nothing_there(
        format!("there is no operation {named} in the scope of this token"),
        "`snowshed ops list` shows the operations".to_owned(),
    )
}

/// A moment of the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Generation(Generation),
    Time(Timestamp),
}

pub(super) fn when(text: String) -> Result<At, Invalid> {
    if let Ok(number) = text.parse::<u64>() {
        return Ok(At::Generation(Generation(number)));
    }
    text.parse().map(At::Time).map_err(|_| {
        Invalid::format(format!(
            "`{text}` is neither a time such as 2026-04-07T16:30:00Z nor the number of an operation"
        ))
    })
}

const SCOPE: &str = "what to restore: `lb:ID`, or `project:ID`";

/// A scope as a request names it.
#[derive(Clone, Copy, Debug)]
enum Named {
    Lb(LbId),
    Project(ProjectId),
}

impl Named {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::format(format!("`{text}` is no scope; {SCOPE}"));
        match text.split_once(':').ok_or_else(invalid)? {
            ("lb", named) => id(named).map(Self::Lb),
            ("project", named) => id(named).map(Self::Project),
            _ => Err(invalid()),
        }
    }

    /// The scope, if the actor sees it.
    fn scope(self, current: &Snapshot, actor: &Actor) -> Result<Scope, ApiError> {
        let sight = Sight::new(current, actor);
        let missing = |what| ApiError::argument("scope", &Invalid::constraint(what));
        match self {
            Self::Lb(lb) => match sight.lb(lb) {
                Some(found) => Ok(Scope::Lb { lb, project: found.owner.project }),
                None => Err(missing(format!("there is no load balancer {lb}"))),
            },
            Self::Project(project) if sight.project(project).is_some() => Ok(Scope::Project { project }),
            Self::Project(project) => Err(missing(format!("there is no project {project} for this token"))),
        }
    }
}
