//! What the engine itself contains harm with, whatever the guard said: freezes, budgets of removals, and plans.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Change, LedgerError, Proposal, Snapshot, difference::digest, second_person, service};
use crate::authority::{check_end, maker_reach};
use crate::model::{
    Act, Action, Actor, ActorId, Document, DocumentKey, Generation, LbId, Measure, MeasureId, OrganizationId, Owner,
    Person, Place, Plan, ProjectId, Reach, Reason, Scope, Takedown, Times, What,
};

/// How many load balancers may be taken out of service without a plan that a second person approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The window, ending now, in which removals are counted.
    pub window: SignedDuration,
    /// By one operation.
    pub per_operation: usize,
    /// In one project within the window.
    pub per_project: usize,
    /// In one organization within the window.
    pub per_organization: usize,
    /// By one actor within the window.
    pub per_actor: usize,
    /// In the zone within the window.
    pub per_zone: usize,
}

/// The budget of the engine. The triggers of the SQLite file hold the same numbers.
pub const BUDGET: Budget = Budget {
    window: SignedDuration::from_mins(10),
    per_operation: 10,
    per_project: 20,
    per_organization: 40,
    per_actor: 50,
    per_zone: 100,
};

/// How long a freeze lasts that a budget put in force.
const FREEZE_LASTS: SignedDuration = SignedDuration::from_hours(1);
/// Who puts a freeze in force when a budget is used up.
const BREAKER: &str = "breaker";

/// Load balancers of one owner that an operation takes out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    /// The owner.
    pub owner: Owner,
    /// How many.
    pub lbs: u32,
}

/// What a removal counts against. What tenants use up is not what containing abuse needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Deleted, or taken out of service by a change.
    Removals,
    /// Quarantined: only Trust & Safety and operators do that.
    Quarantines,
}

impl Account {
    /// Of an operation that makes these changes.
    #[must_use]
    pub fn of(changes: &[Change]) -> Self {
        let are_measures = changes.iter().all(|change| matches!(change.after, Document::Measure(_)));
        if are_measures { Self::Quarantines } else { Self::Removals }
    }
}

/// Removals of an operation within the window, as the snapshot remembers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Who.
    pub actor: ActorId,
    /// What they count against.
    pub account: Account,
    /// Whose, and how many.
    pub removed: Vec<Removed>,
}

/// A budget that an operation would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Where.
    pub place: Place,
    /// What is allowed there.
    pub limit: usize,
    /// What was used within the window.
    pub used: usize,
    /// What the operation would use.
    pub wanted: usize,
    /// The operations that used it.
    pub operations: Vec<Generation>,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, limit, used, wanted, .. } = self;
        write!(
            f,
            "{wanted} load balancers more would be taken out of service in {place}, {used} were in the last {} \
             minutes, and {limit} are allowed without an approved plan",
            BUDGET.window.as_mins()
        )
    }
}

/// Load balancers that changes take out of service: deleted, quarantined, or with less to reach than before
/// ([`service::loses`]).
pub(crate) fn removed(current: &Snapshot, after: &Snapshot, changes: &[Change]) -> BTreeSet<LbId> {
    let mut removed = BTreeSet::new();
    let mut suspects = BTreeSet::new();
    for change in changes {
        suspects.extend(change.before.iter().chain([&change.after]).filter_map(Document::lb));
        if let Document::Measure(Measure { what: What::Quarantine { place }, times, .. }) = &change.after
            && times.is_live()
        {
            removed.extend(current.lbs_at(place).filter(|lb| lb.times.is_live()).map(|lb| lb.id));
        }
    }
    let is_live = |snapshot: &Snapshot, lb| snapshot.lb(lb).is_some_and(|lb| lb.times.is_live());
    removed.extend(suspects.into_iter().filter(|lb| {
        is_live(current, *lb)
            && (!is_live(after, *lb) || service::loses(&service::of(current, *lb), &service::of(after, *lb)))
    }));
    removed.retain(|lb| current.lb(*lb).is_some_and(|lb| !current.is_quarantined(lb)) || !is_live(after, *lb));
    removed
}

/// The removals by owner.
pub(crate) fn by_owner(current: &Snapshot, removed: &BTreeSet<LbId>) -> Vec<Removed> {
    let mut counts: BTreeMap<Owner, u32> = BTreeMap::new();
    for lb in removed.iter().filter_map(|lb| current.lb(*lb)) {
        *counts.entry(lb.owner).or_default() += 1;
    }
    counts.into_iter().map(|(owner, lbs)| Removed { owner, lbs }).collect()
}

