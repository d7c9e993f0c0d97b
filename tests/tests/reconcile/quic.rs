//! Servers that QUIC connection ids name: what each change writes, and that no id ever names another server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::service::flags;
use lb_common::abi::{FlowEntry, QuicKey};
use lb_userspace::dataplane::chaos::{ChaosDataplane, Odds};
use lb_userspace::dataplane::memory::Contents;
use lb_userspace::explain::explain;
use lb_userspace::model::{Backend, Document, Protocol, Quic};
use lb_userspace::plan::ServiceAddress;
use lb_userspace::reconcile::{identity, key_of};

use crate::fixture::*;

/// Number, weight, and whether it drains.
type Servers<'a> = &'a [(u8, u32, bool)];

/// Pool 1 of UDP, whose connection ids name servers by so many bytes, or not at all.
fn pool(servers: Servers<'_>, length: u8) -> Document {
    let Document::Backend(backend) = backend(1, 1, servers, None) else { unreachable!() };
    let quic = Quic::changed(None, Some(length), (length > 0).then_some(2)).unwrap();
    Document::Backend(Backend { protocol: Protocol::Udp, quic, ..backend })
}

fn world(servers: Servers<'_>, length: u8) -> World {
    let mut world = World::new();
    world.put(&[lb(1, None), ip(1, Some(1), None), frontend(1, 1, 1, 80, None), pool(servers, length)]);
    world
}

fn udp() -> ServiceAddress {
    ServiceAddress { protocol: Protocol::Udp, ..service(1, 80) }
}

/// What the map should hold for these servers.
fn expected(contents: &Contents, servers: &[u8], length: u8) -> BTreeMap<QuicKey, FlowEntry> {
    let service = contents.services[&key_of(&udp())];
    assert_ne!(service.flags & flags::QUIC, 0);
    let entries = servers.iter().map(|server| {
        let identity = identity(reference(1, *server), 80);
        let (index, entry) = contents.backends.iter().find(|(_, entry)| entry.identity == identity).unwrap();
        let key = QuicKey::of(identity, service.id, 2, length);
        (key, FlowEntry::naming(*index, entry.generation))
    });
    entries.collect()
}

/// After every single write: what an id names is the server that has it, or void.
fn watch(dataplane: &Shared) {
    dataplane.lock().unwrap().after_each_write(|contents| {
        for (key, entry) in &contents.quic {
            let backend = contents.backends.get(&entry.backend);
            let named = backend.filter(|backend| backend.generation == entry.generation);
            let is_its_own = |identity| QuicKey::of(identity, key.service_id(), key.config, key.len) == *key;
            assert!(named.is_none_or(|backend| is_its_own(backend.identity)), "{key:?} names {entry:?}");
        }
    });
}

#[test]
fn every_server_of_the_pool_is_named_also_one_that_drains_or_is_down_and_none_that_left() {
    let (mut world, dataplane) = (world(&[(1, 1, false), (2, 1, false)], 4), Shared::default());
    watch(&dataplane);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let found = contents(&dataplane);
    assert_eq!(found.quic, expected(&found, &[1, 2], 4));
    let before = writes(&dataplane);
    world.settle(&mut agent);
    assert_eq!(writes(&dataplane), before, "what is there is not written again");

    world.flip(1, 1);
    world.put(&[pool(&[(1, 1, false), (2, 1, true), (3, 1, false)], 4)]);
    world.settle(&mut agent);
    let found = contents(&dataplane);
    assert_eq!(found.quic, expected(&found, &[1, 2, 3], 4));

    world.put(&[pool(&[(1, 1, false), (3, 1, false)], 4)]);
    world.settle(&mut agent);
    let found = contents(&dataplane);
    assert_eq!(found.quic, expected(&found, &[1, 3], 4));

    // Other ids, then none.
    world.put(&[pool(&[(1, 1, false), (3, 1, false)], 8)]);
    world.settle(&mut agent);
    let found = contents(&dataplane);
    assert_eq!(found.quic, expected(&found, &[1, 3], 8));
    world.put(&[pool(&[(1, 1, false), (3, 1, false)], 0)]);
    world.settle(&mut agent);
    let found = contents(&dataplane);
    assert_eq!((found.quic.len(), found.services[&key_of(&udp())].flags & flags::QUIC), (0, 0));
}

