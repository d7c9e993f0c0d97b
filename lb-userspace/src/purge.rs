//! Purging: what is deleted for longer than it can be brought back leaves the ledger's snapshot, and its addresses are free
//! again. Announced a day before, a bounded number at a time, refused while frozen, stale as soon as somebody brings one of
//! them back. The log itself forgets nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::ledger::purge::{BUDGET, count, spoilt};
use crate::ledger::{Change, Ledger, LedgerError, Operation, Proposal, Snapshot};
use crate::model::{
    Actor, Dependent, Document, DocumentKey, Ip, Kind, LbId, LbSet, Measure, MeasureId, Owner, Person, Purge, Reason,
    Scope, Times, What,
};

/// Most documents of one purge; one more load balancer may exceed it.
const MOST_DOCUMENTS: usize = 20_000;
/// Whose name it is done in.
const PURGER: &str = "purge";

/// What one look did.
#[derive(Debug, Default)]
pub struct Looked {
    /// Purges that were announced, carried out or called off.
    pub operations: Vec<std::sync::Arc<Operation>>,
    /// Purges whose time has come and that the ledger refused: they are tried again until they expire.
    pub refused: Vec<(MeasureId, LedgerError)>,
}

/// Calls off purges that are stale, carries out those whose time has come, and announces what can be purged a day from
/// now. `is_held`: an edge holds services against the ledger, so nothing is carried out.
///
/// # Errors
/// What the ledger answers to an announcement or a calling off.
pub fn look(
    ledger: &dyn Ledger,
    retention: SignedDuration,
    is_held: bool,
    now: Timestamp,
) -> Result<Looked, LedgerError> {
    let mut looked = Looked::default();
    for (measure, purge) in waiting(&ledger.snapshot(), now) {
        let snapshot = ledger.snapshot();
        if let Some(why) = spoilt(&snapshot, &measure, &purge) {
            looked.operations.push(ledger.append(called_off(&snapshot, &measure, &why, now))?);
        } else if now >= purge.not_before && !is_held {
            let proposal = carried_out(&snapshot, &measure, &purge, now);
            if has_room(&snapshot, &proposal.changes, now) {
                match ledger.append(proposal) {
                    Ok(operation) => looked.operations.push(operation),
                    Err(error) => looked.refused.push((measure.id, error)),
                }
            }
        }
    }
    for purge in due(&ledger.snapshot(), retention, now) {
        looked.operations.push(ledger.append(announced(&ledger.snapshot(), purge, retention, now)?)?);
    }
    Ok(looked)
}

/// Purges that were neither carried out nor called off nor have expired.
#[must_use]
pub fn waiting(snapshot: &Snapshot, now: Timestamp) -> Vec<(Measure, Purge)> {
    let waits = |measure: &Measure| {
        let purge = measure.purge().filter(|purge| purge.applied_at.is_none() && measure.is_in_force(now))?;
        Some((measure.clone(), purge.clone()))
    };
    snapshot.measures().filter_map(|measure| waits(measure)).collect()
}

/// Whether the budget has room; what does not fit waits.
fn has_room(snapshot: &Snapshot, changes: &[Change], now: Timestamp) -> bool {
    let since = now.checked_sub(BUDGET.window).unwrap_or(Timestamp::MIN);
    snapshot.purged_since(since) + count(changes) <= BUDGET.per_zone
}

/// What can be announced now: at most one purge of a project waits at a time.
#[must_use]
pub fn due(snapshot: &Snapshot, retention: SignedDuration, now: Timestamp) -> Vec<Purge> {
    let busy: BTreeSet<Owner> = waiting(snapshot, now).into_iter().map(|(_, purge)| purge.owner).collect();
    let Some(cutoff) = now.checked_add(Purge::STANDS).ok().and_then(|then| then.checked_sub(retention).ok()) else {
        return Vec::new();
    };
    let mut collected = Collected { busy, cutoff, by_owner: BTreeMap::new() };
    collected.lbs(snapshot);
    collected.others(snapshot);
    let not_before = now.checked_add(Purge::STANDS).unwrap_or(Timestamp::MAX);
    let purges = collected.by_owner.into_iter().map(|(owner, (_, documents))| Purge {
        owner,
        documents,
        not_before,
        applied_at: None,
    });
    purges.collect()
}

/// What is due, by owner: how many deleted ones, and all that goes with them.
struct Collected {
    busy: BTreeSet<Owner>,
    /// What was deleted until then is due.
    cutoff: Timestamp,
    by_owner: BTreeMap<Owner, (usize, BTreeSet<DocumentKey>)>,
}

