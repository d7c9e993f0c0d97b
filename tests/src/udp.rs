//! UDP: an echo that answers with the server's name, and a client that counts who answered.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// How long the echo waits before it looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An echo that runs until dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Echo {
    /// Binds `address` in a namespace and answers every datagram with `name`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(netns: &Netns, address: SocketAddr, name: &str) -> Result<Self> {
        let socket = netns.run(|| UdpSocket::bind(address))?.with_context(|| format!("bind UDP {address}"))?;
        socket.set_read_timeout(Some(LOOK_EVERY)).context("set the echo's timeout")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), name.to_owned());
        let thread = std::thread::spawn(move || answer(&socket, &stopped, &name));
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // An echo that failed shows as answers that are missing.
            let _ended = thread.join();
        }
    }
}

fn answer(socket: &UdpSocket, stop: &AtomicBool, name: &str) -> Result<()> {
    let mut datagram = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match receive(socket, &mut datagram) {
            Ok((_, client)) => drop(socket.send_to(name.as_bytes(), client).context("answer a datagram")?),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error).context("receive a datagram"),
        }
    }
    Ok(())
}

/// What a round of datagrams brought.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Datagrams sent, each from a port of its own.
    pub sent: usize,
    /// Answers by server.
    pub by_server: BTreeMap<String, usize>,
    /// Datagrams without an answer, or refused.
    pub lost: usize,
}

/// Sends datagrams from a namespace, each from a new port, one after the other.
///
/// # Errors
/// When a socket cannot be made or the target is unreachable.
pub fn ask(netns: &Netns, target: SocketAddr, count: usize, timeout: Duration) -> Result<Answers> {
    netns.run(|| {
        let mut answers = Answers::default();
        for _ in 0..count {
            answers.sent += 1;
            match ask_once(target, timeout)? {
                Some(server) => *answers.by_server.entry(server).or_default() += 1,
                None => answers.lost += 1,
            }
        }
        Ok(answers)
    })?
}

fn ask_once(target: SocketAddr, timeout: Duration) -> Result<Option<String>> {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).context("bind a UDP port")?;
    socket.connect(target).with_context(|| format!("connect UDP {target}"))?;
    socket.set_read_timeout(Some(timeout)).context("set the timeout")?;
    socket.send(b"who?").with_context(|| format!("send to {target}"))?;
    let mut datagram = [0; 2048];
    match receive(&socket, &mut datagram) {
        Ok((length, _)) => Ok(Some(String::from_utf8_lossy(&datagram[..length]).into_owned())),
        Err(error) if is_timeout(&error) || error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(error).context("receive the answer"),
    }
}

/// No datagram within the socket's timeout.
fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Receives; a call that a stopped and continued process sees interrupted (signal(7), stop signals) begins again.
fn receive(socket: &UdpSocket, datagram: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(datagram) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}
