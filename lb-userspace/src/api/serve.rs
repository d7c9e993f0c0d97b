//! Serving the API: a Unix socket that only its owner can open, loopback addresses, and others with TLS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::peer::{Peer, Source};
use patience::Patient;

mod patience;

/// TCP connections that are served at once; more wait.
const MAX_CONNECTIONS: usize = 512;
/// Connections of the Unix socket that are served at once. Its own: whatever happens on TCP, root is let in.
const MAX_SOCKET_CONNECTIONS: usize = 256;
/// Connections that one remote source may have at once; more are closed.
const MAX_CONNECTIONS_PER_SOURCE: usize = 64;
/// Time a client has to send a request's head, and for the handshake of TLS.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head, bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Time that requests in flight have to end when the agent stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (no file descriptors, mostly), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the API listens. Clients can connect from the moment these exist.
#[derive(Debug)]
pub struct Listeners {
    unix: UnixListener,
    socket: PathBuf,
    tcp: Vec<TcpListener>,
    tls: Option<Arc<ServerConfig>>,
}

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process listens on the socket.
    #[error("{0} is in use: another agent serves it. Stop that one first, or set another `api.socket`")]
    InUse(PathBuf),
    /// Something else than a socket stands at its path.
    #[error("{0} is no socket: remove it, or set another `api.socket`")]
    NotASocket(PathBuf),
    /// An address that others than this machine can reach, without TLS.
    #[error("{0} is not loopback and there is no certificate: {remedy}", remedy = crate::config::TLS_REMEDY)]
    NoTls(SocketAddr),
    /// The certificate cannot be served.
    #[error("the API's certificate cannot be used")]
    Certificate(#[from] crate::config::CertificateError),
    /// rustls' own settings do not fit together.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The system refused.
    #[error("cannot listen on {what}")]
    Bind {
        /// Path or address.
        what: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl Listeners {
    /// Listens on a socket of mode 0600, whose directory is made if there is none, and on TCP addresses: loopback
    /// speaks HTTP, every other address TLS.
    ///
    /// # Errors
    /// [`ServeError`]; a socket that nobody listens on any more is no error, it is replaced.
    pub async fn bind(
        socket: &Path,
        listen: &[SocketAddr],
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self, ServeError> {
        if let Some(address) = listen.iter().find(|address| needs_tls(address) && tls.is_none()) {
            return Err(ServeError::NoTls(*address));
        }
        let mut tcp = Vec::new();
        for address in listen {
            let bound = TcpListener::bind(address).await;
            tcp.push(bound.map_err(|source| ServeError::Bind { what: address.to_string(), source })?);
        }
        let unix = bind_socket(socket).await?;
        Ok(Self { unix, socket: socket.to_owned(), tcp, tls })
    }

    /// The TCP addresses, with the ports that the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

fn needs_tls(address: &SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// Serves until `shutdown`, then lets the requests in flight end.
pub async fn serve(router: Router, listeners: Listeners, shutdown: CancellationToken) {
    let Listeners { unix, socket, tcp, tls } = listeners;
    let tls = tls.map(TlsAcceptor::from);
    let server = Server { router, graceful: Arc::new(GracefulShutdown::new()), sources: Arc::default() };
    let remote = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut loops = JoinSet::new();
    for listener in tcp {
        let address = listener.local_addr();
        let tls = tls.clone().filter(|_| address.as_ref().is_ok_and(needs_tls));
        let (server, permits, shutdown) = (server.clone(), Arc::clone(&remote), shutdown.clone());
        loops.spawn(async move { shutdown.run_until_cancelled(server.accept_tcp(listener, tls, permits)).await });
    }
    let (of_socket, until) = (server.clone(), shutdown.clone());
    loops.spawn(async move { until.run_until_cancelled(of_socket.accept_unix(unix)).await });
    while loops.join_next().await.is_some() {}
    if let Err(error) = std::fs::remove_file(&socket) {
        log::warn!("cannot remove the socket {}: {error}", socket.display());
    }
    let Server { graceful, .. } = server;
    // The accept loops are gone, and with them the other owners.
    if let Some(graceful) = Arc::into_inner(graceful) {
        let left = graceful.count();
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            log::warn!("connections were cut off after {DRAIN_TIMEOUT:?}; {left} were open when the agent was stopped");
        }
    }
}

#[derive(Clone)]
struct Server {
    router: Router,
    graceful: Arc<GracefulShutdown>,
    sources: Arc<Sources>,
}

impl Server {
    async fn accept_unix(&self, listener: UnixListener) {
        let permits = Arc::new(Semaphore::new(MAX_SOCKET_CONNECTIONS));
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = self.connection(Peer::Socket);
                    tokio::spawn(async move {
                        connection.serve(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    async fn accept_tcp(&self, listener: TcpListener, tls: Option<TlsAcceptor>, permits: Arc<Semaphore>) {
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, address)) => self.admit(stream, Peer::of(address), tls.clone(), permit),
                Err(error) => pause(&error).await,
            }
        }
    }

    /// Serves a connection, unless its source has as many as it may: then it is closed.
    fn admit(&self, stream: TcpStream, peer: Peer, tls: Option<TlsAcceptor>, permit: OwnedSemaphorePermit) {
        let place = match peer {
            Peer::Remote(source) => match self.sources.enter(source) {
                Some(place) => Some(place),
                None => return,
            },
            Peer::Socket | Peer::Loopback => None,
        };
        let connection = self.connection(peer);
        tokio::spawn(async move {
            match tls {
                Some(tls) => connection.serve_tls(stream, &tls).await,
                None => connection.serve(stream).await,
            }
            drop((place, permit));
        });
    }

    fn connection(&self, peer: Peer) -> Connection {
        Connection { router: self.router.clone(), watcher: self.graceful.watcher(), peer }
    }
}

async fn pause(error: &std::io::Error) {
    log::warn!("cannot accept connections to the API: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// A connection that was let in.
struct Connection {
    router: Router,
    watcher: Watcher,
    peer: Peer,
}

impl Connection {
    async fn serve_tls(self, stream: TcpStream, tls: &TlsAcceptor) {
        match tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => log::debug!("no TLS with {:?}: {error}", self.peer),
            Err(_) => log::debug!("no TLS with {:?} within {HEAD_TIMEOUT:?}", self.peer),
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Self { router, watcher, peer } = self;
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(Patient::new(stream)), service);
        if let Err(error) = watcher.watch(connection).await {
            log::debug!("a connection ended early: {error}");
        }
    }
}

/// How many connections each source has. As many entries as there are connections, at most.
#[derive(Debug, Default)]
struct Sources(Mutex<HashMap<Source, usize>>);

/// A source's place among its connections, for as long as this lives.
struct Place {
    sources: Arc<Sources>,
    source: Source,
}

impl Sources {
    fn enter(self: &Arc<Self>, source: Source) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        if *count >= MAX_CONNECTIONS_PER_SOURCE {
            return None;
        }
        *count += 1;
        Some(Place { sources: Arc::clone(self), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

/// Binds beside the path and moves there: no moment at which others could connect, or none could.
async fn bind_socket(socket: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Bind { what: socket.display().to_string(), source };
    if let Some(directory) = socket.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    match std::fs::symlink_metadata(socket) {
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(ServeError::NotASocket(socket.to_owned())),
        Ok(_) if tokio::net::UnixStream::connect(socket).await.is_ok() => {
            return Err(ServeError::InUse(socket.to_owned()));
        }
        _ => {}
    }
    let mut beside = socket.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&beside, socket).map_err(failed)?;
    Ok(listener)
}
