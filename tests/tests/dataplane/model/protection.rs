//! Quarantine, access lists and limits, as plainly as possible. No token comes back: the tests' intervals are days.

use lb_common::abi::protection::Rate;
use lb_common::abi::{Reason, ServiceEntry};

use super::{Model, Packet};

/// Service, which of its buckets, and of which source.
pub type Bucket = (u32, &'static str, [u8; 16]);

/// Why a packet of a service does not go on, and where that is counted.
pub(super) fn refusal(model: &mut Model, packet: &Packet<'_>, service: &ServiceEntry) -> Option<(usize, Reason)> {
    if service.flags & 0x100 != 0 {
        return Some((0, Reason::Quarantined));
    }
    let protection = model.protection.get(&service.id).copied().unwrap_or_default();
    if service.flags & 0x200 != 0 && verdict(model, protection.acl, &packet.source) == 2 {
        return Some((1, Reason::AclDenied));
    }
    if service.flags & 0x400 == 0 {
        return None;
    }
    let mut source = packet.source;
    if packet.v6 {
        source[8..].fill(0);
    }
    let opens = packet.opens();
    if opens && !take(model, (service.id, "source", source), protection.source) {
        return Some((2, Reason::SourceLimited));
    }
    if opens && !take(model, (service.id, "connections", [0; 16]), protection.connections) {
        return Some((3, Reason::ConnectionLimited));
    }
    (!take(model, (service.id, "packets", [0; 16]), protection.packets)).then_some((4, Reason::PacketLimited))
}

fn verdict(model: &Model, acl: u32, source: &[u8; 16]) -> u32 {
    let source = u128::from_be_bytes(*source);
    let matching = model.acl.iter().filter(|(key, _)| {
        let differs = u128::from_be_bytes(key.address) ^ source;
        key.acl == acl && differs.leading_zeros() >= key.prefix_len - 32
    });
    matching.max_by_key(|(key, _)| key.prefix_len).map_or(1, |(_, verdict)| *verdict)
}

fn take(model: &mut Model, bucket: Bucket, rate: Rate) -> bool {
    if rate.interval_ns == 0 {
        return true;
    }
    let taken = model.taken.entry(bucket).or_default();
    let is_there = *taken < rate.burst;
    *taken += u32::from(is_there);
    is_there
}
