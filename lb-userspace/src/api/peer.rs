//! Where a request comes from: what it may be told without a token, and what it is counted with, go by that.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Whoever may open the Unix socket: root. Also a router that is called without any connection, as tests do.
    #[default]
    Socket,
    /// A process of this machine.
    Loopback,
    /// Another machine.
    Remote(Source),
}

/// What connections and requests are counted by: an IPv4 address, or the /64 that an IPv6 host chooses its addresses in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Peer {
    /// The other end of a TCP connection.
    #[must_use]
    pub const fn of(address: SocketAddr) -> Self {
        let address = address.ip().to_canonical();
        if address.is_loopback() { Self::Loopback } else { Self::Remote(Source::of(address)) }
    }
}

impl Source {
    /// The source that an address belongs to.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => Self(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !(u64::MAX as u128)))),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_a_64_whichever_way_it_is_written() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(Peer::of("[::ffff:127.0.0.1]:80".parse().unwrap()), Peer::Loopback);
        assert_eq!(Peer::of("[2001:db8::1]:80".parse().unwrap()), Peer::Remote(of("2001:db8::")));
    }
}
