//! `/snowshed/v1/undo` and `/snowshed/v1/restore`: first the plan, then, with the plan's name, one operation.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::measures;
use crate::api::body::Body;
use crate::api::change::{Order, commit_as, run};
use crate::api::idempotency::Caller;
use crate::api::parse::{Arguments, id};
use crate::api::wire::{RecoveryPlan, RecoverySample, RestoreRequest, UndoRequest};
use crate::api::{ApiError, Context};
use crate::authority::{Sight, Write};
use crate::guard::{self, Proposed};
use crate::ledger::{Change, Entry, Escape, LedgerError, Operation, Snapshot, escape, removed, takedown};
use crate::model::{
    Act, Action, Actor, Document, DocumentKey, Generation, Invalid, Kind, LbId, MeasureId, OperationId, OrganizationId,
    Plan, ProjectId, Reason, Recovered, Scope, What,
};
use crate::recovery::{Conflict, Reversal, Touches, restore, undo};

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
        let wish = Wish::of(request.plan, request.keep)?;
        Recovery { verb: "undo", wish, reason: request.reason }
            .run(context, &actor, |current, now| undone(context, current, &actor, wanted, now))
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
        let wish = Wish::of(request.plan, request.keep)?;
        Recovery { verb: "restore", wish, reason: request.reason }
            .run(context, &actor, |current, now| restored(context, current, at, scope.scope(current, &actor)?, now))
    })
    .await
}

/// What a recovery is, and what it would change.
struct Draft {
    of: Recovered,
    scope: Scope,
    reversal: Reversal,
    what: String,
}

fn undone(
    context: &Context,
    current: &Snapshot,
    actor: &Actor,
    wanted: Which,
    now: Timestamp,
) -> Result<Draft, ApiError> {
    let (operation, since) = find(context, wanted)?;
    let operation = operation.filter(|operation| is_undone(current, actor, operation));
    let operation = operation.ok_or_else(|| no_operation(wanted))?;
    Ok(Draft {
        reversal: undo::undo(&operation, current, &since, now),
        what: format!("undo of operation {}", operation.generation),
        of: Recovered::Undo { operation: operation.generation },
        scope: operation.scope,
    })
}

fn restored(context: &Context, current: &Snapshot, at: At, scope: Scope, now: Timestamp) -> Result<Draft, ApiError> {
    let past = match at {
        At::Generation(generation) if generation > current.generation() => {
            let help = format!("the ledger ends at operation {}", current.generation());
            return Err(ApiError::argument("at", &Invalid::constraint(help)));
        }
        At::Generation(generation) => restore::at_generation(&context.ledger.reader(), generation)?,
        At::Time(time) => restore::at_time(&context.ledger.reader(), time)?,
    };
    Ok(Draft {
        reversal: restore::restore(&past, current, &scope, now),
        what: format!("restore to operation {}", past.generation()),
        of: Recovered::Restore { at: past.generation(), scope: scope.clone() },
        scope,
    })
}

/// What a kept plan of a recovery changes now: exactly what it said, or it is stale.
pub(super) fn planned(
    context: &Context,
    current: &Snapshot,
    actor: &Actor,
    id: MeasureId,
    plan: &crate::model::Recovery,
    now: Timestamp,
) -> Result<(Write, Vec<Change>), ApiError> {
    let mut draft = match &plan.of {
        Recovered::Undo { operation } => undone(context, current, actor, Which::Number(*operation), now)?,
        Recovered::Restore { at, scope } => restored(context, current, At::Generation(*at), scope.clone(), now)?,
    };
    leave_taken_down(current, actor, &mut draft.reversal)?;
    if draft.reversal.digest() != plan.digest {
        let help = "what it would change is not what it said: make it anew and look at it";
        return Err(ApiError::plan(id, "plan_is_current", help));
    }
    let authority = right(current, actor, draft.scope, &draft.reversal)?;
    Ok((authority, draft.reversal.changes))
}

