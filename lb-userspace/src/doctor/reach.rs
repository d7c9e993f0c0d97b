//! Whether a server answers the way traffic goes: a TCP SYN to the VIP, wrapped as the program wraps it and sent to the
//! server. A probe of the server's own address says nothing of the tunnel, nor of the VIP behind it.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use lb_common::checksum::Sum;
use lb_common::headers::{number, tcp_flag};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::health::source_towards;
use crate::health::tunnel::own_address;

/// How often a SYN is sent, and how long each is waited for.
const TRIES: u32 = 3;
const PATIENCE: Duration = Duration::from_millis(400);

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// SYN and ACK: it listens.
    Accepts,
    /// RST: the tunnel and the VIP are right, but nothing listens on the port.
    Refuses,
    /// Nothing.
    Silent,
}

/// Sends a SYN to a service through a server's tunnel.
///
/// # Errors
/// When no packet can be sent: no right to, or no route.
pub fn ask(server: IpAddr, service: SocketAddr) -> io::Result<Answer> {
    // Answers go to the address that this machine reaches the server by or, of the other family, any of its own.
    let is_same = server.is_ipv4() == service.is_ipv4();
    let source = if is_same { source_towards(server)? } else { own_address(service.ip())? };
    let source = SocketAddr::new(source, rand::random_range(61_001..=65_535));
    let family = |address: IpAddr| if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let answers = Socket::new(family(service.ip()), Type::RAW, Some(Protocol::TCP))?;
    let inner = if service.is_ipv4() { number::IPIP } else { number::IPV6 };
    let tunnel = Socket::new(family(server), Type::RAW, Some(Protocol::from(i32::from(inner))))?;
    let seq: u32 = rand::random();
    for _ in 0..TRIES {
        tunnel.send_to(&packet(source, service, seq, tcp_flag::SYN), &SockAddr::from(SocketAddr::new(server, 0)))?;
        if let Some(answer) = wait(&answers, source, service, seq)? {
            if answer == Answer::Accepts {
                // The server need not wait for what never comes.
                let reset = packet(source, service, seq.wrapping_add(1), tcp_flag::RST);
                tunnel.send_to(&reset, &SockAddr::from(SocketAddr::new(server, 0)))?;
            }
            return Ok(answer);
        }
    }
    Ok(Answer::Silent)
}

fn wait(answers: &Socket, source: SocketAddr, service: SocketAddr, seq: u32) -> io::Result<Option<Answer>> {
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        answers.set_read_timeout(Some(left))?;
        match (&mut &*answers).read(&mut bytes) {
            Ok(len) => {
                if let Some(answer) = read(&bytes[..len], source, service, seq) {
                    return Ok(Some(answer));
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The answer in what a raw socket read: of IPv4 with the IP header, of IPv6 without.
fn read(bytes: &[u8], source: SocketAddr, service: SocketAddr, seq: u32) -> Option<Answer> {
    let tcp = if service.is_ipv4() {
        let IpAddr::V4(from) = service.ip() else { return None };
        if bytes.get(12..16)? != from.octets() {
            return None;
        }
        bytes.get(usize::from(bytes.first()? & 15) * 4..)?
    } else {
        bytes
    };
    if tcp.len() < 20 {
        return None;
    }
    let ports = [service.port().to_be_bytes(), source.port().to_be_bytes()].concat();
    if tcp.get(..4)? != ports || tcp.get(8..12)? != seq.wrapping_add(1).to_be_bytes() {
        return None;
    }
    let flags = *tcp.get(13)?;
    if flags & tcp_flag::RST != 0 {
        return Some(Answer::Refuses);
    }
    (flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN | tcp_flag::ACK).then_some(Answer::Accepts)
}

/// An IP packet with a TCP segment without data.
fn packet(source: SocketAddr, to: SocketAddr, seq: u32, flags: u8) -> Vec<u8> {
    let mut tcp = [0; 20];
    tcp[..2].copy_from_slice(&source.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    (tcp[12], tcp[13]) = (5 << 4, flags);
    tcp[14..16].copy_from_slice(&1024_u16.to_be_bytes());
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let addresses = [octets(source.ip()), octets(to.ip())].concat();
    let pseudo = [&addresses[..], &[0, number::TCP, 0, 20], &tcp].concat();
    tcp[16..18].copy_from_slice(&checksum(&pseudo));
    let mut header = if to.is_ipv4() {
        let mut header = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, number::TCP, 0, 0];
        header.extend(&addresses);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum);
        header
    } else {
        [&[0x60, 0, 0, 0, 0, 20, number::TCP, 64], &addresses[..]].concat()
    };
    header.extend(tcp);
    header
}

/// RFC 1071, as it stands in the packet.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum = bytes
        .chunks(2)
        .fold(Sum::new(), |sum, pair| sum.add_u16(u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    sum.checksum().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(v6: bool) -> (SocketAddr, SocketAddr) {
        let text = if v6 { ("[fd00::1]:61001", "[2001:db8::10]:80") } else { ("10.0.0.1:61001", "192.0.2.10:80") };
        (SocketAddr::from_str_or_panic(text.0), SocketAddr::from_str_or_panic(text.1))
    }

    trait FromStrOrPanic {
        fn from_str_or_panic(text: &str) -> Self;
    }

    impl FromStrOrPanic for SocketAddr {
        fn from_str_or_panic(text: &str) -> Self {
            text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
        }
    }

    #[test]
    fn only_the_services_answer_to_this_very_segment_counts() {
        for v6 in [false, true] {
            let (source, service) = ends(v6);
            let answer = |ack: u32, flags: u8| {
                let mut bytes = packet(service, source, 7, flags);
                let tcp = bytes.len() - 20;
                bytes[tcp + 8..tcp + 12].copy_from_slice(&ack.to_be_bytes());
                if v6 { bytes.split_off(40) } else { bytes }
            };
            let both = tcp_flag::SYN | tcp_flag::ACK;
            assert_eq!(read(&answer(100, both), source, service, 99), Some(Answer::Accepts));
            assert_eq!(read(&answer(100, tcp_flag::RST | tcp_flag::ACK), source, service, 99), Some(Answer::Refuses));
            assert_eq!(read(&answer(101, both), source, service, 99), None, "of another segment");
            assert_eq!(read(&answer(100, tcp_flag::ACK), source, service, 99), None);
            let other = SocketAddr::new(service.ip(), 81);
            assert_eq!(read(&answer(100, both), source, other, 99), None, "of another port");
            for len in 0..20 {
                assert_eq!(read(&answer(100, both)[..len], source, service, 99), None, "cut to {len}");
            }
        }
    }

    #[test]
    fn checksums_of_a_packet_are_right() {
        for v6 in [false, true] {
            let (source, service) = ends(v6);
            let bytes = packet(source, service, 12_345, tcp_flag::SYN);
            let addresses = if v6 { 8..40 } else { 12..20 };
            let tcp = &bytes[addresses.end..];
            assert_eq!(checksum(&[&bytes[addresses], &[0, number::TCP, 0, 20], tcp].concat()), [0, 0]);
            assert!(v6 || checksum(&bytes[..20]) == [0, 0]);
        }
    }
}
