//! Counters: per CPU, so that they are plain additions.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use lb_common::abi::stats::REFUSALS;
use lb_common::abi::{BackendStats, Reason, ServiceEntry, ServiceStats, limits};
use lb_common::headers::Headers;

#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(limits::MAX_REASONS, 0);

#[map]
static SERVICE_STATS: PerCpuArray<ServiceStats> = PerCpuArray::with_max_entries(limits::MAX_SERVICES, 0);

#[map]
static BACKEND_STATS: PerCpuArray<BackendStats> = PerCpuArray::with_max_entries(limits::MAX_BACKENDS, 0);

/// Counts an exit by its reason's number.
#[inline(always)]
pub(crate) fn verdict(reason: u32) {
    if let Some(counter) = VERDICTS.get_ptr_mut(reason) {
        // SAFETY: this CPU's own element; XDP programs on one CPU do not interrupt each other.
        unsafe { *counter += 1 }
    }
}

/// Counts a packet of a service.
#[inline(always)]
pub(crate) fn service(service: &ServiceEntry, headers: &Headers, bytes: u64) {
    if let Some(stats) = SERVICE_STATS.get_ptr_mut(service.id) {
        // SAFETY: as in `verdict`.
        let stats = unsafe { &mut *stats };
        stats.packets += 1;
        stats.bytes += bytes;
        if headers.opens_flow() {
            stats.opened += 1;
        }
    }
}

/// Counts a packet that a service's protection refused.
#[inline(always)]
pub(crate) fn refused(service: &ServiceEntry, reason: Reason) {
    let Some(position) = REFUSALS.iter().position(|refusal| *refusal == reason) else { return };
    if let Some(stats) = SERVICE_STATS.get_ptr_mut(service.id) {
        // SAFETY: as in `verdict`.
        let stats = unsafe { &mut *stats };
        if let Some(count) = stats.refused.get_mut(position) {
            *count += 1;
        }
    }
}

/// Counts a packet sent to a backend.
#[inline(always)]
pub(crate) fn backend(index: u32, bytes: u64) {
    if let Some(stats) = BACKEND_STATS.get_ptr_mut(index) {
        // SAFETY: as in `verdict`.
        let stats = unsafe { &mut *stats };
        stats.packets += 1;
        stats.bytes += bytes;
    }
}
