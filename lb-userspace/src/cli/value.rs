//! Values on the command line: parsed once, refused with what is allowed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use uuid::Uuid;

use crate::model::{ClosedPort, LbType, Name, PrefixV6, Protocol, Quic, Tags, Weight, ports_text};

/// Names a load balancer, frontend or backend: its id, or its name when only one has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The id.
    Id(Uuid),
    /// The name.
    Name(String),
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Uuid::try_parse(text) {
            Ok(id) if id.is_nil() => Err("the nil UUID names nothing: give an id or a name".into()),
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => name(text).map(Self::Name),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// An operation: its number, or its id.
///
/// # Errors
/// When it is neither.
pub fn operation(text: &str) -> Result<String, String> {
    let is_number = text.parse::<u64>().is_ok_and(|number| number > 0);
    if is_number || Uuid::try_parse(text).is_ok_and(|id| !id.is_nil()) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` names no operation: its number or its id is expected, as `snowshed ops list` shows them"))
}

/// A moment of the ledger: a time, or the number of an operation.
///
/// # Errors
/// When it is neither.
pub fn moment(text: &str) -> Result<String, String> {
    if text.parse::<u64>().is_ok() || text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is neither a time such as 2026-04-07T16:30:00Z nor the number of an operation"))
}

/// A scope: `KIND:ID`; what kinds there are the agent knows.
///
/// # Errors
/// When it is not of that form.
pub fn scope(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((kind, id)) if !kind.is_empty() && Uuid::try_parse(id).is_ok_and(|id| !id.is_nil()) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no scope: lb:ID, project:ID or organization:ID is expected")),
    }
}

/// Names a flexible IP: its id, or its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpReference {
    /// The id.
    Id(Uuid),
    /// The address.
    Address(IpAddr),
}

impl FromStr for IpReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (Uuid::try_parse(text), address(text)) {
            (Ok(id), _) if !id.is_nil() => Ok(Self::Id(id)),
            (_, Ok(address)) => Ok(Self::Address(address)),
            _ => Err(format!(
                "`{text}` names no IP: give its id (a UUID) or its address, for example 192.0.2.1 or 2001:db8::1"
            )),
        }
    }
}

impl fmt::Display for IpReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Names an operation: its number, or its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationReference {
    /// The number.
    Number(u64),
    /// The id.
    Id(Uuid),
}

impl FromStr for OperationReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text.parse(), Uuid::try_parse(text)) {
            (Ok(number), _) if number > 0 => Ok(Self::Number(number)),
            (_, Ok(id)) if !id.is_nil() => Ok(Self::Id(id)),
            _ => Err(format!("`{text}` names no operation: give its number, from 1 upwards, or its id (a UUID)")),
        }
    }
}

impl fmt::Display for OperationReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// A server as `--server` gives it: `ADDRESS[,weight=N][,backup][,drain[=TIMEOUT]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerArg {
    /// Its address.
    pub address: IpAddr,
    /// Its share.
    pub weight: Weight,
    /// It stands by.
    pub backup: bool,
    /// It gets no new connections.
    pub drain: bool,
    /// How long it drains before it is taken out; `None` is without end.
    pub drain_timeout: Option<Duration>,
}

impl ServerArg {
    /// A server of weight 1 that takes new flows.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        Self { address, weight: Weight::ONE, backup: false, drain: false, drain_timeout: None }
    }
}

impl FromStr for ServerArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let mut server = Self::of(address(parts.next().unwrap_or_default())?);
        for part in parts {
            match part.split_once('=') {
                Some(("weight", number)) => server.weight = weight(number)?,
                Some(("drain", time)) => {
                    server.drain = true;
                    server.drain_timeout = Some(duration(time)?);
                }
                None if part == "drain" => server.drain = true,
                None if part == "backup" => server.backup = true,
                _ => {
                    return Err(format!(
                        "`{part}` is not known of a server: ADDRESS[,weight=1..65535][,backup][,drain[=TIMEOUT]], for \
                         example 10.0.0.5,weight=3"
                    ));
                }
            }
        }
        Ok(server)
    }
}

