//! What a file asks for, checked as a whole before anything is sent: a value that exists makes sense in itself.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use super::acl::{self, RuleSpec};
use super::dependents::{self, DependentSpec};
use super::file::{BackendDocument, CheckDocument, FrontendDocument, HttpDocument, LbDocument, Text, position};
use crate::cli::health_check as flags;
use crate::cli::value::{self, Ports, ServerArg};
use crate::model::{
    Algorithm, Backend, ClosedPort, EmptyPool, Forwarding, HealthCheck, LbType, PrefixV6, Probe, Protocol, Proxied,
    StickySessions, Weight,
};

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LbSpec {
    /// Its name; there must be at most one load balancer of that name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Type.
    pub kind: LbType,
    /// Its addresses answer echo requests.
    pub answers_echo: bool,
    /// What a client sees of a port that nobody listens on.
    pub on_closed_port: ClosedPort,
    /// Its addresses; `None` when the file does not say: one IPv4 address when it is made, then whatever it has.
    pub ips: Option<Vec<IpWish>>,
    /// Name of the subscriber that is told of it; `None` keeps whoever is, unless what the file does not name is removed.
    pub subscriber: Option<String>,
    /// Its backends, in the order of the file.
    pub backends: Vec<BackendSpec>,
    /// Its frontends, in the order of the file.
    pub frontends: Vec<FrontendSpec>,
    /// What is registered as depending on it; `None` leaves the register alone.
    pub dependents: Option<Vec<DependentSpec>>,
}

/// An address that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpWish {
    /// Any IPv4 address of the agent's pools.
    AnyIpv4,
    /// Any IPv6 address of the agent's pools.
    AnyIpv6,
    /// This very address.
    Address(IpAddr),
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSpec {
    /// Its name, unique in its load balancer.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the servers.
    pub forward_port: NonZeroU16,
    /// How a server is picked.
    pub algorithm: Algorithm,
    /// What ties a client to a server.
    pub sticky_sessions: StickySessions,
    /// How much of an IPv6 client's address does.
    pub sticky_prefix_v6: PrefixV6,
    /// Bytes of the server ids in QUIC connection ids; 0 is none.
    pub quic_server_id_length: u8,
    /// Number of the configuration that those name.
    pub quic_config_id: u8,
    /// In which time the share of a server that is new or came back rises; zero is at once.
    pub slow_start: Duration,
    /// How packets travel to a server.
    pub forwarding: Forwarding,
    /// What a client sees when no server is usable.
    pub on_empty: EmptyPool,
    /// What is said of a proxy's connections; what is `None` keeps what there is.
    pub proxied: Proxied,
    /// The servers, in ascending order of address.
    pub servers: Vec<ServerArg>,
    /// How their health is checked.
    pub health_check: HealthCheck,
}

/// A frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendSpec {
    /// Its name, unique in its load balancer.
    pub name: String,
    /// Its port, or its range of ports.
    pub inbound_port: Ports,
    /// Name of its backend.
    pub backend: String,
    /// Idle time a client is allowed; `None` keeps what there is.
    pub timeout_client: Option<Duration>,
    /// Limits by the names of their fields; those that are absent keep what there is.
    pub limits: BTreeMap<&'static str, u32>,
    /// Its access rules in their order; `None` keeps what there is.
    pub acls: Option<Vec<RuleSpec>>,
}

/// Everything wrong with the files, each with its position.
#[derive(Debug, Default)]
pub(super) struct Problems {
    source: String,
    pub(super) list: Vec<String>,
}

impl Problems {
    pub(super) fn of(source: &str) -> Self {
        Self { source: source.to_owned(), list: Vec::new() }
    }

    pub(super) fn add(&mut self, at: &Text, what: impl Display) {
        self.list.push(format!("{}: {what}", position(&self.source, at)));
    }

    /// A value, parsed; what is wrong with it is noted, and `instead` stands in, so that the rest is checked too.
    pub(super) fn parse<T>(&mut self, text: &Text, parse: impl FnOnce(&str) -> Result<T, String>, instead: T) -> T {
        parse(&text.value).unwrap_or_else(|what| {
            self.add(text, what);
            instead
        })
    }

    fn maybe<T>(&mut self, text: Option<&Text>, parse: impl FnOnce(&str) -> Result<T, String>, default: T) -> T {
        match text {
            Some(text) => self.parse(text, parse, default),
            None => default,
        }
    }

    /// Notes every value that stands a second time.
    pub(super) fn unique<'t>(&mut self, what: &str, texts: impl Iterator<Item = &'t Text>) {
        let mut first: BTreeMap<&str, &Text> = BTreeMap::new();
        for text in texts {
            match first.get(text.value.as_str()) {
                Some(before) => self.add(
                    text,
                    format!("{what} `{}` stands twice, first in line {}", text.value, before.referenced.line()),
                ),
                None => drop(first.insert(&text.value, text)),
            }
        }
    }
}

