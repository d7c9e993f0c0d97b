//! A rule on the wire into a rule.

use ipnet::IpNet;
use jiff::Timestamp;

use crate::api::parse::{Arguments, Description};
use crate::api::wire;
use crate::model::{Acl, AclAction, AclId, FrontendId, Invalid, Lb, LbId, Name, Times};

/// What a request says of a rule; `None` keeps what is there.
pub(super) struct Rule {
    name: Option<Name>,
    index: Option<u32>,
    action: Option<AclAction>,
    description: Option<String>,
    clients: Option<Clients>,
}

struct Clients {
    subnets: Vec<IpNet>,
    invert: bool,
}

/// Why filters of a layer-7 proxy are not there.
const NO_HTTP: &str = "Snowshed forwards packets at layer 4 and reads no HTTP; leave it out";

/// Reads a rule whose arguments stand below `of` in the request.
pub(super) fn parse(
    arguments: &mut Arguments,
    of: &str,
    request: wire::AclSpec,
    description: Description,
) -> Option<Rule> {
    let wire::AclSpec { name, action, index, description: about, matches } = request;
    let at = |field: &str| format!("{of}{field}");
    let name = arguments.of(description, &at("name"), name, "1 to 255 characters", Name::try_from);
    let place = "its place among the rules; 0 is asked first";
    let index = arguments.of(description, &at("index"), index, place, Acl::parse_index);
    let action = match (description, action) {
        (Description::Part, None) => Some(None),
        (_, action) => self::action(arguments, of, action.unwrap_or_default()).map(Some),
    };
    let about = arguments.or(&at("description"), about, None, |text| Lb::parse_description(text).map(Some));
    let clients = match matches {
        None => Some(None),
        Some(matches) => self::clients(arguments, of, matches).map(Some),
    };
    let ((((name, index), action), description), clients) = name.zip(index).zip(action).zip(about).zip(clients)?;
    Some(Rule { name, index, action, description, clients })
}

fn action(arguments: &mut Arguments, of: &str, action: wire::AclActionSpec) -> Option<AclAction> {
    let wire::AclActionSpec { kind, redirect } = action;
    let redirects = kind.as_deref() == Some("redirect");
    arguments.off(&format!("{of}action.redirect"), redirect.is_none() && !redirects, NO_HTTP);
    let parse = |kind: String| match kind.as_str() {
        "allow" => Ok(AclAction::Allow),
        "deny" => Ok(AclAction::Deny),
        _ => Err(Invalid::constraint(format!("`{kind}` is not available: `allow` and `deny` are"))),
    };
    arguments.needed(&format!("{of}action.type"), kind, "`allow` or `deny`", parse)
}

fn clients(arguments: &mut Arguments, of: &str, matches: wire::AclMatchSpec) -> Option<Clients> {
    let wire::AclMatchSpec { ip_subnet, ips_edge_services, http_filter, http_filter_value, http_filter_option, invert } =
        matches;
    let at = |field: &str| format!("{of}match.{field}");
    arguments.off(&at("ips_edge_services"), ips_edge_services != Some(true), "there are none here; leave it out");
    let has_filter = http_filter.is_some_and(|filter| filter != "acl_http_filter_none");
    arguments.off(&at("http_filter"), !has_filter, NO_HTTP);
    arguments.off(&at("http_filter_value"), http_filter_value.is_none_or(|values| values.is_empty()), NO_HTTP);
    arguments.off(&at("http_filter_option"), http_filter_option.is_none_or(|option| option.is_empty()), NO_HTTP);
    let texts = ip_subnet.filter(|subnets| !subnets.is_empty());
    let texts = arguments.needed(&at("ip_subnet"), texts, "at least one network or address of clients", Ok)?;
    let mut subnets = Vec::with_capacity(texts.len());
    for (position, text) in texts.iter().enumerate() {
        subnets.push(arguments.take(&at(&format!("ip_subnet[{position}]")), Acl::parse_subnet(text)));
    }
    let subnets = subnets.into_iter().collect::<Option<_>>()?;
    Some(Clients { subnets, invert: invert.unwrap_or(false) })
}

impl Rule {
    /// A new rule, of no frontend yet; it must say which clients it is about.
    pub(super) fn into_new(self, arguments: &mut Arguments, of: &str) -> Option<Acl> {
        let Self { name, index, action, description, clients } = self;
        let what = "which clients the rule is about: {\"ip_subnet\": [\"192.0.2.0/24\"]}";
        let Clients { subnets, invert } = arguments.needed(&format!("{of}match"), clients, what, Ok)?;
        let ((name, index), action) = name.zip(index).zip(action)?;
        let nothing = uuid::Uuid::nil();
        Some(Acl {
            id: AclId::new(),
            lb: LbId::from_uuid(nothing),
            frontend: FrontendId::from_uuid(nothing),
            name,
            description: description.unwrap_or_default(),
            index,
            action,
            subnets,
            invert,
            times: Times::created(Timestamp::UNIX_EPOCH),
        })
    }

    /// A rule as it is after the request.
    pub(super) fn over(&self, before: &Acl) -> Acl {
        let mut after = before.clone();
        if let Some(name) = &self.name {
            after.name = name.clone();
        }
        if let Some(description) = &self.description {
            after.description.clone_from(description);
        }
        if let Some(Clients { subnets, invert }) = &self.clients {
            (after.subnets, after.invert) = (subnets.clone(), *invert);
        }
        after.index = self.index.unwrap_or(before.index);
        after.action = self.action.unwrap_or(before.action);
        after
    }
}
