//! No more is taken out of service within a window than the budget of its place allows, without an approved plan.

use super::{Case, Refusal, Sink, lb_key};
use crate::ledger::{by_owner, exceeded};
use crate::model::Plan;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    let plan = case.proposed.plan.and_then(|id| case.current.measure(id)).and_then(|measure| measure.plan());
    if plan.is_some_and(Plan::is_approved) {
        return;
    }
    let removed = case.removed();
    let Some(first) = removed.first() else { return };
    let counts = by_owner(case.current, &removed);
    if let Some(exceeded) = exceeded(case.current, &case.actor.id(), &counts, case.proposed.at) {
        refuse(lb_key(*first), Refusal::Budget { exceeded: Box::new(exceeded) });
    }
}
