//! `/snowshed/v1/plans`: what is done to many load balancers, or by Trust & Safety, is first said and then done. In the
//! manner of Google AIP-165: a parent and a filter are required, and nothing is kept unless that is asked for.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::impact::Blast;
use super::{measures, recovery};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, Order, commit_as, create as created, run, update};
use crate::api::handlers::Id;
use crate::api::handlers::lbs::deleted;
use crate::api::handlers::undelete;
use crate::api::idempotency::Caller;
use crate::api::parse::{Arguments, id};
use crate::api::wire::measure::{CreatePlan, Filter, Plan as Shown, WaitingPlan};
use crate::api::{ApiError, Context};
use crate::authority::Write;
use crate::ledger::{Change, Snapshot, second_person};
use crate::model::{
    Act, Action, Actor, Document, DocumentKey, Generation, Invalid, Kind, Lb, LbId, Measure, MeasureId, Place, Plan,
    Reason, Takedown, What,
};

/// Most load balancers of a plan.
const MOST: usize = 10_000;

const fn is_plan(what: &What) -> bool {
    matches!(what, What::Plan(_))
}

/// Shows a plan.
#[utoipa::path(get, path = "/snowshed/v1/plans/{id}", responses((status = 200, body = Shown)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    axum::Extension(actor): axum::Extension<Actor>,
    path: Id,
) -> Result<Json<Shown>, ApiError> {
    let id: MeasureId = path.parse("plan_id")?;
    run(&context, move |context| {
        let snapshot = context.ledger.snapshot();
        let measure = measures::find(&snapshot, &actor, id, is_plan)?;
        shown(context, &snapshot, &measure, true).map(Json)
    })
    .await
}

/// Plans what would be done to several load balancers.
#[utoipa::path(
    post, path = "/snowshed/v1/plans",
    request_body = CreatePlan,
    responses((status = 200, body = Shown))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    Body(request): Body<CreatePlan>,
) -> Result<Json<Shown>, ApiError> {
    run(&context, move |context| {
        let now = (context.clock)();
        let Asked { action, parent, filter, reason, validate_only } = Asked::parse(request)?;
        let snapshot = context.ledger.snapshot();
        let parent = measures::tenant_place(&snapshot, &actor, parent)?;
        let why = reason.as_str().to_owned();
        let plan = plan(&snapshot, action, &parent, &filter)?;
        let expires_at = Some(now.checked_add(Plan::KEEPS).unwrap_or(Timestamp::MAX));
        let measure = measures::new(&actor, reason, What::Plan(plan), expires_at, now);
        if validate_only {
            return shown(context, &snapshot, &measure, false).map(Json);
        }
        let order = Order { reason: why, ..Order::new("plan.create") };
        commit_as(
            context,
            &actor,
            &order,
            |current, _| measures::begin(current, &actor, &measure),
            |after| shown(context, after, &measure, true).map(Json),
        )
    })
    .await
}

/// Approves a plan that somebody else made.
///
/// The approver is never the requester: no token that the requester made, none that was made after the plan, and none
/// that comes from the same token as the requester's within the 24 hours before the plan.
#[utoipa::path(post, path = "/snowshed/v1/plans/{id}/approve", responses((status = 200, body = Shown)))]
pub(in crate::api) async fn approve(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    _: Bare,
) -> Result<Json<Shown>, ApiError> {
    let id: MeasureId = path.parse("plan_id")?;
    run(&context, move |context| {
        commit_as(
            context,
            &actor,
            &Order::new("plan.approve"),
            |current, now| {
                let (measure, plan) = current_plan(current, &actor, id, now)?;
                second_person(current, &measure, &actor)
                    .map_err(|why| ApiError::plan(id, "plan_needs_another_person", &why.to_string()))?;
                let plan = Plan { approved_by: Some(actor.person()), ..plan };
                let changes = if measure.plan().is_some_and(Plan::is_approved) {
                    Vec::new()
                } else {
                    vec![progress(&measure, plan, now)]
                };
                Ok(Draft { authority: measures::right(current, &actor, &measure)?, changes })
            },
            |after| shown(context, after, &*measures::find(after, &actor, id, is_plan)?, true).map(Json),
        )
    })
    .await
}

