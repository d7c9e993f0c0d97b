//! How the QUIC connection ids of a pool's servers name their server (QUIC-LB, draft-ietf-quic-load-balancers-21).

use lb_common::abi::QuicKey;
use serde::{Deserialize, Serialize};

use super::Invalid;

/// The shape of connection ids: an octet whose upper three bits are the configuration's number, the server's id in plain
/// text, and at least four bytes of the server's own choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quic {
    /// Bytes of a server id, 1 to 8.
    server_id_length: u8,
    /// Number of the configuration, 0 to 6.
    config_id: u8,
}

impl Quic {
    /// What a pool has after a change: what is not given stays, and a length of 0 is none.
    ///
    /// # Errors
    /// [`Invalid`] when a configuration is given for connection ids that name no server.
    pub fn changed(before: Option<Self>, length: Option<u8>, config_id: Option<u8>) -> Result<Option<Self>, Invalid> {
        let server_id_length = length.unwrap_or_else(|| Self::length_of(before));
        if server_id_length == 0 {
            return match config_id {
                None | Some(0) => Ok(None),
                Some(_) => Err(Invalid::constraint(
                    "a configuration is of connection ids that name a server: set `quic_server_id_length` as well, or leave \
                     this out",
                )),
            };
        }
        Ok(Some(Self { server_id_length, config_id: config_id.unwrap_or_else(|| Self::config_of(before)) }))
    }

    /// Bytes of a server id: 1 to 8, 0 is none.
    ///
    /// # Errors
    /// [`Invalid`] outside that.
    pub fn parse_length(bytes: i64) -> Result<u8, Invalid> {
        u8::try_from(bytes).ok().filter(|bytes| *bytes <= QuicKey::MAX_LEN).ok_or_else(|| {
            Invalid::constraint(format!(
                "a server id of {bytes} bytes is outside 1 to 8; 0 is none, 4 is enough for most"
            ))
        })
    }

    /// Number of a configuration: 0 to 6.
    ///
    /// # Errors
    /// [`Invalid`] outside that.
    pub fn parse_config_id(number: i64) -> Result<u8, Invalid> {
        u8::try_from(number).ok().filter(|number| *number < QuicKey::CONFIGS).ok_or_else(|| {
            Invalid::constraint(format!("configuration {number} is outside 0 to 6; 7 says that an id names no server"))
        })
    }

    /// Bytes of a server id; 0 of a pool whose connection ids name none.
    #[must_use]
    pub fn length_of(quic: Option<Self>) -> u8 {
        quic.map_or(0, |quic| quic.server_id_length)
    }

    /// Number of the configuration; 0 of a pool whose connection ids name no server.
    #[must_use]
    pub fn config_of(quic: Option<Self>) -> u8 {
        quic.map_or(0, |quic| quic.config_id)
    }

    /// What `QUIC_SERVERS` has of the server with an identity, for a service.
    #[must_use]
    pub fn key(self, identity: u64, service: u32) -> QuicKey {
        QuicKey::of(identity, service, self.config_id, self.server_id_length)
    }

    /// The id of the server with an identity, as hexadecimal digits.
    #[must_use]
    pub fn server_id(self, identity: u64) -> String {
        let bytes = self.key(identity, 0).server;
        bytes.iter().take(self.server_id_length.into()).map(|byte| format!("{byte:02x}")).collect()
    }
}
