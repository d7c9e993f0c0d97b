//! How one value is read from TOML, what is allowed, and how it is shown.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use toml::Spanned;
use toml::de::DeValue;

use super::HashKey;
use super::read::{Section, Source, read_table, with_article};

type Read<T> = Box<dyn for<'i> Fn(&mut Source<'i>, &str, Spanned<DeValue<'i>>) -> Option<T>>;
type Show<T> = Box<dyn Fn(&T) -> Option<String>>;

/// How a value is read and shown.
pub(super) struct Rule<T> {
    /// Reads it; a fault is reported to the source.
    pub(super) read: Read<T>,
    /// The value as TOML; `None` when it stands for "not given".
    pub(super) show: Show<T>,
    /// A value as it might be, as TOML.
    pub(super) example: &'static str,
}

impl<T: 'static> Rule<T> {
    fn new(
        read: impl Fn(&DeValue<'_>) -> Result<T, String> + 'static,
        show: impl Fn(&T) -> Option<String> + 'static,
    ) -> Self {
        let read = move |source: &mut Source<'_>, key: &str, value: Spanned<DeValue<'_>>| {
            let start = value.span().start;
            read(value.get_ref()).map_err(|what| source.report(start, key.to_owned(), what)).ok()
        };
        Self { read: Box::new(read), show: Box::new(show), example: "" }
    }

    /// The same rule with an example for the printed file.
    pub(super) const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }
}

/// A whole number within a range.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> Rule<T>
where
    T: Copy + PartialOrd + Display + FromStr + 'static,
{
    let allowed = format!("a whole number from {} to {} is allowed", range.start(), range.end());
    Rule::new(
        move |value| match value {
            DeValue::Integer(number) => {
                let parsed = if number.radix() == 10 { number.as_str().parse().ok() } else { None };
                parsed.filter(|number| range.contains(number)).ok_or_else(|| format!("{number}: {allowed}"))
            }
            other => Err(format!("{}: {allowed}", with_article(other))),
        },
        |number| Some(number.to_string()),
    )
}

/// A share: a number above 0 and at most 1.
pub(super) fn share() -> Rule<f64> {
    const ALLOWED: &str = "a share above 0 and at most 1 is allowed, for example 0.5";
    Rule::new(
        |value| {
            let number: Option<f64> = match value {
                DeValue::Integer(number) => number.as_str().parse().ok(),
                DeValue::Float(number) => number.as_str().parse().ok(),
                other => return Err(format!("{}: {ALLOWED}", with_article(other))),
            };
            number.filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| ALLOWED.to_owned())
        },
        |share| Some(format!("{share:?}")),
    )
}

/// A duration such as `"500ms"`, `"5s"`, `"1h 30m"`, within a range.
pub(super) fn duration(range: RangeInclusive<Duration>) -> Rule<Duration> {
    let show = |duration: &Duration| format!("\"{}\"", jiff_friendly(*duration));
    let allowed = format!("a duration from {} to {} is allowed", show(range.start()), show(range.end()));
    parsed(
        move |text| {
            let parsed = jiff::SignedDuration::from_str(text).ok().and_then(|signed| Duration::try_from(signed).ok());
            parsed.filter(|duration| range.contains(duration)).ok_or_else(|| format!("`{text}`: {allowed}"))
        },
        "a duration such as \"5s\"",
        move |duration| jiff_friendly(*duration),
    )
}

/// A text that a function accepts.
pub(super) fn text(accept: fn(&str) -> Result<(), String>) -> Rule<String> {
    parsed(move |text| accept(text).map(|()| text.to_owned()), "a text", Clone::clone)
}

/// An absolute path.
pub(super) fn path() -> Rule<PathBuf> {
    parsed(
        |text| match PathBuf::from(text) {
            path if path.is_absolute() => Ok(path),
            _ => Err(format!("`{text}`: an absolute path is needed, for example /run/snowshed/snowshed.sock")),
        },
        "an absolute path",
        |path| path.display().to_string(),
    )
}

/// One word of a list.
pub(super) fn one_of<T: Copy + PartialEq + 'static>(words: &'static [(&'static str, T)]) -> Rule<T> {
    parsed(
        |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("`{text}`: allowed are {}", allowed.join(", "))
            })
        },
        "a word",
        |value| words.iter().find(|(_, of)| of == value).map_or_else(String::new, |(word, _)| (*word).to_owned()),
    )
}

/// An address and a port to listen on.
pub(super) fn listen() -> Rule<SocketAddr> {
    parsed(
        |text| match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(address),
            Ok(_) => Err(format!("`{text}`: a port from 1 to 65535 is needed, for example 7480")),
            Err(_) => Err(format!("`{text}` is no address and port; for example 127.0.0.1:7480 or [::1]:7480")),
        },
        "an address and port",
        SocketAddr::to_string,
    )
}

/// A network, or a single address, of IPv4.
pub(super) fn pool_v4() -> Rule<Ipv4Net> {
    parsed(
        |text| match pool(text)? {
            IpNet::V4(net) => Ok(net),
            IpNet::V6(_) => Err(format!("`{text}` is IPv6: it belongs in the key of the same name with v6")),
        },
        "a network or an address",
        Ipv4Net::to_string,
    )
}

