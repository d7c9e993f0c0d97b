//! The compiled eBPF objects in this binary, and loading them over pinned maps.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;

use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{self, names};
use lb_common::nat;
use sha2::{Digest, Sha256};

use super::pins::{self, PinDir, setup};
use super::{DataplaneError, sys};

/// Kinds of maps, as `enum bpf_map_type` of `linux/bpf.h` numbers them.
pub(super) mod kind {
    pub(in crate::dataplane) const HASH: u32 = 1;
    pub(in crate::dataplane) const ARRAY: u32 = 2;
    pub(in crate::dataplane) const PERCPU_ARRAY: u32 = 6;
    pub(in crate::dataplane) const LRU_HASH: u32 = 9;
    pub(in crate::dataplane) const LPM_TRIE: u32 = 11;
    pub(in crate::dataplane) const DEVMAP_HASH: u32 = 25;
}

/// The note of the object that the pinned program was made from: its digest.
const DIGEST: &str = "digest";

/// What a map must look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapShape {
    pub(super) name: &'static str,
    pub(super) kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    /// The setting that sizes it; empty when nothing does.
    pub(super) setting: &'static str,
    /// What the setting counts, so many in each entry.
    per_entry: u32,
}

/// Sizes of the load balancer's maps, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Services.
    pub max_services: u32,
    /// Backend entries.
    pub max_backends: u32,
    /// Slots of the arena.
    pub max_slots: u32,
    /// Entries of each flow table.
    pub max_flows: u32,
    /// Lines of all access lists together, as compiled.
    pub max_acl_prefixes: u32,
    /// Sources whose new connections are counted.
    pub max_sources: u32,
    /// Places of translated flows.
    pub max_nat_flows: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        use abi::limits::{
            MAX_ACL_PREFIXES, MAX_BACKENDS, MAX_FLOWS, MAX_NAT_FLOWS, MAX_SERVICES, MAX_SLOTS, MAX_SOURCES,
        };
        Self {
            max_services: MAX_SERVICES,
            max_backends: MAX_BACKENDS,
            max_slots: MAX_SLOTS,
            max_flows: MAX_FLOWS,
            max_acl_prefixes: MAX_ACL_PREFIXES,
            max_sources: MAX_SOURCES,
            max_nat_flows: MAX_NAT_FLOWS,
        }
    }
}

impl Sizes {
    /// The maps of the load balancer's object.
    pub(super) fn shapes(self) -> Vec<MapShape> {
        use abi::limits::{MAX_EGRESS, MAX_FRAGMENTS, MAX_NAT_SOURCES, MAX_QUIC_SERVERS, MAX_RANGES, MAX_REASONS};
        let Self { max_services, max_backends, max_slots, max_flows, max_acl_prefixes, max_sources, max_nat_flows } =
            self;
        vec![
            MapShape::hash::<abi::ServiceKeyV4, abi::ServiceEntry>(names::SERVICES_V4, max_services, "max_services"),
            MapShape::hash::<abi::ServiceKey, abi::ServiceEntry>(names::SERVICES_V6, max_services, "max_services"),
            MapShape::slots(max_slots),
            MapShape::array::<abi::BackendEntry>(names::BACKENDS, max_backends, "max_backends"),
            MapShape::array::<abi::ConfigEntry>(names::CONFIG, 1, ""),
            MapShape::flows(names::FLOWS_OPENED, max_flows),
            MapShape::flows(names::FLOWS_PINNED, max_flows),
            MapShape::array::<abi::NatFlow>(names::NAT_FLOWS, max_nat_flows, "max_nat_flows"),
            MapShape::array::<abi::nat::NatBucket>(
                names::NAT_INDEX,
                nat::index::buckets(max_nat_flows),
                "max_nat_flows",
            ),
            MapShape::array::<abi::nat::NatSource>(names::NAT_POOL, MAX_NAT_SOURCES, ""),
            MapShape::hash::<abi::Address, u32>(names::NAT_SOURCES, MAX_NAT_SOURCES, ""),
            MapShape::array::<abi::ProtectionEntry>(names::PROTECTION, max_services, "max_services"),
            MapShape::array::<abi::protection::ServiceBuckets>(names::BUCKETS, max_services, "max_services"),
            MapShape::new::<abi::AclKey, u32>(names::ACL, kind::LPM_TRIE, max_acl_prefixes, "max_acl_prefixes"),
            MapShape::new::<abi::SourceKey, u64>(names::SOURCES, kind::LRU_HASH, max_sources, "max_sources"),
            MapShape::hash::<abi::Address, abi::VipEntry>(names::VIPS, max_services, "max_services"),
            MapShape::new::<abi::RangeKey, abi::RangeEntry>(names::RANGES, kind::LPM_TRIE, MAX_RANGES, ""),
            MapShape::hash::<abi::QuicKey, abi::FlowEntry>(names::QUIC_SERVERS, MAX_QUIC_SERVERS, ""),
            MapShape::new::<abi::FragmentKey, abi::FragmentEntry>(names::FRAGMENTS, kind::LRU_HASH, MAX_FRAGMENTS, ""),
            MapShape::new::<u32, u64>(names::EGRESS, kind::DEVMAP_HASH, MAX_EGRESS, ""),
            MapShape::counters::<abi::ServiceStats>(names::SERVICE_STATS, max_services, "max_services"),
            MapShape::counters::<abi::BackendStats>(names::BACKEND_STATS, max_backends, "max_backends"),
            MapShape::counters::<u64>(names::VERDICTS, MAX_REASONS, ""),
        ]
    }
}

