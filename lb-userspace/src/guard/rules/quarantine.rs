//! The addresses of a quarantined load balancer stay with it: elsewhere they would serve again.

use super::{Case, Refusal, Sink};
use crate::ledger::escape;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    if let Some((lb, key)) = escape(case.current, case.actor, &case.proposed.changes) {
        refuse(key, Refusal::Quarantined { lb });
    }
}
