//! The loaded program's own maps, as `explain` reads an edge's.

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapError, xdp::DevMapHash};
use lb_common::abi::{
    Address, BackendEntry, ConfigEntry, FlowEntry, FlowKey, NatFlow, ProtectionEntry, QuicKey, RangeEntry, RangeKey,
    SLOTS_PER_ELEMENT, ServiceEntry, ServiceKey, Slot, SlotPair, VipEntry, names, services_map,
};
use lb_common::nat::ports::index_of;
use lb_userspace::dataplane::{Attachment, DataplaneError, Lookup};

use crate::edge::{Edge, Plain};

impl Edge {
    fn element<T: Copy + 'static>(&self, map: &'static str, index: u32) -> Option<T> {
        let array = Array::<_, Plain<T>>::try_from(self.ebpf.map(map).unwrap()).unwrap();
        array.get(&index, 0).ok().map(|value| value.0)
    }

    fn value<K: Copy + 'static, V: Copy + 'static>(&self, map: &'static str, key: K) -> Option<V> {
        let hash = HashMap::<_, Plain<K>, Plain<V>>::try_from(self.ebpf.map(map).unwrap()).unwrap();
        match hash.get(&Plain(key), 0) {
            Ok(value) => Some(value.0),
            Err(MapError::KeyNotFound) => None,
            Err(error) => panic!("{map}: {error}"),
        }
    }
}

impl Lookup for Edge {
    fn service(&self, key: &ServiceKey) -> Result<Option<ServiceEntry>, DataplaneError> {
        Ok(match key.v4() {
            Some(short) => self.value(services_map(key), short),
            None => self.value(services_map(key), *key),
        })
    }

    fn range(&self, key: &RangeKey) -> Result<Option<RangeEntry>, DataplaneError> {
        let ports = [key.protocol, key.pad, key.port[0], key.port[1]];
        let data: [u8; 20] = [&key.address[..], &ports].concat().try_into().unwrap();
        let ranges =
            LpmTrie::<_, [u8; 20], Plain<RangeEntry>>::try_from(self.ebpf.map(names::RANGES).unwrap()).unwrap();
        Ok(ranges.get(&Key::new(key.prefix_len, data), 0).ok().map(|value| value.0))
    }

    fn quic_server(&self, key: &QuicKey) -> Result<Option<FlowEntry>, DataplaneError> {
        Ok(self.value(names::QUIC_SERVERS, *key))
    }

    fn slot(&self, index: u32) -> Result<Slot, DataplaneError> {
        let pair = self.element::<SlotPair>(names::SLOTS, index / SLOTS_PER_ELEMENT);
        let outside = || DataplaneError::OutOfRange { map: names::SLOTS, index, capacity: 0 };
        pair.map(|pair| pair[(index % SLOTS_PER_ELEMENT) as usize]).ok_or_else(outside)
    }

    fn backend(&self, index: u32) -> Result<Option<BackendEntry>, DataplaneError> {
        Ok(self.element::<BackendEntry>(names::BACKENDS, index).filter(|entry| entry.identity != 0))
    }

    fn config(&self) -> Result<Option<ConfigEntry>, DataplaneError> {
        Ok(self.element(names::CONFIG, 0))
    }

    fn pinned(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        Ok(self.value(names::FLOWS_PINNED, *key))
    }

    fn opened(&self, key: &FlowKey) -> Result<Option<FlowEntry>, DataplaneError> {
        Ok(self.value(names::FLOWS_OPENED, *key))
    }

    fn protection(&self, id: u32) -> Result<ProtectionEntry, DataplaneError> {
        Ok(self.element(names::PROTECTION, id).unwrap_or_default())
    }

    fn acl(&self, number: u32, address: Address) -> Result<Option<u32>, DataplaneError> {
        let data: [u8; 20] = [&number.to_ne_bytes()[..], &address].concat().try_into().unwrap();
        let acl = LpmTrie::<_, [u8; 20], u32>::try_from(self.ebpf.map(names::ACL).unwrap()).unwrap();
        Ok(acl.get(&Key::new(160, data), 0).ok())
    }

    /// Every flow has been seen just now: the tests are shorter than any lifetime.
    fn nat_flow(&self, key: &FlowKey) -> Result<Option<(NatFlow, u32)>, DataplaneError> {
        Ok(Edge::nat_flow(self, key).map(|(_, flow)| (flow, flow.seen)))
    }

    fn nat_place(&self, source: &Address, port: u16) -> Result<Option<NatFlow>, DataplaneError> {
        let number: Option<u32> = self.value(names::NAT_SOURCES, *source);
        let index = number.and_then(|number| index_of(number, port));
        Ok(index.and_then(|index| self.element(names::NAT_FLOWS, index)))
    }

    fn is_nat_source(&self, address: &Address) -> Result<bool, DataplaneError> {
        Ok(self.value::<_, u32>(names::NAT_SOURCES, *address).is_some())
    }

    fn has_egress(&self, ifindex: u32) -> Result<bool, DataplaneError> {
        let egress = DevMapHash::try_from(self.ebpf.map(names::EGRESS).unwrap()).unwrap();
        Ok(egress.get(ifindex, 0).is_ok())
    }

    fn vip(&self, address: &Address) -> Result<Option<VipEntry>, DataplaneError> {
        Ok(self.value(names::VIPS, *address))
    }

    fn attachments(&self) -> Vec<Attachment> {
        Vec::new()
    }
}
