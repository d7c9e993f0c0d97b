//! What the plan needs to know about the machine it is for: the ways to the servers, and what they carry.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::ServerRef;

/// Facts about an edge, as observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The ways to the servers.
    pub next_hops: Arc<NextHops>,
    /// What measuring says of the servers of pools that go by it.
    pub shares: Arc<Shares>,
}

/// How much of what its weight gives it a server should get, 1 to 256 ([`super::slots::FULL`]); absent is all of it.
pub type Shares = BTreeMap<ServerRef, u16>;

/// The way to each wanted address.
pub type NextHops = BTreeMap<IpAddr, Resolution>;

/// Whether the way to an address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Route and neighbour are known.
    Resolved(NextHop),
    /// They are not, and why.
    Unresolved(Unresolved),
}

/// Where a packet to an address goes on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NextHop {
    /// Egress interface: of a VLAN device, the device below it.
    pub ifindex: u32,
    /// MAC of the server or of the gateway towards it.
    pub mac: [u8; 6],
    /// MAC of the egress interface.
    pub source_mac: [u8; 6],
    /// Largest IP packet on the path, bytes.
    pub mtu: u16,
    /// Outer VLAN id to tag with; 0 for none.
    pub vlan_outer: u16,
    /// Inner VLAN id to tag with; 0 for none.
    pub vlan_inner: u16,
    /// The MAC is a gateway's, not the server's own.
    pub via_gateway: bool,
}

/// Why a next hop is not known.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    thiserror::Error,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Unresolved {
    /// Not asked yet, or the neighbour has not answered yet.
    #[error("waiting for the neighbour's answer")]
    Pending,
    /// The kernel has no route.
    #[error("no route to the server: add one, or correct the server's address")]
    NoRoute,
    /// The neighbour does not answer.
    #[error("the neighbour does not answer: is the server or the gateway up, and on this link?")]
    NoNeighbour,
    /// The egress interface is down.
    #[error("the interface towards the server is down")]
    LinkDown,
    /// The address is this machine's own.
    #[error("the server's address is this machine's own: servers stand on other hosts")]
    Local,
    /// The server is behind a gateway, and its pool's forwarding leads to servers on the link only.
    #[error("the server is behind a gateway: `l2` forwarding needs it on a segment of this edge")]
    NotOnLink,
    /// The egress device is of a kind a packet cannot be handed to at link level.
    #[error("the route leads through a device without link-level addresses (a tunnel, for instance)")]
    UnsupportedDevice,
}
