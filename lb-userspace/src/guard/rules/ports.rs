//! A port and protocol is listened on once per load balancer; without translation the server's port is the same.

use std::collections::BTreeMap;

use super::{Case, Refusal, Sink};
use crate::model::{Backend, Document, DocumentKey, Frontend, Invalid, Kind, Lb};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for lb in case.live_lbs() {
        check_lb(case, lb, refuse);
    }
}

fn check_lb(case: &Case<'_>, lb: &Lb, refuse: &mut Sink<'_>) {
    let mut listening: BTreeMap<_, Vec<(&Frontend, &Backend)>> = BTreeMap::new();
    for frontend in case.after.frontends_of(lb.id).filter(|frontend| frontend.times.is_live()) {
        let Some(backend) = case.after.backend(frontend.backend) else { continue };
        check_translation(case, frontend, backend, refuse);
        listening.entry((frontend.inbound_port, backend.protocol)).or_default().push((frontend, backend));
    }
    for ((port, protocol), pairs) in listening {
        let [_, _, ..] = pairs.as_slice() else { continue };
        let ids: Vec<String> = pairs.iter().map(|(frontend, _)| frontend.id.to_string()).collect();
        let help = format!(
            "{port}/{} would be listened on by the frontends {}; a port and protocol has one frontend",
            protocol.as_str(),
            ids.join(" and ")
        );
        let changed = pairs.iter().find_map(|(frontend, backend)| changed(case, frontend, backend, "forward_protocol"));
        if let Some((key, argument)) = changed {
            refuse(key, Refusal::Argument { argument, invalid: Invalid::constraint(help) });
        }
    }
}

fn check_translation(case: &Case<'_>, frontend: &Frontend, backend: &Backend, refuse: &mut Sink<'_>) {
    if backend.forwarding.translates_ports() || frontend.inbound_port == backend.forward_port {
        return;
    }
    let help = format!(
        "frontend {} listens on {} and backend {} forwards to {}: `{}` forwarding does not translate ports, both \
         must be the same (`nat` translates)",
        frontend.name,
        frontend.inbound_port,
        backend.name,
        backend.forward_port,
        backend.forwarding.as_str()
    );
    if let Some((key, argument)) = changed(case, frontend, backend, "forward_port") {
        refuse(key, Refusal::Argument { argument, invalid: Invalid::constraint(help) });
    }
}

/// Which of a pair the change is about, and its argument.
fn changed(
    case: &Case<'_>,
    frontend: &Frontend,
    backend: &Backend,
    of_backend: &'static str,
) -> Option<(DocumentKey, &'static str)> {
    let key = DocumentKey { kind: Kind::Frontend, id: frontend.id.as_uuid() };
    let pool = DocumentKey { kind: Kind::Backend, id: backend.id.as_uuid() };
    let is_new = |document: &Document| document.key() == key;
    if case.live().any(is_new) {
        Some((key, "inbound_port"))
    } else if case.is_changed(pool) {
        Some((pool, of_backend))
    } else {
        None
    }
}
