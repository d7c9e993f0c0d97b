//! One step at a time: what each change writes, and what is repaired.

use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::backend::state;
use lb_common::abi::{BackendEntry, ServiceEntry, Slot, VipEntry};
use lb_userspace::dataplane::Dataplane;
use lb_userspace::explain::explain;
use lb_userspace::model::{Document, Generation, Measure, MeasureId, Person, Place, Reason, Times, What};
use lb_userspace::plan::{Resolution, Unresolved};
use lb_userspace::reconcile::{health_left_in, identity, key_of};
use tokio_util::sync::CancellationToken;

use crate::fixture::*;

const THREE: [(u8, u32, bool); 3] = [(1, 1, false), (2, 1, false), (3, 1, false)];
const SECOND: Duration = Duration::from_secs(1);

fn two_services() -> (World, Shared) {
    let mut world = World::new();
    world.put_service(1, &THREE);
    world.put_service(2, &THREE);
    (world, Shared::default())
}

fn flagged(dataplane: &Shared, number: u128, flag: u32) -> usize {
    let contents = contents(dataplane);
    let entry = contents.services[&key_of(&service(number, 80))];
    contents.range(entry.slots_offset, entry.slots_len).iter().filter(|slot| slot.0 & flag != 0).count()
}

#[test]
fn empty_maps_are_filled_and_a_second_activation_writes_nothing() {
    let (world, dataplane) = two_services();
    watch_every_write(&world, &dataplane);
    let mut agent = world.agent(Arc::clone(&dataplane));
    let status = world.settle(&mut agent);
    assert_holds(&contents(&dataplane), &world.plan());
    assert_eq!((status.applied_generation, status.services, status.backends, status.repaired.len()), (2, 2, 6, 0));
    let before = writes(&dataplane);
    world.settle(&mut agent);
    assert_eq!(writes(&dataplane), before);
}

#[test]
fn a_new_agent_adopts_what_it_finds_and_writes_nothing() {
    let (mut world, dataplane) = two_services();
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    world.put_service(1, &[(1, 1, true), (2, 1, false), (3, 1, false)]);
    world.flip(2, 1);
    world.settle(&mut agent);
    assert!(flagged(&dataplane, 1, Slot::MOVING) > 0, "the drained server's slots move");

    let (before, held) = (writes(&dataplane), contents(&dataplane));
    let mut next = world.agent(Arc::clone(&dataplane));
    let status = world.settle(&mut next);
    assert_eq!(writes(&dataplane), before);
    assert_eq!(contents(&dataplane), held);
    assert_eq!((status.repaired.len(), status.services, status.applied_generation), (0, 2, 3));
}

#[test]
fn a_new_agent_that_knows_nothing_yet_keeps_ways_and_verdicts() {
    let (mut world, dataplane) = two_services();
    world.flip(1, 1);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let held = contents(&dataplane);

    let mut next = world.agent(Arc::clone(&dataplane));
    world.forget_observations();
    next.activate(world.now);
    assert_eq!(contents(&dataplane), held, "neither checker nor watcher has spoken");
    assert_eq!(next.status().borrow().unresolved.len(), 3);
    let left = health_left_in(&dataplane.lock().unwrap().observe().unwrap(), &world.snapshot);
    assert_eq!(left.len(), 6);
    assert_eq!(left.iter().filter(|(_, up)| !**up).map(|(server, _)| *server).collect::<Vec<_>>(), [reference(1, 1)]);

    world.flip(1, 1);
    world.hops.insert(server_address(2), Resolution::Unresolved(Unresolved::NoRoute));
    world.settle(&mut next);
    assert_holds(&contents(&dataplane), &world.plan());
}

#[test]
fn a_change_touches_its_own_service_only() {
    let (mut world, dataplane) = two_services();
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let before = writes(&dataplane);
    world.flip(1, 2);
    world.settle(&mut agent);
    assert_eq!(writes(&dataplane) - before, 2, "the server's entry and the service");
    assert_eq!(flagged(&dataplane, 1, Slot::MOVING), 0, "a dead server's flows are not waited for");
    assert_holds(&contents(&dataplane), &world.plan());
}

#[test]
fn a_drained_server_keeps_its_flows_through_the_window_and_its_exceptions_after_it() {
    let (mut world, dataplane) = two_services();
    watch_every_write(&world, &dataplane);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    world.put_service(1, &[(1, 1, true), (2, 1, false), (3, 1, false)]);
    world.settle(&mut agent);
    let moving = flagged(&dataplane, 1, Slot::MOVING);
    assert!((165..=175).contains(&moving), "a third of 512 slots is moving, not {moving}");
    let drained = identity(reference(1, 1), 80);
    let entry = *contents(&dataplane).backends.values().find(|entry| entry.identity == drained).unwrap();
    assert!(entry.state & state::UP != 0);

    world.wait(settings().moving_window - SECOND);
    world.settle(&mut agent);
    assert_eq!(flagged(&dataplane, 1, Slot::MOVING), moving);
    world.wait(SECOND);
    world.settle(&mut agent);
    assert_eq!((flagged(&dataplane, 1, Slot::MOVING), flagged(&dataplane, 1, Slot::EXCEPTIONS)), (0, moving));
    assert_holds(&contents(&dataplane), &world.plan());
}

