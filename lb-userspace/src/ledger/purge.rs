//! What the engine lets be purged: only what was deleted before the purge was announced, only a day after that, only
//! so much, and nothing that a dependent holds.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Change, Proposal, Snapshot};
use crate::model::{Dependent, Document, DocumentKey, Kind, LbId, Measure, Purge};

/// How many deleted documents may be purged. What belongs to a deleted load balancer goes with it and does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The window, ending now.
    pub window: SignedDuration,
    /// By one operation.
    pub per_operation: usize,
    /// In the zone within the window.
    pub per_zone: usize,
}

/// The budget of the engine: an avalanche of 1574 takes most of a day to leave. The trigger of the SQLite file holds the
/// same number of an operation.
pub const BUDGET: Budget = Budget { window: SignedDuration::from_hours(1), per_operation: 100, per_zone: 200 };

/// How many deleted documents changes purge: what goes with a load balancer or a frontend does not count.
pub(crate) fn count(changes: &[Change]) -> usize {
    let purged: BTreeSet<DocumentKey> = changes.iter().filter(|change| change.purges()).map(Change::key).collect();
    let goes_with = |document: &Document| {
        let lb = document.lb().is_some_and(|lb| is_purged(&purged, lb));
        match document {
            Document::Lb(_) => false,
            Document::Acl(acl) => {
                lb || purged.contains(&DocumentKey { kind: Kind::Frontend, id: acl.frontend.as_uuid() })
            }
            _ => lb,
        }
    };
    changes.iter().filter(|change| change.purges() && !goes_with(&change.after)).count()
}

/// Since when a document is gone: it was deleted, or what it belongs to was.
#[must_use]
pub fn gone_since(current: &Snapshot, document: &Document) -> Option<Timestamp> {
    let of_lb = match document {
        Document::Frontend(_) | Document::Backend(_) | Document::Acl(_) => {
            document.lb().and_then(|lb| current.lb(lb)).and_then(|lb| lb.times.deleted_at)
        }
        _ => None,
    };
    let of_frontend = match document {
        Document::Acl(acl) => current.frontend(acl.frontend).and_then(|frontend| frontend.times.deleted_at),
        _ => None,
    };
    [document.times().deleted_at, of_frontend, of_lb].into_iter().flatten().min()
}

/// Why a purge that waits must not be carried out any more, if it must not.
#[must_use]
pub fn spoilt(current: &Snapshot, measure: &Measure, purge: &Purge) -> Option<String> {
    purge.documents.iter().find_map(|key| {
        let Some(document) = current.document(*key) else { return Some(format!("{key} is not there any more")) };
        match gone_since(current, &document) {
            None => return Some(format!("{key} was brought back")),
            Some(at) if at >= measure.times.created_at => return Some(format!("{key} was deleted anew since")),
            Some(_) => {}
        }
        let Document::Lb(lb) = &document else { return None };
        let holder = current.holders_of(lb.id).next()?;
        Some(format!("the dependent {} ({}) holds load balancer {}", holder.id, holder.name, lb.id))
    })
}

/// Checks a purge that is announced.
pub(super) fn check_new(proposal: &Proposal, measure: &Measure, purge: &Purge) -> Result<(), String> {
    let id = measure.id;
    if proposal.actor.token.is_some() {
        return Err(format!("the purge {id} is announced by a token: only the agent purges"));
    }
    if purge.documents.is_empty() || purge.applied_at.is_some() {
        return Err(format!("the purge {id} is of nothing, or carried out before it is announced"));
    }
    let after = |time: SignedDuration| proposal.at.checked_add(time).unwrap_or(Timestamp::MAX);
    if measure.times.created_at != proposal.at || purge.not_before < after(Purge::STANDS) {
        return Err(format!("the purge {id} stands for less than {} hours", Purge::STANDS.as_hours()));
    }
    if measure.expires_at.is_none_or(|end| end > after(Purge::KEEPS)) {
        return Err(format!("the purge {id} keeps for more than {} hours", Purge::KEEPS.as_hours()));
    }
    Ok(())
}

