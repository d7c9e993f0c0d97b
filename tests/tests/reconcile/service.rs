//! What counts as taken out of service, against what an edge would forward: whatever takes it away is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use lb_userspace::health::HealthView;
use lb_userspace::ledger::{Change, Ledger, LedgerError, MemoryLedger, Proposal, Snapshot};
use lb_userspace::model::*;
use lb_userspace::plan::{Node, Planner, Tables};
use proptest::prelude::*;

use super::fixture::*;

/// Load balancers of the world: within what one operation may take out of service.
const LBS: u128 = 6;
/// Ports that clients try.
const PORTS: [u16; 8] = [80, 81, 443, 7999, 8000, 8005, 8009, 8010];

/// Numbers of what load balancer `lb` has.
const fn second(lb: u128) -> u128 {
    lb + 100
}
const fn translated(lb: u128) -> u128 {
    lb + 300
}
const fn decoy(lb: u128) -> u128 {
    lb + 200
}

fn range(number: u128, lb: u128, backend: u128, first: u16, last: u16) -> Document {
    let Document::Frontend(mut made) = frontend(number, lb, backend, first, None) else { unreachable!() };
    made.inbound_port_end = NonZeroU16::new(last);
    Document::Frontend(made)
}

/// A pool of translated flows.
fn nat(lb: u128, port: u16) -> Document {
    let Document::Backend(pool) = backend(translated(lb), lb, &[(5, 1, false)], None) else { unreachable!() };
    Document::Backend(Backend { forwarding: Forwarding::Nat, forward_port: port.try_into().unwrap(), ..pool })
}

/// Port 80 with two servers, ports 8000 to 8009 with two others, port 443 translated to port 80 of a fifth, and a pool
/// that nothing points at.
fn world() -> Vec<Document> {
    (1..=LBS)
        .flat_map(|number| {
            [
                lb(number, None),
                ip(number, Some(number), None),
                backend(number, number, &[(1, 1, false), (2, 1, false)], None),
                frontend(number, number, number, 80, None),
                backend(second(number), number, &[(3, 1, false), (4, 1, false)], None),
                range(second(number), number, second(number), 8000, 8009),
                nat(number, 80),
                frontend(translated(number), number, translated(number), 443, None),
                backend(decoy(number), number, &[(9, 1, false)], None),
            ]
        })
        .collect()
}

fn denies(number: u128, networks: &[&str], invert: bool) -> Document {
    let Document::Acl(mut rule) = acl(number, false, &[], None) else { unreachable!() };
    rule.subnets = networks.iter().map(|network| network.parse().unwrap()).collect();
    rule.invert = invert;
    Document::Acl(rule)
}

type Mutation = fn(u128) -> Vec<Document>;

