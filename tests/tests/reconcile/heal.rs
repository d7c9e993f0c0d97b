//! Heal: whatever is done to the maps is mended, the busiest first; what cannot be stands in the queue with the right reason and
//! what to do about it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_common::abi::ServiceKey;
use lb_userspace::dataplane::chaos::Odds;
use lb_userspace::dataplane::{Attachment, ChaosDataplane, Dataplane, MemoryDataplane};
use lb_userspace::health::{Cause, HealthView, ProbeOutcome};
use lb_userspace::model::{Dependent, DependentId, DependentKind, Document, LbId, LbSet, MeasureId, Reason, Takedown};
use lb_userspace::plan::{Resolution, Unresolved};
use lb_userspace::reconcile::{Backlog, Reconciler, Status, Steering, key_of};
use lb_userspace::recovery::heal::board::{self, Board, Facts};
use lb_userspace::recovery::heal::{Fault, State};
use tokio::sync::watch;
use uuid::Uuid;

use crate::fixture::*;

/// Load balancers of the incident.
const INCIDENT: u128 = 1574;

fn lb_id(number: u128) -> LbId {
    LbId::from_uuid(Uuid::from_u128(number))
}

fn stocked(count: u128) -> World {
    let mut world = World::new();
    let documents: Vec<Document> = (1..=count)
        .flat_map(|number| {
            [
                lb(number, None),
                ip(number, Some(number), None),
                frontend(number, number, number, 80, None),
                backend(number, number, &[(1, 1, false), (2, 1, false)], None),
            ]
        })
        .collect();
    world.put(&documents);
    world
}

fn attach(dataplane: &Shared) {
    let attached = Attachment { interface: "eth0".to_owned(), ifindex: 2, mode: "native".to_owned() };
    tamper(dataplane, |contents| contents.attachments = vec![attached]);
}

/// What the scoreboard of an edge shows.
struct Look {
    status: Arc<Status>,
    backlog: Arc<Backlog>,
    health: HealthView,
    taken: BTreeMap<IpAddr, [u8; 6]>,
}

impl Look {
    fn at<D: Dataplane>(world: &World, agent: &Reconciler<D>) -> Self {
        let (status, backlog) = (Arc::clone(&agent.status().borrow()), Arc::clone(&agent.backlog().borrow()));
        Self { status, backlog, health: world.health(), taken: BTreeMap::new() }
    }

    fn board(&self, world: &World) -> Board {
        let tables = world.plan();
        let facts = Facts {
            snapshot: &world.snapshot,
            status: &self.status,
            backlog: &self.backlog,
            tables: &tables,
            health: &self.health,
            taken: &self.taken,
            ledger_error: None,
            probe_source: &|_| Some([10, 0, 0, 254].into()),
            packets: &BTreeMap::new(),
        };
        board::board(&facts, |_, _| {})
    }
}

fn look<D: Dataplane>(world: &World, agent: &Reconciler<D>) -> Board {
    Look::at(world, agent).board(world)
}

fn faults(board: &Board) -> Vec<Fault> {
    board.by_fault().into_keys().collect()
}

fn assert_all_ready(board: &Board) {
    assert_eq!((board.summary.ready, faults(board)), (board.summary.total, vec![]), "{:?}", board.summary);
    let mut all = board.load_balancers.iter();
    assert!(all.all(|it| it.wanted == it.programmed && it.wanted == it.answering && it.wanted > 0));
}

#[test]
fn a_map_that_somebody_emptied_is_filled_again_the_busiest_first_and_its_progress_can_be_followed() {
    let world = stocked(INCIDENT);
    let dataplane = Shared::default();
    attach(&dataplane);
    let steering = watch::Sender::new(Arc::new(Steering::default()));
    let mut agent = world.agent(Arc::clone(&dataplane)).steered_by(steering.subscribe());
    world.settle(&mut agent);
    assert_all_ready(&look(&world, &agent));

    // The last by number carry the traffic.
    let busy: BTreeMap<LbId, u64> = (INCIDENT - 9..=INCIDENT).map(|number| (lb_id(number), number as u64)).collect();
    steering.send_replace(Arc::new(Steering { weights: busy, ..Steering::default() }));
    let (first, seen) = (Arc::<Mutex<Vec<ServiceKey>>>::default(), Arc::<Mutex<BTreeSet<(usize, usize)>>>::default());
    let (order, progress, backlog) = (Arc::clone(&first), Arc::clone(&seen), agent.backlog());
    tamper(&dataplane, |contents| contents.services.clear());
    dataplane.lock().unwrap().after_each_write(move |contents| {
        let mut order = order.lock().unwrap();
        let fresh = contents.services.keys().find(|key| !order.contains(key)).filter(|_| order.len() < 10);
        order.extend(fresh.copied());
        progress.lock().unwrap().extend(backlog.borrow().work.map(|work| (work.done, work.total)));
    });
    let mut world = world;
    world.wait(Duration::from_secs(2));
    world.settle(&mut agent);
    assert_all_ready(&look(&world, &agent));
    let expected: Vec<ServiceKey> =
        (INCIDENT - 9..=INCIDENT).rev().map(|number| key_of(&service(number, 80))).collect();
    assert_eq!(*first.lock().unwrap(), expected);
    let seen = seen.lock().unwrap();
    assert!(
        seen.len() > 20 && seen.iter().all(|(done, total)| done < total && *total == INCIDENT as usize),
        "{seen:?}"
    );
    assert_eq!(agent.backlog().borrow().work, None, "nothing is being written any more");
}