/// Checks the operation that carries a purge out.
pub(super) fn check(current: &Snapshot, proposal: &Proposal, measure: &Measure, purge: &Purge) -> Result<(), String> {
    let (id, at) = (measure.id, proposal.at);
    if proposal.verb != Purge::VERB || proposal.actor.token.is_some() {
        return Err(format!("the purge {id} is carried out by the agent only, as `{}`", Purge::VERB));
    }
    let stood = measure.times.created_at.checked_add(Purge::STANDS).unwrap_or(Timestamp::MAX);
    if !measure.is_in_force(at) || purge.applied_at.is_some() {
        return Err(format!("the purge {id} has expired or was carried out"));
    }
    if at < purge.not_before || at < stood {
        return Err(format!("the purge {id} is not carried out before {}", purge.not_before.max(stood)));
    }
    if let Some(why) = spoilt(current, measure, purge) {
        return Err(format!("the purge {id} is stale: {why}"));
    }
    let purged: BTreeSet<DocumentKey> =
        proposal.changes.iter().filter(|change| change.purges()).map(Change::key).collect();
    if purged != purge.documents {
        return Err(format!("it is not exactly what the purge {id} announced"));
    }
    let mut notes_it = false;
    for change in &proposal.changes {
        match &change.after {
            Document::Measure(after) if after.id == id => notes_it = true,
            after if change.purges() && after.times().purged_at == Some(at) => {}
            _ if lets_go(change, &purged) => {}
            _ => return Err(format!("{} is not in the purge {id}", change.key())),
        }
    }
    if !notes_it {
        return Err(format!("it does not note that the purge {id} is carried out"));
    }
    leaves_nothing_behind(current, proposal, &purged)?;
    check_budget(current, proposal)
}

fn is_purged(purged: &BTreeSet<DocumentKey>, lb: LbId) -> bool {
    purged.contains(&DocumentKey { kind: Kind::Lb, id: lb.as_uuid() })
}

/// What stays of somebody's is not tied to a purged load balancer any more: its address is free, and what depended on it
/// depends on the others.
fn lets_go(change: &Change, purged: &BTreeSet<DocumentKey>) -> bool {
    match (&change.before, &change.after) {
        (Some(Document::Ip(before)), Document::Ip(after)) => {
            let expected = crate::model::Ip { lb: None, times: after.times, ..before.clone() };
            before.lb.is_some_and(|lb| is_purged(purged, lb)) && *after == expected && after.times.is_live()
        }
        (Some(Document::Dependent(before)), Document::Dependent(after)) => {
            let mut left: BTreeSet<LbId> = before.lbs.iter().filter(|lb| !is_purged(purged, *lb)).collect();
            if left.is_empty() {
                left = before.lbs.iter().collect();
            }
            let expected = Dependent { lbs: after.lbs.clone(), times: after.times, ..before.clone() };
            *after == expected
                && after.lbs.iter().collect::<BTreeSet<_>>() == left
                && (after.times.is_live() || before.lbs.iter().all(|lb| is_purged(purged, lb)))
        }
        _ => false,
    }
}

fn leaves_nothing_behind(
    current: &Snapshot,
    proposal: &Proposal,
    purged: &BTreeSet<DocumentKey>,
) -> Result<(), String> {
    let documents = proposal.changes.iter().map(|change| &change.after);
    let after = current.after(current.generation(), current.head(), documents);
    for key in purged {
        let left = match key.kind {
            Kind::Lb => {
                let lb = LbId::from_uuid(key.id);
                after.frontends_of(lb).count()
                    + after.backends_of(lb).count()
                    + after.ips_of(lb).count()
                    + after.dependents_of(lb).count()
            }
            Kind::Frontend => after.acls_of(crate::model::FrontendId::from_uuid(key.id)).count(),
            Kind::Backend => after.frontends_with(crate::model::BackendId::from_uuid(key.id)).count(),
            _ => 0,
        };
        if left > 0 {
            return Err(format!("it purges {key} and leaves {left} documents behind that belong to it"));
        }
    }
    Ok(())
}

fn check_budget(current: &Snapshot, proposal: &Proposal) -> Result<(), String> {
    let wanted = count(&proposal.changes);
    let since = proposal.at.checked_sub(BUDGET.window).unwrap_or(Timestamp::MIN);
    let used = current.purged_since(since);
    if wanted > BUDGET.per_operation || used + wanted > BUDGET.per_zone {
        return Err(format!(
            "{wanted} deleted documents would be purged, {used} were in the last {} minutes, and {} at once and {} in \
             the zone are allowed",
            BUDGET.window.as_mins(),
            BUDGET.per_operation,
            BUDGET.per_zone
        ));
    }
    Ok(())
}
