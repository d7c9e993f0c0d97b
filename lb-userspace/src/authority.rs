//! Who may see and change what. Handlers read through a [`Sight`] and change with a [`Write`]; both exist only after a
//! check, so that no handler can name a project, or anything in it, that was not authorized.
//!
//! Something that an actor may not see is answered exactly like something that is not there.

use std::collections::BTreeSet;

use crate::ledger::Snapshot;
use crate::model::{
    Act, Action, Actor, ActorId, LbId, Measure, OrganizationId, Owner, Place, Plan, ProjectId, Reach, Role, Scope, What,
};

pub mod bootstrap;
pub mod key;
pub mod last_used;
pub mod sight;

pub use bootstrap::{Bootstrap, bootstrap};
pub use key::{Secret, TokenKey};
pub use last_used::LastUsed;
pub use sight::Sight;

/// Why an actor may not do something. Variants are facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such thing, or it lies where the actor does not see: the two are one.
    #[error("there is nothing of that id that this token may see")]
    Unseen,
    /// The actor sees it, and its role does not do that.
    #[error("a token of the role {} does not do that", .role.as_str())]
    Role {
        /// The role.
        role: Role,
        /// What it would have done.
        act: Act,
    },
}

/// The right of one actor to change what lies in one scope. Only [`Write::authorize`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    scope: Scope,
}

impl Write {
    /// Checks that a scope is there, that the actor sees it, and that its role acts like this there.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn authorize(current: &Snapshot, actor: &Actor, act: Act, scope: Scope) -> Result<Self, Denied> {
        let place = place(current, &scope).ok_or(Denied::Unseen)?;
        if !actor.reach.covers(&place) {
            return Err(Denied::Unseen);
        }
        may(actor, act)?;
        Ok(Self { scope })
    }

    /// The right to make an organization; its id is new.
    ///
    /// # Errors
    /// [`Denied::Role`] for everybody who does not administer the fleet.
    pub fn new_organization(actor: &Actor, organization: OrganizationId) -> Result<Self, Denied> {
        may(actor, Act::Administer)?;
        match actor.reach {
            Reach::Fleet => Ok(Self { scope: Scope::Organization { organization } }),
            _ => Err(Denied::Role { role: actor.role, act: Act::Administer }),
        }
    }

    /// The right to make a token for a role and a reach: neither is more than the actor's own.
    ///
    /// # Errors
    /// [`Denied::Unseen`] when the reach is not there or not all the actor's; [`Denied::Role`] otherwise.
    pub fn new_token(
        current: &Snapshot,
        actor: &Actor,
        token: crate::model::TokenId,
        role: Role,
        reach: &Reach,
    ) -> Result<Self, Denied> {
        may(actor, Act::Administer)?;
        if !actor.reach.covers(reach) || !current.tenants().is_live_reach(reach) {
            return Err(Denied::Unseen);
        }
        if role < actor.role {
            return Err(Denied::Role { role: actor.role, act: Act::Administer });
        }
        Ok(Self { scope: Scope::Token { token } })
    }

    /// The right to put a measure in force, to change or to end it.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn measure(current: &Snapshot, actor: &Actor, measure: &Measure) -> Result<Self, Denied> {
        check_measure(current, actor, measure)?;
        Ok(Self { scope: Scope::Measure { measure: measure.id } })
    }

    /// The right to carry a plan out: on its load balancers of one project, or within their organization.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn plan(current: &Snapshot, actor: &Actor, measure: &Measure) -> Result<Self, Denied> {
        check_measure(current, actor, measure)?;
        let plan = measure.plan().ok_or(Denied::Unseen)?;
        let scope = match measure_reach(current, measure).ok_or(Denied::Unseen)? {
            Reach::Project { owner } if plan.place.is_some() => Scope::Project { project: owner.project },
            Reach::Project { owner } => {
                let lbs: BTreeSet<LbId> = plan.subjects.keys().copied().collect();
                Scope::Lbs { lbs: lbs.try_into().map_err(|_| Denied::Unseen)?, project: owner.project }
            }
            Reach::Organization { organization } => Scope::Organization { organization },
            Reach::Fleet => return Err(Denied::Unseen),
        };
        Ok(Self { scope })
    }

    /// What may be changed.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What may be changed.
    #[must_use]
    pub fn into_scope(self) -> Scope {
        self.scope
    }
}

/// Whether an actor's role acts like this at all.
///
/// # Errors
/// [`Denied::Role`].
pub fn may(actor: &Actor, act: Act) -> Result<(), Denied> {
    if actor.role.may(act) { Ok(()) } else { Err(Denied::Role { role: actor.role, act }) }
}