#[test]
fn a_data_plane_that_fails_a_tenth_of_its_writes_ends_with_every_load_balancer_ready() {
    let mut world = stocked(300);
    let inner = Shared::default();
    attach(&inner);
    let odds = Odds { reads: 0.0, writes: 0.1 };
    let mut agent = world.agent(ChaosDataplane::new(Arc::clone(&inner), 7, odds));
    let mut was_healing = 0;
    for _ in 0..60 {
        let next = world.activate(&mut agent).next;
        let board = look(&world, &agent);
        was_healing = was_healing.max(board.summary.healing);
        let known = [Fault::WriteRefused, Fault::ServerNotWritten];
        assert!(faults(&board).iter().all(|fault| known.contains(fault)), "{:?}", faults(&board));
        if board.summary.ready == board.summary.total {
            break;
        }
        world.now = next.max(world.now);
    }
    assert!(was_healing > 0, "nothing failed");
    assert_all_ready(&look(&world, &agent));
}

#[test]
fn what_finds_no_room_waits_in_the_queue_longer_each_time_until_it_is_asked_for_or_there_is_room() {
    let mut world = stocked(4);
    let dataplane = Shared::default();
    attach(&dataplane);
    let steering = watch::Sender::new(Arc::new(Steering::default()));
    let mut agent =
        world.agent_with(Arc::clone(&dataplane), |settings| settings.max_services = 3).steered_by(steering.subscribe());
    for _ in 0..12 {
        world.now = world.activate(&mut agent).next.max(world.now);
    }
    let board = look(&world, &agent);
    assert_eq!((board.summary.ready, board.summary.needs_attention), (3, 1));
    let stuck = &board.load_balancers[0];
    assert_eq!((stuck.state, stuck.wanted, stuck.programmed, stuck.answering), (State::NeedsAttention, 1, 0, 0));
    let finding = &stuck.findings[0];
    assert_eq!(finding.fault, Fault::MapFull);
    assert!(finding.what.contains("dataplane.max_services"), "{}", finding.what);
    assert!(finding.attempts >= 5, "{finding:?}");

    // It is not tried before it is due, but when somebody asks for it.
    let attempts = finding.attempts;
    world.activate(&mut agent);
    let tried = |agent: &Reconciler<Shared>| agent.backlog().borrow().waiting.values().next().map(|it| it.attempts);
    let now = tried(&agent);
    assert!(now == Some(attempts) || now == Some(attempts + 1), "{now:?}");
    let due = agent.backlog().borrow().waiting.values().next().unwrap().next;
    assert!(due > world.now);
    world.activate(&mut agent);
    assert_eq!(tried(&agent), now, "not before it is due");
    steering.send_replace(Arc::new(Steering { retries: [(stuck.lb_id, 1)].into(), ..Steering::default() }));
    world.activate(&mut agent);
    assert_eq!(tried(&agent), now.map(|attempts| attempts + 1), "somebody asked");
    world.activate(&mut agent);
    assert_eq!(tried(&agent), now.map(|attempts| attempts + 1), "a wish is followed once");

    // Somebody leaves: there is room.
    world.put(&[lb(1, Some(0))]);
    world.now = at(GRACE.as_secs() as i64 + 60).max(world.now);
    for _ in 0..3 {
        world.now = world.activate(&mut agent).next.max(world.now);
    }
    assert_all_ready(&look(&world, &agent));
}

/// A dependent of load balancer 1.
fn dependent(finalizer: bool) -> Document {
    Document::Dependent(Dependent {
        id: DependentId::from_uuid(Uuid::from_u128(1)),
        owner: owner(),
        kind: DependentKind::try_from("kubernetes".to_owned()).unwrap(),
        name: name(),
        lbs: LbSet::try_from(BTreeSet::from([lb_id(1)])).unwrap(),
        webhook: None,
        finalizer,
        times: times(None),
    })
}

#[test]
fn a_deleted_load_balancer_forwards_on_beyond_its_grace_until_its_last_finalizer_lets_go() {
    let mut world = stocked(2);
    let dataplane = Shared::default();
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.put(&[dependent(true)]);
    world.settle(&mut agent);
    world.put(&[lb(1, Some(0)), lb(2, Some(0))]);
    world.wait(GRACE * 10);
    world.settle(&mut agent);
    let held: Vec<ServiceKey> = contents(&dataplane).services.into_keys().collect();
    assert_eq!(held, [key_of(&service(1, 80))], "the other one's grace is over");
    world.put(&[dependent(false)]);
    world.settle(&mut agent);
    assert_eq!(contents(&dataplane).services.len(), 0, "it was let go");
}

