//! Ranges of ports in the maps: what each change writes, and that no port is ever led to nothing.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::{FlowEntry, FlowKey, RangeKey, ServiceKey, Slot, address_of, mapped_v4};
use lb_common::hash::FlowHash;
use lb_userspace::dataplane::memory::Contents;
use lb_userspace::explain::explain;
use lb_userspace::model::{Document, Frontend};
use lb_userspace::plan::ServiceAddress;
use lb_userspace::reconcile::{HoldLimit, Settings, key_of};
use proptest::prelude::*;

use crate::fixture::*;

const SERVERS: [(u8, u32, bool); 2] = [(1, 1, false), (2, 1, false)];

/// Frontend `number` of load balancer 1 for a range, or a tombstone.
fn range(number: u128, first: u16, last: u16, deleted: Option<i64>) -> Document {
    let Document::Frontend(frontend) = frontend(number, 1, 1, first, deleted) else { unreachable!() };
    Document::Frontend(Frontend { inbound_port_end: NonZeroU16::new(last), ..frontend })
}

fn range_key(first: u16) -> ServiceKey {
    key_of(&ServiceAddress { is_range: true, ..service(1, first) })
}

fn whole(port: u16) -> RangeKey {
    let ServiceKey { address, protocol, port, .. } = key_of(&service(1, port));
    RangeKey { prefix_len: RangeKey::ALL_BITS, address, protocol, pad: 0, port }
}

/// The service that a port's packets find, as the program looks for it.
fn service_of(contents: &Contents, port: u16) -> Option<ServiceKey> {
    let exact = key_of(&service(1, port));
    if contents.services.contains_key(&exact) {
        return Some(exact);
    }
    let found = contents.ranges.iter().filter(|(prefix, _)| prefix.contains(&whole(port)));
    let (_, entry) = found.max_by_key(|(prefix, _)| prefix.prefix_len)?;
    let key = range_key(u16::from_be_bytes(entry.first));
    assert!(contents.services.contains_key(&key), "port {port} is led to nothing");
    Some(key)
}

/// A connection to port 8080 that is not on its slot's server, the slots marked as such a one leaves them.
fn strand(maps: &mut Contents) -> FlowKey {
    let entry = maps.services[&range_key(8000)];
    let slots = entry.slots_offset as usize..(entry.slots_offset + entry.slots_len) as usize;
    maps.slots[slots.clone()].iter_mut().for_each(|slot| slot.0 |= Slot::EXCEPTIONS);
    let flow = FlowKey {
        source: mapped_v4([198, 18, 0, 1]),
        destination: address_of(vip(1)),
        source_port: [200, 1],
        destination_port: 8080_u16.to_be_bytes(),
        protocol: 6,
        via: [0; 3],
    };
    let number = FlowHash::of_entry(&flow, entry.flags, CONFIG.hash_key).slot(entry.slots_len);
    let owner = maps.slots[slots][number as usize].backend_index();
    let (other, backend) = maps.backends.iter().find(|(index, _)| **index != owner).unwrap();
    let pinned = FlowEntry { seen: maps.tick, ..FlowEntry::naming(*other, backend.generation) };
    maps.pinned.insert(flow, pinned);
    flow
}

#[test]
fn the_sweep_leaves_the_connections_of_a_range_that_is_held_against_the_plan() {
    let (mut world, dataplane) = (World::new(), Shared::default());
    world.put_service(1, &SERVERS);
    world.put(&[range(5, 8000, 8999, None)]);
    world.settle(&mut world.agent(Arc::clone(&dataplane)));
    let mut flow = None;
    tamper(&dataplane, |maps| flow = Some(strand(maps)));
    let flow = flow.unwrap();

    let nothing_leaves =
        |settings: &mut Settings| settings.hold = HoldLimit { services: 0, percent: 0, ..settings.hold };
    let mut agent = world.agent_with(Arc::clone(&dataplane), nothing_leaves);
    world.put(&[range(5, 8000, 8999, Some(-9999))]);
    for _ in 0..4 {
        world.settle(&mut agent);
        world.wait(Duration::from_secs(400));
    }
    assert_eq!(agent.status().borrow().held, ["192.0.0.1 8000+/tcp"]);
    let maps = contents(&dataplane);
    assert!(maps.pinned.contains_key(&flow), "the connection's entry");
    let entry = maps.services[&range_key(8000)];
    let slots = maps.range(entry.slots_offset, entry.slots_len);
    assert_eq!(slots.iter().filter(|slot| slot.0 & Slot::EXCEPTIONS != 0).count(), 1, "its slot's mark, and no other");
}

#[test]
fn a_range_is_written_behind_its_service_and_taken_away_before_it() {
    let (mut world, dataplane) = (World::new(), Shared::default());
    world.put_service(1, &SERVERS);
    watch_every_write(&world, &dataplane);
    let mut agent = world.agent(Arc::clone(&dataplane));
    for change in [
        vec![range(5, 8000, 8999, None)],
        vec![range(5, 8000, 8099, None)],
        vec![range(5, 8001, 8099, None), range(6, 9000, 65535, None)],
        vec![range(5, 8001, 8050, None), range(6, 8051, 65535, None)],
        vec![range(5, 8001, 8050, Some(-9999)), range(6, 1, 65535, None)],
        vec![range(6, 1, 65535, Some(-9999))],
    ] {
        world.put(&change);
        world.settle(&mut agent);
        assert_holds(&contents(&dataplane), &world.plan());
        let before = writes(&dataplane);
        world.settle(&mut agent);
        assert_eq!(writes(&dataplane), before, "what is there is not written again");
    }
    assert!(contents(&dataplane).ranges.is_empty());
}

