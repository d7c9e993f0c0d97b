//! The address that this machine's probes come from: what a server's filter must allow.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The address that the kernel sends from towards another. No packet is sent.
///
/// # Errors
/// The system's, when there is no route.
pub fn source_towards(address: IpAddr) -> io::Result<IpAddr> {
    let any = if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((address, 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_to_this_machine_itself_comes_from_the_address_it_is_sent_to() {
        let loopback = IpAddr::from([127, 0, 0, 5]);
        assert!(source_towards(loopback).unwrap().is_loopback());
    }
}
