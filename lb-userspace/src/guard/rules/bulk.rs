//! More than one load balancer is taken out of service by a plan only: first said, then done. A quarantine says what it is
//! about by itself, and is lifted as fast as it came: it takes a plan where it would take a second person.

use super::{Case, Refusal, Sink, lb_key};
use crate::ledger::Account;
use crate::model::Plan;

/// Load balancers that one call may take out of service without a plan.
const ALONE: usize = 1;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    if case.proposed.plan.is_some() || case.proposed.is_recovery {
        return;
    }
    let (removed, account) = (case.removed(), Account::of(&case.proposed.changes));
    let most = match account {
        Account::Removals => ALONE,
        Account::Quarantines => Plan::ALONE,
    };
    if let Some(first) = removed.first().filter(|_| removed.len() > most) {
        refuse(lb_key(*first), Refusal::PlanNeeded { count: removed.len(), account });
    }
}
