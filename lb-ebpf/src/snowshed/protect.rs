//! What stands between a service and its servers: quarantine, access list, limits of packets and new connections.
//!
//! A subprogram: packets of a service without protection pay for one test of its flags, not even in registers.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_coarse_ns,
    macros::map,
    maps::{Array, LruHashMap, lpm_trie::Key, lpm_trie::LpmTrie},
};
use lb_common::abi::protection::{Rate, ServiceBuckets, acl};
use lb_common::abi::service::flags;
use lb_common::abi::{AclKey, ProtectionEntry, Reason, ServiceEntry, SourceKey, limits};
use lb_common::bucket::Bucket;
use lb_common::headers::{Family, Headers};
use lb_ebpf::atomic;

use crate::account;
use crate::verdict::Verdict;

#[map]
static PROTECTION: Array<ProtectionEntry> = Array::with_max_entries(limits::MAX_SERVICES, 0);

#[map]
static ACL: LpmTrie<[u8; 20], u32> = LpmTrie::with_max_entries(limits::MAX_ACL_PREFIXES, 0);

#[map]
static SOURCES: LruHashMap<SourceKey, Bucket> = LruHashMap::with_max_entries(limits::MAX_SOURCES, 0);

#[map]
static BUCKETS: Array<ServiceBuckets> = Array::with_max_entries(limits::MAX_SERVICES, 0);

/// The packet goes on.
pub(crate) const ADMITTED: u64 = 0;

/// Bits of what a packet does, in the word that goes to the subprogram.
const OPENS: u64 = 1;
const IS_V6: u64 = 2;

/// Whether a packet of a protected service goes on: [`ADMITTED`], or what [`crate::judged`] makes of the verdict.
#[inline(always)]
pub(crate) fn check(service: &ServiceEntry, headers: &Headers) -> u64 {
    let [high, low] = headers.source.0;
    let opens = if headers.opens_flow() { OPENS } else { 0 };
    let version = if headers.family == Family::V6 { IS_V6 } else { 0 };
    judge(service, high, low, opens | version)
}

#[inline(never)]
fn judge(service: &ServiceEntry, high: u64, low: u64, packet: u64) -> u64 {
    match admit(service, high, low, packet) {
        Ok(()) => ADMITTED,
        Err(reason) => {
            account::refused(service, reason);
            crate::judged(Verdict::drop(reason))
        }
    }
}

/// What costs least comes first, and what one client does before what all of them do.
#[inline(always)]
fn admit(service: &ServiceEntry, high: u64, low: u64, packet: u64) -> Result<(), Reason> {
    if service.flags & flags::QUARANTINED != 0 {
        return Err(Reason::Quarantined);
    }
    let Some(protection) = PROTECTION.get(service.id) else { return Err(Reason::NoBackend) };
    if service.flags & flags::ACL != 0 && is_denied(protection.acl, high, low) {
        return Err(Reason::AclDenied);
    }
    if service.flags & flags::LIMITED == 0 {
        return Ok(());
    }
    // SAFETY: the helper has no arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    if packet & OPENS != 0 && protection.source.interval_ns != 0 {
        let prefix = [high, if packet & IS_V6 != 0 { 0 } else { low }];
        take_of_source(prefix, service.id, &protection.source, now)?;
    }
    let Some(buckets) = BUCKETS.get_ptr_mut(service.id) else { return Err(Reason::NoBackend) };
    if packet & OPENS != 0 && protection.connections.interval_ns != 0 {
        // SAFETY: elements of an array stay; the bucket is taken from atomically.
        let bucket = unsafe { &raw mut (*buckets).connections };
        take(bucket, &protection.connections, now, Reason::ConnectionLimited)?;
    }
    if protection.packets.interval_ns != 0 {
        // SAFETY: as above.
        let bucket = unsafe { &raw mut (*buckets).packets };
        take(bucket, &protection.packets, now, Reason::PacketLimited)?;
    }
    Ok(())
}

#[inline(always)]
fn is_denied(number: u32, high: u64, low: u64) -> bool {
    let key = [u64::from(AclKey::ALL_BITS) | u64::from(number) << 32, high, low];
    // SAFETY: the words are the bytes of a key, which has no alignment.
    let key = unsafe { &*(&raw const key).cast::<Key<[u8; 20]>>() };
    ACL.get(key).is_some_and(|verdict| *verdict == acl::DENY)
}

/// A token of a source's bucket, which is made when there is none.
#[inline(always)]
fn take_of_source(prefix: [u64; 2], service: u32, rate: &Rate, now: u64) -> Result<(), Reason> {
    let words = [prefix[0], prefix[1], u64::from(service)];
    // SAFETY: the words are the bytes of a key.
    let key = unsafe { &*(&raw const words).cast::<SourceKey>() };
    if let Some(bucket) = SOURCES.get_ptr_mut(key) {
        return take(bucket, rate, now, Reason::SourceLimited);
    }
    // A table that has no room at the moment, or another CPU that was first: the source's next packet is counted.
    let _ = SOURCES.insert(key, &Bucket::taken_once(now, rate.interval_ns), 0);
    Ok(())
}

/// A token of a bucket that every CPU takes from.
#[inline(always)]
fn take(bucket: *mut Bucket, rate: &Rate, now: u64, reason: Reason) -> Result<(), Reason> {
    // SAFETY: every bucket here is in a map's value.
    if unsafe { atomic::take(bucket, rate, now) } { Ok(()) } else { Err(reason) }
}
