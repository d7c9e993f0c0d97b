//! Per-CPU counters.

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
    /// Always 0.
    pub pad: u64,
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

const _: () = assert!(size_of::<ServiceStats>() == 32);
const _: () = assert!(size_of::<BackendStats>() == 16);
