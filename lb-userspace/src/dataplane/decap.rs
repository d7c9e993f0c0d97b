//! The decapsulator on a server: attached, told which VIPs it unwraps for, asked what it counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lb_common::abi::{self, Address, address_of, ip_of, names, reason::decap};

use crate::config::XdpMode;

use super::attach::{Link, ifindex_of};
use super::maps::{Map, PerCpu, Table};
use super::object::{self, DECAPSULATOR, MapShape};
use super::pins::{self, PinDir};
use super::{Attachment, DataplaneError};

/// Where decapsulators are pinned, one directory for each interface and network namespace.
pub const PIN_ROOT: &str = "/sys/fs/bpf/snowshed-backend";

/// The decapsulator of one interface.
#[derive(Debug)]
pub struct Decapsulator {
    directory: PinDir,
    link: Link,
    vips: Table<Address, u32>,
    verdicts: PerCpu<u64>,
}

/// What a decapsulator does now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DecapStatus {
    /// Where it is attached; `None` when somebody took it off, or the interface is gone.
    pub attachment: Option<Attachment>,
    /// The addresses it unwraps for.
    pub vips: BTreeSet<IpAddr>,
    /// Packets, by what became of them.
    pub counters: BTreeMap<&'static str, u64>,
}

impl Decapsulator {
    /// Attaches to an interface, or adopts what is attached there; a newer program is swapped in.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] with what to do about it.
    pub fn attach(root: &Path, interface: &str, mode: XdpMode) -> Result<Self, DataplaneError> {
        ifindex_of(interface)?;
        let directory = PinDir::create(&directory_of(root, interface)?)?;
        remove_orphans(root)?;
        let _lock = directory.lock()?;
        let program = object::adopt_or_load(&directory, &DECAPSULATOR, &shapes())?;
        let pin = directory.link(interface);
        let adopted = if pin.exists() { Link::adopt(interface, &pin)? } else { None };
        let link = match adopted {
            Some(link) => {
                link.swap(program.as_fd())?;
                link
            }
            None => match Link::attach(program.as_fd(), interface, mode, &pin) {
                Ok(link) => link,
                Err(error) => {
                    // Nothing of ours stays behind where it could not be attached.
                    directory.remove()?;
                    return Err(error);
                }
            },
        };
        object::note_current(&directory, &DECAPSULATOR)?;
        Self::from_parts(directory, link)
    }

    /// What is pinned for an interface; `None` when nothing is.
    ///
    /// # Errors
    /// [`DataplaneError`] when the pins cannot be opened.
    pub fn open(root: &Path, interface: &str) -> Result<Option<Self>, DataplaneError> {
        let Some(directory) = PinDir::existing(&directory_of(root, interface)?)? else { return Ok(None) };
        let pin = directory.link(interface);
        let link = Link::open(interface, &pin)?;
        Self::from_parts(directory, link).map(Some)
    }

    /// Interfaces of this network namespace with a pinned decapsulator, in order.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] when the pins cannot be listed.
    pub fn interfaces(root: &Path) -> Result<Vec<String>, DataplaneError> {
        let here = namespace()?;
        let names = pins::names_in(root)?;
        let interfaces = names.iter().filter_map(|name| {
            let (interface, namespace) = name.split_once(NAMESPACE_MARK)?;
            (namespace == here).then(|| pins::unescape(interface))
        });
        Ok(interfaces.collect())
    }

    /// Unwraps for these addresses too.
    ///
    /// # Errors
    /// [`DataplaneError::Full`] when there is no room.
    pub fn add_vips(&self, vips: &BTreeSet<IpAddr>) -> Result<(), DataplaneError> {
        vips.iter().try_for_each(|vip| self.vips.insert(&address_of(*vip), &1))
    }

    /// Unwraps for these addresses no more; those that it did not unwrap for, in order.
    ///
    /// # Errors
    /// [`DataplaneError::Map`] when the map cannot be written.
    pub fn remove_vips(&self, vips: &BTreeSet<IpAddr>) -> Result<Vec<IpAddr>, DataplaneError> {
        let mut absent = Vec::new();
        for vip in vips {
            if !self.vips.remove(&address_of(*vip))? {
                absent.push(*vip);
            }
        }
        Ok(absent)
    }

    /// What it does now.
    ///
    /// # Errors
    /// [`DataplaneError::Map`] when a map cannot be read.
    pub fn status(&self) -> Result<DecapStatus, DataplaneError> {
        let vips = self.vips.keys()?.into_iter().map(ip_of).collect();
        let words = [
            (decap::UNWRAPPED, "unwrapped"),
            (decap::NOT_ENCAPSULATED, "not_encapsulated"),
            (decap::NOT_OUR_VIP, "not_our_vip"),
            (decap::MALFORMED, "malformed"),
        ];
        let mut counters = BTreeMap::new();
        self.verdicts.for_each(decap::MALFORMED + 1, |number, cpus| {
            if let Some((_, word)) = words.iter().find(|(reason, _)| *reason == number) {
                counters.insert(*word, cpus.iter().sum());
            }
        })?;
        Ok(DecapStatus { attachment: self.link.attachment(), vips, counters })
    }

    /// Takes it off and removes what is pinned; the pins that were removed.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] when the kernel refuses.
    pub fn detach(self) -> Result<Vec<String>, DataplaneError> {
        if self.link.ifindex()?.is_some() {
            self.link.detach()?;
        }
        self.directory.remove()
    }

    fn from_parts(directory: PinDir, link: Link) -> Result<Self, DataplaneError> {
        let vips = Table::new(
            Map::open(names::DECAP_VIPS, &directory.pin(names::DECAP_VIPS))?,
            "abi::limits::MAX_DECAP_VIPS",
        )?;
        let verdicts = PerCpu::new(Map::open(names::DECAP_VERDICTS, &directory.pin(names::DECAP_VERDICTS))?)?;
        Ok(Self { directory, link, vips, verdicts })
    }
}

/// Stands between interface and namespace in a pin directory's name; no interface has it in its name.
const NAMESPACE_MARK: char = ':';

/// One directory for each interface of each network namespace: containers share bpffs, and all have an `eth0`.
fn directory_of(root: &Path, interface: &str) -> Result<PathBuf, DataplaneError> {
    Ok(root.join(format!("{}{NAMESPACE_MARK}{}", pins::escape(interface), namespace()?)))
}

/// The number of the calling thread's network namespace.
fn namespace() -> Result<String, DataplaneError> {
    let path = "/proc/thread-self/ns/net";
    let file = std::fs::metadata(path)
        .map_err(|error| pins::setup(format!("reading {path}"), "mount /proc".to_owned(), error))?;
    Ok(file.ino().to_string())
}

/// Removes the pins of network namespaces that are gone: their links are attached to nothing any more.
fn remove_orphans(root: &Path) -> Result<(), DataplaneError> {
    let here = namespace()?;
    for name in pins::names_in(root)?.iter().filter(|name| !name.ends_with(&here)) {
        let Some(directory) = PinDir::existing(&root.join(name))? else { continue };
        let links = directory.links()?;
        let mut attached = links.is_empty();
        for interface in links {
            attached |= Link::open(&interface, &directory.link(&interface))?.ifindex()?.is_some();
        }
        if !attached {
            directory.remove()?;
        }
    }
    Ok(())
}

fn shapes() -> Vec<MapShape> {
    vec![
        MapShape::hash::<Address, u32>(names::DECAP_VIPS, abi::limits::MAX_DECAP_VIPS, ""),
        MapShape::counters::<u64>(names::DECAP_VERDICTS, abi::limits::MAX_REASONS, ""),
    ]
}
