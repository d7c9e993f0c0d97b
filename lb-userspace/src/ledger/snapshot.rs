//! The current state: an immutable fold of the log, cheap to clone and to derive the next one from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use jiff::{SignedDuration, Timestamp};

use super::{ChainHash, Operation, Removal, Tenants};
use crate::model::{
    Acl, AclId, Backend, BackendId, Dependent, DependentId, Document, DocumentKey, Frontend, FrontendId, Generation,
    Ip, IpId, Kind, Lb, LbId, Measure, MeasureId, NatSource, NatSourceId, OrganizationId, Place, Plan, ProjectId,
    Subscriber, SubscriberId, TokenId, What,
};

mod forget;

/// Every document at one generation, tombstones included, with the indexes that guard, plan and API read.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    generation: Generation,
    head: Option<ChainHash>,
    ips: OrdMap<IpId, Arc<Ip>>,
    lbs: OrdMap<LbId, Arc<Lb>>,
    frontends: OrdMap<FrontendId, Arc<Frontend>>,
    backends: OrdMap<BackendId, Arc<Backend>>,
    acls: OrdMap<AclId, Arc<Acl>>,
    acls_by_frontend: OrdSet<(FrontendId, AclId)>,
    nat_sources: OrdMap<NatSourceId, Arc<NatSource>>,
    subscribers: OrdMap<SubscriberId, Arc<Subscriber>>,
    dependents: OrdMap<DependentId, Arc<Dependent>>,
    /// Those that are registered, by load balancer.
    dependents_by_lb: OrdSet<(LbId, DependentId)>,
    /// Addresses in use; a tombstone's address stays reserved.
    ips_by_address: OrdMap<IpAddr, IpId>,
    ips_by_lb: OrdSet<(LbId, IpId)>,
    frontends_by_lb: OrdSet<(LbId, FrontendId)>,
    backends_by_lb: OrdSet<(LbId, BackendId)>,
    /// Frontends by the backend they point at.
    frontends_by_backend: OrdSet<(BackendId, FrontendId)>,
    /// Generation of the last change to a load balancer or to what belongs to it.
    touched: OrdMap<LbId, Generation>,
    measures: OrdMap<MeasureId, Arc<Measure>>,
    /// Those that end or have ended, by when.
    measures_by_end: OrdSet<(Timestamp, MeasureId)>,
    /// Freezes that were not ended.
    freezes: OrdSet<MeasureId>,
    /// Quarantines that were not ended, by their place.
    quarantines: OrdSet<(Place, MeasureId)>,
    /// What operations without an approved plan took out of service, as far back as the budget's window.
    removals: OrdMap<(Timestamp, Generation), Arc<Removal>>,
    /// Deleted documents that were purged, as far back as the window of their budget.
    purges: OrdMap<(Timestamp, Generation), usize>,
    /// Live and deleted documents of each project.
    by_project: OrdMap<ProjectId, Owned>,
    tenants: Tenants,
    /// Operations that keep an answer, by the token and the key of their request.
    attempts: OrdMap<(TokenId, String), (Timestamp, Generation)>,
    /// The same by age.
    attempts_by_age: OrdSet<(Timestamp, TokenId, String)>,
}

/// What a project owns, tombstones included.
#[derive(Clone, Debug, Default)]
struct Owned {
    lbs: OrdSet<LbId>,
    ips: OrdSet<IpId>,
}

impl Snapshot {
    /// How long the answer to a request with a key is given again.
    pub const ATTEMPTS_ARE_KEPT: SignedDuration = SignedDuration::from_hours(24);

    /// Number of the last operation folded in.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Hash of the last operation folded in.
    #[must_use]
    pub fn head(&self) -> ChainHash {
        self.head.unwrap_or(ChainHash::GENESIS)
    }

