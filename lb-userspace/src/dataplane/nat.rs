//! The kernel's maps of translated flows: source addresses are written, flows are only looked at.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use lb_common::abi::nat::{NatBucket, NatSource, PORTS};
use lb_common::abi::{Address, FlowKey, NatFlow, names};
use lb_common::hash::FlowHash;
use lb_common::nat::index::Probe;
use lb_common::nat::lifetime::{self, Phase};
use lb_common::nat::ports::index_of;

use super::maps::{Map, Table};
use super::sys::{self, Mapping};
use super::{DataplaneError, NatSources};

/// The setting that sizes the maps of flows.
const SETTING: &str = "dataplane.max_nat_flows";

/// The four maps.
#[derive(Debug)]
pub(super) struct Nat {
    known: Table<Address, u32>,
    pool: Table<u32, NatSource>,
    flows: Table<u32, NatFlow>,
    index: Table<u32, NatBucket>,
}

/// An element of the pool that is not used.
const UNUSED: NatSource = NatSource { address: [0; 16], number: 0, pad: 0 };

impl Nat {
    /// Opens the pinned maps.
    pub(super) fn open(pin: impl Fn(&str) -> PathBuf) -> Result<Self, DataplaneError> {
        let open = |name| Map::open(name, &pin(name));
        Ok(Self {
            known: Table::new(open(names::NAT_SOURCES)?, "")?,
            pool: Table::new(open(names::NAT_POOL)?, "")?,
            flows: Table::new(open(names::NAT_FLOWS)?, SETTING)?,
            index: Table::new(open(names::NAT_INDEX)?, SETTING)?,
        })
    }

    pub(super) fn sources(&self) -> Result<NatSources, DataplaneError> {
        let pool = self.pool.all()?.into_iter().filter(|(_, source)| *source != UNUSED);
        Ok(NatSources { known: self.known.all()?.into_iter().collect(), pool: pool.collect() })
    }

    pub(super) fn set_sources(&self, sources: &NatSources) -> Result<(), DataplaneError> {
        let present = self.sources()?;
        for (position, source) in &sources.pool {
            if present.pool.get(position) != Some(source) {
                self.pool.insert(position, source)?;
            }
        }
        for position in present.pool.keys().filter(|position| !sources.pool.contains_key(position)) {
            self.pool.insert(position, &UNUSED)?;
        }
        for (address, number) in &sources.known {
            if present.known.get(address) != Some(number) {
                if present.known.values().any(|held| held == number) {
                    self.end_flows(*number)?;
                }
                self.known.insert(address, number)?;
            }
        }
        for address in present.known.keys().filter(|address| !sources.known.contains_key(*address)) {
            self.known.remove(address)?;
        }
        Ok(())
    }

    /// Frees the places of a number: their flows have another source address than the number stands for from now on.
    fn end_flows(&self, number: u32) -> Result<(), DataplaneError> {
        let first = number.saturating_mul(PORTS);
        for index in (first..first.saturating_add(PORTS)).take_while(|index| *index < self.flows.capacity()) {
            let Some(flow) = self.flows.get(&index)?.filter(|flow| flow.protocol != 0) else { continue };
            // The id goes on: a packet that holds the flow at this moment must not claim the next one.
            let free = NatFlow { id: flow.id.wrapping_add(1), protocol: 0, from_client: 0, from_server: 0, ..flow };
            self.flows.insert(&index, &free)?;
        }
        Ok(())
    }

    /// The flow of a client's tuple, and the time.
    pub(super) fn flow(&self, key: &FlowKey, hash_key: [u64; 2]) -> Result<Option<(NatFlow, u32)>, DataplaneError> {
        let probe = Probe::of(FlowHash::of_key(key, hash_key), self.index.capacity());
        for bucket in probe.buckets {
            let Some(bucket) = self.index.get(&bucket)? else { continue };
            for place in bucket.tagged(probe.tag).into_iter().filter(|place| *place < self.flows.capacity()) {
                if let Some(flow) = self.flows.get(&place)?.filter(|flow| flow.key == *key && flow.protocol != 0) {
                    return Ok(Some((flow, lifetime::tick(sys::monotonic_ns()))));
                }
            }
        }
        Ok(None)
    }
}

