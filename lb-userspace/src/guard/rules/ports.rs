//! A port and protocol is listened on once per load balancer, by one frontend for itself and by one range; without
//! translation the server's port is the same.

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
        let is_range = frontend.inbound_port_end.is_some();
        listening.entry((is_range, backend.protocol)).or_default().push((frontend, backend));
    }
    for pairs in listening.into_values() {
        check_overlaps(case, pairs, refuse);
    }
}

/// Frontends for one port each, or ranges: none may have a port of another.
fn check_overlaps<'a>(case: &Case<'_>, mut pairs: Vec<(&'a Frontend, &'a Backend)>, refuse: &mut Sink<'_>) {
    pairs.sort_by_key(|(frontend, _)| frontend.ports());
    let mut pairs = pairs.into_iter();
    let Some(mut widest) = pairs.next() else { return };
    for pair in pairs {
        if pair.0.ports().0 <= widest.0.ports().1 {
            refuse_both(case, [widest, pair], refuse);
        }
        if pair.0.ports().1 > widest.0.ports().1 {
            widest = pair;
        }
    }
}

fn refuse_both(case: &Case<'_>, pairs: [(&Frontend, &Backend); 2], refuse: &mut Sink<'_>) {
    let [(first, backend), (second, _)] = pairs;
    let protocol = backend.protocol.as_str();
    let named = |frontend: &Frontend| format!("{} ({}, {})", frontend.name, frontend.ports_text(), frontend.id);
    let port = second.ports().0;
    let help = if first.inbound_port_end.is_some() {
        format!(
            "{port}/{protocol} would be in the ranges of the frontends {} and {}; ranges do not overlap, only a frontend \
             for one port may stand within one",
            named(first),
            named(second)
        )
    } else {
        format!(
            "{port}/{protocol} would be listened on by the frontends {} and {}; a port and protocol has one frontend",
            named(first),
            named(second)
        )
    };
    let changed = pairs.iter().find_map(|(frontend, backend)| changed(case, frontend, backend, "forward_protocol"));
    if let Some((key, argument)) = changed {
        refuse(key, Refusal::Argument { argument, invalid: Invalid::constraint(help) });
    }
}

fn check_translation(case: &Case<'_>, frontend: &Frontend, backend: &Backend, refuse: &mut Sink<'_>) {
    // Behind a range, a server's port is always the one that the client asked for.
    let is_range = frontend.inbound_port_end.is_some();
    if is_range || backend.forwarding.translates_ports() || frontend.inbound_port == backend.forward_port {
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
