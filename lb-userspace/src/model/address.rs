//! Addresses and ports, as texts and numbers become them.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;

use super::Invalid;

/// An IP address.
///
/// # Errors
/// [`Invalid`] when the text is none.
pub fn parse(text: &str) -> Result<IpAddr, Invalid> {
    text.parse().map_err(|_| {
        Invalid::format(format!(
            "`{text}` is no IP address: one such as 192.0.2.10 or 2001:db8::10 is expected, without port or prefix"
        ))
    })
}

/// A port.
///
/// # Errors
/// [`Invalid`] when it is outside 1 to 65535.
pub fn parse_port(port: i64) -> Result<NonZeroU16, Invalid> {
    u16::try_from(port)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| Invalid::constraint(format!("{port} is no port: 1 to 65535 are")))
}

/// An address that a server can have: one host on the network.
///
/// # Errors
/// [`Invalid`] when it is unspecified, loopback, link-local, multicast, broadcast, or an IPv4 address written as IPv6.
pub fn check_server(address: IpAddr) -> Result<IpAddr, Invalid> {
    let kind = match address {
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_loopback() => "a loopback address",
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "the broadcast address",
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => "an IPv4 address in IPv6 form",
        IpAddr::V4(address) if address.is_link_local() => "a link-local address, among them a host's metadata service",
        IpAddr::V6(address) if address.is_unicast_link_local() => "a link-local address",
        _ => return Ok(address),
    };
    Err(Invalid::constraint(format!("{address} is {kind}: a server has a unicast address that the edge can route to")))
}
