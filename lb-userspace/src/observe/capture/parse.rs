//! What somebody writes to say which packets are wanted; the same in the API and on the command line.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use lb_common::abi::Reason;
use lb_common::headers::number;

use super::{Format, MAX_KEPT, MAX_RATE};
use crate::model::Invalid;

/// Seconds that a capture may last.
pub const SECONDS: RangeInclusive<u64> = 1..=3600;
/// Packets a second.
pub const RATE: RangeInclusive<u64> = 1..=MAX_RATE as u64;
/// Bytes of each packet that are kept.
pub const SNAP: RangeInclusive<u64> = 64..=MAX_KEPT as u64;
/// Packets in all.
pub const COUNT: RangeInclusive<u64> = 1..=u64::MAX;

/// An address, or a prefix.
///
/// # Errors
/// What is expected, when it is neither.
pub fn net(text: &str) -> Result<IpNet, Invalid> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| {
        Invalid::format(format!(
            "`{text}` is no address or prefix: one such as 198.51.100.7 or 2001:db8::/32 is expected"
        ))
    })
}

/// `address:port`, `address`, `prefix` or `:port`.
///
/// # Errors
/// What is expected, when it is none of them.
pub fn end(text: &str) -> Result<(Option<IpNet>, Option<u16>), Invalid> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    if let Some(port) = text.strip_prefix(':').and_then(port) {
        return Ok((None, Some(port)));
    }
    match text.parse::<SocketAddr>() {
        Ok(end) if end.port() != 0 => Ok((Some(IpNet::from(end.ip())), Some(end.port()))),
        Ok(_) => Err(Invalid::constraint(format!("`{text}`: leave the port out for any"))),
        Err(_) => net(text).map(|net| (Some(net), None)).map_err(|_| {
            Invalid::format(format!(
                "`{text}` is no service: 203.0.113.10:80, [2001:db8::10]:80, an address, a prefix or :80 is expected"
            ))
        }),
    }
}

/// A protocol's name, or its number.
///
/// # Errors
/// What is expected, when it is neither.
pub fn protocol(text: &str) -> Result<u8, Invalid> {
    match text {
        "tcp" => Ok(number::TCP),
        "udp" => Ok(number::UDP),
        "icmp" => Ok(number::ICMP),
        "icmpv6" => Ok(number::ICMPV6),
        _ => text.parse().ok().filter(|number| *number != 0).ok_or_else(|| {
            Invalid::format(format!("`{text}` is no protocol: `tcp`, `udp`, `icmp`, `icmpv6` or 1 to 255 is expected"))
        }),
    }
}

/// A reason's label.
///
/// # Errors
/// Which there are, when it is none.
pub fn reason(text: &str) -> Result<Reason, Invalid> {
    Reason::ALL.iter().copied().find(|reason| reason.label() == text).ok_or_else(|| {
        let labels: Vec<&str> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        Invalid::format(format!("`{text}` is no reason; there are {}", labels.join(", ")))
    })
}

/// How a capture is written.
///
/// # Errors
/// What is expected, when it is nothing of it.
pub fn format(text: &str) -> Result<Format, Invalid> {
    match text {
        "pcapng" => Ok(Format::Pcapng),
        "lines" => Ok(Format::Lines),
        _ => Err(Invalid::format(format!("`{text}` is neither `pcapng` nor `lines`"))),
    }
}

/// A whole number of a range.
///
/// # Errors
/// What is expected, when it is none.
pub fn number(text: &str, range: &RangeInclusive<u64>) -> Result<u64, Invalid> {
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let upper = if *range.end() == u64::MAX { " upwards".to_owned() } else { format!(" to {}", range.end()) };
        Invalid::constraint(format!("`{text}`: a whole number from {}{upper} is expected", range.start()))
    })
}
