//! More than one load balancer is taken out of service by a plan only: first said, then done.

use super::{Case, Refusal, Sink, lb_key};

/// Load balancers that one call may take out of service without a plan.
const ALONE: usize = 1;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    if case.proposed.plan.is_some() || case.proposed.is_recovery {
        return;
    }
    let removed = case.removed();
    // A quarantine of a place says what it is about by itself, and is lifted as fast as it came.
    let is_measure = case.changes().all(|change| matches!(change.after, crate::model::Document::Measure(_)));
    if let Some(first) = removed.first().filter(|_| removed.len() > ALONE && !is_measure) {
        refuse(lb_key(*first), Refusal::PlanNeeded { count: removed.len() });
    }
}
