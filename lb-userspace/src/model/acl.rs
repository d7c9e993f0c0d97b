//! Access lists: which clients may reach a frontend.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AclId, FrontendId, Invalid, LbId, Name, Times};

mod clients;

/// A rule of a frontend's access list. Rules are asked in ascending order of [`Acl::index`] (of equals, the older one
/// first); the first that matches a client decides, and whom none matches is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// Id.
    pub id: AclId,
    /// The load balancer of the frontend.
    pub lb: LbId,
    /// The frontend.
    pub frontend: FrontendId,
    /// Name; not unique.
    pub name: Name,
    /// Free text.
    pub description: String,
    /// Place among the frontend's rules; 0 is asked first.
    pub index: u32,
    /// What becomes of clients that match.
    pub action: AclAction,
    /// Networks that a client must be in.
    pub subnets: Vec<IpNet>,
    /// Clients match that are in none of the networks.
    pub invert: bool,
    /// Created, updated, deleted.
    pub times: Times,
}

/// What becomes of clients that match a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AclVerdict)]
pub enum AclAction {
    /// They go on to the servers.
    Allow,
    /// Their packets are dropped.
    Deny,
}

impl AclAction {
    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Acl {
    /// Rules in the order in which they are asked.
    pub fn sort<A: AsRef<Self>>(rules: &mut [A]) {
        rules.sort_by_key(|rule| {
            let rule = rule.as_ref();
            (rule.index, rule.times.created_at, rule.id)
        });
    }

    /// Whether rules let any client of an IP version in at all. Addresses that no client has (this host, links,
    /// multicast, reserved) count for nothing: letting them in is letting nobody in.
    #[must_use]
    pub fn admit_anybody<'a>(rules: impl IntoIterator<Item = &'a Self>, is_v4: bool) -> bool {
        let mut rules: Vec<&Self> = rules.into_iter().collect();
        rules.sort_by_key(|rule| (rule.index, rule.times.created_at, rule.id));
        let mut undecided = clients::all(is_v4);
        for rule in rules {
            let named = clients::of(&rule.subnets, is_v4);
            let (within, outside) = clients::split(&undecided, &named);
            let (matching, others) = if rule.invert { (outside, within) } else { (within, outside) };
            if rule.action == AclAction::Allow && !matching.is_empty() {
                return true;
            }
            undecided = others;
        }
        !undecided.is_empty()
    }

    /// A network of clients; an address alone is a network of one.
    ///
    /// # Errors
    /// [`Invalid`] when the text is none, has bits behind its prefix length, or is IPv4 in IPv6 form.
    pub fn parse_subnet(text: &str) -> Result<IpNet, Invalid> {
        let alone = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let Some(net) = text.parse::<IpNet>().ok().or_else(alone) else {
            return Err(Invalid::format(format!(
                "`{text}` is no network: one such as 192.0.2.0/24 or 2001:db8::/32, or an address, is expected"
            )));
        };
        if net != net.trunc() {
            let help = format!("`{text}` has bits set behind its prefix length; the network is {}", net.trunc());
            return Err(Invalid::constraint(help));
        }
        match net {
            IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() => {
                Err(Invalid::constraint(format!("`{text}` is IPv4 in IPv6 form: write the IPv4 network")))
            }
            _ => Ok(net),
        }
    }

    /// A place among the rules.
    ///
    /// # Errors
    /// [`Invalid`] when it is negative or above the largest 32-bit number.
    pub fn parse_index(index: i64) -> Result<u32, Invalid> {
        u32::try_from(index).map_err(|_| {
            Invalid::constraint(format!("{index} is no place: 0 to {} are, and 0 is asked first", u32::MAX))
        })
    }
}
