//! What becomes of packets to a service that translates: by the flow's place, or by a new one.

use std::net::SocketAddr;

use lb_common::abi::nat::TICK_SHIFT;
use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, ConfigEntry, NatFlow, Reason, ServiceEntry, ip_of};
use lb_common::hash::FlowHash;
use lb_common::headers::{Family, Headers, number, tcp_flag};
use lb_common::nat::flow::{Standing, admit, is_live};
use lb_common::nat::lifetime::{self, Phase};
use lb_common::steer::{self, Tables as _};

use super::{BackendFacts, Explanation, Maps, NatFacts, Outcome, TTL, next_hop};

/// The flow of the tuple, its backend and the tick it is now.
struct Known {
    flow: NatFlow,
    backend: BackendEntry,
    now: u32,
}

/// Follows the program's part for translated flows.
pub(super) fn walk(
    maps: &Maps<'_>,
    config: &ConfigEntry,
    entry: &ServiceEntry,
    opening: &Headers,
    hash: FlowHash,
    explanation: &mut Explanation,
) {
    let known = known(maps, opening);
    explanation.nat = known.as_ref().map(facts);
    let what = match &explanation.nat {
        Some(NatFacts { source, server, phase, idle_seconds, valid }) => {
            let note = if *valid { "" } else { "; void: that server is down or gone" };
            format!("{phase} for {idle_seconds} s, through {source} to server {server}{note}")
        }
        None => "the client has no flow here".to_owned(),
    };
    explanation.step("flow", what);
    explanation.opening = outcome(maps, config, entry, opening, hash, known.as_ref(), explanation);
    explanation.describe("opening");
    if opening.protocol == number::TCP {
        let established = Headers { tcp_flags: tcp_flag::ACK, ..*opening };
        let established = outcome(maps, config, entry, &established, hash, known.as_ref(), explanation);
        if established.backend != explanation.opening.backend {
            explanation.established = Some(established);
            explanation.describe("established");
        }
    }
}

fn known(maps: &Maps<'_>, headers: &Headers) -> Option<Known> {
    let (flow, now) = maps.read(maps.dataplane.nat_flow(&headers.flow_key()))?;
    let backend = maps.backend(flow.backend)?;
    Some(Known { flow, backend, now })
}

fn facts(known: &Known) -> NatFacts {
    let Known { flow, backend, now } = known;
    let [source_port, server_port] = flow.ports.map(u16::from_be_bytes);
    NatFacts {
        source: SocketAddr::new(ip_of(flow.source), source_port),
        server: SocketAddr::new(ip_of(flow.server), server_port),
        phase: Phase::of(flow).label(),
        idle_seconds: (u64::from(lifetime::age(flow, *now)) << TICK_SHIFT) / 1_000_000_000,
        valid: is_live(flow, backend),
    }
}

fn outcome(
    maps: &Maps<'_>,
    config: &ConfigEntry,
    entry: &ServiceEntry,
    headers: &Headers,
    hash: FlowHash,
    known: Option<&Known>,
    explanation: &mut Explanation,
) -> Outcome {
    let standing = match known {
        Some(Known { flow, backend, now }) => Standing::of(headers, flow, backend, *now),
        None => Standing::without_flow(headers),
    };
    let refused = |reason| {
        if entry.flags & flags::EMPTY_REJECT != 0 {
            return Outcome::without_backend("reject", Reason::Rejected);
        }
        Outcome::without_backend("drop", reason)
    };
    let source_of = |headers: &Headers| match headers.family {
        Family::V4 => config.nat_v4,
        Family::V6 => config.nat_v6,
    };
    match (standing, known) {
        (Standing::Follows, Some(Known { flow, backend, .. })) => {
            let source = SocketAddr::new(ip_of(flow.source), u16::from_be_bytes(flow.ports[0]));
            sent(headers, flow.backend, backend, "the flow's server", &source.to_string())
        }
        (Standing::Unknown, _) => refused(Reason::NatUnknownFlow),
        _ => match steer::owner(maps, entry, hash) {
            Ok(decision) => {
                if explanation.slot.is_none() {
                    explanation.slot(decision.slot, decision.owner, entry);
                }
                let sources = source_of(headers).count;
                let source = format!("one of {sources} source addresses, any free port");
                let sent = sent(headers, decision.index, &decision.backend, decision.path.why(), &source);
                if sent.action == "forward" && sources == 0 {
                    let reason = Reason::NatNoSource;
                    return Outcome { action: "drop", reason: reason.label(), remedy: reason.remedy(), ..sent };
                }
                sent
            }
            Err(Reason::EmptyPool) => refused(Reason::EmptyPool),
            Err(reason) => Outcome::without_backend("drop", reason),
        },
    }
}

fn sent(headers: &Headers, index: u32, entry: &BackendEntry, chosen: &'static str, source: &str) -> Outcome {
    let (action, reason) = match admit(headers, TTL as u8, entry) {
        Ok(()) => ("forward", Reason::Transmitted),
        Err(reason) => ("drop", reason),
    };
    let server = SocketAddr::new(ip_of(entry.address), u16::from_be_bytes(entry.port));
    let backend = BackendFacts {
        index,
        address: server.ip(),
        port: server.port(),
        up: entry.state & lb_common::abi::backend::state::UP != 0,
        generation: entry.generation,
        next_hop: next_hop(entry),
        outer_source: None,
        rewritten: (action == "forward").then(|| format!("{source} → {server}")),
    };
    Outcome { action, reason: reason.label(), remedy: reason.remedy(), chosen: Some(chosen), backend: Some(backend) }
}
