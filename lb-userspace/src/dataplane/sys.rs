//! The few commands of `bpf(2)` that the data plane needs, and memory mappings of array maps.
//!
//! aya loads the object; everything after that is descriptors and bytes, and goes through here.

#![expect(unsafe_code, reason = "system calls and memory mappings; the only such file besides the tests")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Commands, as `enum bpf_cmd` of `linux/bpf.h` numbers them.
mod command {
    pub(super) const MAP_LOOKUP: libc::c_int = 1;
    pub(super) const MAP_UPDATE: libc::c_int = 2;
    pub(super) const MAP_DELETE: libc::c_int = 3;
    pub(super) const MAP_GET_NEXT_KEY: libc::c_int = 4;
    pub(super) const OBJ_PIN: libc::c_int = 6;
    pub(super) const OBJ_GET: libc::c_int = 7;
    pub(super) const PROG_GET_FD_BY_ID: libc::c_int = 13;
    pub(super) const OBJ_GET_INFO: libc::c_int = 15;
    pub(super) const MAP_LOOKUP_BATCH: libc::c_int = 24;
    pub(super) const LINK_CREATE: libc::c_int = 28;
    pub(super) const LINK_UPDATE: libc::c_int = 29;
    pub(super) const LINK_DETACH: libc::c_int = 34;
}

/// `enum bpf_attach_type`: an XDP program on an interface.
const ATTACH_XDP: u32 = 37;
/// `XDP_FLAGS_SKB_MODE`: after the driver, on socket buffers.
pub(super) const XDP_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: in the driver.
pub(super) const XDP_NATIVE: u32 = 1 << 2;

/// What the kernel says about a map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MapInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

/// What the kernel says about a program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProgramInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) tag: [u8; 8],
    /// Its code: two lengths and two addresses, when it was loaded, by whom, and its maps.
    passed_over: [u64; 6],
    name: [u8; 16],
}

impl ProgramInfo {
    /// Its name, of which the kernel keeps the first 15 bytes.
    pub(super) fn name(&self) -> &str {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        std::str::from_utf8(&self.name[..end]).unwrap_or_default()
    }
}

/// What the kernel says about an XDP link; `ifindex` is 0 when it is no longer attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) program_id: u32,
    pad: u32,
    pub(super) ifindex: u32,
    pad_end: u32,
}

/// A type that is nothing but its bytes.
///
/// # Safety
/// No padding, and every bit pattern is a value.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: integers.
unsafe impl Plain for u64 {}
// SAFETY: bytes.
unsafe impl<const N: usize> Plain for [u8; N] {}
// SAFETY: bytes, explicit padding, const-asserted size.
unsafe impl Plain for lb_common::abi::ServiceKey {}
// SAFETY: bytes, explicit padding, const-asserted size.
unsafe impl Plain for lb_common::abi::ServiceKeyV4 {}
// SAFETY: six u32 and a u64 make 32 bytes, const-asserted.
unsafe impl Plain for lb_common::abi::ServiceEntry {}
// SAFETY: 16 + 16 + 4 + 4 bytes make 40, const-asserted.
unsafe impl Plain for lb_common::abi::ConfigEntry {}
// SAFETY: bytes, explicit padding, const-asserted size.
unsafe impl Plain for lb_common::abi::FlowKey {}
// SAFETY: three u32 make 12 bytes, const-asserted.
unsafe impl Plain for lb_common::abi::FlowEntry {}
// SAFETY: eight u64.
// SAFETY: two u32 make 8 bytes, const-asserted.
unsafe impl Plain for lb_common::abi::nat::NatBucket {}
// SAFETY: 16 bytes and two u32 make 24, const-asserted.
unsafe impl Plain for lb_common::abi::nat::NatSource {}
// SAFETY: fields without gaps and explicit padding make 128 bytes, const-asserted.
unsafe impl Plain for lb_common::abi::NatFlow {}
// SAFETY: four u64.
unsafe impl Plain for lb_common::abi::ServiceStats {}
// SAFETY: six u32 and four u64 that stand aligned make 56 bytes, const-asserted.
unsafe impl Plain for lb_common::abi::ProtectionEntry {}
// SAFETY: two u32 and 16 bytes make 24, const-asserted.
unsafe impl Plain for lb_common::abi::AclKey {}
// SAFETY: two u64.
unsafe impl Plain for lb_common::abi::BackendStats {}
// SAFETY: two u32.
unsafe impl Plain for lb_common::abi::VipEntry {}
// SAFETY: as above.
unsafe impl Plain for lb_common::abi::RangeKey {}
// SAFETY: as above.
unsafe impl Plain for lb_common::abi::RangeEntry {}
// SAFETY: bytes, explicit padding, const-asserted size.
unsafe impl Plain for lb_common::abi::QuicKey {}

