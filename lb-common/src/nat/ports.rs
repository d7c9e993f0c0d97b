//! Which source address and port a new flow gets: a bounded number of places drawn by chance, the best of them.
//!
//! Ports are drawn at random (RFC 6056), so that nobody off the path can guess them and a port that was given back rests
//! for long. When no place drawn is free, one of a flow that ended or is half open is taken, and that is counted: what a SYN
//! flood opened gives way, an established flow never.

use super::lifetime::{self, Phase};
use crate::abi::nat::{FIRST_PORT, NatRange, PORTS};
use crate::abi::{Address, NatFlow};
use crate::hash::mix;

/// Places that are looked at for one flow. With nine of ten places taken by living flows, one of six new flows finds
/// none; with eight of ten, one of 35; its next packet draws others.
pub const DRAWS: u32 = 16;

/// A place for a flow: an element of `NAT_POOL` and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into `NAT_POOL`.
    pub source: u32,
    /// The port, host order.
    pub port: u16,
}

impl Place {
    /// A place drawn from a range with at least one element; another one for each `seed` and `draw`.
    #[inline(always)]
    #[must_use]
    pub const fn drawn(seed: u64, draw: u32, range: NatRange) -> Self {
        let chance = mix(seed.wrapping_add((draw as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let source = range.first + (((chance >> 32) * range.count as u64) >> 32) as u32;
        let port = FIRST_PORT + (((chance & 0xffff_ffff) * PORTS as u64) >> 32) as u16;
        Self { source, port }
    }

    /// Index into `NAT_FLOWS`, given the number of the source address.
    #[inline(always)]
    #[must_use]
    pub const fn index(self, number: u32) -> u32 {
        number * PORTS + (self.port - FIRST_PORT) as u32
    }
}

/// Index into `NAT_FLOWS` of the place that a packet from a server is for; `None` for a port that flows never have.
#[inline(always)]
#[must_use]
pub const fn index_of(number: u32, port: u16) -> Option<u32> {
    if port < FIRST_PORT { None } else { Some(Place { source: 0, port }.index(number)) }
}

/// Whether a place is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Nobody's; of a flow whose lifetime is over; or of one that ended, with another server: nobody mixes up the two.
    Vacant,
    /// Of a flow that could still be wanted, but less than a new one: it has no handshake (of UDP: no answer), or ended a
    /// while ago with the same server.
    Yields,
    /// Of a living flow: not to be taken.
    Taken,
}

impl Fit {
    /// Whether the place of a flow is to be had for a new one to `server`, at `port` (network order).
    #[inline(always)]
    #[must_use]
    pub fn of(flow: &NatFlow, server: &Address, port: [u8; 2], now: u32) -> Self {
        if lifetime::is_over(flow, now) {
            return Self::Vacant;
        }
        match Phase::of(flow) {
            Phase::Free => Self::Vacant,
            Phase::Closed | Phase::TimeWait => {
                if flow.server == *server && flow.ports[1] == port {
                    Self::Yields
                } else {
                    Self::Vacant
                }
            }
            Phase::Opening => Self::Yields,
            Phase::Closing | Phase::Established => Self::Taken,
        }
    }
}
