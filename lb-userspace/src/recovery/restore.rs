//! Restore: the changes that make everything in a scope what it was at an earlier generation. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Conflict, Reversal};
use crate::ledger::{Ledger, LedgerError, Snapshot};
use crate::model::{Document, DocumentKey, Generation, ProjectId, Scope};

/// Operations read at a time.
const PAGE: usize = 256;

/// What makes the documents in `scope` those of `past`.
///
/// Live documents become byte for byte what they were. What was made since becomes a tombstone; what was deleted
/// since lives again. An address that now belongs to a load balancer outside the scope stays there and is reported.
#[must_use]
pub fn restore(past: &Snapshot, current: &Snapshot, scope: &Scope, now: Timestamp) -> Reversal {
    let then = documents_in(past, scope);
    let mut keys: Vec<DocumentKey> = then.keys().chain(documents_in(current, scope).keys()).copied().collect();
    keys.sort();
    keys.dedup();
    let mut reversal = Reversal::default();
    for key in keys {
        let Some(document) = current.document(key) else {
            let why = "it is not in the ledger any more: purged".to_owned();
            reversal.conflicts.push(Conflict { key, why });
            continue;
        };
        match moved_away(&document, then.get(&key), scope) {
            Some(why) => reversal.conflicts.push(Conflict { key, why }),
            None => reversal.bring_back(&document, then.get(&key), now),
        }
    }
    reversal
}

/// The snapshot at an earlier generation.
///
/// # Errors
/// When the log cannot be read.
pub fn at_generation(ledger: &dyn Ledger, generation: Generation) -> Result<Snapshot, LedgerError> {
    fold(ledger, |operation| operation.generation <= generation)
}

/// The snapshot at an earlier time: with every operation made until then.
///
/// # Errors
/// When the log cannot be read.
pub fn at_time(ledger: &dyn Ledger, time: Timestamp) -> Result<Snapshot, LedgerError> {
    fold(ledger, |operation| operation.at <= time)
}

fn fold(ledger: &dyn Ledger, is_in: impl Fn(&crate::ledger::Operation) -> bool) -> Result<Snapshot, LedgerError> {
    let mut snapshot = Snapshot::default();
    loop {
        let page = ledger.operations(snapshot.generation(), PAGE)?;
        let is_last = page.len() < PAGE;
        for operation in page {
            if !is_in(&operation) {
                return Ok(snapshot);
            }
            let documents = operation.changes.iter().map(|change| &change.after);
            snapshot = snapshot.after(operation.generation, operation.hash, documents);
        }
        if is_last {
            return Ok(snapshot);
        }
    }
}

/// Every document in a scope, tombstones included.
#[must_use]
pub fn documents_in(snapshot: &Snapshot, scope: &Scope) -> BTreeMap<DocumentKey, Document> {
    let mut documents = Vec::new();
    match scope {
        Scope::Lb { lb, .. } => whole(snapshot, *lb, &mut documents),
        Scope::Lbs { lbs, .. } => lbs.iter().for_each(|lb| whole(snapshot, lb, &mut documents)),
        Scope::Measure { measure } => {
            documents.extend(snapshot.measure(*measure).map(|it| Document::Measure(it.as_ref().clone())));
        }
        Scope::Project { project } => project_of(snapshot, *project, &mut documents),
        Scope::Organization { organization } => {
            for project in snapshot.tenants().projects_of(*organization) {
                project_of(snapshot, project.owner.project, &mut documents);
            }
        }
        // Tenants and tokens are not restored: what was revoked stays revoked.
        Scope::Token { .. } => {}
    }
    documents.into_iter().map(|document| (document.key(), document)).collect()
}

fn project_of(snapshot: &Snapshot, project: ProjectId, documents: &mut Vec<Document>) {
    for lb in snapshot.lbs_in(project) {
        documents.push(Document::Lb(lb.as_ref().clone()));
        parts_of(snapshot, lb.id, documents);
    }
    documents.extend(snapshot.ips_in(project).map(|ip| Document::Ip(ip.as_ref().clone())));
    let own = snapshot.dependents().filter(|dependent| dependent.owner.project == project);
    documents.extend(own.map(|dependent| Document::Dependent(dependent.as_ref().clone())));
}

fn whole(snapshot: &Snapshot, lb: crate::model::LbId, documents: &mut Vec<Document>) {
    documents.extend(snapshot.lb(lb).map(|lb| Document::Lb(lb.as_ref().clone())));
    parts_of(snapshot, lb, documents);
    documents.extend(snapshot.ips_of(lb).map(|ip| Document::Ip(ip.as_ref().clone())));
}

fn parts_of(snapshot: &Snapshot, lb: crate::model::LbId, documents: &mut Vec<Document>) {
    for frontend in snapshot.frontends_of(lb) {
        documents.push(Document::Frontend(frontend.as_ref().clone()));
        documents.extend(snapshot.acls_of(frontend.id).map(|acl| Document::Acl(acl.as_ref().clone())));
    }
    documents.extend(snapshot.backends_of(lb).map(|backend| Document::Backend(backend.as_ref().clone())));
}

/// Why a document is outside the scope by now, if it is.
fn moved_away(current: &Document, then: Option<&Document>, scope: &Scope) -> Option<String> {
    let Document::Ip(ip) = current else { return None };
    let is_in = |holder| match scope {
        Scope::Lb { lb, .. } => *lb == holder,
        Scope::Lbs { lbs, .. } => lbs.contains(holder),
        Scope::Project { .. } | Scope::Organization { .. } | Scope::Token { .. } | Scope::Measure { .. } => true,
    };
    if !matches!(scope, Scope::Lb { .. } | Scope::Lbs { .. }) {
        return None;
    }
    match (ip.lb, then) {
        (Some(holder), _) if !is_in(holder) => {
            Some(format!("{} is attached to load balancer {holder} now: detach it there first", ip.address))
        }
        // An address that came to the load balancer since: it stays reserved, and attached.
        (_, None) => Some(format!("{} was attached since: detach it if it should not be", ip.address)),
        _ => None,
    }
}
