//! The planner against a planner without a memory, over random histories.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lb_userspace::health::{HealthView, ServerHealth};
use lb_userspace::ledger::{ChainHash, Snapshot};
use lb_userspace::model::{Algorithm, Document, Duty, Generation, LbId};
use lb_userspace::plan::{NextHops, Node, Planner, Shares, Tables};
use proptest::prelude::*;
use uuid::Uuid;

use crate::fixture::*;

fn fresh(snapshot: &Snapshot, health: &HealthView, node: &Node, now: Timestamp) -> Arc<Tables> {
    Planner::new(7, GRACE).plan(snapshot, health, node, now)
}

#[derive(Clone, Debug)]
enum Event {
    Put(Box<Document>),
    Flip(u128, u8),
    Hop(u8, bool),
    Rise(u128, u8, i64),
    Measure(u128, u8, u16),
    Clock(i64),
}

/// Small numbers, so that documents meet: three load balancers, four addresses, four frontends, four pools.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let deleted = || prop::option::weighted(0.3, 0i64..2000);
    let servers = prop::collection::btree_map(1u8..6, (1u32..5, any::<bool>()), 0..4);
    let document = prop_oneof![
        (1u128..4, deleted()).prop_map(|(number, deleted)| lb(number, deleted)),
        (1u128..5, prop::option::of(1u128..4), deleted()).prop_map(|(number, of, deleted)| ip(number, of, deleted)),
        (1u128..5, 1u128..5, 80u16..83, deleted()).prop_map(|(number, pool, port, deleted)| frontend(
            number,
            1 + number % 3,
            pool,
            port,
            deleted
        )),
        (1u128..5, servers, deleted(), policies()).prop_map(|(number, servers, deleted, policy)| {
            let servers: Vec<_> =
                servers.into_iter().map(|(server, (weight, drain))| (server, weight, drain)).collect();
            let Document::Backend(mut pool) = backend(number, 1 + number % 3, &servers, deleted) else {
                panic!("no pool")
            };
            (pool.algorithm, pool.slow_start) = (policy.0, policy.1.map(Duration::from_secs));
            for (server, (backup, since, at_most)) in pool.servers.iter_mut().zip(policy.2) {
                server.backup = backup;
                let (since, at_most) = (at(since), at_most.map(Duration::from_secs));
                server.duty = if server.drains() { Duty::Drains { since, at_most } } else { Duty::Serves { since } };
            }
            Document::Backend(pool)
        }),
    ];
    let event = prop_oneof![
        6 => document.prop_map(|document| Event::Put(Box::new(document))),
        2 => (1u128..5, 1u8..6).prop_map(|(pool, server)| Event::Flip(pool, server)),
        2 => (1u8..6, any::<bool>()).prop_map(|(server, known)| Event::Hop(server, known)),
        1 => (1u128..5, 1u8..6, 0i64..3000).prop_map(|(pool, server, second)| Event::Rise(pool, server, second)),
        1 => (1u128..5, 1u8..6, 1u16..256).prop_map(|(pool, server, share)| Event::Measure(pool, server, share)),
        1 => (0i64..3000).prop_map(Event::Clock),
    ];
    prop::collection::vec(event, 1..60)
}

type Policy = (Algorithm, Option<u64>, [(bool, i64, Option<u64>); 4]);

/// An algorithm, a slow start, and of each server whether it stands by, since when and how long it does what it does.
fn policies() -> impl Strategy<Value = Policy> {
    let algorithm = prop::sample::select(vec![Algorithm::Roundrobin, Algorithm::First, Algorithm::Leastconn]);
    let server = || (prop::bool::weighted(0.3), 0i64..3000, prop::option::of(1u64..1000));
    (algorithm, prop::option::of(1u64..1000), [server(), server(), server(), server()])
}

proptest! {
    #[test]
    fn what_the_planner_remembers_never_shows(events in events()) {
        let mut planner = Planner::new(7, GRACE);
        let whole = |number| [
            lb(number, None),
            ip(number, Some(number), None),
            frontend(number - 1, number, number - 1, 80, None),
            backend(number - 1, number, &[(1, 1, false), (2, 1, false), (3, 2, false)], None),
        ];
        let mut snapshot = Snapshot::default().after(Generation(1), ChainHash::GENESIS, &[whole(2), whole(3)].concat());
        let mut down = BTreeSet::new();
        let mut hops = NextHops::new();
        let (mut rose, mut shares) = (std::collections::BTreeMap::new(), Shares::new());
        let mut now = at(0);
        for (number, event) in events.into_iter().enumerate() {
            match event {
                Event::Put(document) => {
                    snapshot = snapshot.after(Generation(number as u64 + 2), ChainHash::GENESIS, [&*document]);
                }
                Event::Flip(pool, server) => {
                    if !down.remove(&(pool, server)) {
                        down.insert((pool, server));
                    }
                }
                Event::Hop(server, true) => {
                    hops.insert(server_address(server), resolved(2));
                }
                Event::Hop(server, false) => {
                    hops.remove(&server_address(server));
                }
                Event::Rise(pool, server, second) => {
                    rose.insert((pool, server), at(second));
                }
                Event::Measure(pool, server, share) => {
                    shares.insert(reference(pool, server), share);
                }
                Event::Clock(second) => now = at(second),
            }
            let mut health = health(&down.iter().copied().collect::<Vec<_>>());
            for ((pool, server), at) in &rose {
                let (up, since) = (!down.contains(&(*pool, *server)), *at);
                let (rose_at, decided_at) = (Some(since), std::time::Instant::now());
                let risen = ServerHealth { up, usable: up, since, rose_at, decided_at, last: None };
                health.servers.insert(reference(*pool, *server), risen);
            }
            let node = Node { next_hops: Arc::new(hops.clone()), shares: Arc::new(shares.clone()) };
            let tables = planner.plan(&snapshot, &health, &node, now);
            prop_assert_eq!(&tables, &fresh(&snapshot, &health, &node, now));
            prop_assert!(Arc::ptr_eq(&tables, &planner.plan(&snapshot, &health, &node, now)));
            if let Some(change) = planner.next_change() {
                prop_assert!(change > now);
            }
        }
    }
}

