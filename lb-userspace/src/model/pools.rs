//! The address pools of an edge: which addresses tenants can reserve.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Networks that flexible IPs are taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pools {
    networks: Vec<IpNet>,
    #[serde(skip)]
    own: BTreeSet<IpAddr>,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// `IPv4` or `IPv6`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl Pools {
    /// Pools from networks, in the order they are used.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self { networks: networks.into_iter().map(|network| network.trunc()).collect(), own: BTreeSet::new() }
    }

    /// The same on an edge that has these addresses itself.
    #[must_use]
    pub fn on_edge(self, own: BTreeSet<IpAddr>) -> Self {
        Self { own, ..self }
    }

    /// Whether an address is the edge's own.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// The networks.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Whether an address can be reserved: in a network, and neither its network nor its broadcast address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| {
            let (first, last) = usable(network);
            network.contains(&address) && (first..=last).contains(&address)
        })
    }

    /// First and last address that can be reserved of each network of a family.
    pub fn ranges(&self, family: Family) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        self.networks.iter().filter(move |network| Family::of(network.addr()) == family).map(usable)
    }
}

impl std::fmt::Display for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.networks.is_empty() {
            return f.write_str("none");
        }
        for (index, network) in self.networks.iter().enumerate() {
            write!(f, "{}{network}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The network's address is not a host's (IPv6: the subnet-router anycast address, RFC 4291 section 2.6.1), nor is
/// IPv4's broadcast address; networks of one or two addresses have neither (RFC 3021, RFC 6164).
fn usable(network: &IpNet) -> (IpAddr, IpAddr) {
    let (first, last) = (network.network(), network.broadcast());
    if network.prefix_len() + 1 >= network.max_prefix_len() {
        return (first, last);
    }
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            (IpAddr::V4((u32::from(first) + 1).into()), IpAddr::V4((u32::from(last) - 1).into()))
        }
        (IpAddr::V6(first), _) => (IpAddr::V6((u128::from(first) + 1).into()), last),
        (first, last) => (first, last),
    }
}

/// The address after another one; `None` after the last.
#[must_use]
pub fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}
