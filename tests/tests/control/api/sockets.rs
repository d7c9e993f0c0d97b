//! The sockets the API is served on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use lb_userspace::api::{Listeners, ServeError, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Api;

async fn healthz(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn bind(socket: &Path, listen: &[&str]) -> Result<Listeners, ServeError> {
    let listen: Vec<_> = listen.iter().map(|address| address.parse().unwrap()).collect();
    Listeners::bind(socket, &listen, None).await
}

#[tokio::test]
async fn the_api_answers_on_its_socket_and_on_loopback_until_it_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("run/snowshed.sock");
    let listeners = bind(&socket, &["127.0.0.1:0", "[::1]:0"]).await.unwrap();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let addresses = listeners.addresses();
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(Api::new().router, listeners, stop.clone()));
    for answer in [
        healthz(UnixStream::connect(&socket).await.unwrap()).await,
        healthz(TcpStream::connect(addresses[0]).await.unwrap()).await,
        healthz(TcpStream::connect(addresses[1]).await.unwrap()).await,
    ] {
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    }
    // An idle connection does not hold the agent up.
    let _idle = UnixStream::connect(&socket).await.unwrap();
    stop.cancel();
    served.await.unwrap();
    assert!(!socket.exists());
    assert!(TcpStream::connect(addresses[0]).await.is_err());
}

/// An API on a socket, and a way to stop it.
struct Served {
    socket: std::path::PathBuf,
    api: Api,
    _directory: tempfile::TempDir,
    _stop: tokio_util::sync::DropGuard,
}

impl Served {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("snowshed.sock");
        let listeners = bind(&socket, &[]).await.unwrap();
        let (api, stop) = (Api::new(), CancellationToken::new());
        tokio::spawn(serve(api.router.clone(), listeners, stop.clone()));
        Self { socket, api, _directory: directory, _stop: stop.drop_guard() }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }
}

/// What is answered until the connection ends, and how long that took on the paused clock.
async fn rest(mut stream: UnixStream) -> (String, Duration) {
    let started = Instant::now();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    (String::from_utf8(answer).unwrap(), started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection_after_ten_seconds() {
    let served = Served::start().await;
    for sent in ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = served.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let (answer, took) = rest(stream).await;
        assert!(!answer.contains(" 200 "), "{sent:?}: {answer}");
        assert!((9.9..=10.5).contains(&took.as_secs_f64()), "{sent:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_answered_after_thirty_seconds_and_changes_nothing() {
    let served = Served::start().await;
    let mut stream = served.connect().await;
    let head = format!("POST /lb/v1/zones/{}/lbs HTTP/1.1\r\nHost: x\r\nX-Auth-Token: secret-one\r\n", super::ZONE);
    stream
        .write_all(format!("{head}Content-Length: 40\r\nConnection: close\r\n\r\n{{\"name\":").as_bytes())
        .await
        .unwrap();
    let (answer, took) = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("the request took longer than 30s"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
    assert!((29.9..=30.5).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(served.api.ledger.snapshot().generation().0, super::TENANTS);
}

#[tokio::test]
async fn a_head_beyond_16_kib_is_refused() {
    let served = Served::start().await;
    for (length, status) in [(15_000, "200"), (17_000, "431")] {
        let mut stream = served.connect().await;
        let junk = "x".repeat(length);
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Junk: {junk}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // What was not read of a head that is too large resets the connection after the answer.
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"), "{length}");
    }
}

#[tokio::test]
async fn more_than_256_connections_wait_for_one_to_end() {
    let served = Served::start().await;
    let mut idle = Vec::new();
    for _ in 0..256 {
        let mut stream = served.connect().await;
        // An answer shows that it is being served and not only in the backlog.
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        idle.push(stream);
    }
    let mut waiting = tokio::spawn(healthz(served.connect().await));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "the 257th was served beside 256 others: {early:?}");
    idle.pop();
    assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn without_a_certificate_only_loopback_is_listened_on() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("snowshed.sock");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let error = bind(&socket, &[address]).await.expect_err(address);
        assert!(matches!(error, ServeError::NoTls(_)) && error.to_string().contains("api.tls_key"), "{error}");
        assert!(!socket.exists());
    }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_or_another_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("snowshed.sock");
    let live = UnixListener::bind(&socket).unwrap();
    let error = bind(&socket, &[]).await.expect_err("live");
    assert!(matches!(error, ServeError::InUse(_)) && error.to_string().contains("another agent"), "{error}");
    drop(live);
    assert!(socket.exists(), "the file outlives its listener");
    drop(bind(&socket, &[]).await.unwrap());
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(bind(&file, &[]).await, Err(ServeError::NotASocket(_))));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}
