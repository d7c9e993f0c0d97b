//! Where webhooks may go: a tenant's URI must not make the edge ask what only the edge can reach (server-side request
//! forgery).
//!
//! Addresses that are not of the public Internet are refused, when a URI is given and again when its name was resolved: the
//! connection goes to the very address that was looked at. Redirects are not followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use reqwest::Url;

use crate::model::Invalid;

/// Most characters of a URI.
const MAX_URI_CHARS: usize = 2048;

/// IPv4 networks that are not of the public Internet (IANA's registry of special-purpose addresses, RFC 6890).
const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(255, 255, 255, 255), 32),
];

/// The same within 2000::/3, outside of which nothing is public: also what carries an IPv4 address inside.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Which addresses may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Networks that are allowed though they are not public.
    pub allowed: Vec<IpNet>,
}

impl Targets {
    /// Whether an address may be asked.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|net| net.contains(&address)) || is_public(address)
    }

    /// A URI that a webhook may be sent to, as far as can be said without asking for its name.
    ///
    /// # Errors
    /// [`Invalid`] when it is none, or names an address that may not be asked.
    pub fn parse(&self, text: &str) -> Result<String, Invalid> {
        let url = parse_uri(text)?;
        // A name that is no name, such as 0x7f000001, was read as an address by now.
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        match literal.filter(|address| !self.permits(*address)) {
            None => Ok(text.to_owned()),
            Some(address) => Err(Invalid::constraint(refusal(address))),
        }
    }
}

/// A URI of a webhook: http or https, with a host, without a password.
///
/// # Errors
/// [`Invalid`] when it is none.
pub fn parse_uri(text: &str) -> Result<Url, Invalid> {
    if text.is_empty() {
        return Err(Invalid::required("a URI is needed, such as https://example.org/hook"));
    }
    if text.chars().count() > MAX_URI_CHARS {
        return Err(Invalid::constraint(format!("a URI has at most {MAX_URI_CHARS} characters")));
    }
    let url = Url::parse(text)
        .ok()
        .filter(|url| !text.chars().any(|c| c.is_whitespace() || c.is_control()) && url.has_host());
    let url = url.ok_or_else(|| {
        Invalid::format(format!("`{text}` is no URI of a webhook: one such as https://example.org/hook is expected"))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Invalid::constraint(format!("`{}` is no scheme of a webhook: http and https are", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Invalid::constraint(
            "a URI of a webhook holds no user and no password: requests are signed instead",
        ));
    }
    Ok(url)
}

/// Why an address is not asked.
pub(super) fn refusal(address: IpAddr) -> String {
    format!(
        "{address} is not of the public Internet, and webhooks go nowhere else; an operator can allow its network \
         (`delivery.allow_targets` of agent.toml)"
    )
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4
            .iter()
            .any(|(net, prefix)| IpNet::new_assert(IpAddr::V4(*net), *prefix).contains(&IpAddr::V4(address))),
        IpAddr::V6(address) => {
            address.segments()[0] & 0xe000 == 0x2000
                && !SPECIAL_V6
                    .iter()
                    .any(|(net, prefix)| IpNet::new_assert(IpAddr::V6(*net), *prefix).contains(&IpAddr::V6(address)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_may_be_asked_however_they_are_written() {
        let targets = Targets::default();
        for good in ["https://example.org/hook", "http://1.1.1.1/", "https://[2606:4700::1111]:8443/a?b=c"] {
            assert_eq!(targets.parse(good).as_deref(), Ok(good));
        }
        let wrong = [
            "http://127.0.0.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://0.0.0.0/",
            "http://10.1.2.3/",
            "http://169.254.169.254/latest/meta-data",
            "http://192.168.1.1/",
            "http://172.31.255.255/",
            "http://100.64.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fd00::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:db8::1]/",
            "http://[ff02::1]/",
            "http://１２７.0.0.1/",
        ];
        for wrong in wrong {
            let refused = targets.parse(wrong).expect_err(wrong);
            assert!(refused.help.contains("public Internet"), "{wrong}: {refused}");
        }
    }

    #[test]
    fn what_the_configuration_allows_is_allowed_and_nothing_beside_it() {
        let targets = Targets { allowed: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()] };
        for good in ["http://10.1.2.3:9000/", "http://[::1]/", "http://[::ffff:10.0.0.1]/"] {
            assert!(targets.parse(good).is_ok(), "{good}");
        }
        assert!(targets.parse("http://127.0.0.1/").is_err());
    }

    #[test]
    fn a_uri_is_http_with_a_host_and_without_a_password() {
        for wrong in [
            "",
            "hook",
            "//example.org",
            "ftp://example.org/",
            "file:///etc/passwd",
            "http://",
            "gopher://a",
            "http://user:password@example.org/",
            "http://user@example.org/",
            "http://a b/",
            "http://example.org/\n",
            "https://exa mple.org",
        ] {
            assert!(parse_uri(wrong).is_err(), "{wrong}");
        }
        assert!(parse_uri(&format!("https://example.org/{}", "a".repeat(MAX_URI_CHARS))).is_err());
    }
}
