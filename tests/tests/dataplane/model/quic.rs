//! The model's connection ids: which server a QUIC packet names.

use lb_common::abi::{FlowKey, QuicKey, Reason, ServiceEntry};

use super::nat::is_live;
use super::{Model, Packet};

/// The server that a packet to a service names, if it serves. Counts what came of it.
pub(super) fn named(model: &mut Model, packet: &Packet<'_>, service: &ServiceEntry) -> Option<u32> {
    if service.flags & 64 == 0 {
        return None;
    }
    let key = match read(packet, service)? {
        Ok(key) => key,
        Err(reason) => {
            *model.verdicts.entry(reason).or_default() += 1;
            return None;
        }
    };
    let found = model.quic.get(&key).copied().filter(|entry| {
        let backend = model.backends.get(&entry.backend).filter(|backend| backend.identity != 0);
        backend.is_some_and(|backend| backend.state & 1 != 0 && backend.generation == entry.generation)
    });
    let reason = if found.is_some() { Reason::QuicRouted } else { Reason::QuicStranger };
    *model.verdicts.entry(reason).or_default() += 1;
    found.map(|entry| entry.backend)
}

/// `None` of a packet that says nothing of a server.
fn read(packet: &Packet<'_>, service: &ServiceEntry) -> Option<Result<QuicKey, Reason>> {
    let has_extensions = packet.v6 && packet.ip.len() - packet.transport.len() != 40;
    if packet.protocol != 17 || packet.fragment.is_some() || has_extensions {
        return None;
    }
    let (config, len) = ((service.flags >> 24 & 7) as u8, (service.flags >> 27 & 15) as u8);
    let data = packet.transport.get(8..).filter(|data| data.len() >= 10)?;
    let id = if data[0] & 0x80 == 0 {
        &data[1..]
    } else {
        let handshake = match data.get(1..15)?[..4] {
            [0, 0, 0, 1] => 2,
            [0x6b, 0x33, 0x43, 0xcf] => 3,
            _ => return None,
        };
        if data[0] >> 4 & 3 != handshake {
            return None;
        }
        if data[5] <= len {
            return Some(Err(Reason::QuicStranger));
        }
        &data[6..]
    };
    if id[0] >> 5 != config || !(1..=8).contains(&len) {
        return Some(Err(Reason::QuicStranger));
    }
    let mut server = [0; 8];
    server[..usize::from(len)].copy_from_slice(&id[1..=usize::from(len)]);
    Some(Ok(QuicKey { server, service: service.id.to_le_bytes(), len, config, pad: [0; 2] }))
}

/// The key of the translated flow that a packet belongs to: of its tuple's own, or of one beside it for another server.
pub(super) fn flow_key(model: &Model, packet: &Packet<'_>, named: Option<u32>) -> FlowKey {
    let own = packet.flow_key();
    let Some(named) = named else { return own };
    let [a, b, c, _] = (named + 1).to_le_bytes();
    let beside = FlowKey { via: [a, b, c], ..own };
    let goes_to = |key| model.translated.get(key).filter(|flow| is_live(model, flow)).map(|flow| flow.backend);
    match (goes_to(&own), goes_to(&beside)) {
        (Some(server), _) if server == named => own,
        (None, None) => own,
        _ => beside,
    }
}
