//! Reads of single entries: what a packet finds in the maps. `explain` knows the maps by these alone.

use lb_common::abi::{
    Address, BackendEntry, ConfigEntry, FlowEntry, FlowKey, NatFlow, ProtectionEntry, QuicKey, RangeEntry, RangeKey,
    ServiceEntry, ServiceKey, Slot, VipEntry,
};

use super::{Attachment, DataplaneError};

/// Single entries of an edge's maps, as the program reads them.
pub trait Lookup {
    /// One service.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn service(&self, key: &ServiceKey) -> Result<Option<ServiceEntry>, DataplaneError>;

    /// The range that a port belongs to, by a whole key.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn range(&self, key: &RangeKey) -> Result<Option<RangeEntry>, DataplaneError>;

    /// The server that QUIC connection ids with such an id name.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn quic_server(&self, key: &QuicKey) -> Result<Option<FlowEntry>, DataplaneError>;

    /// One slot of the arena.
    ///
    /// # Errors
    /// [`DataplaneError`] when the index is outside the arena.
    fn slot(&self, index: u32) -> Result<Slot, DataplaneError>;

    /// One backend entry; `None` when it is free.
    ///
    /// # Errors
    /// [`DataplaneError`] when the index is outside the map.
    fn backend(&self, index: u32) -> Result<Option<BackendEntry>, DataplaneError>;

    /// The configuration; `None` before the first [`Dataplane::set_config`].
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn config(&self) -> Result<Option<ConfigEntry>, DataplaneError>;

    /// The entry of a flow among the established ones of slots that moved.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn pinned(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError>;

    /// The entry of a flow among those opened on a moving slot.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn opened(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError>;

    /// The limits and the access list of a service, by its id.
    ///
    /// # Errors
    /// [`DataplaneError`] when the id is outside the map.
    fn protection(&self, id: u32) -> Result<ProtectionEntry, DataplaneError>;

    /// What an access list says of an address, `None` when no line matches.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn acl(&self, number: u32, address: Address) -> Result<Option<u32>, DataplaneError>;

    /// The translated flow of a client's tuple and the tick it is now (`lb_common::nat::lifetime`).
    ///
    /// # Errors
    /// [`DataplaneError`] when a map cannot be read.
    fn nat_flow(&self, key: &FlowKey) -> Result<Option<(NatFlow, u32)>, DataplaneError>;

    /// What stands at a source address and port of translated flows; `None` when they are not ours to translate.
    ///
    /// # Errors
    /// [`DataplaneError`] when a map cannot be read.
    fn nat_place(&self, source: &Address, port: u16) -> Result<Option<NatFlow>, DataplaneError>;

    /// Whether an address is a source address of translated flows.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn is_nat_source(&self, address: &Address) -> Result<bool, DataplaneError>;

    /// Whether packets may be redirected to an interface.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn has_egress(&self, ifindex: u32) -> Result<bool, DataplaneError>;

    /// What is known of an address; `None` when it is not ours.
    ///
    /// # Errors
    /// [`DataplaneError`] when the map cannot be read.
    fn vip(&self, address: &Address) -> Result<Option<VipEntry>, DataplaneError>;

    /// Where the program is attached, as the kernel tells it now.
    fn attachments(&self) -> Vec<Attachment>;
}
