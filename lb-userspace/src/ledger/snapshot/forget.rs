//! What a purge does to a snapshot: a document leaves it, and every index.

use jiff::Timestamp;

use super::Snapshot;
use crate::ledger::{Operation, purge};
use crate::model::{Document, Generation, Ip, Measure};

impl Snapshot {
    /// Deleted documents that were purged after a moment, no longer ago than the window of their budget.
    #[must_use]
    pub fn purged_since(&self, since: Timestamp) -> usize {
        self.purges.range((since, Generation(0))..).map(|(_, count)| count).sum()
    }

    pub(super) fn remember_purges(&mut self, operation: &Operation) {
        let count = purge::count(&operation.changes);
        if count == 0 {
            return;
        }
        let oldest = operation.at.checked_sub(purge::BUDGET.window).unwrap_or(Timestamp::MIN);
        while let Some(key) = self.purges.get_min().map(|(key, _)| *key).filter(|(at, _)| *at < oldest) {
            self.purges.remove(&key);
        }
        self.purges.insert((operation.at, operation.generation), count);
    }

    /// Measures that ended long ago leave: nothing asks for them but the log, which has them.
    pub(super) fn forget_measures(&mut self, now: Timestamp) {
        let oldest = now.checked_sub(Measure::KEPT).unwrap_or(Timestamp::MIN);
        while let Some((end, id)) = self.measures_by_end.get_min().copied().filter(|(end, _)| *end < oldest) {
            self.measures_by_end.remove(&(end, id));
            self.freezes.remove(&id);
            self.measures.remove(&id);
        }
    }

    /// Takes a purged document out.
    pub(super) fn forget(&mut self, document: &Document) {
        match document {
            Document::Ip(ip) => self.forget_ip(ip),
            Document::Lb(lb) => {
                self.lbs.remove(&lb.id);
                self.touched.remove(&lb.id);
                if let Some(mut owned) = self.by_project.get(&lb.owner.project).cloned() {
                    owned.lbs.remove(&lb.id);
                    self.by_project.insert(lb.owner.project, owned);
                }
            }
            Document::Frontend(frontend) => {
                self.frontends.remove(&frontend.id);
                self.frontends_by_lb.remove(&(frontend.lb, frontend.id));
                self.frontends_by_backend.remove(&(frontend.backend, frontend.id));
            }
            Document::Backend(backend) => {
                self.backends.remove(&backend.id);
                self.backends_by_lb.remove(&(backend.lb, backend.id));
            }
            Document::Acl(acl) => {
                self.acls.remove(&acl.id);
                self.acls_by_frontend.remove(&(acl.frontend, acl.id));
            }
            Document::NatSource(source) => drop(self.nat_sources.remove(&source.id)),
            Document::Subscriber(subscriber) => drop(self.subscribers.remove(&subscriber.id)),
            Document::Dependent(dependent) => {
                for lb in dependent.lbs.iter() {
                    self.dependents_by_lb.remove(&(lb, dependent.id));
                }
                self.dependents.remove(&dependent.id);
            }
            // Tenants and tokens stay: who did what is read for ever. Measures leave by their own rule.
            Document::Organization(_) | Document::Project(_) | Document::Token(_) => self.tenants.put(document),
            Document::Measure(measure) => self.put_measure(measure),
        }
    }

    fn forget_ip(&mut self, ip: &Ip) {
        self.ips.remove(&ip.id);
        if self.ips_by_address.get(&ip.address) == Some(&ip.id) {
            self.ips_by_address.remove(&ip.address);
        }
        if let Some(lb) = ip.lb {
            self.ips_by_lb.remove(&(lb, ip.id));
        }
        if let Some(mut owned) = self.by_project.get(&ip.owner.project).cloned() {
            owned.ips.remove(&ip.id);
            self.by_project.insert(ip.owner.project, owned);
        }
    }
}
