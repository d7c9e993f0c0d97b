//! Tests of the checker without sockets and clocks.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::fixture::{health_check, server, snapshot};
use super::*;
use crate::ledger::ChainHash;
use crate::model::{ClosedPort, Dependent, Document, Generation, Lb, LbType, Tags, Takedown, Times};

const INTERVAL: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        mass_failure_share: 0.5,
        mass_failure_window: Duration::from_secs(10),
        delete_grace: Duration::from_secs(900),
        seed: 1,
    }
}

fn at(start: Instant, millis: u64) -> Now {
    Now { instant: start + Duration::from_millis(millis), time: Timestamp::UNIX_EPOCH }
}

fn checker(servers: u16, start: Instant) -> Checker {
    let mut checker = Checker::new(settings(), BTreeMap::new());
    checker.follow(&snapshot(1, servers, health_check(INTERVAL)), at(start, 0));
    checker
}

fn id_of(checker: &Checker, number: u16) -> u64 {
    checker.checks[&server(number)].id
}

fn probe(checker: &mut Checker, number: u16, passed: bool, now: Now) -> Urgency {
    let outcome = if passed { ProbeOutcome::Passed } else { ProbeOutcome::Refused };
    checker.on_outcome(id_of(checker, number), outcome, now)
}

#[test]
fn every_server_is_probed_once_per_interval() {
    let start = Instant::now();
    let mut checker = checker(100, start);
    let mut probes: BTreeMap<ServerRef, u32> = BTreeMap::new();
    while let Some(due) = checker.next_due().filter(|due| *due < start + Duration::from_secs(20)) {
        while let Some(job) = checker.take_due(due) {
            *probes.entry(job.server).or_default() += 1;
        }
    }
    assert_eq!(probes.len(), 100);
    assert!(probes.values().all(|count| (19..=21).contains(count)), "{probes:?}");
}

#[test]
fn servers_are_probed_beyond_the_grace_while_a_dependent_holds_unless_trust_and_safety_removed_the_load_balancer() {
    let start = Instant::now();
    let pool = super::super::fixture::backend(3, health_check(INTERVAL));
    let owner = crate::model::Owner {
        organization: crate::model::OrganizationId::new(),
        project: crate::model::ProjectId::new(),
    };
    let name = || crate::model::Name::try_from("one".to_owned()).unwrap();
    let times = Times::created(Timestamp::UNIX_EPOCH);
    let holder = Dependent {
        id: crate::model::DependentId::new(),
        owner,
        kind: "kubernetes".to_owned().try_into().unwrap(),
        name: name(),
        lbs: BTreeSet::from([pool.lb]).try_into().unwrap(),
        webhook: None,
        finalizer: true,
        times,
    };
    let taken_down = Takedown { plan: crate::model::MeasureId::new(), reason: "abuse".to_owned().try_into().unwrap() };
    let long_after = Now { time: Timestamp::from_second(100_000).unwrap(), ..at(start, 0) };
    for (taken_down, expected) in [(None, 3), (Some(taken_down), 0)] {
        let lb = Lb {
            id: pool.lb,
            owner,
            name: name(),
            description: String::new(),
            tags: Tags::default(),
            kind: LbType::S,
            answers_echo: true,
            on_closed_port: ClosedPort::Reject,
            protected: false,
            subscriber: None,
            at_once: false,
            taken_down,
            times: times.deleted(Timestamp::UNIX_EPOCH),
        };
        let documents = [Document::Backend(pool.clone()), Document::Lb(lb), Document::Dependent(holder.clone())];
        let snapshot = Snapshot::default().after(Generation(1), ChainHash::GENESIS, &documents);
        let mut checker = Checker::new(settings(), BTreeMap::new());
        checker.follow(&Arc::new(snapshot), long_after);
        assert_eq!(checker.checks.len(), expected);
    }
}