#[test]
fn what_trust_and_safety_removed_forwards_no_longer_than_its_grace_whoever_holds_it_before_or_after() {
    for is_held_before in [true, false] {
        let mut world = stocked(1);
        let dataplane = Shared::default();
        let mut agent = world.agent(Arc::clone(&dataplane));
        world.put(&[dependent(is_held_before)]);
        world.settle(&mut agent);
        let Document::Lb(mut gone) = lb(1, Some(0)) else { unreachable!() };
        let reason = Reason::try_from("phishing".to_owned()).unwrap();
        gone.taken_down = Some(Takedown { plan: MeasureId::new(), reason });
        world.put(&[Document::Lb(gone)]);
        world.settle(&mut agent);
        assert_eq!(contents(&dataplane).services.len(), 1, "its grace lasts");
        world.wait(GRACE * 10);
        world.settle(&mut agent);
        assert_eq!(contents(&dataplane).services.len(), 0, "it is gone");
        world.put(&[dependent(true)]);
        world.settle(&mut agent);
        assert_eq!(contents(&dataplane).services.len(), 0, "and stays so");
    }
}

#[test]
fn servers_for_which_backends_has_no_room_are_said_to_find_a_full_map() {
    let world = stocked(2);
    let dataplane = Shared::default();
    attach(&dataplane);
    let mut agent = world.agent_with(Arc::clone(&dataplane), |settings| settings.max_backends = 3);
    world.activate(&mut agent);
    let board = look(&world, &agent);
    assert_eq!(faults(&board), [Fault::MapFull]);
    let what = &board.load_balancers[0].findings[0].what;
    assert!(what.contains("dataplane.max_backends"), "{what}");
}

#[test]
fn each_trouble_stands_in_the_queue_with_its_own_reason_and_remedy() {
    let mut world = stocked(1);
    let dataplane: Arc<Mutex<MemoryDataplane>> = Shared::default();
    attach(&dataplane);
    let mut agent = world.agent(Arc::clone(&dataplane));
    world.settle(&mut agent);

    // A server's neighbour is gone: the other one still answers. Then both are.
    world.hops.insert(server_address(1), Resolution::Unresolved(Unresolved::NoNeighbour));
    world.settle(&mut agent);
    let board = look(&world, &agent);
    assert_eq!((faults(&board), board.summary.ready), (vec![Fault::NoNeighbour], 1), "it is queued, and answers");
    world.hops.insert(server_address(2), Resolution::Unresolved(Unresolved::NoNeighbour));
    world.settle(&mut agent);
    let board = look(&world, &agent);
    assert_eq!((faults(&board), board.load_balancers[0].state), (vec![Fault::NoNeighbour], State::NeedsAttention));
    assert_eq!(board.load_balancers[0].answering, 0);
    world.hops.insert(server_address(1), resolved(2));
    world.hops.insert(server_address(2), resolved(2));
    world.settle(&mut agent);
    assert_all_ready(&look(&world, &agent));

    // Every probe is refused, or unanswered: the address to allow is named.
    for (outcome, fault) in
        [(ProbeOutcome::Refused, Fault::ProbesRefused), (ProbeOutcome::TimedOut, Fault::ProbesUnanswered)]
    {
        world.down = [(1, 1), (1, 2)].into();
        world.settle(&mut agent);
        let mut look = Look::at(&world, &agent);
        let sick = look.health.servers.values_mut().filter(|server| !server.up);
        sick.for_each(|server| server.last = Some(outcome.clone()));
        let board = look.board(&world);
        assert_eq!((faults(&board), board.load_balancers[0].state), (vec![fault], State::NeedsAttention));
        assert!(board.load_balancers[0].findings[0].remedy.contains("10.0.0.254"), "{board:?}");
        look.health.mass_failure = Some(lb_userspace::health::MassFailure {
            since: at(1),
            down: 2,
            checked: 2,
            cause: Cause::Refused,
            probe_sources: vec![],
        });
        assert_eq!(faults(&look.board(&world)), [Fault::MassFailure], "one alarm for all");
    }
    world.down.clear();
    world.settle(&mut agent);
    assert_all_ready(&look(&world, &agent));

    // Another host answers for the address.
    let mut taken = Look::at(&world, &agent);
    taken.taken.insert(vip(1), [2, 0, 0, 0, 0, 9]);
    let board = taken.board(&world);
    assert_eq!((faults(&board), board.load_balancers[0].state), (vec![Fault::AddressTaken], State::NeedsAttention));
    assert!(board.load_balancers[0].findings[0].what.contains("02:00:00:00:00:09"));

    // The program is taken off.
    tamper(&dataplane, |contents| contents.attachments.clear());
    world.wait(Duration::from_secs(2));
    world.settle(&mut agent);
    let board = look(&world, &agent);
    assert_eq!((faults(&board), board.load_balancers[0].answering), (vec![Fault::NotAttached], 0));
    assert_eq!(board.edge.len(), 1);
}
