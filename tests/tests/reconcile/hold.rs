//! The edge alone stops an avalanche: what would remove too many services is held, forwards on, and is let go by a plan
//! that was approved and carried out, or by a person.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lb_userspace::faults::{Faults, Layer};
use lb_userspace::model::{Action, Document, Generation, LbId, Measure, MeasureId, Person, Plan, Reason, Times, What};
use lb_userspace::reconcile::Reconciler;
use uuid::Uuid;

use crate::fixture::*;

/// Load balancers of the incident.
const INCIDENT: u128 = 1574;

fn stocked(count: u128) -> (World, Shared) {
    let mut world = World::new();
    let documents: Vec<Document> = (1..=count)
        .flat_map(|number| {
            [
                lb(number, None),
                ip(number, Some(number), None),
                frontend(number, number, number, 80, None),
                backend(number, number, &[(1, 1, false)], None),
            ]
        })
        .collect();
    world.put(&documents);
    (world, Shared::default())
}

/// Tombstones whose grace is over.
fn delete(world: &mut World, numbers: impl Iterator<Item = u128>) {
    let tombstones: Vec<Document> = numbers.map(|number| lb(number, Some(0))).collect();
    world.put(&tombstones);
    if world.now < at(901) {
        world.wait(GRACE + Duration::from_secs(1));
    }
}

fn measure(number: u128, what: What) -> Document {
    Document::Measure(Measure {
        id: MeasureId::from_uuid(Uuid::from_u128(number)),
        by: Person::agent("operator"),
        reason: Reason::try_from("it is meant".to_owned()).unwrap(),
        expires_at: None,
        what,
        times: Times::created(at(0)),
    })
}

fn held<D: lb_userspace::dataplane::Dataplane>(agent: &Reconciler<D>) -> usize {
    agent.status().borrow().held.len()
}

#[test]
fn the_edge_alone_holds_1574_services_through_a_restart_until_an_approved_plan_lets_them_go() {
    let (mut world, dataplane) = stocked(INCIDENT);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let before = contents(&dataplane).services;
    assert_eq!(before.len(), INCIDENT as usize);
    delete(&mut world, 1..=INCIDENT);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (INCIDENT as usize, INCIDENT as usize));
    assert_eq!(contents(&dataplane).services, before, "they forward on as they did");
    drop(agent);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    assert_eq!(held(&agent), INCIDENT as usize, "also for the next agent");
    assert_eq!(contents(&dataplane).services.len(), INCIDENT as usize);
    let subjects: BTreeMap<LbId, Generation> =
        (1..=INCIDENT).map(|number| (LbId::from_uuid(Uuid::from_u128(number)), Generation(1))).collect();
    let plan = |applied| {
        What::Plan(Plan {
            action: Action::Delete,
            subjects: subjects.clone(),
            selector: "all".to_owned(),
            place: None,
            recovery: None,
            approved_by: Some(Person::agent("somebody else")),
            applied_at: applied,
        })
    };
    world.put(&[measure(1, plan(None))]);
    world.settle(&mut agent);
    assert_eq!(held(&agent), INCIDENT as usize, "a plan that was not carried out lets nothing go");
    world.put(&[measure(1, plan(Some(at(1))))]);
    world.settle(&mut agent);
    assert_eq!(held(&agent), INCIDENT as usize, "a plan lets go what it deleted, not what was deleted at another time");
    world.put(&[measure(1, plan(Some(at(0))))]);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 0));
}

#[test]
fn with_every_layer_taken_away_they_are_gone() {
    let (mut world, dataplane) = stocked(50);
    let faults = Faults::without(&[Layer::Edge]);
    let mut agent = world.agent_with(Arc::clone(&dataplane), |settings| settings.faults = faults);
    world.settle(&mut agent);
    delete(&mut world, 1..=50);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 0));
}

#[test]
fn a_few_may_leave_within_a_window_and_what_comes_back_is_held_no_longer() {
    let (mut world, dataplane) = stocked(50);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    delete(&mut world, 1..=3);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 47));
    delete(&mut world, 4..=6);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (3, 47), "the sixth within the window is too many");
    let back: Vec<Document> = (4..=6).map(|number| lb(number, None)).collect();
    world.put(&back);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 47));
    world.wait(Duration::from_secs(6));
    world.settle(&mut agent);
    assert_holds(&contents(&dataplane), &world.plan());
    world.wait(Duration::from_secs(700));
    delete(&mut world, 4..=6);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 44), "in the next window they may");
}

