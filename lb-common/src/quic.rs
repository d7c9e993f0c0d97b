//! QUIC packets that say which server they are for: connection ids with a plaintext server id
//! (QUIC-LB, draft-ietf-quic-load-balancers-21 §3 and §5; the headers are those of RFC 9000 §17 and RFC 9369 §3.2).
//!
//! A connection id that a server made begins with an octet whose upper three bits name a configuration, and the server's
//! id follows. Clients send it in every packet but their first: to whatever address they change, the packet says where
//! it belongs. Initial and 0-RTT packets may have an id that the client drew by chance, and packets of another version
//! are negotiated: those go by their hash, and so does everything that names no server that serves.

use crate::abi::QuicKey;
use crate::abi::service::flags;
use crate::headers::{Family, Headers, IPV6_LEN, UDP_LEN, number};
use crate::packet::{Packet, u16_at, u64_at};

/// What a packet says of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing: it is not of an open connection.
    Nothing,
    /// It is of a connection, but its id is none that a server of this service should have made.
    Stranger,
    /// The server's id.
    Server(QuicKeyWords),
}

/// The bytes of a [`QuicKey`], aligned to 8.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicKeyWords(pub [u64; 2]);

impl QuicKeyWords {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> QuicKey {
        let [a, b, c, d, len, config, e, f] = self.0[1].to_le_bytes();
        QuicKey { server: self.0[0].to_le_bytes(), service: [a, b, c, d], len, config, pad: [e, f] }
    }
}

/// Version 1 (RFC 9000).
const VERSION_1: u32 = 1;
/// Version 2 (RFC 9369).
const VERSION_2: u32 = 0x6b33_43cf;

/// What a packet says of its server, to a service of this id and with these flags.
#[inline(always)]
#[must_use]
pub fn read<P: Packet + ?Sized>(packet: &P, headers: &Headers, service: u32, service_flags: u32) -> Says {
    const SHORT: usize = 1 + 1 + 8;
    const LONG: usize = 1 + 4 + 1 + 1 + 8;
    if headers.protocol != number::UDP || !is_whole(packet, headers) {
        return Says::Nothing;
    }
    let at = headers.transport + UDP_LEN;
    let config = service_flags >> flags::QUIC_CONFIG_SHIFT & flags::QUIC_CONFIG_MASK;
    let len = service_flags >> flags::QUIC_LEN_SHIFT & flags::QUIC_LEN_MASK;
    // The smallest packet of a connection is longer than all that is read here. What follows the IP packet is padding.
    let end = headers.link_len + headers.ip_len as usize;
    if at + SHORT > end {
        return Says::Nothing;
    }
    let Some(short) = packet.array::<SHORT>(at) else { return Says::Nothing };
    let (octet, id) = if short[0] & 0x80 == 0 {
        (short[1], u64_at::<2, SHORT>(short))
    } else {
        if at + LONG > end {
            return Says::Nothing;
        }
        let Some(long) = packet.array::<LONG>(at) else { return Says::Nothing };
        if !is_handshake(long[0], [long[1], long[2], long[3], long[4]]) {
            return Says::Nothing;
        }
        if u32::from(long[5]) < 1 + len {
            return Says::Stranger;
        }
        (long[6], u64_at::<7, LONG>(long))
    };
    if u32::from(octet) >> 5 != config || len == 0 || len > 8 {
        return Says::Stranger;
    }
    let id = id & u64::MAX >> (64 - 8 * len);
    Says::Server(QuicKeyWords([id, u64::from(service) | u64::from(len) << 32 | u64::from(config) << 40]))
}

/// Whether a long header is of a handshake packet: the only ones from a client whose id is always of the server's making.
#[inline(always)]
const fn is_handshake(first: u8, version: [u8; 4]) -> bool {
    matches!((u32::from_be_bytes(version), first >> 4 & 3), (VERSION_1, 2) | (VERSION_2, 3))
}