/// A checked load balancer; what is wrong is added to `problems`.
pub(super) fn lb(document: &LbDocument, problems: &mut Problems) -> LbSpec {
    problems.unique("backend", document.backends.iter().map(|backend| &backend.name));
    problems.unique("frontend", document.frontends.iter().map(|frontend| &frontend.name));
    let backends: Vec<BackendSpec> = document.backends.iter().map(|backend| self::backend(backend, problems)).collect();
    let frontends =
        document.frontends.iter().map(|frontend| self::frontend(frontend, &backends, problems)).collect::<Vec<_>>();
    one_service_per_port(document, &frontends, &backends, problems);
    LbSpec {
        name: problems.parse(&document.name, value::name, String::new()),
        description: problems.maybe(document.description.as_ref(), crate::cli::lb::description, String::new()),
        tags: document.tags.iter().map(|tag| problems.parse(tag, value::tag, String::new())).collect(),
        kind: problems.maybe(document.kind.as_ref(), value::lb_type, LbType::S),
        answers_echo: document.answers_echo,
        on_closed_port: problems.maybe(document.on_closed_port.as_ref(), value::closed_port, ClosedPort::default()),
        ips: document.ips.as_deref().map(|ips| self::ips(ips, problems)),
        subscriber: document.subscriber.as_ref().map(|name| problems.parse(name, value::name, String::new())),
        backends,
        frontends,
        dependents: document.dependents.as_deref().map(|all| dependents::dependents(all, problems)),
    }
}

fn ips(texts: &[Text], problems: &mut Problems) -> Vec<IpWish> {
    let mut wishes: Vec<IpWish> = Vec::new();
    for text in texts {
        let wish = match text.value.as_str() {
            "ipv4" => Ok(IpWish::AnyIpv4),
            "ipv6" => Ok(IpWish::AnyIpv6),
            other => value::address(other).map(IpWish::Address),
        };
        match wish {
            Err(_) => problems.add(
                text,
                format!("`{}` is not known here: ipv4 or ipv6 for any address of the pool, or an address", text.value),
            ),
            Ok(wish) if wishes.iter().any(|other| other.is_ipv6() == wish.is_ipv6()) => {
                problems.add(text, "a load balancer has at most one IPv4 and one IPv6 address");
            }
            Ok(wish) => wishes.push(wish),
        }
    }
    if texts.is_empty() {
        // An absent list means "whatever it has"; an empty one could only mean "take every address away".
        problems
            .list
            .push(format!("{}: `ips` is empty: leave it out, or name ipv4, ipv6 or an address", problems.source));
    }
    wishes
}

impl IpWish {
    /// Whether an IPv6 address is asked for.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        matches!(self, Self::AnyIpv6 | Self::Address(IpAddr::V6(_)))
    }
}