/// A network, or a single address, of IPv6.
pub(super) fn pool_v6() -> Rule<Ipv6Net> {
    parsed(
        |text| match pool(text)? {
            IpNet::V6(net) => Ok(net),
            IpNet::V4(_) => Err(format!("`{text}` is IPv4: it belongs in the key of the same name with v4")),
        },
        "a network or an address",
        Ipv6Net::to_string,
    )
}

/// Any network, or a single address.
pub(super) fn any_network() -> Rule<IpNet> {
    parsed(
        |text| match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(net), _) if net == net.trunc() => Ok(net),
            (Ok(net), _) => {
                Err(format!("`{text}` has bits set behind its prefix length; the network is {}", net.trunc()))
            }
            (_, Ok(address)) => Ok(IpNet::from(address)),
            _ => Err(format!("`{text}` is no network and no address; for example 10.20.0.0/16 or ::1")),
        },
        "a network or an address",
        IpNet::to_string,
    )
}

/// A network with a fixed prefix length.
pub(super) fn network<N>(prefix: u8, of: fn(IpNet) -> Option<N>, example: &'static str) -> Rule<N>
where
    N: Copy + Into<IpNet> + 'static,
{
    parsed(
        move |text| {
            let refuse = || format!("`{text}`: a network with prefix length {prefix} is needed, for example {example}");
            let net: IpNet = text.parse().map_err(|_| refuse())?;
            if net.prefix_len() != prefix || net != net.trunc() {
                return Err(refuse());
            }
            of(net).ok_or_else(refuse)
        },
        "a network",
        |net| (*net).into().to_string(),
    )
}

/// An id of the model.
pub(super) fn id<T: FromStr<Err = crate::model::Invalid> + Display + 'static>() -> Rule<Option<T>> {
    optional(parsed(|text| text.parse().map_err(|invalid: crate::model::Invalid| invalid.help), "an id", T::to_string))
        .example("\"11111111-1111-4111-8111-111111111111\"")
}

/// Bytes in hexadecimal.
pub(super) fn hex<const N: usize>() -> Rule<[u8; N]> {
    parsed(
        |text| parse_hex(text).ok_or_else(|| format!("{} hexadecimal digits are needed", 2 * N)),
        "hexadecimal digits",
        |bytes| super::secret::to_hex(bytes),
    )
}

/// The hash key.
pub(super) fn hash_key() -> Rule<HashKey> {
    parsed(
        |text| parse_hex(text).map(HashKey).ok_or_else(|| "32 hexadecimal digits are needed".to_owned()),
        "hexadecimal digits",
        |key| super::secret::to_hex(&key.0),
    )
}

/// A value that may be absent.
pub(super) fn optional<T: 'static>(rule: Rule<T>) -> Rule<Option<T>> {
    let (read, show, example) = (rule.read, rule.show, rule.example);
    Rule {
        read: Box::new(move |source, key, value| read(source, key, value).map(Some)),
        show: Box::new(move |value| value.as_ref().and_then(&show)),
        example,
    }
}

/// A list, at most `limit` long.
pub(super) fn list<T: 'static>(rule: Rule<T>, limit: usize) -> Rule<Vec<T>> {
    let (read, show, example) = (rule.read, rule.show, rule.example);
    Rule {
        read: Box::new(move |source, key, value| {
            let start = value.span().start;
            let values = match value.into_inner() {
                DeValue::Array(values) if values.len() <= limit => values,
                DeValue::Array(values) => {
                    source.report(
                        start,
                        key.to_owned(),
                        format!("{} elements; at most {limit} are allowed", values.len()),
                    );
                    return None;
                }
                other => {
                    source.report(start, key.to_owned(), format!("a list is expected, not {}", with_article(&other)));
                    return None;
                }
            };
            Some(values.into_iter().filter_map(|value| read(source, key, value)).collect())
        }),
        show: Box::new(move |values: &Vec<T>| {
            let values: Vec<String> = values.iter().filter_map(&show).collect();
            (!values.is_empty()).then(|| format!("[{}]", values.join(", ")))
        }),
        example,
    }
}

/// A section as an element of a list.
pub(super) fn table<S: Section + 'static>() -> Rule<S> {
    Rule { read: Box::new(read_table::<S>), show: Box::new(|_| None), example: "" }
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn parsed<T: 'static>(
    parse: impl Fn(&str) -> Result<T, String> + 'static,
    expected: &'static str,
    show: impl Fn(&T) -> String + 'static,
) -> Rule<T> {
    Rule::new(
        move |value| match value {
            DeValue::String(text) => parse(text),
            other => Err(format!("{expected} in quotes is expected, not {}", with_article(other))),
        },
        move |value| Some(format!("\"{}\"", show(value))),
    )
}

fn pool(text: &str) -> Result<IpNet, String> {
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (_, Ok(address)) => IpNet::from(address),
        _ => return Err(format!("`{text}` is no network and no address; for example 203.0.113.0/24 or 203.0.113.7")),
    };
    if net != net.trunc() {
        return Err(format!("`{text}` has bits set behind its prefix length; the network is {}", net.trunc()));
    }
    let address = net.network();
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(format!("`{text}` cannot be used for services: unspecified, loopback and multicast are refused"));
    }
    Ok(net)
}

fn jiff_friendly(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration).map_or_else(|_| format!("{duration:?}"), |signed| format!("{signed:#}"))
}
