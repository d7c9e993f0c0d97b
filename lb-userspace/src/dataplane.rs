//! The data plane's maps behind one trait: the kernel's, one in memory, and one that fails on purpose.
//!
//! Architecture Invariant: only this folder imports aya, only this folder has `unsafe`, and only `reconcile` calls
//! the methods that write.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::nat::NatSource;
use lb_common::abi::{
    AclPrefix, Address, BackendEntry, BackendStats, ConfigEntry, FlowEntry, FlowKey, ProtectionEntry, QuicKey,
    RangeEntry, RangeKey, ServiceEntry, ServiceKey, ServiceStats, Slot, VipEntry,
};

mod anchors;
pub mod arena;
mod attach;
pub mod capture;
pub mod chaos;
mod counters;
pub mod decap;
pub mod detach;
pub mod ethtool;
pub mod fill;
pub mod kernel;
mod lookup;
mod maps;
pub mod memory;
mod nat;
pub mod object;
mod pins;
mod protections;
mod services;
mod shared;
mod sys;
mod tracked;
pub mod tun;
mod versions;

pub use chaos::ChaosDataplane;
pub use counters::KernelCounters;
pub use kernel::{KernelConfig, KernelDataplane};
pub use lookup::Lookup;
pub use memory::MemoryDataplane;
pub use nat::NatUsage;
pub use object::Sizes;
pub use tracked::{FlowCursor, FlowTable, TrackedFlow};
pub use versions::directories;

/// The maps of one edge. An `Arc<Mutex<…>>` of one is one, too.
///
/// Writes are idempotent. A failed write leaves what was there before.
pub trait Dataplane: Lookup + Send {
    /// Everything the maps hold now.
    ///
    /// # Errors
    /// [`DataplaneError`] when a map cannot be read.
    fn observe(&mut self) -> Result<Observed, DataplaneError>;

    /// Replaces the configuration.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be written.
    fn set_config(&mut self, config: &ConfigEntry) -> Result<(), DataplaneError>;

    /// Interfaces that packets may be redirected to: exactly these.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be written.
    fn set_egress(&mut self, interfaces: &BTreeSet<u32>) -> Result<(), DataplaneError>;

    /// Source addresses of translated flows: exactly these. The flows of a number that passes to another address end.
    ///
    /// # Errors
    /// [`DataplaneError`] when a map cannot be read or written.
    fn set_nat_sources(&mut self, sources: &NatSources) -> Result<(), DataplaneError>;

    /// Replaces a backend entry; identity 0 frees it. The counters of an index begin at 0 with every new identity.
    ///
    /// # Errors
    /// [`DataplaneError`] when the index is outside the map or the map cannot be written.
    fn write_backend(&mut self, index: u32, entry: &BackendEntry) -> Result<(), DataplaneError>;

    /// Puts a service's new table in a fresh range, then swaps the service to it in one update. The old range is
    /// used again only after a grace period in which no packet can still read it. Counters begin at 0 with a service's
    /// first publication under an id.
    ///
    /// # Errors
    /// [`DataplaneError`] when the arena or the map is full, or cannot be written.
    fn publish_service(&mut self, key: &ServiceKey, service: &Publish<'_>) -> Result<(), DataplaneError>;

    /// Makes an access list hold exactly `after`, when it holds `before`. A list is complete before a service refers to
    /// it, and empty after none does.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map is full or cannot be written; what was written by then stays, and the call may
    /// be made again with what is there then.
    fn write_acl(&mut self, number: u32, before: &[AclPrefix], after: &[AclPrefix]) -> Result<(), DataplaneError>;

    /// Removes a service; no error when there is none.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be written.
    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), DataplaneError>;

    /// Replaces what is known of one of our addresses; `None` makes it nobody's.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map is full or cannot be written.
    fn write_vip(&mut self, address: &Address, entry: Option<&VipEntry>) -> Result<(), DataplaneError>;

    /// Leads the ports of a prefix to a range's service; `None` to none.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map is full or cannot be written.
    fn write_range(&mut self, key: &RangeKey, entry: Option<&RangeEntry>) -> Result<(), DataplaneError>;

    /// Leads the packets whose QUIC connection id names a server to it; `None` to none.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map is full or cannot be written.
    fn write_quic_server(&mut self, key: &QuicKey, entry: Option<&FlowEntry>) -> Result<(), DataplaneError>;

    /// The next entries of the flow tables of moved slots, some thousands at most; the cursor is moved behind them.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn read_flows(&mut self, cursor: &mut FlowCursor) -> Result<Vec<TrackedFlow>, DataplaneError>;

    /// Removes the entry of a flow on a slot that moved; no error when there is none.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be written.
    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey) -> Result<(), DataplaneError>;

    /// Notes which operation of the ledger the maps hold, for the next agent.
    ///
    /// # Errors
    /// [`DataplaneError`] when it cannot be noted.
    fn set_lineage(&mut self, lineage: &Lineage) -> Result<(), DataplaneError>;

    /// Sums of the per-CPU counters.
    ///
    /// # Errors
    /// [`DataplaneError`] when a map cannot be read.
    fn counters(&mut self) -> Result<Counters, DataplaneError>;

    /// Puts the program back on every configured interface that somebody took it off, and its pins back. Returns
    /// one sentence for each repair; empty when nothing was amiss.
    ///
    /// # Errors
    /// [`DataplaneError`] when an interface cannot be attached to; the others are.
    fn ensure_attached(&mut self) -> Result<Vec<String>, DataplaneError> {
        Ok(Vec::new())
    }

    /// Takes the interfaces over from data planes of other versions, which forwarded until now; called once these maps
    /// hold the plan. Returns one sentence for each; empty when there was none.
    ///
    /// # Errors
    /// [`DataplaneError`] when the kernel refuses; the rest is taken over by the next call.
    fn take_over(&mut self) -> Result<Vec<String>, DataplaneError> {
        Ok(Vec::new())
    }
}

