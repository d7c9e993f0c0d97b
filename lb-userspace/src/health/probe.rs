//! Probes over real sockets: one connection each, one deadline over all of it, and a bounded read.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{Job, ProbeOutcome, Through, Tunnel};
use crate::model::{Forwarding, HealthCheck, Probe};
use crate::plan::Unresolved;

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

    /// The address that probes to a server come from, where that is known.
    fn source(&self, _server: IpAddr) -> Option<IpAddr> {
        None
    }
}

/// Probes over the network: through the tunnel where traffic goes through one, otherwise straight to the server's
/// address.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// The way through tunnels; without it every probe goes straight.
    pub tunnel: Option<Arc<Tunnel>>,
}

/// How long a server's own address is asked, to say more about one that does not answer through its tunnel.
const SECOND_LOOK: Duration = Duration::from_millis(500);

impl Prober for Network {
    async fn probe(&self, job: &Job) -> io::Result<ProbeOutcome> {
        let check = &job.health_check;
        let server = SocketAddr::new(job.server.address, check.port.get());
        // What is an address of this machine itself is never sent anywhere: such a VIP's servers are asked straight.
        let through = job.through.filter(|through| !Tunnel::is_own(through.vip));
        let Some((tunnel, through)) = self.tunnel.as_ref().zip(through) else {
            return within(check.timeout, ask(connect(server), server, check)).await;
        };
        let way = tokio::time::timeout(check.timeout, tunnel.way(server.ip(), through.forwarding)).await;
        if let Err(why) = way.unwrap_or(Err(Unresolved::Pending)) {
            return Ok(ProbeOutcome::Unreachable(why.to_string()));
        }
        let vip = SocketAddr::new(through.vip, check.port.get());
        let outcome = within(check.timeout, ask(connect_through(tunnel, server, through, vip), vip, check)).await?;
        if outcome != ProbeOutcome::TimedOut {
            return Ok(outcome);
        }
        let answers = tokio::time::timeout(SECOND_LOOK.min(check.timeout), connect(server)).await;
        Ok(ProbeOutcome::NotThrough(silence(through, matches!(answers, Ok(Ok(Ok(_)))))))
    }

    fn source(&self, server: IpAddr) -> Option<IpAddr> {
        super::source_towards(server).ok()
    }
}

/// Why a server may not answer the way traffic goes.
fn silence(through: Through, answers_itself: bool) -> String {
    let vip = through.vip;
    let way = if through.forwarding == Forwarding::L2 { "for the VIP by its MAC" } else { "through the tunnel" };
    if !answers_itself {
        return format!("no answer within the timeout, neither {way} nor at the server's own address");
    }
    let what = if through.forwarding == Forwarding::Gue { "UDP port 6080" } else { "protocols 4 and 41" };
    let remedy = if through.forwarding == Forwarding::L2 {
        format!("on the server: `ip address add {vip} dev lo`, `arp_ignore=1`, and a service that listens on {vip}")
    } else {
        format!(
            "on the server: `snowshed backend attach --iface IFACE --vip {vip}` (or a tunnel device of the kernel), `ip \
             address add {vip} dev lo`, rp_filter not strict, and no firewall for {what}"
        )
    };
    format!("no answer {way}, though the server's own address answers; {remedy}")
}

async fn within(timeout: Duration, probe: impl Future<Output = io::Result<ProbeOutcome>>) -> io::Result<ProbeOutcome> {
    tokio::time::timeout(timeout, probe).await.unwrap_or(Ok(ProbeOutcome::TimedOut))
}

type Connected = io::Result<Result<TcpStream, ProbeOutcome>>;

async fn ask(
    connecting: impl Future<Output = Connected>,
    address: SocketAddr,
    check: &HealthCheck,
) -> io::Result<ProbeOutcome> {
    let mut stream = match connecting.await? {
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
async fn connect(address: SocketAddr) -> Connected {
    connected(socket(address)?, address).await
}

/// As [`connect`], to a VIP whose packets reach one server.
async fn connect_through(tunnel: &Tunnel, server: SocketAddr, through: Through, vip: SocketAddr) -> Connected {
    let socket = socket(vip)?;
    match tunnel.prepare(&socket, server.ip(), through) {
        Ok(()) => connected(socket, vip).await,
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            Ok(Err(ProbeOutcome::Unreachable(format!("the server could not answer this edge: {error}"))))
        }
        Err(error) => Err(error),
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_zero_linger()?;
    Ok(socket)
}

async fn connected(socket: TcpSocket, address: SocketAddr) -> Connected {
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