impl Display for IpWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AnyIpv4 => f.write_str("any IPv4 address"),
            Self::AnyIpv6 => f.write_str("any IPv6 address"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

fn backend(document: &BackendDocument, problems: &mut Problems) -> BackendSpec {
    problems.unique("server", document.servers.iter().map(|server| &server.address));
    let forward_port = problems.parse(&document.forward_port, value::port, NonZeroU16::MIN);
    let mut servers: Vec<ServerArg> = document
        .servers
        .iter()
        .map(|server| ServerArg {
            address: problems.parse(&server.address, value::address, IpAddr::from([0, 0, 0, 0])),
            weight: problems.maybe(server.weight.as_ref(), value::weight, Weight::ONE),
            backup: server.backup,
            drain: server.drain,
            drain_timeout: server.drain_timeout.as_ref().map(|text| {
                if !server.drain {
                    problems.add(text, "`drain_timeout` counts for a server with `drain: true`");
                }
                problems.parse(text, value::duration, Duration::ZERO)
            }),
        })
        .collect();
    servers.sort_by_key(|server| server.address);
    let mut time = |text: Option<&Text>| text.map(|text| problems.parse(text, value::duration, Duration::ZERO));
    let timeout_server = time(document.timeout_server.as_ref());
    let timeout_connect = time(document.timeout_connect.as_ref());
    let timeout_tunnel = time(document.timeout_tunnel.as_ref());
    let max_retries = document.max_retries.as_ref();
    let max_retries = max_retries
        .map(|text| problems.parse(text, |text| text.parse::<u32>().map_err(|_| format!("`{text}` is no number")), 0));
    let sticky_sessions = problems.maybe(
        document.sticky_sessions.as_ref(),
        |text| one_of(text, &[("none", StickySessions::None), ("table", StickySessions::Table)]),
        StickySessions::None,
    );
    let quic_server_id_length =
        problems.maybe(document.quic_server_id_length.as_ref(), value::quic_server_id_length, 0);
    BackendSpec {
        name: problems.parse(&document.name, value::name, String::new()),
        protocol: problems.maybe(document.protocol.as_ref(), value::protocol, Protocol::Tcp),
        forward_port,
        algorithm: problems.maybe(
            document.algorithm.as_ref(),
            |text| one_of(text, &Algorithm::WORDS),
            Algorithm::default(),
        ),
        sticky_sessions,
        sticky_prefix_v6: problems.maybe(
            document.sticky_prefix_v6.as_ref(),
            |text| match sticky_sessions {
                StickySessions::Table => value::prefix_v6(text),
                StickySessions::None => Err("`sticky_prefix_v6` counts with `sticky_sessions: table`".to_owned()),
            },
            PrefixV6::WHOLE,
        ),
        quic_server_id_length,
        quic_config_id: problems.maybe(
            document.quic_config_id.as_ref(),
            |text| match quic_server_id_length {
                0 => Err("`quic_config_id` counts with `quic_server_id_length`".to_owned()),
                _ => value::quic_config_id(text),
            },
            0,
        ),
        slow_start: problems.maybe(document.slow_start.as_ref(), slow_start, Duration::ZERO),
        forwarding: problems.maybe(
            document.forwarding.as_ref(),
            |text| one_of(text, &Forwarding::WORDS),
            Forwarding::default(),
        ),
        on_empty: problems.maybe(
            document.on_empty.as_ref(),
            |text| one_of(text, &[("reject", EmptyPool::Reject), ("drop", EmptyPool::Drop)]),
            EmptyPool::Reject,
        ),
        proxied: Proxied { timeout_server, timeout_connect, timeout_tunnel, max_retries },
        servers,
        health_check: health_check(&document.health_check, forward_port, problems),
    }
}

fn slow_start(text: &str) -> Result<Duration, String> {
    let time = value::duration_or_zero(text)?;
    Backend::parse_slow_start(time).map(Option::unwrap_or_default).map_err(|invalid| invalid.help)
}

pub(super) fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        format!("`{text}` is not known here: {}", words.join(" or "))
    })
}

/// The agent's defaults stand in for what the file leaves out, so that taking a line out of the file undoes it.
fn health_check(document: &CheckDocument, forward_port: NonZeroU16, problems: &mut Problems) -> HealthCheck {
    let interval = problems.maybe(document.interval.as_ref(), interval, DEFAULT_INTERVAL);
    let timeout = problems.maybe(document.timeout.as_ref(), value::duration, interval.min(DEFAULT_INTERVAL));
    if let Some(text) = document.timeout.as_ref().filter(|_| timeout > interval) {
        problems.add(text, format!("the timeout is longer than the interval, {interval:?}"));
    }
    HealthCheck {
        port: problems.maybe(document.port.as_ref(), value::port, forward_port),
        interval,
        timeout,
        fall: problems.maybe(document.fall.as_ref(), count, DEFAULT_FALL),
        rise: problems.maybe(document.rise.as_ref(), count, DEFAULT_RISE),
        transient_interval: document.transient_interval.as_ref().map(|text| {
            let transient = problems.parse(text, value::duration, interval);
            if let Err(invalid) = HealthCheck::parse_transient(transient, interval) {
                problems.add(text, invalid.help);
            }
            transient
        }),
        send_proxy: document.send_proxy,
        probe: probe(document, problems),
    }
}

/// What a probe asks: one thing.
fn probe(document: &CheckDocument, problems: &mut Problems) -> Probe {
    let CheckDocument { http, https, mysql, pgsql, ldap, redis, .. } = document;
    let mut probes: Vec<(&str, Probe)> = Vec::new();
    probes.extend(http.as_ref().map(|http| ("http", http_probe(http, problems))));
    probes.extend(https.as_ref().map(|https| ("https", https_probe(https, problems))));
    let user = |document: &super::file::UserDocument, problems: &mut Problems| {
        problems.parse(&document.user, flags::user, String::new())
    };
    probes.extend(mysql.as_ref().map(|mysql| ("mysql", Probe::Mysql { user: user(mysql, problems) })));
    probes.extend(pgsql.as_ref().map(|pgsql| ("pgsql", Probe::Pgsql { user: user(pgsql, problems) })));
    probes.extend(ldap.as_ref().map(|_| ("ldap", Probe::Ldap)));
    probes.extend(redis.as_ref().map(|_| ("redis", Probe::Redis)));
    if let [(first, _), (second, _), ..] = probes.as_slice() {
        problems.list.push(format!("a health check asks one thing: give either `{first}` or `{second}`, not both"));
    }
    probes.into_iter().next().map_or(Probe::Tcp, |(_, probe)| probe)
}

