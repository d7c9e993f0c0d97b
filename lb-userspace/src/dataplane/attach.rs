//! XDP links: attaching to an interface, what stands in the way and what to do about it, and what the kernel says
//! of a link now.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use lb_common::abi::names;

use crate::config::XdpMode;
use crate::netlink::{self, Netlink};

use super::pins::{remove_if_there, setup};
use super::{Attachment, DataplaneError, object, sys};

/// A pinned link to an interface.
#[derive(Debug)]
pub(super) struct Link {
    interface: String,
    fd: OwnedFd,
    pin: PathBuf,
}

impl Link {
    /// Attaches a program and pins the link.
    pub(super) fn attach(
        program: BorrowedFd<'_>,
        interface: &str,
        mode: XdpMode,
        pin: &Path,
    ) -> Result<Self, DataplaneError> {
        let ifindex = ifindex_of(interface)?;
        let fd = match mode {
            XdpMode::Native => sys::link_create(program, ifindex, sys::XDP_NATIVE),
            XdpMode::Generic => sys::link_create(program, ifindex, sys::XDP_GENERIC),
            XdpMode::Auto => sys::link_create(program, ifindex, sys::XDP_NATIVE).or_else(|error| {
                if !is_unsupported(&error) {
                    return Err(error);
                }
                log::warn!("{interface}: the driver cannot run XDP ({error}): attaching in generic mode");
                sys::link_create(program, ifindex, sys::XDP_GENERIC)
            }),
        }
        .map_err(|error| {
            let remedy = remedy(&error, interface, ifindex, mode);
            setup(format!("attaching to {interface} ({} mode)", word(mode)), remedy, error)
        })?;
        let link = Self { interface: interface.to_owned(), fd, pin: pin.to_owned() };
        link.pin_again()?;
        Ok(link)
    }

    /// Opens a pinned link; `None`, and the pin is gone, when it is attached to nothing any more.
    pub(super) fn adopt(interface: &str, pin: &Path) -> Result<Option<Self>, DataplaneError> {
        let link = Self::open(interface, pin)?;
        if link.ifindex()?.is_some() {
            return Ok(Some(link));
        }
        link.forget()?;
        Ok(None)
    }

    /// Opens a pinned link, attached or not.
    pub(super) fn open(interface: &str, pin: &Path) -> Result<Self, DataplaneError> {
        let fd = sys::open_pinned(pin)
            .map_err(|error| object::refused_by_kernel(format!("opening {}", pin.display()), error))?;
        Ok(Self { interface: interface.to_owned(), fd, pin: pin.to_owned() })
    }

    /// The interface it is attached to now; `None` when somebody took it off, or the interface is gone.
    pub(super) fn ifindex(&self) -> Result<Option<u32>, DataplaneError> {
        Ok(Some(self.info()?.ifindex).filter(|&ifindex| ifindex != 0))
    }

    /// Swaps the program, unless it is this one already; whether it was swapped.
    pub(super) fn swap(&self, program: BorrowedFd<'_>) -> Result<bool, DataplaneError> {
        let doing = || format!("swapping the program on {}", self.interface);
        let wanted = sys::program_info(program).map_err(|error| object::refused_by_kernel(doing(), error))?;
        if self.info()?.program_id == wanted.id {
            return Ok(false);
        }
        sys::link_update(self.fd.as_fd(), program).map_err(|error| object::refused_by_kernel(doing(), error))?;
        Ok(true)
    }

    /// Whether the pin is there; without it the program comes off when the agent ends.
    pub(super) fn is_pinned(&self) -> bool {
        self.pin.exists()
    }

    /// Pins the link again.
    pub(super) fn pin_again(&self) -> Result<(), DataplaneError> {
        sys::pin(self.fd.as_fd(), &self.pin)
            .map_err(|error| object::refused_by_kernel(format!("pinning {}", self.pin.display()), error))
    }

    /// Moves the pin.
    pub(super) fn move_to(&mut self, pin: &Path) -> Result<(), DataplaneError> {
        std::fs::rename(&self.pin, pin).map_err(|error| {
            let doing = format!("moving {} to {}", self.pin.display(), pin.display());
            setup(doing, "run as root".to_owned(), error)
        })?;
        pin.clone_into(&mut self.pin);
        Ok(())
    }

