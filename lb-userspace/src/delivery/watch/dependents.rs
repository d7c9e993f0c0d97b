//! What dependents are told of their load balancers: that a removal is planned or asked for, is done, is taken back, and that
//! nothing can be brought back any more. Whoever is told so in time does not take a healthy node for a dead one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Stand;
use crate::delivery::{Address, Recipient, RecipientKind};
use crate::ledger::Snapshot;
use crate::model::{Action, Dependent, DependentId, Lb, LbId, Measure};

/// What was told to whom.
type Told = BTreeMap<(Recipient, String), String>;

/// State of a load balancer that was purged, as told.
const PURGED: &str = "purged";

/// How the load balancers of every dependent with a webhook stand.
pub(super) fn stands(snapshot: &Snapshot, told: &Told, now: Timestamp) -> Vec<Stand> {
    let mut stands = Vec::new();
    let told_ones = || told.keys().any(|(to, _)| to.kind == RecipientKind::Dependent);
    let has_webhook = |one: &Dependent| one.webhook.is_some();
    if !snapshot.dependents().any(|one| has_webhook(one)) && !told_ones() {
        return stands;
    }
    let announced = Announced::of(snapshot, now);
    for one in snapshot.dependents().filter(|one| one.times.is_live()) {
        let Some(address) = address(one) else { continue };
        for lb in one.lbs.iter().filter_map(|lb| snapshot.lb(lb)) {
            stands.push(announced.stand(snapshot, one, &address, lb));
        }
    }
    stands.extend(purged(snapshot, told));
    stands
}

/// Dependents that their owner removed: nothing that waits is sent to them any more. One that left with its last load
/// balancer is still told so.
pub(super) fn gone(snapshot: &Snapshot, told: &Told) -> BTreeSet<Recipient> {
    let recipients: BTreeSet<Recipient> =
        told.keys().map(|(to, _)| *to).filter(|to| to.kind == RecipientKind::Dependent).collect();
    let is_gone = |to: &Recipient| match snapshot.dependent(DependentId::from_uuid(to.id)) {
        None => true,
        Some(one) => !one.times.is_live() && one.lbs.iter().all(|lb| snapshot.lb(lb).is_some()),
    };
    recipients.into_iter().filter(is_gone).collect()
}

fn address(one: &Dependent) -> Option<Address> {
    one.webhook.as_ref().map(|webhook| Address::Webhook { uri: webhook.as_str().to_owned() })
}

fn subject(lb: LbId) -> String {
    format!("lb {lb}")
}

/// Load balancers that were told of and are purged since.
fn purged(snapshot: &Snapshot, told: &Told) -> Vec<Stand> {
    let gone = told.iter().filter_map(|((to, subject), state)| {
        let lb: LbId = subject.strip_prefix("lb ")?.parse().ok().map(LbId::from_uuid)?;
        let is_new = to.kind == RecipientKind::Dependent && state != PURGED && snapshot.lb(lb).is_none();
        let one = snapshot.dependent(DependentId::from_uuid(to.id)).filter(|_| is_new)?;
        let message =
            format!("load balancer {lb} is purged: it cannot be brought back, and its addresses may be others'");
        let about = About { one, lb, name: None };
        Some(about.stand(&address(one)?, PURGED.to_owned(), "lb.purged", message, json!({})))
    });
    gone.collect()
}

/// What waits to be done to load balancers.
struct Announced<'a> {
    plans: BTreeMap<LbId, &'a Measure>,
    purges: BTreeMap<LbId, &'a Measure>,
}

