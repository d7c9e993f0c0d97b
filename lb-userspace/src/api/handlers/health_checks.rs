//! The health check of a backend: read from a request, and replaced.

use std::num::NonZeroU16;

use axum::Json;
use axum::extract::State;

use super::backends::change;
use super::{Id, Life, find_backend};
use crate::api::body::Body;
use crate::api::change::run;
use crate::api::etag::IfMatch;
use crate::api::idempotency::Caller;
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::model::{Backend, BackendId, HealthCheck, Invalid, Probe, address};

/// Replaces the health check of a backend: what is absent is the default, but `rise`, which Scaleway's tools do not know,
/// is kept.
#[utoipa::path(
    put, path = "/backends/{id}/healthcheck",
    request_body = wire::HealthCheckSpec,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::HealthCheck))
)]
pub(in crate::api) async fn update(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::HealthCheckSpec>,
) -> Result<Json<wire::HealthCheck>, ApiError> {
    run(&context, move |context| {
        let backend_id: BackendId = path.parse("backend_id")?;
        let before = find_backend(&context.ledger.snapshot(), &actor, backend_id, Life::Live)?;
        // Everything wrong by itself is told before the first try.
        read(request.clone(), &before)?;
        change(
            context,
            &actor,
            &if_match,
            backend_id,
            "backend.healthcheck",
            |before| {
                let health_check = read(request.clone(), before)?;
                Ok(Backend { health_check, ..before.clone() })
            },
            |backend| Json(backend.health_check),
        )
    })
    .await
}

fn read(request: wire::HealthCheckSpec, before: &Backend) -> Result<HealthCheck, ApiError> {
    let mut arguments = Arguments::default();
    let absent = HealthCheck { rise: before.health_check.rise, ..default(before.forward_port) };
    let health_check = parse(&mut arguments, "", request, &absent);
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
        transient_interval: None,
        send_proxy: false,
        probe: Probe::Tcp,
    }
}

/// A health check; what the request does not say is as in `absent`.
pub(super) fn parse(
    arguments: &mut Arguments,
    prefix: &str,
    request: wire::HealthCheckSpec,
    absent: &HealthCheck,
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
    let port = arguments.or(&name("port"), port, absent.port, address::parse_port);
    let interval =
        arguments.or(&name("check_delay"), check_delay, absent.interval, |delay| HealthCheck::parse_interval(delay.0));
    let known = interval.unwrap_or(absent.interval);
    let timeout = arguments.or(&name("check_timeout"), check_timeout, absent.timeout.min(known), |timeout| {
        HealthCheck::parse_timeout(timeout.0, known)
    });
    let fall = arguments.or(&name("check_max_retries"), check_max_retries, absent.fall, HealthCheck::parse_count);
    let rise = arguments.or(&name("rise"), rise, absent.rise, HealthCheck::parse_count);
    let transient = match transient_check_delay {
        None => Some(absent.transient_interval.map(|transient| transient.min(known))),
        Some(None) => Some(None),
        Some(Some(delay)) => {
            arguments.take(&name("transient_check_delay"), HealthCheck::parse_transient(delay.0, known)).map(Some)
        }
    };
    let send_proxy = check_send_proxy.unwrap_or(absent.send_proxy);
    let configs =
        Configs { tcp_config, http_config, https_config, mysql_config, pgsql_config, ldap_config, redis_config };
    let probe = configs.parse(arguments, prefix, &absent.probe);
    port.zip(interval).zip(timeout).zip(fall).zip(rise).zip(transient).zip(probe).map(
        |((((((port, interval), timeout), fall), rise), transient_interval), probe)| HealthCheck {
            port,
            interval,
            timeout,
            fall,
            rise,
            transient_interval,
            send_proxy,
            probe,
        },
    )
}

/// What a probe asks, as a request says it: one of these.
struct Configs {
    tcp_config: Option<wire::NoConfig>,
    http_config: Option<wire::HttpConfigSpec>,
    https_config: Option<wire::HttpsConfigSpec>,
    mysql_config: Option<wire::UserConfigSpec>,
    pgsql_config: Option<wire::UserConfigSpec>,
    ldap_config: Option<wire::NoConfig>,
    redis_config: Option<wire::NoConfig>,
}

impl Configs {
    fn parse(self, arguments: &mut Arguments, prefix: &str, before: &Probe) -> Option<Probe> {
        let given: Vec<&str> = [
            ("tcp_config", self.tcp_config.is_some()),
            ("http_config", self.http_config.is_some()),
            ("https_config", self.https_config.is_some()),
            ("mysql_config", self.mysql_config.is_some()),
            ("pgsql_config", self.pgsql_config.is_some()),
            ("ldap_config", self.ldap_config.is_some()),
            ("redis_config", self.redis_config.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
        let [name] = given[..] else {
            if let [first, second, ..] = given[..] {
                let both = Invalid::constraint(format!("give either `{first}` or `{second}`, not both"));
                arguments.wrong(&format!("{prefix}{second}"), &both);
                return None;
            }
            return Some(before.clone());
        };
        let inner = format!("{prefix}{name}.");
        let user = |arguments: &mut Arguments, config: wire::UserConfigSpec| {
            arguments.take(&format!("{inner}user"), Probe::parse_user(config.user.unwrap_or_default()))
        };
        if let Some(http) = self.http_config {
            return http_probe(arguments, &inner, http);
        }
        if let Some(wire::HttpsConfigSpec { uri, method, code, host_header, sni }) = self.https_config {
            let sni = arguments.or(&format!("{inner}sni"), sni, String::new(), Probe::parse_sni);
            let http = http_probe(arguments, &inner, wire::HttpConfigSpec { uri, method, code, host_header });
            return match http.zip(sni) {
                Some((Probe::Http { uri, method, code, host_header }, sni)) => {
                    Some(Probe::Https { uri, method, code, host_header, sni })
                }
                _ => None,
            };
        }
        if let Some(config) = self.mysql_config {
            return user(arguments, config).map(|user| Probe::Mysql { user });
        }
        if let Some(config) = self.pgsql_config {
            return user(arguments, config).map(|user| Probe::Pgsql { user });
        }
        let kind = (self.ldap_config.is_some(), self.redis_config.is_some());
        Some(match kind {
            (true, _) => Probe::Ldap,
            (false, true) => Probe::Redis,
            (false, false) => Probe::Tcp,
        })
    }
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