/// Checks that an actor sees what a measure is about, and that its role does such things.
///
/// # Errors
/// [`Denied`].
pub(crate) fn check_measure(current: &Snapshot, actor: &Actor, measure: &Measure) -> Result<(), Denied> {
    let reach = measure_reach(current, measure).ok_or(Denied::Unseen)?;
    if !actor.reach.covers(&reach) {
        return Err(Denied::Unseen);
    }
    let acts: &[Act] = match &measure.what {
        What::Freeze { .. } => &[Act::Contain, Act::Administer],
        What::Plan(Plan { action: Action::Delete | Action::Undelete | Action::Recover, .. }) => {
            &[Act::Contain, Act::Edit]
        }
        What::Plan(_) | What::Quarantine { .. } => &[Act::Contain],
        What::LetGo { .. } | What::Purge(_) => &[Act::Administer],
    };
    let may = acts.iter().any(|act| actor.role.may(*act));
    if may { Ok(()) } else { Err(Denied::Role { role: actor.role, act: Act::Contain }) }
}

/// Checks that an actor may end a measure that it sees: a freeze that nobody of its own reach made is ended by those who
/// contain, or who act for the whole fleet.
///
/// # Errors
/// [`Denied`].
pub(crate) fn check_end(current: &Snapshot, actor: &Actor, measure: &Measure) -> Result<(), Denied> {
    let is_freeze = matches!(measure.what, What::Freeze { .. });
    if !is_freeze || actor.role.may(Act::Contain) || matches!(actor.reach, Reach::Fleet) {
        return Ok(());
    }
    let is_own = maker_reach(current, measure).is_some_and(|maker| actor.reach.covers(&maker));
    if is_own { Ok(()) } else { Err(Denied::Role { role: actor.role, act: Act::Contain }) }
}

/// The reach of whoever made a measure; the agent's own is the fleet.
pub(crate) fn maker_reach(current: &Snapshot, measure: &Measure) -> Option<Reach> {
    match measure.by.id {
        ActorId::Agent(_) => Some(Reach::Fleet),
        ActorId::Token(token) => current.tenants().token(token).map(|token| token.reach),
    }
}

/// What a measure is about.
pub(crate) fn measure_reach(current: &Snapshot, measure: &Measure) -> Option<Reach> {
    match &measure.what {
        What::Freeze { place, .. } | What::Quarantine { place } => place_reach(current, place),
        What::LetGo { .. } => Some(Reach::Fleet),
        What::Purge(purge) => Some(Reach::Project { owner: purge.owner }),
        What::Plan(Plan { place: Some(place), .. }) => place_reach(current, place),
        What::Plan(plan) => {
            let mut owners = plan.subjects.keys().map(|lb| current.lb(*lb).map(|lb| lb.owner));
            let first = owners.next()??;
            owners.try_fold(Reach::Project { owner: first }, |reach, owner| {
                let owner = owner?;
                let organization = Reach::Organization { organization: first.organization };
                Some([reach, organization].into_iter().find(|it| it.covers_owner(owner)).unwrap_or(Reach::Fleet))
            })
        }
    }
}

/// Where the place of a measure lies; nowhere, when it is not there.
pub(crate) fn place_reach(current: &Snapshot, place: &Place) -> Option<Reach> {
    match place {
        Place::Lb { lb } => current.lb(*lb).map(|lb| Reach::Project { owner: lb.owner }),
        Place::Project { project } => {
            current.tenants().project(*project).map(|project| Reach::Project { owner: project.owner })
        }
        Place::Organization { organization } => {
            let found = current.tenants().organization(*organization);
            found.map(|organization| Reach::Organization { organization: organization.id })
        }
        Place::Actor { .. } | Place::Zone => Some(Reach::Fleet),
    }
}

/// The project that a creation names, or the only one that its actor has.
///
/// # Errors
/// `Ok(None)` when none is named and the actor has several; [`Denied::Unseen`] when the named one is not there.
pub fn project_of(current: &Snapshot, actor: &Actor, named: Option<ProjectId>) -> Result<Option<Owner>, Denied> {
    let Some(named) = named else { return Ok(actor.project()) };
    let project = current.tenants().project(named).filter(|project| current.tenants().is_live(project.owner));
    project
        .map(|project| project.owner)
        .filter(|owner| actor.reach.covers_owner(*owner))
        .map(Some)
        .ok_or(Denied::Unseen)
}

/// Where a scope lies; nowhere, when it is not there.
fn place(current: &Snapshot, scope: &Scope) -> Option<Reach> {
    let tenants = current.tenants();
    match *scope {
        Scope::Lb { lb, project } => {
            let owner = current.lb(lb)?.owner;
            (owner.project == project).then_some(Reach::Project { owner })
        }
        Scope::Lbs { ref lbs, project } => {
            let owner = lbs.iter().next().and_then(|lb| current.lb(lb))?.owner;
            let are_all = lbs.iter().all(|lb| current.lb(lb).is_some_and(|lb| lb.owner == owner));
            (are_all && owner.project == project).then_some(Reach::Project { owner })
        }
        Scope::Project { project } => {
            let owner = tenants.project(project)?.owner;
            tenants.is_live(owner).then_some(Reach::Project { owner })
        }
        Scope::Organization { organization } => {
            let reach = Reach::Organization { organization };
            tenants.is_live_reach(&reach).then_some(reach)
        }
        Scope::Token { token } => tenants.token(token).map(|token| token.reach),
        Scope::Measure { measure } => measure_reach(current, current.measure(measure)?),
    }
}

#[cfg(test)]
mod tests;
