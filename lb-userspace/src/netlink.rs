//! Questions to the kernel about links, routes and neighbours, and their answers: one blocking socket.
//!
//! The kernel answers a request while it is being sent, so nothing here waits: an answer that is not there when the
//! sending returns was lost.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Requests sent at once: their answers must fit into the socket's buffer.
const IN_FLIGHT: usize = 64;
/// Bytes read at once; the kernel's own dumps use at most 32 KiB.
const BUFFER: usize = 1 << 16;
/// Parts of a dump that are read before it is given up: bounds a dump that never ends.
const MAX_PARTS: usize = 1 << 20;

/// A socket for requests.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// The answer to one request: a message, nothing but an acknowledgement, or the kernel's error.
pub type Answer = Result<Option<RouteNetlinkMessage>, io::Error>;

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Everything of a kind.
    ///
    /// # Errors
    /// When the kernel refuses, or an answer is lost or not understood.
    pub fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let first = self.send(vec![message], NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut found = Vec::new();
        for _ in 0..MAX_PARTS {
            for message in self.receive()? {
                if message.header.sequence_number != first {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(inner) => found.push(inner),
                    _ => {}
                }
            }
        }
        Err(io::Error::other("the kernel's list does not end"))
    }

    /// Asks each question; one answer each, in the same order.
    ///
    /// # Errors
    /// When the socket fails, or an answer is lost or not understood.
    pub fn ask(&mut self, questions: Vec<RouteNetlinkMessage>) -> io::Result<Vec<Answer>> {
        self.pipeline(questions, NLM_F_REQUEST)
    }

    /// Gives each order, with `NLM_F_CREATE`; one answer each, in the same order.
    ///
    /// # Errors
    /// As [`Netlink::ask`].
    pub fn order(&mut self, orders: Vec<RouteNetlinkMessage>) -> io::Result<Vec<Answer>> {
        self.pipeline(orders, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK)
    }

    /// One link by its number; `None` when there is none.
    ///
    /// # Errors
    /// As [`Netlink::ask`].
    pub fn link(&mut self, ifindex: u32) -> io::Result<Option<LinkMessage>> {
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        match self.ask(vec![RouteNetlinkMessage::GetLink(message)])?.pop() {
            Some(Ok(Some(RouteNetlinkMessage::NewLink(link)))) => Ok(Some(link)),
            Some(Err(error)) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Some(Err(error)) => Err(error),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn pipeline(&mut self, messages: Vec<RouteNetlinkMessage>, flags: u16) -> io::Result<Vec<Answer>> {
        let mut answers: Vec<Answer> = Vec::with_capacity(messages.len());
        let mut messages = messages.into_iter();
        loop {
            let batch: Vec<_> = messages.by_ref().take(IN_FLIGHT).collect();
            if batch.is_empty() {
                return Ok(answers);
            }
            let asked = batch.len();
            let first = self.send(batch, flags)?;
            let mut received: Vec<Option<Answer>> = std::iter::repeat_with(|| None).take(asked).collect();
            let mut missing = asked;
            while missing > 0 {
                for message in self.receive()? {
                    let position = message.header.sequence_number.wrapping_sub(first) as usize;
                    let Some(place) = received.get_mut(position) else { continue };
                    let answer = match message.payload {
                        NetlinkPayload::InnerMessage(inner) => Ok(Some(inner)),
                        NetlinkPayload::Error(error) if error.code.is_none() => Ok(None),
                        NetlinkPayload::Error(error) => Err(error.to_io()),
                        _ => continue,
                    };
                    if place.replace(answer).is_none() {
                        missing -= 1;
                    }
                }
            }
            answers.extend(received.into_iter().flatten());
        }
    }

    /// Sends messages in one datagram; the sequence number of the first.
    fn send(&mut self, messages: Vec<RouteNetlinkMessage>, flags: u16) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for inner in messages {
            self.sequence = self.sequence.wrapping_add(1);
            let mut message = NetlinkMessage::from(inner);
            message.header.flags = flags;
            message.header.sequence_number = self.sequence;
            message.finalize();
            let start = bytes.len();
            bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut bytes[start..]);
        }
        self.socket.send(&bytes, 0)?;
        Ok(first)
    }

    fn receive(&mut self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, 0)?;
        parse(&self.buffer)
    }
}

/// The messages of one datagram.
///
/// # Errors
/// When one is not understood.
pub fn parse<T: NetlinkDeserializable>(datagram: &[u8]) -> io::Result<Vec<NetlinkMessage<T>>> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::deserialize(rest)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let length = (message.header.length as usize).next_multiple_of(4);
        messages.push(message);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(messages)
}

/// The id of the XDP program that is attached to a link, where it is one.
#[must_use]
pub fn xdp_program(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => xdp.iter().find_map(|one| match one {
            LinkXdp::ProgId(id) => Some(*id),
            _ => None,
        }),
        _ => None,
    })
}

/// How an XDP program is attached to a link: `native`, `generic`, `offloaded` or `several`; `None` when none is.
#[must_use]
pub fn xdp_mode(link: &LinkMessage) -> Option<&'static str> {
    let attached = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => xdp.iter().find_map(|one| match one {
            LinkXdp::Attached(attached) => Some(attached),
            _ => None,
        }),
        _ => None,
    })?;
    match attached {
        XdpAttached::Driver => Some("native"),
        XdpAttached::SocketBuffer => Some("generic"),
        XdpAttached::Hardware => Some("offloaded"),
        XdpAttached::Multiple => Some("several"),
        _ => None,
    }
}