/// Carries a plan out.
///
/// Carries a plan out, once: asked again, the answer is the same and nothing is done.
#[utoipa::path(post, path = "/snowshed/v1/plans/{id}/apply", responses((status = 200, body = Shown)))]
pub(in crate::api) async fn apply(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    _: Bare,
) -> Result<Json<Shown>, ApiError> {
    let id: MeasureId = path.parse("plan_id")?;
    run(&context, move |context| {
        let snapshot = context.ledger.snapshot();
        let measure = measures::find(&snapshot, &actor, id, is_plan)?;
        let plan = measure.plan().ok_or_else(|| ApiError::internal("a plan is none"))?;
        let reason = format!("plan {id}: {}", measure.reason.as_str());
        let is_recovery = matches!(plan.action, Action::Undelete | Action::Recover);
        let order = Order { reason, plan: Some(id), is_recovery, ..Order::new(plan.verb()) };
        commit_as(
            context,
            &actor,
            &order,
            |current, now| draft(context, current, &actor, id, now),
            |after| shown(context, after, &*measures::find(after, &actor, id, is_plan)?, true).map(Json),
        )
    })
    .await
}

/// A plan that can still be carried out.
fn current_plan(current: &Snapshot, actor: &Actor, id: MeasureId, now: Timestamp) -> Result<(Measure, Plan), ApiError> {
    let measure = measures::find(current, actor, id, is_plan)?;
    let plan = measure.plan().ok_or_else(|| ApiError::internal("a plan is none"))?;
    if !measure.is_in_force(now) {
        return Err(ApiError::plan(id, "plan_is_current", "it has expired: make it anew and look at it"));
    }
    if let Some(lb) = crate::ledger::stale(current, plan).filter(|_| plan.applied_at.is_none()) {
        let help = format!("the load balancer {lb} has changed since it was made: make it anew and look at it");
        return Err(ApiError::plan(id, "plan_is_current", &help));
    }
    Ok((Measure::clone(&measure), plan.clone()))
}

fn draft(
    context: &Context,
    current: &Snapshot,
    actor: &Actor,
    id: MeasureId,
    now: Timestamp,
) -> Result<Draft, ApiError> {
    let there = measures::find(current, actor, id, is_plan)?;
    if there.plan().is_some_and(|plan| plan.applied_at.is_some()) {
        return Ok(Draft { authority: measures::right(current, actor, &there)?, changes: Vec::new() });
    }
    let (measure, plan) = current_plan(current, actor, id, now)?;
    if plan.needs_approval() && !plan.is_approved() {
        let help = format!(
            "it is of {} load balancers, and more than {} need a second person: POST /snowshed/v1/plans/{id}/approve with \
             another token (`snowshed ts approve {id}`)",
            plan.recovery.as_ref().map_or(plan.subjects.len(), |recovery| recovery.out_of_service),
            Plan::ALONE
        );
        return Err(ApiError::plan(id, "plan_needs_approval", &help));
    }
    let (authority, mut changes) = match &plan.recovery {
        Some(recovery) => recovery::planned(context, current, actor, id, recovery, now)?,
        None => {
            let key = DocumentKey { kind: Kind::Measure, id: id.as_uuid() };
            let authority = Write::plan(current, actor, &measure).map_err(|denied| ApiError::denied(denied, key))?;
            (authority, changes(current, actor, &measure, &plan, now))
        }
    };
    changes.push(progress(&measure, Plan { applied_at: Some(now), ..plan }, now));
    Ok(Draft { authority, changes })
}

/// What a plan does to its place, or to each of its load balancers.
fn changes(current: &Snapshot, actor: &Actor, measure: &Measure, plan: &Plan, now: Timestamp) -> Vec<Change> {
    if let Some(place) = &plan.place {
        return contained(current, actor, measure, plan.action, place.clone(), now).into_iter().collect();
    }
    let lbs = plan.subjects.keys().filter_map(|lb| current.lb(*lb));
    let of_lb = |lb: &Lb| match plan.action {
        Action::Undelete => undelete::changes(current, lb),
        Action::Delete if lb.times.is_live() => vec![removed(actor, measure, lb, now)],
        Action::Quarantine | Action::Release => {
            contained(current, actor, measure, plan.action, Place::Lb { lb: lb.id }, now).into_iter().collect()
        }
        Action::Delete | Action::Recover => Vec::new(),
    };
    lbs.flat_map(|lb| of_lb(lb)).collect()
}

