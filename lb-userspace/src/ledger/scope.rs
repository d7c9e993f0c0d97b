//! Whether a change lies in its scope, and the scope in what its actor may touch.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Snapshot};
use crate::model::{Act, Actor, Document, DocumentKey, Ip, Kind, LbId, Owner, Reach, Scope};

/// Why a change lies outside its scope, or the scope outside what the actor may touch. The guard asks the same first.
pub(crate) fn check_scope(
    current: &Snapshot,
    actor: &Actor,
    scope: &Scope,
    changes: &[Change],
) -> Result<(), (DocumentKey, String)> {
    let owners = Owners::new(current, changes);
    let selected = selected(scope);
    let foreign = selected.iter().flatten().find(|lb| {
        current
            .lb(**lb)
            .is_none_or(|lb| scope.project() != Some(lb.owner.project) || !actor.reach.covers_owner(lb.owner))
    });
    if let Some(lb) = foreign {
        let key = DocumentKey { kind: Kind::Lb, id: lb.as_uuid() };
        return Err((key, format!("its scope {lb} is no load balancer of the actor's project")));
    }
    for change in changes {
        let key = change.key();
        if let Document::Measure(measure) = &change.after {
            let in_other = matches!(scope, Scope::Measure { measure: id } if *id != measure.id);
            if in_other {
                return Err((key, format!("{key} lies outside the operation's scope")));
            }
            crate::authority::check_measure(current, actor, measure).map_err(|denied| (key, denied.to_string()))?;
            continue;
        }
        check_role(actor, change).map_err(|what| (key, what))?;
        for document in change.before.iter().chain([&change.after]) {
            let place = owners.place(document);
            if !place.is_some_and(|place| actor.reach.covers(&place)) {
                return Err((key, format!("{key} does not belong to the actor's project")));
            }
            if !place.is_some_and(|place| lies_in(scope, place, document)) {
                return Err((key, format!("{key} lies outside the operation's scope")));
            }
        }
        if let Some(lbs) = &selected
            && !is_of_lbs(change, lbs)
        {
            return Err((key, format!("{key} lies outside the operation's load balancers")));
        }
    }
    Ok(())
}

/// Refuses what the actor's role may never do, wherever it reaches.
fn check_role(actor: &Actor, change: &Change) -> Result<(), String> {
    let role = actor.role;
    let may = match &change.after {
        // What the edge reserves for itself.
        Document::NatSource(_) => actor.token.is_none() && actor.reach == Reach::Fleet,
        // Its own check.
        Document::Measure(_) => true,
        Document::Organization(_) | Document::Project(_) => role.may(Act::Administer),
        // Nobody gives away more than he has.
        Document::Token(token) => role.may(Act::Administer) && token.role >= role && token.role.fits(&token.reach),
        Document::Subscriber(_) => role.may(Act::Edit),
        Document::Ip(_)
        | Document::Lb(_)
        | Document::Frontend(_)
        | Document::Backend(_)
        | Document::Acl(_)
        | Document::Dependent(_) => role.may(Act::Edit) || role.may(Act::Contain),
    };
    if may { Ok(()) } else { Err(format!("a token of the role {} may not change {}", role.as_str(), change.key())) }
}

/// Whether a document that stands at a place lies in a scope.
fn lies_in(scope: &Scope, place: Reach, document: &Document) -> bool {
    let is_token = matches!(document, Document::Token(_));
    match *scope {
        Scope::Measure { .. } => false,
        Scope::Token { token } => matches!(document, Document::Token(document) if document.id == token),
        Scope::Lb { project, .. } | Scope::Lbs { project, .. } | Scope::Project { project } => {
            !is_token && matches!(place, Reach::Project { owner } if owner.project == project)
        }
        Scope::Organization { organization } => !is_token && Reach::Organization { organization }.covers(&place),
    }
}

/// The load balancers that a scope names, if it names some.
fn selected(scope: &Scope) -> Option<BTreeSet<LbId>> {
    match scope {
        Scope::Lb { lb, .. } => Some(BTreeSet::from([*lb])),
        Scope::Lbs { lbs, .. } => Some(lbs.clone().into()),
        Scope::Project { .. } | Scope::Organization { .. } | Scope::Token { .. } | Scope::Measure { .. } => None,
    }
}

/// Whether a change touches nothing but these existing load balancers. Attaching and detaching an IP touches one too.
fn is_of_lbs(change: &Change, lbs: &BTreeSet<LbId>) -> bool {
    let mut documents = change.before.iter().chain([&change.after]);
    match &change.after {
        Document::Lb(after) => lbs.contains(&after.id) && change.before.is_some(),
        Document::Ip(_) => {
            let attached: BTreeSet<LbId> = documents.filter_map(as_ip).filter_map(|ip| ip.lb).collect();
            !attached.is_empty() && attached.is_subset(lbs)
        }
        Document::Frontend(_) | Document::Backend(_) | Document::Acl(_) => {
            documents.all(|document| document.lb().is_some_and(|lb| lbs.contains(&lb)))
        }
        Document::Measure(_)
        | Document::NatSource(_)
        | Document::Subscriber(_)
        | Document::Organization(_)
        | Document::Project(_)
        | Document::Dependent(_)
        | Document::Token(_) => false,
    }
}

const fn as_ip(document: &Document) -> Option<&Ip> {
    match document {
        Document::Ip(ip) => Some(ip),
        _ => None,
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

    /// Where a document stands; nowhere, when what it belongs to is missing or somebody else's.
    fn place(&self, document: &Document) -> Option<Reach> {
        let owner = match document {
            Document::Organization(organization) => {
                return Some(Reach::Organization { organization: organization.id });
            }
            Document::Token(token) => return Some(token.reach),
            Document::Measure(_) => return None,
            Document::Project(project) => Some(project.owner),
            Document::Ip(ip) => match ip.lb {
                Some(lb) if self.of_lb(lb) != Some(ip.owner) => None,
                _ => Some(ip.owner),
            },
            Document::Lb(lb) => Some(lb.owner),
            Document::Frontend(frontend) => self.of_lb(frontend.lb),
            Document::Backend(backend) => self.of_lb(backend.lb),
            Document::Acl(acl) => self.of_lb(acl.lb),
            Document::NatSource(_) => Some(Owner::EDGE),
            Document::Subscriber(subscriber) => Some(subscriber.owner),
            Document::Dependent(dependent) => Some(dependent.owner),
        };
        owner.map(|owner| Reach::Project { owner })
    }

    fn of_lb(&self, lb: LbId) -> Option<Owner> {
        self.current.lb(lb).map(|lb| lb.owner).or_else(|| self.created.get(&lb).copied())
    }
}
