//! Maps with typed keys and values, over the bytes of `sys`.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;

use lb_common::abi::{BackendEntry, SLOTS_PER_ELEMENT, Slot, SlotPair};

use super::DataplaneError;
use super::sys::{self, MapInfo, Mapping, Plain};

/// Elements read by one system call.
const BATCH: u32 = 4096;
/// A hash map refuses a bulk read that cannot hold one whole bucket; beyond this the map is read one by one.
const LARGEST_BATCH: u32 = BATCH << 6;

/// An open map and its name.
#[derive(Debug)]
pub(super) struct Map {
    name: &'static str,
    fd: OwnedFd,
    info: MapInfo,
}

impl Map {
    /// Opens a pinned map.
    pub(super) fn open(name: &'static str, path: &Path) -> Result<Self, DataplaneError> {
        Self::of(name, sys::open_pinned(path).map_err(failed(name, "opening the pin"))?)
    }

    /// A map that is open already.
    pub(super) fn of(name: &'static str, fd: OwnedFd) -> Result<Self, DataplaneError> {
        let info = sys::map_info(fd.as_fd()).map_err(failed(name, "asking for its size"))?;
        Ok(Self { name, fd, info })
    }

    /// Entries it has room for.
    pub(super) const fn capacity(&self) -> u32 {
        self.info.max_entries
    }

    /// Its elements, mapped into memory; it must be an array made with `BPF_F_MMAPABLE`.
    pub(super) fn mapped(&self, bytes: usize) -> Result<Mapping, DataplaneError> {
        Mapping::new(self.fd.as_fd(), bytes).map_err(failed(self.name, "mapping into memory"))
    }

    fn check_index(&self, index: u32) -> Result<(), DataplaneError> {
        if index < self.capacity() {
            return Ok(());
        }
        Err(DataplaneError::OutOfRange { map: self.name, index, capacity: self.capacity() })
    }

    /// `T` is what the map holds; anything else would let the kernel write past the value.
    pub(super) fn check_sizes(&self, key: usize, value: usize) -> Result<(), DataplaneError> {
        if self.info.key_size as usize == key && self.info.value_size as usize == value {
            return Ok(());
        }
        Err(failed(self.name, "matching its layout")(io::ErrorKind::InvalidData.into()))
    }
}

/// A hash map, or an array read one element at a time.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    map: Map,
    /// The setting that sizes it.
    setting: &'static str,
    types: PhantomData<(K, V)>,
}

impl<K: Plain, V: Plain> Table<K, V> {
    pub(super) fn new(map: Map, setting: &'static str) -> Result<Self, DataplaneError> {
        map.check_sizes(size_of::<K>(), size_of::<V>())?;
        Ok(Self { map, setting, types: PhantomData })
    }

    /// Entries it has room for.
    pub(super) const fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    pub(super) fn get(&self, key: &K) -> Result<Option<V>, DataplaneError> {
        let mut value = vec![0; size_of::<V>()];
        let found = sys::map_lookup(self.map.fd.as_fd(), sys::bytes_of(key), &mut value)
            .map_err(failed(self.map.name, "reading an entry"))?;
        Ok(if found { sys::value_of(&value) } else { None })
    }