/// What may be done to a load balancer, and whether that takes something away from its clients.
const MUTATIONS: [(&str, bool, Mutation); 26] = [
    ("another port of the servers of translated flows", true, |n| vec![nat(n, 8080)]),
    ("deleted", true, |n| vec![lb(n, Some(1))]),
    ("its address detached", true, |n| vec![ip(n, None, None)]),
    ("its address deleted", true, |n| vec![ip(n, Some(n), Some(1))]),
    ("a frontend deleted", true, |n| vec![frontend(n, n, n, 80, Some(1))]),
    ("a frontend moved to another port", true, |n| vec![frontend(n, n, n, 81, None)]),
    ("a frontend moved, and another put in its place", true, |n| {
        vec![frontend(n, n, n, 81, None), frontend(decoy(n), n, decoy(n), 80, None)]
    }),
    ("a frontend pointed at another pool", true, |n| vec![frontend(n, n, decoy(n), 80, None)]),
    ("the servers taken away", true, |n| vec![backend(n, n, &[], None)]),
    ("every server replaced", true, |n| vec![backend(n, n, &[(8, 1, false)], None)]),
    ("every server drained", true, |n| vec![backend(n, n, &[(1, 1, true), (2, 1, true)], None)]),
    ("a pool deleted under its frontend", true, |n| vec![backend(n, n, &[(1, 1, false)], Some(1))]),
    ("everybody denied", true, |n| vec![denies(n, &["0.0.0.0/0"], false)]),
    ("everybody denied by halves", true, |n| vec![denies(n, &["0.0.0.0/1", "128.0.0.0/1"], false)]),
    ("all but nobody denied", true, |n| vec![denies(n, &["127.0.0.0/8"], true)]),
    ("another protocol", true, |n| {
        let Document::Backend(pool) = backend(n, n, &[(1, 1, false)], None) else { unreachable!() };
        vec![Document::Backend(Backend { protocol: Protocol::Udp, ..pool })]
    }),
    ("a range shortened", true, |n| vec![range(second(n), n, second(n), 8000, 8008)]),
    ("a port of a range taken by another frontend", true, |n| vec![frontend(decoy(n), n, decoy(n), 8005, None)]),
    ("a range lengthened", false, |n| vec![range(second(n), n, second(n), 7999, 8010)]),
    ("a port of a range given the same servers", false, |n| vec![frontend(decoy(n), n, second(n), 8005, None)]),
    ("one server of two replaced", false, |n| vec![backend(n, n, &[(1, 1, false), (8, 1, false)], None)]),
    ("one server of two drained", false, |n| vec![backend(n, n, &[(1, 1, true), (2, 1, false)], None)]),
    ("another weight", false, |n| vec![backend(n, n, &[(1, 5, false), (2, 1, false)], None)]),
    ("somebody denied", false, |n| vec![denies(n, &["10.0.0.0/8"], false)]),
    ("a pool that serves nobody deleted", false, |n| vec![backend(decoy(n), n, &[(9, 1, false)], Some(1))]),
    ("one more frontend", false, |n| vec![frontend(decoy(n), n, decoy(n), 81, None)]),
];

fn planned(snapshot: &Snapshot) -> Arc<Tables> {
    Planner::new(7, GRACE).plan(snapshot, &HealthView::default(), &Node::default(), at(2000))
}

/// The servers that the tables of an edge send new clients of an address and port to.
fn reached(tables: &Tables, address: IpAddr, port: u16, protocol: Protocol) -> BTreeSet<(IpAddr, u16)> {
    let at_address = || tables.services.iter().filter(|(at, _)| at.address == address && at.protocol == protocol);
    let exact = at_address().find(|(at, _)| !at.is_range && at.port == port);
    let in_range = || at_address().find(|(at, service)| at.is_range && (at.port..=service.last_port).contains(&port));
    let Some((_, service)) = exact.or_else(in_range) else { return BTreeSet::new() };
    let clients = ["192.0.2.77", "11.0.0.1", "203.0.113.9", "100.64.0.1", "10.0.3.1"].map(|it| it.parse().unwrap());
    let comes_in = |client: &IpAddr| {
        service.access.as_ref().is_none_or(|list| {
            let covering = list.lines.iter().filter(|line| covers(line, *client)).max_by_key(|line| line.bits);
            covering.is_none_or(|line| line.verdict == lb_common::abi::protection::acl::ALLOW)
        })
    };
    if !clients.iter().any(comes_in) {
        return BTreeSet::new();
    }
    service
        .slots
        .iter()
        .map(|position| service.servers[usize::from(*position)])
        .filter(|server| !tables.servers[server].drain)
        .map(|server| (server.address, tables.servers[&server].port))
        .collect()
}

fn covers(line: &lb_common::abi::AclPrefix, client: IpAddr) -> bool {
    let address = u128::from_be_bytes(lb_common::abi::address_of(client));
    let network = u128::from_be_bytes(line.address);
    line.bits == 0 || (address ^ network) >> (128 - line.bits) == 0
}

