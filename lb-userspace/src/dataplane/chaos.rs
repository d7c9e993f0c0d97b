//! A data plane that fails on purpose: a seeded share of the reads and writes of the one inside.

use std::cell::RefCell;
use std::collections::BTreeSet;

use lb_common::abi::{
    AclPrefix, Address, BackendEntry, ConfigEntry, FlowEntry, FlowKey, NatFlow, ProtectionEntry, QuicKey, RangeEntry,
    RangeKey, ServiceEntry, ServiceKey, Slot, VipEntry,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{
    Attachment, Counters, Dataplane, DataplaneError, FlowCursor, FlowTable, Lineage, Lookup, NatSources, Observed,
    Publish, TrackedFlow,
};

/// Fails before the data plane inside is reached: what was there before stays.
pub struct ChaosDataplane<D> {
    inner: D,
    dice: RefCell<SmallRng>,
    odds: Odds,
}

/// Shares of calls that fail, 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    /// Of the calls that read.
    pub reads: f64,
    /// Of the calls that write.
    pub writes: f64,
}

impl<D> ChaosDataplane<D> {
    /// Puts chaos around a data plane; the same seed fails the same calls.
    pub fn new(inner: D, seed: u64, odds: Odds) -> Self {
        Self { inner, dice: RefCell::new(SmallRng::seed_from_u64(seed)), odds }
    }

    /// Changes the odds from now on.
    pub const fn set_odds(&mut self, odds: Odds) {
        self.odds = odds;
    }

    /// The data plane inside.
    pub const fn inner_mut(&mut self) -> &mut D {
        &mut self.inner
    }

    fn read(&self) -> Result<(), DataplaneError> {
        self.roll(self.odds.reads)
    }

    fn write(&self) -> Result<(), DataplaneError> {
        self.roll(self.odds.writes)
    }

    fn roll(&self, share: f64) -> Result<(), DataplaneError> {
        if self.dice.borrow_mut().random_bool(share.clamp(0.0, 1.0)) { Err(DataplaneError::Injected) } else { Ok(()) }
    }
}

impl<D: Lookup> Lookup for ChaosDataplane<D> {
    fn service(&self, key: &ServiceKey) -> Result<Option<ServiceEntry>, DataplaneError> {
        self.read()?;
        self.inner.service(key)
    }

    fn range(&self, key: &RangeKey) -> Result<Option<RangeEntry>, DataplaneError> {
        self.read()?;
        self.inner.range(key)
    }

    fn quic_server(&self, key: &QuicKey) -> Result<Option<FlowEntry>, DataplaneError> {
        self.read()?;
        self.inner.quic_server(key)
    }

    fn slot(&self, index: u32) -> Result<Slot, DataplaneError> {
        self.read()?;
        self.inner.slot(index)
    }

    fn backend(&self, index: u32) -> Result<Option<BackendEntry>, DataplaneError> {
        self.read()?;
        self.inner.backend(index)
    }

    fn config(&self) -> Result<Option<ConfigEntry>, DataplaneError> {
        self.read()?;
        self.inner.config()
    }

    fn pinned(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        self.read()?;
        self.inner.pinned(key)
    }

    fn opened(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        self.read()?;
        self.inner.opened(key)
    }

    fn protection(&self, id: u32) -> Result<ProtectionEntry, DataplaneError> {
        self.read()?;
        self.inner.protection(id)
    }

    fn acl(&self, number: u32, address: Address) -> Result<Option<u32>, DataplaneError> {
        self.read()?;
        self.inner.acl(number, address)
    }

    fn nat_flow(&self, key: &FlowKey) -> Result<Option<(NatFlow, u32)>, DataplaneError> {
        self.read()?;
        self.inner.nat_flow(key)
    }

    fn vip(&self, address: &Address) -> Result<Option<VipEntry>, DataplaneError> {
        self.read()?;
        self.inner.vip(address)
    }

    fn nat_place(&self, source: &Address, port: u16) -> Result<Option<NatFlow>, DataplaneError> {
        self.read()?;
        self.inner.nat_place(source, port)
    }

    fn is_nat_source(&self, address: &Address) -> Result<bool, DataplaneError> {
        self.read()?;
        self.inner.is_nat_source(address)
    }

    fn has_egress(&self, ifindex: u32) -> Result<bool, DataplaneError> {
        self.read()?;
        self.inner.has_egress(ifindex)
    }

    fn attachments(&self) -> Vec<Attachment> {
        self.inner.attachments()
    }
}

impl<D: Dataplane> Dataplane for ChaosDataplane<D> {
    fn observe(&mut self) -> Result<Observed, DataplaneError> {
        self.read()?;
        self.inner.observe()
    }

    fn set_config(&mut self, config: &ConfigEntry) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.set_config(config)
    }

    fn set_egress(&mut self, interfaces: &BTreeSet<u32>) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.set_egress(interfaces)
    }

    fn set_nat_sources(&mut self, sources: &NatSources) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.set_nat_sources(sources)
    }

    fn write_backend(&mut self, index: u32, entry: &BackendEntry) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.write_backend(index, entry)
    }

    fn publish_service(&mut self, key: &ServiceKey, service: &Publish<'_>) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.publish_service(key, service)
    }

    fn write_acl(&mut self, number: u32, before: &[AclPrefix], after: &[AclPrefix]) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.write_acl(number, before, after)
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.remove_service(key)
    }

    fn write_vip(&mut self, address: &Address, entry: Option<&VipEntry>) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.write_vip(address, entry)
    }

    fn write_range(&mut self, key: &RangeKey, entry: Option<&RangeEntry>) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.write_range(key, entry)
    }

    fn write_quic_server(&mut self, key: &QuicKey, entry: Option<&FlowEntry>) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.write_quic_server(key, entry)
    }

    fn read_flows(&mut self, cursor: &mut FlowCursor) -> Result<Vec<TrackedFlow>, DataplaneError> {
        self.read()?;
        self.inner.read_flows(cursor)
    }

    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.remove_flow(table, key)
    }

    fn set_lineage(&mut self, lineage: &Lineage) -> Result<(), DataplaneError> {
        self.write()?;
        self.inner.set_lineage(lineage)
    }

    fn counters(&mut self) -> Result<Counters, DataplaneError> {
        self.read()?;
        self.inner.counters()
    }

    fn ensure_attached(&mut self) -> Result<Vec<String>, DataplaneError> {
        self.write()?;
        self.inner.ensure_attached()
    }

    fn take_over(&mut self) -> Result<Vec<String>, DataplaneError> {
        self.write()?;
        self.inner.take_over()
    }
}
