//! No more is taken out of service within a window than the budget of its place allows, without an approved plan.

use super::{Case, Refusal, Sink, lb_key};
use crate::ledger::{Account, by_owner, exceeded};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    if case.is_approved() {
        return;
    }
    let removed = case.removed();
    let Some(first) = removed.first() else { return };
    let counts = by_owner(case.current, &removed);
    let account = Account::of(&case.proposed.changes);
    if let Some(exceeded) = exceeded(case.current, &case.actor.id(), account, &counts, case.proposed.at) {
        refuse(lb_key(*first), Refusal::Budget { exceeded: Box::new(exceeded) });
    }
}
