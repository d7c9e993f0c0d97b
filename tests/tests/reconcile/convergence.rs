//! From any state of the maps, through any history, with writes that fail: the maps end as the plan says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_common::abi::{AclKey, BackendEntry, ConfigEntry, ProtectionEntry, ServiceKey, Slot};
use lb_userspace::dataplane::chaos::Odds;
use lb_userspace::dataplane::memory::Contents;
use lb_userspace::dataplane::{ChaosDataplane, Dataplane, MemoryDataplane, Publish};
use lb_userspace::model::{Document, Frontend, RateLimits};
use lb_userspace::plan::{Resolution, Unresolved};
use lb_userspace::reconcile::{Reconciler, identity, key_of};
use proptest::prelude::*;

use crate::fixture::*;

#[derive(Clone, Debug)]
enum Event {
    Pool(u128, Vec<(u8, u32, bool)>),
    Delete(u128),
    Rule(u128, bool, Vec<u8>, bool),
    Limit(u128, u32),
    Flip(u128, u8),
    Way(u8, Option<u32>),
    Wait(u64),
    Restart,
    Tamper(Vandalism),
}

#[derive(Clone, Debug)]
enum Vandalism {
    DeleteService(u128),
    ZeroBackend(u32),
    SwapBackend(u32, u64),
    Slot(u32, u32),
    Config,
    Egress,
    AclLine(usize),
    StrayAcl(u32),
    Protection(u32),
}

fn pools() -> impl Strategy<Value = Vec<(u8, u32, bool)>> {
    prop::collection::btree_map(1u8..7, (1u32..4, prop::bool::weighted(0.2)), 0..6)
        .prop_map(|servers| servers.into_iter().map(|(server, (weight, drain))| (server, weight, drain)).collect())
}

fn peaceful() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1u128..5, pools()).prop_map(|(number, servers)| Event::Pool(number, servers)),
        1 => (1u128..5).prop_map(Event::Delete),
        2 => (1u128..5, any::<bool>(), prop::collection::vec(0u8..4, 1..3), prop::bool::weighted(0.2))
            .prop_map(|(number, allows, networks, deleted)| Event::Rule(number, allows, networks, deleted)),
        1 => (1u128..5, 0u32..3).prop_map(|(number, packets)| Event::Limit(number, packets)),
        4 => (1u128..5, 1u8..7).prop_map(|(pool, server)| Event::Flip(pool, server)),
        2 => (1u8..7, prop::option::of(2u32..5)).prop_map(|(server, ifindex)| Event::Way(server, ifindex)),
        3 => prop::sample::select(vec![1u64, 6, 3700]).prop_map(Event::Wait),
        1 => Just(Event::Restart),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let vandalism = prop_oneof![
        (1u128..5).prop_map(Vandalism::DeleteService),
        (0u32..12).prop_map(Vandalism::ZeroBackend),
        (0u32..12, 1u64..4).prop_map(|(index, identity)| Vandalism::SwapBackend(index, identity)),
        (0u32..2000, any::<u32>()).prop_map(|(slot, value)| Vandalism::Slot(slot, value)),
        Just(Vandalism::Config),
        Just(Vandalism::Egress),
        (0usize..20).prop_map(Vandalism::AclLine),
        (0u32..4).prop_map(Vandalism::StrayAcl),
        (0u32..4).prop_map(Vandalism::Protection),
    ];
    prop_oneof![4 => peaceful(), 1 => vandalism.prop_map(Event::Tamper)]
}

