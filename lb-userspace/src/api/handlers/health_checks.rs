//! The health check of a backend: read from a request, and replaced.

use std::num::NonZeroU16;

use axum::Json;
use axum::extract::State;

use super::backends::change;
use super::{Id, find_backend};
use crate::api::body::Body;
use crate::api::change::run;
use crate::api::etag::IfMatch;
use crate::api::idempotency::Caller;
use crate::api::parse::{Arguments, LAYER_7};
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::model::{Backend, BackendId, HealthCheck, Invalid, Probe, address};

pub(in crate::api) async fn update(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::HealthCheckSpec>,
) -> Result<Json<wire::HealthCheck>, ApiError> {
    run(&context, move |context| {
        let backend_id: BackendId = path.parse("backend_id")?;
        let before = find_backend(&context.ledger.snapshot(), &actor, backend_id)?;
        // Everything wrong by itself is told before the first try.
        read(request.clone(), &before.health_check)?;
        change(
            context,
            &actor,
            &if_match,
            backend_id,
            "backend.healthcheck",
            |before| {
                let health_check = read(request.clone(), &before.health_check)?;
                Ok(Backend { health_check, ..before.clone() })
            },
            |backend| Json(backend.health_check),
        )
    })
    .await
}

fn read(request: wire::HealthCheckSpec, before: &HealthCheck) -> Result<HealthCheck, ApiError> {
    let mut arguments = Arguments::default();
    let health_check = parse(&mut arguments, "", request, before);
    arguments.build(health_check)
}

/// The health check of a backend that is given none.
pub(super) const fn default(port: NonZeroU16) -> HealthCheck {
    HealthCheck {
        port,
        interval: HealthCheck::DEFAULT_INTERVAL,
        timeout: HealthCheck::DEFAULT_TIMEOUT,
        fall: HealthCheck::DEFAULT_FALL,
        rise: HealthCheck::DEFAULT_RISE,
        probe: Probe::Tcp,
    }
}

/// A health check; what the request does not say is as `before`.
pub(super) fn parse(
    arguments: &mut Arguments,
    prefix: &str,
    request: wire::HealthCheckSpec,
    before: &HealthCheck,
) -> Option<HealthCheck> {
    let wire::HealthCheckSpec {
        port,
        check_delay,
        check_timeout,
        check_max_retries,
        rise,
        check_send_proxy,
        transient_check_delay,
        tcp_config,
        http_config,
        https_config,
        mysql_config,
        pgsql_config,
        ldap_config,
        redis_config,
    } = request;
    let name = |field: &str| format!("{prefix}{field}");
    let port = arguments.or(&name("port"), port, before.port, address::parse_port);
    let interval =
        arguments.or(&name("check_delay"), check_delay, before.interval, |delay| HealthCheck::parse_interval(delay.0));
    let known = interval.unwrap_or(before.interval);
    let timeout = arguments.or(&name("check_timeout"), check_timeout, before.timeout.min(known), |timeout| {
        HealthCheck::parse_timeout(timeout.0, known)
    });
    let fall = arguments.or(&name("check_max_retries"), check_max_retries, before.fall, HealthCheck::parse_count);
    let rise = arguments.or(&name("rise"), rise, before.rise, HealthCheck::parse_count);
    arguments.off(&name("check_send_proxy"), check_send_proxy != Some(true), LAYER_7);
    arguments.off(
        &name("transient_check_delay"),
        transient_check_delay.is_none(),
        "`check_delay` holds in every state; leave it out",
    );
    for (field, config) in [
        ("https_config", https_config),
        ("mysql_config", mysql_config),
        ("pgsql_config", pgsql_config),
        ("ldap_config", ldap_config),
        ("redis_config", redis_config),
    ] {
        arguments.off(&name(field), config.is_none(), "`tcp_config` and `http_config` are");
    }
    let probe = match (tcp_config, http_config) {
        (Some(_), Some(_)) => {
            let both = Invalid::constraint("give either `tcp_config` or `http_config`, not both");
            arguments.wrong(&name("http_config"), &both);
            None
        }
        (Some(_), None) => Some(Probe::Tcp),
        (None, Some(http)) => http_probe(arguments, &name("http_config."), http),
        (None, None) => Some(before.probe.clone()),
    };
    port.zip(interval).zip(timeout).zip(fall).zip(rise).zip(probe).map(
        |(((((port, interval), timeout), fall), rise), probe)| HealthCheck {
            port,
            interval,
            timeout,
            fall,
            rise,
            probe,
        },
    )
}

fn http_probe(arguments: &mut Arguments, prefix: &str, request: wire::HttpConfigSpec) -> Option<Probe> {
    let wire::HttpConfigSpec { uri, method, code, host_header } = request;
    let uri = arguments.or(&format!("{prefix}uri"), uri, "/".to_owned(), Probe::parse_uri);
    let method = arguments.or(&format!("{prefix}method"), method, "GET".to_owned(), Probe::parse_method);
    let code = arguments.or(&format!("{prefix}code"), code, None, |code| Probe::parse_code(code).map(Some));
    let host = arguments.or(&format!("{prefix}host_header"), host_header, String::new(), Probe::parse_host);
    let parsed = uri.zip(method).zip(code).zip(host);
    parsed.map(|(((uri, method), code), host_header)| Probe::Http { uri, method, code, host_header })
}
