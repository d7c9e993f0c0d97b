//! The server that a packet's QUIC connection id names, and which of its tuple's translated flows the packet is of.

use lb_common::abi::service::flags;
use lb_common::abi::{BackendEntry, ServiceEntry};
use lb_common::headers::Headers;
use lb_common::nat::flow::Standing;
use lb_common::quic::{self, Says};
use lb_common::steer::{self, Decision, Tables as _};

use super::{ConnectionId, Explanation, Maps};

/// The server that a packet names, if it serves.
pub(super) fn named(
    maps: &Maps<'_>,
    service: &ServiceEntry,
    frame: &[u8],
    headers: &Headers,
) -> Option<Decision<BackendEntry>> {
    if service.flags & flags::QUIC == 0 {
        return None;
    }
    match quic::read(frame, headers, service.id, service.flags) {
        Says::Server(words) => steer::named(maps, maps.quic_server(&words.key())?),
        Says::Nothing | Says::Stranger => None,
    }
}

/// Which of its tuple's flows a packet is of that names this server, as [`lb_common::abi::FlowKey::via`].
pub(super) fn via(maps: &Maps<'_>, headers: &Headers, server: u32) -> u32 {
    let server = server + 1;
    match followed(maps, headers, 0) {
        Some(own) if own == server => 0,
        _ if followed(maps, headers, server) == Some(server) => server,
        Some(_) => server,
        None => 0,
    }
}

/// One more than the index of the server that the flow by way of another goes to, if a packet would follow it.
fn followed(maps: &Maps<'_>, headers: &Headers, via: u32) -> Option<u32> {
    let (flow, now) = maps.nat_flow(headers, via)?;
    let backend = maps.backend(flow.backend)?;
    (Standing::of(headers, &flow, &backend, now) == Standing::Follows).then_some(flow.backend + 1)
}

impl Explanation {
    /// What the connection id says, where the service goes by it.
    pub(super) fn connection_id(
        &mut self,
        service: &ServiceEntry,
        given: Option<&ConnectionId>,
        frame: &[u8],
        headers: &Headers,
    ) {
        let goes_by_it = service.flags & flags::QUIC != 0;
        let what = match (given, goes_by_it) {
            (None, false) => return,
            (None, true) => {
                "packets that open a connection; give the connection id for those of an open one".to_owned()
            }
            (Some(id), false) => format!("the service does not go by connection ids: {id} counts for nothing"),
            (Some(id), true) => match quic::read(frame, headers, service.id, service.flags) {
                Says::Server(words) => {
                    let key = words.key();
                    let id: String = key.server.iter().take(key.len.into()).map(|byte| format!("{byte:02x}")).collect();
                    format!("the connection id is of configuration {}, server id {id}", key.config)
                }
                Says::Nothing | Says::Stranger => {
                    let config = service.flags >> flags::QUIC_CONFIG_SHIFT & flags::QUIC_CONFIG_MASK;
                    format!("{id} is no connection id of configuration {config}: the packet goes by its hash")
                }
            },
        };
        self.step("quic", what);
    }
}
