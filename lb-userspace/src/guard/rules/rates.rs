//! New connections are limited only where the protocol has an opening packet: a limit that counts nothing is none.

use super::{Case, Refusal, Sink};
use crate::model::{Document, DocumentKey, Frontend, Invalid, Kind, Protocol, RateLimits};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for document in case.live() {
        match document {
            Document::Frontend(frontend) => of_frontend(case, frontend, refuse),
            Document::Backend(backend) => {
                for frontend in case.after.frontends_with(backend.id).filter(|frontend| frontend.times.is_live()) {
                    let key = DocumentKey { kind: Kind::Frontend, id: frontend.id.as_uuid() };
                    if !case.is_changed(key) {
                        of_frontend(case, frontend, refuse);
                    }
                }
            }
            _ => {}
        }
    }
}

fn of_frontend(case: &Case<'_>, frontend: &Frontend, refuse: &mut Sink<'_>) {
    let RateLimits { connections_per_source, connections, packets: _ } = frontend.limits;
    let argument = match (connections_per_source, connections) {
        (0, 0) => return,
        (0, _) => "service_connection_rate_limit",
        _ => "connection_rate_limit",
    };
    if case.after.backend(frontend.backend).is_some_and(|backend| backend.protocol != Protocol::Tcp) {
        let help = format!(
            "frontend {} would limit new connections, but its backend is of UDP, which has none: use `packet_rate_limit`",
            frontend.name
        );
        let key = DocumentKey { kind: Kind::Frontend, id: frontend.id.as_uuid() };
        refuse(key, Refusal::Argument { argument, invalid: Invalid::constraint(help) });
    }
}
