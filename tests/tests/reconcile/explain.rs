//! `explain` over the maps in memory.

use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::abi::{FlowEntry, Slot};
use lb_userspace::dataplane::Dataplane;
use lb_userspace::dataplane::chaos::{ChaosDataplane, Odds};
use lb_userspace::explain::{ExplainError, Explanation, explain};
use lb_userspace::model::{ClosedPort, Document, Lb, Protocol};
use lb_userspace::plan::{Resolution, ServiceAddress, Unresolved};
use lb_userspace::reconcile::key_of;

use crate::fixture::*;

fn client(number: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], number))
}

fn edge() -> (World, Shared) {
    let mut world = World::new();
    world.put_service(1, &[(1, 1, false), (2, 1, false), (3, 1, false)]);
    (world, Shared::default())
}

fn ask(maps: &Shared, number: u16) -> Explanation {
    explain(maps, client(number), service(1, 80), None).unwrap()
}

#[test]
fn a_packet_to_no_service_is_passed_unless_its_address_is_ours() {
    let (mut world, maps) = edge();
    world.settle(&mut world.agent(Arc::clone(&maps)));
    let other = ServiceAddress { port: 81, ..service(1, 80) };
    let answer = explain(&maps, client(1), other, None).unwrap();
    assert_eq!((answer.opening.action, answer.opening.reason, answer.steps.len()), ("reject", "closed_rejected", 1));
    let udp = ServiceAddress { protocol: Protocol::Udp, ..service(1, 80) };
    assert_eq!(explain(&maps, client(1), udp, None).unwrap().opening.action, "reject");
    let elsewhere = explain(&maps, client(1), service(99, 80), None).unwrap().opening;
    assert_eq!((elsewhere.action, elsewhere.reason), ("pass", "no_service"));
    let Document::Lb(of) = lb(1, None) else { unreachable!() };
    world.put(&[Document::Lb(Lb { on_closed_port: ClosedPort::Drop, ..of })]);
    world.settle(&mut world.agent(Arc::clone(&maps)));
    let silent = explain(&maps, client(1), other, None).unwrap().opening;
    assert_eq!((silent.action, silent.reason), ("drop", "closed_dropped"));
}

#[test]
fn every_step_is_the_one_the_maps_tell() {
    let (world, maps) = edge();
    world.settle(&mut world.agent(Arc::clone(&maps)));
    let answer = ask(&maps, 40_000);
    let contents = contents(&maps);
    let entry = contents.services[&key_of(&service(1, 80))];
    let slot = answer.slot.unwrap();
    let hash = u64::from_str_radix(answer.hash.as_ref().unwrap(), 16).unwrap();
    assert_eq!(slot.number, (((hash >> 32) * u64::from(entry.slots_len)) >> 32) as u32);
    let stored = contents.range(entry.slots_offset, entry.slots_len)[slot.number as usize];
    assert_eq!((slot.backend, slot.moving, slot.exceptions), (stored.backend_index(), false, false));
    let backend = answer.opening.backend.as_ref().unwrap();
    assert_eq!(lb_common::abi::address_of(backend.address), contents.backends[&slot.backend].address);
    assert!(backend.outer_source.unwrap().to_string().starts_with("10.9."));
    let hop = backend.next_hop.as_ref().unwrap();
    assert_eq!((hop.ifindex, hop.mac.as_str(), hop.largest_packet), (2, "02:02:02:02:02:02", 1480));
    assert_eq!(answer.established, None);
    assert_eq!(
        answer.steps.iter().map(|step| step.stage).collect::<Vec<_>>(),
        ["service", "hash", "slot", "steer", "forward", "transmit"]
    );
    assert_eq!(answer.verdict, format!("packets go: to server {}", backend.address));
    let text = answer.to_string();
    assert!(text.ends_with(&answer.verdict) && text.lines().count() == 7, "{text}");
}

#[test]
fn on_a_moving_slot_new_and_established_connections_part_until_an_entry_joins_them() {
    let (mut world, maps) = edge();
    let mut agent = world.agent(Arc::clone(&maps));
    world.settle(&mut agent);
    let port = (1..).find(|port| ask(&maps, *port).opening.backend.unwrap().address == server_address(1)).unwrap();
    world.put_service(1, &[(1, 1, true), (2, 1, false), (3, 1, false)]);
    world.settle(&mut agent);

    let answer = ask(&maps, port);
    assert!(answer.slot.unwrap().moving);
    let (opening, established) = (answer.opening.backend.unwrap(), answer.established.unwrap().backend.unwrap());
    assert_ne!(opening.address, server_address(1));
    assert_eq!(established.address, server_address(1));

    let [a, b] = port.to_be_bytes();
    let key = lb_common::abi::FlowKey {
        source: lb_common::abi::address_of(client(port).ip()),
        destination: lb_common::abi::address_of(vip(1)),
        source_port: [a, b],
        destination_port: 80u16.to_be_bytes(),
        protocol: 6,
        via: [0; 3],
    };
    let entry = FlowEntry::naming(established.index, established.generation);
    tamper(&maps, |maps| {
        maps.opened.insert(key, entry);
    });
    let answer = ask(&maps, port);
    assert_eq!((answer.opening.backend.unwrap().address, answer.established), (server_address(1), None));
    assert!(answer.flow.unwrap().valid);

    // An entry for another life of the index is void.
    tamper(&maps, |maps| {
        maps.opened.insert(key, FlowEntry { generation: entry.generation + 1, ..entry });
    });
    let answer = ask(&maps, port);
    assert!(!answer.flow.unwrap().valid);
    assert_eq!(answer.opening.backend.unwrap().address, opening.address);
}

#[test]
fn what_is_dropped_comes_with_its_reason_and_remedy() {
    let (mut world, maps) = edge();
    let mut agent = world.agent(Arc::clone(&maps));
    for server in 1..=3 {
        world.hops.insert(server_address(server), Resolution::Unresolved(Unresolved::NoRoute));
    }
    world.settle(&mut agent);
    let answer = ask(&maps, 1);
    assert_eq!((answer.opening.action, answer.opening.reason), ("drop", "next_hop_unresolved"));
    assert!(answer.verdict.contains("no route"), "{}", answer.verdict);

    tamper(&maps, |maps| maps.slots.iter_mut().for_each(|slot| *slot = Slot::to_backend(70_000)));
    assert_eq!(ask(&maps, 1).opening.reason, "no_backend");

    for server in 1..=3 {
        world.flip(1, server);
    }
    world.settle(&mut agent);
    assert_eq!((ask(&maps, 1).opening.action, ask(&maps, 1).opening.reason), ("reject", "rejected"));
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let (world, maps) = edge();
    world.settle(&mut world.agent(Arc::clone(&maps)));
    let v6 = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], 5));
    assert!(matches!(explain(&maps, v6, service(1, 80), None), Err(ExplainError::Family { .. })));
    let failing: &dyn Dataplane = &ChaosDataplane::new(maps, 1, Odds { reads: 1.0, writes: 0.0 });
    assert!(matches!(explain(failing, client(1), service(1, 80), None), Err(ExplainError::Dataplane(_))));
}