impl Vandalism {
    fn on(&self, maps: &mut Contents) {
        match *self {
            Self::DeleteService(number) => {
                maps.services.remove(&key_of(&service(number, 80)));
            }
            Self::ZeroBackend(index) => {
                maps.backends.remove(&index);
            }
            Self::SwapBackend(index, identity) => {
                if let Some(entry) = maps.backends.get(&index).copied() {
                    maps.backends.insert(index, BackendEntry { identity, ..entry });
                }
            }
            Self::Slot(slot, value) => {
                if let Some(slot) = maps.slots.get_mut(slot as usize) {
                    *slot = Slot(value);
                }
            }
            Self::Config => maps.config = None,
            Self::AclLine(position) => {
                if let Some(key) = maps.acl.keys().nth(position).copied() {
                    maps.acl.remove(&key);
                }
            }
            Self::StrayAcl(acl) => {
                maps.acl.insert(AclKey { prefix_len: 32 + 128, acl, address: [9; 16] }, 2);
            }
            Self::Protection(id) => {
                if let Some(entry) = maps.protection.get_mut(&id) {
                    *entry = ProtectionEntry { acl: entry.acl + 1, ..ProtectionEntry::default() };
                }
            }
            Self::Egress => {
                maps.egress.insert(99);
            }
        }
    }
}

type Chaotic = ChaosDataplane<Shared>;

/// One history on one edge.
struct Run {
    world: World,
    maps: Shared,
    seed: u64,
    odds: Odds,
    agent: Reconciler<Chaotic>,
}

impl Run {
    fn new(maps: MemoryDataplane, seed: u64, odds: Odds) -> Self {
        let world = World::new();
        let maps = Arc::new(Mutex::new(maps));
        let agent = world.agent(ChaosDataplane::new(Arc::clone(&maps), seed, odds));
        Self { world, maps, seed, odds, agent }
    }

    fn play(&mut self, event: &Event) {
        match event {
            Event::Pool(number, servers) => self.world.put_service(*number, servers),
            Event::Delete(number) => {
                let second = self.world.now.as_second() - at(0).as_second();
                self.world.put(&[lb(*number, Some(second))]);
            }
            Event::Rule(number, allows, networks, is_deleted) => {
                self.world.put(&[acl(*number, *allows, networks, is_deleted.then_some(1))]);
            }
            Event::Limit(number, packets) => {
                let Document::Frontend(before) = frontend(*number, *number, *number, 80, None) else { unreachable!() };
                let limits = RateLimits { packets: *packets, ..RateLimits::default() };
                self.world.put(&[Document::Frontend(Frontend { limits, ..before })]);
            }
            Event::Flip(pool, server) => self.world.flip(*pool, *server),
            Event::Way(server, ifindex) => {
                let way = ifindex.map_or(Resolution::Unresolved(Unresolved::NoNeighbour), resolved);
                self.world.hops.insert(server_address(*server), way);
            }
            Event::Wait(seconds) => self.world.wait(Duration::from_secs(*seconds)),
            Event::Restart => {
                self.seed += 1;
                let maps = ChaosDataplane::new(Arc::clone(&self.maps), self.seed, self.odds);
                self.agent = self.world.agent(maps);
            }
            Event::Tamper(vandalism) => tamper(&self.maps, |maps| vandalism.on(maps)),
        }
        self.world.activate(&mut self.agent);
    }

    /// Activates as often as it asks for, until an audit has passed without an error; not forever.
    fn calm_down(&mut self) {
        for _ in 0..2000 {
            let activation = self.world.activate(&mut self.agent);
            let is_calm = self.agent.status().borrow().last_error.is_none();
            if activation.audited_in.is_some() && is_calm {
                return;
            }
            self.world.now = activation.next.max(self.world.now);
        }
        panic!("never calm: {:?}", self.agent.status().borrow());
    }

    /// Everything repaired, every grace over.
    fn conclude(&mut self) {
        // Two audits: one finds what was altered, the other that the writes stand; and the grace between them.
        for _ in 0..3 {
            self.world.wait(settings().backend_grace);
            self.calm_down();
        }
    }
}