/// The operation of the ledger that maps were last made to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Its number.
    pub generation: u64,
    /// Its hash, which covers all before it; as text.
    pub head: String,
}

/// A service to publish.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// Index into `SERVICE_STATS`.
    pub id: u32,
    /// `lb_common::abi::service::flags`.
    pub flags: u32,
    /// The table, flags included; empty when no server is usable.
    pub slots: &'a [Slot],
    /// The previous owners' table; empty when no slot is moving.
    pub previous: &'a [Slot],
    /// Limits and access list; written before the service, and only when its flags say that it is read.
    pub protection: ProtectionEntry,
    /// Generation of the ledger.
    pub generation: u64,
}

/// What the maps hold.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The configuration; `None` before the first write.
    pub config: Option<ConfigEntry>,
    /// Interfaces that packets may be redirected to.
    pub egress: BTreeSet<u32>,
    /// Every service.
    pub services: BTreeMap<ServiceKey, ObservedService>,
    /// Every address of ours.
    pub vips: BTreeMap<Address, VipEntry>,
    /// Every prefix of a range of ports.
    pub ranges: BTreeMap<RangeKey, RangeEntry>,
    /// Every server that QUIC connection ids name.
    pub quic: BTreeMap<QuicKey, FlowEntry>,
    /// Every access list by its number, its lines in ascending order.
    pub acls: BTreeMap<u32, Vec<AclPrefix>>,
    /// Every backend entry in use (identity other than 0), by index.
    pub backends: BTreeMap<u32, BackendEntry>,
    /// Source addresses of translated flows.
    pub nat_sources: NatSources,
}

/// Source addresses of translated flows, as the maps hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatSources {
    /// `NAT_SOURCES`: addresses whose flows are recognised, and their numbers.
    pub known: BTreeMap<Address, u32>,
    /// `NAT_POOL`, as far as an element is used: addresses that new flows get.
    pub pool: BTreeMap<u32, NatSource>,
}

/// A service as the maps hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedService {
    /// The entry.
    pub entry: ServiceEntry,
    /// The table it points at; empty, whatever `entry.slots_len` says, when the entry points outside the arena or
    /// at slots that are not this service's own.
    pub slots: Vec<Slot>,
    /// The previous owners' table it points at; empty likewise.
    pub previous: Vec<Slot>,
    /// Its limits and access list; the default when its flags say that none is read.
    pub protection: ProtectionEntry,
}

/// Whether packets of a service are held against its [`ProtectionEntry`].
#[must_use]
pub const fn reads_protection(service_flags: u32) -> bool {
    use lb_common::abi::service::flags::{ACL, LIMITED};
    service_flags & (ACL | LIMITED) != 0
}

/// Sums over the CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets by reason number; absent reasons are 0.
    pub verdicts: BTreeMap<u32, u64>,
    /// By service id; only those above 0.
    pub services: BTreeMap<u32, ServiceStats>,
    /// By backend index; only those above 0.
    pub backends: BTreeMap<u32, BackendStats>,
}

/// An interface the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// Its number.
    pub ifindex: u32,
    /// `native` or `generic`.
    pub mode: String,
}

/// Why the data plane could not be opened, read or written. Variants are facts.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// A map could not be read or written.
    #[error("map {map}: {doing} failed")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A map has no room.
    #[error("{map} is full ({capacity} entries): {}", make_room(setting))]
    Full {
        /// Name of the map.
        map: &'static str,
        /// Its size.
        capacity: u32,
        /// The key of agent.toml that sizes it; empty when none does.
        setting: &'static str,
    },
    /// An index outside a map.
    #[error("index {index} is outside {map} ({capacity} entries)")]
    OutOfRange {
        /// Name of the map.
        map: &'static str,
        /// The index.
        index: u32,
        /// The size of the map.
        capacity: u32,
    },
    /// Loading, pinning, adopting or attaching failed.
    #[error("{doing}. {remedy}")]
    Setup {
        /// What failed, and on what.
        doing: String,
        /// What to do.
        remedy: String,
        /// The kernel's answer.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The chaos data plane decided so.
    #[error("injected failure")]
    Injected,
}

fn make_room(setting: &str) -> String {
    if setting.is_empty() {
        return "no setting makes it larger; use fewer".to_owned();
    }
    format!(
        "raise `{setting}` in agent.toml; it counts once the agent is stopped, `snowshed detach` run and the agent started"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_names_the_setting_that_sizes_it_if_there_is_one() {
        let text = |setting| DataplaneError::Full { map: "SLOTS", capacity: 7, setting }.to_string();
        assert!(text("dataplane.max_slots").contains("SLOTS is full (7 entries): raise `dataplane.max_slots`"));
        assert!(!text("").contains("agent.toml"), "{}", text(""));
    }

    #[test]
    fn every_setting_that_a_full_map_names_is_a_key_of_the_configuration() {
        let sources = [include_str!("dataplane/kernel.rs"), include_str!("dataplane/services.rs")].concat()
            + include_str!("dataplane/memory.rs")
            + include_str!("dataplane/protections.rs")
            + include_str!("reconcile/apply.rs");
        let named = sources.split('"').filter(|text| text.starts_with("dataplane."));
        let keys = include_str!("config.rs");
        for name in named {
            let key = name.trim_start_matches("dataplane.");
            assert!(keys.contains(&format!("        {key}: u32")), "{name} is no key of the configuration");
        }
        assert!(!sources.contains("limits::MAX_EGRESS\""), "a constant is no setting");
    }
}