impl Collected {
    fn is_due(&self, times: &Times) -> bool {
        times.deleted_at.is_some_and(|at| at <= self.cutoff)
    }

    /// Adds a deleted document and what goes with it, if there is room.
    fn add(&mut self, owner: Owner, documents: impl IntoIterator<Item = DocumentKey>) {
        if self.busy.contains(&owner) {
            return;
        }
        let (count, all) = self.by_owner.entry(owner).or_default();
        let before = all.len();
        if *count < BUDGET.per_operation && before < MOST_DOCUMENTS {
            all.extend(documents);
            *count += usize::from(all.len() > before);
        }
    }

    /// Load balancers with all that is theirs, and what was deleted of those that stay.
    fn lbs(&mut self, snapshot: &Snapshot) {
        for lb in snapshot.lbs() {
            if self.is_due(&lb.times) && !snapshot.is_held(lb.id) {
                self.add(lb.owner, whole(snapshot, lb.id));
            } else if lb.times.is_live() {
                self.parts(snapshot, lb.owner, lb.id);
            }
        }
    }

    fn parts(&mut self, snapshot: &Snapshot, owner: Owner, lb: LbId) {
        for frontend in snapshot.frontends_of(lb) {
            let acls = || snapshot.acls_of(frontend.id);
            if self.is_due(&frontend.times) {
                let acls = acls().map(|acl| key(Kind::Acl, acl.id.as_uuid()));
                self.add(owner, acls.chain([key(Kind::Frontend, frontend.id.as_uuid())]));
                continue;
            }
            for acl in acls() {
                if self.is_due(&acl.times) {
                    self.add(owner, [key(Kind::Acl, acl.id.as_uuid())]);
                }
            }
        }
        for backend in snapshot.backends_of(lb).filter(|backend| backend.times.deleted_at.is_some()) {
            // A frontend that is not purged yet still names it.
            if self.is_due(&backend.times) && snapshot.frontends_with(backend.id).next().is_none() {
                self.add(owner, [key(Kind::Backend, backend.id.as_uuid())]);
            }
        }
    }

    fn others(&mut self, snapshot: &Snapshot) {
        // One that is reserved for a deleted load balancer leaves with it.
        let is_reserved = |lb| snapshot.lb(lb).is_some_and(|lb| !lb.times.is_live());
        for ip in snapshot.ips() {
            if self.is_due(&ip.times) && !ip.lb.is_some_and(is_reserved) {
                self.add(ip.owner, [key(Kind::Ip, ip.id.as_uuid())]);
            }
        }
        for one in snapshot.subscribers() {
            if self.is_due(&one.times) {
                self.add(one.owner, [key(Kind::Subscriber, one.id.as_uuid())]);
            }
        }
        for one in snapshot.dependents() {
            if self.is_due(&one.times) {
                self.add(one.owner, [key(Kind::Dependent, one.id.as_uuid())]);
            }
        }
        for one in snapshot.nat_sources() {
            if self.is_due(&one.times) {
                self.add(Owner::EDGE, [key(Kind::NatSource, one.id.as_uuid())]);
            }
        }
    }
}

const fn key(kind: Kind, id: uuid::Uuid) -> DocumentKey {
    DocumentKey { kind, id }
}

/// A deleted load balancer, all that belongs to it, and its addresses that were deleted with it.
fn whole(snapshot: &Snapshot, lb: LbId) -> Vec<DocumentKey> {
    let mut keys = vec![key(Kind::Lb, lb.as_uuid())];
    for frontend in snapshot.frontends_of(lb) {
        keys.push(key(Kind::Frontend, frontend.id.as_uuid()));
        keys.extend(snapshot.acls_of(frontend.id).map(|acl| key(Kind::Acl, acl.id.as_uuid())));
    }
    keys.extend(snapshot.backends_of(lb).map(|backend| key(Kind::Backend, backend.id.as_uuid())));
    keys.extend(snapshot.ips_of(lb).filter(|ip| !ip.times.is_live()).map(|ip| key(Kind::Ip, ip.id.as_uuid())));
    keys
}