/// Load balancers of which the tables say that a client of some port is served by none of the servers that served it.
fn lost(before: &Tables, after: &Tables) -> BTreeSet<u128> {
    let loses = |number: &u128| {
        PORTS.iter().any(|port| {
            [Protocol::Tcp, Protocol::Udp].into_iter().any(|protocol| {
                let [was, is] = [before, after].map(|tables| reached(tables, vip(*number), *port, protocol));
                !was.is_empty() && was.is_disjoint(&is)
            })
        })
    };
    (1..=LBS).filter(loses).collect()
}

fn propose(ledger: &dyn Ledger, documents: Vec<Document>) -> Result<u32, LedgerError> {
    let current = ledger.snapshot();
    let change = |after: Document| Change { before: current.document(after.key()), after };
    let changes: Vec<Change> = documents.into_iter().map(change).collect();
    let proposal = Proposal {
        expected: current.generation(),
        actor: Actor::agent("tester"),
        scope: Scope::Project { project: owner().project },
        verb: "test".to_owned(),
        reason: String::new(),
        at: at(1),
        attempt: None,
        plan: None,
        changes,
    };
    ledger.append(proposal).map(|operation| operation.removed.iter().map(|removed| removed.lbs).sum())
}

fn stocked() -> MemoryLedger {
    let ledger = MemoryLedger::new();
    propose(&ledger, world()).unwrap();
    ledger
}

#[test]
fn each_way_to_take_service_away_costs_one_load_balancer_of_the_budget_and_no_other_change_costs_anything() {
    for (what, takes_away, mutation) in MUTATIONS {
        let ledger = stocked();
        let before = planned(&ledger.snapshot());
        let cost = propose(&ledger, mutation(3)).unwrap();
        assert_eq!(cost, u32::from(takes_away), "{what}");
        let expected: BTreeSet<u128> = if takes_away { [3].into() } else { BTreeSet::new() };
        assert_eq!(lost(&before, &planned(&ledger.snapshot())), expected, "{what}: the tables say so too");
    }
}

#[test]
fn a_breaker_trips_on_access_lists_that_deny_everybody_as_on_deletions() {
    let ledger = MemoryLedger::new();
    let world = |number: u128| {
        [
            lb(number, None),
            ip(number, Some(number), None),
            backend(number, number, &[(1, 1, false)], None),
            frontend(number, number, number, 80, None),
        ]
    };
    propose(&ledger, (1..=30).flat_map(world).collect()).unwrap();
    let results: Vec<_> = (1..=30).map(|n| propose(&ledger, vec![denies(n, &["0.0.0.0/0"], false)])).collect();
    let made = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(made, lb_userspace::ledger::BUDGET.per_project);
    assert!(matches!(results[made], Err(LedgerError::Frozen(_))), "{:?}", results[made]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_takes_service_away_from_so_many_load_balancers_costs_so_many(
        steps in prop::collection::vec(prop::collection::vec((1..=LBS, 0..MUTATIONS.len()), 1..9), 1..4)
    ) {
        let ledger = stocked();
        for step in steps {
            let before = planned(&ledger.snapshot());
            let mut documents = BTreeMap::new();
            for (number, mutation) in step {
                documents.extend(MUTATIONS[mutation].2(number).into_iter().map(|it| (it.key(), it)));
            }
            let current = ledger.snapshot();
            // What changes nothing, and tombstones of what was never there, are no changes.
            documents.retain(|key, after| {
                let there = current.document(*key);
                there.as_ref() != Some(after) && (there.is_some() || after.times().is_live())
            });
            if documents.is_empty() {
                continue;
            }
            let deleted: BTreeSet<u128> = documents
                .values()
                .filter_map(|document| match document {
                    Document::Lb(lb) if !lb.times.is_live() => Some(lb.id.as_uuid().as_u128()),
                    _ => None,
                })
                .collect();
            let cost = propose(&ledger, documents.into_values().collect());
            let Ok(cost) = cost else { break };
            let mut expected = lost(&before, &planned(&ledger.snapshot()));
            // A deletion counts, whether or not there was something to reach.
            expected.extend(deleted);
            prop_assert_eq!(cost as usize, expected.len(), "{:?}", expected);
        }
    }
}
