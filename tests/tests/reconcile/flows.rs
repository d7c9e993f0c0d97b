//! Flows through changes: a plain model of the kernel's steering over the maps in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::backend::state;
use lb_common::abi::{FlowEntry, FlowKey, Slot, address_of, mapped_v4};
use lb_common::hash::FlowHash;
use lb_common::nat::lifetime;
use lb_userspace::dataplane::memory::Contents;
use lb_userspace::reconcile::{Reconciler, key_of};
use proptest::prelude::*;

use crate::fixture::*;

/// A client's connection.
fn flow(number: u32) -> FlowKey {
    let [a, b, c, d] = number.to_be_bytes();
    FlowKey {
        source: mapped_v4([198, 18, a, b]),
        destination: address_of(vip(1)),
        source_port: [c, d],
        destination_port: 80_u16.to_be_bytes(),
        protocol: 6,
        via: [0; 3],
    }
}

fn slot(contents: &Contents, offset: u32, len: u32, hash: FlowHash) -> Slot {
    contents.range(offset, len)[hash.slot(len) as usize]
}

/// The server that a TCP packet goes to; the flow tables learn what the program would note.
fn steer(maps: &Shared, number: u32, opens: bool) -> u64 {
    let mut maps = maps.lock().unwrap();
    let contents = maps.contents_mut();
    let (key, entry, tick) = (flow(number), contents.services[&key_of(&service(1, 80))], contents.tick);
    let hash = FlowHash::of_entry(&key, entry.flags, CONFIG.hash_key);
    let slot_now = slot(contents, entry.slots_offset, entry.slots_len, hash);
    let owner = slot_now.backend_index();
    let backends = contents.backends.clone();
    let is_up = |index: u32| backends.get(&index).is_some_and(|entry| entry.state & state::UP != 0);
    let valid = |entry: &FlowEntry| is_up(entry.backend) && backends[&entry.backend].generation == entry.generation;
    let naming = |index: u32| FlowEntry { seen: tick, ..FlowEntry::naming(index, backends[&index].generation) };
    let found = |flows: &mut BTreeMap<FlowKey, FlowEntry>| {
        let entry = flows.get_mut(&key)?;
        entry.seen = tick;
        Some(*entry).filter(valid)
    };
    let is_moving = slot_now.0 & Slot::MOVING != 0;
    let chosen = if slot_now.0 & (Slot::MOVING | Slot::EXCEPTIONS) == 0 {
        owner
    } else if let Some(entry) = found(&mut contents.pinned) {
        entry.backend
    } else if let Some(entry) = found(&mut contents.opened) {
        if is_moving && !opens {
            contents.pinned.insert(key, entry);
        }
        entry.backend
    } else if is_moving && opens {
        contents.opened.insert(key, naming(owner));
        owner
    } else if is_moving {
        let before = slot(contents, entry.previous_offset, entry.previous_len, hash).backend_index();
        if is_up(before) {
            contents.pinned.insert(key, naming(before));
            before
        } else {
            owner
        }
    } else {
        owner
    };
    backends[&chosen].identity
}