#[test]
fn the_next_activation_is_asked_for_when_the_window_ends() {
    let (mut world, dataplane) = two_services();
    let mut agent = lb_userspace::reconcile::Reconciler::new(
        Arc::clone(&dataplane),
        world.sources(),
        lb_userspace::reconcile::Settings { audit_interval: Duration::from_secs(86_400), ..settings() },
    );
    world.settle(&mut agent);
    world.put_service(1, &[(1, 1, true), (2, 1, false), (3, 1, false)]);
    world.settle(&mut agent);
    assert_eq!(world.activate(&mut agent).next, world.now + settings().moving_window);
}

#[test]
fn a_removed_server_is_freed_after_its_grace_and_its_index_returns_with_another_generation() {
    let (mut world, dataplane) = two_services();
    watch_every_write(&world, &dataplane);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let removed = identity(reference(1, 3), 80);
    let find = |identity| contents(&dataplane).backends.into_iter().find(|(_, entry)| entry.identity == identity);
    let (index, entry) = find(removed).unwrap();

    world.put_service(1, &THREE[..2]);
    world.settle(&mut agent);
    assert_eq!(find(removed).unwrap().1.state & state::UP, 0, "its flows end with the removal");
    world.wait(settings().backend_grace);
    world.settle(&mut agent);
    assert_holds(&contents(&dataplane), &world.plan());

    world.put_service(1, &[(1, 1, false), (2, 1, false), (4, 1, false)]);
    world.settle(&mut agent);
    let (reused, next) = find(identity(reference(1, 4), 80)).unwrap();
    assert_eq!(reused, index);
    assert!(next.generation > entry.generation);
}

#[test]
fn what_somebody_altered_is_repaired_and_reported() {
    let (mut world, dataplane) = two_services();
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let intact = contents(&dataplane);
    let key = key_of(&service(1, 80));
    let (&index, &entry) = intact.backends.iter().next().unwrap();
    let stranger = BackendEntry { identity: 99, ..entry };
    let foreign = key_of(&service(7, 443));

    type Change = Box<dyn Fn(&mut lb_userspace::dataplane::memory::Contents)>;
    let changes: Vec<(&str, Change)> = vec![
        ("CONFIG", Box::new(|maps| maps.config.as_mut().unwrap().hash_key[0] ^= 1)),
        (
            "EGRESS",
            Box::new(|maps| {
                maps.egress.insert(77);
            }),
        ),
        ("EGRESS", Box::new(|maps| maps.egress.clear())),
        (
            "BACKENDS",
            Box::new(move |maps| {
                maps.backends.remove(&index);
            }),
        ),
        ("BACKENDS", Box::new(move |maps| maps.backends.get_mut(&index).unwrap().ifindex = 5)),
        (
            "BACKENDS",
            Box::new(move |maps| {
                maps.backends.insert(index, stranger);
            }),
        ),
        (
            "SERVICES_V4",
            Box::new(move |maps| {
                maps.services.remove(&key);
            }),
        ),
        ("SERVICES_V4", Box::new(move |maps| maps.services.get_mut(&key).unwrap().flags ^= 2)),
        ("SERVICES_V4", Box::new(move |maps| maps.services.get_mut(&key).unwrap().slots_len = 3)),
        ("SERVICES_V4", Box::new(move |maps| maps.services.get_mut(&key).unwrap().generation = u64::MAX)),
        ("SERVICES_V4", Box::new(move |maps| maps.slots[maps.services[&key].slots_offset as usize + 5] = Slot(12_345))),
        (
            "SERVICES_V4",
            Box::new(move |maps| {
                let entry = ServiceEntry { id: 60_000, ..maps.services[&key] };
                maps.services.insert(foreign, entry);
            }),
        ),
    ];
    for (number, (map, change)) in changes.into_iter().enumerate() {
        tamper(&dataplane, change);
        assert_ne!(contents(&dataplane), intact, "change {number} changes something");
        world.wait(SECOND);
        let status = world.settle(&mut agent);
        assert_holds(&contents(&dataplane), &world.plan());
        assert_eq!(status.repaired.values().sum::<u64>(), number as u64 + 1);
        assert_eq!(status.repairs.last().unwrap().map, map, "change {number}: {:?}", status.repairs);
    }
}

