//! There is room for what is added. Reducing is always allowed, also above a quota that was lowered.

use super::{Case, Refusal, Sink};
use crate::model::{Class, Document, DocumentKey, FrontendId, Kind, Lb, LbId, LbType, ProjectId, Times};

/// A quota: its name, how many are allowed, how many there were and would be.
struct Room {
    resource: &'static str,
    quota: usize,
    before: usize,
    after: usize,
}

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    let mut told: Vec<(&str, uuid::Uuid)> = Vec::new();
    for change in case.changes() {
        let (of, room) = match &change.after {
            Document::Lb(lb) => match &change.before {
                None => (lb.owner.project.as_uuid(), lbs(case, lb.owner.project)),
                Some(Document::Lb(before)) if before.kind != lb.kind => {
                    fits(case, change.key(), lb, refuse);
                    continue;
                }
                Some(_) => continue,
            },
            Document::Ip(ip) if change.before.is_none() => (ip.owner.project.as_uuid(), ips(case, ip.owner.project)),
            Document::Subscriber(subscriber) if change.before.is_none() => {
                let project = subscriber.owner.project;
                (project.as_uuid(), subscribers(case, project))
            }
            Document::Frontend(frontend) if change.before.is_none() => {
                (frontend.lb.as_uuid(), frontends(case, frontend.lb))
            }
            Document::Backend(backend) => {
                if change.before.is_none() {
                    tell(change.key(), backend.lb.as_uuid(), backends(case, backend.lb), &mut told, refuse);
                }
                let before = match &change.before {
                    Some(Document::Backend(before)) => before.servers.len(),
                    _ => 0,
                };
                let after = backend.servers.len();
                let quota = case.limits.servers_per_backend.min(class(case, backend.lb).servers_per_backend);
                (backend.id.as_uuid(), Room { resource: "lb_servers", quota, before, after })
            }
            Document::Acl(acl) => {
                let of = acl.frontend.as_uuid();
                tell(change.key(), of, rules(case, acl.frontend), &mut told, refuse);
                (of, prefixes(case, acl.frontend))
            }
            _ => continue,
        };
        tell(change.key(), of, room, &mut told, refuse);
    }
}

fn tell(
    key: DocumentKey,
    of: uuid::Uuid,
    room: Room,
    told: &mut Vec<(&'static str, uuid::Uuid)>,
    refuse: &mut Sink<'_>,
) {
    let Room { resource, quota, before, after } = room;
    if after > quota && after > before && !told.contains(&(resource, of)) {
        told.push((resource, of));
        refuse(key, Refusal::Quota { resource, quota, current: before });
    }
}

/// What the type of a load balancer allows.
fn class(case: &Case<'_>, lb: LbId) -> Class {
    case.after.lb(lb).map_or(LbType::Xl.class(), |lb| lb.kind.class())
}

/// Whether what a load balancer has fits the type that it changes to: nothing is taken from it for that.
fn fits(case: &Case<'_>, key: DocumentKey, lb: &Lb, refuse: &mut Sink<'_>) {
    let class = lb.kind.class();
    let backends = case.after.backends_of(lb.id).filter(|backend| backend.times.is_live());
    let most = backends.map(|backend| backend.servers.len()).max().unwrap_or_default();
    let counts = [
        ("lb_frontends", class.frontends, live(case.after.frontends_of(lb.id).map(|frontend| &frontend.times))),
        ("lb_backends", class.backends, live(case.after.backends_of(lb.id).map(|backend| &backend.times))),
        ("lb_servers", class.servers_per_backend, most),
    ];
    for (resource, quota, current) in counts.into_iter().filter(|(_, quota, current)| current > quota) {
        refuse(key, Refusal::Quota { resource, quota, current });
    }
}

fn lbs(case: &Case<'_>, project: ProjectId) -> Room {
    let before = case.current.lbs_in(project).filter(|lb| lb.times.is_live()).count();
    let created = created(case, Kind::Lb);
    Room { resource: "lbs", quota: case.limits.lbs_per_project, before, after: before + created }
}

fn ips(case: &Case<'_>, project: ProjectId) -> Room {
    let before = case.current.ips_in(project).filter(|ip| ip.times.is_live()).count();
    let created = created(case, Kind::Ip);
    Room { resource: "lb_ips", quota: case.limits.ips_per_project, before, after: before + created }
}

fn subscribers(case: &Case<'_>, project: ProjectId) -> Room {
    let before = case.current.subscribers().filter(|one| one.owner.project == project && one.times.is_live()).count();
    let created = created(case, Kind::Subscriber);
    Room { resource: "lb_subscribers", quota: case.limits.subscribers_per_project, before, after: before + created }
}

/// The changes of one operation are all of one project.
fn created(case: &Case<'_>, kind: Kind) -> usize {
    case.changes().filter(|change| change.before.is_none() && change.key().kind == kind).count()
}

fn frontends(case: &Case<'_>, lb: LbId) -> Room {
    let count = |snapshot: &crate::ledger::Snapshot| live(snapshot.frontends_of(lb).map(|frontend| &frontend.times));
    Room {
        resource: "lb_frontends",
        quota: case.limits.frontends_per_lb.min(class(case, lb).frontends),
        before: count(case.current),
        after: count(case.after),
    }
}

fn backends(case: &Case<'_>, lb: LbId) -> Room {
    let count = |snapshot: &crate::ledger::Snapshot| live(snapshot.backends_of(lb).map(|backend| &backend.times));
    Room {
        resource: "lb_backends",
        quota: case.limits.backends_per_lb.min(class(case, lb).backends),
        before: count(case.current),
        after: count(case.after),
    }
}

fn rules(case: &Case<'_>, frontend: FrontendId) -> Room {
    let count = |snapshot: &crate::ledger::Snapshot| live(snapshot.acls_of(frontend).map(|acl| &acl.times));
    Room {
        resource: "lb_acls",
        quota: case.limits.acls_per_frontend,
        before: count(case.current),
        after: count(case.after),
    }
}

fn prefixes(case: &Case<'_>, frontend: FrontendId) -> Room {
    let count = |snapshot: &crate::ledger::Snapshot| {
        snapshot.acls_of(frontend).filter(|acl| acl.times.is_live()).map(|acl| acl.subnets.len()).sum()
    };
    Room {
        resource: "lb_acl_subnets",
        quota: case.limits.acl_prefixes_per_frontend,
        before: count(case.current),
        after: count(case.after),
    }
}

fn live<'a>(times: impl Iterator<Item = &'a Times>) -> usize {
    times.filter(|times| times.is_live()).count()
}
