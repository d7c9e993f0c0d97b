//! What is deleted is not changed, and nothing is added to or changed below a deleted load balancer. Only a recovery
//! lets what is deleted live again, and changes what belongs to it.

use super::{Case, Refusal, Sink, lb_key, lb_of};
use crate::model::Document;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    if case.proposed.is_recovery {
        return;
    }
    for change in case.changes() {
        let key = change.key();
        if change.before.as_ref().is_some_and(|before| !before.times().is_live()) {
            refuse(key, Refusal::Deleted { key });
            continue;
        }
        // An IP that only stays with its deleted load balancer may be changed or taken away from it.
        let attaches = |lb| match &change.before {
            Some(Document::Ip(before)) => before.lb != Some(lb),
            _ => true,
        };
        if let Some(lb) = lb_of(&change.after)
            && attaches(lb)
            && case.current.lb(lb).is_some_and(|lb| !lb.times.is_live())
        {
            refuse(key, Refusal::Deleted { key: lb_key(lb) });
        }
    }
}
