//! Live traffic through a sample of the fleet: real TCP connections and UDP datagrams, each answer counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::fleet::{Fleet, TCP_PORT};
use super::machines::{Machine, Machines};
use super::{Doing as _, DrillError};
use crate::model::Protocol;

/// Time between an answer and the next question of a client.
const PAUSE: Duration = Duration::from_millis(20);
/// What is not answered by then is lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Clients and servers, until dropped.
#[derive(Debug)]
pub(super) struct Traffic {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<std::io::Result<()>, DrillError>>>,
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    lost: AtomicU64,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) answered: u64,
    pub(super) lost: u64,
}

impl Traffic {
    /// Starts the servers: they must answer the first probes.
    pub(super) fn serve(machines: &Machines, fleet: &Fleet) -> Result<Self, DrillError> {
        let stop: Arc<AtomicBool> = Arc::default();
        let (stopped, udp) = (Arc::clone(&stop), targets(fleet, Protocol::Udp));
        let servers = machines.spawn(Machine::Servers, move || run(serve(udp), &stopped))?;
        Ok(Self { counts: Arc::default(), stop, threads: vec![servers] })
    }

    /// Starts the clients.
    pub(super) fn ask(&mut self, machines: &Machines, fleet: &Fleet) -> Result<(), DrillError> {
        let (counts, stopped) = (Arc::clone(&self.counts), Arc::clone(&self.stop));
        let (tcp, udp) = (targets(fleet, Protocol::Tcp), targets(fleet, Protocol::Udp));
        self.threads.push(machines.spawn(Machine::Client, move || run(ask(tcp, udp, counts), &stopped))?);
        Ok(())
    }

    pub(super) fn mark(&self) -> Mark {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Mark { answered: of(&self.counts.answered), lost: of(&self.counts.lost) }
    }

    /// Stops clients and servers.
    pub(super) fn stop(mut self) -> Result<(), DrillError> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join().map_err(|_| DrillError::new("the traffic", "a thread broke off"))?;
            ended?.doing("the traffic")?;
        }
        Ok(())
    }
}

/// Where the clients of a protocol ask.
fn targets(fleet: &Fleet, protocol: Protocol) -> Vec<SocketAddr> {
    let sample = fleet.sample().into_iter().filter(|service| service.protocol == protocol);
    sample.map(|service| (IpAddr::V4(service.address), service.port()).into()).collect()
}

/// Runs tasks on this thread, and so in its machine, until stopped.
fn run(work: impl Future<Output = std::io::Result<JoinSet<()>>>, stop: &AtomicBool) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let _tasks = work.await?;
        while !stop.load(Ordering::Relaxed) {
            sleep(PAUSE).await;
        }
        Ok(())
    })
}

/// Every server in one: TCP on every address, UDP on those that are asked, because a reply comes from where it was
/// sent to.
async fn serve(udp: Vec<SocketAddr>) -> std::io::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let listener = TcpListener::bind(("0.0.0.0", TCP_PORT)).await?;
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    for address in udp {
        let socket = UdpSocket::bind(address).await?;
        tasks.spawn(async move {
            let mut datagram = [0; 64];
            while let Ok((length, client)) = socket.recv_from(&mut datagram).await {
                if socket.send_to(&datagram[..length], client).await.is_err() {
                    // The client counts what it misses.
                    sleep(PAUSE).await;
                }
            }
        });
    }
    Ok(tasks)
}

async fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 64];
    while let Ok(length) = stream.read(&mut bytes).await {
        if length == 0 || stream.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

async fn ask(tcp: Vec<SocketAddr>, udp: Vec<SocketAddr>, counts: Arc<Counts>) -> std::io::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for target in tcp {
        tasks.spawn(talk(target, Arc::clone(&counts)));
    }
    for target in udp {
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        socket.connect(target).await?;
        tasks.spawn(send(socket, Arc::clone(&counts)));
    }
    Ok(tasks)
}

/// One connection that is kept as long as it lives; a question that is not answered ends it, and counts as lost.
async fn talk(target: SocketAddr, counts: Arc<Counts>) {
    let mut number = 0_u64;
    loop {
        let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(target)).await else {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            sleep(PAUSE).await;
            continue;
        };
        loop {
            number += 1;
            let asked = number.to_be_bytes();
            let mut answer = [0; 8];
            let exchange = async {
                stream.write_all(&asked).await?;
                stream.read_exact(&mut answer).await
            };
            let answered = matches!(timeout(PATIENCE, exchange).await, Ok(Ok(_))) && answer == asked;
            let count = if answered { &counts.answered } else { &counts.lost };
            count.fetch_add(1, Ordering::Relaxed);
            if !answered {
                break;
            }
            sleep(PAUSE).await;
        }
    }
}

/// Datagrams one after the other, each waited for.
async fn send(socket: UdpSocket, counts: Arc<Counts>) {
    let mut number = 0_u64;
    loop {
        number += 1;
        let exchange = async {
            socket.send(&number.to_be_bytes()).await?;
            let mut answer = [0; 64];
            loop {
                let length = socket.recv(&mut answer).await?;
                // An older answer that came late was counted as lost already.
                if answer[..length] == number.to_be_bytes() {
                    return Ok::<(), std::io::Error>(());
                }
            }
        };
        let answered = matches!(timeout(PATIENCE, exchange).await, Ok(Ok(())));
        let count = if answered { &counts.answered } else { &counts.lost };
        count.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
}