    /// Takes the program off and removes the pin.
    pub(super) fn detach(self) -> Result<(), DataplaneError> {
        sys::link_detach(self.fd.as_fd()).map_err(|error| {
            setup(format!("taking XDP off {}", self.interface), object::PRIVILEGES.to_owned(), error)
        })?;
        self.forget()
    }

    /// Removes the pin of a link that is attached to nothing any more.
    pub(super) fn forget(self) -> Result<(), DataplaneError> {
        remove_if_there(&self.pin)
            .map_err(|error| setup(format!("removing {}", self.pin.display()), "run as root".to_owned(), error))
    }

    /// How it is attached; `None` when it is not.
    pub(super) fn attachment(&self) -> Option<Attachment> {
        let ifindex = match self.ifindex() {
            Ok(ifindex) => ifindex?,
            Err(error) => {
                log::warn!("{}: {error}", self.interface);
                return None;
            }
        };
        let mode = Netlink::open()
            .and_then(|mut netlink| netlink.link(ifindex))
            .inspect_err(|error| log::warn!("{}: asking for the XDP mode: {error}", self.interface))
            .ok()
            .flatten()
            .as_ref()
            .and_then(netlink::xdp_mode)
            .unwrap_or("unknown");
        Some(Attachment { interface: self.interface.clone(), ifindex, mode: mode.to_owned() })
    }

    fn info(&self) -> Result<sys::LinkInfo, DataplaneError> {
        sys::link_info(self.fd.as_fd())
            .map_err(|error| object::refused_by_kernel(format!("asking about the link of {}", self.interface), error))
    }
}

/// The number of an interface.
///
/// # Errors
/// [`DataplaneError::Setup`] when there is none of that name.
pub(super) fn ifindex_of(interface: &str) -> Result<u32, DataplaneError> {
    nix::net::if_::if_nametoindex(interface).map_err(|error| {
        let names: Vec<String> = nix::net::if_::if_nameindex()
            .map(|list| list.iter().map(|one| one.name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        let remedy = format!("interfaces here: {}", names.join(", "));
        setup(format!("there is no interface {interface}"), remedy, error.into())
    })
}

const fn word(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Auto => "auto",
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ERANGE | libc::E2BIG))
}

/// Programs of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    LoadBalancer,
    Decapsulator,
}

/// Which of ours a loaded program is, by its name.
fn own_program(id: u32) -> Option<Own> {
    let program = sys::open_program(id).ok()?;
    match sys::program_info(program.as_fd()).ok()?.name() {
        names::PROGRAM | names::CAPTURING_PROGRAM => Some(Own::LoadBalancer),
        names::DECAP_PROGRAM => Some(Own::Decapsulator),
        _ => None,
    }
}

fn remedy(error: &io::Error, interface: &str, ifindex: u32, mode: XdpMode) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            let link = Netlink::open().and_then(|mut netlink| netlink.link(ifindex)).ok().flatten();
            let how =
                link.as_ref().and_then(netlink::xdp_mode).map_or_else(String::new, |how| format!(" ({how} mode)"));
            match link.as_ref().and_then(netlink::xdp_program).and_then(own_program) {
                Some(Own::LoadBalancer) => format!(
                    "this load balancer's own program is attached{how}, by an agent with another `dataplane.pin_dir`: \
                     `snowshed detach --pin-dir PATH --iface {interface}` takes it off, and its traffic stops; or choose \
                     another interface"
                ),
                Some(Own::Decapsulator) => format!(
                    "the decapsulator of a server is attached{how}: `snowshed backend detach --iface {interface}` takes it \
                     off; or choose another interface, one cannot be both"
                ),
                None => format!(
                    "another XDP program is attached{how}: see `ip link show {interface}`; take it off with \
                     `ip link set dev {interface} xdp off`, or whatever put it there, or choose another interface"
                ),
            }
        }
        Some(libc::EPERM | libc::EACCES) => object::PRIVILEGES.to_owned(),
        Some(libc::ENODEV) => "the interface went away meanwhile".to_owned(),
        _ if is_unsupported(error) && mode == XdpMode::Native => format!(
            "the driver cannot run XDP with its present settings (driver, MTU, LRO or number of queues): use \
             generic mode, or see `ethtool -k {interface}` and the kernel log"
        ),
        _ => "see the kernel log".to_owned(),
    }
}
