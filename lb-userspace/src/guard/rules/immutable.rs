//! What a resource is, whose it is and where it belongs never changes.

use super::{Case, Refusal, Sink};
use crate::model::{Document, Invalid};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for change in case.changes() {
        let Some(before) = &change.before else { continue };
        let changed: &[(&str, bool)] = &match (before, &change.after) {
            (Document::Ip(before), Document::Ip(after)) => {
                [("project_id", before.owner != after.owner), ("ip_address", before.address != after.address)]
            }
            (Document::Lb(before), Document::Lb(after)) => {
                [("project_id", before.owner != after.owner), ("lb_id", before.id != after.id)]
            }
            (Document::Measure(before), Document::Measure(after)) => {
                [("id", before.id != after.id), ("by", before.by != after.by)]
            }
            (Document::Frontend(before), Document::Frontend(after)) => {
                [("lb_id", before.lb != after.lb), ("frontend_id", before.id != after.id)]
            }
            (Document::Backend(before), Document::Backend(after)) => {
                [("lb_id", before.lb != after.lb), ("backend_id", before.id != after.id)]
            }
            (Document::Acl(before), Document::Acl(after)) => [
                ("frontend_id", (before.lb, before.frontend) != (after.lb, after.frontend)),
                ("acl_id", before.id != after.id),
            ],
            (Document::Subscriber(before), Document::Subscriber(after)) => {
                [("project_id", before.owner != after.owner), ("subscriber_id", before.id != after.id)]
            }
            (Document::Organization(_), Document::Organization(_)) => continue,
            (Document::Project(before), Document::Project(after)) => {
                [("organization_id", before.owner != after.owner), ("project_id", false)]
            }
            (Document::Dependent(before), Document::Dependent(after)) => {
                [("project_id", before.owner != after.owner), ("kind", before.kind != after.kind)]
            }
            (Document::Token(before), Document::Token(after)) => {
                let of = before.reach != after.reach || before.made_by != after.made_by;
                [("role", before.role != after.role), ("project_id", of)]
            }
            _ => [("id", true), ("id", false)],
        };
        for (argument, _) in changed.iter().filter(|(_, changed)| *changed) {
            let help = format!("`{argument}` of {} never changes: make a new one instead", before.key());
            refuse(change.key(), Refusal::Argument { argument, invalid: Invalid::constraint(help) });
        }
    }
}
