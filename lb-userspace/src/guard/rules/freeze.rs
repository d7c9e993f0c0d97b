//! Read-only mode: nothing is changed where a freeze is in force. Measures against harm are, and so are its ends.

use super::{Case, Refusal, Sink};
use crate::ledger::frozen;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    let proposed = case.proposed;
    let (scope, changes) = (&proposed.scope, &proposed.changes);
    let Some(first) = changes.first() else { return };
    let (actor, is_approved) = (case.actor, case.is_approved());
    if let Some(freeze) = frozen(case.current, actor, &proposed.verb, scope, changes, is_approved, proposed.at) {
        refuse(first.key(), Refusal::Frozen { freeze: Box::new(freeze) });
    }
}
