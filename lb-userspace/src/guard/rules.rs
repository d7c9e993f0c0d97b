//! The rules, one file each.

use std::collections::BTreeSet;

use super::{Limits, Proposed, Refusal};
use crate::ledger::{Change, Snapshot};
use crate::model::{Actor, Document, DocumentKey, Kind, Lb, LbId, Plan, Pools};

mod addresses;
mod attachment;
mod budget;
mod bulk;
mod dependents;
mod families;
mod freeze;
mod immutable;
mod in_use;
mod live;
mod ports;
mod protected;
mod purge;
mod quarantine;
mod quic;
mod quotas;
mod rates;
mod references;
mod scope;
mod servers;
mod taken_down;
mod traffic;

/// What every rule sees.
pub(super) struct Case<'a> {
    pub(super) current: &'a Snapshot,
    /// The state if the change were made.
    pub(super) after: &'a Snapshot,
    pub(super) proposed: &'a Proposed,
    pub(super) actor: &'a Actor,
    pub(super) limits: &'a Limits,
    pub(super) pools: &'a Pools,
}

/// Takes what a rule finds.
pub(super) type Sink<'a> = dyn FnMut(DocumentKey, Refusal) + 'a;

type Rule = fn(&Case<'_>, &mut Sink<'_>);

/// Every rule, in the order of their reports: whose it is, whether it is there, whether it fits, whether it is too much.
pub(super) const ALL: [(&str, Rule); 22] = [
    ("scope", scope::check),
    ("freeze", freeze::check),
    ("taken_down", taken_down::check),
    ("quarantine", quarantine::check),
    ("purge", purge::check),
    ("live", live::check),
    ("immutable", immutable::check),
    ("references", references::check),
    ("dependents", dependents::check),
    ("in_use", in_use::check),
    ("protected", protected::check),
    ("traffic", traffic::check),
    ("addresses", addresses::check),
    ("attachment", attachment::check),
    ("ports", ports::check),
    ("families", families::check),
    ("servers", servers::check),
    ("quic", quic::check),
    ("rates", rates::check),
    ("quotas", quotas::check),
    ("bulk", bulk::check),
    ("budget", budget::check),
];

impl<'a> Case<'a> {
    fn changes(&self) -> impl Iterator<Item = &'a Change> {
        self.proposed.changes.iter()
    }

    /// Documents that are not deleted by the change.
    fn live(&self) -> impl Iterator<Item = &'a Document> {
        self.changes().map(|change| &change.after).filter(|document| document.times().is_live())
    }

    /// Load balancers that the change touches and that are not deleted after it.
    fn live_lbs(&self) -> impl Iterator<Item = &'a Lb> {
        let ids: BTreeSet<LbId> = self.changes().filter_map(|change| lb_of(&change.after)).collect();
        ids.into_iter().filter_map(|id| self.after.lb(id)).map(AsRef::as_ref).filter(|lb| lb.times.is_live())
    }

    /// Load balancers that the change deletes.
    fn deleted_lbs(&self) -> impl Iterator<Item = &'a Lb> {
        self.changes().filter_map(|change| match (&change.before, &change.after) {
            (Some(Document::Lb(before)), Document::Lb(after)) if before.times.is_live() && !after.times.is_live() => {
                Some(before)
            }
            _ => None,
        })
    }

    /// Load balancers that the change takes out of service.
    fn removed(&self) -> BTreeSet<LbId> {
        crate::ledger::removed(self.current, self.after, &self.proposed.changes)
    }

    /// Whether a plan stands behind it that a second person approved.
    fn is_approved(&self) -> bool {
        let plan = self.proposed.plan.and_then(|id| self.current.measure(id)).and_then(|measure| measure.plan());
        plan.is_some_and(Plan::is_approved)
    }

    fn is_changed(&self, key: DocumentKey) -> bool {
        self.changes().any(|change| change.key() == key)
    }
}

/// The load balancer that a document is or belongs to.
const fn lb_of(document: &Document) -> Option<LbId> {
    match document {
        Document::Ip(ip) => ip.lb,
        Document::Lb(lb) => Some(lb.id),
        Document::Measure(_) => None,
        Document::Frontend(frontend) => Some(frontend.lb),
        Document::Backend(backend) => Some(backend.lb),
        Document::Acl(acl) => Some(acl.lb),
        Document::NatSource(_)
        | Document::Organization(_)
        | Document::Project(_)
        | Document::Token(_)
        | Document::Subscriber(_)
        | Document::Dependent(_) => None,
    }
}

const fn lb_key(lb: LbId) -> DocumentKey {
    DocumentKey { kind: Kind::Lb, id: lb.as_uuid() }
}
