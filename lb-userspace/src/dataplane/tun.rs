//! Whole packets to and from this machine's stack (a TUN device), and whole frames out of an interface.

#![expect(unsafe_code, reason = "one ioctl, and an address of the link level")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

/// Where TUN devices come from.
pub const DEVICE: &str = "/dev/net/tun";

/// `struct ifreq`: a name, and here flags behind it.
const REQUEST_LEN: usize = 40;
const NAME_LEN: usize = 16;
/// `IFF_TUN`: IP packets. `IFF_NO_PI`: nothing in front of them.
const FLAGS: u16 = 0x0001 | 0x1000;
/// `TUNSETIFF`.
const SET_INTERFACE: libc::c_ulong = 0x4004_54ca;

/// Makes a TUN device, which lasts as long as the file; to be called in a tokio runtime.
///
/// # Errors
/// When there is no `/dev/net/tun`, the name is taken, or the caller may not.
pub fn open(name: &str) -> io::Result<AsyncFd<File>> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)?;
    let mut request = [0_u8; REQUEST_LEN];
    let place = request.get_mut(..name.len()).filter(|place| place.len() < NAME_LEN);
    place.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name.as_bytes());
    request[NAME_LEN..NAME_LEN + 2].copy_from_slice(&FLAGS.to_ne_bytes());
    // SAFETY: the kernel reads and writes the request, as many bytes as `struct ifreq` has.
    let outcome = unsafe { libc::ioctl(file.as_raw_fd(), SET_INTERFACE, request.as_mut_ptr()) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the file owns its descriptor, and nothing else closes it while it is registered.
    Ok(unsafe { AsyncFd::register(file) }?)
}

/// Sends frames; hears nothing.
#[derive(Debug)]
pub struct FrameSocket(Socket);

impl FrameSocket {
    /// Opens a socket.
    ///
    /// # Errors
    /// When the caller may not (`CAP_NET_RAW`).
    pub fn open() -> io::Result<Self> {
        Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0))).map(Self)
    }

    /// Sends a frame out of an interface, as it is.
    ///
    /// # Errors
    /// When the interface is gone or down, or has no room at the moment.
    pub fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let mut address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET.cast_unsigned() as u16,
            sll_protocol: 0,
            sll_ifindex: ifindex.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0; 8],
        };
        let (destination, ethertype) = (frame.get(..6), frame.get(12..14));
        let (Some(destination), Some(&[high, low])) = (destination, ethertype) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        address.sll_addr[..6].copy_from_slice(destination);
        address.sll_protocol = u16::from_be_bytes([high, low]).to_be();
        let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or_default();
        // SAFETY: frame and address outlive the call, and their lengths are their own.
        let sent = unsafe {
            let address = (&raw const address).cast();
            libc::sendto(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, length)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
