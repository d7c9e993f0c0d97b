//! What something else uses is neither deleted nor taken away.

use super::{Case, Refusal, Sink};
use crate::model::{Document, Ip, LbId};

/// Load balancers that a refusal names.
const NAMED: usize = 5;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for change in case.changes() {
        let deleted = !change.after.times().is_live();
        match (&change.before, &change.after) {
            (Some(Document::Backend(_)), Document::Backend(backend)) if deleted => {
                let users: Vec<String> = case
                    .after
                    .frontends_with(backend.id)
                    .filter(|frontend| frontend.times.is_live())
                    .map(|frontend| format!("{} ({})", frontend.id, frontend.name))
                    .collect();
                if !users.is_empty() {
                    let help = format!("used by frontend {}: delete or change that first", users.join(", "));
                    refuse(change.key(), Refusal::InUse { help });
                }
            }
            (Some(Document::Subscriber(_)), Document::Subscriber(subscriber)) if deleted => {
                let of_project = case.after.lbs_in(subscriber.owner.project);
                let told: Vec<String> = of_project
                    .filter(|lb| lb.times.is_live() && lb.subscriber == Some(subscriber.id))
                    .take(NAMED)
                    .map(|lb| format!("{} ({})", lb.id, lb.name))
                    .collect();
                if !told.is_empty() {
                    let lbs = told.join(", ");
                    let help = format!(
                        "it is told of load balancer {lbs}: unsubscribe that first (DELETE /lb/{{lb_id}}/unsubscribe; \
                         `snowshed subscriber unsubscribe`)"
                    );
                    refuse(change.key(), Refusal::InUse { help });
                }
            }
            (Some(Document::Ip(before)), Document::Ip(after)) => {
                if let Some(help) = taken_away(case, before, after) {
                    refuse(change.key(), Refusal::InUse { help });
                }
            }
            _ => {}
        }
    }
}

/// An IP leaves its load balancer by being detached, or together with it.
fn taken_away(case: &Case<'_>, before: &Ip, after: &Ip) -> Option<String> {
    let lb = before.lb?;
    let deleted = !after.times.is_live();
    let moved = after.lb.is_some() && after.lb != Some(lb);
    if !deleted && !moved {
        return None;
    }
    let goes_too = case.is_changed(super::lb_key(lb)) && is_deleted(case, lb);
    if deleted && goes_too {
        return None;
    }
    let state =
        if is_deleted(case, lb) { "reserved for the deleted load balancer" } else { "attached to load balancer" };
    Some(format!(
        "{} is {state} {lb}: detach it first (PATCH /ips/{} with {{\"lb_id\": null}}; `snowshed ip update --detach`)",
        before.address, before.id
    ))
}

fn is_deleted(case: &Case<'_>, lb: LbId) -> bool {
    case.after.lb(lb).is_some_and(|lb| !lb.times.is_live())
}
