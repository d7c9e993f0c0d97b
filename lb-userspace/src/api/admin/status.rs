//! `/snowshed/v1/status`: how the edge stands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use jiff::Timestamp;
use lb_common::abi::stats::REFUSALS;

use super::{freezes, holds, measures, plans, purges, quarantines};
use crate::api::change::run;
use crate::api::wire::measure::Containment;
use crate::api::wire::{ServerStatus, ServiceStatus, StatusReport};
use crate::api::{ApiError, Context};
use crate::authority::Sight;
use crate::delivery::Counts;
use crate::health::HealthView;
use crate::ledger::Snapshot;
use crate::model::{Actor, Backend, Frontend, Lb, Reach, Server, What};
use crate::observe::{Traffic, chain};
use crate::plan::{PlannedService, ServerRef, ServiceAddress, Tables};
use crate::reconcile::Status;
use crate::recovery::heal::Summary;

/// Shows how the edge stands.
#[utoipa::path(get, path = "/snowshed/v1/status", responses((status = 200, body = StatusReport)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<StatusReport>, ApiError> {
    run(&context, move |context| {
        let snapshot = context.ledger.snapshot();
        let status = context.status.borrow().clone();
        let health = Arc::clone(&context.health.borrow());
        let tables = Arc::clone(&context.tables.borrow());
        let (traffic, counters_error) = match (context.traffic)() {
            Ok(traffic) => (traffic, None),
            Err(error) => (Traffic::default(), Some(error)),
        };
        let now = (context.clock)();
        let edge = Edge { tables: &tables, status: &status, health: &health, traffic: &traffic, now };
        let services = services(&snapshot, &edge, &actor);
        Ok(Json(StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            zone: context.zone.clone(),
            ledger_generation: snapshot.generation().0,
            ledger_error: trouble(context, &actor),
            mass_failure: health.mass_failure.clone(),
            containment: containment(context, &snapshot, &actor),
            verdicts: traffic.verdicts.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            counters_error,
            heal: heal(context, &snapshot, &actor),
            deliveries: deliveries(context, &actor),
            reconcile: own(status, &snapshot, &services, &actor),
            services,
        }))
    })
    .await
}

/// The scoreboard's counts, of what the actor sees.
fn heal(context: &Context, snapshot: &Snapshot, actor: &Actor) -> Summary {
    let mut board = context.heal.board((context.clock)());
    if actor.reach != Reach::Fleet {
        let sight = Sight::new(snapshot, actor);
        board.load_balancers.retain(|instance| sight.lb(instance.lb_id).is_some());
        board.recount();
    }
    board.summary
}

/// That changes are refused is everybody's business; where the file is, the fleet's.
fn trouble(context: &Context, actor: &Actor) -> Option<String> {
    let trouble = context.ledger.trouble()?;
    Some(match actor.reach {
        Reach::Fleet => trouble,
        _ => "changes cannot be recorded, or soon not: the operator is told why. Packets keep flowing".to_owned(),
    })
}

fn containment(context: &Context, snapshot: &Snapshot, actor: &Actor) -> Containment {
    let in_force = |is_of_kind: fn(&What) -> bool| measures::in_force(context, snapshot, actor, is_of_kind);
    let freezes = in_force(|what| matches!(what, What::Freeze { .. }));
    let quarantines = in_force(|what| matches!(what, What::Quarantine { .. }));
    Containment {
        freezes: freezes.iter().filter_map(|freeze| freezes::shown(freeze)).collect(),
        quarantines: quarantines.iter().filter_map(|measure| quarantines::shown(snapshot, measure)).collect(),
        plans: plans::waiting(context, snapshot, actor),
        hold_releases: holds::releases(context, snapshot, actor),
        purges: purges::waiting(context, snapshot, actor),
        removal_budget_remaining: crate::ledger::zone_budget_remaining(snapshot, (context.clock)()) as u64,
    }
}

/// What of the reconciler's state the actor may see: of other tenants' addresses, nothing.
fn own(status: Status, snapshot: &Snapshot, services: &[ServiceStatus], actor: &Actor) -> Status {
    if actor.reach == Reach::Fleet {
        return status;
    }
    let addresses: BTreeSet<String> = services.iter().map(|service| address_of(service).to_string()).collect();
    let servers: BTreeSet<IpAddr> =
        services.iter().flat_map(|service| &service.servers).map(|server| server.address).collect();
    let mut status = status;
    status.empty_services.retain(|service| addresses.contains(service));
    // What is held is deleted, most of it: it is among no services.
    status.held.retain(|service| holds::shown_held(snapshot, actor, service).is_some());
    status.unresolved.retain(|server, _| servers.contains(server));
    // That there were any is everybody's business; whose entries they were is not.
    for repair in &mut status.repairs {
        "an entry was altered, and is as it should be again".clone_into(&mut repair.what);
    }
    (status.exceptions, status.marked_slots) = (0, 0);
    status.last_error = status.last_error.map(|_| "the edge has trouble that its operator sees".to_owned());
    status
}

