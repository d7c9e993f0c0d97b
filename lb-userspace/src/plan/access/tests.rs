//! Compiled lists against the rules themselves, asked one after the other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::IpAddr;

use jiff::Timestamp;
use lb_common::abi::Address;
use proptest::prelude::*;

use super::*;
use crate::model::{AclId, FrontendId, LbId, Name, Times};

fn rule(index: u32, action: AclAction, subnets: Vec<IpNet>, invert: bool) -> Arc<Acl> {
    Arc::new(Acl {
        id: AclId::from_uuid(uuid::Uuid::from_u128(u128::from(index) + 1)),
        lb: LbId::new(),
        frontend: FrontendId::new(),
        name: Name::try_from("rule".to_owned()).unwrap(),
        description: String::new(),
        index: index / 2,
        action,
        subnets,
        invert,
        times: Times::created(Timestamp::UNIX_EPOCH),
    })
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| Acl::parse_subnet(text).unwrap()).collect()
}

/// The first rule that matches decides.
fn naive(rules: &[Arc<Acl>], client: IpAddr) -> u32 {
    let matching = rules.iter().find(|rule| rule.subnets.iter().any(|net| net.contains(&client)) != rule.invert);
    if matching.is_some_and(|rule| rule.action == AclAction::Deny) { acl::DENY } else { acl::ALLOW }
}

/// The longest prefix decides.
fn looked_up(list: Option<&AccessList>, client: IpAddr) -> u32 {
    let Some(list) = list else { return acl::ALLOW };
    let number = |address: Address| u128::from_be_bytes(address);
    let client = number(address_of(client));
    let matching = list.lines.iter().filter(|line| (number(line.address) ^ client).leading_zeros() >= line.bits);
    matching.max_by_key(|line| line.bits).map_or(acl::ALLOW, |line| line.verdict)
}

/// Addresses and networks that lie close together, so that they meet.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        3 => (0u8..4, 0u8..4, any::<u8>()).prop_map(|(a, b, c)| IpAddr::from([10, a, b, c])),
        1 => any::<[u8; 4]>().prop_map(IpAddr::from),
        2 => (0u8..4, any::<u8>()).prop_map(|(a, b)| {
            IpAddr::from([0x20, 1, 0xd, 0xb8, 0, a, 0, 0, 0, 0, 0, 0, 0, 0, 0, b])
        }),
        1 => any::<[u8; 16]>().prop_map(|bytes| IpAddr::from(bytes).to_canonical()),
    ]
}

fn net() -> impl Strategy<Value = IpNet> {
    (address(), any::<u8>()).prop_map(|(address, bits)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, bits % (most + 1)).unwrap().trunc()
    })
}

fn rules() -> impl Strategy<Value = Vec<Arc<Acl>>> {
    let one = (any::<bool>(), prop::collection::vec(net(), 1..7), prop::bool::weighted(0.3));
    prop::collection::vec(one, 0..8).prop_map(|rules| {
        let numbered = (0u32..).zip(rules);
        numbered
            .map(|(index, (allows, subnets, invert))| {
                rule(index, if allows { AclAction::Allow } else { AclAction::Deny }, subnets, invert)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_longest_prefix_says_what_the_first_matching_rule_says(
        rules in rules(), clients in prop::collection::vec(address(), 1..40),
    ) {
        let list = compile(&rules);
        // The edges of every network, where mistakes are.
        let edges = rules.iter().flat_map(|rule| &rule.subnets).flat_map(|net| [net.network(), net.broadcast()]);
        for client in clients.into_iter().chain(edges) {
            let client = client.to_canonical();
            prop_assert_eq!(looked_up(list.as_ref(), client), naive(&rules, client), "{}", client);
        }
    }

    #[test]
    fn no_line_says_what_the_one_around_it_says(rules in rules()) {
        let lines = compile(&rules).map(|list| list.lines).unwrap_or_default();
        prop_assert!(lines.is_sorted());
        for line in &lines {
            let around = lines.iter().filter(|other| {
                let differing = u128::from_be_bytes(other.address) ^ u128::from_be_bytes(line.address);
                other.bits < line.bits && differing.leading_zeros() >= other.bits
            });
            let outer = around.max_by_key(|line| line.bits).map_or(acl::ALLOW, |line| line.verdict);
            prop_assert!(outer != line.verdict || line.bits == V4_BITS, "{:?}", line);
        }
    }
}

#[test]
fn an_order_is_kept_whatever_the_order_of_the_rules_in_the_list() {
    let (inner, outer) = (nets(&["10.0.0.7"]), nets(&["10.0.0.0/24", "2001:db8::/32"]));
    let mut rules = vec![rule(5, AclAction::Deny, outer, false), rule(1, AclAction::Allow, inner, false)];
    let first = compile(&rules).unwrap();
    rules.reverse();
    assert_eq!(compile(&rules).unwrap(), first);
    for (client, verdict) in [
        ("10.0.0.7", acl::ALLOW),
        ("10.0.0.8", acl::DENY),
        ("10.0.1.8", acl::ALLOW),
        ("2001:db8::1", acl::DENY),
        ("2001:db9::1", acl::ALLOW),
    ] {
        assert_eq!(looked_up(Some(&first), client.parse().unwrap()), verdict, "{client}");
    }
}

#[test]
fn whom_an_inverted_rule_denies_is_everybody_else_of_both_versions() {
    let list = compile(&[rule(0, AclAction::Deny, nets(&["10.0.0.0/8"]), true)]).unwrap();
    for (client, verdict) in [("10.1.2.3", acl::ALLOW), ("11.0.0.1", acl::DENY), ("2001:db8::1", acl::DENY)] {
        assert_eq!(looked_up(Some(&list), client.parse().unwrap()), verdict, "{client}");
    }
}

#[test]
fn rules_that_deny_nobody_cost_nothing() {
    assert_eq!(compile(&[]), None);
    assert_eq!(compile(&[rule(0, AclAction::Allow, nets(&["10.0.0.0/8"]), true)]), None);
    let never = [
        rule(0, AclAction::Allow, nets(&["0.0.0.0/0", "::/0"]), false),
        rule(3, AclAction::Deny, nets(&["10.0.0.1"]), false),
    ];
    assert_eq!(compile(&never), None);
}

#[test]
fn a_hundred_thousand_prefixes_become_as_many_lines() {
    let subnets = (0u32..100_000).map(|number| IpNet::from(IpAddr::from((0x0a00_0000 + number * 2).to_be_bytes())));
    let list = compile(&[rule(0, AclAction::Deny, subnets.collect(), false)]).unwrap();
    assert_eq!(list.lines.len(), 100_001, "and one for IPv4 as a whole");
}

#[test]
fn what_is_no_network_is_refused_with_what_is_meant() {
    for (text, said) in [
        ("", "is no network"),
        ("10.0.0.0/33", "is no network"),
        ("10.0.0.1/24", "the network is 10.0.0.0/24"),
        ("2001:db8::1/32", "the network is 2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "IPv4 in IPv6 form"),
        ("example.org", "is no network"),
    ] {
        let refused = Acl::parse_subnet(text).unwrap_err().to_string();
        assert!(refused.contains(said), "{text}: {refused}");
    }
    assert_eq!(Acl::parse_subnet("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
    assert_eq!(Acl::parse_subnet("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
}
