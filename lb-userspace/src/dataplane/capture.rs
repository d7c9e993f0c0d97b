//! Capturing: the object's second program, over the same maps, runs on the interfaces while somebody watches. The first
//! one, which runs otherwise, has nothing of it.

#![expect(unsafe_code, reason = "a descriptor is registered with the event loop")]

use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use lb_common::abi::capture::{CaptureFilter, CaptureRecord};
use lb_common::abi::names;
use tokio::io::unix::AsyncFd;

use super::maps::{Map, PerCpu, Table};
use super::object::{LOAD_BALANCER, MapShape, refused};
use super::pins::PinDir;
use super::{DataplaneError, sys};

/// Bytes of packets that wait for the agent; what has no room is counted as lost.
const ROOM: u32 = 8 << 20;
/// Packets handed on at once.
const BATCH: usize = 256;
/// How long a capture goes on by itself after [`Capture::go_on`].
pub const LEASE: Duration = Duration::from_secs(3);

/// A packet, what became of it, and what left in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// What is known of it.
    pub record: CaptureRecord,
    /// How long after the capture began it came.
    pub since: Duration,
    /// Its beginning, as it came in.
    pub came: Vec<u8>,
    /// The beginning of what was sent; empty when nothing was.
    pub sent: Vec<u8>,
}

/// Over which maps a program that captures is loaded.
#[derive(Debug)]
pub struct Ground {
    pub(super) pin_dir: PathBuf,
    pub(super) shapes: Vec<MapShape>,
}

/// A program that captures; it runs while the data plane is told so.
pub struct Capture {
    pub(super) program: OwnedFd,
    filter: Table<u32, CaptureFilter>,
    wanted: CaptureFilter,
    events: AsyncFd<RingBuf<MapData>>,
    lost: PerCpu<u64>,
    began_ns: u64,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Ground {
    /// Loads the program, to capture what `wanted` says, up to [`LEASE`] from now. It runs nowhere yet. To be called where
    /// there is an event loop; takes as long as the verifier does.
    ///
    /// # Errors
    /// [`DataplaneError`] when the kernel refuses.
    pub fn load(self, wanted: CaptureFilter) -> Result<Capture, DataplaneError> {
        let Some(directory) = PinDir::existing(&self.pin_dir)? else {
            return Err(DataplaneError::Setup {
                doing: format!("there is no {}", self.pin_dir.display()),
                remedy: "start the agent again: it makes its maps anew".to_owned(),
                source: None,
            });
        };
        let name = names::CAPTURING_PROGRAM;
        let (mut loaded, program) =
            LOAD_BALANCER.load_program(&directory, &self.shapes, name, &[(names::CAPTURE_EVENTS, ROOM)])?;
        let filter = Table::new(own_map(&mut loaded, names::CAPTURE_FILTER)?, "")?;
        let lost = PerCpu::new(own_map(&mut loaded, names::CAPTURE_LOST)?)?;
        let events = loaded.take_map(names::CAPTURE_EVENTS).ok_or_else(|| missing(names::CAPTURE_EVENTS))?;
        let events = RingBuf::try_from(events).map_err(|error| refused("reading the object", Box::new(error)))?;
        // SAFETY: the buffer owns its descriptor, and nothing else closes it while it is registered.
        let events = unsafe { AsyncFd::register(events) }.map_err(std::io::Error::from);
        let events = events.map_err(|error| refused("watching for packets", Box::new(error)))?;
        let mut capture = Capture { program, filter, wanted, events, lost, began_ns: sys::monotonic_ns() };
        capture.go_on()?;
        Ok(capture)
    }
}

impl Capture {
    /// Goes on for [`LEASE`] from now.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be written.
    pub fn go_on(&mut self) -> Result<(), DataplaneError> {
        let lease = u64::try_from(LEASE.as_nanos()).unwrap_or(u64::MAX);
        self.wanted.until_ns = sys::monotonic_ns().saturating_add(lease);
        self.filter.insert(&0, &self.wanted)
    }

    /// Packets of interest so far that there was no rate or no room for.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    pub fn lost(&self) -> Result<u64, DataplaneError> {
        let mut sum = 0;
        self.lost.for_each(1, |_, values| sum = values.iter().sum())?;
        Ok(sum)
    }

    /// The next packets, as many as there are; waits for the first.
    ///
    /// # Errors
    /// When the kernel's buffer cannot be watched.
    pub async fn next(&mut self) -> std::io::Result<Vec<Captured>> {
        let began_ns = self.began_ns;
        loop {
            let mut ready = self.events.readable_mut().await?;
            let buffer = ready.get_inner_mut();
            let mut packets = Vec::new();
            while packets.len() < BATCH {
                let Some(item) = buffer.next() else { break };
                packets.extend(read(&item, began_ns));
            }
            // There may be more: the next call looks.
            if packets.len() < BATCH {
                ready.clear_ready();
            }
            if !packets.is_empty() {
                return Ok(packets);
            }
        }
    }
}

fn read(item: &[u8], began_ns: u64) -> Option<Captured> {
    let record: CaptureRecord = sys::value_of(item)?;
    let (came, sent) = item.get(size_of::<CaptureRecord>()..)?.split_at_checked(record.in_kept as usize)?;
    let since = Duration::from_nanos(record.time_ns.saturating_sub(began_ns));
    Some(Captured { record, since, came: came.to_vec(), sent: sent.get(..record.out_kept as usize)?.to_vec() })
}

/// A map of this load only.
fn own_map(loaded: &mut Ebpf, name: &'static str) -> Result<Map, DataplaneError> {
    use aya::maps::Map as Loaded;
    let fd = match loaded.take_map(name) {
        Some(Loaded::Array(map) | Loaded::PerCpuArray(map)) => map.fd().as_fd().try_clone_to_owned(),
        _ => return Err(missing(name)),
    };
    Map::of(name, fd.map_err(|error| refused("keeping a map", Box::new(error)))?)
}

fn missing(name: &str) -> DataplaneError {
    DataplaneError::Setup {
        doing: format!("the object has no map {name}"),
        remedy: "this binary was built wrong: run `cargo xtask build-ebpf` and build again".to_owned(),
        source: None,
    }
}