#[test]
fn a_server_in_doubt_is_probed_again_after_the_transient_interval() {
    let start = Instant::now();
    let transient = HealthCheck { transient_interval: Some(Duration::from_millis(100)), ..health_check(INTERVAL) };
    let mut checker = Checker::new(settings(), BTreeMap::from([(server(1), true)]));
    checker.follow(&snapshot(1, 1, transient), at(start, 0));
    let first = checker.next_due().unwrap();
    assert!(checker.take_due(first).is_some());
    let heard = Now { instant: first, time: Timestamp::UNIX_EPOCH };
    probe(&mut checker, 1, false, heard);
    assert_eq!(checker.next_due(), Some(first + Duration::from_millis(100)), "one failed probe is a doubt");
    let second = checker.next_due().unwrap();
    assert!(checker.take_due(second).is_some());
    probe(&mut checker, 1, false, Now { instant: second, time: Timestamp::UNIX_EPOCH });
    assert!(!checker.view().is_usable(server(1)), "two in a row decide");
    let next = checker.next_due().unwrap();
    while checker.take_due(next).is_some() {}
    assert!(checker.next_due().unwrap() > second + INTERVAL / 2, "what is decided is probed at its own pace");
}

#[test]
fn an_unknown_server_is_absent_and_usable_until_its_first_verdict() {
    let start = Instant::now();
    let mut checker = checker(2, start);
    assert!(checker.view().servers.is_empty() && checker.view().is_usable(server(1)));
    assert_eq!(probe(&mut checker, 1, false, at(start, 10)), Urgency::Verdict);
    assert!(!checker.view().is_usable(server(1)));
    assert_eq!(checker.view().servers[&server(1)].decided_at, start + Duration::from_millis(10));
}

#[test]
fn a_server_left_down_by_the_agent_before_starts_down_and_needs_its_rise() {
    let start = Instant::now();
    let mut checker = Checker::new(settings(), BTreeMap::from([(server(1), false), (server(2), true)]));
    checker.follow(&snapshot(1, 3, health_check(INTERVAL)), at(start, 0));
    let view = checker.view();
    assert!(!view.is_usable(server(1)) && view.is_usable(server(2)) && view.is_usable(server(3)));
    assert_eq!(view.servers.len(), 2);
    assert_eq!(probe(&mut checker, 1, true, at(start, 1)), Urgency::Detail);
    assert_eq!(probe(&mut checker, 1, true, at(start, 2)), Urgency::Verdict);
    assert!(checker.view().is_usable(server(1)));
}

#[test]
fn changed_parameters_are_taken_over_without_losing_the_verdict() {
    let start = Instant::now();
    let mut checker = checker(3, start);
    probe(&mut checker, 1, false, at(start, 1));
    for (generation, interval) in [(2, INTERVAL / 10), (3, INTERVAL * 10)] {
        checker.follow(&snapshot(generation, 3, health_check(interval)), at(start, 2));
        assert!(!checker.view().is_usable(server(1)));
        assert_eq!(checker.checks[&server(1)].health_check.interval, interval);
    }
    let due: BTreeSet<ServerRef> =
        std::iter::from_fn(|| checker.take_due(start + INTERVAL)).map(|job| job.server).collect();
    assert_eq!(due.len(), 3, "each still has a due time");
}

#[test]
fn a_shorter_interval_is_in_force_at_once() {
    let start = Instant::now();
    let mut checker = Checker::new(settings(), BTreeMap::new());
    checker.follow(&snapshot(1, 1, health_check(Duration::from_secs(3600))), at(start, 0));
    while checker.take_due(start + Duration::from_secs(3)).is_some() {}
    checker.follow(&snapshot(2, 1, health_check(Duration::from_millis(100))), at(start, 3_000));
    assert!(checker.take_due(start + Duration::from_millis(3_100)).is_some());
}

#[test]
fn removed_servers_are_forgotten_and_outcomes_still_under_way_are_ignored() {
    let start = Instant::now();
    let mut checker = checker(3, start);
    let id = id_of(&checker, 3);
    probe(&mut checker, 3, true, at(start, 1));
    assert_eq!(checker.follow(&snapshot(2, 2, health_check(INTERVAL)), at(start, 2)), Urgency::Detail);
    assert_eq!(checker.on_outcome(id, ProbeOutcome::Refused, at(start, 3)), Urgency::None);
    assert!(!checker.view().servers.contains_key(&server(3)));
    assert_eq!(checker.checked(), 2);
    for generation in 3..1_000 {
        let servers = if generation % 2 == 0 { 2 } else { 30 };
        checker.follow(&snapshot(generation, servers, health_check(INTERVAL)), at(start, 4));
    }
    assert!(checker.schedule.len() <= 2 * 30 + 64 + 30, "what is gone does not pile up");
}

