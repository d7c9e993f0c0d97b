//! Serving the API: a Unix socket that only its owner can open, and loopback addresses.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections that are served at once; more wait.
const MAX_CONNECTIONS: usize = 256;
/// Time a client has to send a request's head.
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
    /// An address that others than this machine can reach.
    #[error("{0} is not loopback: the API has no TLS, so `api.listen` takes addresses such as 127.0.0.1:7480 only")]
    NotLoopback(SocketAddr),
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
    /// Listens on a socket of mode 0600, whose directory is made if there is none, and on loopback addresses.
    ///
    /// # Errors
    /// [`ServeError`]; a socket that nobody listens on any more is no error, it is replaced.
    pub async fn bind(socket: &Path, listen: &[SocketAddr]) -> Result<Self, ServeError> {
        if let Some(address) = listen.iter().find(|address| !address.ip().is_loopback()) {
            return Err(ServeError::NotLoopback(*address));
        }
        let mut tcp = Vec::new();
        for address in listen {
            let bound = TcpListener::bind(address).await;
            tcp.push(bound.map_err(|source| ServeError::Bind { what: address.to_string(), source })?);
        }
        let unix = bind_socket(socket).await?;
        Ok(Self { unix, socket: socket.to_owned(), tcp })
    }

    /// The TCP addresses, with the ports that the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

/// Serves until `shutdown`, then lets the requests in flight end.
pub async fn serve(router: Router, listeners: Listeners, shutdown: CancellationToken) {
    let Listeners { unix, socket, tcp } = listeners;
    let shared = Shared {
        router,
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        graceful: Arc::new(GracefulShutdown::new()),
    };
    let mut loops = JoinSet::new();
    for listener in tcp {
        let (shared, shutdown) = (shared.clone(), shutdown.clone());
        loops.spawn(async move {
            shutdown
                .run_until_cancelled(
                    shared.accept("a loopback address", || async { listener.accept().await.map(|(stream, _)| stream) }),
                )
                .await;
        });
    }
    let (for_unix, until) = (shared.clone(), shutdown.clone());
    loops.spawn(async move {
        until
            .run_until_cancelled(
                for_unix.accept("the socket", || async { unix.accept().await.map(|(stream, _)| stream) }),
            )
            .await;
    });
    while loops.join_next().await.is_some() {}
    if let Err(error) = std::fs::remove_file(&socket) {
        log::warn!("cannot remove the socket {}: {error}", socket.display());
    }
    let Shared { router: _, connections, graceful } = shared;
    // The accept loops are gone, and with them the other owners.
    if let Some(graceful) = Arc::into_inner(graceful)
        && tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err()
    {
        let left = MAX_CONNECTIONS - connections.available_permits();
        log::warn!("{left} connections were cut off after {DRAIN_TIMEOUT:?}");
    }
}

#[derive(Clone)]
struct Shared {
    router: Router,
    connections: Arc<Semaphore>,
    graceful: Arc<GracefulShutdown>,
}

impl Shared {
    async fn accept<S, F>(&self, what: &str, mut next: impl FnMut() -> F)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = std::io::Result<S>>,
    {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
            match next().await {
                Ok(stream) => self.connection(stream, permit),
                Err(error) => {
                    log::warn!("cannot accept on {what}: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn connection<S>(&self, stream: S, permit: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router.clone()));
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::debug!("a connection ended early: {error}");
            }
            drop(permit);
        });
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