/// Maps as nobody would leave them.
fn arbitrary_maps() -> impl Strategy<Value = MemoryDataplane> {
    let entry = (
        0u32..20,
        prop_oneof![(1u128..5, 1u8..7).prop_map(|(pool, server)| identity(reference(pool, server), 80)), 1u64..9],
        any::<u8>(),
        any::<u32>(),
    );
    let table = (
        1u128..8,
        prop::collection::vec((0u32..24, 0u32..8), 0..40),
        prop::collection::vec(0u32..24, 0..40),
        0u32..5,
        any::<u32>(),
    );
    (prop::collection::vec(entry, 0..12), prop::collection::vec(table, 0..6), any::<bool>()).prop_map(
        |(entries, tables, with_config)| {
            let mut maps = MemoryDataplane::new();
            for (index, identity, state, generation) in entries {
                let entry = BackendEntry {
                    address: [state; 16],
                    next_hop_mac: [state; 6],
                    vlan_outer: [0; 2],
                    source_mac: [1; 6],
                    vlan_inner: [0; 2],
                    ifindex: u32::from(state),
                    mtu: 9000,
                    port: [state; 2],
                    mode: state,
                    state,
                    pad: [0; 2],
                    generation,
                    identity,
                };
                maps.write_backend(index, &entry).unwrap();
            }
            for (number, slots, previous, id, flags) in tables {
                let slots: Vec<Slot> = slots.into_iter().map(|(index, bits)| Slot(index | bits << 29)).collect();
                let previous: Vec<Slot> = previous.into_iter().map(Slot).collect();
                let key = ServiceKey { kind: u8::from(number == 7), ..key_of(&service(number, 80)) };
                let protection = ProtectionEntry { acl: id % 5, ..ProtectionEntry::default() };
                maps.publish_service(
                    &key,
                    &Publish { id, flags, slots: &slots, previous: &previous, protection, generation: 0 },
                )
                .unwrap();
            }
            if with_config {
                maps.contents_mut().config = Some(ConfigEntry { hash_key: [0, 0], ..CONFIG });
                maps.contents_mut().egress = [1, 2, 3].into();
            }
            maps
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn from_any_state_through_any_history_the_maps_end_as_planned(
        maps in arbitrary_maps().no_shrink(), events in prop::collection::vec(any_event(), 0..30), seed: u64,
    ) {
        let mut run = Run::new(maps, seed / 2, Odds { reads: 0.1, writes: 0.1 });
        for event in &events {
            run.play(event);
        }
        run.conclude();
        assert_holds(&contents(&run.maps), &run.world.plan());

        // Until windows are over, and the sweep behind them.
        for _ in 0..12 {
            run.world.wait(Duration::from_secs(600));
            run.calm_down();
        }
        let before = writes(&run.maps);
        run.calm_down();
        run.play(&Event::Restart);
        run.calm_down();
        prop_assert_eq!(writes(&run.maps), before, "applying twice writes nothing");
        prop_assert_eq!(run.agent.status().borrow().applied_generation, run.world.snapshot.generation().0);
    }

    #[test]
    fn after_every_single_write_each_service_points_at_its_own_servers(
        events in prop::collection::vec(peaceful(), 0..40), seed: u64,
    ) {
        let mut run = Run::new(MemoryDataplane::new(), seed / 2, Odds { reads: 0.1, writes: 0.1 });
        watch_every_write(&run.world, &run.maps);
        for event in &events {
            run.play(event);
        }
        run.conclude();
        assert_holds(&contents(&run.maps), &run.world.plan());
    }

    #[test]
    fn the_order_in_which_changes_arrived_does_not_show(
        (one, other) in prop::collection::vec(peaceful(), 0..12).prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
    ) {
        // Both end in the same world; only the way there differs.
        let mut runs = [one, other].map(|events| {
            let mut run = Run::new(MemoryDataplane::new(), 1, Odds::default());
            for event in &events {
                run.play(event);
            }
            run
        });
        let [first, second] = &mut runs;
        second.world.snapshot = first.world.snapshot.clone().after(
            first.world.snapshot.generation().max(second.world.snapshot.generation()),
            lb_userspace::ledger::ChainHash::GENESIS,
            [],
        );
        second.world.down = first.world.down.clone();
        second.world.hops = first.world.hops.clone();
        second.world.now = second.world.now.max(first.world.now);
        first.world.now = second.world.now;
        first.conclude();
        second.conclude();
        assert_holds(&contents(&first.maps), &second.world.plan());
        assert_holds(&contents(&second.maps), &first.world.plan());
    }
}
