//! The sockets the API is served on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lb_userspace::api::{Listeners, ServeError, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
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
    Listeners::bind(socket, &listen).await
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

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("snowshed.sock");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let error = bind(&socket, &[address]).await.expect_err(address);
        assert!(matches!(error, ServeError::NotLoopback(_)), "{error}");
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