fn announced(
    snapshot: &Snapshot,
    purge: Purge,
    retention: SignedDuration,
    now: Timestamp,
) -> Result<Proposal, LedgerError> {
    let id = MeasureId::new();
    let days = retention.as_hours() / 24;
    let reason = format!("deleted for {days} days when it is carried out: {} documents", purge.documents.len());
    let why = Reason::try_from(reason.clone()).map_err(|invalid| LedgerError::Refused(invalid.help))?;
    let expires_at = Some(now.checked_add(Purge::KEEPS).unwrap_or(Timestamp::MAX));
    let times = Times::created(now);
    let measure = Measure { id, by: Person::agent(PURGER), reason: why, expires_at, what: What::Purge(purge), times };
    let change = Change { before: None, after: Document::Measure(measure) };
    Ok(proposal(snapshot, Scope::Measure { measure: id }, "purge.announce", reason, now, vec![change]))
}

fn called_off(snapshot: &Snapshot, measure: &Measure, why: &str, now: Timestamp) -> Proposal {
    let after = Measure { times: measure.times.deleted(now), ..measure.clone() };
    let change = Change { before: Some(Document::Measure(measure.clone())), after: Document::Measure(after) };
    let scope = Scope::Measure { measure: measure.id };
    proposal(snapshot, scope, "purge.cancel", format!("purge {}: {why}", measure.id), now, vec![change])
}

fn carried_out(snapshot: &Snapshot, measure: &Measure, purge: &Purge, now: Timestamp) -> Proposal {
    let mut changes = changes(snapshot, purge, now);
    let done = What::Purge(Purge { applied_at: Some(now), ..purge.clone() });
    let after = Measure { what: done, times: measure.times.updated(now), ..measure.clone() };
    changes.push(Change { before: Some(Document::Measure(measure.clone())), after: Document::Measure(after) });
    let scope = Scope::Project { project: purge.owner.project };
    let reason = format!("purge {}: {}", measure.id, measure.reason.as_str());
    Proposal { plan: Some(measure.id), ..proposal(snapshot, scope, Purge::VERB, reason, now, changes) }
}

fn proposal(
    snapshot: &Snapshot,
    scope: Scope,
    verb: &str,
    reason: String,
    at: Timestamp,
    changes: Vec<Change>,
) -> Proposal {
    let (expected, actor) = (snapshot.generation(), Actor::agent(PURGER));
    Proposal { expected, actor, scope, verb: verb.to_owned(), reason, at, attempt: None, plan: None, changes }
}

/// The documents leave; live addresses and dependents that stay let go of the load balancers first.
fn changes(snapshot: &Snapshot, purge: &Purge, now: Timestamp) -> Vec<Change> {
    let lbs: BTreeSet<LbId> =
        purge.documents.iter().filter(|key| key.kind == Kind::Lb).map(|key| LbId::from_uuid(key.id)).collect();
    let update = |before, after| Change { before: Some(before), after };
    let mut changes = Vec::new();
    for ip in lbs.iter().flat_map(|lb| snapshot.ips_of(*lb)).filter(|ip| ip.times.is_live()) {
        let after = Ip { lb: None, times: ip.times.updated(now), ..Ip::clone(ip) };
        changes.push(update(Document::Ip(Ip::clone(ip)), Document::Ip(after)));
    }
    let dependents: BTreeMap<_, _> =
        lbs.iter().flat_map(|lb| snapshot.dependents_of(*lb)).map(|one| (one.id, one)).collect();
    for one in dependents.into_values() {
        let left: BTreeSet<LbId> = one.lbs.iter().filter(|lb| !lbs.contains(lb)).collect();
        let after = match LbSet::try_from(left) {
            Ok(lbs) => Dependent { lbs, times: one.times.updated(now), ..Dependent::clone(one) },
            // It depends on nothing any more.
            Err(_) => Dependent { times: one.times.deleted(now), ..Dependent::clone(one) },
        };
        changes.push(update(Document::Dependent(Dependent::clone(one)), Document::Dependent(after)));
    }
    for before in purge.documents.iter().filter_map(|key| snapshot.document(*key)) {
        let mut after = before.clone();
        let times = after.times_mut();
        *times = times.purged(now);
        changes.push(update(before, after));
    }
    changes
}

/// The addresses that would be free again.
#[must_use]
pub fn addresses(snapshot: &Snapshot, purge: &Purge) -> Vec<std::net::IpAddr> {
    let freed = purge.documents.iter().filter_map(|key| match snapshot.document(*key)? {
        Document::Ip(ip) => Some(ip.address),
        Document::NatSource(source) => Some(source.address),
        _ => None,
    });
    freed.collect()
}