#[test]
fn a_stray_backend_entry_is_freed() {
    let (mut world, dataplane) = two_services();
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    tamper(&dataplane, |maps| {
        let stray = BackendEntry { identity: 99, ..maps.backends[&0] };
        maps.backends.insert(500, stray);
    });
    world.wait(SECOND);
    assert_eq!(world.settle(&mut agent).repaired.values().sum::<u64>(), 1);
    world.wait(settings().backend_grace);
    world.settle(&mut agent);
    assert_holds(&contents(&dataplane), &world.plan());
}

#[test]
fn addresses_that_somebody_altered_are_written_again_and_strays_removed() {
    let (mut world, dataplane) = two_services();
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    tamper(&dataplane, |maps| {
        let first = *maps.vips.keys().next().unwrap();
        let last = *maps.vips.keys().next_back().unwrap();
        maps.vips.remove(&first);
        maps.vips.insert(last, VipEntry { flags: 4, pad: 0 });
        maps.vips.insert([9; 16], VipEntry { flags: 1, pad: 0 });
    });
    world.wait(SECOND);
    assert_eq!(world.settle(&mut agent).repaired.get("VIPS"), Some(&3));
    assert_holds(&contents(&dataplane), &world.plan());
}

#[test]
fn an_older_ledger_never_overwrites_a_newer_table() {
    let (mut world, dataplane) = two_services();
    let old = world.snapshot.clone();
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.put_service(1, &THREE[..2]);
    world.settle(&mut agent);
    let held = contents(&dataplane);

    // Under a running agent.
    world.send_snapshot(old.clone());
    agent.activate(world.now);
    assert!(agent.status().borrow().last_error.as_ref().unwrap().contains("went back"));
    assert_eq!(contents(&dataplane), held);

    // At the start of a new one.
    let key = key_of(&service(1, 80));
    world.snapshot = old;
    let mut next = world.agent(Arc::clone(&dataplane));
    world.activate(&mut next);
    assert!(next.status().borrow().last_error.as_ref().unwrap().contains("older ledger"));
    assert_eq!(contents(&dataplane).services[&key], held.services[&key]);
    assert!(next.status().borrow().applied_generation < 3);

    // When the ledger has caught up, everything goes on.
    world.snapshot = world.snapshot.after(Generation(9), lb_userspace::ledger::ChainHash::GENESIS, []);
    world.settle(&mut next);
    world.wait(settings().backend_grace);
    world.settle(&mut next);
    assert_holds(&contents(&dataplane), &world.plan());
}

#[test]
fn an_older_ledger_that_was_restored_on_purpose_takes_over_newer_tables() {
    let (mut world, dataplane) = two_services();
    world.settle(&mut world.agent(Arc::clone(&dataplane)));
    let old = world.snapshot.clone();
    world.put_service(1, &THREE[..2]);
    world.settle(&mut world.agent(Arc::clone(&dataplane)));
    assert!(contents(&dataplane).services[&key_of(&service(1, 80))].generation > old.generation().0);

    world.snapshot = old;
    let mut agent = world.agent_with(Arc::clone(&dataplane), |settings| settings.ledger_was_restored = true);
    let status = world.settle(&mut agent);
    assert_eq!(status.applied_generation, world.snapshot.generation().0);
    assert_eq!(status.repairs, [], "nobody altered anything");
    world.wait(settings().backend_grace);
    world.settle(&mut agent);
    assert_holds(&contents(&dataplane), &world.plan());
}

#[test]
fn ways_and_empty_pools_show_in_the_status() {
    let (mut world, dataplane) = two_services();
    world.hops.insert(server_address(2), Resolution::Unresolved(Unresolved::NoRoute));
    for server in 1..=3 {
        world.flip(2, server);
    }
    let mut agent = world.agent(Arc::clone(&dataplane));
    let status = world.settle(&mut agent);
    assert_eq!(status.unresolved, [(server_address(2), Unresolved::NoRoute)].into());
    assert_eq!(status.empty_services, ["192.0.0.2 80/tcp"]);
    world.hops.insert(server_address(2), resolved(3));
    world.flip(2, 1);
    let status = world.settle(&mut agent);
    assert!(status.unresolved.is_empty() && status.empty_services.is_empty());
    assert_eq!(contents(&dataplane).egress, [2, 3].into());
    assert_holds(&contents(&dataplane), &world.plan());
}

