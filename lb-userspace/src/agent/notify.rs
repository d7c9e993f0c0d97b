//! Tells systemd how the agent is doing (sd_notify(3)): one datagram to the socket in `NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::reconcile::Status;

/// The agent serves.
pub(super) fn ready() {
    tell("READY=1");
}

/// The agent stops.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

/// Tells systemd that the agent lives while its reconciler does (sd_watchdog_enabled(3)): as long as an activation ended
/// within half the time that systemd waits. Returns when the reconciler has ended; waits for ever where nobody watches.
pub(super) async fn watchdog(mut status: watch::Receiver<Arc<Status>>) -> &'static str {
    let Some(patience) = patience(std::env::var("WATCHDOG_USEC").ok().as_deref()) else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(patience / 4);
    let mut active = Instant::now();
    loop {
        tokio::select! {
            changed = status.changed() => {
                if changed.is_err() {
                    return "reconciler";
                }
                status.mark_unchanged();
                active = Instant::now();
            }
            _ = ticks.tick() => {
                if active.elapsed() <= patience / 2 {
                    tell("WATCHDOG=1");
                } else {
                    log::error!("the reconciler has ended no activation for {:?}: systemd is not told that it lives", active.elapsed());
                }
            }
        }
    }
}

/// How long systemd waits for a sign of life, as it says in microseconds.
fn patience(microseconds: Option<&str>) -> Option<Duration> {
    microseconds?.parse().ok().filter(|microseconds| *microseconds > 0).map(Duration::from_micros)
}

fn tell(state: &str) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&path, state)
    {
        log::warn!("cannot tell NOTIFY_SOCKET {}: {error}", path.display());
    }
}

fn send(path: &OsStr, state: &str) -> io::Result<()> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_sent_as_one_datagram() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }
}
