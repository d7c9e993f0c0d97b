//! A load balancer with live traffic is not deleted by a plain request.

use super::{Case, Refusal, Sink, lb_key};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for lb in case.deleted_lbs() {
        if let Some(rate) = case.proposed.traffic.get(&lb.id).filter(|rate| rate.is_live()) {
            refuse(lb_key(lb.id), Refusal::Traffic { rate: *rate });
        }
    }
}