    pub(super) fn insert(&self, key: &K, value: &V) -> Result<(), DataplaneError> {
        sys::map_update(self.map.fd.as_fd(), sys::bytes_of(key), sys::bytes_of(value)).map_err(|error| {
            // A hash map has no room, or a trie.
            if matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC)) {
                let (map, capacity) = (self.map.name, self.map.capacity());
                return DataplaneError::Full { map, capacity, setting: self.setting };
            }
            failed(self.map.name, "writing an entry")(error)
        })
    }

    /// Whether there was one.
    pub(super) fn remove(&self, key: &K) -> Result<bool, DataplaneError> {
        sys::map_delete(self.map.fd.as_fd(), sys::bytes_of(key)).map_err(failed(self.map.name, "removing an entry"))
    }

    /// Every entry: in bulk, or one by one where the kernel cannot.
    pub(super) fn all(&self) -> Result<Vec<(K, V)>, DataplaneError> {
        let mut count = BATCH;
        while count <= LARGEST_BATCH {
            match self.all_in_bulk(count) {
                Ok(entries) => return Ok(entries),
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => count <<= 1,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => break,
                Err(error) => return Err(failed(self.map.name, "reading all entries")(error)),
            }
        }
        self.all_one_by_one()
    }

    fn all_in_bulk(&self, count: u32) -> io::Result<Vec<(K, V)>> {
        let mut keys = vec![0; size_of::<K>() * count as usize];
        let mut values = vec![0; size_of::<V>() * count as usize];
        let mut entries = Vec::new();
        let mut cursor = None;
        loop {
            let step = sys::map_lookup_batch(self.map.fd.as_fd(), &mut cursor, count, &mut keys, &mut values)?;
            let pairs = keys.chunks_exact(size_of::<K>()).zip(values.chunks_exact(size_of::<V>())).take(step.count);
            entries.extend(pairs.filter_map(|(key, value)| Some((sys::value_of(key)?, sys::value_of(value)?))));
            // A map that others fill faster than it is read must not hold us for ever.
            if step.last || entries.len() > self.map.capacity() as usize {
                return Ok(entries);
            }
        }
    }

    /// The next entries from where a reading stands (`None` at the start), and whether they are the last. Where the kernel
    /// has no bulk read, all of them.
    pub(super) fn next(&self, place: &mut Option<[u8; 64]>) -> Result<(Vec<(K, V)>, bool), DataplaneError> {
        let mut count = BATCH;
        while count <= LARGEST_BATCH {
            let mut keys = vec![0; size_of::<K>() * count as usize];
            let mut values = vec![0; size_of::<V>() * count as usize];
            let mut next = *place;
            match sys::map_lookup_batch(self.map.fd.as_fd(), &mut next, count, &mut keys, &mut values) {
                Ok(step) => {
                    *place = next;
                    let pairs = keys.chunks_exact(size_of::<K>()).zip(values.chunks_exact(size_of::<V>()));
                    let value = |(key, value)| Some((sys::value_of(key)?, sys::value_of(value)?));
                    return Ok((pairs.take(step.count).filter_map(value).collect(), step.last));
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => count <<= 1,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => break,
                Err(error) => return Err(failed(self.map.name, "reading entries")(error)),
            }
        }
        Ok((self.all_one_by_one()?, true))
    }

    /// Every entry, by following the keys.
    pub(super) fn all_one_by_one(&self) -> Result<Vec<(K, V)>, DataplaneError> {
        let mut entries = Vec::new();
        for key in self.keys()? {
            if let Some(value) = self.get(&key)? {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    /// Every key.
    pub(super) fn keys(&self) -> Result<Vec<K>, DataplaneError> {
        let mut keys: Vec<K> = Vec::new();
        let mut next = vec![0; size_of::<K>()];
        loop {
            let last = keys.last().map(sys::bytes_of);
            let found = sys::map_next_key(self.map.fd.as_fd(), last, &mut next)
                .map_err(failed(self.map.name, "following the keys"))?;
            match sys::value_of(&next) {
                Some(key) if found && keys.len() < self.map.capacity() as usize => keys.push(key),
                _ => return Ok(keys),
            }
        }
    }
}

/// A per-CPU array of counters.
#[derive(Debug)]
pub(super) struct PerCpu<V> {
    map: Map,
    cpus: usize,
    types: PhantomData<V>,
}

impl<V: Plain> PerCpu<V> {
    pub(super) fn new(map: Map) -> Result<Self, DataplaneError> {
        map.check_sizes(4, size_of::<V>())?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(map.name, "counting the CPUs")(error))?;
        Ok(Self { map, cpus, types: PhantomData })
    }

    /// Entries it has room for.
    pub(super) const fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// Sets a counter to 0 on every CPU.
    pub(super) fn clear(&self, index: u32) -> Result<(), DataplaneError> {
        self.map.check_index(index)?;
        sys::map_update(self.map.fd.as_fd(), &index.to_ne_bytes(), &vec![0; self.stride()])
            .map_err(failed(self.map.name, "clearing a counter"))
    }

    /// For each index below `bound` the values of all CPUs, through `each`.
    pub(super) fn for_each(&self, bound: u32, mut each: impl FnMut(u32, &[V])) -> Result<(), DataplaneError> {
        let bound = bound.min(self.capacity());
        match self.in_bulk(bound, &mut each) {
            Ok(true) => Ok(()),
            Ok(false) => self.one_by_one(bound, &mut each),
            Err(error) => Err(failed(self.map.name, "reading counters")(error)),
        }
    }

    /// False, before anything was given out, when the kernel has no bulk read for this kind of map.
    fn in_bulk(&self, bound: u32, each: &mut impl FnMut(u32, &[V])) -> io::Result<bool> {
        let stride = self.stride();
        let mut cursor = None;
        let mut index = 0;
        while index < bound {
            let count = BATCH.min(bound - index);
            let mut keys = vec![0; 4 * count as usize];
            let mut values = vec![0; stride * count as usize];
            let step = match sys::map_lookup_batch(self.map.fd.as_fd(), &mut cursor, count, &mut keys, &mut values) {
                Ok(step) => step,
                Err(error) if index == 0 && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            for value in values.chunks_exact(stride).take(step.count) {
                each(index, &self.per_cpu(value));
                index += 1;
            }
            if step.last {
                break;
            }
        }
        Ok(true)
    }

    fn one_by_one(&self, bound: u32, each: &mut impl FnMut(u32, &[V])) -> Result<(), DataplaneError> {
        let mut value = vec![0; self.stride()];
        for index in 0..bound {
            sys::map_lookup(self.map.fd.as_fd(), &index.to_ne_bytes(), &mut value)
                .map_err(failed(self.map.name, "reading a counter"))?;
            each(index, &self.per_cpu(&value));
        }
        Ok(())
    }

    /// Bytes of one element: a value for each possible CPU, each rounded up to 8 bytes.
    fn stride(&self) -> usize {
        size_of::<V>().next_multiple_of(8) * self.cpus
    }

    fn per_cpu(&self, bytes: &[u8]) -> Vec<V> {
        bytes.chunks_exact(bytes.len() / self.cpus).filter_map(sys::value_of).collect()
    }
}

/// The slot arena, mapped.
#[derive(Debug)]
pub(super) struct Slots {
    map: Map,
    mapping: Mapping,
}

impl Slots {
    pub(super) fn new(map: Map) -> Result<Self, DataplaneError> {
        map.check_sizes(4, size_of::<SlotPair>())?;
        let mapping = map.mapped(map.capacity() as usize * size_of::<SlotPair>())?;
        Ok(Self { map, mapping })
    }

    /// Slots there is room for.
    pub(super) const fn capacity(&self) -> u32 {
        self.map.capacity() * SLOTS_PER_ELEMENT
    }

    pub(super) fn get(&self, index: u32) -> Result<Slot, DataplaneError> {
        let slot = self.words(index, 1).and_then(<[_]>::first);
        slot.map(|word| Slot(word.load(Ordering::Relaxed))).ok_or_else(|| self.outside(index))
    }

    /// The slots of a range; `None` when it is not wholly in the arena.
    pub(super) fn read(&self, offset: u32, len: u32) -> Option<Vec<Slot>> {
        let words = self.words(offset, len)?;
        Some(words.iter().map(|word| Slot(word.load(Ordering::Relaxed))).collect())
    }

    /// Writes a range that is wholly in the arena.
    pub(super) fn write(&self, offset: u32, slots: &[Slot]) -> Result<(), DataplaneError> {
        let len = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let words = self.words(offset, len).ok_or_else(|| self.outside(offset))?;
        for (word, slot) in words.iter().zip(slots) {
            word.store(slot.0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn words(&self, offset: u32, len: u32) -> Option<&[std::sync::atomic::AtomicU32]> {
        let end = offset.checked_add(len).filter(|&end| end <= self.capacity())?;
        self.mapping.words32().get(offset as usize..end as usize)
    }

    fn outside(&self, index: u32) -> DataplaneError {
        DataplaneError::OutOfRange { map: self.map.name, index, capacity: self.capacity() }
    }
}

/// The backend entries, mapped.
#[derive(Debug)]
pub(super) struct Backends {
    map: Map,
    mapping: Mapping,
}

/// 8-byte words of an entry.
const ENTRY_WORDS: usize = size_of::<BackendEntry>() / 8;
/// The word that holds mode, state and generation: while it is 0 no packet uses the entry.
const STATE_WORD: usize = std::mem::offset_of!(BackendEntry, mode) / 8;
/// The word that holds the identity: 0 is a free entry.
const IDENTITY_WORD: usize = std::mem::offset_of!(BackendEntry, identity) / 8;

impl Backends {
    pub(super) fn new(map: Map) -> Result<Self, DataplaneError> {
        map.check_sizes(4, size_of::<BackendEntry>())?;
        let mapping = map.mapped(map.capacity() as usize * size_of::<BackendEntry>())?;
        Ok(Self { map, mapping })
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// The entry; `None` when it is free.
    pub(super) fn get(&self, index: u32) -> Result<Option<BackendEntry>, DataplaneError> {
        let words = self.words(index)?;
        if words[IDENTITY_WORD].load(Ordering::Relaxed) == 0 {
            return Ok(None);
        }
        let mut read = [0; ENTRY_WORDS];
        for (into, word) in read.iter_mut().zip(words) {
            *into = word.load(Ordering::Relaxed);
        }
        Ok(Some(from_words(&read)))
    }

    /// Replaces an entry. One changed word is one store; more, and the entry is first taken out of use, so that no
    /// packet is sent by half of one entry and half of another.
    pub(super) fn set(&self, index: u32, entry: &BackendEntry) -> Result<(), DataplaneError> {
        let words = self.words(index)?;
        let new = to_words(entry);
        let changed = words.iter().zip(new).filter(|(word, new)| word.load(Ordering::Relaxed) != *new).count();
        if changed > 1 {
            words[STATE_WORD].store(0, Ordering::SeqCst);
        }
        for (position, (word, new)) in words.iter().zip(new).enumerate() {
            if position != STATE_WORD && word.load(Ordering::Relaxed) != new {
                word.store(new, Ordering::Relaxed);
            }
        }
        words[STATE_WORD].store(new[STATE_WORD], Ordering::Release);
        Ok(())
    }

    fn words(&self, index: u32) -> Result<&[std::sync::atomic::AtomicU64], DataplaneError> {
        self.map.check_index(index)?;
        let start = index as usize * ENTRY_WORDS;
        Ok(&self.mapping.words64()[start..start + ENTRY_WORDS])
    }
}

/// Destructured, so that a new field does not compile until it has its place.
fn to_words(entry: &BackendEntry) -> [u64; ENTRY_WORDS] {
    let &BackendEntry {
        address,
        next_hop_mac: mac,
        vlan_outer,
        source_mac: source,
        vlan_inner,
        ifindex,
        mtu,
        port,
        mode,
        state,
        pad,
        generation,
        identity,
    } = entry;
    let [i0, i1, i2, i3] = ifindex.to_ne_bytes();
    let [m0, m1] = mtu.to_ne_bytes();
    let [g0, g1, g2, g3] = generation.to_ne_bytes();
    let (first, second) = address.split_at(8);
    let word = |bytes: &[u8]| sys::value_of::<u64>(bytes).unwrap_or_default();
    [
        word(first),
        word(second),
        word(&[mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], vlan_outer[0], vlan_outer[1]]),
        word(&[source[0], source[1], source[2], source[3], source[4], source[5], vlan_inner[0], vlan_inner[1]]),
        word(&[i0, i1, i2, i3, m0, m1, port[0], port[1]]),
        word(&[mode, state, pad[0], pad[1], g0, g1, g2, g3]),
        identity,
        0,
    ]
}

fn from_words(words: &[u64; ENTRY_WORDS]) -> BackendEntry {
    let [first, second, next_hop, source, egress, state, identity, _] = words.map(u64::to_ne_bytes);
    let mut address = [0; 16];
    address[..8].copy_from_slice(&first);
    address[8..].copy_from_slice(&second);
    let mac = |word: [u8; 8]| [word[0], word[1], word[2], word[3], word[4], word[5]];
    BackendEntry {
        address,
        next_hop_mac: mac(next_hop),
        vlan_outer: [next_hop[6], next_hop[7]],
        source_mac: mac(source),
        vlan_inner: [source[6], source[7]],
        ifindex: u32::from_ne_bytes([egress[0], egress[1], egress[2], egress[3]]),
        mtu: u16::from_ne_bytes([egress[4], egress[5]]),
        port: [egress[6], egress[7]],
        mode: state[0],
        state: state[1],
        pad: [state[2], state[3]],
        generation: u32::from_ne_bytes([state[4], state[5], state[6], state[7]]),
        identity: u64::from_ne_bytes(identity),
    }
}

/// Says which map and what was being done.
pub(super) fn failed(map: &'static str, doing: &'static str) -> impl FnOnce(io::Error) -> DataplaneError {
    move |error| DataplaneError::Map { map, doing, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_words_of_a_backend_entry_are_its_layout() {
        let entry = BackendEntry {
            address: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            next_hop_mac: [21, 22, 23, 24, 25, 26],
            vlan_outer: [27, 28],
            source_mac: [31, 32, 33, 34, 35, 36],
            vlan_inner: [37, 38],
            ifindex: 0x4142_4344,
            mtu: 0x5152,
            port: [53, 54],
            mode: 61,
            state: 62,
            pad: [63, 64],
            generation: 0x7172_7374,
            identity: 0x8182_8384_8586_8788,
        };
        let words = to_words(&entry);
        assert_eq!(from_words(&words), entry);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes[offset_of!(BackendEntry, next_hop_mac)], 21);
        assert_eq!(bytes[offset_of!(BackendEntry, vlan_outer)], 27);
        assert_eq!(bytes[offset_of!(BackendEntry, source_mac)], 31);
        assert_eq!(bytes[offset_of!(BackendEntry, vlan_inner)], 37);
        assert_eq!(&bytes[offset_of!(BackendEntry, ifindex)..][..4], &entry.ifindex.to_ne_bytes());
        assert_eq!(&bytes[offset_of!(BackendEntry, mtu)..][..2], &entry.mtu.to_ne_bytes());
        assert_eq!(bytes[offset_of!(BackendEntry, port)], 53);
        assert_eq!(bytes[offset_of!(BackendEntry, mode)], 61);
        assert_eq!(bytes[offset_of!(BackendEntry, state)], 62);
        assert_eq!(&bytes[offset_of!(BackendEntry, generation)..][..4], &entry.generation.to_ne_bytes());
        assert_eq!(&bytes[offset_of!(BackendEntry, identity)..][..8], &entry.identity.to_ne_bytes());
    }
}
