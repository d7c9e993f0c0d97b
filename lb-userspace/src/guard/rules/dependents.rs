//! A dependent names load balancers of its own project that are not deleted, and a project registers no more than so many.

use super::{Case, Refusal, Sink};
use crate::model::{Dependent, Document, Invalid, LbId};

/// Most dependents of a project.
pub(super) const MOST: usize = 2000;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for change in case.changes() {
        let Document::Dependent(dependent) = &change.after else { continue };
        if !dependent.times.is_live() {
            continue;
        }
        let key = change.after.key();
        let is_own = |lb| case.after.lb(lb).is_some_and(|lb| lb.owner == dependent.owner);
        if let Some(foreign) = dependent.lbs.iter().find(|lb| !is_own(*lb)) {
            let help = format!("there is no load balancer {foreign} in the project of this dependent");
            refuse(key, Refusal::Argument { argument: "lb_ids", invalid: Invalid::constraint(help) });
        }
        let before = match &change.before {
            Some(Document::Dependent(before)) if before.times.is_live() => Some(before),
            _ => None,
        };
        if let Some((argument, invalid)) = too_late(case, before, dependent) {
            refuse(key, Refusal::Argument { argument, invalid });
        }
        if change.before.is_none() {
            let own = case.after.dependents().filter(|it| it.owner == dependent.owner && it.times.is_live());
            if own.count() > MOST {
                let help = format!("a project registers at most {MOST} dependents: delete those that are gone");
                refuse(key, Refusal::Argument { argument: "name", invalid: Invalid::constraint(help) });
            }
        }
    }
}

/// A deleted load balancer is neither named nor held anew: what holds it makes it forward, which only an undelete may. A
/// recovery may name what is gone, and holds it no more than others.
fn too_late(case: &Case<'_>, before: Option<&Dependent>, after: &Dependent) -> Option<(&'static str, Invalid)> {
    let was_named = |lb| before.is_some_and(|before| before.lbs.contains(lb));
    let holds_anew = |lb| after.holds() && !(was_named(lb) && before.is_some_and(Dependent::holds));
    let is_too_late = |lb: &LbId| match case.proposed.is_recovery {
        true => holds_anew(*lb) && case.after.is_held(*lb),
        false => holds_anew(*lb) || !was_named(*lb),
    };
    let is_gone = |lb: &LbId| case.after.lb(*lb).is_some_and(|lb| !lb.times.is_live());
    let lb = after.lbs.iter().filter(is_gone).find(is_too_late)?;
    let argument = if was_named(lb) { "finalizer" } else { "lb_ids" };
    let help = format!(
        "the load balancer {lb} is deleted, and no dependent begins to hold it now: undelete it first (POST \
         /lbs/{lb}/undelete; `snowshed lb undelete {lb}`), or leave it out"
    );
    Some((argument, Invalid::constraint(help)))
}
