//! What was decided about a captured packet: why it left, which service it is of, and which server got it.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use lb_common::abi::Reason;
use lb_common::abi::ip_of;
use lb_common::capture::Sight;
use lb_common::headers::{AddressWords, number};
use serde::Serialize;

use super::{endpoint, protocol_name};
use crate::dataplane::capture::Captured;
use crate::ledger::Snapshot;
use crate::model::{Forwarding, Protocol};
use crate::plan::{NextHops, PlannedService, Resolution, ServiceAddress, Tables};

/// What addresses and ports belong to at the moment.
#[derive(Clone, Debug)]
pub struct Names {
    /// The services.
    pub tables: Arc<Tables>,
    /// The load balancers.
    pub snapshot: Arc<Snapshot>,
    /// The ways to servers.
    pub next_hops: Arc<NextHops>,
}

/// A packet and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// When it came.
    pub at: Timestamp,
    /// Why it left; a label of [`Reason`].
    pub reason: String,
    /// `pass`, `drop`, `tx` (back out of the same interface) or `redirect`.
    pub action: &'static str,
    /// `address:port/protocol` of the service it is of, also as an answer of a server.
    pub service: Option<String>,
    /// Name of the service's load balancer.
    pub lb: Option<String>,
    /// The server it was sent to, or answered.
    pub server: Option<String>,
    /// The packet as it came in.
    pub came: Packet,
    /// What left in its place, if anything did.
    pub sent: Option<Packet>,
}

/// A packet's outermost headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// Number of the interface: it came in there, or goes out there as far as is known.
    #[serde(skip)]
    pub ifindex: u32,
    /// Source address, and port if it has one.
    pub from: String,
    /// Destination address, and port if it has one.
    pub to: String,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `ipip`, `ipv6`, or a number.
    pub protocol: String,
    /// Bytes, from the Ethernet header on.
    pub bytes: u32,
}

impl Decision {
    /// Makes out what a captured packet was.
    #[must_use]
    pub fn of(captured: &Captured, at: Timestamp, names: &Names) -> Self {
        let record = &captured.record;
        let came = Sight::of(captured.came.as_slice());
        let sent = Sight::of(captured.sent.as_slice()).filter(|_| record.out_len > 0);
        let there = came.and_then(|sight| names.service(sight.destination, port(&sight, 16), sight.protocol));
        let back = sent.and_then(|sight| names.service(sight.source, port(&sight, 0), sight.protocol));
        let is_forwarded = [Reason::Transmitted, Reason::Redirected].iter().any(|one| *one as u32 == record.reason);
        let (service, server) = match (there, back, came, sent) {
            (Some(service), _, _, Some(sent)) if is_forwarded => {
                let server = names.server(service.1, &sent, &captured.sent);
                (Some(service), server)
            }
            (None, Some(service), Some(came), Some(_)) if is_forwarded => {
                (Some(service), Some((ip(came.source), port(&came, 0))))
            }
            (there, ..) => (there, None),
        };
        let out = server.and_then(|(address, _)| names.egress(address)).unwrap_or(record.ifindex);
        let is_redirected = record.reason == Reason::Redirected as u32;
        Self {
            at,
            reason: Reason::ALL
                .iter()
                .find(|reason| **reason as u32 == record.reason)
                .map_or_else(|| record.reason.to_string(), |reason| reason.label().to_owned()),
            action: match record.action {
                1 => "drop",
                2 => "pass",
                3 => "tx",
                4 => "redirect",
                _ => "aborted",
            },
            service: service.map(|(address, planned)| service_text(address, planned)),
            lb: service.and_then(|(_, planned)| names.snapshot.lb(planned.lb)).map(|lb| lb.name.to_string()),
            server: server.map(|(address, port)| endpoint(address, port)),
            came: packet(came, record.ifindex, record.in_len),
            sent: (record.out_len > 0).then(|| {
                let ifindex = if is_redirected { out } else { record.ifindex };
                packet(sent, ifindex, record.out_len)
            }),
        }
    }

    /// The decision in words that can be searched for: `reason=… service=… lb=… server=…`.
    #[must_use]
    pub fn comment(&self, way: &str) -> String {
        let mut text = format!("{way} reason={} action={}", self.reason, self.action);
        for (name, value) in [("service", &self.service), ("lb", &self.lb), ("server", &self.server)] {
            if let Some(value) = value {
                text.push_str(&format!(" {name}={value}"));
            }
        }
        text
    }
}

impl Names {
    /// The service at an address, by its own port or by the narrowest range that has it.
    fn service(
        &self,
        address: AddressWords,
        port: Option<u16>,
        protocol: u8,
    ) -> Option<(&ServiceAddress, &PlannedService)> {
        let (port, protocol) = (
            port?,
            match protocol {
                number::TCP => Protocol::Tcp,
                number::UDP => Protocol::Udp,
                _ => return None,
            },
        );
        let own = ServiceAddress { address: ip(address), port, protocol, is_range: false };
        let exact = self.tables.services.get_key_value(&own);
        let range = || {
            let has = |service: &ServiceAddress, planned: &PlannedService| {
                service.is_range && service.protocol == protocol && (service.port..=planned.last_port).contains(&port)
            };
            let ranges = self.tables.services_at(own.address).filter(|(service, planned)| has(service, planned));
            ranges.min_by_key(|(service, planned)| planned.last_port - service.port)
        };
        exact.or_else(range).map(|(service, planned)| (service, &**planned))
    }

    /// The server that a packet of a service was sent to, and the port where that is its own.
    fn server(&self, service: &PlannedService, sent: &Sight, bytes: &[u8]) -> Option<(IpAddr, Option<u16>)> {
        match service.forwarding {
            Forwarding::Nat => Some((ip(sent.destination), port(sent, 16))),
            Forwarding::Ipip | Forwarding::Gue => Some((ip(sent.destination), None)),
            Forwarding::L2 => {
                let mac = bytes.first_chunk::<6>()?;
                let has = |address: &IpAddr| matches!(self.next_hops.get(address), Some(Resolution::Resolved(hop)) if hop.mac == *mac);
                service.servers.iter().map(|server| server.address).find(has).map(|address| (address, None))
            }
        }
    }

    fn egress(&self, server: IpAddr) -> Option<u32> {
        match self.next_hops.get(&server) {
            Some(Resolution::Resolved(hop)) => Some(hop.ifindex),
            _ => None,
        }
    }
}

fn service_text(service: &ServiceAddress, planned: &PlannedService) -> String {
    let range = if service.is_range { format!("-{}", planned.last_port) } else { String::new() };
    format!("{}{range}/{}", endpoint(service.address, Some(service.port)), service.protocol.as_str())
}

fn packet(sight: Option<Sight>, ifindex: u32, bytes: u32) -> Packet {
    let end = |words, shift| sight.map_or_else(String::new, |sight| endpoint(ip(words), port(&sight, shift)));
    Packet {
        ifindex,
        from: sight.map_or_else(String::new, |sight| end(sight.source, 0)),
        to: sight.map_or_else(String::new, |sight| end(sight.destination, 16)),
        protocol: sight.map_or_else(String::new, |sight| protocol_name(sight.protocol)),
        bytes,
    }
}

const fn ip(words: AddressWords) -> IpAddr {
    ip_of(words.address())
}

/// The source port at 0, the destination port at 16; `None` where there are no ports.
fn port(sight: &Sight, shift: u32) -> Option<u16> {
    (sight.ports != 0).then(|| u16::from_be((sight.ports >> shift) as u16))
}
