//! A machine on the clients' cable that puts VLAN tags on what goes to a VIP, and takes them off what comes back with
//! the same ones.
//!
//! Where the kernel has no VLAN devices, this is how tagged packets reach the edge. Everything else passes as it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike as _, bind, recvfrom, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::netns::Netns;

/// Interface of the tagger towards the clients.
pub(crate) const INSIDE: &str = "inside";
/// Interface of the tagger towards the network.
pub(crate) const OUTSIDE: &str = "outside";

/// Ethernet protocol of a tag that stands alone or inside (IEEE 802.1Q).
const CUSTOMER_TAG: u16 = 0x8100;
/// Ethernet protocol of the outer of two tags (IEEE 802.1ad).
const SERVICE_TAG: u16 = 0x88a8;
/// Length of a tag.
const TAG: usize = 4;
/// Largest frame that is carried.
const MAX_FRAME: usize = 4096;

/// Carries frames until dropped.
#[derive(Debug)]
pub struct Tagger {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
    _netns: Netns,
}

impl Tagger {
    /// Starts carrying between the two interfaces of `netns`. `vlans` are the tags' numbers, outermost first, for
    /// packets to one of `vips`.
    pub(crate) fn start(netns: Netns, vlans: &[u16], vips: &[IpAddr]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let tags = Arc::new(tag_bytes(vlans));
        let vips = Arc::new(vips.to_vec());
        let mut threads = Vec::new();
        for (from, to) in [(INSIDE, OUTSIDE), (OUTSIDE, INSIDE)] {
            let (stop, tags, vips) = (Arc::clone(&stop), Arc::clone(&tags), Arc::clone(&vips));
            threads.push(netns.spawn(&format!("tagger-{from}"), move || {
                let way = if from == INSIDE { Way::Out(&tags, &vips) } else { Way::In(&tags) };
                carry(&packet_socket(from)?, &packet_socket(to)?, way, &stop)
            })?);
        }
        Ok(Self { stop, threads, _netns: netns })
    }
}

impl Drop for Tagger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A tagger that failed shows as packets that do not arrive.
            let _ended = thread.join();
        }
    }
}

/// What is done to frames of one direction.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// The tags are put on what goes to one of the VIPs.
    Out(&'a [u8], &'a [IpAddr]),
    /// They are taken off. The kernel has already taken the outer one: packet sockets see it beside the frame.
    In(&'a [u8]),
}

impl Way<'_> {
    fn apply(self, frame: &[u8]) -> Vec<u8> {
        match self {
            Self::Out(tags, vips) if destination(frame).is_some_and(|address| vips.contains(&address)) => {
                tagged(frame, tags)
            }
            Self::In(tags) => untagged(frame, &tags[TAG.min(tags.len())..]),
            Self::Out(..) => frame.to_vec(),
        }
    }
}

fn carry(from: &OwnedFd, to: &OwnedFd, way: Way<'_>, stop: &AtomicBool) -> Result<()> {
    let mut buffer = vec![0; MAX_FRAME];
    while !stop.load(Ordering::Relaxed) {
        let (length, sender) = match recvfrom::<LinkAddr>(from.as_raw_fd(), &mut buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(error) => return Err(error).context("receive a frame"),
        };
        // What this machine itself sent is shown to it as well.
        if sender.is_some_and(|sender| sender.as_ref().sll_pkttype == libc::PACKET_OUTGOING) {
            continue;
        }
        send(to.as_raw_fd(), &way.apply(&buffer[..length]), MsgFlags::empty()).context("send a frame")?;
    }
    Ok(())
}

/// The frame with tags between its addresses and its protocol.
fn tagged(frame: &[u8], tags: &[u8]) -> Vec<u8> {
    [&frame[..12], tags, &frame[12..]].concat()
}

/// The frame without these tags, if it has exactly them.
fn untagged(frame: &[u8], tags: &[u8]) -> Vec<u8> {
    match frame.get(12..).and_then(|rest| rest.strip_prefix(tags)) {
        Some(rest) => [&frame[..12], rest].concat(),
        None => frame.to_vec(),
    }
}

fn tag_bytes(vlans: &[u16]) -> Vec<u8> {
    let last = vlans.len().saturating_sub(1);
    let tags = vlans.iter().enumerate();
    tags.flat_map(|(position, vlan)| {
        let protocol = if position == last { CUSTOMER_TAG } else { SERVICE_TAG };
        [protocol.to_be_bytes(), vlan.to_be_bytes()].concat()
    })
    .collect()
}

/// Destination of an untagged IP packet.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let address: [u8; 4] = frame.get(30..34)?.try_into().ok()?;
            Some(Ipv4Addr::from(address).into())
        }
        [0x86, 0xdd] => {
            let address: [u8; 16] = frame.get(38..54)?.try_into().ok()?;
            Some(Ipv6Addr::from(address).into())
        }
        _ => None,
    }
}

/// A socket that sees every frame of one interface of the calling thread's namespace.
fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let opened = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
    let socket = opened.context("open a packet socket")?;
    let mut links = getifaddrs().context("list the interfaces")?.filter(|entry| entry.interface_name == interface);
    let link = links.find_map(|entry| {
        let address = entry.address?;
        (address.family() == Some(AddressFamily::Packet)).then(|| address.as_link_addr().copied()).flatten()
    });
    let link = link.with_context(|| format!("there is no interface {interface}"))?;
    bind(socket.as_raw_fd(), &link).with_context(|| format!("bind to {interface}"))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50)).context("set the timeout")?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::{destination, tag_bytes, tagged, untagged};

    #[test]
    fn one_tag_is_a_customer_tag_and_two_are_qinq() {
        assert_eq!(tag_bytes(&[10]), [0x81, 0, 0, 10]);
        assert_eq!(tag_bytes(&[300, 10]), [0x88, 0xa8, 1, 44, 0x81, 0, 0, 10]);
    }

    #[test]
    fn tags_stand_between_the_addresses_and_the_protocol() {
        let mut frame = vec![1; 12];
        frame.extend([8, 0]);
        frame.extend([0; 16]);
        frame.extend([203, 0, 113, 9]);
        assert_eq!(destination(&frame), Some([203, 0, 113, 9].into()));
        let longer = tagged(&frame, &tag_bytes(&[10]));
        assert_eq!(longer[12..18], [0x81, 0, 0, 10, 8, 0]);
        assert_eq!(longer.len(), frame.len() + 4);
        assert_eq!(untagged(&longer, &tag_bytes(&[10])), frame);
        assert_eq!(untagged(&longer, &tag_bytes(&[11])), longer);
    }
}
