//! A pool that reaches its servers only from their own IP version has one for every address in front of it.

use super::{Case, Refusal, Sink, lb_key};
use crate::model::{Backend, DocumentKey, Family, Invalid, Ip, Kind};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for lb in case.live_lbs() {
        let ips: Vec<_> = case.after.ips_of(lb.id).filter(|ip| ip.times.is_live()).collect();
        for frontend in case.after.frontends_of(lb.id).filter(|frontend| frontend.times.is_live()) {
            let Some(backend) = case.after.backend(frontend.backend).filter(|backend| backend.times.is_live()) else {
                continue;
            };
            let Some(ip) = ips.iter().find(|ip| !reaches(backend, ip)) else { continue };
            let family = Family::of(ip.address);
            let help = format!(
                "frontend {} would listen on {}, but backend {} has no {} server and `{}` forwarding does not lead from \
                 one IP version to the other: name its servers by their {} addresses as well, or use `ipip`",
                frontend.name,
                ip.address,
                backend.name,
                family.as_str(),
                backend.forwarding.as_str(),
                family.as_str()
            );
            let key = |kind, id| DocumentKey { kind, id };
            let candidates = [
                (key(Kind::Backend, backend.id.as_uuid()), "server_ip"),
                (key(Kind::Frontend, frontend.id.as_uuid()), "backend_id"),
                (key(Kind::Ip, ip.id.as_uuid()), "lb_id"),
            ];
            let changed = candidates.into_iter().find(|(key, _)| case.is_changed(*key));
            let (key, argument) = changed.unwrap_or((lb_key(lb.id), "ip_ids"));
            refuse(key, Refusal::Argument { argument, invalid: Invalid::constraint(help) });
        }
    }
}

/// Whether packets to an address have a server in the pool; a pool without servers is allowed, and says so itself.
fn reaches(backend: &Backend, ip: &Ip) -> bool {
    let family = Family::of(ip.address);
    !backend.forwarding.keeps_family()
        || backend.servers.is_empty()
        || backend.servers.iter().any(|server| Family::of(server.address) == family)
}