#[test]
fn a_quarantine_is_one_write_per_service_and_address_and_so_is_its_end() {
    let (mut world, dataplane) = two_services();
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let client = "198.51.100.7:4000".parse().unwrap();
    for is_contained in [true, false] {
        let Document::Lb(of) = lb(1, None) else { unreachable!() };
        let times = Times::created(at(1));
        world.put(&[Document::Measure(Measure {
            id: MeasureId::from_uuid(uuid::Uuid::from_u128(1)),
            by: Person::agent("trust and safety"),
            reason: Reason::try_from("phishing".to_owned()).unwrap(),
            expires_at: None,
            what: What::Quarantine { place: Place::Lb { lb: of.id } },
            times: if is_contained { times } else { times.deleted(at(2)) },
        })]);
        let before = writes(&dataplane);
        world.settle(&mut agent);
        assert_eq!(writes(&dataplane), before + 2, "the service, and its address");
        assert_holds(&contents(&dataplane), &world.plan());
        let explained = [1, 2].map(|number| explain(&dataplane, client, service(number, 80), None).unwrap().opening);
        let expected = if is_contained { ("drop", "quarantined") } else { ("forward", "transmitted") };
        assert_eq!((explained[0].action, explained[0].reason), expected);
        assert_eq!(explained[1].action, "forward", "the other load balancer is not concerned");
    }
}

#[test]
fn an_access_list_is_written_before_it_is_used_and_removed_after() {
    let (mut world, dataplane) = two_services();
    watch_every_write(&world, &dataplane);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let verdict = |client: &str| {
        let client = format!("{client}:4000").parse().unwrap();
        let opening = explain(&dataplane, client, service(1, 80), None).unwrap().opening;
        (opening.action, opening.reason)
    };
    let (forwarded, denied) = (("forward", "transmitted"), ("drop", "acl_denied"));
    assert_eq!(verdict("10.0.1.9"), forwarded);

    world.put(&[acl(1, false, &[1, 2], None)]);
    let before = writes(&dataplane);
    world.settle(&mut agent);
    assert_eq!(writes(&dataplane), before + 2, "the list, then the service");
    assert_eq!(["10.0.1.9", "10.0.2.9", "10.0.3.9"].map(verdict), [denied, denied, forwarded]);

    let mut next = world.agent(Arc::clone(&dataplane));
    let before = writes(&dataplane);
    world.settle(&mut next);
    assert_eq!(writes(&dataplane), before, "the next agent finds the list, and who uses it");

    world.put(&[acl(1, false, &[3], None)]);
    world.settle(&mut next);
    assert_eq!(["10.0.1.9", "10.0.3.9"].map(verdict), [forwarded, denied]);
    assert_eq!(contents(&dataplane).acl.len(), 5, "packets on their way may still look into the old one");
    world.wait(settings().backend_grace);
    world.settle(&mut next);
    assert_eq!(contents(&dataplane).acl.len(), 2);

    tamper(&dataplane, |maps| maps.acl.clear());
    world.wait(SECOND);
    let status = world.settle(&mut next);
    assert_eq!(status.repaired.get("ACL"), Some(&1));
    assert_eq!(verdict("10.0.3.9"), denied);

    world.put(&[acl(1, false, &[3], Some(1))]);
    world.settle(&mut next);
    assert_eq!(verdict("10.0.3.9"), forwarded);
    world.wait(settings().backend_grace);
    world.settle(&mut next);
    assert!(contents(&dataplane).acl.is_empty());
}

#[test]
fn the_directory_names_every_number_in_the_maps() {
    let (world, dataplane) = two_services();
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let directory = Arc::clone(&agent.directory().borrow());
    let contents = contents(&dataplane);
    for (key, entry) in &contents.services {
        assert_eq!(key_of(&directory.services[&entry.id]), *key);
    }
    for (index, entry) in &contents.backends {
        assert_eq!(identity(directory.backends[index], 80), entry.identity);
    }
}

#[tokio::test]
async fn the_loop_follows_its_sources_and_stops() {
    let (mut world, dataplane) = two_services();
    world.now = jiff::Timestamp::now();
    world.announce();
    let agent = world.agent(Arc::clone(&dataplane));
    let mut status = agent.status();
    let stop = CancellationToken::new();
    let thread = agent.spawn(stop.clone()).unwrap();
    status.wait_for(|status| status.applied_generation == 2).await.unwrap();

    world.flip(1, 1);
    world.put_service(3, &THREE);
    world.announce();
    status.wait_for(|status| status.applied_generation == 3).await.unwrap();
    assert_holds(&contents(&dataplane), &world.plan());

    // Somebody deletes a service: the next audit finds it without being told.
    tamper(&dataplane, |maps| {
        maps.services.remove(&key_of(&service(3, 80)));
    });
    status.wait_for(|status| status.repaired.values().sum::<u64>() == 1).await.unwrap();
    assert_holds(&contents(&dataplane), &world.plan());
    stop.cancel();
    tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap();
}
