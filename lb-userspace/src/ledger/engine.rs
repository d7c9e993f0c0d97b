//! What every storage engine checks before it appends, whatever the guard said: the second of three layers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, LedgerError, Operation, Proposal, Snapshot, chain};
use crate::model::{Actor, Document, DocumentKey, Frontend, Generation, Ip, Kind, LbId, Owner, Scope};

/// Most documents that one operation may change: what keeps an operation readable in one piece. It is no protection
/// against removing too much; bringing back everything at once is one operation.
pub const MAX_CHANGES: usize = 65_536;

/// The operation that a checked proposal becomes, and its stored bytes.
pub(super) fn next(current: &Snapshot, proposal: Proposal) -> Result<(Operation, Vec<u8>), LedgerError> {
    check(current, &proposal)?;
    let generation = Generation(current.generation().0 + 1);
    let body = chain::Body::new(generation, proposal);
    let bytes = serde_json::to_vec(&body).map_err(|error| LedgerError::Engine(Box::new(error)))?;
    let previous = current.head();
    let hash = chain::hash(previous, &bytes);
    Ok((body.chained(previous, hash), bytes))
}

/// The snapshot after an operation.
pub(super) fn after(current: &Snapshot, operation: &Operation) -> Snapshot {
    let mut after =
        current.after(operation.generation, operation.hash, operation.changes.iter().map(|change| &change.after));
    after.remember(operation);
    after
}

/// Refuses a proposal that was made from another generation, or that breaks a rule of the log itself.
pub(super) fn check(current: &Snapshot, proposal: &Proposal) -> Result<(), LedgerError> {
    if proposal.expected != current.generation() {
        return Err(LedgerError::Conflict { expected: proposal.expected, actual: current.generation() });
    }
    check_shape(proposal)?;
    for change in &proposal.changes {
        check_succession(current, change).map_err(LedgerError::Refused)?;
    }
    check_scope(current, &proposal.actor, &proposal.scope, &proposal.changes).map_err(|(_, what)| refused(what))
}

fn check_shape(proposal: &Proposal) -> Result<(), LedgerError> {
    let count = proposal.changes.len();
    if count == 0 || count > MAX_CHANGES {
        return Err(refused(format!("it changes {count} documents: 1 to {MAX_CHANGES} are allowed")));
    }
    let keys: BTreeSet<_> = proposal.changes.iter().map(Change::key).collect();
    if keys.len() != count {
        return Err(refused("it changes a document twice"));
    }
    if proposal.verb.is_empty() {
        return Err(refused("it has no verb"));
    }
    Ok(())
}

/// Whether a change follows from the current documents; also what opening a ledger checks of every operation.
pub(super) fn check_succession(current: &Snapshot, change: &Change) -> Result<(), String> {
    let key = change.key();
    let Some(before) = &change.before else {
        if current.knows(key) {
            return Err(format!("it creates {key}, which exists"));
        }
        if change.after.times().deleted_at.is_some() {
            return Err(format!("it creates {key} as a deleted one"));
        }
        return Ok(());
    };
    if before.key() != key {
        return Err(format!("it turns {} into {key}", before.key()));
    }
    if !current.holds(before) {
        return Err(format!("{key} is not what the operation says it was"));
    }
    if before == &change.after {
        return Err(format!("{key} is the same before and after"));
    }
    if before.times().created_at != change.after.times().created_at {
        return Err(format!("it changes when {key} was made"));
    }
    Ok(())
}