#[test]
fn an_operator_lets_go_exactly_what_is_named() {
    let (mut world, dataplane) = stocked(50);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    delete(&mut world, 1..=20);
    world.settle(&mut agent);
    assert_eq!(held(&agent), 20);
    let services: Vec<String> = agent.status().borrow().held.iter().take(7).cloned().collect();
    world.put(&[measure(1, What::LetGo { services, agreed_by: None })]);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (13, 43));
}

#[test]
fn a_release_of_more_than_ten_lets_nothing_go_before_a_second_person_agreed() {
    let (mut world, dataplane) = stocked(50);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    delete(&mut world, 1..=20);
    world.settle(&mut agent);
    let services: Vec<String> = agent.status().borrow().held.iter().take(Plan::ALONE + 1).cloned().collect();
    let release = |agreed_by| measure(1, What::LetGo { services: services.clone(), agreed_by });
    world.put(&[release(None)]);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (20, 50));
    world.put(&[release(Some(Person::agent("somebody else")))]);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (9, 39));
}

#[test]
fn a_changed_port_is_no_removal() {
    let (mut world, dataplane) = stocked(20);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);
    let moved: Vec<Document> = (1..=20).map(|number| frontend(number, number, number, 81, None)).collect();
    world.put(&moved);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 20));
    assert_holds(&contents(&dataplane), &world.plan());
}

/// An edge that remembers in a file.
fn remembering(world: &World, dataplane: &Shared, file: &Path) -> Reconciler<Shared> {
    world.agent(Arc::clone(dataplane)).remembering(file.to_owned())
}

#[test]
fn a_hold_of_few_survives_every_restart_and_so_does_what_has_left() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hold.json");
    let (mut world, dataplane) = stocked(50);
    let mut agent = remembering(&world, &dataplane, &file);
    world.settle(&mut agent);
    delete(&mut world, 1..=3);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 47));
    for _ in 0..3 {
        agent = remembering(&world, &dataplane, &file);
        world.settle(&mut agent);
    }
    delete(&mut world, 4..=6);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (3, 47), "the sixth, whatever restarted between");
    for _ in 0..3 {
        agent = remembering(&world, &dataplane, &file);
        world.settle(&mut agent);
        assert_eq!((held(&agent), contents(&dataplane).services.len()), (3, 47), "held by the next one too");
    }
    world.wait(Duration::from_secs(700));
    agent = remembering(&world, &dataplane, &file);
    world.settle(&mut agent);
    assert_eq!(held(&agent), 3, "time alone lets nothing go");
    let services: Vec<String> = agent.status().borrow().held.clone();
    world.put(&[measure(1, What::LetGo { services, agreed_by: None })]);
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 44), "a person does");
    agent = remembering(&world, &dataplane, &file);
    world.settle(&mut agent);
    assert_eq!(held(&agent), 0);
}

#[test]
fn what_cannot_be_remembered_leaves_when_it_can_and_what_cannot_be_read_lets_nothing_go_for_a_window() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hold.json");
    let (mut world, dataplane) = stocked(50);
    let nowhere = directory.path().join("nowhere");
    let mut agent = remembering(&world, &dataplane, &nowhere.join("hold.json"));
    world.settle(&mut agent);
    delete(&mut world, 1..=2);
    // It never settles: the trouble stays until the file can be written.
    world.activate(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (2, 50));
    assert!(agent.status().borrow().last_error.as_ref().unwrap().contains("cannot be written"));
    std::fs::create_dir(nowhere).unwrap();
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 48), "the trouble was the file's");

    std::fs::write(&file, "{\"held\": [").unwrap();
    let mut agent = remembering(&world, &dataplane, &file);
    delete(&mut world, 3..=4);
    world.activate(&mut agent);
    assert!(agent.status().borrow().last_error.as_ref().unwrap().contains("cannot be read"), "it says so");
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (2, 48), "as if the budget were used up");
    world.wait(Duration::from_secs(700));
    world.settle(&mut agent);
    assert_eq!((held(&agent), contents(&dataplane).services.len()), (0, 46), "for one window");
}
