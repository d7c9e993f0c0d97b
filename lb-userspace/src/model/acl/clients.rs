//! Sets of client addresses as ranges: first and last address each, in ascending order, none touching another.

use std::net::IpAddr;

use ipnet::IpNet;

/// First and last address, as numbers of their IP version.
pub(super) type Range = (u128, u128);

/// What no IPv4 client has: this network, loopback, link-local, multicast and reserved (RFC 6890).
const NOT_V4: [&str; 5] = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"];
/// What no IPv6 client has: unspecified, loopback, mapped IPv4, link-local, multicast (RFC 6890).
const NOT_V6: [&str; 5] = ["::/128", "::1/128", "::ffff:0:0/96", "fe80::/10", "ff00::/8"];

/// Every address that a client may have.
pub(super) fn all(is_v4: bool) -> Vec<Range> {
    let (last, not) = if is_v4 { (u128::from(u32::MAX), NOT_V4) } else { (u128::MAX, NOT_V6) };
    let not: Vec<IpNet> = not.iter().filter_map(|net| net.parse().ok()).collect();
    split(&[(0, last)], &of(&not, is_v4)).1
}

/// The addresses of networks of one IP version.
pub(super) fn of(nets: &[IpNet], is_v4: bool) -> Vec<Range> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    let own = nets.iter().filter(|net| matches!(net, IpNet::V4(_)) == is_v4);
    let mut ranges: Vec<Range> = own.map(|net| (number(net.network()), number(net.broadcast()))).collect();
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut().filter(|(_, end)| first <= end.saturating_add(1)) {
            Some((_, end)) => *end = last.max(*end),
            None => merged.push((first, last)),
        }
    }
    merged
}

/// What of a set lies within another, and what outside of it.
pub(super) fn split(set: &[Range], by: &[Range]) -> (Vec<Range>, Vec<Range>) {
    let (mut within, mut outside) = (Vec::new(), Vec::new());
    let mut by = by.iter().copied().peekable();
    for (first, last) in set.iter().copied() {
        let mut next = Some(first);
        while let Some(at) = next {
            while by.next_if(|(_, end)| *end < at).is_some() {}
            next = match by.peek().copied().filter(|(begin, _)| *begin <= last) {
                None => {
                    outside.push((at, last));
                    None
                }
                Some((begin, end)) => {
                    if begin > at {
                        outside.push((at, begin - 1));
                    }
                    within.push((at.max(begin), last.min(end)));
                    (end < last).then(|| end + 1)
                }
            };
        }
    }
    (within, outside)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Acl, AclAction, AclId, FrontendId, LbId, Name, Times};

    fn rule(index: u32, action: AclAction, subnets: &[&str], invert: bool) -> Acl {
        Acl {
            id: AclId::new(),
            lb: LbId::new(),
            frontend: FrontendId::new(),
            name: Name::try_from("rule".to_owned()).unwrap(),
            description: String::new(),
            index,
            action,
            subnets: subnets.iter().map(|net| net.parse().unwrap()).collect(),
            invert,
            times: Times::created(jiff::Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn rules_that_leave_no_client_are_told_from_those_that_leave_one() {
        use AclAction::{Allow, Deny};
        let cases = [
            (true, vec![]),
            (false, vec![rule(0, Deny, &["0.0.0.0/0"], false)]),
            (true, vec![rule(0, Deny, &["::/0"], false)]),
            (false, vec![rule(0, Deny, &["0.0.0.0/1", "128.0.0.0/1"], false)]),
            (false, vec![rule(1, Deny, &["0.0.0.0/1"], false), rule(0, Deny, &["128.0.0.0/1"], false)]),
            (true, vec![rule(0, Allow, &["192.0.2.1/32"], false), rule(1, Deny, &["0.0.0.0/0"], false)]),
            (false, vec![rule(1, Allow, &["192.0.2.1/32"], false), rule(0, Deny, &["0.0.0.0/0"], false)]),
            (
                false,
                vec![rule(0, Allow, &["127.0.0.0/8", "224.0.0.1/32"], false), rule(1, Deny, &["0.0.0.0/0"], false)],
            ),
            (true, vec![rule(0, Deny, &["192.0.2.0/24"], true)]),
            (false, vec![rule(0, Deny, &["127.0.0.1/32"], true)]),
            (false, vec![rule(0, Deny, &["192.0.2.0/24"], true), rule(1, Deny, &["192.0.2.0/24"], false)]),
            (false, vec![rule(0, Deny, &["0.0.0.0/0"], false), rule(1, Allow, &["10.0.0.0/8"], true)]),
            (true, vec![rule(0, Allow, &["10.0.0.0/8"], true), rule(1, Deny, &["0.0.0.0/0"], false)]),
        ];
        for (admits, rules) in cases {
            assert_eq!(Acl::admit_anybody(&rules, true), admits, "{rules:#?}");
        }
        assert!(!Acl::admit_anybody(&[rule(0, Deny, &["::/0"], false)], false));
        assert!(Acl::admit_anybody(&[rule(0, Deny, &["0.0.0.0/0"], false)], false));
    }

    proptest! {
        #[test]
        fn a_split_puts_every_address_on_its_side_once(
            set in prop::collection::vec((0u8..64, 26u8..33), 0..6),
            by in prop::collection::vec((0u8..64, 26u8..33), 0..6),
        ) {
            let nets = |pairs: &[(u8, u8)]| -> Vec<IpNet> {
                pairs.iter().map(|(last, bits)| IpNet::new([10, 0, 0, *last].into(), *bits).unwrap().trunc()).collect()
            };
            let (set_nets, by_nets) = (nets(&set), nets(&by));
            let (within, outside) = split(&of(&set_nets, true), &of(&by_nets, true));
            let has = |ranges: &[Range], address: u128| ranges.iter().filter(|(a, b)| (*a..=*b).contains(&address)).count();
            for last in 0..128u8 {
                let address = IpAddr::from([10, 0, 0, last]);
                let number = u128::from(u32::from_be_bytes([10, 0, 0, last]));
                let [in_set, in_by] = [&set_nets, &by_nets].map(|nets| nets.iter().any(|net| net.contains(&address)));
                prop_assert_eq!(has(&within, number), usize::from(in_set && in_by));
                prop_assert_eq!(has(&outside, number), usize::from(in_set && !in_by));
            }
        }
    }
}