    /// Organizations, projects and tokens.
    #[must_use]
    pub const fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    /// An IP, also a deleted one.
    #[must_use]
    pub fn ip(&self, id: IpId) -> Option<&Arc<Ip>> {
        self.ips.get(&id)
    }

    /// A load balancer, also a deleted one.
    #[must_use]
    pub fn lb(&self, id: LbId) -> Option<&Arc<Lb>> {
        self.lbs.get(&id)
    }

    /// A frontend, also a deleted one.
    #[must_use]
    pub fn frontend(&self, id: FrontendId) -> Option<&Arc<Frontend>> {
        self.frontends.get(&id)
    }

    /// A backend, also a deleted one.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&Arc<Backend>> {
        self.backends.get(&id)
    }

    /// A rule of an access list, also a deleted one.
    #[must_use]
    pub fn acl(&self, id: AclId) -> Option<&Arc<Acl>> {
        self.acls.get(&id)
    }

    /// Rules of a frontend's access list in the order of the ids, also deleted ones.
    pub fn acls_of(&self, frontend: FrontendId) -> impl Iterator<Item = &Arc<Acl>> {
        self.acls_by_frontend
            .range((frontend, AclId::from_uuid(uuid::Uuid::nil()))..)
            .take_while(move |(of, _)| *of == frontend)
            .filter_map(|(_, id)| self.acls.get(id))
    }

    /// The IP that holds an address, also a deleted one.
    #[must_use]
    pub fn ip_with_address(&self, address: IpAddr) -> Option<&Arc<Ip>> {
        self.ips_by_address.get(&address).and_then(|id| self.ips.get(id))
    }

    /// Every IP in the order of the ids, also deleted ones.
    pub fn ips(&self) -> impl Iterator<Item = &Arc<Ip>> {
        self.ips.values()
    }

    /// Every load balancer in the order of the ids, also deleted ones.
    pub fn lbs(&self) -> impl Iterator<Item = &Arc<Lb>> {
        self.lbs.values()
    }

    /// Every backend in the order of the ids, also deleted ones.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.values()
    }

    /// A subscriber, also a deleted one.
    #[must_use]
    pub fn subscriber(&self, id: SubscriberId) -> Option<&Arc<Subscriber>> {
        self.subscribers.get(&id)
    }

    /// Every subscriber in the order of the ids, also deleted ones.
    pub fn subscribers(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        self.subscribers.values()
    }

    /// Every source address of translated flows in the order of the ids, also retired ones.
    pub fn nat_sources(&self) -> impl Iterator<Item = &Arc<NatSource>> {
        self.nat_sources.values()
    }

    /// A dependent, also a deleted one.
    #[must_use]
    pub fn dependent(&self, id: DependentId) -> Option<&Arc<Dependent>> {
        self.dependents.get(&id)
    }

    /// Every dependent in the order of the ids, also deleted ones.
    pub fn dependents(&self) -> impl Iterator<Item = &Arc<Dependent>> {
        self.dependents.values()
    }

    /// Dependents of a load balancer that are registered.
    pub fn dependents_of(&self, lb: LbId) -> impl Iterator<Item = &Arc<Dependent>> {
        self.dependents_by_lb
            .range((lb, DependentId::from_uuid(uuid::Uuid::nil()))..)
            .take_while(move |(of, _)| *of == lb)
            .filter_map(|(_, id)| self.dependents.get(id))
    }

    /// Dependents that the deletion of a load balancer waits for. What Trust & Safety removed waits for nobody.
    pub fn holders_of(&self, lb: LbId) -> impl Iterator<Item = &Arc<Dependent>> {
        let waits = self.lb(lb).is_some_and(|lb| lb.taken_down.is_none());
        self.dependents_of(lb).filter(move |dependent| waits && dependent.holds())
    }

    /// Whether the deletion of a load balancer waits for a dependent: until then it forwards, and is not purged.
    #[must_use]
    pub fn is_held(&self, lb: LbId) -> bool {
        self.holders_of(lb).next().is_some()
    }

    /// How many registered dependents these load balancers have, by kind; each counts once.
    #[must_use]
    pub fn dependents_by_kind(&self, lbs: &BTreeSet<LbId>) -> BTreeMap<String, u64> {
        let ids: BTreeSet<DependentId> =
            lbs.iter().flat_map(|lb| self.dependents_of(*lb)).map(|dependent| dependent.id).collect();
        let mut counts = BTreeMap::new();
        for dependent in ids.iter().filter_map(|id| self.dependents.get(id)) {
            *counts.entry(dependent.kind.as_str().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Whether the source addresses of translated flows are the very same as in another snapshot.
    #[must_use]
    pub fn has_nat_sources_of(&self, other: &Self) -> bool {
        self.nat_sources.ptr_eq(&other.nat_sources)
    }

    /// IPs attached to a load balancer.
    pub fn ips_of(&self, lb: LbId) -> impl Iterator<Item = &Arc<Ip>> {
        self.ips_by_lb
            .range((lb, IpId::from_uuid(uuid::Uuid::nil()))..)
            .take_while(move |(of, _)| *of == lb)
            .filter_map(|(_, id)| self.ips.get(id))
    }

    /// Frontends of a load balancer, also deleted ones.
    pub fn frontends_of(&self, lb: LbId) -> impl Iterator<Item = &Arc<Frontend>> {
        self.frontends_by_lb
            .range((lb, FrontendId::from_uuid(uuid::Uuid::nil()))..)
            .take_while(move |(of, _)| *of == lb)
            .filter_map(|(_, id)| self.frontends.get(id))
    }

    /// Backends of a load balancer, also deleted ones.
    pub fn backends_of(&self, lb: LbId) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends_by_lb
            .range((lb, BackendId::from_uuid(uuid::Uuid::nil()))..)
            .take_while(move |(of, _)| *of == lb)
            .filter_map(|(_, id)| self.backends.get(id))
    }

    /// Frontends that point at a backend, also deleted ones.
    pub fn frontends_with(&self, backend: BackendId) -> impl Iterator<Item = &Arc<Frontend>> {
        self.frontends_by_backend
            .range((backend, FrontendId::from_uuid(uuid::Uuid::nil()))..)
            .take_while(move |(of, _)| *of == backend)
            .filter_map(|(_, id)| self.frontends.get(id))
    }

    /// Load balancers of a project in the order of the ids, also deleted ones.
    pub fn lbs_in(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Lb>> {
        self.by_project.get(&project).into_iter().flat_map(|owned| &owned.lbs).filter_map(|id| self.lbs.get(id))
    }

    /// IPs of a project in the order of the ids, also deleted ones.
    pub fn ips_in(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Ip>> {
        self.by_project.get(&project).into_iter().flat_map(|owned| &owned.ips).filter_map(|id| self.ips.get(id))
    }

    /// The highest address in use from `first` to `last`.
    #[must_use]
    pub fn highest_address(&self, first: IpAddr, last: IpAddr) -> Option<IpAddr> {
        self.ips_by_address.range(first..=last).next_back().map(|(address, _)| *address)
    }

    /// Generation of the last change to a load balancer, its addresses, frontends or backends.
    #[must_use]
    pub fn touched(&self, lb: LbId) -> Generation {
        self.touched.get(&lb).copied().unwrap_or_default()
    }

    /// Whether nothing may be forwarded to a load balancer: it, its project or its organization is quarantined.
    #[must_use]
    pub fn is_quarantined(&self, lb: &Lb) -> bool {
        !self.quarantines.is_empty()
            && [
                Place::Lb { lb: lb.id },
                Place::Project { project: lb.owner.project },
                Place::Organization { organization: lb.owner.organization },
            ]
            .into_iter()
            .any(|place| self.quarantine_at(&place).is_some())
    }

    /// The quarantine in force at exactly this place.
    #[must_use]
    pub fn quarantine_at(&self, place: &Place) -> Option<&Arc<Measure>> {
        let first = (place.clone(), MeasureId::from_uuid(uuid::Uuid::nil()));
        let (_, id) = self.quarantines.range(first..).next().filter(|(at, _)| at == place)?;
        self.measures.get(id)
    }

    /// A measure, also one that has ended.
    #[must_use]
    pub fn measure(&self, id: MeasureId) -> Option<&Arc<Measure>> {
        self.measures.get(&id)
    }

    /// Every measure in the order of the ids, also those that have ended.
    pub fn measures(&self) -> impl Iterator<Item = &Arc<Measure>> {
        self.measures.values()
    }

    /// Freezes that were not ended, also those that have expired.
    pub fn freezes(&self) -> impl Iterator<Item = &Arc<Measure>> {
        self.freezes.iter().filter_map(|id| self.measures.get(id))
    }

    /// Quarantines in force, in the order of their places.
    pub fn quarantines(&self) -> impl Iterator<Item = &Arc<Measure>> {
        self.quarantines.iter().filter_map(|(_, id)| self.measures.get(id))
    }

    /// Load balancers at a place, also deleted ones; none at an actor.
    pub fn lbs_at(&self, place: &Place) -> impl Iterator<Item = &Arc<Lb>> {
        let candidates: Vec<&Arc<Lb>> = match place {
            Place::Lb { lb } => self.lb(*lb).into_iter().collect(),
            Place::Project { project } => self.lbs_in(*project).collect(),
            Place::Organization { .. } | Place::Zone => self.lbs().filter(|lb| place.covers(lb)).collect(),
            Place::Actor { .. } => Vec::new(),
        };
        candidates.into_iter()
    }

    /// What operations after a moment took out of service without an approved plan; older than the budget's window is
    /// forgotten.
    pub fn removals_since(&self, since: Timestamp) -> impl Iterator<Item = (Generation, &Removal)> {
        self.removals.range((since, Generation(0))..).map(|((_, generation), removal)| (*generation, &**removal))
    }

    /// The operation that carried out the request with this key, if its answer is still kept at `now`.
    #[must_use]
    pub fn attempt(&self, token: TokenId, key: &str, now: Timestamp) -> Option<Generation> {
        let (at, generation) = self.attempts.get(&(token, key.to_owned()))?;
        (now.duration_since(*at) < Self::ATTEMPTS_ARE_KEPT).then_some(*generation)
    }

    /// Keeps the key of an operation's request, and forgets those that are too old.
    pub(super) fn remember(&mut self, operation: &Operation) {
        self.remember_removals(operation);
        self.remember_purges(operation);
        self.forget_measures(operation.at);
        let (Some(attempt), Some(token)) = (&operation.attempt, operation.actor.token) else { return };
        while let Some(oldest) = self.attempts_by_age.get_min().cloned() {
            if operation.at.duration_since(oldest.0) < Self::ATTEMPTS_ARE_KEPT {
                break;
            }
            self.attempts_by_age.remove(&oldest);
            self.attempts.remove(&(oldest.1, oldest.2));
        }
        let at = operation.at;
        if let Some((before, _)) = self.attempts.insert((token, attempt.key.clone()), (at, operation.generation)) {
            self.attempts_by_age.remove(&(before, token, attempt.key.clone()));
        }
        self.attempts_by_age.insert((at, token, attempt.key.clone()));
    }

    fn remember_removals(&mut self, operation: &Operation) {
        let plan = operation.plan.and_then(|id| self.measure(id)).and_then(|measure| measure.plan());
        if operation.removed.is_empty() || plan.is_some_and(Plan::is_approved) {
            return;
        }
        let oldest = operation.at.checked_sub(super::BUDGET.window).unwrap_or(Timestamp::MIN);
        while let Some(key) = self.removals.get_min().map(|(key, _)| *key).filter(|(at, _)| *at < oldest) {
            self.removals.remove(&key);
        }
        let (actor, account) = (operation.actor.id(), super::Account::of(&operation.changes));
        let removal = Removal { actor, account, removed: operation.removed.clone() };
        self.removals.insert((operation.at, operation.generation), Arc::new(removal));
    }

    /// A document of any kind, also a deleted one.
    #[must_use]
    pub fn document(&self, key: DocumentKey) -> Option<Document> {
        match key.kind {
            Kind::Ip => self.ip(IpId::from_uuid(key.id)).map(|ip| Document::Ip(Ip::clone(ip))),
            Kind::Lb => self.lb(LbId::from_uuid(key.id)).map(|lb| Document::Lb(Lb::clone(lb))),
            Kind::Measure => {
                self.measure(MeasureId::from_uuid(key.id)).map(|measure| Document::Measure(Measure::clone(measure)))
            }
            Kind::Frontend => self
                .frontend(FrontendId::from_uuid(key.id))
                .map(|frontend| Document::Frontend(Frontend::clone(frontend))),
            Kind::Backend => {
                self.backend(BackendId::from_uuid(key.id)).map(|backend| Document::Backend(Backend::clone(backend)))
            }
            Kind::Acl => self.acl(AclId::from_uuid(key.id)).map(|acl| Document::Acl(Acl::clone(acl))),
            Kind::NatSource => self
                .nat_sources
                .get(&NatSourceId::from_uuid(key.id))
                .map(|source| Document::NatSource(NatSource::clone(source))),
            Kind::Subscriber => {
                let subscriber = self.subscriber(SubscriberId::from_uuid(key.id))?;
                Some(Document::Subscriber((**subscriber).clone()))
            }
            Kind::Dependent => self
                .dependent(DependentId::from_uuid(key.id))
                .map(|dependent| Document::Dependent(Dependent::clone(dependent))),
            Kind::Organization => {
                let organization = self.tenants.organization(OrganizationId::from_uuid(key.id))?;
                Some(Document::Organization((**organization).clone()))
            }
            Kind::Project => {
                let project = self.tenants.project(ProjectId::from_uuid(key.id))?;
                Some(Document::Project((**project).clone()))
            }
            Kind::Token => {
                self.tenants.token(TokenId::from_uuid(key.id)).map(|token| Document::Token((**token).clone()))
            }
        }
    }

    /// Whether the current document of the same kind and id is exactly this one.
    pub(super) fn holds(&self, document: &Document) -> bool {
        match document {
            Document::Ip(ip) => self.ip(ip.id).is_some_and(|current| **current == *ip),
            Document::Lb(lb) => self.lb(lb.id).is_some_and(|current| **current == *lb),
            Document::Measure(measure) => self.measure(measure.id).is_some_and(|current| **current == *measure),
            Document::Frontend(frontend) => self.frontend(frontend.id).is_some_and(|current| **current == *frontend),
            Document::Backend(backend) => self.backend(backend.id).is_some_and(|current| **current == *backend),
            Document::Acl(acl) => self.acl(acl.id).is_some_and(|current| **current == *acl),
            Document::NatSource(source) => self.nat_sources.get(&source.id).is_some_and(|current| **current == *source),
            Document::Organization(_)
            | Document::Project(_)
            | Document::Token(_)
            | Document::Subscriber(_)
            | Document::Dependent(_) => self.document(document.key()).as_ref() == Some(document),
        }
    }

    /// Whether there is a document of this kind and id, deleted or not.
    pub(super) fn knows(&self, key: DocumentKey) -> bool {
        match key.kind {
            Kind::Ip => self.ips.contains_key(&IpId::from_uuid(key.id)),
            Kind::Lb => self.lbs.contains_key(&LbId::from_uuid(key.id)),
            Kind::Measure => self.measures.contains_key(&MeasureId::from_uuid(key.id)),
            Kind::Frontend => self.frontends.contains_key(&FrontendId::from_uuid(key.id)),
            Kind::Backend => self.backends.contains_key(&BackendId::from_uuid(key.id)),
            Kind::Acl => self.acls.contains_key(&AclId::from_uuid(key.id)),
            Kind::NatSource => self.nat_sources.contains_key(&NatSourceId::from_uuid(key.id)),
            Kind::Subscriber => self.subscribers.contains_key(&SubscriberId::from_uuid(key.id)),
            Kind::Dependent => self.dependents.contains_key(&DependentId::from_uuid(key.id)),
            Kind::Organization | Kind::Project | Kind::Token => self.document(key).is_some(),
        }
    }

    /// Load balancers that may be served differently than in an `earlier` snapshot: they, or anything that belongs
    /// to them, differ. The two share what they have in common, so this costs what the difference costs.
    #[must_use]
    pub fn changed_lbs(&self, earlier: &Self) -> BTreeSet<LbId> {
        let mut changed = BTreeSet::new();
        for (before, after) in pairs(earlier.lbs.diff(&self.lbs)) {
            changed.extend(before.into_iter().chain(after).map(|lb| lb.id));
        }
        for (before, after) in pairs(earlier.measures.diff(&self.measures)) {
            let places =
                before.into_iter().chain(after).filter(|measure| matches!(measure.what, What::Quarantine { .. }));
            changed.extend(
                places.filter_map(|measure| measure.place()).flat_map(|place| self.lbs_at(place)).map(|lb| lb.id),
            );
        }
        for (before, after) in pairs(earlier.dependents.diff(&self.dependents)) {
            changed.extend(before.into_iter().chain(after).flat_map(|dependent| dependent.lbs.iter()));
        }
        for (before, after) in pairs(earlier.frontends.diff(&self.frontends)) {
            changed.extend(before.into_iter().chain(after).map(|frontend| frontend.lb));
        }
        for (before, after) in pairs(earlier.backends.diff(&self.backends)) {
            changed.extend(before.into_iter().chain(after).map(|backend| backend.lb));
        }
        for (before, after) in pairs(earlier.acls.diff(&self.acls)) {
            changed.extend(before.into_iter().chain(after).map(|acl| acl.lb));
        }
        for (before, after) in pairs(earlier.ips.diff(&self.ips)) {
            for ip in before.into_iter().chain(after) {
                let holders = [earlier, self].map(|snapshot| snapshot.ip_with_address(ip.address));
                changed.extend(holders.into_iter().flatten().chain([ip]).filter_map(|ip| ip.lb));
            }
        }
        changed
    }

    /// The snapshot after an operation.
    #[must_use]
    pub fn after<'a>(
        &self,
        generation: Generation,
        hash: ChainHash,
        documents: impl IntoIterator<Item = &'a Document>,
    ) -> Self {
        let mut next = self.clone();
        next.fold(generation, hash, documents);
        next
    }

    /// Folds an operation in.
    pub(super) fn fold<'a>(
        &mut self,
        generation: Generation,
        hash: ChainHash,
        documents: impl IntoIterator<Item = &'a Document>,
    ) {
        self.generation = generation;
        self.head = Some(hash);
        for document in documents {
            match document.times().purged_at {
                None => self.put(document),
                Some(_) => self.forget(document),
            }
        }
    }

    fn put(&mut self, document: &Document) {
        match document {
            Document::Ip(ip) => self.put_ip(ip),
            Document::Measure(measure) => self.put_measure(measure),
            Document::Lb(lb) => {
                self.touch(lb.id);
                self.by_project.entry(lb.owner.project).or_default().lbs.insert(lb.id);
                self.lbs.insert(lb.id, Arc::new(lb.clone()));
            }
            Document::Frontend(frontend) => {
                self.touch(frontend.lb);
                if let Some(before) = self.frontends.insert(frontend.id, Arc::new(frontend.clone())) {
                    self.frontends_by_backend.remove(&(before.backend, before.id));
                }
                self.frontends_by_lb.insert((frontend.lb, frontend.id));
                self.frontends_by_backend.insert((frontend.backend, frontend.id));
            }
            Document::Backend(backend) => {
                self.touch(backend.lb);
                self.backends.insert(backend.id, Arc::new(backend.clone()));
                self.backends_by_lb.insert((backend.lb, backend.id));
            }
            Document::Acl(acl) => {
                self.touch(acl.lb);
                self.acls_by_frontend.insert((acl.frontend, acl.id));
                self.acls.insert(acl.id, Arc::new(acl.clone()));
            }

            Document::NatSource(source) => {
                self.nat_sources.insert(source.id, Arc::new(source.clone()));
            }
            Document::Subscriber(subscriber) => {
                self.subscribers.insert(subscriber.id, Arc::new(subscriber.clone()));
            }
            Document::Dependent(dependent) => self.put_dependent(dependent),
            Document::Organization(_) | Document::Project(_) | Document::Token(_) => self.tenants.put(document),
        }
    }

    fn put_measure(&mut self, measure: &Measure) {
        let is_live = measure.times.is_live();
        match &measure.what {
            What::Freeze { .. } if is_live => {
                self.freezes.insert(measure.id);
            }
            What::Freeze { .. } => {
                self.freezes.remove(&measure.id);
            }
            What::Quarantine { place } if is_live => {
                self.quarantines.insert((place.clone(), measure.id));
            }
            What::Quarantine { place } => {
                self.quarantines.remove(&(place.clone(), measure.id));
            }
            What::Plan(_) | What::LetGo { .. } | What::Purge(_) => {}
        }
        if let Some(before) = self.measures.insert(measure.id, Arc::new(measure.clone()))
            && let Some(end) = before.ends_at()
        {
            self.measures_by_end.remove(&(end, measure.id));
        }
        self.measures_by_end.extend(measure.ends_at().map(|end| (end, measure.id)));
    }

    fn put_dependent(&mut self, dependent: &Dependent) {
        if let Some(before) = self.dependents.insert(dependent.id, Arc::new(dependent.clone())) {
            for lb in before.lbs.iter() {
                self.dependents_by_lb.remove(&(lb, before.id));
            }
        }
        if dependent.times.is_live() {
            self.dependents_by_lb.extend(dependent.lbs.iter().map(|lb| (lb, dependent.id)));
        }
    }

    fn put_ip(&mut self, ip: &Ip) {
        if let Some(before) = self.ips.insert(ip.id, Arc::new(ip.clone())) {
            self.ips_by_address.remove(&before.address);
            if let Some(lb) = before.lb {
                self.ips_by_lb.remove(&(lb, before.id));
                self.touch(lb);
            }
        }
        self.by_project.entry(ip.owner.project).or_default().ips.insert(ip.id);
        self.ips_by_address.insert(ip.address, ip.id);
        if let Some(lb) = ip.lb {
            self.ips_by_lb.insert((lb, ip.id));
            self.touch(lb);
        }
    }

    fn touch(&mut self, lb: LbId) {
        self.touched.insert(lb, self.generation);
    }
}

/// Each difference as what stood before and what stands after.
fn pairs<'a, K, V>(
    differences: impl Iterator<Item = DiffItem<'a, 'a, K, V>>,
) -> impl Iterator<Item = (Option<&'a V>, Option<&'a V>)>
where
    K: 'a,
    V: 'a,
{
    differences.map(|difference| match difference {
        DiffItem::Add(_, after) => (None, Some(after)),
        DiffItem::Update { old: (_, before), new: (_, after) } => (Some(before), Some(after)),
        DiffItem::Remove(_, before) => (Some(before), None),
    })
}