fn https_probe(document: &HttpDocument, problems: &mut Problems) -> Probe {
    let sni = problems.maybe(document.sni.as_ref(), flags::sni, String::new());
    match http_probe(&HttpDocument { sni: None, ..document.clone() }, problems) {
        Probe::Http { uri, method, code, host_header } => Probe::Https { uri, method, code, host_header, sni },
        other => other,
    }
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_FALL: NonZeroU8 = NonZeroU8::MIN.saturating_add(2);
const DEFAULT_RISE: NonZeroU8 = NonZeroU8::MIN.saturating_add(1);

fn http_probe(http: &HttpDocument, problems: &mut Problems) -> Probe {
    if let Some(sni) = &http.sni {
        problems.add(sni, "`sni` belongs to `https`".to_owned());
    }
    Probe::Http {
        uri: problems.maybe(http.uri.as_ref(), flags::uri, "/".to_owned()),
        method: problems.maybe(http.method.as_ref(), flags::method, "GET".to_owned()),
        code: problems.maybe(http.code.as_ref(), |text| code(text).map(Some), None),
        host_header: problems.maybe(http.host_header.as_ref(), flags::host, String::new()),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = value::duration(text)?;
    if (HealthCheck::MIN_INTERVAL..=HealthCheck::MAX_INTERVAL).contains(&interval) {
        Ok(interval)
    } else {
        Err(format!("`{text}` is outside 50ms to 1h"))
    }
}

fn count(text: &str) -> Result<NonZeroU8, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of probes: 1 to 255 is expected"))
}

fn code(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|code| (100..=599).contains(code))
        .ok_or_else(|| format!("`{text}` is not an HTTP status: 100 to 599 is expected"))
}

fn frontend(document: &FrontendDocument, backends: &[BackendSpec], problems: &mut Problems) -> FrontendSpec {
    let inbound_port = problems.parse(&document.inbound_port, value::ports, Ports::one(NonZeroU16::MIN));
    match backends.iter().find(|backend| backend.name == document.backend.value) {
        None => problems
            .add(&document.backend, format!("there is no backend `{}` in this load balancer", document.backend.value)),
        Some(backend)
            if inbound_port.last.is_none()
                && !backend.forwarding.translates_ports()
                && backend.forward_port != inbound_port.first =>
        {
            problems.add(
                &document.inbound_port,
                format!(
                    "`{}` does not translate ports: backend `{}` has forward_port {}, so inbound_port is {} too",
                    backend.forwarding.as_str(),
                    backend.name,
                    backend.forward_port,
                    backend.forward_port
                ),
            );
        }
        Some(_) => {}
    }
    FrontendSpec {
        name: problems.parse(&document.name, value::name, String::new()),
        inbound_port,
        backend: document.backend.value.clone(),
        timeout_client: document
            .timeout_client
            .as_ref()
            .map(|text| problems.parse(text, value::duration, Duration::ZERO)),
        limits: limits(document, problems),
        acls: document.acls.as_ref().map(|rules| acl::rules(rules, problems)),
    }
}

fn limits(document: &FrontendDocument, problems: &mut Problems) -> BTreeMap<&'static str, u32> {
    let named = [
        ("connection_rate_limit", &document.connection_rate_limit),
        ("service_connection_rate_limit", &document.service_connection_rate_limit),
        ("packet_rate_limit", &document.packet_rate_limit),
    ];
    let given = named.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
    given.map(|(name, text)| (name, problems.parse(text, value::rate, 0))).collect()
}

fn one_service_per_port(
    document: &LbDocument,
    frontends: &[FrontendSpec],
    backends: &[BackendSpec],
    problems: &mut Problems,
) {
    let mut taken: Vec<(&str, Ports, Protocol)> = Vec::new();
    for (frontend, document) in frontends.iter().zip(&document.frontends) {
        let Some(backend) = backends.iter().find(|backend| backend.name == frontend.backend) else { continue };
        let (ports, protocol) = (frontend.inbound_port, backend.protocol);
        let end = |ports: Ports| ports.last.unwrap_or(ports.first);
        let clashes = |(_, other, spoken): &&(&str, Ports, Protocol)| {
            (other.last.is_some(), *spoken) == (ports.last.is_some(), protocol)
                && other.first <= end(ports)
                && ports.first <= end(*other)
        };
        if let Some((name, other, _)) = taken.iter().find(clashes) {
            let protocol = protocol.as_str();
            problems.add(&document.inbound_port, format!("frontend `{name}` listens on {other}/{protocol} already"));
        }
        taken.push((&frontend.name, ports, protocol));
    }
}
