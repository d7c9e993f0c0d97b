//! How long a translated flow is kept after its last packet. TCP by the state its segments tell, UDP by a timeout.
//!
//! ```text
//!          SYN            answer, then ACK              FIN of one side       FIN of the other
//!   free ──────▶ opening ──────────────────▶ established ──────────▶ closing ──────────▶ closed
//!                   └──────────────┬────────────────┴──────────────────┘                   │ lifetime over, or
//!                                  └── RST of either side ─────────────────────────────────┤ wanted by another flow
//!                                                                                 free ◀───┘
//! ```
//!
//! A closed flow still forwards: last acknowledgements, and a connection that somebody else's forged RST did not end.
//! Only its place is easier to lose.

use crate::abi::NatFlow;
use crate::abi::nat::{TICK_SHIFT, marks};
use crate::headers::{number, tcp_flag};

/// Where a flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// There is none.
    Free,
    /// It ended by RST, or by FIN of both sides, the client's first: nobody waits for stray segments at the server.
    Closed,
    /// It ended by FIN of both sides, the server's first: the server holds the tuple in TIME-WAIT (RFC 9293 §3.3.2).
    TimeWait,
    /// TCP: no handshake yet. UDP: no answer yet.
    Opening,
    /// TCP: one side has no more data.
    Closing,
    /// Both sides speak.
    Established,
}

impl Phase {
    /// Every phase, in their order.
    pub const ALL: [Self; 6] =
        [Self::Free, Self::Closed, Self::TimeWait, Self::Opening, Self::Closing, Self::Established];

    /// The phase of a flow.
    #[inline(always)]
    #[must_use]
    pub const fn of(flow: &NatFlow) -> Self {
        let (client, server) = (flow.from_client, flow.from_server);
        let either = client | server;
        if flow.protocol == 0 {
            Self::Free
        } else if flow.protocol != number::TCP {
            if server & marks::SPOKE != 0 { Self::Established } else { Self::Opening }
        } else if either & marks::RST != 0 {
            Self::Closed
        } else if client & server & marks::FIN != 0 {
            if server & marks::FIRST_FIN != 0 { Self::TimeWait } else { Self::Closed }
        } else if either & marks::FIN != 0 {
            Self::Closing
        } else if client & marks::CONFIRMED != 0 {
            Self::Established
        } else {
            Self::Opening
        }
    }

    /// Name in output.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Closed => "closed",
            Self::TimeWait => "time_wait",
            Self::Opening => "opening",
            Self::Closing => "closing",
            Self::Established => "established",
        }
    }
}

/// Lifetimes after the last packet, in seconds.
pub mod seconds {
    /// TCP without a handshake: above the pause before a SYN's fifth repetition.
    pub const TCP_OPENING: u32 = 60;
    /// Established TCP: 2 hours 4 minutes (RFC 5382, REQ-5).
    pub const TCP_ESTABLISHED: u32 = 7_440;
    /// TCP that one side closed: 4 minutes (RFC 5382, REQ-5).
    pub const TCP_CLOSING: u32 = 240;
    /// TCP that waits at the server: as long as Linux does.
    pub const TCP_TIME_WAIT: u32 = 60;
    /// TCP that is over.
    pub const TCP_CLOSED: u32 = 10;
    /// UDP without an answer.
    pub const UDP_OPENING: u32 = 30;
    /// UDP: 5 minutes (RFC 4787, REQ-5).
    pub const UDP_ESTABLISHED: u32 = 300;
}

/// Ticks of a time.
#[inline(always)]
#[must_use]
pub const fn ticks(seconds: u32) -> u32 {
    ((seconds as u64 * 1_000_000_000) >> TICK_SHIFT) as u32
}

/// How long so many ticks last.
#[must_use]
pub const fn length(ticks: u32) -> core::time::Duration {
    core::time::Duration::from_nanos((ticks as u64) << TICK_SHIFT)
}

/// Tick of a time of the monotonic clock, in nanoseconds. Wraps after two years; ages up to one are right.
#[inline(always)]
#[must_use]
pub const fn tick(ns: u64) -> u32 {
    (ns >> TICK_SHIFT) as u32
}

/// Ticks since the flow's last packet; 0 when another CPU's clock is ahead of ours.
#[inline(always)]
#[must_use]
pub const fn age(flow: &NatFlow, now: u32) -> u32 {
    let age = now.wrapping_sub(flow.seen);
    if age > u32::MAX / 2 { 0 } else { age }
}

/// Whether a flow's lifetime is over. A free element's is.
#[inline(always)]
#[must_use]
pub const fn is_over(flow: &NatFlow, now: u32) -> bool {
    let is_tcp = flow.protocol == number::TCP;
    let seconds = match Phase::of(flow) {
        Phase::Free => return true,
        Phase::Closed => seconds::TCP_CLOSED,
        Phase::TimeWait => seconds::TCP_TIME_WAIT,
        Phase::Opening if is_tcp => seconds::TCP_OPENING,
        Phase::Opening => seconds::UDP_OPENING,
        Phase::Closing => seconds::TCP_CLOSING,
        Phase::Established if is_tcp => seconds::TCP_ESTABLISHED,
        Phase::Established => seconds::UDP_ESTABLISHED,
    };
    age(flow, now) > ticks(seconds)
}

/// Whether a packet that opens a flow belongs to a new one, although its tuple has one: that one is over.
#[inline(always)]
#[must_use]
pub const fn is_reopened(flow: &NatFlow, now: u32) -> bool {
    matches!(Phase::of(flow), Phase::Closed | Phase::TimeWait) || is_over(flow, now)
}

/// [`NatFlow::from_client`] after a packet of the client.
#[inline(always)]
#[must_use]
pub const fn after_client(flow: &NatFlow, tcp_flags: u8) -> u8 {
    let mut after = after_either(flow.from_client, flow.from_server, tcp_flags);
    if tcp_flags & tcp_flag::SYN == 0 && flow.from_server & marks::SPOKE != 0 {
        after |= marks::CONFIRMED;
    }
    after
}

/// [`NatFlow::from_server`] after a packet of the server.
#[inline(always)]
#[must_use]
pub const fn after_server(flow: &NatFlow, tcp_flags: u8) -> u8 {
    after_either(flow.from_server, flow.from_client, tcp_flags)
}

#[inline(always)]
const fn after_either(before: u8, other: u8, tcp_flags: u8) -> u8 {
    let mut after = before | marks::SPOKE;
    if tcp_flags & tcp_flag::FIN != 0 {
        after |= marks::FIN;
        if other & marks::FIN == 0 {
            after |= marks::FIRST_FIN;
        }
    }
    if tcp_flags & tcp_flag::RST != 0 {
        after |= marks::RST;
    }
    after
}
