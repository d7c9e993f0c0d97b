//! Source addresses of translated flows, from the ledger's documents to the maps.

use lb_common::abi::nat::{NatRange, NatSource as PoolElement};
use lb_common::abi::service::flags;
use lb_common::abi::{address_of, backend::mode};
use lb_userspace::model::{Document, Family, Forwarding, NatSource, NatSourceId};
use lb_userspace::reconcile::key_of;
use uuid::Uuid;

use crate::fixture::*;

fn source(id: u128, address: &str, number: u32, retired: Option<i64>) -> Document {
    let address = address.parse().unwrap();
    Document::NatSource(NatSource {
        id: NatSourceId::from_uuid(Uuid::from_u128(id)),
        address,
        number,
        times: times(retired),
    })
}

/// A world whose one service translates.
fn translating() -> World {
    let mut world = World::new();
    world.put_service(1, &[(1, 1, false), (2, 1, false)]);
    let Document::Backend(pool) = backend(1, 1, &[(1, 1, false), (2, 1, false)], None) else { unreachable!() };
    world.put(&[Document::Backend(lb_userspace::model::Backend { forwarding: Forwarding::Nat, ..pool })]);
    world
}

#[test]
fn sources_of_the_ledger_are_known_and_given_to_new_flows_unless_they_are_retired() {
    let mut world = translating();
    let maps = Shared::default();
    let mut agent = world.agent(std::sync::Arc::clone(&maps));
    world.put(&[source(1, "10.0.9.1", 0, None), source(2, "10.0.9.2", 1, None), source(3, "fd00::9", 2, None)]);
    let status = world.settle(&mut agent);
    assert_eq!(status.untranslatable, []);
    let [a, b, six] = ["10.0.9.1", "10.0.9.2", "fd00::9"].map(|address| address_of(address.parse().unwrap()));
    let held = contents(&maps);
    assert_eq!(held.nat_sources.known, [(a, 0), (b, 1), (six, 2)].into());
    let element = |address, number| PoolElement { address, number, pad: 0 };
    assert_eq!(held.nat_sources.pool, [(0, element(a, 0)), (1, element(b, 1)), (512, element(six, 2))].into());
    let config = held.config.unwrap();
    assert_eq!(config.nat_v4, NatRange { first: 0, count: 2 });
    assert_eq!(config.nat_v6, NatRange { first: 512, count: 1 });

    world.put(&[source(1, "10.0.9.1", 0, Some(7))]);
    world.settle(&mut agent);
    let held = contents(&maps);
    assert_eq!(held.nat_sources.known.get(&a), Some(&0), "its flows go on");
    assert_eq!(held.nat_sources.pool, [(0, element(b, 1)), (512, element(six, 2))].into());
    assert_eq!(held.config.unwrap().nat_v4, NatRange { first: 0, count: 1 });

    world.put(&[source(4, "10.0.9.4", 0, None)]);
    world.settle(&mut agent);
    assert_eq!(contents(&maps).nat_sources.known.get(&a), None, "another address needs its number");
}

#[test]
fn no_write_on_the_way_leaves_a_new_flow_an_empty_or_unknown_source() {
    let mut world = translating();
    let maps = Shared::default();
    let mut agent = world.agent(std::sync::Arc::clone(&maps));
    world.put(&[source(1, "10.0.9.1", 0, None), source(2, "10.0.9.2", 1, None)]);
    world.settle(&mut agent);
    maps.lock().unwrap().after_each_write(|contents| {
        let Some(config) = contents.config else { return };
        for position in config.nat_v4.first..config.nat_v4.first + config.nat_v4.count {
            let element = contents.nat_sources.pool.get(&position).expect("an element of the pool is empty");
            assert!(contents.nat_sources.known.contains_key(&element.address), "its answers would be strangers'");
        }
    });
    world.put(&[source(1, "10.0.9.1", 0, Some(7))]);
    world.settle(&mut agent);
    world.put(&[source(1, "10.0.9.1", 0, None), source(5, "10.0.9.5", 2, None)]);
    world.settle(&mut agent);
    world.put(&[source(2, "10.0.9.2", 1, Some(8)), source(5, "10.0.9.5", 2, Some(8))]);
    world.settle(&mut agent);
    assert_eq!(contents(&maps).config.unwrap().nat_v4.count, 1);
}

#[test]
fn a_translating_service_says_so_in_the_maps_and_an_edge_without_sources_in_its_status() {
    let world = translating();
    let maps = Shared::default();
    let status = world.settle(&mut world.agent(std::sync::Arc::clone(&maps)));
    assert_eq!(status.untranslatable, [Family::V4]);
    let held = contents(&maps);
    assert_eq!(held.services[&key_of(&service(1, 80))].flags & flags::NAT, flags::NAT);
    assert!(held.backends.values().all(|entry| entry.mode == mode::NAT));
}

#[test]
fn sources_that_somebody_altered_are_written_again_and_reported() {
    let mut world = translating();
    let maps = Shared::default();
    let mut agent = world.agent(std::sync::Arc::clone(&maps));
    world.put(&[source(1, "10.0.9.1", 0, None)]);
    world.settle(&mut agent);
    let whole = contents(&maps);
    tamper(&maps, |contents| contents.nat_sources.known.clear());
    world.wait(std::time::Duration::from_secs(2));
    let status = world.settle(&mut agent);
    assert_eq!(contents(&maps).nat_sources, whole.nat_sources);
    assert_eq!(status.repaired.get("NAT_SOURCES"), Some(&1));
    tamper(&maps, |contents| contents.nat_sources.pool.clear());
    world.wait(std::time::Duration::from_secs(2));
    assert_eq!(world.settle(&mut agent).repaired.get("NAT_SOURCES"), Some(&2));
    assert_eq!(contents(&maps).nat_sources, whole.nat_sources);
}
