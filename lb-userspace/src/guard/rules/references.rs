//! What a resource refers to exists, is not deleted, and belongs to the same load balancer and owner.

use super::{Case, Refusal, Sink};
use crate::ledger::Change;
use crate::model::{Document, Invalid, LbId, Owner, SubscriberId};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for change in case.changes() {
        let document = &change.after;
        if !document.times().is_live() {
            continue;
        }
        let key = document.key();
        let mut wrong = |argument, help: String| {
            refuse(key, Refusal::Argument { argument, invalid: Invalid::constraint(help) });
        };
        match document {
            Document::Lb(lb) => {
                if let Some(id) = named_anew(change)
                    && !case.after.subscriber(id).is_some_and(|found| found.times.is_live() && found.owner == lb.owner)
                {
                    let help = format!("there is no subscriber {id} in the project of this load balancer");
                    wrong("subscriber_id", help);
                }
            }
            Document::Subscriber(_)
            | Document::Measure(_)
            | Document::NatSource(_)
            | Document::Dependent(_)
            | Document::Organization(_)
            | Document::Project(_)
            | Document::Token(_) => {}
            Document::Ip(ip) => {
                if let Some(lb) = ip.lb
                    && !exists(case, lb, Some(ip.owner))
                {
                    wrong("lb_id", format!("there is no load balancer {lb} in the project of this IP"));
                }
            }
            Document::Backend(backend) => {
                if !exists(case, backend.lb, None) {
                    wrong("lb_id", format!("there is no load balancer {}", backend.lb));
                }
            }
            Document::Acl(acl) => {
                let frontend = case.after.frontend(acl.frontend);
                if !frontend.is_some_and(|frontend| frontend.times.is_live() && frontend.lb == acl.lb) {
                    wrong("frontend_id", format!("there is no frontend {}", acl.frontend));
                }
            }
            Document::Frontend(frontend) => {
                if !exists(case, frontend.lb, None) {
                    wrong("lb_id", format!("there is no load balancer {}", frontend.lb));
                }
                let backend = case.after.backend(frontend.backend);
                if !backend.is_some_and(|backend| backend.times.is_live() && backend.lb == frontend.lb) {
                    wrong(
                        "backend_id",
                        format!(
                            "there is no backend {} in this load balancer: a frontend takes one of its own load balancer",
                            frontend.backend
                        ),
                    );
                }
            }
        }
    }
}

/// The subscriber that a change makes a load balancer name. One that was deleted since it was named may stay named: it is
/// told nothing, and the load balancer that comes back is what it was.
fn named_anew(change: &Change) -> Option<SubscriberId> {
    let of = |document: &Document| match document {
        Document::Lb(lb) => lb.subscriber,
        _ => None,
    };
    of(&change.after).filter(|after| change.before.as_ref().and_then(of) != Some(*after))
}

/// Whether it is deleted is another rule's.
fn exists(case: &Case<'_>, lb: LbId, owner: Option<Owner>) -> bool {
    case.after.lb(lb).is_some_and(|lb| owner.is_none_or(|owner| lb.owner == owner))
}
