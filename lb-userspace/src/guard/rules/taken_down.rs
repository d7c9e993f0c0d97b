//! What Trust & Safety removed is brought back by Trust & Safety or an operator, and by nobody else.

use super::{Case, Refusal, Sink, lb_key};
use crate::ledger::takedown;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    if let Some((lb, takedown)) = takedown(case.actor, &case.proposed.changes) {
        refuse(lb_key(lb), Refusal::TakenDown { takedown });
    }
}
