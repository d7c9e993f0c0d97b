//! TLS of the API: which certificate is shown, and which is refused with what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lb_userspace::api::{Listeners, Tls, serve};
use lb_userspace::config::{Certificate, CertificateError};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Api;
use crate::certificates::{Authority, Valid};

/// An API that speaks TLS, with a certificate for `localhost`.
struct Served {
    authority: Authority,
    tls: Arc<Tls>,
    port: u16,
    directory: tempfile::TempDir,
    _stop: DropGuard,
}

impl Served {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path());
        let (certificate, key) = authority.sign("agent", &["localhost"], Valid::Now);
        let tls = Tls::open(&certificate, &key).unwrap();
        let socket = directory.path().join("snowshed.sock");
        // Loopback speaks HTTP; every address does not.
        let everywhere = "0.0.0.0:0".parse().unwrap();
        let listeners = Listeners::bind(&socket, &[everywhere], Some(tls.config().unwrap())).await.unwrap();
        let port = listeners.addresses()[0].port();
        let stop = CancellationToken::new();
        tokio::spawn(serve(Api::new().router, listeners, stop.clone()));
        Self { authority, tls, port, directory, _stop: stop.drop_guard() }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await).await.unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

async fn healthz(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn another_certificate_is_shown_to_new_connections_and_the_old_ones_go_on() {
    let served = Served::start().await;
    let mut old = served.connect().await;
    assert!(healthz(&mut old).await.starts_with("HTTP/1.1 200"));
    served.authority.sign("agent", &["localhost"], Valid::Now);
    served.tls.reload().unwrap();
    let mut new = served.connect().await;
    assert_ne!(shown(&old), shown(&new));
    for stream in [&mut old, &mut new] {
        assert!(healthz(stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn what_cannot_be_served_leaves_the_certificate_that_is() {
    let served = Served::start().await;
    let before = shown(&served.connect().await);
    let (_, other_key) = served.authority.sign("other", &["localhost"], Valid::Now);
    std::fs::copy(other_key, served.path("agent.key")).unwrap();
    let error = served.tls.reload().unwrap_err();
    assert!(matches!(error, CertificateError::Mismatch { .. }), "{error}");
    std::fs::remove_file(served.path("agent.pem")).unwrap();
    assert!(matches!(served.tls.reload().unwrap_err(), CertificateError::Read { .. }));
    let mut stream = served.connect().await;
    assert_eq!(shown(&stream), before);
    assert!(healthz(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_nothing() {
    let served = Served::start().await;
    let mut stream = served.tcp().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The end of a connection whose bytes nobody read may be a reset.
    let _end = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("HTTP") && !answer.contains("ok"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_ends_the_connection_after_ten_seconds() {
    let served = Served::start().await;
    for sent in [&[][..], &[22, 3, 1][..]] {
        let mut stream = served.tcp().await;
        stream.write_all(sent).await.unwrap();
        let started = tokio::time::Instant::now();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
        let took = started.elapsed();
        assert!((Duration::from_millis(9_900)..Duration::from_millis(10_500)).contains(&took), "{took:?}");
    }
}

#[test]
fn a_pair_of_files_that_is_none_says_what_is_wrong_with_which() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let (certificate, key) = authority.sign("agent", &["localhost"], Valid::Now);
    let (_, other_key) = authority.sign("other", &["localhost"], Valid::Now);
    let file = |name: &str, text: &str, mode: u32| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let open = file("open.key", &std::fs::read_to_string(&key).unwrap(), 0o644);
    let cases: [(PathBuf, PathBuf, &str); 9] = [
        (certificate.clone(), other_key, "is not the key of the first certificate in"),
        (authority.ca(), key.clone(), "is not the key of the first certificate in"),
        (PathBuf::from("/nonexistent"), key.clone(), "cannot read /nonexistent"),
        (certificate.clone(), PathBuf::from("/nonexistent"), "cannot read /nonexistent"),
        (file("text", "hello", 0o600), key.clone(), "text holds no certificate in PEM"),
        (file("broken", no_certificate, 0o600), key.clone(), "broken holds no certificate in PEM"),
        (certificate.clone(), file("empty", "", 0o600), "empty holds no private key in PEM"),
        (certificate.clone(), file("locked", locked, 0o600), "locked holds no private key in PEM that TLS can use"),
        (certificate.clone(), open, "can be read by everybody (mode 0644): chmod 600"),
    ];
    for (certificate, key, expected) in cases {
        let error = read(&certificate, &key).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert_eq!(read(&certificate, &key).unwrap().warning(jiff::Timestamp::now()), None);
}

#[test]
fn a_certificate_that_clients_refuse_by_its_dates_is_warned_of_and_one_that_ends_soon_too() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let (certificate, key) = authority.sign("agent", &["localhost"], Valid::Now);
    let certificate = read(&certificate, &key).unwrap();
    for (now, expected) in [
        ("2018-12-31T00:00:00Z", Some("it is valid from 2019-01-01T00:00:00Z on")),
        ("2019-01-02T00:00:00Z", None),
        ("2098-12-17T00:00:00Z", None),
        ("2098-12-19T00:00:00Z", Some("it expires at 2099-01-01T00:00:00Z")),
        ("2099-01-02T00:00:00Z", Some("it expired at 2099-01-01T00:00:00Z: clients refuse it")),
    ] {
        let warning = certificate.warning(now.parse().unwrap());
        assert_eq!(warning.is_some(), expected.is_some(), "{now}: {warning:?}");
        assert!(warning.unwrap_or_default().contains(expected.unwrap_or_default()), "{now}");
    }
    let (expired, key) = authority.sign("expired", &["localhost"], Valid::Expired);
    let refusal = read(&expired, &key).unwrap().refusal(jiff::Timestamp::now());
    assert!(refusal.unwrap().starts_with("it expired at 2020-01-01T00:00:00Z"));
}

fn read(certificate: &Path, key: &Path) -> Result<Certificate, CertificateError> {
    Certificate::read(certificate, key)
}