impl MapShape {
    fn new<K, V>(name: &'static str, kind: u32, max_entries: u32, setting: &'static str) -> Self {
        Self { name, kind, key_size: size::<K>(), value_size: size::<V>(), max_entries, setting, per_entry: 1 }
    }

    /// A hash map. `setting` is the key of `[dataplane]` that sizes it, or empty.
    pub(super) fn hash<K, V>(name: &'static str, max_entries: u32, setting: &'static str) -> Self {
        Self::new::<K, V>(name, kind::HASH, max_entries, setting)
    }

    fn array<V>(name: &'static str, max_entries: u32, setting: &'static str) -> Self {
        Self::new::<u32, V>(name, kind::ARRAY, max_entries, setting)
    }

    /// A per-CPU array.
    pub(super) fn counters<V>(name: &'static str, max_entries: u32, setting: &'static str) -> Self {
        Self::new::<u32, V>(name, kind::PERCPU_ARRAY, max_entries, setting)
    }

    /// The arena: an odd number of slots is rounded up.
    fn slots(max_slots: u32) -> Self {
        let per_entry = abi::SLOTS_PER_ELEMENT;
        let pairs = Self::array::<abi::SlotPair>(names::SLOTS, max_slots.div_ceil(per_entry), "max_slots");
        Self { per_entry, ..pairs }
    }

    fn flows(name: &'static str, max_entries: u32) -> Self {
        Self::new::<abi::FlowKey, abi::FlowEntry>(name, kind::LRU_HASH, max_entries, "max_flows")
    }
}

/// A compiled object with one XDP program.
#[derive(Debug)]
pub struct Object {
    bytes: &'static [u8],
    program: &'static str,
    digest: LazyLock<String, Box<dyn FnOnce() -> String + Send>>,
}

/// The load balancer, as committed beside its sources.
pub static LOAD_BALANCER: LazyLock<Object> =
    LazyLock::new(|| Object::new(aya::include_bytes_aligned!("../../../lb-ebpf/objects/snowshed.o"), names::PROGRAM));

/// The decapsulator, as committed beside its sources.
pub static DECAPSULATOR: LazyLock<Object> = LazyLock::new(|| {
    Object::new(aya::include_bytes_aligned!("../../../lb-ebpf/objects/decap.o"), names::DECAP_PROGRAM)
});

impl Object {
    /// An object of these bytes, with the program of this name.
    #[must_use]
    pub fn new(bytes: &'static [u8], program: &'static str) -> Self {
        Self { bytes, program, digest: LazyLock::new(Box::new(move || hex(&Sha256::digest(bytes)))) }
    }

    /// SHA-256 of the bytes, in hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Loads the program over the maps pinned in `directory`, making and pinning those that are not there.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] when a pinned map has another shape, or the kernel refuses.
    pub(super) fn load(&self, directory: &PinDir, shapes: &[MapShape]) -> Result<OwnedFd, DataplaneError> {
        self.load_program(directory, shapes, self.program, &[]).map(|(_, program)| program)
    }