#[test]
fn a_deleted_load_balancer_forwards_through_its_grace_and_no_longer() {
    let gone = Some(100);
    let documents = [
        lb(1, gone),
        ip(1, Some(1), None),
        frontend(1, 1, 1, 80, gone),
        backend(1, 1, &[(1, 1, false)], gone),
        frontend(2, 1, 1, 81, Some(99)),
    ];
    let snapshot = snapshot(5, &documents);
    let mut planner = Planner::new(7, GRACE);
    let (health, node) = (HealthView::default(), Node::default());

    let tables = planner.plan(&snapshot, &health, &node, at(200));
    assert!(tables.services.contains_key(&service(1, 80)));
    assert!(!tables.services.contains_key(&service(1, 81)), "this frontend was deleted before, on its own");
    assert_eq!(planner.next_change(), Some(at(1000)));

    assert!(planner.plan(&snapshot, &health, &node, at(1000)).services.is_empty());
    assert_eq!(planner.next_change(), None);
}

#[test]
fn an_address_can_pass_from_one_load_balancer_to_another_either_way() {
    let parts = |lb_number: u128| {
        [
            lb(lb_number, None),
            frontend(lb_number, lb_number, lb_number, 80, None),
            backend(lb_number, lb_number, &[(1, 1, false)], None),
        ]
    };
    let documents: Vec<Document> = parts(1).into_iter().chain(parts(2)).collect();
    let mut snapshot = snapshot(1, &documents);
    let mut planner = Planner::new(7, GRACE);
    for (generation, holder) in [(2, 1), (3, 2), (4, 1)] {
        snapshot = snapshot.after(Generation(generation), ChainHash::GENESIS, [&ip(9, Some(holder), None)]);
        let tables = planner.plan(&snapshot, &HealthView::default(), &Node::default(), at(0));
        assert_eq!(tables.services[&service(9, 80)].lb, LbId::from_uuid(Uuid::from_u128(holder)));
    }
}

#[test]
fn a_drained_server_gets_no_slots_unless_nobody_else_is_up() {
    let mut documents = vec![
        lb(1, None),
        ip(1, Some(1), None),
        frontend(1, 1, 1, 80, None),
        backend(1, 1, &[(1, 1, true), (2, 1, false)], None),
    ];
    let snapshot_one = snapshot(1, &documents);
    let tables = fresh(&snapshot_one, &HealthView::default(), &Node::default(), at(0));
    assert!(tables.services[&service(1, 80)].slots.iter().all(|slot| *slot == 1));
    assert!(tables.servers[&reference(1, 1)].up && tables.servers[&reference(1, 1)].drain);

    let tables = fresh(&snapshot_one, &health(&[(1, 2)]), &Node::default(), at(0));
    assert!(tables.services[&service(1, 80)].slots.iter().all(|slot| *slot == 0));

    documents[3] = backend(1, 1, &[(1, 1, true)], None);
    let tables = fresh(&snapshot(2, &documents), &health(&[(1, 1)]), &Node::default(), at(0));
    assert!(tables.services[&service(1, 80)].slots.is_empty());
}

#[test]
fn an_unchanged_service_stays_the_very_same_one() {
    let part = |number: u128| {
        [
            lb(number, None),
            ip(number, Some(number), None),
            frontend(number, number, number, 80, None),
            backend(number, number, &[(1, 1, false), (2, 1, false)], None),
        ]
    };
    let snapshot = snapshot(1, &[part(1), part(2)].concat());
    let mut planner = Planner::new(7, GRACE);
    let before = planner.plan(&snapshot, &HealthView::default(), &Node::default(), at(0));
    let after = planner.plan(&snapshot, &health(&[(1, 1)]), &Node::default(), at(0));
    assert!(!Arc::ptr_eq(&before.services[&service(1, 80)], &after.services[&service(1, 80)]));
    assert!(Arc::ptr_eq(&before.services[&service(2, 80)], &after.services[&service(2, 80)]));
}
