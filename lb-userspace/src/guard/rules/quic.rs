//! Connection ids name servers of QUIC, which is UDP, and each server of a pool by an id of its own.

use std::collections::BTreeMap;

use super::{Case, Refusal, Sink};
use crate::model::{Backend, Document, Invalid, Protocol, Quic};
use crate::plan::ServerRef;
use crate::reconcile::identity;

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for document in case.live() {
        let Document::Backend(backend) = document else { continue };
        let Some(quic) = backend.quic else { continue };
        let mut wrong = |help| {
            let invalid = Invalid::constraint(help);
            refuse(document.key(), Refusal::Argument { argument: "quic_server_id_length", invalid });
        };
        if backend.protocol != Protocol::Udp {
            wrong(format!(
                "backend {} is of `{}`, and QUIC goes over UDP: make its `forward_protocol` `udp`, or leave the server ids out",
                backend.name,
                backend.protocol.as_str()
            ));
        }
        if let Some(help) = shared_id(backend, quic) {
            wrong(help);
        }
    }
}

/// Two servers whose ids are the same.
fn shared_id(backend: &Backend, quic: Quic) -> Option<String> {
    let mut servers = BTreeMap::new();
    for server in &backend.servers {
        let reference = ServerRef { backend: backend.id, address: server.address };
        let id = quic.server_id(identity(reference, backend.forward_port.get()));
        if let Some(other) = servers.insert(id.clone(), server.address) {
            return Some(format!(
                "the servers {other} and {} of backend {} would both have the id {id}: ids of more than {} bytes tell them \
                 apart, and change those of all servers",
                server.address,
                backend.name,
                Quic::length_of(Some(quic))
            ));
        }
    }
    None
}