/// The budget that these removals would exceed, the narrowest first.
pub(crate) fn exceeded(
    current: &Snapshot,
    actor: &ActorId,
    account: Account,
    removed: &[Removed],
    now: Timestamp,
) -> Option<Exceeded> {
    let total: usize = removed.iter().map(|removed| removed.lbs as usize).sum();
    if total == 0 {
        return None;
    }
    let since = now.checked_sub(BUDGET.window).unwrap_or(Timestamp::MIN);
    let recent: Vec<(Generation, &Removal)> =
        current.removals_since(since).filter(|(_, removal)| removal.account == account).collect();
    let actor = Place::Actor { id: actor.clone() };
    if total > BUDGET.per_operation {
        let (limit, used, operations) = (BUDGET.per_operation, 0, Vec::new());
        return Some(Exceeded { place: actor, limit, used, wanted: total, operations });
    }
    let projects: BTreeSet<ProjectId> = removed.iter().map(|removed| removed.owner.project).collect();
    let organizations: BTreeSet<OrganizationId> = removed.iter().map(|removed| removed.owner.organization).collect();
    // No tenant's budget stands in the way of a quarantine of that tenant.
    let of_tenants = account == Account::Removals;
    let places = projects
        .into_iter()
        .map(|project| (Place::Project { project }, BUDGET.per_project))
        .chain(organizations.into_iter().map(|organization| {
            let place = Place::Organization { organization };
            (place, BUDGET.per_organization)
        }))
        .filter(|_| of_tenants)
        .chain([(actor, BUDGET.per_actor), (Place::Zone, BUDGET.per_zone)]);
    places.into_iter().find_map(|(place, limit)| {
        let at_place = |by: Option<&ActorId>, removed: &[Removed]| -> usize {
            match &place {
                Place::Actor { id } if Some(id) == by => removed.iter().map(|removed| removed.lbs as usize).sum(),
                Place::Actor { .. } => 0,
                _ => {
                    let here = removed.iter().filter(|removed| place.covers_owner(removed.owner));
                    here.map(|removed| removed.lbs as usize).sum()
                }
            }
        };
        let wanted = match &place {
            Place::Actor { .. } => total,
            _ => at_place(None, removed),
        };
        let led: Vec<(Generation, usize)> = recent
            .iter()
            .map(|(generation, removal)| (*generation, at_place(Some(&removal.actor), &removal.removed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let used: usize = led.iter().map(|(_, count)| count).sum();
        let operations = led.into_iter().map(|(generation, _)| generation).collect();
        (used + wanted > limit).then_some(Exceeded { place, limit, used, wanted, operations })
    })
}

/// Load balancers that may still be taken out of service in the zone, within the window that ends now.
#[must_use]
pub fn zone_budget_remaining(current: &Snapshot, now: Timestamp) -> usize {
    let since = now.checked_sub(BUDGET.window).unwrap_or(Timestamp::MIN);
    let removals = current.removals_since(since).filter(|(_, removal)| removal.account == Account::Removals);
    let removed = removals.flat_map(|(_, removal)| &removal.removed);
    BUDGET.per_zone.saturating_sub(removed.map(|removed| removed.lbs as usize).sum())
}

/// The freeze that a proposal runs into. What the budget of quarantines froze waits for an approved plan: `is_approved`.
/// A tenant's own freeze stops nobody who contains harm there.
pub(crate) fn frozen(
    current: &Snapshot,
    actor: &Actor,
    verb: &str,
    scope: &Scope,
    changes: &[Change],
    is_approved: bool,
    now: Timestamp,
) -> Option<Measure> {
    // Never frozen: measures and tokens, since containing harm and ending a freeze must stay possible, also for whoever
    // has lost every token; and the edge's own addresses, without which its agent does not start.
    let is_exempt =
        |document: &Document| matches!(document, Document::Measure(_) | Document::Token(_) | Document::NatSource(_));
    let is_exempt = changes.iter().all(|change| is_exempt(&change.after));
    // The one exception: quarantines without end, which the breaker stops by that very verb.
    let is_quarantine = verb == Action::Quarantine.verb() && !is_approved;
    if is_exempt && !is_quarantine {
        return None;
    }
    let names_it = |freeze: &Measure| matches!(&freeze.what, What::Freeze { verb: Some(frozen), .. } if frozen == verb);
    let contains = actor.token.is_some() && actor.role.may(Act::Contain);
    let is_tenants =
        |freeze: &Measure| maker_reach(current, freeze).is_some_and(|reach| !matches!(reach, Reach::Fleet));
    let mut freezes = current
        .freezes()
        .filter(|freeze| freeze.is_in_force(now) && (!is_exempt || names_it(freeze)))
        .filter(|freeze| !(contains && is_tenants(freeze)))
        .peekable();
    freezes.peek()?;
    let actor = actor.id();
    let touched = Touched::new(current, scope, changes);
    freezes
        .find(|freeze| match &freeze.what {
            What::Freeze { place, verb: frozen, .. } => {
                frozen.as_ref().is_none_or(|frozen| frozen == verb) && touched.lies_at(&actor, place)
            }
            _ => false,
        })
        .map(|freeze| Measure::clone(freeze))
}

/// What a proposal touches.
struct Touched {
    lbs: BTreeSet<LbId>,
    owners: BTreeSet<Owner>,
    projects: BTreeSet<ProjectId>,
    organizations: BTreeSet<OrganizationId>,
}

impl Touched {
    fn new(current: &Snapshot, scope: &Scope, changes: &[Change]) -> Self {
        let mut lbs = BTreeSet::new();
        let mut owners = BTreeSet::new();
        let mut organizations = BTreeSet::new();
        if let Scope::Organization { organization } = scope {
            organizations.insert(*organization);
        }
        for document in changes.iter().flat_map(|change| change.before.iter().chain([&change.after])) {
            lbs.extend(document.lb());
            let owner = match document {
                Document::Ip(ip) => Some(ip.owner),
                Document::Lb(lb) => Some(lb.owner),
                Document::Project(project) => Some(project.owner),
                Document::Subscriber(subscriber) => Some(subscriber.owner),
                Document::Dependent(dependent) => Some(dependent.owner),
                Document::Organization(organization) => {
                    organizations.insert(organization.id);
                    None
                }
                Document::Frontend(_)
                | Document::Backend(_)
                | Document::Acl(_)
                | Document::Measure(_)
                | Document::NatSource(_)
                | Document::Token(_) => None,
            };
            owners.extend(owner);
        }
        owners.extend(lbs.iter().filter_map(|lb| current.lb(*lb)).map(|lb| lb.owner));
        Self { lbs, owners, projects: scope.project().into_iter().collect(), organizations }
    }

    fn lies_at(&self, actor: &ActorId, place: &Place) -> bool {
        match place {
            Place::Zone => true,
            Place::Lb { lb } => self.lbs.contains(lb),
            Place::Project { project } if self.projects.contains(project) => true,
            Place::Organization { organization } if self.organizations.contains(organization) => true,
            Place::Actor { id } => id == actor,
            _ => self.owners.iter().any(|owner| place.covers_owner(*owner)),
        }
    }
}

/// The load balancer that Trust & Safety removed and that somebody else would bring back, or the other way around.
pub(crate) fn takedown(actor: &Actor, changes: &[Change]) -> Option<(LbId, Takedown)> {
    if actor.role.may(Act::Contain) {
        return None;
    }
    changes.iter().find_map(|change| {
        let Document::Lb(after) = &change.after else { return None };
        let before = match &change.before {
            Some(Document::Lb(before)) => before.taken_down.as_ref(),
            _ => None,
        };
        let is_touched = before != after.taken_down.as_ref() || before.is_some() && after.times.is_live();
        let takedown = before.or(after.taken_down.as_ref()).filter(|_| is_touched)?;
        Some((after.id, takedown.clone()))
    })
}

/// An address that somebody who may not contain would take away from a load balancer that is contained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Escape {
    /// The address.
    pub(crate) key: DocumentKey,
    /// The load balancer.
    pub(crate) lb: LbId,
    /// Its removal by Trust & Safety; otherwise it is quarantined.
    pub(crate) takedown: Option<Takedown>,
}

/// The address of a quarantined or taken down load balancer that would leave it: what contains one load balancer holds for
/// what its clients know it by.
pub(crate) fn escape(current: &Snapshot, actor: &Actor, changes: &[Change]) -> Option<Escape> {
    if actor.role.may(Act::Contain) {
        return None;
    }
    changes.iter().find_map(|change| match (&change.before, &change.after) {
        (Some(Document::Ip(before)), Document::Ip(after)) if before.lb != after.lb || !after.times.is_live() => {
            let (key, lb) = (change.key(), before.lb?);
            let takedown = current.lb(lb).and_then(|lb| lb.taken_down.clone());
            let is_contained = takedown.is_some() || current.quarantine_at(&Place::Lb { lb }).is_some();
            is_contained.then_some(Escape { key, lb, takedown })
        }
        _ => None,
    })
}

/// Checks what an operation does to measures, and its plan. Says whether an approved plan stands behind it.
pub(super) fn check_measures(current: &Snapshot, proposal: &Proposal) -> Result<bool, String> {
    for change in &proposal.changes {
        let Document::Measure(after) = &change.after else { continue };
        match &change.before {
            None => check_new(proposal, after)?,
            Some(Document::Measure(before)) => check_progress(current, proposal, before, after)?,
            Some(_) => return Err(format!("it turns another document into {}", change.key())),
        }
    }
    let purges = proposal.changes.iter().any(Change::purges);
    let Some(id) = proposal.plan else {
        return if purges { Err("it purges what no purge announced".to_owned()) } else { Ok(false) };
    };
    let measure = current.measure(id).ok_or_else(|| format!("there is no plan {id}"))?;
    if let What::Purge(purge) = &measure.what {
        return super::purge::check(current, proposal, measure, purge).map(|()| false);
    }
    if purges {
        return Err(format!("it purges, and {id} is no purge"));
    }
    let plan = measure.plan().ok_or_else(|| format!("{id} is no plan"))?;
    if !measure.is_in_force(proposal.at) || plan.applied_at.is_some() {
        return Err(format!("the plan {id} has expired or was carried out"));
    }
    if plan.needs_approval() && !plan.is_approved() {
        return Err(format!("the plan {id} is of {} load balancers and nobody approved it", plan.subjects.len()));
    }
    if proposal.verb != plan.verb() {
        return Err(format!("the plan {id} is to {}, not to {}", plan.verb(), proposal.verb));
    }
    if let Some(lb) = stale(current, plan) {
        return Err(format!("the plan {id} is stale: the load balancer {lb} has changed since"));
    }
    if !proposal.changes.iter().any(|change| is_application_of(change, id)) {
        return Err(format!("it does not note that the plan {id} is carried out"));
    }
    let changes = proposal.changes.iter().filter(|change| !is_application_of(change, id));
    if let Some(recovery) = &plan.recovery {
        let is_it = digest(changes) == recovery.digest;
        return if is_it { Ok(plan.is_approved()) } else { Err(format!("its changes are not those of the plan {id}")) };
    }
    for change in changes {
        if !lies_in_plan(change, plan) {
            return Err(format!("{} is not in the plan {id}", change.key()));
        }
    }
    Ok(plan.is_approved())
}

/// A load balancer of a plan that is not as it was. What is contained by a quarantine cannot run from it by changing, and
/// a recovery is compared change by change.
pub(crate) fn stale(current: &Snapshot, plan: &Plan) -> Option<LbId> {
    if matches!(plan.action, Action::Quarantine | Action::Release | Action::Recover) {
        return None;
    }
    plan.subjects.iter().find(|(lb, generation)| current.touched(**lb) != **generation).map(|(lb, _)| *lb)
}

fn is_application_of(change: &Change, id: MeasureId) -> bool {
    matches!(&change.after, Document::Measure(measure) if measure.id == id)
}

fn lies_in_plan(change: &Change, plan: &Plan) -> bool {
    match &change.after {
        Document::Lb(lb) => plan.subjects.contains_key(&lb.id),
        // The addresses that went with a load balancer come back with it.
        Document::Ip(ip) => plan.action == Action::Undelete && ip.lb.is_some_and(|lb| plan.subjects.contains_key(&lb)),
        Document::Measure(Measure { what: What::Quarantine { place }, times, .. }) => {
            let is_named = match (&plan.place, place) {
                (Some(whole), place) => whole == place,
                (None, Place::Lb { lb }) => plan.subjects.contains_key(lb),
                (None, _) => false,
            };
            is_named && times.is_live() == (plan.action == Action::Quarantine)
        }
        _ => false,
    }
}

fn check_new(proposal: &Proposal, measure: &Measure) -> Result<(), String> {
    match &measure.what {
        What::Plan(plan) => {
            let latest = proposal.at.checked_add(Plan::KEEPS).unwrap_or(Timestamp::MAX);
            if plan.subjects.is_empty() {
                return Err(format!("the plan {} is of nothing", measure.id));
            }
            let is_of_places = matches!(plan.action, Action::Quarantine | Action::Release);
            if plan.place.is_some() && !is_of_places || plan.recovery.is_some() != (plan.action == Action::Recover) {
                return Err(format!("the plan {} is of another kind than what it does", measure.id));
            }
            if plan.is_approved() || plan.applied_at.is_some() {
                return Err(format!("the plan {} is approved or carried out before it is made", measure.id));
            }
            if measure.expires_at.is_none_or(|end| end > latest) {
                return Err(format!("the plan {} keeps for more than {} minutes", measure.id, Plan::KEEPS.as_mins()));
            }
        }
        What::Freeze { .. } if measure.expires_at.is_none() => {
            return Err(format!("the freeze {} never ends", measure.id));
        }
        What::Quarantine { place: Place::Actor { .. } | Place::Zone } => {
            return Err(format!("the quarantine {} is of no tenant", measure.id));
        }
        What::LetGo { services, agreed_by } => {
            let latest = proposal.at.checked_add(Plan::KEEPS).unwrap_or(Timestamp::MAX);
            if services.is_empty() || agreed_by.is_some() {
                return Err(format!("the release {} is of nothing, or approved before it is made", measure.id));
            }
            if measure.expires_at.is_none_or(|end| end > latest) {
                return Err(format!(
                    "the release {} keeps for more than {} minutes",
                    measure.id,
                    Plan::KEEPS.as_mins()
                ));
            }
        }
        What::Purge(purge) => super::purge::check_new(proposal, measure, purge)?,
        What::Freeze { .. } | What::Quarantine { .. } => {}
    }
    if measure.by != proposal.actor.person() {
        return Err(format!("the measure {} is somebody else's than the actor's", measure.id));
    }
    Ok(())
}

/// A measure ends; a plan is approved by another person, or carried out. Nothing else of it changes.
fn check_progress(current: &Snapshot, proposal: &Proposal, before: &Measure, after: &Measure) -> Result<(), String> {
    let id = before.id;
    let second = || second_person(current, before, &proposal.actor).map_err(|why| format!("{id}: {why}"));
    if !before.times.is_live() && after.times.is_live() && matches!(before.what, What::Plan(_)) {
        return Err(format!("the plan {id} has ended"));
    }
    if before.times.is_live() && !after.times.is_live() {
        check_end(current, &proposal.actor, before).map_err(|why| format!("{id}: {why}"))?;
    }
    let mut expected = Measure { times: after.times, ..before.clone() };
    if let (What::Plan(expected), Some(before), Some(after)) = (&mut expected.what, before.plan(), after.plan()) {
        if before.approved_by != after.approved_by {
            let approver = after.approved_by.as_ref();
            if before.is_approved() || approver != Some(&proposal.actor.person()) {
                return Err(format!("the plan {id} is approved once, by the actor"));
            }
            second()?;
            expected.approved_by.clone_from(&after.approved_by);
        }
        if before.applied_at != after.applied_at {
            if before.applied_at.is_some() || proposal.plan != Some(id) || after.applied_at != Some(proposal.at) {
                return Err(format!("the plan {id} is carried out once, by its own operation"));
            }
            expected.applied_at = after.applied_at;
        }
    }
    if let (What::Purge(expected), Some(after)) = (&mut expected.what, after.purge())
        && expected.applied_at.is_none()
        && proposal.plan == Some(id)
        && after.applied_at == Some(proposal.at)
    {
        expected.applied_at = after.applied_at;
    }
    if let (
        What::LetGo { agreed_by: expected, .. },
        What::LetGo { agreed_by: None, .. },
        What::LetGo { agreed_by: Some(approver), .. },
    ) = (&mut expected.what, &before.what, &after.what)
    {
        if *approver != proposal.actor.person() {
            return Err(format!("the release {id} is approved by the actor"));
        }
        second()?;
        *expected = Some(approver.clone());
    }
    if expected != *after {
        return Err(format!("the measure {id} is edited: end it and make another"));
    }
    Ok(())
}

/// The freeze that answers an exceeded budget, as the next operation.
pub(super) fn trip(current: &Snapshot, verb: &str, at: Timestamp, exceeded: &Exceeded) -> Result<Proposal, String> {
    let id = MeasureId::new();
    let reason = format!("budget of removals used up: {exceeded}");
    let measure = Measure {
        id,
        by: Person::agent(BREAKER),
        reason: Reason::try_from(reason.clone()).map_err(|invalid| invalid.help)?,
        expires_at: Some(at.checked_add(FREEZE_LASTS).unwrap_or(Timestamp::MAX)),
        what: What::Freeze {
            place: exceeded.place.clone(),
            verb: Some(verb.to_owned()),
            operations: exceeded.operations.clone(),
        },
        times: Times::created(at),
    };
    Ok(Proposal {
        expected: current.generation(),
        actor: Actor::agent(BREAKER),
        scope: Scope::Measure { measure: id },
        verb: "freeze.trip".to_owned(),
        reason,
        at,
        attempt: None,
        plan: None,
        changes: vec![Change { before: None, after: Document::Measure(measure) }],
    })
}

/// What an engine answers with when a freeze is in force.
pub(super) fn refused(freeze: Measure) -> LedgerError {
    LedgerError::Frozen(Box::new(freeze))
}
