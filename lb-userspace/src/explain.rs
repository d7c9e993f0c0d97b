//! `explain`: what the kernel program does with a client's packets, step by step, from the live maps.
//!
//! Hash, slot, steering and encapsulation are the very code the kernel runs (`lb-common`); only the reads of the maps
//! are others.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use lb_common::abi::{
    Address, BackendEntry, ConfigEntry, FlowEntry, FlowKey, NatFlow, ProtectionEntry, QuicKey, RangeKey, Reason,
    ServiceEntry, ServiceKey, Slot, VipEntry, address_of, service::kind,
};
use lb_common::hash::FlowHash;
use lb_common::headers::{self, Headers, Parsed};
use lb_common::steer::Tables;

use crate::dataplane::{DataplaneError, Lookup};
use crate::model::Protocol;
use crate::plan::ServiceAddress;

mod connection_id;
mod facts;
mod header;
mod named;
pub(crate) mod packet;
mod steps;

pub use connection_id::ConnectionId;
pub use facts::{BackendFacts, Explanation, FlowFacts, NatFacts, NextHopFacts, Outcome, ServiceFacts, SlotFacts, Step};
pub use header::{Header, headers};
use header::{Smallest, TcpFlag};
pub use packet::{Action, Chosen, Leaves, Made, made};

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// One address is IPv4, the other IPv6.
    #[error(
        "client {client} and service {service} are not of the same IP version: no packet goes from one to the other"
    )]
    Family {
        /// The client.
        client: IpAddr,
        /// The service's address.
        service: IpAddr,
    },
    /// A map could not be read.
    #[error("the maps could not be read")]
    Dataplane(#[from] DataplaneError),
}

/// What happens to a client's packets to a service; of QUIC, to those of an open connection when its id is given.
///
/// # Errors
/// [`ExplainError::Family`] when no such packet exists; [`ExplainError::Dataplane`] when a map cannot be read.
pub fn explain(
    maps: &dyn Lookup,
    client: SocketAddr,
    service: ServiceAddress,
    connection_id: Option<&ConnectionId>,
) -> Result<Explanation, ExplainError> {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    if client.is_ipv4() != service.address.is_ipv4() {
        return Err(ExplainError::Family { client: client.ip(), service: service.address });
    }
    let mut explanation = Explanation {
        client,
        service: service.to_string(),
        steps: Vec::new(),
        entry: None,
        hash: None,
        slot: None,
        flow: None,
        nat: None,
        opening: Outcome::nothing(Action::Pass, Reason::NoService),
        established: None,
        answer: None,
        verdict: String::new(),
    };
    walk(maps, service, connection_id, &mut explanation)?;
    explanation.verdict = explanation.sentence();
    Ok(explanation)
}

/// One line per step, then the outcome.
impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.steps {
            writeln!(f, "{:<9} {}", step.stage, step.what)?;
        }
        f.write_str(&self.verdict)
    }
}

fn walk(
    maps: &dyn Lookup,
    service: ServiceAddress,
    connection_id: Option<&ConnectionId>,
    explanation: &mut Explanation,
) -> Result<(), DataplaneError> {
    let is_tcp = service.protocol == Protocol::Tcp;
    let ends = ((explanation.client.ip(), explanation.client.port()), (service.address, service.port));
    let payload = connection_id.map(ConnectionId::packet).unwrap_or_default();
    let opening = if is_tcp { Smallest::Tcp(&[TcpFlag::Syn]) } else { Smallest::Udp(&payload) };
    let opening = header::smallest(ends.0, ends.1, opening);
    let ingress = interfaces(maps);
    let made_of = |frame: &[u8]| made(maps, &ingress, frame).map(|made| made.map(Outcome::and_made));
    let Some((outcome, made)) = made_of(&opening)? else { return Ok(()) };
    explanation.opening = outcome;
    let looked = Maps::new(maps);
    let Some(entry) = explanation.find(&looked, service) else {
        explanation.nobody(service, looked.vip(&address_of(service.address)));
        return looked.finish(());
    };
    explanation.service(&entry);
    let is_refused = matches!(made.reason, Reason::Quarantined | Reason::AclDenied);
    explanation.protection(&looked, &entry, is_refused);
    if is_refused {
        return looked.finish(());
    }
    let Some(config) = looked.config() else {
        explanation.step("hash", "the configuration is missing: the reconciler writes it again".to_owned());
        return looked.finish(());
    };
    if let Ok(Parsed::Flow(headers)) = headers::parse(&*opening) {
        explanation.connection_id(&entry, connection_id, &opening, &headers);
        explanation.hash(FlowHash::of(&headers, entry.flags, config.hash_key), &entry);
        explanation.way(&looked, &headers, &made, &entry);
    }
    explanation.describe("opening");
    if is_tcp {
        let frame = header::smallest(ends.0, ends.1, Smallest::Tcp(&[TcpFlag::Ack]));
        explanation.established =
            made_of(&frame)?.map(|(outcome, _)| outcome).filter(|it| it.backend != explanation.opening.backend);
        if explanation.established.is_some() {
            explanation.describe("established");
        }
    }
    if let Some(NatFacts { source, server, valid: true, .. }) = explanation.nat {
        let answer = if is_tcp { Smallest::Tcp(&[TcpFlag::Syn, TcpFlag::Ack]) } else { Smallest::Udp(&[]) };
        let frame = header::smallest((server.ip(), server.port()), (source.ip(), source.port()), answer);
        explanation.answer = made_of(&frame)?.map(|(outcome, _)| outcome);
    }
    looked.finish(())
}

