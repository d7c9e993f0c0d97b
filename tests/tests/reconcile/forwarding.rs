//! What a pool's forwarding and algorithm make of the plan.

use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::backend::{mode, state};
use lb_common::abi::service::flags;
use lb_userspace::model::{Algorithm, Backend, Document, Duty, Forwarding, Server, Weight};
use lb_userspace::plan::{Planner, Resolution, Unresolved};
use lb_userspace::reconcile::{identity, key_of};

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
        pool.servers[0] = Server::draining(server_address(1), Weight::ONE, at(0));
    });
    assert_eq!(owners(&world), [2]);
}

#[test]
fn standbys_serve_while_no_other_server_takes_flows_and_go_back_to_standing_by() {
    let mut world = world(|pool| {
        pool.servers[1].backup = true;
        pool.servers[2].backup = true;
    });
    assert_eq!(owners(&world), [1]);
    world.flip(1, 1);
    assert_eq!(owners(&world), [2, 3], "by their weights");
    world.flip(1, 2);
    assert_eq!(owners(&world), [3]);
    world.flip(1, 3);
    assert!(owners(&world).is_empty());
    world.flip(1, 1);
    assert_eq!(owners(&world), [1]);
}

#[test]
fn a_pool_that_drains_as_a_whole_goes_to_its_standby_first() {
    let mut world = world(|pool| {
        pool.servers[0] = Server::draining(server_address(1), Weight::ONE, at(0));
        pool.servers[1] = Server::draining(server_address(2), Weight::ONE, at(0));
        pool.servers[2].backup = true;
    });
    assert_eq!(owners(&world), [3]);
    world.flip(1, 3);
    assert_eq!(owners(&world), [1, 2], "there is nowhere else to go");
}

#[test]
fn a_drain_ends_at_its_deadline_and_takes_the_server_out_of_the_maps() {
    let mut world = world(|pool| {
        pool.servers[0].duty = Duty::Drains { since: at(0), at_most: Some(Duration::from_secs(60)) };
    });
    let maps = Shared::default();
    let mut agent = world.agent(Arc::clone(&maps));
    world.settle(&mut agent);
    let held = |number| {
        let wanted = identity(reference(1, number), 80);
        contents(&maps).backends.into_values().find(|entry| entry.identity == wanted)
    };
    assert_eq!(owners(&world), [2, 3]);
    assert!(held(1).is_some_and(|entry| entry.state & state::UP != 0), "its connections go on");

    let mut wakes = Planner::new(settings().seed, GRACE);
    wakes.plan(&world.snapshot, &world.health(), &world.node(), world.now);
    assert_eq!(wakes.next_change(), Some(at(60)), "nobody has to say that the time is over");

    world.now = at(60);
    world.settle(&mut agent);
    assert_eq!(owners(&world), [2, 3]);
    assert!(held(1).is_none_or(|entry| entry.state & state::UP == 0), "its connections end");
    world.wait(settings().backend_grace);
    world.settle(&mut agent);
    assert_eq!(held(1), None);
    assert_holds(&contents(&maps), &world.plan());

    // Even where it is the last one: it is out.
    world.flip(1, 2);
    world.flip(1, 3);
    assert!(owners(&world).is_empty());
}

/// Slots of a server, of 256 or more.
fn slots_of(world: &World, number: u8) -> usize {
    let tables = world.plan();
    let service = &tables.services[&service(1, 80)];
    service.slots.iter().filter(|slot| service.servers[usize::from(**slot)] == reference(1, number)).count()
}

#[test]
fn a_new_server_rises_step_by_step_and_takes_slots_from_the_others_only() {
    let mut world = world(|pool| {
        pool.slow_start = Some(Duration::from_secs(160));
        pool.servers[2].duty = Duty::Serves { since: at(1000) };
    });
    world.now = at(1000);
    let mut planner = Planner::new(settings().seed, GRACE);
    let (mut before, mut steps) = (0, 0);
    loop {
        let tables = planner.plan(&world.snapshot, &world.health(), &world.node(), world.now);
        let now = slots_of(&world, 3);
        assert!(now > before, "at {} it has {now} slots, {before} before", world.now);
        assert!(tables.services[&service(1, 80)].slots == world.plan().services[&service(1, 80)].slots);
        (before, steps) = (now, steps + 1);
        let Some(next) = planner.next_change() else { break };
        world.now = next;
    }
    assert_eq!((steps, world.now.duration_since(at(1000)).as_secs()), (16, 150), "sixteen steps in fifteen sixteenths");
    let whole = slots_of(&world, 3);
    world.now = at(100_000);
    assert_eq!(slots_of(&world, 3), whole);
}

#[test]
fn a_server_that_came_back_rises_too_and_one_alone_serves_at_once() {
    let mut world = world(|pool| pool.slow_start = Some(Duration::from_secs(160)));
    world.now = at(5000);
    let whole = slots_of(&world, 2);
    world.rose.insert((1, 2), world.now);
    let first = slots_of(&world, 2);
    assert!(first > 0 && first < whole / 4, "{first} of {whole}");
    world.flip(1, 1);
    world.flip(1, 3);
    assert!(slots_of(&world, 2) >= 256, "there is nobody else");
    world.rose.extend([((1, 1), world.now), ((1, 3), world.now)]);
    world.flip(1, 1);
    world.flip(1, 3);
    assert_eq!(slots_of(&world, 2), whole, "where all rise together, they are even");
}

#[test]
fn leastconn_goes_by_measured_shares_and_the_others_do_not() {
    let mut world = world(|pool| pool.algorithm = Algorithm::Leastconn);
    let equal = slots_of(&world, 2);
    world.shares = Arc::new([(reference(1, 2), 64)].into());
    let measured = slots_of(&world, 2);
    assert!(measured > 0 && measured < equal, "{measured} of {equal}");
    let moved = world.plan();
    world.shares = Arc::default();
    assert_ne!(world.plan().services, moved.services);

    let other = world_with_share(|_| {});
    assert_eq!(slots_of(&other, 2), equal);
}

/// A world in which something was measured of a pool.
fn world_with_share(change: impl FnOnce(&mut Backend)) -> World {
    let mut world = world(change);
    world.shares = Arc::new([(reference(1, 2), 64)].into());
    world
}

#[test]
fn l2_leads_to_servers_on_the_link_and_says_so_of_the_others() {
    let mut world = world(|pool| pool.forwarding = Forwarding::L2);
    let maps = Shared::default();
    let mut agent = world.agent(Arc::clone(&maps));
    let Some(Resolution::Resolved(hop)) = world.hops.get(&server_address(2)).copied() else { panic!("no way") };
    let behind = lb_userspace::plan::NextHop { via_gateway: true, ..hop };
    world.hops.insert(server_address(2), Resolution::Resolved(behind));
    let status = world.settle(&mut agent);
    assert_eq!(status.unresolved, [(server_address(2), Unresolved::NotOnLink)].into());
    let held = contents(&maps);
    assert_eq!(held.services[&key_of(&service(1, 80))].flags & (flags::L2 | flags::NAT), flags::L2);
    assert!(held.backends.values().all(|entry| entry.mode == mode::L2));
}
