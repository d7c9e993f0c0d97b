//! Which address a new IP gets when none is named.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::api::wire::{Problem, ProblemKind};
use crate::api::{ApiError, Context};
use crate::ledger::Snapshot;
use crate::model::pools::successor;
use crate::model::{Family, Pools};

/// A free address of a family: the one after the highest in use of a pool, or else the first free one.
pub(super) fn allocate(context: &Context, snapshot: &Snapshot, family: Family) -> Result<IpAddr, ApiError> {
    free(&context.pools, snapshot, family).ok_or_else(|| {
        let what = family.as_str();
        ApiError::new(Problem {
            kind: ProblemKind::OutOfStock,
            message: format!("no {what} address is free in the edge's pools ({})", context.pools),
            help_message: format!(
                "release an IP, or ask the operator to add {what} addresses to `pools` in agent.toml"
            ),
            resource: Some("ip".to_owned()),
            ..Problem::default()
        })
    })
}

fn free(pools: &Pools, snapshot: &Snapshot, family: Family) -> Option<IpAddr> {
    let servers: BTreeSet<IpAddr> = snapshot
        .backends()
        .filter(|backend| backend.times.is_live())
        .flat_map(|backend| &backend.servers)
        .map(|server| server.address)
        .filter(|address| pools.contains(*address))
        .collect();
    let is_free = |address: &IpAddr| snapshot.ip_with_address(*address).is_none() && !servers.contains(address);
    pools.ranges(family).find_map(|(first, last)| {
        let after_highest = snapshot.highest_address(first, last).map_or(Some(first), successor);
        // At most one address more than are in use is looked at before a free one is met.
        let walk = |from: Option<IpAddr>| {
            std::iter::successors(from, |address| successor(*address))
                .take_while(move |address| (first..=last).contains(address))
                .find(is_free)
        };
        walk(after_highest).or_else(|| walk(Some(first)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ChainHash;
    use crate::model::{Document, Generation, Ip, IpId, OrganizationId, Owner, ProjectId, Tags, Times};

    fn snapshot(addresses: &[&str]) -> Snapshot {
        let owner = Owner { organization: OrganizationId::new(), project: ProjectId::new() };
        let documents: Vec<Document> = addresses
            .iter()
            .map(|address| {
                Document::Ip(Ip {
                    id: IpId::new(),
                    owner,
                    address: address.parse().unwrap(),
                    lb: None,
                    reverse: String::new(),
                    tags: Tags::default(),
                    times: Times::created(jiff::Timestamp::UNIX_EPOCH),
                })
            })
            .collect();
        Snapshot::default().after(Generation(1), ChainHash::GENESIS, &documents)
    }

    #[test]
    fn an_address_is_taken_after_the_highest_then_from_the_gaps_then_from_the_next_pool() {
        let pools =
            Pools::new(["192.0.2.0/29", "198.51.100.7/32", "2001:db8::/126"].map(|network| network.parse().unwrap()));
        for (used, family, expected) in [
            (&[][..], Family::V4, Some("192.0.2.1")),
            (&["192.0.2.3"], Family::V4, Some("192.0.2.4")),
            (&["192.0.2.1", "192.0.2.6"], Family::V4, Some("192.0.2.2")),
            (
                &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"],
                Family::V4,
                Some("198.51.100.7"),
            ),
            (&[], Family::V6, Some("2001:db8::1")),
            (&["2001:db8::1", "2001:db8::2", "2001:db8::3"], Family::V6, None),
        ] {
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(free(&pools, &snapshot(used), family), expected, "{used:?}");
        }
    }
}