#[test]
fn a_mass_failure_holds_the_servers_and_after_it_each_is_taken_out_only_when_it_has_failed_anew() {
    let start = Instant::now();
    let mut checker = checker(4, start);
    for number in 1..=4 {
        probe(&mut checker, number, true, at(start, 1));
    }
    for number in 1..=3 {
        probe(&mut checker, number, false, at(start, 1_000));
        probe(&mut checker, number, false, at(start, 2_000 + u64::from(number)));
        let expected = number == 3;
        assert_eq!(checker.view().mass_failure.is_some(), expected);
        assert!((1..=number).all(|held| checker.view().is_usable(server(held)) == expected), "after {number}");
    }
    assert!((1..=3).all(|number| !checker.view().servers[&server(number)].up), "up still says what the probes say");
    probe(&mut checker, 1, true, at(start, 30_000));
    assert_eq!(probe(&mut checker, 1, true, at(start, 31_000)), Urgency::Verdict);
    assert_eq!(checker.view().mass_failure, None);
    assert!((1..=4).all(|number| checker.view().is_usable(server(number))), "its end takes nobody out");
    // Two lacks its second passed probe, three is really gone.
    probe(&mut checker, 2, true, at(start, 31_000));
    probe(&mut checker, 3, false, at(start, 31_000));
    assert!(checker.view().is_usable(server(3)), "one failed probe is a doubt");
    let later = Now { time: Timestamp::MAX, ..at(start, 32_000) };
    assert_eq!(probe(&mut checker, 3, false, later), Urgency::Verdict);
    probe(&mut checker, 2, true, at(start, 32_000));
    let view = checker.view();
    assert!(view.servers[&server(2)].up && view.is_usable(server(2)));
    assert!(
        !view.is_usable(server(3)) && view.servers[&server(3)].since == Timestamp::UNIX_EPOCH,
        "it has looked down since it fell"
    );
    assert!(checker.let_go.is_empty(), "{:?}", checker.let_go);
}

#[test]
fn what_a_hold_has_let_go_of_counts_when_most_fail_again_and_is_forgotten_with_its_server() {
    let start = Instant::now();
    let mut checker = checker(4, start);
    let round = |checker: &mut Checker, numbers: &[u16], passed: bool, seconds: u64| {
        for number in numbers {
            probe(checker, *number, passed, at(start, seconds * 1_000));
        }
        checker.view().mass_failure.is_some()
    };
    round(&mut checker, &[1, 2, 3, 4], true, 1);
    round(&mut checker, &[1, 2, 3], false, 2);
    assert!(round(&mut checker, &[1, 2, 3], false, 3));
    round(&mut checker, &[1], true, 30);
    assert!(!round(&mut checker, &[1], true, 31));
    // Two and three never came back, and one fails again: more than half, none is taken out.
    round(&mut checker, &[1, 2, 3], false, 32);
    assert!(round(&mut checker, &[1, 2, 3], false, 33));
    assert!((1..=4).all(|number| checker.view().is_usable(server(number))));
    for number in 1..=2 {
        probe(&mut checker, number, true, at(start, 40_000));
        probe(&mut checker, number, true, at(start, 41_000));
    }
    assert!(checker.let_go.contains_key(&server(3)), "{:?}", checker.let_go);
    checker.follow(&snapshot(2, 2, health_check(INTERVAL)), at(start, 42_000));
    assert!(checker.let_go.is_empty() && checker.doubted.is_empty());
}

#[test]
fn servers_that_never_were_up_are_no_mass_failure() {
    let start = Instant::now();
    let mut checker = checker(3, start);
    for number in 1..=3 {
        probe(&mut checker, number, false, at(start, 1));
    }
    assert_eq!(checker.view().mass_failure, None);
    assert!((1..=3).all(|number| !checker.view().is_usable(server(number))));
}

