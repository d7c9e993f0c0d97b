//! `/snowshed/v1/status`: how the edge stands.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use crate::api::change::run;
use crate::api::wire::{ServerStatus, ServiceStatus, StatusReport};
use crate::api::{ApiError, Context};
use crate::health::HealthView;
use crate::ledger::Snapshot;
use crate::model::{Actor, Backend, Frontend, Lb, Server};
use crate::plan::{ServerRef, Unresolved};
use crate::reconcile::Status;

pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<StatusReport>, ApiError> {
    run(&context, move |context| {
        let snapshot = context.ledger.snapshot();
        let status = context.status.borrow().clone();
        let health = Arc::clone(&context.health.borrow());
        let services = services(&snapshot, &status, &health, &actor);
        Ok(Json(StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            zone: context.zone.clone(),
            ledger_generation: snapshot.generation().0,
            mass_failure: health.mass_failure.clone(),
            services,
            reconcile: status,
        }))
    })
    .await
}

fn services(snapshot: &Snapshot, status: &Status, health: &HealthView, actor: &Actor) -> Vec<ServiceStatus> {
    let mut services = Vec::new();
    for lb in snapshot.lbs_in(actor.owner.project).filter(|lb| lb.times.is_live()) {
        let addresses: Vec<_> = snapshot.ips_of(lb.id).filter(|ip| ip.times.is_live()).map(|ip| ip.address).collect();
        for frontend in snapshot.frontends_of(lb.id).filter(|frontend| frontend.times.is_live()) {
            let Some(backend) = snapshot.backend(frontend.backend) else { continue };
            let servers = servers(backend, status, health);
            let service = |address| service(lb, frontend, backend, address, servers.clone());
            services.extend(addresses.iter().copied().map(service));
        }
    }
    services.sort_by_key(|service| (service.address, service.port, service.protocol));
    services
}

fn service(
    lb: &Lb,
    frontend: &Frontend,
    backend: &Backend,
    address: std::net::IpAddr,
    servers: Vec<ServerStatus>,
) -> ServiceStatus {
    ServiceStatus {
        lb: lb.id,
        lb_name: lb.name.to_string(),
        frontend: frontend.id,
        backend: backend.id,
        address,
        port: frontend.inbound_port.get(),
        protocol: backend.protocol,
        servers,
    }
}

fn servers(backend: &Backend, status: &Status, health: &HealthView) -> Vec<ServerStatus> {
    let unresolved = |server: &Server| status.unresolved.get(&server.address).copied();
    let usable = |server: &Server| health.is_usable(ServerRef { backend: backend.id, address: server.address });
    let takes_new = |server: &Server| usable(server) && !server.drain && unresolved(server).is_none();
    let total: u32 = backend.servers.iter().filter(|server| takes_new(server)).map(|server| server.weight.get()).sum();
    let one = |server: &Server| {
        let share = if takes_new(server) { f64::from(server.weight.get()) / f64::from(total) } else { 0.0 };
        server_status(backend, server, share, health, unresolved(server))
    };
    backend.servers.iter().map(one).collect()
}

fn server_status(
    backend: &Backend,
    server: &Server,
    share: f64,
    health: &HealthView,
    unresolved: Option<Unresolved>,
) -> ServerStatus {
    let known = health.servers.get(&ServerRef { backend: backend.id, address: server.address });
    ServerStatus {
        address: server.address,
        port: backend.forward_port.get(),
        weight: server.weight.get(),
        share,
        drain: server.drain,
        up: known.is_none_or(|health| health.up),
        usable: known.is_none_or(|health| health.usable),
        since: known.map(|health| health.since),
        last_probe: known.and_then(|health| health.last.as_ref()).map(ToString::to_string),
        unresolved,
    }
}