/// Lets time pass, for the edge and for the clock of its flows, until every sweep that is due is done.
fn pass(world: &mut World, maps: &Shared, agent: &mut Reconciler<Shared>, seconds: u64) {
    world.wait(Duration::from_secs(seconds));
    tamper(maps, |contents| contents.tick += lifetime::ticks(u32::try_from(seconds).unwrap()));
    for _ in 0..4 {
        world.settle(agent);
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// Weights (0 is not in the pool) and drains of six servers.
    Pool([u32; 6], [bool; 6]),
    Flip(u8),
    Open(u32),
    Wait(u64),
    Restart,
}

/// Pools of one to six servers of any weight: tables of a dozen lengths follow each other.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let pool = (
        prop::array::uniform6(prop::sample::select(vec![0, 1, 1, 1, 2, 7, 100])),
        prop::array::uniform6(prop::bool::weighted(0.2)),
    )
        .prop_map(|(weights, drains)| Event::Pool(weights, drains));
    let event = prop_oneof![
        2 => pool,
        2 => (1u8..7).prop_map(Event::Flip),
        6 => any::<u32>().prop_map(Event::Open),
        1 => prop::sample::select(vec![10u64, 1900, 3700]).prop_map(Event::Wait),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// A flow whose server stays up and in its pool reaches that server with every packet, through scaling, drains,
    /// health changes of others, restarts of the agent and the ends of windows.
    #[test]
    fn a_flow_keeps_a_server_that_lives(events in events()) {
        let mut world = World::new();
        let maps = Shared::default();
        world.put_service(1, &[(1, 1, false), (2, 1, false), (3, 1, false)]);
        watch_every_write(&world, &maps);
        let mut agent = world.agent(Arc::clone(&maps));
        world.settle(&mut agent);
        // Flows and the server that each was opened on.
        let mut flows: BTreeMap<u32, u64> = BTreeMap::new();
        for (step, event) in events.into_iter().enumerate() {
            match event {
                Event::Pool(weights, drains) => {
                    let servers: Vec<_> = (0..6).filter(|&number| weights[number] > 0)
                        .map(|number| (number as u8 + 1, weights[number], drains[number])).collect();
                    world.put_service(1, &servers);
                }
                Event::Flip(server) => world.flip(1, server),
                Event::Wait(seconds) => {
                    // Every flow speaks within a window.
                    for wait in [seconds / 2, seconds - seconds / 2] {
                        for (&number, &server) in &flows {
                            prop_assert_eq!(steer(&maps, number, false), server, "flow {}", number);
                        }
                        pass(&mut world, &maps, &mut agent, wait);
                    }
                }
                Event::Restart => agent = world.agent(Arc::clone(&maps)),
                Event::Open(number) => {
                    let len = contents(&maps).services[&key_of(&service(1, 80))].slots_len;
                    if len > 0 && !flows.contains_key(&number) {
                        flows.insert(number, steer(&maps, number, true));
                    }
                    continue;
                }
            }
            world.settle(&mut agent);
            let contents = contents(&maps);
            // A flow whose server is down, or was removed, is lost.
            let is_up = |server: u64| contents.backends.values()
                .any(|entry| entry.identity == server && entry.state & state::UP != 0);
            flows.retain(|_, server| is_up(*server));
            for (&number, &server) in &flows {
                // Flows are silent through most changes, but each speaks before a window ends.
                if number as usize % 4 != step % 4 {
                    continue;
                }
                prop_assert_eq!(steer(&maps, number, false), server, "flow {}", number);
            }
        }
        // While flows speak, nothing is lost and what the status says is so; when all are silent for a window, no entry
        // and no mark is left.
        for _ in 0..4 {
            for (&number, &server) in &flows {
                prop_assert_eq!(steer(&maps, number, false), server, "flow {}", number);
            }
            pass(&mut world, &maps, &mut agent, 1900);
        }
        let (left, status) = (contents(&maps), agent.status().borrow().clone());
        prop_assert_eq!(status.exceptions, (left.opened.len() + left.pinned.len()) as u64);
        let exceptional = |number: u32, server: u64| {
            let entry = left.services[&key_of(&service(1, 80))];
            let hash = FlowHash::of_entry(&flow(number), entry.flags, CONFIG.hash_key);
            let owner = slot(&left, entry.slots_offset, entry.slots_len, hash).backend_index();
            left.backends[&owner].identity != server
        };
        let needed = flows.iter().filter(|(number, server)| exceptional(**number, **server)).count();
        prop_assert_eq!(left.opened.len() + left.pinned.len(), needed, "one entry for each flow that needs one");
        for _ in 0..3 {
            pass(&mut world, &maps, &mut agent, 1900);
        }
        let (left, status) = (contents(&maps), agent.status().borrow().clone());
        prop_assert!(left.opened.is_empty() && left.pinned.is_empty(), "{:?} {:?}", left.opened, left.pinned);
        prop_assert!(left.slots_of(1).iter().all(|slot| slot.0 & (Slot::MOVING | Slot::EXCEPTIONS) == 0));
        prop_assert_eq!((status.exceptions, status.marked_slots), (0, 0));
    }
}

trait Slots {
    fn slots_of(&self, number: u128) -> &[Slot];
}

impl Slots for Contents {
    /// The table of a service.
    fn slots_of(&self, number: u128) -> &[Slot] {
        let entry = self.services[&key_of(&service(number, 80))];
        self.range(entry.slots_offset, entry.slots_len)
    }
}

/// An edge after a history of its own.
fn edge_after(history: &[Event]) -> (World, Shared, Reconciler<Shared>) {
    let mut world = World::new();
    let maps = Shared::default();
    world.put_service(1, &[(1, 1, false), (2, 1, false), (3, 1, false)]);
    let mut agent = world.agent(Arc::clone(&maps));
    world.settle(&mut agent);
    for event in history {
        match event {
            Event::Pool(weights, drains) => {
                let servers: Vec<_> = (0..6)
                    .filter(|&number| weights[number] > 0)
                    .map(|number| (number as u8 + 1, weights[number], drains[number]))
                    .collect();
                world.put_service(1, &servers);
            }
            Event::Flip(server) => world.flip(1, *server),
            Event::Wait(seconds) => world.wait(Duration::from_secs(*seconds)),
            Event::Restart => agent = world.agent(Arc::clone(&maps)),
            Event::Open(_) => continue,
        }
        world.settle(&mut agent);
    }
    (world, maps, agent)
}

/// The server of each slot. Indexes into `BACKENDS` are an edge's own.
fn servers_by_slot(maps: &Shared) -> Vec<u64> {
    let contents = contents(maps);
    let entry = contents.services[&key_of(&service(1, 80))];
    let slots = contents.range(entry.slots_offset, entry.slots_len);
    slots.iter().map(|slot| contents.backends[&slot.backend_index()].identity).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// So a flow may move from one edge to another in the middle of a connection.
    #[test]
    fn two_edges_with_different_pasts_and_the_same_present_hold_the_same_table(
        pasts in prop::array::uniform2(events()),
        weights in prop::array::uniform6(1u32..20),
        drains in prop::array::uniform6(prop::bool::weighted(0.2)),
        down in prop::collection::btree_set(1u8..7, 0..5),
    ) {
        let tables = pasts.map(|past| {
            let (mut world, maps, mut agent) = edge_after(&past);
            let servers: Vec<_> = (0..6).map(|number| (number as u8 + 1, weights[number], drains[number])).collect();
            world.put_service(1, &servers);
            world.down = down.iter().map(|server| (1, *server)).collect();
            world.settle(&mut agent);
            servers_by_slot(&maps)
        });
        prop_assert!(!tables[0].is_empty());
        prop_assert_eq!(&tables[0], &tables[1]);
    }
}