#[test]
fn dead_newcomers_neither_begin_a_hold_nor_hide_a_mass_failure() {
    let start = Instant::now();
    let mut checker = checker(24, start);
    for number in 1..=24 {
        probe(&mut checker, number, number <= 4, at(start, 1));
    }
    let mut fall = |number: u16, millis: u64| {
        probe(&mut checker, number, false, at(start, millis));
        probe(&mut checker, number, false, at(start, millis + 500));
        checker.view()
    };
    let one = fall(1, 1_000);
    assert!(one.mass_failure.is_none() && !one.is_usable(server(1)), "one of four fails over, whoever else is dead");
    fall(2, 2_000);
    let three = fall(3, 3_000);
    assert_eq!(three.mass_failure.as_ref().map(|mass| (mass.down, mass.checked)), Some((3, 4)));
    assert!((1..=4).all(|number| three.is_usable(server(number))));
    assert!((5..=24).all(|number| !three.is_usable(server(number))), "what never was up has no state to be held in");
    // Two newcomers come up: three of six are not more than half.
    for number in [5, 6] {
        probe(&mut checker, number, true, at(start, 4_000));
        probe(&mut checker, number, true, at(start, 5_000));
    }
    assert_eq!(checker.view().mass_failure, None);
}

#[test]
fn what_the_agent_before_left_down_never_was_up_for_this_one() {
    let start = Instant::now();
    let left = (1..=20).map(|number| (server(number), number <= 2)).collect();
    let mut checker = Checker::new(settings(), left);
    checker.follow(&snapshot(1, 20, health_check(INTERVAL)), at(start, 0));
    for number in 1..=2 {
        probe(&mut checker, number, false, at(start, 1));
        probe(&mut checker, number, false, at(start, 2));
    }
    assert_eq!(checker.view().mass_failure.map(|mass| (mass.down, mass.checked)), Some((2, 2)));
}

#[test]
fn a_server_probed_once_a_minute_counts_for_its_own_interval() {
    let start = Instant::now();
    let mut checker = Checker::new(settings(), BTreeMap::new());
    checker.follow(&snapshot(1, 3, health_check(Duration::from_secs(60))), at(start, 0));
    for number in 1..=3 {
        probe(&mut checker, number, true, at(start, 1));
        probe(&mut checker, number, false, at(start, 2));
    }
    probe(&mut checker, 1, false, at(start, 60_000));
    probe(&mut checker, 2, false, at(start, 110_000));
    assert!(checker.view().mass_failure.is_some(), "50 s apart is one round of probes");
}

#[test]
fn following_thirty_thousand_servers_keeps_what_is_shared() {
    let start = Instant::now();
    let mut checker = checker(30_000, start);
    assert_eq!(checker.follow(&snapshot(2, 30_000, health_check(INTERVAL)), at(start, 1)), Urgency::None);
    let mut distinct: Vec<*const HealthCheck> = checker.checks.values().map(|c| Arc::as_ptr(&c.health_check)).collect();
    distinct.dedup();
    assert_eq!(distinct.len(), 1);
}

proptest! {
    /// Whatever happens: before the first hold, what the data plane is told is what the probes say. From then on only
    /// servers that look down are told otherwise, and without a hold none that failed as often as takes a server out.
    #[test]
    fn what_is_usable_differs_from_what_is_up_only_for_servers_that_are_held_or_have_not_failed_since(
        probes in prop::collection::vec((1u16..8, any::<bool>(), 0u64..3_000), 0..300)
    ) {
        let start = Instant::now();
        let mut checker = checker(7, start);
        let (mut millis, mut ever_held, mut was_held) = (0, false, false);
        let mut failed: BTreeMap<u16, u32> = BTreeMap::new();
        for (number, passed, wait) in probes {
            millis += wait;
            probe(&mut checker, number, passed, at(start, millis));
            let view = checker.view();
            let in_a_row = failed.entry(number).or_default();
            *in_a_row = if passed { 0 } else { *in_a_row + 1 };
            let is_held = view.mass_failure.is_some();
            if was_held && !is_held {
                failed.clear();
            }
            (ever_held, was_held) = (ever_held || is_held, is_held);
            prop_assert!(view.servers.values().all(|health| health.usable || !health.up));
            prop_assert!(ever_held || view.servers.values().all(|health| health.usable == health.up));
            prop_assert!(view.mass_failure.as_ref().is_none_or(|mass| 2 * mass.down > mass.checked));
            for (number, in_a_row) in &failed {
                prop_assert!(is_held || *in_a_row < 2 || !view.is_usable(server(*number)), "server {}", number);
            }
        }
    }
}