fn address_of(service: &ServiceStatus) -> ServiceAddress {
    let ServiceStatus { address, port, port_end, protocol, .. } = *service;
    ServiceAddress { address, port, protocol, is_range: port_end.is_some() }
}

fn deliveries(context: &Context, actor: &Actor) -> Option<Counts> {
    if actor.reach != Reach::Fleet {
        return None;
    }
    context.delivery.outbox.counts().inspect_err(|error| log::error!("status: {}", chain(error))).ok()
}

/// What the edge does with the services.
struct Edge<'a> {
    tables: &'a Tables,
    status: &'a Status,
    health: &'a HealthView,
    traffic: &'a Traffic,
    now: Timestamp,
}

fn services(snapshot: &Snapshot, edge: &Edge<'_>, actor: &Actor) -> Vec<ServiceStatus> {
    let mut services = Vec::new();
    for lb in Sight::new(snapshot, actor).lbs().filter(|lb| lb.times.is_live()) {
        let addresses: Vec<_> = snapshot.ips_of(lb.id).filter(|ip| ip.times.is_live()).map(|ip| ip.address).collect();
        for frontend in snapshot.frontends_of(lb.id).filter(|frontend| frontend.times.is_live()) {
            let Some(backend) = snapshot.backend(frontend.backend) else { continue };
            services.extend(addresses.iter().map(|address| service(lb, frontend, backend, *address, edge)));
        }
    }
    services.sort_by_key(|service| (service.address, service.port, service.port_end, service.protocol));
    services
}

fn service(lb: &Lb, frontend: &Frontend, backend: &Backend, address: IpAddr, edge: &Edge<'_>) -> ServiceStatus {
    let port = frontend.inbound_port.get();
    let port_end = frontend.inbound_port_end.map(std::num::NonZeroU16::get);
    let service = ServiceAddress { address, port, protocol: backend.protocol, is_range: port_end.is_some() };
    let planned = edge.tables.services.get(&service);
    let stats = edge.traffic.services.get(&service).copied().unwrap_or_default();
    let refused = REFUSALS.iter().zip(stats.refused).filter(|(_, count)| *count > 0);
    let shares = planned.map(|planned| shares(planned)).unwrap_or_default();
    let one = |server: &Server| {
        let share = shares.get(&ServerRef { backend: backend.id, address: server.address });
        server_status(backend, server, share.copied().unwrap_or(0.0), edge)
    };
    ServiceStatus {
        lb: lb.id,
        lb_name: lb.name.to_string(),
        frontend: frontend.id,
        backend: backend.id,
        address,
        port,
        port_end,
        protocol: backend.protocol,
        forwarding: backend.forwarding,
        quarantined: planned.is_some_and(|planned| planned.quarantined),
        packets: stats.packets,
        bytes: stats.bytes,
        opened: stats.opened,
        refused: refused.map(|(reason, count)| (reason.label().to_owned(), count)).collect(),
        servers: backend.servers.iter().map(one).collect(),
    }
}

/// The part of a service's slots that each server has.
fn shares(planned: &PlannedService) -> BTreeMap<ServerRef, f64> {
    let mut slots = vec![0_u32; planned.servers.len()];
    for owner in planned.slots.iter() {
        if let Some(slots) = slots.get_mut(usize::from(*owner)) {
            *slots += 1;
        }
    }
    let total = planned.slots.len().max(1) as f64;
    planned.servers.iter().copied().zip(slots).map(|(server, slots)| (server, f64::from(slots) / total)).collect()
}

fn server_status(backend: &Backend, server: &Server, share: f64, edge: &Edge<'_>) -> ServerStatus {
    let reference = ServerRef { backend: backend.id, address: server.address };
    let stats = edge.traffic.servers.get(&reference).copied().unwrap_or_default();
    let known = edge.health.servers.get(&reference);
    let planned = edge.tables.servers.get(&reference);
    ServerStatus {
        address: server.address,
        port: backend.forward_port.get(),
        weight: server.weight.get(),
        share,
        backup: server.backup,
        drain: server.drains(),
        drain_deadline: server.deadline(),
        slow_start_until: planned.and_then(|planned| planned.slow_start_until(backend)).filter(|end| *end > edge.now),
        up: known.is_none_or(|health| health.up),
        usable: known.is_none_or(|health| health.usable),
        since: known.map(|health| health.since),
        last_probe: known.and_then(|health| health.last.as_ref()).map(ToString::to_string),
        unresolved: edge.status.unresolved.get(&server.address).copied(),
        packets: stats.packets,
        bytes: stats.bytes,
    }
}
