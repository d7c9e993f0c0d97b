//! Packets with the verdicts on them, for whoever watches: what is wanted, what was decided, and how it is written.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::abi::capture::{CaptureEnd, CaptureFilter, MAX_SNAP};
use lb_common::abi::protection::Rate;
use lb_common::abi::{Reason, address_of};

mod decision;
pub mod parse;
mod pcapng;
mod writer;

pub use decision::{Decision, Names};
pub use writer::{Format, Writer};

/// Packets a second that are captured at most.
pub const MAX_RATE: u32 = 100_000;
/// Packets that are captured at once at most.
pub const MAX_BURST: u32 = 1_000;
/// Bytes of a packet that are kept at most.
pub const MAX_KEPT: u32 = MAX_SNAP;

/// Which packets somebody wants to see; whatever is not named is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The client's address, or those of a prefix.
    pub client: Option<IpNet>,
    /// The service's address, or those of a prefix.
    pub service: Option<IpNet>,
    /// The service's port.
    pub port: Option<u16>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// What they left for; none is any.
    pub reasons: Vec<Reason>,
    /// Packets a second, 1 to [`MAX_RATE`]; a second's worth at once, but no more than [`MAX_BURST`].
    pub rate: u32,
    /// Bytes of each that are kept, up to [`MAX_KEPT`].
    pub snap: u32,
}

impl Wanted {
    /// As the program reads it; without a time yet.
    #[must_use]
    pub fn filter(&self) -> CaptureFilter {
        let reasons: &[Reason] = if self.reasons.is_empty() { Reason::ALL } else { &self.reasons };
        let rate = self.rate.clamp(1, MAX_RATE);
        CaptureFilter {
            rate: Rate { burst: rate.min(MAX_BURST), ..Rate::per_second(rate) },
            reasons: CaptureFilter::bits(reasons.iter().copied()),
            client: end(self.client, 0),
            service: end(self.service, self.port.unwrap_or(0)),
            snap: self.snap.min(MAX_KEPT),
            protocol: self.protocol.map_or(0, u32::from),
            ..CaptureFilter::default()
        }
    }
}

fn end(net: Option<IpNet>, port: u16) -> CaptureEnd {
    let Some(net) = net else {
        return CaptureEnd { port: u32::from(u16::from_ne_bytes(port.to_be_bytes())), ..CaptureEnd::default() };
    };
    let mapped = if net.addr().is_ipv4() { 96 } else { 0 };
    CaptureEnd::new(address_of(net.network()), mapped + net.prefix_len(), port)
}

/// A protocol's name, or its number.
fn protocol_name(protocol: u8) -> String {
    use lb_common::headers::number;
    match protocol {
        number::TCP => "tcp".to_owned(),
        number::UDP => "udp".to_owned(),
        number::ICMP => "icmp".to_owned(),
        number::ICMPV6 => "icmpv6".to_owned(),
        number::IPIP => "ipip".to_owned(),
        number::IPV6 => "ipv6".to_owned(),
        other => other.to_string(),
    }
}

/// `192.0.2.1:80`, or without ports the address.
fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests;
