//! What a pool's forwarding and algorithm make of the plan.

use lb_common::abi::backend::mode;
use lb_common::abi::service::flags;
use lb_userspace::model::{Algorithm, Backend, Document, Forwarding};
use lb_userspace::plan::{Resolution, Unresolved};
use lb_userspace::reconcile::key_of;

use crate::fixture::*;

const SERVERS: [(u8, u32, bool); 3] = [(1, 1, false), (2, 5, false), (3, 1, false)];

/// A world of one service, whose pool is changed.
fn world(change: impl FnOnce(&mut Backend)) -> World {
    let mut world = World::new();
    world.put_service(1, &SERVERS);
    let Document::Backend(mut pool) = backend(1, 1, &SERVERS, None) else { panic!("no pool") };
    change(&mut pool);
    world.put(&[Document::Backend(pool)]);
    world
}

/// The servers that slots of the one service lead to.
fn owners(world: &World) -> Vec<u8> {
    let tables = world.plan();
    let service = &tables.services[&service(1, 80)];
    let of = |position: &u16| (1..=9).find(|number| service.servers[usize::from(*position)] == reference(1, *number));
    let mut owners: Vec<u8> = service.slots.iter().filter_map(of).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

#[test]
fn first_sends_everything_to_the_first_usable_server_and_comes_back_to_it() {
    let mut world = world(|pool| pool.algorithm = Algorithm::First);
    let before = world.plan();
    assert_eq!(owners(&world), [1]);
    world.flip(1, 1);
    assert_eq!(owners(&world), [2], "weights do not count");
    world.flip(1, 2);
    assert_eq!(owners(&world), [3]);
    world.flip(1, 3);
    assert!(owners(&world).is_empty());
    for server in [1, 2, 3] {
        world.flip(1, server);
    }
    assert_eq!(world.plan().services, before.services);
}

#[test]
fn a_server_that_drains_is_not_the_first() {
    let world = world(|pool| {
        pool.algorithm = Algorithm::First;
        pool.servers[0].drain = true;
    });
    assert_eq!(owners(&world), [2]);
}

#[test]
fn l2_leads_to_servers_on_the_link_and_says_so_of_the_others() {
    let mut world = world(|pool| pool.forwarding = Forwarding::L2);
    let maps = Shared::default();
    let mut agent = world.agent(std::sync::Arc::clone(&maps));
    let Some(Resolution::Resolved(hop)) = world.hops.get(&server_address(2)).copied() else { panic!("no way") };
    let behind = lb_userspace::plan::NextHop { via_gateway: true, ..hop };
    world.hops.insert(server_address(2), Resolution::Resolved(behind));
    let status = world.settle(&mut agent);
    assert_eq!(status.unresolved, [(server_address(2), Unresolved::NotOnLink)].into());
    let held = contents(&maps);
    assert_eq!(held.services[&key_of(&service(1, 80))].flags & (flags::L2 | flags::NAT), flags::L2);
    assert!(held.backends.values().all(|entry| entry.mode == mode::L2));
}
