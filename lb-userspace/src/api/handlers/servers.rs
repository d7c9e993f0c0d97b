//! Servers of a backend: add or change, set, remove.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::State;
use jiff::Timestamp;

use super::backends::change;
use super::{Id, Life, find_backend, now};
use crate::api::body::Body;
use crate::api::change::run;
use crate::api::etag::{IfMatch, Versioned};
use crate::api::idempotency::Caller;
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::model::{Backend, BackendId, Duty, Invalid, Server, Weight, address};

/// A server as a request names it; what is `None` is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    address: IpAddr,
    weight: Option<Weight>,
    backup: Option<bool>,
    drain: Option<bool>,
    /// `Some(None)` is without end.
    drain_timeout: Option<Option<Duration>>,
}

impl Wanted {
    /// The pool with these servers from now on: beside the others, or instead of them.
    pub(super) fn merge(
        current: &[Server],
        wanted: &[Self],
        keep_others: bool,
        now: Timestamp,
    ) -> Result<Vec<Server>, Invalid> {
        let others = current
            .iter()
            .filter(|server| keep_others && !wanted.iter().any(|wanted| wanted.address == server.address))
            .copied();
        let named = wanted.iter().map(|wanted| {
            let before = current.iter().find(|server| server.address == wanted.address);
            Ok(Server {
                address: wanted.address,
                weight: wanted.weight.or(before.map(|server| server.weight)).unwrap_or(Weight::ONE),
                backup: wanted.backup.or(before.map(|server| server.backup)).unwrap_or(false),
                duty: wanted.duty(before.map(|server| server.duty), now)?,
            })
        });
        let named: Vec<Server> = named.collect::<Result<_, Invalid>>()?;
        Server::sorted(named.into_iter().chain(others).collect())
    }

    /// What it does from now on. What it does already, it does since when it does.
    fn duty(&self, before: Option<Duty>, now: Timestamp) -> Result<Duty, Invalid> {
        let drains = self.drain.unwrap_or(matches!(before, Some(Duty::Drains { .. })));
        match (drains, before) {
            (false, _) if matches!(self.drain_timeout, Some(Some(_))) => Err(Invalid::constraint(format!(
                "{} does not drain: a `drain_timeout` needs `drain: true`",
                self.address
            ))),
            (false, Some(serves @ Duty::Serves { .. })) => Ok(serves),
            (false, _) => Ok(Duty::Serves { since: now }),
            (true, Some(Duty::Drains { since, at_most })) => {
                Ok(Duty::Drains { since, at_most: self.drain_timeout.unwrap_or(at_most) })
            }
            (true, _) => Ok(Duty::Drains { since: now, at_most: self.drain_timeout.flatten() }),
        }
    }
}

/// Adds servers to a backend, or changes those that are there.
#[utoipa::path(
    post, path = "/backends/{id}/servers",
    request_body = wire::Servers,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Backend))
)]
pub(in crate::api) async fn add(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::Servers>,
) -> Result<Versioned<wire::Backend>, ApiError> {
    with(context, actor, path, if_match, request, "server.add", |backend, wanted, now| {
        Wanted::merge(&backend.servers, wanted, true, now)
    })
    .await
}

/// Sets all servers of a backend.
#[utoipa::path(
    put, path = "/backends/{id}/servers",
    request_body = wire::Servers,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Backend))
)]
pub(in crate::api) async fn set(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::Servers>,
) -> Result<Versioned<wire::Backend>, ApiError> {
    with(context, actor, path, if_match, request, "server.set", |backend, wanted, now| {
        Wanted::merge(&backend.servers, wanted, false, now)
    })
    .await
}