/// Leaves what Trust & Safety removed to Trust & Safety, its addresses too, and says so; refuses when nothing else is left.
fn leave_taken_down(current: &Snapshot, actor: &Actor, reversal: &mut Reversal) -> Result<(), ApiError> {
    let mut first = None;
    loop {
        let (key, lb, takedown) = if let Some((lb, takedown)) = takedown(actor, &reversal.changes) {
            (DocumentKey { kind: Kind::Lb, id: lb.as_uuid() }, None, takedown)
        } else if let Some(Escape { key, lb, takedown: Some(takedown) }) = escape(current, actor, &reversal.changes) {
            (key, Some(lb), takedown)
        } else {
            break;
        };
        reversal.changes.retain(|change| change.key() != key);
        let why = format!(
            "removed by Trust & Safety ({}): ask them or an operator, and name the plan {}",
            takedown.reason.as_str(),
            takedown.plan
        );
        reversal.conflicts.push(Conflict { key, why });
        first.get_or_insert((key, lb, takedown));
    }
    match first {
        Some((key, lb, takedown)) if reversal.changes.is_empty() => {
            Err(lb.map_or_else(|| ApiError::taken_down(key, &takedown), |lb| ApiError::stays_down(key, lb, &takedown)))
        }
        _ => Ok(()),
    }
}

fn right(current: &Snapshot, actor: &Actor, scope: Scope, reversal: &Reversal) -> Result<Write, ApiError> {
    Write::authorize(current, actor, Act::Edit, scope).map_err(|denied| {
        let key = reversal.changes.first().map(Change::key);
        key.map_or_else(|| ApiError::internal("a recovery without a change"), |key| ApiError::denied(denied, key))
    })
}

/// Whether an operation is one that the actor may take back: one of a project, or of several of an organization. What was
/// done to tenants and tokens stays done: a revoked token never comes back.
fn is_undone(current: &Snapshot, actor: &Actor, operation: &Operation) -> bool {
    let is_of_tenants =
        |change: &Change| matches!(change.after, Document::Organization(_) | Document::Project(_) | Document::Token(_));
    let is_of_projects = match &operation.scope {
        Scope::Organization { .. } => !operation.changes.iter().any(is_of_tenants),
        scope => scope.project().is_some(),
    };
    is_of_projects && Sight::new(current, actor).sees(&operation.scope)
}

/// What is to become of a recovery's plan.
enum Wish {
    /// It is shown.
    Show,
    /// It is kept, for a second person to approve.
    Keep,
    /// It is carried out, if it is still the one of this name.
    CarryOut(String),
}

impl Wish {
    fn of(plan: Option<String>, keep: Option<bool>) -> Result<Self, ApiError> {
        match (plan, keep.unwrap_or(false)) {
            (Some(_), true) => {
                let help = "a plan is kept or carried out, not both: leave out `plan` or `keep`";
                Err(ApiError::argument("keep", &Invalid::constraint(help)))
            }
            (Some(plan), false) => Ok(Self::CarryOut(plan)),
            (None, true) => Ok(Self::Keep),
            (None, false) => Ok(Self::Show),
        }
    }
}

/// What a recovery is asked to do.
struct Recovery {
    verb: &'static str,
    wish: Wish,
    reason: Option<String>,
}