#[test]
fn the_ids_of_a_service_go_with_it() {
    let (mut world, dataplane) = (world(&[(1, 1, false)], 4), Shared::default());
    watch(&dataplane);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    assert_eq!(contents(&dataplane).quic.len(), 1);
    world.put(&[frontend(1, 1, 1, 80, Some(0))]);
    world.settle(&mut agent);
    assert!(contents(&dataplane).quic.is_empty());
}

#[test]
fn altered_ids_are_written_again_and_strangers_go() {
    let (mut world, dataplane) = (world(&[(1, 1, false), (2, 1, false)], 4), Shared::default());
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let right = contents(&dataplane);
    tamper(&dataplane, |contents| {
        let (key, entry) = contents.quic.pop_first().unwrap();
        contents.quic.insert(QuicKey { server: [7; 8], ..key }, entry);
        contents.quic.insert(QuicKey { service: [9; 4], ..key }, entry);
    });
    world.wait(Duration::from_secs(2));
    let status = world.settle(&mut agent);
    assert_eq!(status.repaired.get("QUIC_SERVERS"), Some(&2), "{:?}", status.repairs);
    assert_eq!(contents(&dataplane).quic, right.quic);
}

#[test]
fn an_agent_that_starts_anew_finds_its_ids_and_writes_nothing() {
    let (world, dataplane) = (world(&[(1, 1, false), (2, 1, false)], 4), Shared::default());
    world.settle(&mut world.agent(Arc::clone(&dataplane)));
    let before = writes(&dataplane);
    let status = world.settle(&mut world.agent(Arc::clone(&dataplane)));
    assert_eq!((writes(&dataplane), status.repaired.len()), (before, 0));
}

#[test]
fn writes_that_fail_are_made_until_every_server_is_named() {
    for seed in 0..20 {
        let mut world = world(&[(1, 1, false), (2, 1, false), (3, 1, false)], 4);
        let odds = Odds { reads: 0.1, writes: 0.3 };
        let dataplane = Shared::default();
        watch(&dataplane);
        let mut agent = world.agent(ChaosDataplane::new(Arc::clone(&dataplane), seed, odds));
        world.activate(&mut agent);
        world.put(&[pool(&[(1, 1, false), (3, 1, true), (4, 1, false)], 4)]);
        for _ in 0..200 {
            world.activate(&mut agent);
            world.wait(Duration::from_secs(11));
        }
        let found = contents(&dataplane);
        assert_eq!(found.quic, expected(&found, &[1, 3, 4], 4), "seed {seed}");
    }
}

#[test]
fn explain_says_which_server_an_id_names_and_what_an_id_of_nobody_is() {
    let (world, dataplane) = (world(&[(1, 1, false), (2, 1, false)], 4), Shared::default());
    world.settle(&mut world.agent(Arc::clone(&dataplane)));
    let quic = Quic::changed(None, Some(4), Some(2)).unwrap().unwrap();
    for server in [1, 2] {
        let id = format!("48{}00112233", quic.server_id(identity(reference(1, server), 80)));
        for port in [4000, 4001, 4002] {
            let client = ([198, 51, 100, 7], port).into();
            let answer = explain(&dataplane, client, udp(), Some(&id.parse().unwrap())).unwrap();
            let backend = answer.opening.backend.clone().unwrap();
            assert_eq!((backend.address, answer.opening.chosen), (server_address(server), Some(NAMED)), "{answer}");
            assert!(answer.steps.iter().any(|step| step.stage == "quic" && step.what.contains(&id[2..10])), "{answer}");
            assert_eq!(answer.slot, None);
        }
    }
    let client = ([198, 51, 100, 7], 4000).into();
    let stranger = explain(&dataplane, client, udp(), Some(&"08aabbccdd".parse().unwrap())).unwrap();
    assert!(stranger.to_string().contains("no connection id of configuration 2"), "{stranger}");
    assert!(stranger.slot.is_some());
}

const NAMED: &str = "the QUIC connection id names this server";