/// Whether the packet did not come in pieces, of which only the first would say anything (QUIC forbids them: RFC 9000
/// §14), and without IPv6 extension headers.
#[inline(always)]
fn is_whole<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> bool {
    const MORE_FRAGMENTS_AND_OFFSET: u16 = u16::from_le_bytes([0x3f, 0xff]);
    match headers.family {
        Family::V4 => {
            packet.array::<8>(headers.link_len).is_some_and(|ip| u16_at::<6, 8>(ip) & MORE_FRAGMENTS_AND_OFFSET == 0)
        }
        Family::V6 => headers.transport == headers.link_len + IPV6_LEN,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::headers::{Parsed, parse};

    const FLAGS: u32 = flags::QUIC | 2 << flags::QUIC_CONFIG_SHIFT | 4 << flags::QUIC_LEN_SHIFT;

    /// What a UDP packet with this payload says to service 7.
    fn says(payload: &[u8]) -> Says {
        let mut frame: Vec<u8> = [0; 12].into();
        let len = 28 + payload.len() as u8;
        frame.extend([8, 0, 0x45, 0, 0, len, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend([0, 1, 1, 187, 0, len - 20, 0, 0]);
        frame.extend(payload);
        let Ok(Parsed::Flow(headers)) = parse(frame.as_slice()) else { panic!("no flow: {frame:?}") };
        read(frame.as_slice(), &headers, 7, FLAGS)
    }

    /// A key whose server has this id.
    fn server(id: [u8; 4]) -> Says {
        let identity = u64::from_be_bytes([id[0], id[1], id[2], id[3], 9, 9, 9, 9]);
        let key = QuicKey::of(identity, 7, 2, 4);
        let QuicKey { server, service: [a, b, c, d], len, config, pad: [e, f] } = key;
        Says::Server(QuicKeyWords([u64::from_le_bytes(server), u64::from_le_bytes([a, b, c, d, len, config, e, f])]))
    }

    #[test]
    fn a_short_header_says_its_server_in_the_configuration_of_the_service_alone() {
        let id = [0x11, 0x22, 0x33, 0x44];
        let packet = |first, octet| [&[first, octet][..], &id, &[0xee; 20]].concat();
        // The low bits of both octets are the server's own.
        for (first, octet) in [(0x40, 0x40), (0x7f, 0x5f), (0x00, 0x49)] {
            assert_eq!(says(&packet(first, octet)), server(id), "{first:#x} {octet:#x}");
        }
        for octet in [0x00, 0x20, 0x60, 0xe0] {
            assert_eq!(says(&packet(0x40, octet)), Says::Stranger, "{octet:#x}");
        }
        assert_eq!(says(&[0x40, 0x40, 0x11]), Says::Nothing);
    }

    #[test]
    fn of_the_long_headers_only_a_handshake_says_its_server() {
        let id = [0x11, 0x22, 0x33, 0x44];
        let packet = |first: u8, version: u32, len: u8| {
            [&[first][..], &version.to_be_bytes(), &[len, 0x45], &id, &[0xee; 20]].concat()
        };
        assert_eq!(says(&packet(0xe0, VERSION_1, 12)), server(id));
        assert_eq!(says(&packet(0xf0, VERSION_2, 5)), server(id));
        assert_eq!(says(&packet(0xe0, VERSION_1, 4)), Says::Stranger, "too short for the id");
        for (first, version, what) in [
            (0xc0, VERSION_1, "Initial"),
            (0xd0, VERSION_1, "0-RTT"),
            (0xf0, VERSION_1, "Retry"),
            (0xd0, VERSION_2, "Initial"),
            (0xe0, VERSION_2, "0-RTT"),
            (0xe0, 0, "version negotiation"),
            (0xe0, 0xff00_001d, "another version"),
        ] {
            assert_eq!(says(&packet(first, version, 12)), Says::Nothing, "{what} of {version:#x}");
        }
    }
}