/// A load balancer's deletion. What Trust & Safety or an operator removes by a plan its tenant does not bring back.
fn removed(actor: &Actor, plan: &Measure, lb: &Lb, now: Timestamp) -> Change {
    let mut change = deleted(Document::Lb(lb.clone()), now);
    if let Document::Lb(after) = &mut change.after
        && actor.role.may(Act::Contain)
    {
        after.taken_down = Some(Takedown { plan: plan.id, reason: plan.reason.clone() });
    }
    change
}

/// The beginning or the end of a quarantine at a place.
fn contained(
    current: &Snapshot,
    actor: &Actor,
    plan: &Measure,
    action: Action,
    place: Place,
    now: Timestamp,
) -> Option<Change> {
    match (action, current.quarantine_at(&place)) {
        (Action::Quarantine, None) => {
            let measure = measures::new(actor, plan.reason.clone(), What::Quarantine { place }, None, now);
            Some(created(Document::Measure(measure)))
        }
        (Action::Release, Some(there)) => {
            let after = Measure { times: there.times.deleted(now), ..Measure::clone(there) };
            Some(update(Document::Measure(Measure::clone(there)), Document::Measure(after)))
        }
        _ => None,
    }
}

fn progress(measure: &Measure, plan: Plan, now: Timestamp) -> Change {
    let after = Measure { what: What::Plan(plan), times: measure.times.updated(now), ..measure.clone() };
    update(Document::Measure(measure.clone()), Document::Measure(after))
}

/// A request for a plan, read.
struct Asked {
    action: Action,
    parent: Place,
    filter: Selection,
    reason: Reason,
    validate_only: bool,
}

/// Which load balancers below the parent.
enum Selection {
    Ids(BTreeSet<LbId>),
    Tag(String),
    Name(String),
    /// All of them, which must be this many.
    Count(u64),
    /// The parent itself: whatever stands in it then, and later.
    Whole(Place),
}

impl Asked {
    fn parse(request: CreatePlan) -> Result<Self, ApiError> {
        let CreatePlan { action, parent, filter, reason, validate_only } = request;
        let mut arguments = Arguments::default();
        let words = Action::ALL.map(Action::as_str).join(", ");
        let action = arguments.needed("action", action, &words, |text| text.parse());
        let parent = arguments.needed("parent", parent, "`project:ID` or `organization:ID`", |text| {
            match measures::place(&text)? {
                place @ (Place::Project { .. } | Place::Organization { .. }) => Ok(place),
                _ => Err(Invalid::constraint(format!("`{text}`: `project:ID` or `organization:ID` is expected"))),
            }
        });
        let filter = arguments.needed("filter", filter, "which load balancers of the parent", selection);
        let reason = measures::reason(&mut arguments, reason);
        let parsed = action.zip(parent).zip(filter).zip(reason);
        let (((action, parent), filter), reason) = arguments.build(parsed)?;
        Ok(Self { action, parent, filter, reason, validate_only: validate_only.unwrap_or(true) })
    }
}

fn selection(filter: Filter) -> Result<Selection, Invalid> {
    let whole = |text: &str| !text.is_empty() && text.trim() == text;
    match filter {
        Filter { place: Some(text), lb_ids: None, tag: None, name: None, count: None } => {
            measures::place(&text).map(Selection::Whole)
        }
        Filter { place: Some(_), .. } => Err(one_of()),
        Filter { lb_ids: Some(ids), tag: None, name: None, count: None, .. } if !ids.is_empty() => {
            ids.iter().map(|text| id(text)).collect::<Result<_, _>>().map(Selection::Ids)
        }
        Filter { lb_ids: None, tag: Some(tag), name: None, count: None, .. } if whole(&tag) => Ok(Selection::Tag(tag)),
        Filter { lb_ids: None, tag: None, name: Some(name), count: None, .. } if whole(&name) => {
            Ok(Selection::Name(name))
        }
        Filter { lb_ids: None, tag: None, name: None, count: Some(count), .. } if count > 0 => {
            Ok(Selection::Count(count))
        }
        _ => Err(one_of()),
    }
}

fn one_of() -> Invalid {
    Invalid::constraint(
        "exactly one of `lb_ids` (at least one id), `tag`, `name`, `count` (all of the parent, which must be this many), \
         and, for `quarantine` and `release`, `place` (the parent once more: as a whole) is expected, none of them empty",
    )
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ids(ids) => write!(f, "{} by id", ids.len()),
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Name(name) => write!(f, "name {name}"),
            Self::Count(count) => write!(f, "all {count}"),
            Self::Whole(_) => f.write_str("as a whole"),
        }
    }
}

