//! Probes against real sockets on loopback.

use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::*;
use crate::model::{BackendId, HealthCheck};
use crate::plan::ServerRef;

fn http_probe(code: Option<u16>) -> Probe {
    Probe::Http {
        uri: "/healthy?x=1".to_owned(),
        method: "GET".to_owned(),
        code,
        host_header: "shop.example".to_owned(),
    }
}

async fn outcome(address: SocketAddr, probe: Probe, timeout: Duration) -> ProbeOutcome {
    let one = NonZeroU8::MIN;
    let job = Job {
        check: 0,
        server: ServerRef { backend: BackendId::new(), address: address.ip() },
        health_check: Arc::new(HealthCheck {
            port: NonZeroU16::new(address.port()).unwrap(),
            interval: timeout,
            timeout,
            fall: one,
            rise: one,
            transient_interval: None,
            send_proxy: false,
            probe,
        }),
        through: None,
    };
    Network::default().probe(&job).await.unwrap()
}

/// A server that reads a request, then writes these pieces, one turn of the loop each, then holds the connection.
async fn answering(pieces: &'static [&'static [u8]], close: bool) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        for piece in pieces {
            if stream.write_all(piece).await.is_err() {
                break;
            }
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        if !close {
            // Until the prober lets go.
            let _ended = stream.read(&mut [0; 1]).await;
        }
        String::from_utf8(request).unwrap()
    });
    (address, task)
}

const PATIENT: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_listening_port_passes_and_a_closed_one_is_refused_over_both_families() {
    for ip in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(ip).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(outcome(address, Probe::Tcp, PATIENT).await, ProbeOutcome::Passed);
        drop(listener);
        assert_eq!(outcome(address, Probe::Tcp, PATIENT).await, ProbeOutcome::Refused);
        assert_eq!(outcome(address, http_probe(None), PATIENT).await, ProbeOutcome::Refused);
    }
}

#[tokio::test]
async fn a_full_backlog_times_out() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        fillers.push(stream);
        assert!(fillers.len() < 10, "the backlog is bounded");
    }
    assert_eq!(outcome(address, Probe::Tcp, SHORT).await, ProbeOutcome::TimedOut);
}

#[tokio::test]
async fn an_expected_status_passes_and_the_request_is_what_was_configured() {
    const TABLE: &[(&[&[u8]], Option<u16>)] = &[
        (&[b"HTTP/1.1 200 OK\r\n\r\n"], None),
        (&[b"HTTP/1.1 302 Found\r\n\r\n"], None),
        (&[b"HTTP/1.0 204\r\n\r\n"], Some(204)),
        (&[b"HTTP/1.1 503 ", b"Busy", b"\r\n"], Some(503)),
        (&[b"HTTP/1.1 200 OK\n"], Some(200)),
    ];
    for (answer, code) in TABLE {
        let (address, server) = answering(answer, false).await;
        assert_eq!(outcome(address, http_probe(*code), PATIENT).await, ProbeOutcome::Passed);
        let request = server.await.unwrap();
        assert!(request.starts_with("GET /healthy?x=1 HTTP/1.1\r\nHost: shop.example\r\n"), "{request}");
    }
}

#[tokio::test]
async fn the_host_header_is_the_servers_address_when_none_is_given() {
    let (address, server) = answering(&[b"HTTP/1.1 200 OK\r\n\r\n"], false).await;
    let probe = Probe::Http { uri: "/".to_owned(), method: "HEAD".to_owned(), code: None, host_header: String::new() };
    assert_eq!(outcome(address, probe, PATIENT).await, ProbeOutcome::Passed);
    assert!(server.await.unwrap().starts_with(&format!("HEAD / HTTP/1.1\r\nHost: {address}\r\n")));
}

#[tokio::test]
async fn wrong_answers_are_told_apart() {
    const HUGE: &[u8] = &[b'x'; 4096];
    type Row = (&'static [&'static [u8]], bool, Option<u16>, &'static str);
    const TABLE: &[Row] = &[
        (&[b"HTTP/1.1 500 Oops\r\n"], false, None, "status 500, expected 200 to 399"),
        (&[b"HTTP/1.1 200 OK\r\n"], false, Some(204), "status 200, expected 204"),
        (&[b"SSH-2.0-OpenSSH_9.9\r\n"], false, None, "the answer is not HTTP/1"),
        (&[b"\x16\x03\x01\x02\x00"], false, None, "the answer is not HTTP/1"),
        (&[b"HTTP/1.1 abc\r\n"], false, None, "the answer is not HTTP/1"),
        (&[b"HTTP/1.1 2000 OK\r\n"], false, None, "the answer is not HTTP/1"),
        (&[b"HTTP/1.1 200 ", HUGE, HUGE], false, None, "the answer is not HTTP/1"),
        (&[b"HTTP/1.1 20"], true, None, "the connection was closed before an answer"),
        (&[], true, None, "the connection was closed before an answer"),
    ];
    for (answer, close, code, expected) in TABLE {
        let (address, _server) = answering(answer, *close).await;
        assert_eq!(
            outcome(address, http_probe(*code), PATIENT).await,
            ProbeOutcome::Unexpected((*expected).to_owned()),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_huge_header_after_the_status_line_is_not_read() {
    const HUGE: &[u8] = &[b'x'; 65_536];
    let (address, _server) = answering(&[b"HTTP/1.1 200 OK\r\nX: ", HUGE, HUGE, HUGE], false).await;
    assert_eq!(outcome(address, http_probe(None), PATIENT).await, ProbeOutcome::Passed);
}

#[tokio::test]
async fn a_server_that_drips_or_says_nothing_times_out() {
    const TABLE: &[&[&[u8]]] = &[&[b"HTTP/1.1 2"], &[]];
    for answer in TABLE {
        let (address, _server) = answering(answer, false).await;
        assert_eq!(outcome(address, http_probe(None), SHORT).await, ProbeOutcome::TimedOut);
    }
}