/// Reads by our own addresses.
impl Nat {
    pub(super) fn is_source(&self, address: &Address) -> Result<bool, DataplaneError> {
        Ok(self.known.get(address)?.is_some())
    }

    pub(super) fn place(&self, source: &Address, port: u16) -> Result<Option<NatFlow>, DataplaneError> {
        let index = self.known.get(source)?.and_then(|number| index_of(number, port));
        match index.filter(|index| *index < self.flows.capacity()) {
            Some(index) => self.flows.get(&index),
            None => Ok(None),
        }
    }
}

/// How the places of translated flows are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatUsage {
    /// Places there are.
    pub places: u64,
    /// Flows whose lifetime is not over, by the name of their phase; those without one are absent.
    pub flows: BTreeMap<&'static str, u64>,
}

/// The places, mapped into memory: counting them holds up no packet.
#[derive(Debug)]
pub(super) struct Places {
    places: u32,
    mapping: Mapping,
}

/// 8-byte words of an element.
const WORDS: usize = size_of::<NatFlow>() / 8;
/// The word of the time of the last packet.
const SEEN: usize = offset_of!(NatFlow, seen) / 8;
/// The word of the backend's index.
const BACKEND: usize = offset_of!(NatFlow, backend) / 8;
/// The word of protocol and marks.
const MARKS: usize = offset_of!(NatFlow, protocol) / 8;
const _: () = assert!(offset_of!(NatFlow, backend) % 8 == 0);
const _: () = assert!(offset_of!(NatFlow, seen) % 8 == 4 && offset_of!(NatFlow, protocol) % 8 == 0);

impl Places {
    pub(super) fn new(map: Map) -> Result<Self, DataplaneError> {
        map.check_sizes(4, size_of::<NatFlow>())?;
        let places = map.capacity();
        let mapping = map.mapped(places as usize * size_of::<NatFlow>())?;
        Ok(Self { places, mapping })
    }

    /// Flows that live, by the index of their backend: neither over nor closed.
    pub(super) fn live_by_backend(&self) -> BTreeMap<u32, u64> {
        let mut live = BTreeMap::new();
        self.for_each(|phase, backend| {
            if matches!(phase, Phase::Opening | Phase::Closing | Phase::Established) {
                *live.entry(backend).or_default() += 1;
            }
        });
        live
    }

    pub(super) fn usage(&self) -> NatUsage {
        let mut usage = NatUsage { places: u64::from(self.places), flows: BTreeMap::new() };
        let mut counts = [0u64; 6];
        self.for_each(|phase, _| counts[phase as usize] += 1);
        for phase in Phase::ALL {
            if counts[phase as usize] > 0 {
                usage.flows.insert(phase.label(), counts[phase as usize]);
            }
        }
        usage
    }

    /// Phase and backend of every flow whose lifetime is not over.
    fn for_each(&self, mut see: impl FnMut(Phase, u32)) {
        let now = lifetime::tick(sys::monotonic_ns());
        for words in self.mapping.words64().chunks_exact(WORDS).take(self.places as usize) {
            let [protocol, from_client, from_server, ..] = words[MARKS].load(Ordering::Relaxed).to_ne_bytes();
            if protocol == 0 {
                continue;
            }
            let [.., s0, s1, s2, s3] = words[SEEN].load(Ordering::Relaxed).to_ne_bytes();
            let seen = u32::from_ne_bytes([s0, s1, s2, s3]);
            let flow = NatFlow { seen, protocol, from_client, from_server, ..NatFlow::FREE };
            if !lifetime::is_over(&flow, now) {
                let [b0, b1, b2, b3, ..] = words[BACKEND].load(Ordering::Relaxed).to_ne_bytes();
                see(Phase::of(&flow), u32::from_ne_bytes([b0, b1, b2, b3]));
            }
        }
    }
}
