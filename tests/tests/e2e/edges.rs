//! The edges of the protocol, with real stacks on both sides: echo, closed ports, and a path with a smaller MTU.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tests::network::{Layout, Network};
use tests::{http, udp};

use crate::scene::{Scene, VIP_V4, VIP_V6, vips};

const MEGABYTE: usize = 1 << 20;
/// What is sent over the path with the smaller MTU.
const TRANSFER: usize = 100 * MEGABYTE;
/// A port of the servers' own listener.
const SINK_PORT: u16 = 9000;

#[test]
fn a_closed_port_is_refused_at_once() {
    let scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    let connect = |vip: &str| {
        let target = SocketAddr::new(vip.parse().unwrap(), 81);
        scene.network.client.run(|| http::Connection::open(target, Duration::from_millis(500))).unwrap()
    };
    for vip in [VIP_V4, VIP_V6] {
        let refused = connect(vip).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{vip}: {refused}");
    }
    // The client's stack tells its socket about the port unreachable.
    for vip in vips() {
        let target = SocketAddr::new(vip, 81);
        let refused = scene.network.client.run(|| {
            let socket = UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            socket.connect(target)?;
            socket.send(b"anybody?")?;
            socket.recv(&mut [0; 8])
        });
        assert_eq!(refused.unwrap().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "{vip}");
    }
    assert!(scene.verdict("closed_rejected") >= 4);
}

/// Sends an echo request from the client and returns the answer's type and data.
pub fn ping(scene: &Scene, vip: IpAddr) -> std::io::Result<(u8, Vec<u8>)> {
    let asked = scene.network.client.run(|| {
        let (family, protocol, kind) = match vip {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
        };
        let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        let socket = UdpSocket::from(raw);
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut message = [&[kind, 0, 0, 0, 0x12, 0x34, 0, 1][..], &[0xa5; 56]].concat();
        // The kernel sums up ICMPv6 only.
        let sum = message.chunks(2).fold(0_u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        socket.send_to(&message, (vip, 0))?;
        let mut buffer = [0; 256];
        loop {
            let (count, from) = socket.recv_from(&mut buffer)?;
            let start = if vip.is_ipv4() { 20 } else { 0 };
            // A raw socket hears every message, neighbour discovery among them.
            if from.ip() == vip && count >= start + 8 {
                return Ok((buffer[start], buffer[start + 4..count].to_vec()));
            }
        }
    });
    asked.unwrap()
}

#[test]
fn the_vips_answer_echo_requests_and_the_client_s_stack_believes_the_checksums() {
    let scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    for vip in vips() {
        let (kind, data) = ping(&scene, vip).unwrap();
        assert_eq!(kind, if vip.is_ipv4() { 0 } else { 129 });
        assert_eq!(data, [&[0x12, 0x34, 0, 1][..], &[0xa5; 56]].concat());
    }
    assert_eq!(scene.verdict("echo_answered"), 2, "the edge answered, and not a server");
}

/// The edge's way to the servers takes 1400 bytes: with the outer header 1380 are left of the client's 1500. The client
/// learns that from "fragmentation needed" and "packet too big", and from nothing else.
#[test]
fn a_hundred_megabytes_cross_a_path_whose_mtu_is_smaller() {
    let scene = Scene::new(Layout::TwoSegments, 1);
    scene.network.edge.ip(&format!("link set dev {} mtu 1400", Network::BACK_INTERFACE)).unwrap();
    let mut manifest = format!("name: web\nips: [{VIP_V4}, \"{VIP_V6}\"]\nfrontends:\n");
    manifest += &format!("  - {{ name: sink, inbound_port: {SINK_PORT}, backend: sink }}\nbackends:\n");
    manifest += &format!("  - name: sink\n    forward_port: {SINK_PORT}\n    forwarding: ipip\n");
    manifest += "    health_check: { port: 80, interval: 1s, timeout: 1s, fall: 2, rise: 1 }\n";
    manifest += &format!("    servers: [{{ address: {} }}]\n", scene.v4(0));
    scene.edge.apply(&manifest).unwrap();
    scene.wait_for(&scene.v4(0), true);
    for (vip, bytes) in [(VIP_V4, TRANSFER), (VIP_V6, 4 * MEGABYTE)] {
        let target = SocketAddr::new(vip.parse::<IpAddr>().unwrap(), SINK_PORT);
        let server = &scene.network.servers[0];
        let listener = server.netns.run(|| TcpListener::bind(target)).unwrap().unwrap();
        let sink = std::thread::spawn(move || -> std::io::Result<usize> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let (mut buffer, mut received) = (vec![0; MEGABYTE], 0);
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(received),
                    count => received += count,
                }
            }
        });
        let sent = scene.network.client.run(|| -> std::io::Result<()> {
            let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
            stream.set_write_timeout(Some(Duration::from_secs(60)))?;
            let chunk = vec![0x5a; MEGABYTE];
            for _ in 0..bytes / MEGABYTE {
                stream.write_all(&chunk)?;
            }
            stream.shutdown(Shutdown::Write)
        });
        sent.unwrap().unwrap();
        assert_eq!(sink.join().unwrap().unwrap(), bytes, "{vip}");
        assert!(scene.verdict("too_big_answered") > 0, "{vip}: the client was told");
    }
}

/// Datagrams that are larger than any packet: the client's stack sends them in pieces.
#[test]
fn datagrams_in_pieces_reach_one_server_whole() {
    let scene = Scene::new(Layout::OneSegment, 3);
    scene.balance(&[1, 1, 1]);
    for vip in vips() {
        let target = SocketAddr::new(vip, tests::server::UDP_PORT);
        let answered = scene.network.client.run(|| {
            let socket = UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut answers = Vec::new();
            for _ in 0..20 {
                socket.send_to(&[7; 4_000], target)?;
                let mut buffer = [0; 8_192];
                let (count, _) = socket.recv_from(&mut buffer)?;
                answers.push(count);
            }
            std::io::Result::Ok(answers)
        });
        let answers = answered.unwrap().unwrap();
        assert_eq!(answers.len(), 20, "{vip}");
    }
    assert_eq!(scene.verdict("fragment_unknown"), 0);
    let one = udp::ask(
        &scene.network.client,
        SocketAddr::new(vips()[0], tests::server::UDP_PORT),
        10,
        Duration::from_secs(1),
    );
    assert_eq!(one.unwrap().lost, 0);
}