/// A service as `explain` takes it: `ADDRESS:PORT[/tcp|/udp]`, TCP unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceArg {
    /// The VIP and the port.
    pub address: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
}

impl FromStr for ServiceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, word) = text.split_once('/').unwrap_or((text, "tcp"));
        Ok(Self { address: endpoint(address)?, protocol: protocol(word)? })
    }
}

/// An address with a port.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn endpoint(text: &str) -> Result<SocketAddr, String> {
    let parsed: SocketAddr = text.parse().map_err(|_| {
        format!("`{text}` is not ADDRESS:PORT: for example 192.0.2.1:80, or [2001:db8::1]:80 with IPv6")
    })?;
    port(&parsed.port().to_string()).map(|_| parsed)
}

/// An IP address.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.parse().map_err(|_| {
        format!("`{text}` is not an IP address: an IPv4 address such as 10.0.0.5, or an IPv6 address such as fd00::5")
    });
    match bare {
        Ok(address @ (IpAddr::V4(_) | IpAddr::V6(_))) if address.is_unspecified() || address.is_multicast() => {
            Err(format!("{address} is no address of a single machine"))
        }
        other => other,
    }
}

/// A port.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn port(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| format!("`{text}` is not a port: a number from 1 to 65535 is expected"))
}

/// What a frontend listens on: `80`, `8000-8999`, or `any` for 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The port, or the first of a range.
    pub first: NonZeroU16,
    /// The last of a range, above the first.
    pub last: Option<NonZeroU16>,
}

impl Ports {
    /// One port.
    #[must_use]
    pub const fn one(port: NonZeroU16) -> Self {
        Self { first: port, last: None }
    }

    /// `inbound_port` and `inbound_port_end`, as the API takes them: 0 says that there is no range.
    #[must_use]
    pub fn body(self) -> [(String, serde_json::Value); 2] {
        let last = self.last.map_or(0, NonZeroU16::get);
        [("inbound_port".to_owned(), self.first.get().into()), ("inbound_port_end".to_owned(), last.into())]
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ports_text(self.first.get(), self.last.map(NonZeroU16::get)))
    }
}

/// A port, a range of ports, or any.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn ports(text: &str) -> Result<Ports, String> {
    if text == "any" {
        return Ok(Ports { first: NonZeroU16::MIN, last: Some(NonZeroU16::MAX) });
    }
    let Some((first, last)) = text.split_once('-') else {
        let expected = "a number from 1 to 65535, a range such as 8000-8999, or `any` is expected";
        return port(text).map(Ports::one).map_err(|_| format!("`{text}` is not a port: {expected}"));
    };
    let (first, last) = (port(first)?, port(last)?);
    if last <= first {
        return Err(format!("`{text}` is not a range: its last port is above its first, as in 8000-8999"));
    }
    Ok(Ports { first, last: Some(last) })
}

/// A weight.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn weight(text: &str) -> Result<Weight, String> {
    let number: u32 =
        text.parse().map_err(|_| format!("`{text}` is not a weight: a whole number from 1 to 65535 is expected"))?;
    Weight::try_from(number).map_err(|invalid| invalid.to_string())
}

/// A protocol.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(format!("`{text}` is not a protocol: tcp or udp")),
    }
}

/// A network or address of clients.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn subnet(text: &str) -> Result<String, String> {
    crate::model::Acl::parse_subnet(text).map(|net| net.to_string()).map_err(|invalid| invalid.to_string())
}

/// A limit per second; 0 is none.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn rate(text: &str) -> Result<u32, String> {
    let number: i64 =
        text.parse().map_err(|_| format!("`{text}` is not a limit: a whole number per second, or 0 for none"))?;
    crate::model::RateLimits::parse(number).map_err(|invalid| invalid.to_string())
}

/// Free text.
///
/// # Errors
/// What is allowed, when the text is not.
pub fn description(text: &str) -> Result<String, String> {
    super::lb::description(text)
}

/// What a client sees of a port that nobody listens on.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn closed_port(text: &str) -> Result<ClosedPort, String> {
    text.parse().map_err(|invalid: crate::model::Invalid| invalid.to_string())
}

