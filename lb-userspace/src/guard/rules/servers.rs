//! A server's address is that of one host, not the edge itself, and no address that is load-balanced.

use super::{Case, Refusal, Sink};
use crate::model::{Document, Invalid, Server, address};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for document in case.live() {
        let Document::Backend(backend) = document else { continue };
        let mut wrong = |invalid| refuse(document.key(), Refusal::Argument { argument: "server_ip", invalid });
        if let Err(invalid) = Server::sorted(backend.servers.clone()) {
            wrong(invalid);
        }
        for server in &backend.servers {
            if let Err(invalid) = address::check_server(server.address) {
                wrong(invalid);
            }
            if case.pools.is_own(server.address) {
                wrong(Invalid::constraint(format!(
                    "{} is an address of this edge itself: what listens there are the edge's own services, and no tenant's",
                    server.address
                )));
            }
            if case.after.ip_with_address(server.address).is_some() {
                wrong(Invalid::constraint(format!(
                    "{} is an address of a load balancer: a server has one of its own, or packets would go in circles",
                    server.address
                )));
            }
        }
        for server in &backend.servers {
            if case.after.nat_sources().any(|source| source.address == server.address) {
                wrong(Invalid::constraint(format!(
                    "{} is a source address of this edge's translated flows: a server has one of its own",
                    server.address
                )));
            }
        }
        let check = &backend.health_check;
        if check.timeout > check.interval || check.timeout.is_zero() {
            let invalid = Invalid::constraint("the timeout of a probe is more than 0 and at most its interval");
            refuse(document.key(), Refusal::Argument { argument: "health_check.check_timeout", invalid });
        }
    }
}