/// Removes servers from a backend.
#[utoipa::path(
    delete, path = "/backends/{id}/servers",
    request_body = wire::Servers,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Backend))
)]
pub(in crate::api) async fn remove(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::Servers>,
) -> Result<Versioned<wire::Backend>, ApiError> {
    with(context, actor, path, if_match, request, "server.remove", |backend, wanted, _| {
        if wanted.is_empty() {
            return Err(Invalid::required("name the servers to remove: none is named"));
        }
        let is_in = |address| backend.servers.iter().any(|server| server.address == address);
        if let Some(missing) = wanted.iter().find(|wanted| !is_in(wanted.address)) {
            let help = format!("{} is no server of this backend: nothing was removed", missing.address);
            return Err(Invalid::constraint(help));
        }
        let stays = |server: &&Server| !wanted.iter().any(|wanted| wanted.address == server.address);
        Ok(backend.servers.iter().filter(stays).copied().collect())
    })
    .await
}

/// What the pool becomes of what a request names.
type Merge = fn(&Backend, &[Wanted], Timestamp) -> Result<Vec<Server>, Invalid>;

async fn with(
    context: Context,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    request: wire::Servers,
    verb: &'static str,
    servers: Merge,
) -> Result<Versioned<wire::Backend>, ApiError> {
    run(&context, move |context| {
        let backend_id: BackendId = path.parse("backend_id")?;
        find_backend(&context.ledger.snapshot(), &actor, backend_id, Life::Live)?;
        let argument = if request.servers.is_some() { "servers" } else { "server_ip" };
        let mut arguments = Arguments::default();
        let wanted = parse(&mut arguments, request.server_ip, request.servers);
        let wanted = arguments.build(wanted)?;
        let now = now(context);
        change(
            context,
            &actor,
            &if_match,
            backend_id,
            verb,
            |before| {
                let servers =
                    servers(before, &wanted, now).map_err(|invalid| ApiError::argument(argument, &invalid))?;
                Ok(Backend { servers, ..before.clone() })
            },
            Versioned,
        )
    })
    .await
}

/// The servers that a request names, in one of the two ways.
pub(super) fn parse(
    arguments: &mut Arguments,
    server_ip: Option<Vec<String>>,
    servers: Option<Vec<wire::ServerSpec>>,
) -> Option<Vec<Wanted>> {
    match (server_ip, servers) {
        (Some(addresses), None) => {
            let wanted = addresses.into_iter().enumerate().map(|(index, text)| {
                let address = arguments.take(&format!("server_ip[{index}]"), server(&text))?;
                Some(Wanted { address, weight: None, backup: None, drain: None, drain_timeout: None })
            });
            wanted.collect::<Vec<_>>().into_iter().collect()
        }
        (None, Some(specs)) => {
            let wanted = specs.into_iter().enumerate().map(|(index, spec)| one(arguments, index, spec));
            wanted.collect::<Vec<_>>().into_iter().collect()
        }
        (None, None) => {
            let help = "name the servers, as `server_ip: [\"10.0.0.5\"]` or `servers: [{\"address\": \"10.0.0.5\"}]`";
            arguments.wrong("server_ip", &Invalid::required(help));
            None
        }
        (Some(_), Some(_)) => {
            arguments.wrong("servers", &Invalid::constraint("give either `server_ip` or `servers`, not both"));
            None
        }
    }
}

fn one(arguments: &mut Arguments, index: usize, spec: wire::ServerSpec) -> Option<Wanted> {
    let wire::ServerSpec { address, weight, backup, drain, drain_timeout } = spec;
    // 0 is the word for none.
    let drain_timeout = drain_timeout.map(|timeout| Some(timeout.0).filter(|timeout| !timeout.is_zero()));
    let address = arguments.needed(
        &format!("servers[{index}].address"),
        address,
        "the IP address of the server",
        |text: String| server(&text),
    );
    let weight = arguments.or(&format!("servers[{index}].weight"), weight, None, |weight: i64| {
        Weight::try_from(u32::try_from(weight).unwrap_or(0)).map(Some).map_err(|_| {
            Invalid::constraint(format!(
                "weight {weight} is outside 1 to 65535; to stop new connections to a server, drain it"
            ))
        })
    });
    address.zip(weight).map(|(address, weight)| Wanted { address, weight, backup, drain, drain_timeout })
}

fn server(text: &str) -> Result<IpAddr, Invalid> {
    address::parse(text).and_then(address::check_server)
}