impl<'a> Announced<'a> {
    fn of(snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let (mut plans, mut purges) = (BTreeMap::new(), BTreeMap::new());
        for measure in snapshot.measures().filter(|measure| measure.is_in_force(now)) {
            if let Some(plan) = measure.plan().filter(|plan| plan.applied_at.is_none())
                && matches!(plan.action, Action::Delete | Action::Quarantine)
            {
                plans.extend(plan.subjects.keys().map(|lb| (*lb, &**measure)));
            }
            if let Some(purge) = measure.purge().filter(|purge| purge.applied_at.is_none()) {
                let lbs = purge.documents.iter().filter(|key| key.kind == crate::model::Kind::Lb);
                purges.extend(lbs.map(|key| (LbId::from_uuid(key.id), &**measure)));
            }
        }
        Self { plans, purges }
    }

    fn stand(&self, snapshot: &Snapshot, one: &Dependent, address: &Address, lb: &Lb) -> Stand {
        let about = About { one, lb: lb.id, name: Some(lb.name.as_str()) };
        let name = &lb.name;
        if !lb.times.is_live() {
            return self.of_deleted(&about, address, lb);
        }
        if snapshot.is_quarantined(lb) {
            let message = format!("load balancer {name} is quarantined: it forwards nothing on purpose");
            return about.stand(address, "quarantined".to_owned(), "lb.quarantined", message, json!({}));
        }
        if let Some((measure, plan)) =
            self.plans.get(&lb.id).and_then(|measure| measure.plan().map(|plan| (measure, plan)))
        {
            let (kind, what) = match plan.action {
                Action::Delete => ("lb.deletion_planned", "deleted"),
                _ => ("lb.quarantine_planned", "quarantined"),
            };
            let message = format!("load balancer {name} is going to be {what}: {}", measure.reason.as_str());
            let more = json!({ "plan_id": measure.id, "by": measure.by.name, "expires_at": measure.expires_at });
            return about.stand(address, format!("planned {}", measure.id), kind, message, more);
        }
        let message = format!("load balancer {name} is in service");
        let stand = about.stand(address, "ready".to_owned(), "lb.ready", message, json!({}));
        Stand { is_good: true, ..stand }
    }

    fn of_deleted(&self, about: &About<'_>, address: &Address, lb: &Lb) -> Stand {
        let name = &lb.name;
        let at = json!({ "deleted_at": lb.times.deleted_at });
        if about.one.holds() {
            let message = format!("load balancer {name} is deleted and forwards on until you let it go");
            return about.stand(address, "deletion_requested".to_owned(), "lb.deletion_requested", message, at);
        }
        if let Some(measure) = self.purges.get(&lb.id) {
            let not_before = measure.purge().map(|purge| purge.not_before);
            let message =
                format!("load balancer {name} is deleted, and is going to be purged: then nothing brings it back");
            let more = json!({ "purge_id": measure.id, "not_before": not_before });
            return about.stand(address, format!("purge {}", measure.id), "lb.purge_planned", message, more);
        }
        let message = format!("load balancer {name} is deleted; until it is purged it can be brought back");
        about.stand(address, "deleted".to_owned(), "lb.deleted", message, at)
    }
}

/// A dependent and one of its load balancers.
struct About<'a> {
    one: &'a Dependent,
    lb: LbId,
    /// Absent when it is purged.
    name: Option<&'a str>,
}

impl About<'_> {
    /// A stand that is no good news. Its data say whether to act on what is seen through the load balancer.
    fn stand(&self, address: &Address, state: String, kind: &'static str, message: String, more: Value) -> Stand {
        let Self { one, lb, name } = self;
        let mut data = json!({
            "lb_id": lb, "name": name, "status": kind.strip_prefix("lb."), "safe": kind == "lb.ready",
            "dependent": { "id": one.id, "kind": one.kind, "name": one.name.as_str() },
        });
        if one.holds() && kind == "lb.deletion_requested" {
            data["release"] = json!(format!("POST /snowshed/v1/dependents/{}/release", one.id));
        }
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
            data.extend(more);
        }
        Stand {
            to: one.recipient(),
            address: address.clone(),
            owner: Some(one.owner),
            lb: Some(*lb),
            subject: subject(*lb),
            state: Some(state),
            is_good: false,
            kind,
            message,
            data,
        }
    }
}