#[test]
fn a_port_for_itself_wins_over_the_range_around_it() {
    let (mut world, dataplane) = (World::new(), Shared::default());
    world.put_service(1, &SERVERS);
    world.put(&[range(5, 1, 65535, None)]);
    world.settle(&mut world.agent(Arc::clone(&dataplane)));
    let contents = contents(&dataplane);
    assert_eq!(service_of(&contents, 80), Some(key_of(&service(1, 80))));
    for port in [1, 79, 81, 65535] {
        assert_eq!(service_of(&contents, port), Some(range_key(1)));
    }
    let answer = explain(&dataplane, "198.51.100.7:4000".parse().unwrap(), service(1, 443), None).unwrap();
    assert_eq!(answer.steps[0].what, "no service has 192.0.0.1 443/tcp for itself; it is in the range from 1 on");
    assert_eq!((answer.opening.action, answer.opening.backend.unwrap().port), ("forward", 443));
}

#[test]
fn altered_ranges_are_written_again_and_strangers_go() {
    let (mut world, dataplane) = (World::new(), Shared::default());
    world.put_service(1, &SERVERS);
    world.put(&[range(5, 8000, 8999, None)]);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let right = contents(&dataplane);
    tamper(&dataplane, |contents| {
        let (key, entry) = contents.ranges.pop_first().unwrap();
        contents.ranges.insert(RangeKey { address: [7; 16], ..key }, entry);
    });
    world.wait(std::time::Duration::from_secs(2));
    let status = world.settle(&mut agent);
    assert_eq!(status.repaired.get("RANGES"), Some(&2), "{:?}", status.repairs);
    assert_eq!(contents(&dataplane).ranges, right.ranges);
}

#[test]
fn an_agent_that_starts_anew_finds_its_ranges_and_writes_nothing() {
    let (mut world, dataplane) = (World::new(), Shared::default());
    world.put_service(1, &SERVERS);
    world.put(&[range(5, 8000, 8999, None)]);
    world.settle(&mut world.agent(Arc::clone(&dataplane)));
    let before = writes(&dataplane);
    let status = world.settle(&mut world.agent(Arc::clone(&dataplane)));
    assert_eq!((writes(&dataplane), status.repaired.len()), (before, 0));
}

/// Up to three ranges that do not overlap.
fn ranges() -> impl Strategy<Value = Vec<(u16, u16)>> {
    let mark = prop_oneof![1_u16..=300, 1_u16..=65_535];
    proptest::collection::btree_set(mark, 0..7).prop_map(|marks| {
        marks.into_iter().collect::<Vec<_>>().chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    })
}

fn has(ranges: &[(u16, u16)], port: u16) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn prefixes_cover_exactly_the_ports_of_a_range(first in 1_u16.., last in any::<u16>(), probe in any::<u16>()) {
        let prefixes: Vec<RangeKey> = RangeKey::covering(&range_key(first), last).collect();
        prop_assert!(prefixes.len() <= 30);
        for port in [first, last, first - 1, last.saturating_add(1), last.saturating_sub(1), probe] {
            let covering = prefixes.iter().filter(|prefix| prefix.contains(&whole(port))).count();
            prop_assert_eq!(covering, usize::from((first..=last).contains(&port)), "port {}", port);
        }
    }

    #[test]
    fn a_port_that_two_plans_have_is_never_led_to_nothing(from in ranges(), to in ranges()) {
        let (mut world, dataplane) = (World::new(), Shared::default());
        world.put_service(1, &SERVERS);
        let mut agent = world.agent(Arc::clone(&dataplane));
        let documents = |ranges: &[(u16, u16)]| -> Vec<Document> {
            let document = |number: u8| match ranges.get(usize::from(number)) {
                Some((first, last)) => range(10 + u128::from(number), *first, *last, None),
                None => range(10 + u128::from(number), 60_000, 65_000, Some(-9999)),
            };
            (0..3).map(document).collect()
        };
        world.put(&documents(&from));
        world.settle(&mut agent);
        let marks = from.iter().chain(&to).flat_map(|(first, last)| [*first, *last, first / 2 + last / 2]);
        let both: Vec<u16> = marks.filter(|port| has(&from, *port) && has(&to, *port)).collect();
        dataplane.lock().unwrap().after_each_write(move |contents| {
            for port in &both {
                assert!(service_of(contents, *port).is_some(), "port {port} has no service for a moment");
            }
        });
        world.put(&documents(&to));
        world.settle(&mut agent);
        let contents = contents(&dataplane);
        for port in from.iter().chain(&to).flat_map(|(first, last)| [*first, *last]) {
            prop_assert_eq!(service_of(&contents, port).is_some(), has(&to, port) || port == 80, "port {}", port);
        }
    }
}