// SAFETY: two u64, a rate of 16 bytes, two words, two ends of 40 bytes and two u32 make 128 bytes, const-asserted.
unsafe impl Plain for lb_common::abi::capture::CaptureFilter {}
// SAFETY: a u64 and eight u32 make 40 bytes, const-asserted.
unsafe impl Plain for lb_common::abi::capture::CaptureRecord {}

/// The bytes of a value.
pub(super) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `Plain` has no padding, so every byte is initialized; the lifetime is the value's.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The value of bytes, whatever their alignment; `None` when there are too few.
pub(super) fn value_of<T: Plain>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: enough bytes, every pattern is a value, and the read is unaligned.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

#[repr(C)]
struct ElementAttr {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads an element; false when there is none. The slices have the map's sizes (the caller checks them).
pub(super) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attr = element(map, key, value.as_mut_ptr() as u64, 0);
    // SAFETY: the pointers outlive the call, and the caller gives as many bytes as the map's value has.
    found(unsafe { call(command::MAP_LOOKUP, &mut attr) })
}

/// Writes an element. The slices have the map's sizes (the caller checks them).
pub(super) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = element(map, key, value.as_ptr() as u64, 0);
    // SAFETY: the pointers outlive the call; the kernel only reads them.
    unsafe { call(command::MAP_UPDATE, &mut attr) }.map(drop)
}

/// Removes an element; false when there was none.
pub(super) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let mut attr = element(map, key, 0, 0);
    // SAFETY: the pointer outlives the call; the kernel only reads it.
    found(unsafe { call(command::MAP_DELETE, &mut attr) })
}

/// The key after `key` (the first one without); false at the end.
pub(super) fn map_next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let mut attr = element(map, key.unwrap_or_default(), next.as_mut_ptr() as u64, 0);
    if key.is_none() {
        attr.key = 0;
    }
    // SAFETY: the pointers outlive the call, and both have the size of the map's key.
    found(unsafe { call(command::MAP_GET_NEXT_KEY, &mut attr) })
}

#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// One step of a bulk read: how many elements were read, and whether that was the last step.
pub(super) struct BatchStep {
    pub(super) count: usize,
    pub(super) last: bool,
}

