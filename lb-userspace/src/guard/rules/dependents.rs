//! A dependent names load balancers of its own project, and a project registers no more than so many.

use super::{Case, Refusal, Sink};
use crate::model::{Document, Invalid};

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
        if change.before.is_none() {
            let own = case.after.dependents().filter(|it| it.owner == dependent.owner && it.times.is_live());
            if own.count() > MOST {
                let help = format!("a project registers at most {MOST} dependents: delete those that are gone");
                refuse(key, Refusal::Argument { argument: "name", invalid: Invalid::constraint(help) });
            }
        }
    }
}
