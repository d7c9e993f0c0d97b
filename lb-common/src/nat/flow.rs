//! A translated flow's packets: which of them the flow takes, and what they become.

use super::lifetime;
use super::rewrite::{Delta, Tuple};
use crate::abi::{BackendEntry, NatFlow, Reason, backend::state};
use crate::headers::{AddressWords, Family, Headers, number};
use crate::steer;

/// What a client's packet is to the flow that its tuple has, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to the flow.
    Follows,
    /// It opens a flow; the one it has is void.
    Opens,
    /// It belongs to a flow that we do not know (any more).
    Unknown,
}

impl Standing {
    /// Of a packet whose tuple has a flow on a backend. The flow of a backend that is down, or whose index another
    /// server has, is void at once.
    #[inline(always)]
    #[must_use]
    pub fn of(headers: &Headers, flow: &NatFlow, backend: &BackendEntry, now: u32) -> Self {
        if !is_live(flow, backend) {
            return Self::without_flow(headers);
        }
        let is_new = if headers.protocol == number::TCP {
            // A connection that was quiet for too long goes on as long as nobody else got its place.
            headers.opens_flow() && lifetime::is_reopened(flow, now)
        } else {
            lifetime::is_over(flow, now)
        };
        if is_new { Self::Opens } else { Self::Follows }
    }

    /// Of a packet whose tuple has no flow.
    #[inline(always)]
    #[must_use]
    pub const fn without_flow(headers: &Headers) -> Self {
        if headers.protocol == number::TCP && !headers.opens_flow() { Self::Unknown } else { Self::Opens }
    }
}

/// Whether the backend of a flow is up and still the one that the flow was opened to.
#[inline(always)]
#[must_use]
pub fn is_live(flow: &NatFlow, backend: &BackendEntry) -> bool {
    steer::is_up(&backend) && backend.generation == flow.generation
}

/// Whether a packet with this TTL or hop limit can be translated and sent to the backend.
///
/// # Errors
/// [`Reason::NoBackend`] when the server is of another IP version than the client, [`Reason::NextHopUnresolved`],
/// [`Reason::TtlExceeded`] or [`Reason::TooBig`].
#[inline(always)]
pub fn admit(headers: &Headers, ttl: u8, backend: &BackendEntry) -> Result<(), Reason> {
    if (backend.state & state::V4 != 0) != matches!(headers.family, Family::V4) {
        return Err(Reason::NoBackend);
    }
    if backend.state & state::RESOLVED == 0 {
        return Err(Reason::NextHopUnresolved);
    }
    if ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    if headers.ip_len > backend.mtu as u32 {
        return Err(Reason::TooBig);
    }
    Ok(())
}

impl NatFlow {
    /// What a client's packet becomes. Reads the first cache line only: the server's address is the backend's.
    #[inline(always)]
    #[must_use]
    pub const fn to_server(&self, backend: &BackendEntry) -> Tuple {
        Tuple {
            source: AddressWords::of(&self.source),
            destination: AddressWords::of(&backend.address),
            ports: words(self.ports),
        }
    }

    /// What a server's packet becomes.
    #[inline(always)]
    #[must_use]
    pub const fn to_client(&self) -> Tuple {
        Tuple {
            source: AddressWords::of(&self.key.destination),
            destination: AddressWords::of(&self.key.source),
            ports: words([self.key.destination_port, self.key.source_port]),
        }
    }

    /// What the way to the server adds to checksums.
    #[inline(always)]
    #[must_use]
    pub const fn delta(&self) -> Delta {
        Delta { addresses: self.address_delta, transport: self.transport_delta }
    }

    /// Whether a packet comes from the flow's server.
    #[inline(always)]
    #[must_use]
    pub fn is_from_server(&self, headers: &Headers) -> bool {
        self.protocol == headers.protocol
            && AddressWords::of(&self.server) == headers.source
            && u16::from_le_bytes(self.ports[1]) == headers.ports as u16
    }
}

/// Two ports as they stand in a packet.
#[inline(always)]
const fn words(ports: [[u8; 2]; 2]) -> u32 {
    let [[a, b], [c, d]] = ports;
    u32::from_le_bytes([a, b, c, d])
}