/// Reads up to `count` elements from where `cursor` stands (`None` at the start) and moves it on.
///
/// # Errors
/// `ENOSPC` when a bucket holds more than `count`; `EINVAL` or `EOPNOTSUPP` when the map has no bulk read.
pub(super) fn map_lookup_batch(
    map: BorrowedFd<'_>,
    cursor: &mut Option<[u8; 64]>,
    count: u32,
    keys: &mut [u8],
    values: &mut [u8],
) -> io::Result<BatchStep> {
    let mut next = [0_u8; 64];
    let mut attr = BatchAttr {
        in_batch: cursor.as_ref().map_or(0, |cursor| cursor.as_ptr() as u64),
        out_batch: next.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map: raw(map),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the caller sized `keys` and `values` for `count` elements of this map; cursors have room for any key.
    let outcome = unsafe { call(command::MAP_LOOKUP_BATCH, &mut attr) };
    let last = match outcome {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    *cursor = Some(next);
    Ok(BatchStep { count: attr.count as usize, last })
}

#[repr(C)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Pins a map, program or link.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = ObjectAttr { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    unsafe { call(command::OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens what is pinned.
pub(super) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = ObjectAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    owned(unsafe { call(command::OBJ_GET, &mut attr) })
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

/// Asks about a map.
pub(super) fn map_info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let mut attr = InfoAttr { fd: raw(fd), length: length_of::<MapInfo>(), info: (&raw mut info) as u64 };
    // SAFETY: the kernel writes at most `length` bytes into `info`, which outlives the call.
    unsafe { call(command::OBJ_GET_INFO, &mut attr) }.map(|_| info)
}

/// Opens a program that is loaded.
pub(super) fn open_program(id: u32) -> io::Result<OwnedFd> {
    let mut attr = InfoAttr { fd: id, length: 0, info: 0 };
    // SAFETY: the number stands where a descriptor would, and there are no pointers.
    owned(unsafe { call(command::PROG_GET_FD_BY_ID, &mut attr) })
}

/// Asks about a program.
pub(super) fn program_info(fd: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let mut info = ProgramInfo::default();
    let mut attr = InfoAttr { fd: raw(fd), length: length_of::<ProgramInfo>(), info: (&raw mut info) as u64 };
    // SAFETY: as above.
    unsafe { call(command::OBJ_GET_INFO, &mut attr) }.map(|_| info)
}

/// Asks about a link.
pub(super) fn link_info(fd: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr { fd: raw(fd), length: length_of::<LinkInfo>(), info: (&raw mut info) as u64 };
    // SAFETY: as above.
    unsafe { call(command::OBJ_GET_INFO, &mut attr) }.map(|_| info)
}

#[repr(C)]
struct LinkAttr {
    first: u32,
    second: u32,
    third: u32,
    flags: u32,
}

/// Attaches an XDP program to an interface; `mode` is [`XDP_NATIVE`] or [`XDP_GENERIC`].
pub(super) fn link_create(program: BorrowedFd<'_>, ifindex: u32, mode: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkAttr { first: raw(program), second: ifindex, third: ATTACH_XDP, flags: mode };
    // SAFETY: no pointers.
    owned(unsafe { call(command::LINK_CREATE, &mut attr) })
}

/// Swaps the program of a link, atomically for the packets.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkAttr { first: raw(link), second: raw(program), third: 0, flags: 0 };
    // SAFETY: no pointers.
    unsafe { call(command::LINK_UPDATE, &mut attr) }.map(drop)
}

/// Takes a link off, whoever else holds it.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = [raw(link)];
    // SAFETY: no pointers.
    unsafe { call(command::LINK_DETACH, &mut attr) }.map(drop)
}

/// A `BPF_F_MMAPABLE` array, mapped: shared with the kernel, so only atomics are handed out.
#[derive(Debug)]
pub(super) struct Mapping {
    start: *mut libc::c_void,
    bytes: usize,
}

// SAFETY: the mapping belongs to no thread, and is only reached through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` (rounded up to pages) of an array map.
    pub(super) fn new(map: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(page_size());
        // SAFETY: a new shared mapping at an address the kernel picks.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start, bytes })
    }

    /// As 4-byte words.
    pub(super) fn words32(&self) -> &[AtomicU32] {
        // SAFETY: the mapping is page-aligned, lives as long as self, and is only accessed atomically.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.bytes / 4) }
    }

    /// As 8-byte words.
    pub(super) fn words64(&self) -> &[AtomicU64] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.bytes / 8) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; no reference outlives self.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}

/// Time of the monotonic clock, which is also the kernel program's, in nanoseconds.
pub(super) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.cast_unsigned())
}

fn page_size() -> usize {
    // SAFETY: no pointers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn element(map: BorrowedFd<'_>, key: &[u8], value: u64, flags: u64) -> ElementAttr {
    ElementAttr { map: raw(map), pad: 0, key: key.as_ptr() as u64, value, flags }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn length_of<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

fn found(outcome: io::Result<libc::c_int>) -> io::Result<bool> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn owned(outcome: io::Result<libc::c_int>) -> io::Result<OwnedFd> {
    // SAFETY: the kernel just made this descriptor for us; nobody else owns it.
    outcome.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attr` is laid out as the command expects, and every pointer in it is valid for what the command does with it.
unsafe fn call<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the caller's promise; the size is the attribute's own.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(outcome).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}