/// Why a change lies outside a scope, or the scope outside the actor's project. The guard asks the same first.
pub(crate) fn check_scope(
    current: &Snapshot,
    actor: &Actor,
    scope: &Scope,
    changes: &[Change],
) -> Result<(), (DocumentKey, String)> {
    let owner = actor.owner;
    let whole = |lb: LbId| DocumentKey { kind: Kind::Lb, id: lb.as_uuid() };
    let first = changes.first().map_or_else(|| whole(LbId::from_uuid(owner.project.as_uuid())), Change::key);
    if scope.project() != owner.project {
        return Err((first, format!("its scope is another project than the actor's ({})", owner.project)));
    }
    let selected = selected(scope);
    let foreign = selected.iter().flatten().find(|lb| current.lb(**lb).map(|lb| lb.owner) != Some(owner));
    if let Some(lb) = foreign {
        return Err((whole(*lb), format!("its scope {lb} is no load balancer of the actor's project")));
    }
    let owners = Owners::new(current, changes);
    for change in changes {
        for document in change.before.iter().chain([&change.after]) {
            if owners.of(document) != Some(owner) {
                return Err((change.key(), format!("{} does not belong to the actor's project", change.key())));
            }
        }
        if let Some(lbs) = &selected
            && !lies_in(change, lbs)
        {
            return Err((change.key(), format!("{} lies outside the operation's load balancers", change.key())));
        }
    }
    Ok(())
}

/// The load balancers that a scope names, if it names some.
fn selected(scope: &Scope) -> Option<BTreeSet<LbId>> {
    match scope {
        Scope::Lb { lb, .. } => Some(BTreeSet::from([*lb])),
        Scope::Lbs { lbs, .. } => Some(lbs.clone().into()),
        Scope::Project { .. } => None,
    }
}

/// Whether a change touches nothing but these existing load balancers. Attaching and detaching an IP touches one too.
fn lies_in(change: &Change, lbs: &BTreeSet<LbId>) -> bool {
    let mut documents = change.before.iter().chain([&change.after]);
    match &change.after {
        Document::Lb(after) => lbs.contains(&after.id) && change.before.is_some(),
        Document::Ip(_) => {
            let attached: BTreeSet<LbId> = documents.filter_map(as_ip).filter_map(|ip| ip.lb).collect();
            !attached.is_empty() && attached.is_subset(lbs)
        }
        Document::Frontend(_) | Document::Backend(_) | Document::Acl(_) => {
            documents.all(|document| belongs_to(document).is_some_and(|lb| lbs.contains(&lb)))
        }
        Document::NatSource(_) => false,
    }
}

const fn as_ip(document: &Document) -> Option<&Ip> {
    match document {
        Document::Ip(ip) => Some(ip),
        _ => None,
    }
}

const fn belongs_to(document: &Document) -> Option<LbId> {
    match document {
        Document::Frontend(Frontend { lb, .. }) => Some(*lb),
        Document::Backend(backend) => Some(backend.lb),
        Document::Acl(acl) => Some(acl.lb),
        Document::Ip(_) | Document::Lb(_) | Document::NatSource(_) => None,
    }
}

/// Owners of documents: also of those whose load balancer the proposal itself creates.
struct Owners<'a> {
    current: &'a Snapshot,
    created: BTreeMap<LbId, Owner>,
}

impl<'a> Owners<'a> {
    fn new(current: &'a Snapshot, changes: &[Change]) -> Self {
        let created =
            changes.iter().filter(|change| change.before.is_none()).filter_map(|change| match &change.after {
                Document::Lb(lb) => Some((lb.id, lb.owner)),
                _ => None,
            });
        Self { current, created: created.collect() }
    }

    fn of(&self, document: &Document) -> Option<Owner> {
        match document {
            Document::Ip(ip) => match ip.lb {
                Some(lb) if self.of_lb(lb) != Some(ip.owner) => None,
                _ => Some(ip.owner),
            },
            Document::Lb(lb) => Some(lb.owner),
            Document::Frontend(frontend) => self.of_lb(frontend.lb),
            Document::Backend(backend) => self.of_lb(backend.lb),
            Document::Acl(acl) => self.of_lb(acl.lb),
            Document::NatSource(_) => Some(Owner::EDGE),
        }
    }

    fn of_lb(&self, lb: LbId) -> Option<Owner> {
        self.current.lb(lb).map(|lb| lb.owner).or_else(|| self.created.get(&lb).copied())
    }
}

fn refused(what: impl Into<String>) -> LedgerError {
    LedgerError::Refused(what.into())
}