fn plan(snapshot: &Snapshot, action: Action, parent: &Place, filter: &Selection) -> Result<Plan, ApiError> {
    let wrong = |help: String| ApiError::argument("filter", &Invalid::constraint(help));
    let wants_live = action != Action::Undelete;
    let below: Vec<_> = snapshot.lbs_at(parent).filter(|lb| lb.times.is_live() == wants_live).collect();
    if let Selection::Ids(ids) = filter
        && let Some(foreign) = ids.iter().find(|id| !below.iter().any(|lb| lb.id == **id))
    {
        return Err(wrong(format!("there is no load balancer {foreign} in {parent}: nothing is planned")));
    }
    if let Selection::Count(count) = filter
        && *count != below.len() as u64
    {
        return Err(wrong(format!("{parent} has {} load balancers, not {count}: nothing is planned", below.len())));
    }
    if let Selection::Whole(place) = filter {
        if !matches!(action, Action::Quarantine | Action::Release) {
            return Err(wrong("`place` is for quarantine and release: what is removed is named or counted".to_owned()));
        }
        if place != parent {
            return Err(wrong(format!("the place {place} is not the parent {parent}: nothing is planned")));
        }
        if action == Action::Release && snapshot.quarantine_at(place).is_none() {
            return Err(wrong(format!("there is no quarantine of {place}: nothing is planned")));
        }
    }
    let is_wanted = |lb: &Lb| match filter {
        Selection::Ids(ids) => ids.contains(&lb.id),
        Selection::Tag(tag) => lb.tags.as_slice().contains(tag),
        Selection::Name(name) => lb.name.as_str() == name,
        Selection::Count(_) | Selection::Whole(_) => true,
    };
    let subjects: BTreeMap<LbId, Generation> =
        below.iter().filter(|lb| is_wanted(lb)).map(|lb| (lb.id, snapshot.touched(lb.id))).collect();
    if subjects.is_empty() || subjects.len() > MOST {
        return Err(wrong(format!("{filter}: {} load balancers of {parent}; 1 to {MOST} are a plan", subjects.len())));
    }
    let selector = format!("{parent}, {filter}");
    let place = Some(parent.clone()).filter(|_| matches!(filter, Selection::Whole(_)));
    Ok(Plan { action, subjects, selector, place, recovery: None, approved_by: None, applied_at: None })
}

/// Plans that wait to be carried out, as far as the actor sees them.
pub(super) fn waiting(context: &Context, snapshot: &Snapshot, actor: &Actor) -> Vec<WaitingPlan> {
    let plans = measures::in_force(context, snapshot, actor, is_plan);
    let waiting = plans.iter().filter_map(|measure| {
        let plan = measure.plan().filter(|plan| plan.applied_at.is_none())?;
        Some(WaitingPlan {
            id: measure.id,
            action: plan.action.as_str().to_owned(),
            count: plan.subjects.len() as u64,
            by: measure.by.name.clone(),
            reason: measure.reason.as_str().to_owned(),
            waits_for_approval: measure.waits_for_approval(),
            expires_at: measure.expires_at,
        })
    });
    waiting.collect()
}

fn shown(context: &Context, snapshot: &Snapshot, measure: &Measure, is_kept: bool) -> Result<Shown, ApiError> {
    let measure = snapshot.measure(measure.id).map_or(measure, |kept| kept);
    let plan = measure.plan().ok_or_else(|| ApiError::internal("a plan is none"))?;
    let ids: BTreeSet<LbId> = plan.subjects.keys().copied().collect();
    let Blast { organizations, dependents, total, sample } = Blast::of(context, snapshot, &ids)?;
    Ok(Shown {
        id: is_kept.then_some(measure.id),
        action: plan.action.as_str().to_owned(),
        selector: plan.selector.clone(),
        reason: measure.reason.as_str().to_owned(),
        by: measure.by.name.clone(),
        digest: plan.digest(),
        count: plan.subjects.len() as u64,
        sample,
        organizations,
        dependents,
        packets_per_second: total.packets_per_second,
        connections_per_second: total.connections_per_second,
        needs_approval: plan.needs_approval(),
        approved_by: plan.approved_by.as_ref().map(|person| person.name.clone()),
        expires_at: measure.expires_at,
        applied_at: plan.applied_at,
        stale: plan.applied_at.is_none() && crate::ledger::stale(snapshot, plan).is_some(),
    })
}
