//! Probes over real sockets: one connection each, one deadline over all of it, and a bounded read.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{Job, ProbeOutcome};
use crate::model::{HealthCheck, Probe};

mod conversation;
mod tls;

use conversation::{Conversation, PROXY_HEADER, Step};

/// Bytes read at once.
const READ_BYTES: usize = 1024;

/// Makes probes. A seam: tests answer without a network.
pub trait Prober: Send + Sync + 'static {
    /// Makes a probe; it ends within its timeout.
    ///
    /// # Errors
    /// An error of this machine (no file descriptors, for instance): it says nothing about the server.
    fn probe(&self, job: &Job) -> impl Future<Output = io::Result<ProbeOutcome>> + Send;
}

/// Probes over the network, from this machine straight to the server's address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network;

impl Prober for Network {
    async fn probe(&self, job: &Job) -> io::Result<ProbeOutcome> {
        let check = &job.health_check;
        let address = SocketAddr::new(job.server.address, check.port.get());
        match tokio::time::timeout(check.timeout, ask(address, check)).await {
            Ok(result) => result,
            Err(_elapsed) => Ok(ProbeOutcome::TimedOut),
        }
    }
}

async fn ask(address: SocketAddr, check: &HealthCheck) -> io::Result<ProbeOutcome> {
    let mut stream = match connect(address).await? {
        Ok(stream) => stream,
        Err(outcome) => return Ok(outcome),
    };
    if check.send_proxy
        && let Err(error) = stream.write_all(&PROXY_HEADER).await
    {
        return Ok(broken(&error));
    }
    Ok(match &check.probe {
        Probe::Tcp => ProbeOutcome::Passed,
        Probe::Https { sni, .. } => match tls::connect(stream, address.ip(), sni).await {
            Ok(stream) => converse(stream, &check.probe, address).await,
            Err(outcome) => outcome,
        },
        probe => converse(stream, probe, address).await,
    })
}

/// Says and hears what the probe's protocol wants until it is decided.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, probe: &Probe, address: SocketAddr) -> ProbeOutcome {
    let mut conversation = Conversation::new(probe);
    let mut words = conversation.opening(address);
    let mut buffer = [0; READ_BYTES];
    loop {
        let said = async {
            stream.write_all(&words).await?;
            stream.flush().await
        };
        if let Err(error) = said.await {
            return broken(&error);
        }
        loop {
            let read = match stream.read(&mut buffer).await {
                Ok(0) => return conversation.closed(),
                Ok(read) => read,
                Err(error) => return broken(&error),
            };
            match conversation.hear(&buffer[..read]) {
                Step::More => {}
                Step::Done(outcome) => return outcome,
                Step::Say(next) => {
                    words = next;
                    break;
                }
            }
        }
    }
}

/// A connection, or what its failure says about the server. It is reset when dropped: an edge that probes thousands
/// of servers a second must not keep as many ports waiting.
async fn connect(address: SocketAddr) -> io::Result<Result<TcpStream, ProbeOutcome>> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_zero_linger()?;
    match socket.connect(address).await {
        Ok(stream) => Ok(Ok(stream)),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ok(Err(ProbeOutcome::Refused)),
            ErrorKind::TimedOut => Ok(Err(ProbeOutcome::TimedOut)),
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Ok(Err(broken(&error))),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                Ok(Err(ProbeOutcome::Unreachable(plain(&error))))
            }
            // Out of ports, descriptors or memory, or not permitted: this machine's fault.
            _ => Err(error),
        },
    }
}

fn broken(error: &io::Error) -> ProbeOutcome {
    ProbeOutcome::Unexpected(format!("the connection broke: {}", plain(error)))
}

/// The system's words without its number.
fn plain(error: &io::Error) -> String {
    error.kind().to_string()
}

#[cfg(test)]
mod tests;
