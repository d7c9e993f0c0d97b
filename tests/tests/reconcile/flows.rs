//! Flows through changes: a plain model of the kernel's steering over the maps in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::backend::state;
use lb_common::abi::{FlowEntry, ServiceEntry, Slot};
use lb_userspace::dataplane::memory::Contents;
use lb_userspace::reconcile::key_of;
use proptest::prelude::*;

use crate::fixture::*;

/// The two flow tables, by hash instead of by tuple.
#[derive(Default)]
struct Tracked {
    opened: BTreeMap<u32, FlowEntry>,
    pinned: BTreeMap<u32, FlowEntry>,
}

fn slot(contents: &Contents, offset: u32, len: u32, hash: u32) -> Slot {
    contents.range(offset, len)[((u64::from(hash) * u64::from(len)) >> 32) as usize]
}

impl Tracked {
    /// The server that a TCP packet goes to.
    fn steer(&mut self, contents: &Contents, entry: &ServiceEntry, hash: u32, opens: bool) -> u64 {
        let slot_now = slot(contents, entry.slots_offset, entry.slots_len, hash);
        let owner = slot_now.backend_index();
        let is_up = |index: u32| contents.backends.get(&index).is_some_and(|entry| entry.state & state::UP != 0);
        let generation = |index: u32| contents.backends[&index].generation;
        let valid = |entry: &&FlowEntry| is_up(entry.backend) && generation(entry.backend) == entry.generation;
        let is_moving = slot_now.0 & Slot::MOVING != 0;
        let chosen = if slot_now.0 & (Slot::MOVING | Slot::EXCEPTIONS) == 0 {
            owner
        } else if let Some(entry) = self.pinned.get(&hash).filter(valid) {
            entry.backend
        } else if let Some(entry) = self.opened.get(&hash).filter(valid).copied() {
            if is_moving && !opens {
                self.pinned.insert(hash, entry);
            }
            entry.backend
        } else if is_moving && opens {
            self.opened.insert(hash, FlowEntry { backend: owner, generation: generation(owner) });
            owner
        } else if is_moving {
            let before = slot(contents, entry.previous_offset, entry.previous_len, hash).backend_index();
            if is_up(before) {
                self.pinned.insert(hash, FlowEntry { backend: before, generation: generation(before) });
                before
            } else {
                owner
            }
        } else {
            owner
        };
        contents.backends[&chosen].identity
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
        let mut tracked = Tracked::default();
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
                    let contents = contents(&maps);
                    let entry = contents.services[&key_of(&service(1, 80))];
                    for (&hash, &server) in &flows {
                        prop_assert_eq!(tracked.steer(&contents, &entry, hash, false), server, "flow {:#x}", hash);
                    }
                    world.wait(Duration::from_secs(seconds));
                }
                Event::Restart => agent = world.agent(Arc::clone(&maps)),
                Event::Open(hash) => {
                    let contents = contents(&maps);
                    let entry = contents.services[&key_of(&service(1, 80))];
                    if entry.slots_len > 0 && !flows.contains_key(&hash) {
                        let server = tracked.steer(&contents, &entry, hash, true);
                        flows.insert(hash, server);
                    }
                    continue;
                }
            }
            world.settle(&mut agent);
            let contents = contents(&maps);
            let entry = contents.services[&key_of(&service(1, 80))];
            // A flow whose server is down, or was removed, is lost.
            let is_up = |server: u64| contents.backends.values()
                .any(|entry| entry.identity == server && entry.state & state::UP != 0);
            flows.retain(|_, server| is_up(*server));
            for (&hash, &server) in &flows {
                // Flows are silent through most changes, but each speaks before a window ends.
                if hash as usize % 4 != step % 4 {
                    continue;
                }
                prop_assert_eq!(tracked.steer(&contents, &entry, hash, false), server, "flow {:#x}", hash);
            }
        }
    }
}

/// An edge after a history of its own.
fn edge_after(history: &[Event]) -> (World, Shared, lb_userspace::reconcile::Reconciler<Shared>) {
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
