//! Per-CPU counters.

use super::Reason;

/// Element of `SERVICE_STATS`, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceStats {
    /// Packets that matched the service.
    pub packets: u64,
    /// Their bytes, as received from the link, Ethernet header included.
    pub bytes: u64,
    /// Packets that open a flow (TCP SYN without ACK).
    pub opened: u64,
    /// Packets that the service's protection refused, by the position of their reason in [`REFUSALS`].
    pub refused: [u64; 5],
}

/// Reasons for which a service's protection refuses packets, in the order of [`ServiceStats::refused`].
pub const REFUSALS: [Reason; 5] =
    [Reason::Quarantined, Reason::AclDenied, Reason::SourceLimited, Reason::ConnectionLimited, Reason::PacketLimited];

impl ServiceStats {
    /// The sum of two CPUs.
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        let mut refused = self.refused;
        for (sum, one) in refused.iter_mut().zip(other.refused) {
            *sum += one;
        }
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            opened: self.opened + other.opened,
            refused,
        }
    }
}

/// Element of `BACKEND_STATS`, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Packets sent to the server.
    pub packets: u64,
    /// Their bytes, as received from the link, Ethernet header included.
    pub bytes: u64,
}

const _: () = assert!(size_of::<ServiceStats>() == 64);
const _: () = assert!(size_of::<BackendStats>() == 16);
