//! One data plane for several users: the reconciler writes, `explain`, status and metrics read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_common::abi::{
    AclPrefix, Address, BackendEntry, ConfigEntry, FlowEntry, FlowKey, NatFlow, ProtectionEntry, QuicKey, RangeEntry,
    RangeKey, ServiceEntry, ServiceKey, Slot, VipEntry,
};

use super::{
    Attachment, Counters, Dataplane, DataplaneError, FlowCursor, FlowTable, Lineage, Lookup, NatSources, Observed,
    Publish, TrackedFlow,
};

/// A panic elsewhere does not stop the data plane: every write leaves the maps as a packet may find them.
fn lock<D: Dataplane + ?Sized>(shared: &Mutex<D>) -> MutexGuard<'_, D> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Dataplane + ?Sized> Lookup for Arc<Mutex<D>> {
    fn service(&self, key: &ServiceKey) -> Result<Option<ServiceEntry>, DataplaneError> {
        lock(self).service(key)
    }

    fn range(&self, key: &RangeKey) -> Result<Option<RangeEntry>, DataplaneError> {
        lock(self).range(key)
    }

    fn quic_server(&self, key: &QuicKey) -> Result<Option<FlowEntry>, DataplaneError> {
        lock(self).quic_server(key)
    }

    fn slot(&self, index: u32) -> Result<Slot, DataplaneError> {
        lock(self).slot(index)
    }

    fn backend(&self, index: u32) -> Result<Option<BackendEntry>, DataplaneError> {
        lock(self).backend(index)
    }

    fn config(&self) -> Result<Option<ConfigEntry>, DataplaneError> {
        lock(self).config()
    }

    fn pinned(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        lock(self).pinned(key)
    }

    fn opened(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        lock(self).opened(key)
    }

    fn protection(&self, id: u32) -> Result<ProtectionEntry, DataplaneError> {
        lock(self).protection(id)
    }

    fn acl(&self, number: u32, address: Address) -> Result<Option<u32>, DataplaneError> {
        lock(self).acl(number, address)
    }

    fn nat_flow(&self, key: &FlowKey) -> Result<Option<(NatFlow, u32)>, DataplaneError> {
        lock(self).nat_flow(key)
    }

    fn vip(&self, address: &Address) -> Result<Option<VipEntry>, DataplaneError> {
        lock(self).vip(address)
    }

    fn nat_place(&self, source: &Address, port: u16) -> Result<Option<NatFlow>, DataplaneError> {
        lock(self).nat_place(source, port)
    }

    fn is_nat_source(&self, address: &Address) -> Result<bool, DataplaneError> {
        lock(self).is_nat_source(address)
    }

    fn has_egress(&self, ifindex: u32) -> Result<bool, DataplaneError> {
        lock(self).has_egress(ifindex)
    }

    fn attachments(&self) -> Vec<Attachment> {
        lock(self).attachments()
    }
}

impl<D: Dataplane + ?Sized> Dataplane for Arc<Mutex<D>> {
    fn observe(&mut self) -> Result<Observed, DataplaneError> {
        lock(self).observe()
    }

    fn set_config(&mut self, config: &ConfigEntry) -> Result<(), DataplaneError> {
        lock(self).set_config(config)
    }

    fn set_egress(&mut self, interfaces: &BTreeSet<u32>) -> Result<(), DataplaneError> {
        lock(self).set_egress(interfaces)
    }

    fn set_nat_sources(&mut self, sources: &NatSources) -> Result<(), DataplaneError> {
        lock(self).set_nat_sources(sources)
    }

    fn write_backend(&mut self, index: u32, entry: &BackendEntry) -> Result<(), DataplaneError> {
        lock(self).write_backend(index, entry)
    }

    fn publish_service(&mut self, key: &ServiceKey, service: &Publish<'_>) -> Result<(), DataplaneError> {
        lock(self).publish_service(key, service)
    }

    fn write_acl(&mut self, number: u32, before: &[AclPrefix], after: &[AclPrefix]) -> Result<(), DataplaneError> {
        lock(self).write_acl(number, before, after)
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), DataplaneError> {
        lock(self).remove_service(key)
    }

    fn write_vip(&mut self, address: &Address, entry: Option<&VipEntry>) -> Result<(), DataplaneError> {
        lock(self).write_vip(address, entry)
    }

    fn write_range(&mut self, key: &RangeKey, entry: Option<&RangeEntry>) -> Result<(), DataplaneError> {
        lock(self).write_range(key, entry)
    }

    fn write_quic_server(&mut self, key: &QuicKey, entry: Option<&FlowEntry>) -> Result<(), DataplaneError> {
        lock(self).write_quic_server(key, entry)
    }

    fn read_flows(&mut self, cursor: &mut FlowCursor) -> Result<Vec<TrackedFlow>, DataplaneError> {
        lock(self).read_flows(cursor)
    }

    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey) -> Result<(), DataplaneError> {
        lock(self).remove_flow(table, key)
    }

    fn set_lineage(&mut self, lineage: &Lineage) -> Result<(), DataplaneError> {
        lock(self).set_lineage(lineage)
    }

    fn counters(&mut self) -> Result<Counters, DataplaneError> {
        lock(self).counters()
    }

    fn ensure_attached(&mut self) -> Result<Vec<String>, DataplaneError> {
        lock(self).ensure_attached()
    }

    fn take_over(&mut self) -> Result<Vec<String>, DataplaneError> {
        lock(self).take_over()
    }
}
