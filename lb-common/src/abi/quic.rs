//! Servers by what QUIC connection ids say of them.

/// Key of `QUIC_SERVERS`: a server id of one service. Alignment 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuicKey {
    /// The server id, zeros behind it.
    pub server: [u8; 8],
    /// Id of the service, as it stands in memory.
    pub service: [u8; 4],
    /// Bytes of the server id, 1 to 8.
    pub len: u8,
    /// The configuration that made it, 0 to 6.
    pub config: u8,
    /// Always 0.
    pub pad: [u8; 2],
}

impl QuicKey {
    /// Longest server id, in bytes. The draft allows 15.
    pub const MAX_LEN: u8 = 8;
    /// Configurations that can be told apart; connection ids of the next number say of themselves that they name no server.
    pub const CONFIGS: u8 = 7;

    /// The key of the server with such an identity ([`super::BackendEntry::identity`]): its id is the identity's first bytes,
    /// most significant first.
    #[must_use]
    pub fn of(identity: u64, service: u32, config: u8, len: u8) -> Self {
        let mut server = identity.to_be_bytes();
        for byte in server.iter_mut().skip(usize::from(len)) {
            *byte = 0;
        }
        Self { server, service: service.to_le_bytes(), len, config, pad: [0; 2] }
    }

    /// The id of the service.
    #[must_use]
    pub const fn service_id(&self) -> u32 {
        u32::from_le_bytes(self.service)
    }
}

const _: () = assert!(size_of::<QuicKey>() == 16 && align_of::<QuicKey>() == 1);
