//! Every change lies in the scope, and the scope in the actor's project.

use super::{Case, Refusal, Sink};
use crate::ledger::check_scope;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    if let Err((key, what)) = check_scope(case.current, case.actor, &case.proposed.scope, &case.proposed.changes) {
        refuse(key, Refusal::OutOfScope { what });
    }
}
