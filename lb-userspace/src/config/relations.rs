//! What must hold between keys: needed ones are there, contradicting ones are not.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Config, Problem};
use crate::delivery::{SmtpTls, Targets};

/// Every relation that does not hold.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    tls(config, &mut problems);
    tokens(config, &mut problems);
    dataplane(config, &mut problems);
    pools(config, &mut problems);
    nat_sources(config, &mut problems);
    delivery(config, &mut problems);
    deletion(config, &mut problems);
    problems
}

fn deletion(config: &Config, problems: &mut Vec<Problem>) {
    if config.deletion.retention < config.deletion.grace {
        let what = "is shorter than `grace`: what is deleted would be purged while it still forwards";
        problems.push(Problem::of("deletion.retention", what));
    }
}

fn tls(config: &Config, problems: &mut Vec<Problem>) {
    let api = &config.api;
    match (&api.tls_certificate, &api.tls_key) {
        (Some(_), None) => problems.push(Problem::of("api.tls_certificate", "needs its key: set `tls_key` too")),
        (None, Some(_)) => {
            problems.push(Problem::of("api.tls_key", "needs its certificate: set `tls_certificate` too"))
        }
        (Some(_), Some(_)) => {}
        (None, None) => {
            let open = api.listen.iter().filter(|address| !address.ip().to_canonical().is_loopback());
            problems.extend(open.map(|address| {
                let what = format!("{address} is not loopback and there is no certificate: {}", super::TLS_REMEDY);
                Problem::of("api.listen", what)
            }));
        }
    }
}

fn tokens(config: &Config, problems: &mut Vec<Problem>) {
    let tokens = &config.api.tokens;
    let mut names = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let key = format!("api.tokens[{at}]");
        if token.name.is_empty() {
            problems.push(Problem::of(format!("{key}.name"), "is needed"));
        } else if !names.insert(&token.name) {
            problems.push(Problem::of(format!("{key}.name"), format!("`{}` is taken by a token above", token.name)));
        }
        match (&token.secret_file, &token.secret_sha256) {
            (None, None) => problems.push(Problem::of(&key, "needs `secret_file` or `secret_sha256`")),
            (Some(_), Some(_)) => {
                problems.push(Problem::of(&key, "has both `secret_file` and `secret_sha256`: give one"));
            }
            _ => {}
        }
        if let Err(what) = token.reach() {
            problems.push(Problem::of(&key, what));
        }
    }
}

fn dataplane(config: &Config, problems: &mut Vec<Problem>) {
    let dataplane = &config.dataplane;
    if dataplane.interfaces.is_empty() {
        problems.push(Problem::of("dataplane.interfaces", "at least one interface is needed, for example [\"eth0\"]"));
    }
    let distinct: BTreeSet<&String> = dataplane.interfaces.iter().collect();
    if distinct.len() != dataplane.interfaces.len() {
        problems.push(Problem::of("dataplane.interfaces", "names an interface twice"));
    }
    if dataplane.hash_key.is_some() && dataplane.hash_key_file.is_some() {
        problems.push(Problem::of("dataplane.hash_key", "is given beside `hash_key_file`: give one"));
    }
}

fn pools(config: &Config, problems: &mut Vec<Problem>) {
    let v4 = config.addresses.v4.iter().copied().map(IpNet::V4);
    let v6 = config.addresses.v6.iter().copied().map(IpNet::V6);
    let mut nets: Vec<IpNet> = v4.chain(v6).collect();
    nets.sort_by_key(|net| (net.network(), net.prefix_len()));
    // Sorted by first address, a network that overlaps a later one contains the next one.
    for pair in nets.windows(2) {
        if let [wide, narrow] = pair
            && wide.contains(narrow)
        {
            let key = if wide.addr().is_ipv4() { "addresses.v4" } else { "addresses.v6" };
            problems.push(Problem::of(key, format!("{narrow} lies within {wide}: an address would be counted twice")));
        }
    }
}

fn nat_sources(config: &Config, problems: &mut Vec<Problem>) {
    let addresses = &config.addresses;
    let v4 = addresses.nat_v4.iter().copied().map(|net| ("addresses.nat_v4", IpNet::V4(net)));
    let v6 = addresses.nat_v6.iter().copied().map(|net| ("addresses.nat_v6", IpNet::V6(net)));
    let nets: Vec<(&str, IpNet)> = v4.chain(v6).collect();
    let pools = addresses.v4.iter().copied().map(IpNet::V4).chain(addresses.v6.iter().copied().map(IpNet::V6));
    for pool in pools {
        for (key, net) in nets.iter().filter(|(_, net)| net.contains(&pool) || pool.contains(net)) {
            let what =
                format!("{net} and the load balancers' {pool} overlap: flows need source addresses of their own");
            problems.push(Problem::of(*key, what));
        }
    }
    let most = config.max_nat_sources();
    if config.nat_sources().len() > most as usize {
        problems.push(Problem::of(
            if addresses.nat_v4.is_empty() { "addresses.nat_v6" } else { "addresses.nat_v4" },
            format!(
                "there are more source addresses than the {most} that `dataplane.max_nat_flows` = {} has places for ({} \
                 for each): name fewer (single addresses, such as \"192.0.2.9\"), or raise it",
                config.dataplane.max_nat_flows,
                lb_common::abi::nat::PORTS
            ),
        ));
    }
}

fn delivery(config: &Config, problems: &mut Vec<Problem>) {
    let delivery = &config.delivery;
    if delivery.first_retry > delivery.longest_retry {
        problems.push(Problem::of("delivery.first_retry", "is longer than `longest_retry`"));
    }
    let targets = Targets { allowed: delivery.allow_targets.clone() };
    for uri in &delivery.alarm_webhooks {
        if let Err(refused) = targets.parse(uri) {
            problems.push(Problem::of("delivery.alarm_webhooks", refused.help));
        }
    }
    let needed = match (&delivery.smtp_host, &delivery.mail_from) {
        (None, _) if !delivery.alarm_emails.is_empty() => Some(("alarm_emails", "needs `smtp_host` and `mail_from`")),
        (Some(_), None) => Some(("smtp_host", "needs `mail_from`: who the e-mails are from")),
        (None, Some(_)) => Some(("mail_from", "needs `smtp_host`: the server that takes the e-mails")),
        _ => None,
    };
    let credentials = match (&delivery.smtp_user, &delivery.smtp_password_file) {
        (Some(_), None) => Some(("smtp_user", "needs `smtp_password_file`")),
        (None, Some(_)) => Some(("smtp_password_file", "needs `smtp_user`")),
        (Some(_), Some(_)) if delivery.smtp_tls == SmtpTls::None => {
            Some(("smtp_tls", "a password is not sent without TLS: `starttls` or `tls` is needed"))
        }
        _ => None,
    };
    for (key, what) in needed.into_iter().chain(credentials) {
        problems.push(Problem::of(format!("delivery.{key}"), what));
    }
}