/// A duration of at least a millisecond.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime_serde::re::humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration: a number with its unit, for example 500ms, 30s, 5m or 1h"))?;
    if parsed < Duration::from_millis(1) || parsed.subsec_nanos() % 1_000_000 != 0 {
        return Err(format!("`{text}` is not a whole number of milliseconds, 1ms or more"));
    }
    Ok(parsed)
}

/// A length of time that may be none: 0.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn duration_or_zero(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { duration(text) }
}

/// The part of an IPv6 address that ties a client.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn prefix_v6(text: &str) -> Result<PrefixV6, String> {
    let bits: i64 = text.parse().map_err(|_| format!("`{text}` is not a prefix length: 1 to 128 is expected"))?;
    PrefixV6::try_from(bits).map_err(|invalid| invalid.help)
}

/// Bytes of a server id in QUIC connection ids; 0 is none.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn quic_server_id_length(text: &str) -> Result<u8, String> {
    let bytes: i64 = text.parse().map_err(|_| format!("`{text}` is not a number of bytes: 0 to 8 is expected"))?;
    Quic::parse_length(bytes).map_err(|invalid| invalid.help)
}

/// Number of a configuration of QUIC connection ids.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn quic_config_id(text: &str) -> Result<u8, String> {
    let number: i64 =
        text.parse().map_err(|_| format!("`{text}` is not a configuration's number: 0 to 6 is expected"))?;
    Quic::parse_config_id(number).map_err(|invalid| invalid.help)
}

/// A duration as the API takes it: milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An id of an event.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn event(text: &str) -> Result<String, String> {
    let parsed = text.parse::<crate::observe::events::Position>();
    parsed.map(|position| position.to_string()).map_err(|invalid| invalid.to_string())
}

/// A name.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn name(text: &str) -> Result<String, String> {
    Name::try_from(text.to_owned()).map(String::from).map_err(|invalid| invalid.to_string())
}

/// URI of a webhook.
///
/// # Errors
/// With what is expected.
pub fn webhook(text: &str) -> Result<String, String> {
    crate::delivery::parse_uri(text).map(|_| text.to_owned()).map_err(|invalid| invalid.help)
}

/// An e-mail address.
///
/// # Errors
/// With what is expected.
pub fn mailbox(text: &str) -> Result<String, String> {
    crate::delivery::parse_mailbox(text).map_err(|invalid| invalid.help)
}

/// A label.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn tag(text: &str) -> Result<String, String> {
    Tags::try_from(vec![text.to_owned()]).map(|_| text.to_owned()).map_err(|invalid| invalid.to_string())
}

/// A type of load balancer.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn lb_type(text: &str) -> Result<LbType, String> {
    text.parse().map_err(|invalid: crate::model::Invalid| invalid.to_string())
}

/// A zone's name.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn zone(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err(format!("`{text}` is not a zone: lower-case letters, digits and hyphens, for example fr-par-1"));
    }
    Ok(text.to_owned())
}

/// An id of a project.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn project(text: &str) -> Result<Uuid, String> {
    text.parse::<crate::model::ProjectId>().map(crate::model::ProjectId::as_uuid).map_err(|invalid| invalid.to_string())
}

/// A URL of an agent: `https://HOST:PORT`, or `http://` on this machine.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn agent_url(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "`{text}` is not a URL of the agent: https://HOST:PORT is expected, or http://127.0.0.1:PORT on this machine"
        )
    };
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str().filter(|_| is_bare && url.username().is_empty() && url.password().is_none());
    let host = host.ok_or_else(wrong)?;
    match (url.scheme(), url.port_or_known_default()) {
        ("https", Some(port)) => Ok(format!("https://{host}:{port}")),
        ("http", Some(port)) => {
            let address = if host == "localhost" { "127.0.0.1" } else { host };
            let endpoint: SocketAddr = format!("{address}:{port}").parse().map_err(|_| wrong())?;
            if !endpoint.ip().is_loopback() {
                return Err(format!("{}: only this machine's own agent is spoken to without TLS", wrong()));
            }
            Ok(format!("http://{endpoint}"))
        }
        _ => Err(wrong()),
    }
}