    /// The same of any of the object's programs, with its maps that are pinned nowhere; `own` are sizes of those.
    pub(super) fn load_program(
        &self,
        directory: &PinDir,
        shapes: &[MapShape],
        name: &str,
        own: &[(&'static str, u32)],
    ) -> Result<(Ebpf, OwnedFd), DataplaneError> {
        check(directory, shapes)?;
        let mut loader = EbpfLoader::new();
        for (map, entries) in own {
            loader.map_max_entries(map, *entries);
        }
        for shape in shapes {
            loader.map_max_entries(shape.name, shape.max_entries).map_pin_path(shape.name, directory.pin(shape.name));
        }
        // The decapsulator has neither.
        let buckets = shapes.iter().find(|shape| shape.name == names::NAT_INDEX).map(|shape| shape.max_entries);
        if let Some(buckets) = &buckets {
            loader.override_global(names::NAT_BUCKETS, buckets, true);
        }
        let mut loaded = loader.load(self.bytes).map_err(|error| refused("creating the maps", Box::new(error)))?;
        // The maps may have been made by us just now, with what the object says of them.
        check(directory, shapes)?;
        let program: &mut Xdp = match loaded.program_mut(name) {
            Some(program) => {
                program.try_into().map_err(|error: ProgramError| refused("reading the object", Box::new(error)))?
            }
            None => {
                return Err(DataplaneError::Setup {
                    doing: format!("the object has no program {name}"),
                    remedy: "this binary was built wrong: run `cargo xtask build-ebpf` and build again".to_owned(),
                    source: None,
                });
            }
        };
        program.load().map_err(|error| refused("loading the program", Box::new(error)))?;
        let fd = program.fd().map_err(|error| refused("loading the program", Box::new(error)))?;
        let fd = fd.as_fd().try_clone_to_owned().map_err(|error| {
            setup("keeping the program".to_owned(), "raise the limit of open files".to_owned(), error)
        })?;
        Ok((loaded, fd))
    }
}

/// The pinned program if it was made from this object, otherwise this object's, pinned in its place. The digest is
/// noted only when every link runs it: see [`note_current`].
pub(super) fn adopt_or_load(
    directory: &PinDir,
    object: &Object,
    shapes: &[MapShape],
) -> Result<OwnedFd, DataplaneError> {
    let pin = directory.pin(object.program);
    let complete = shapes.iter().all(|shape| directory.pin(shape.name).exists());
    if complete && pin.exists() && directory.noted(DIGEST).as_deref() == Some(object.digest()) {
        check(directory, shapes)?;
        return sys::open_pinned(&pin).map_err(|error| refused_by_kernel(format!("opening {}", pin.display()), error));
    }
    let program = object.load(directory, shapes)?;
    let fresh = directory.pin("program-new");
    pins::remove_if_there(&fresh)
        .and_then(|()| sys::pin(program.as_fd(), &fresh))
        .and_then(|()| std::fs::rename(&fresh, &pin))
        .map_err(|error| refused_by_kernel(format!("pinning {}", pin.display()), error))?;
    Ok(program)
}

/// Notes that the pinned program and what the links run are made from this object.
pub(super) fn note_current(directory: &PinDir, object: &Object) -> Result<(), DataplaneError> {
    if directory.noted(DIGEST).as_deref() == Some(object.digest()) {
        return Ok(());
    }
    directory.note(DIGEST, object.digest())
}

/// Whether the pinned maps are what they must be; those that are not there do not count.
pub(super) fn check(directory: &PinDir, shapes: &[MapShape]) -> Result<(), DataplaneError> {
    for shape in shapes {
        let path = directory.pin(shape.name);
        if !path.exists() {
            continue;
        }
        let info = sys::open_pinned(&path)
            .and_then(|map| sys::map_info(map.as_fd()))
            .map_err(|error| refused_by_kernel(format!("opening {}", path.display()), error))?;
        let is = (info.kind, info.key_size, info.value_size);
        if is != (shape.kind, shape.key_size, shape.value_size) {
            return Err(DataplaneError::Setup {
                doing: format!(
                    "{} has another layout than this version's: kind {}, key {} bytes, value {} bytes",
                    path.display(),
                    info.kind,
                    info.key_size,
                    info.value_size
                ),
                remedy: "start the version that made it, or make room with `snowshed detach` (forwarding stops until \
                         the agent is back)"
                    .to_owned(),
                source: None,
            });
        }
        if info.max_entries != shape.max_entries {
            let (has, wants) = (info.max_entries * shape.per_entry, shape.max_entries * shape.per_entry);
            let remedy = if shape.setting.is_empty() {
                "run `snowshed detach` first (forwarding stops until the agent is back)".to_owned()
            } else {
                format!(
                    "set `dataplane.{}` back to what it was, or run `snowshed detach` first (forwarding stops until \
                     the agent is back)",
                    shape.setting
                )
            };
            let doing = format!("{} has room for {has} entries, but {wants} are configured", path.display());
            return Err(DataplaneError::Setup { doing, remedy, source: None });
        }
    }
    Ok(())
}

/// What to do when the kernel refused a bpf command.
pub(super) fn refused_by_kernel(doing: String, error: std::io::Error) -> DataplaneError {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => PRIVILEGES,
        Some(libc::ENOSYS) => "this kernel has no bpf(2): Linux 5.15 or later is needed",
        Some(libc::ENOMEM) => "there is not enough memory: lower the map sizes in agent.toml",
        Some(libc::E2BIG | libc::EINVAL) => "is the kernel older than Linux 5.15, or a map size beyond its limits?",
        _ => "see the kernel log",
    };
    setup(doing, remedy.to_owned(), error)
}

/// What this needs.
pub(super) const PRIVILEGES: &str = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";

pub(super) fn refused(doing: &str, error: Box<dyn std::error::Error + Send + Sync>) -> DataplaneError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    let mut code = None;
    while let Some(one) = cause {
        code = code.or_else(|| one.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error));
        cause = one.source();
    }
    let code = code.unwrap_or(0);
    let DataplaneError::Setup { remedy, .. } =
        refused_by_kernel(String::new(), std::io::Error::from_raw_os_error(code))
    else {
        return DataplaneError::Setup { doing: doing.to_owned(), remedy: String::new(), source: Some(error) };
    };
    DataplaneError::Setup { doing: doing.to_owned(), remedy, source: Some(error) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const fn size<T>() -> u32 {
    size_of::<T>() as u32
}
