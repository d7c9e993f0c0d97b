//! An address that is reserved lies in the pools and is free: no other IP has it, also no deleted one, and no server.

use super::{Case, Refusal, Sink};
use crate::model::{Document, Invalid};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for change in case.changes() {
        let (None, Document::Ip(ip)) = (&change.before, &change.after) else { continue };
        let address = ip.address;
        let mut wrong = |help: String| {
            refuse(change.key(), Refusal::Argument { argument: "ip_address", invalid: Invalid::constraint(help) });
        };
        if !case.pools.contains(address) {
            wrong(format!(
                "{address} is in none of the edge's pools ({}), whose first and last addresses are left out",
                case.pools
            ));
        }
        let taken = case.current.ip_with_address(address).is_some()
            || case.changes().any(|other| {
                other.key() != change.key() && matches!(&other.after, Document::Ip(ip) if ip.address == address)
            });
        if case.current.nat_sources().any(|source| source.address == address) {
            wrong(format!("{address} is a source address of this edge's translated flows"));
        }
        if taken {
            wrong(format!("{address} is reserved already: leave `ip_address` out to get a free one"));
        }
        let is_server = |pool: &crate::model::Backend| pool.servers.iter().any(|server| server.address == address);
        if let Some(pool) = case.after.backends().find(|pool| pool.times.is_live() && is_server(pool)) {
            wrong(format!("{address} is the address of a server (backend {})", pool.id));
        }
    }
}
