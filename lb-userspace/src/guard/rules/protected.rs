//! A protected load balancer is not deleted.

use super::{Case, Refusal, Sink, lb_key};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for lb in case.deleted_lbs().filter(|lb| lb.protected) {
        refuse(lb_key(lb.id), Refusal::Protected);
    }
}
