//! The ways to the servers: routes and neighbours from netlink, followed as they change.
//!
//! Subscribed before the first full reading, so that nothing is missed in between. Neighbour and link events are
//! applied one by one; anything that may move a route makes every wanted address be asked for again, all in one
//! pipelined exchange. Events that come in a burst are handled together. When the kernel says that events were lost,
//! everything is read anew.

mod state;
mod wire;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::sys::{AsyncSocket, TokioSocket, protocols::NETLINK_ROUTE};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::netlink::{self, Netlink};
use crate::plan::NextHops;

use state::{Route, State};

/// Events that come within this time of the first are handled with it.
const BURST: Duration = Duration::from_millis(10);
/// A full reading waits this many times as long as the last one took: routes that change all the time cost a fifth
/// of a core at most.
const REST_FACTOR: u32 = 4;
/// Datagrams of events read in one go.
const MAX_EVENTS: usize = 10_000;
/// Bytes of a datagram of events.
const EVENT_BYTES: usize = 1 << 16;
/// Each so many refreshes everything is read anew, in case an event does not exist for what changed.
const REFRESHES_PER_FULL_READING: u32 = 12;

/// How the ways are followed.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How often neighbours that are not fresh are asked again.
    pub refresh: Duration,
    /// Room for events that wait to be read, bytes (the kernel doubles it, and holds it under `net.core.rmem_max`).
    pub event_buffer_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { refresh: Duration::from_secs(5), event_buffer_bytes: 4 << 20 }
    }
}

/// Follows the ways to the wanted addresses; made by [`follow`], does its work in [`Follower::run`].
pub struct Follower {
    config: Config,
    events: TokioSocket,
    wanted: watch::Receiver<BTreeSet<IpAddr>>,
    next_hops: watch::Sender<Arc<NextHops>>,
    /// Away while it works on a blocking thread.
    reader: Option<Reader>,
}