/// The interfaces that the program is attached to: packets come in on these.
fn interfaces(maps: &dyn Lookup) -> Vec<u32> {
    maps.attachments().iter().map(|attachment| attachment.ifindex).collect()
}

/// The live maps as the program reads them. What could not be read is kept.
struct Maps<'a> {
    maps: &'a dyn Lookup,
    failed: RefCell<Option<DataplaneError>>,
}

impl<'a> Maps<'a> {
    fn new(maps: &'a dyn Lookup) -> Self {
        Self { maps, failed: RefCell::new(None) }
    }

    /// What was found out with these maps, if all of them could be read.
    fn finish<T>(self, found: T) -> Result<T, DataplaneError> {
        self.failed.into_inner().map_or(Ok(found), Err)
    }

    fn read<T>(&self, result: Result<Option<T>, DataplaneError>) -> Option<T> {
        match result {
            Ok(value) => value,
            // The kernel finds nothing there, either.
            Err(DataplaneError::OutOfRange { .. }) => None,
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
        }
    }

    fn service(&self, key: &ServiceKey) -> Option<ServiceEntry> {
        self.read(self.maps.service(key))
    }

    /// The first port and the service of the range that a port is in; for a port that is no service itself.
    fn range(&self, key: &ServiceKey) -> Option<(u16, ServiceEntry)> {
        self.config().filter(|config| config.ranges != 0)?;
        let ServiceKey { address, port, protocol, .. } = *key;
        let whole = RangeKey { prefix_len: RangeKey::ALL_BITS, address, protocol, pad: 0, port };
        let first = self.read(self.maps.range(&whole))?.first;
        let service = self.service(&ServiceKey { port: first, kind: kind::RANGE, ..*key })?;
        Some((u16::from_be_bytes(first), service))
    }

    fn config(&self) -> Option<ConfigEntry> {
        self.read(self.maps.config())
    }

    fn vip(&self, address: &Address) -> Option<VipEntry> {
        self.read(self.maps.vip(address))
    }

    fn protection(&self, id: u32) -> ProtectionEntry {
        self.read(self.maps.protection(id).map(Some)).unwrap_or_default()
    }

    fn acl(&self, number: u32, address: Address) -> Option<u32> {
        self.read(self.maps.acl(number, address))
    }

    /// The server that QUIC connection ids with such an id name.
    fn quic_server(&self, key: &QuicKey) -> Option<FlowEntry> {
        self.read(self.maps.quic_server(key))
    }

    /// The translated flow of a client's packet by way of a server ([`FlowKey::via`]), and the tick it is now.
    fn nat_flow(&self, headers: &Headers, via: u32) -> Option<(NatFlow, u32)> {
        let [_, a, b, c] = headers.last_word(via).to_le_bytes();
        self.read(self.maps.nat_flow(&FlowKey { via: [a, b, c], ..headers.flow_key() }))
    }

    fn nat_place(&self, source: &Address, port: u16) -> Option<NatFlow> {
        self.read(self.maps.nat_place(source, port))
    }

    fn is_nat_source(&self, address: &Address) -> bool {
        self.read(self.maps.is_nat_source(address).map(Some)).unwrap_or_default()
    }

    fn has_egress(&self, ifindex: u32) -> bool {
        self.read(self.maps.has_egress(ifindex).map(Some)).unwrap_or_default()
    }
}

impl Tables for Maps<'_> {
    type Backend = BackendEntry;

    fn slot(&self, index: u32) -> Option<Slot> {
        self.read(self.maps.slot(index).map(Some))
    }

    fn backend(&self, index: u32) -> Option<BackendEntry> {
        self.read(self.maps.backend(index))
    }

    fn opened(&self, headers: &Headers) -> Option<FlowEntry> {
        self.read(self.maps.opened(&headers.flow_key()))
    }

    fn pinned(&self, headers: &Headers) -> Option<FlowEntry> {
        self.read(self.maps.pinned(&headers.flow_key()))
    }
}