impl Recovery {
    /// Plans from the newest snapshot; keeps the plan, or carries it out when it is the one that was agreed to.
    fn run(
        &self,
        context: &Context,
        actor: &Caller,
        draft: impl Fn(&Snapshot, Timestamp) -> Result<Draft, ApiError>,
    ) -> Result<Json<RecoveryPlan>, ApiError> {
        for _ in 0..MAX_TRIES {
            let current = context.ledger.snapshot();
            let now = (context.clock)();
            let Draft { of, scope, mut reversal, what } = draft(&current, now)?;
            leave_taken_down(&current, actor, &mut reversal)?;
            let mut shown = plan(&current, &reversal, &what);
            if reversal.changes.is_empty() {
                return Ok(Json(shown));
            }
            let authority = right(&current, actor, scope, &reversal)?;
            let proposed = Proposed {
                is_recovery: true,
                ..Proposed::new(authority.scope().clone(), reversal.changes, self.verb, now)
            };
            let report = guard::judge(&current, &proposed, actor, &context.limits, &context.pools);
            shown.needs_approval = report.exceeded().is_some();
            if !report.is_allowed() && (!shown.needs_approval || matches!(self.wish, Wish::CarryOut(_))) {
                return Err(report.into());
            }
            let agreed = match &self.wish {
                Wish::Show => return Ok(Json(shown)),
                Wish::Keep => return self.keep(context, actor, of, &proposed.changes, shown),
                Wish::CarryOut(agreed) => agreed,
            };
            if *agreed != shown.plan {
                return Err(ApiError::stale_plan(agreed));
            }
            let entry = Entry {
                expected: current.generation(),
                actor: Actor::clone(actor),
                verb: self.verb.to_owned(),
                reason: self.reason.as_ref().map_or_else(|| what.clone(), |reason| format!("{what}: {reason}")),
                at: now,
                attempt: None,
                plan: None,
                changes: proposed.changes,
            };
            match context.ledger.append(authority, entry) {
                Ok(operation) => {
                    if context.ledger.carries_out() {
                        log::info!("operation {}: {what} by {}", operation.generation, actor.name);
                    }
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

    /// Keeps a plan, which is then approved and carried out as any other.
    fn keep(
        &self,
        context: &Context,
        actor: &Caller,
        of: Recovered,
        changes: &[Change],
        shown: RecoveryPlan,
    ) -> Result<Json<RecoveryPlan>, ApiError> {
        let now = (context.clock)();
        let text = self.reason.as_ref().map_or_else(|| shown.what.clone(), |why| format!("{}: {why}", shown.what));
        let reason = Reason::try_from(text).map_err(|invalid| ApiError::argument("reason", &invalid))?;
        let snapshot = context.ledger.snapshot();
        let lbs: BTreeSet<LbId> = changes.iter().filter_map(|change| change.after.lb()).collect();
        if lbs.is_empty() {
            let help = "it takes no load balancer out of service and needs nobody's approval: carry it out with `plan`";
            return Err(ApiError::argument("keep", &Invalid::constraint(help)));
        }
        let recovery = crate::model::Recovery { of, digest: shown.plan.clone(), out_of_service: shown.out_of_service };
        let plan = Plan {
            action: Action::Recover,
            subjects: lbs.into_iter().map(|lb| (lb, snapshot.touched(lb))).collect(),
            selector: shown.what.clone(),
            place: None,
            recovery: Some(recovery),
            approved_by: None,
            applied_at: None,
        };
        let why = reason.as_str().to_owned();
        let expires_at = Some(now.checked_add(Plan::KEEPS).unwrap_or(Timestamp::MAX));
        let measure = measures::new(actor, reason, What::Plan(plan), expires_at, now);
        let order = Order { reason: why, ..Order::new("plan.create") };
        let kept = RecoveryPlan { plan_id: Some(measure.id), expires_at, ..shown };
        commit_as(
            context,
            actor,
            &order,
            |current, _| measures::begin(current, actor, &measure),
            |_| Ok(Json(kept.clone())),
        )
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
    let after =
        current.after(current.generation(), current.head(), reversal.changes.iter().map(|change| &change.after));
    let out_of_service = removed(current, &after, &reversal.changes).len();
    let organizations: BTreeSet<_> =
        lbs.iter().filter_map(|lb| current.lb(*lb)).map(|lb| lb.owner.organization).collect();
    let dependents = current.dependents_by_kind(&lbs);
    let sample = reversal.changes.iter().take(SAMPLE).map(|change| RecoverySample {
        kind: change.key().kind,
        id: change.key().id,
        name: name(change, current),
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
        out_of_service,
        needs_approval: false,
        plan_id: None,
        expires_at: None,
        conflicts: reversal.conflicts.clone(),
        sample: sample.collect(),
    }
}

/// What a person knows the document by: its own name or address, or that of its load balancer.
fn name(change: &Change, current: &Snapshot) -> String {
    let of_lb = |lb: LbId| current.lb(lb).map(|lb| lb.name.to_string()).unwrap_or_default();
    match &change.after {
        Document::Lb(lb) => lb.name.to_string(),
        Document::Ip(ip) => ip.address.to_string(),
        document => document.lb().map(of_lb).unwrap_or_default(),
    }
}

fn action(change: &Change) -> String {
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

const SCOPE: &str = "what to restore: `lb:ID`, `project:ID`, or `organization:ID`";

/// A scope as a request names it.
#[derive(Clone, Copy, Debug)]
enum Named {
    Lb(LbId),
    Project(ProjectId),
    Organization(OrganizationId),
}

impl Named {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::format(format!("`{text}` is no scope; {SCOPE}"));
        match text.split_once(':').ok_or_else(invalid)? {
            ("lb", named) => id(named).map(Self::Lb),
            ("project", named) => id(named).map(Self::Project),
            ("organization", named) => id(named).map(Self::Organization),
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
            Self::Organization(organization) => {
                let scope = Scope::Organization { organization };
                if sight.sees(&scope) && sight.organization(organization).is_some() {
                    Ok(scope)
                } else {
                    Err(missing(format!("there is no organization {organization} for this token")))
                }
            }
            Self::Project(project) => Err(missing(format!("there is no project {project} for this token"))),
        }
    }
}