/// Opens the sockets in the network namespace of the calling thread, and subscribes.
///
/// # Errors
/// When the kernel gives no socket, or there is no tokio runtime to watch it.
pub fn follow(
    config: Config,
    wanted: watch::Receiver<BTreeSet<IpAddr>>,
) -> io::Result<(Follower, watch::Receiver<Arc<NextHops>>)> {
    let mut events = TokioSocket::new(NETLINK_ROUTE)?;
    let socket = events.socket_mut();
    socket.bind_auto()?;
    socket.set_rx_buf_sz(libc::c_int::try_from(config.event_buffer_bytes).unwrap_or(libc::c_int::MAX))?;
    for group in [
        MulticastGroup::Link,
        MulticastGroup::Neigh,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Ipv4Rule,
        MulticastGroup::Ipv6Rule,
        MulticastGroup::Nexthop,
    ] {
        socket.add_membership(group as u32)?;
    }
    let (next_hops, receiver) = watch::channel(Arc::default());
    let reader = Reader { netlink: Netlink::open()?, state: State::default() };
    let follower = Follower { config, events, wanted, next_hops, reader: Some(reader) };
    Ok((follower, receiver))
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Follower {
    /// Follows until nobody wants anything any more (the sender of the wanted addresses is dropped).
    ///
    /// # Errors
    /// When the event socket fails for good.
    pub async fn run(mut self) -> io::Result<()> {
        let mut refresh = tokio::time::interval(self.config.refresh);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut due, mut refreshes) = (Due::everything(), 0);
        let (mut rest_until, mut buffer) = (Instant::now(), Vec::with_capacity(EVENT_BYTES));
        loop {
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => due.routes = true,
                    Err(_) => return Ok(()),
                },
                received = poll_fn(|context| self.events.poll_recv(context, &mut buffer)) => {
                    due.take(received, &mut buffer)?;
                    tokio::time::sleep(BURST).await;
                    self.take_events(&mut due, &mut buffer)?;
                }
                _ = refresh.tick() => {
                    due.neighbours = true;
                    refreshes += 1;
                    if refreshes % REFRESHES_PER_FULL_READING == 0 {
                        due.everything = true;
                    }
                }
                () = tokio::time::sleep_until(rest_until), if due.is_reading() => {}
            }
            let mut now = std::mem::take(&mut due);
            if now.is_reading() && Instant::now() < rest_until {
                (due.everything, due.routes) = (now.everything, now.routes);
                (now.everything, now.routes) = (false, false);
            }
            if now.is_anything() {
                let reading = now.is_reading();
                let started = Instant::now();
                if !self.work(now).await? {
                    due.everything = true;
                }
                if reading {
                    rest_until = Instant::now() + (started.elapsed() * REST_FACTOR).max(BURST);
                }
            }
        }
    }

    /// Takes the events that wait, in their order; what is beyond the bound is still there the next time.
    fn take_events(&self, due: &mut Due, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..MAX_EVENTS {
            match self.events.poll_recv(&mut context, buffer) {
                Poll::Ready(received) => due.take(received, buffer)?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Does what is due, and publishes the outcome if it is another. False when the kernel's answers were lost.
    async fn work(&mut self, due: Due) -> io::Result<bool> {
        let Some(mut reader) = self.reader.take() else {
            return Err(io::Error::other("the reader of routes and neighbours is gone"));
        };
        // Seen only when the routes to them are read: work for an event must not swallow what was wanted meanwhile.
        let wanted =
            if due.is_reading() { self.wanted.borrow_and_update().clone() } else { self.wanted.borrow().clone() };
        let (reader, outcome, next_hops) = tokio::task::spawn_blocking(move || {
            let outcome = reader.bring_up_to_date(due, &wanted);
            let next_hops = reader.state.next_hops();
            (reader, outcome, next_hops)
        })
        .await
        .map_err(io::Error::other)?;
        self.reader = Some(reader);
        self.next_hops.send_if_modified(|published| {
            let modified = **published != next_hops;
            if modified {
                *published = Arc::new(next_hops);
            }
            modified
        });
        if let Err(error) = &outcome {
            log::warn!("reading routes and neighbours: {error}; trying again");
        }
        Ok(outcome.is_ok())
    }
}

/// What is to be done.
#[derive(Debug, Default)]
struct Due {
    /// Links, neighbours and routes are read anew.
    everything: bool,
    /// Every route is asked for again.
    routes: bool,
    /// Neighbours that are not fresh are asked; so they are after every reading.
    neighbours: bool,
    /// Events to apply, in their order.
    events: Vec<Event>,
}

#[derive(Debug)]
enum Event {
    Neighbour { gone: bool, message: NeighbourMessage },
    Link { gone: bool, message: Box<LinkMessage> },
}

impl Due {
    fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    const fn is_reading(&self) -> bool {
        self.everything || self.routes
    }

    const fn is_anything(&self) -> bool {
        self.is_reading() || self.neighbours || !self.events.is_empty()
    }

    /// Notes what a datagram tells, and empties the buffer.
    fn take(&mut self, received: io::Result<()>, buffer: &mut Vec<u8>) -> io::Result<()> {
        match received.and_then(|()| netlink::parse::<RouteNetlinkMessage>(buffer)) {
            Ok(messages) => messages.into_iter().for_each(|message| self.note(message)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                log::warn!("netlink events were lost: reading routes and neighbours anew");
                self.everything = true;
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                log::warn!("a netlink event was not understood ({error}): reading everything anew");
                self.everything = true;
            }
            Err(error) => return Err(error),
        }
        buffer.clear();
        Ok(())
    }

    fn note(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        let NetlinkPayload::InnerMessage(message) = message.payload else { return };
        match message {
            RouteNetlinkMessage::NewNeighbour(message) => self.events.push(Event::Neighbour { gone: false, message }),
            RouteNetlinkMessage::DelNeighbour(message) => self.events.push(Event::Neighbour { gone: true, message }),
            RouteNetlinkMessage::NewLink(message) => {
                self.events.push(Event::Link { gone: false, message: Box::new(message) });
                self.routes = true;
            }
            RouteNetlinkMessage::DelLink(message) => {
                self.events.push(Event::Link { gone: true, message: Box::new(message) });
                self.routes = true;
            }
            _ => self.routes = true,
        }
    }
}

/// Asks the kernel, and knows what it said.
#[derive(Debug)]
struct Reader {
    netlink: Netlink,
    state: State,
}

impl Reader {
    fn bring_up_to_date(&mut self, due: Due, wanted: &BTreeSet<IpAddr>) -> io::Result<()> {
        let Due { everything, routes, neighbours, events } = due;
        for event in events {
            self.apply(&event);
        }
        if everything {
            self.read_links()?;
            self.read_neighbours()?;
        }
        if everything || routes {
            self.read_routes(wanted)?;
            self.state.forget_unused();
        }
        if everything || routes || neighbours {
            self.ask_neighbours()?;
        }
        Ok(())
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Neighbour { gone, message } => {
                if let Some((ifindex, address, neighbour)) = wire::neighbour(message) {
                    self.state.set_neighbour(ifindex, address, neighbour.filter(|_| !gone));
                }
            }
            Event::Link { gone, message } => {
                let (ifindex, link) = wire::link(message);
                if *gone {
                    self.state.links.remove(&ifindex);
                } else {
                    self.state.links.insert(ifindex, link);
                }
            }
        }
    }

    fn read_links(&mut self) -> io::Result<()> {
        let found = self.netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        self.state.links = found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(message) => Some(wire::link(message)),
                _ => None,
            })
            .collect();
        Ok(())
    }

    fn read_neighbours(&mut self) -> io::Result<()> {
        let found = self.netlink.dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()))?;
        let neighbours = found.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewNeighbour(message) => {
                let (ifindex, address, neighbour) = wire::neighbour(message)?;
                Some((ifindex, address, neighbour?))
            }
            _ => None,
        });
        self.state.replace_neighbours(neighbours.collect());
        Ok(())
    }

    fn read_routes(&mut self, wanted: &BTreeSet<IpAddr>) -> io::Result<()> {
        let answers = self.netlink.ask(wanted.iter().map(|&address| wire::ask_route(address)).collect())?;
        let route = |answer: &netlink::Answer| match answer {
            Ok(Some(RouteNetlinkMessage::NewRoute(message))) => wire::route(message),
            // ENETUNREACH, EHOSTUNREACH, EACCES (prohibited), EINVAL (blackhole, or an address nobody can have).
            _ => Route::None,
        };
        self.state.routes = wanted.iter().copied().zip(answers.iter().map(route)).collect();
        Ok(())
    }

    fn ask_neighbours(&mut self) -> io::Result<()> {
        let ask = self.state.to_ask();
        if ask.is_empty() {
            return Ok(());
        }
        let orders = ask.iter().map(|&(ifindex, address)| wire::use_neighbour(ifindex, address)).collect();
        let refused = self.netlink.order(orders)?.into_iter().find_map(Result::err);
        if let Some(error) = refused {
            log::warn!(
                "the kernel does not ask for every neighbour ({error}); with many servers on one link, raise \
                 net.ipv4.neigh.default.gc_thresh3 and net.ipv6.neigh.default.gc_thresh3"
            );
        }
        Ok(())
    }
}
