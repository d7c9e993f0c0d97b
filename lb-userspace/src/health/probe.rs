//! Probes over real sockets: one connection each, one deadline over all of it, and a bounded read.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{Job, ProbeOutcome};
use crate::model::Probe;

/// Most bytes of a status line.
const MAX_STATUS_LINE_BYTES: usize = 512;

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
        let address = SocketAddr::new(job.server.address, job.health_check.port.get());
        let probe = async {
            match job.probe() {
                Probe::Tcp => tcp(address).await,
                Probe::Http { uri, method, code, host_header } => {
                    http(address, &request(address, uri, method, host_header), *code).await
                }
            }
        };
        match tokio::time::timeout(job.health_check.timeout, probe).await {
            Ok(result) => result,
            Err(_elapsed) => Ok(ProbeOutcome::TimedOut),
        }
    }
}

async fn tcp(address: SocketAddr) -> io::Result<ProbeOutcome> {
    Ok(match connect(address).await? {
        Ok(_stream) => ProbeOutcome::Passed,
        Err(outcome) => outcome,
    })
}

async fn http(address: SocketAddr, request: &str, code: Option<u16>) -> io::Result<ProbeOutcome> {
    let mut stream = match connect(address).await? {
        Ok(stream) => stream,
        Err(outcome) => return Ok(outcome),
    };
    if let Err(error) = stream.write_all(request.as_bytes()).await {
        return Ok(broken(&error));
    }
    let mut line = [0; MAX_STATUS_LINE_BYTES];
    let mut length = 0;
    while length < line.len() {
        match stream.read(&mut line[length..]).await {
            Ok(0) => return Ok(ProbeOutcome::Unexpected("the connection was closed before an answer".to_owned())),
            Ok(read) => length += read,
            Err(error) => return Ok(broken(&error)),
        }
        if let Some(end) = line[..length].iter().position(|byte| *byte == b'\n') {
            return Ok(judge(&line[..end], code));
        }
        if !b"HTTP/1.".starts_with(&line[..length.min(7)]) {
            break;
        }
    }
    Ok(ProbeOutcome::Unexpected("the answer is not HTTP/1".to_owned()))
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

fn request(address: SocketAddr, uri: &str, method: &str, host: &str) -> String {
    let address = address.to_string();
    let host = if host.is_empty() { &address } else { host };
    format!(
        "{method} {uri} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: snowshed-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
}

/// Judges a status line such as `HTTP/1.1 200 OK` (RFC 9112 §4).
fn judge(line: &[u8], code: Option<u16>) -> ProbeOutcome {
    let status = std::str::from_utf8(line).ok().and_then(|line| {
        let (version, rest) = line.trim_end_matches('\r').split_once(' ')?;
        let digits = rest.split(' ').next()?;
        let known = matches!(version, "HTTP/1.1" | "HTTP/1.0") && digits.len() == 3;
        digits.parse::<u16>().ok().filter(|status| known && (100..600).contains(status))
    });
    match (status, code) {
        (None, _) => ProbeOutcome::Unexpected("the answer is not HTTP/1".to_owned()),
        (Some(status), None) if (200..400).contains(&status) => ProbeOutcome::Passed,
        (Some(status), Some(code)) if status == code => ProbeOutcome::Passed,
        (Some(status), None) => ProbeOutcome::Unexpected(format!("status {status}, expected 200 to 399")),
        (Some(status), Some(code)) => ProbeOutcome::Unexpected(format!("status {status}, expected {code}")),
    }
}

#[cfg(test)]
mod tests;
