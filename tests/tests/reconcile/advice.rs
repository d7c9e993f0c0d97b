//! Advice to dependents: safe only while everything about the load balancer is settled.

use std::sync::Arc;

use lb_userspace::dataplane::Attachment;
use lb_userspace::health::{Cause, HealthView, MassFailure};
use lb_userspace::ledger::Snapshot;
use lb_userspace::model::{Document, LbId, Measure, MeasureId, Person, Place, Reason, Times, What};
use lb_userspace::plan::{Node, Planner, Tables};
use lb_userspace::reconcile::Status;
use lb_userspace::recovery::advice::{self, Advice, Code, Facts};
use uuid::Uuid;

use crate::fixture::*;

struct Case {
    snapshot: Snapshot,
    status: Status,
    tables: Arc<Tables>,
    health: HealthView,
    ledger_error: Option<&'static str>,
}

/// A load balancer that forwards, applied.
fn settled() -> Case {
    let documents =
        [lb(1, None), ip(1, Some(1), None), frontend(1, 1, 1, 80, None), backend(1, 1, &[(1, 1, false)], None)];
    let snapshot = snapshot(3, &documents);
    let tables = Planner::new(7, GRACE).plan(&snapshot, &health(&[]), &Node::default(), at(1));
    let attached = Attachment { interface: "eth0".to_owned(), ifindex: 2, mode: "native".to_owned() };
    let status = Status { applied_generation: 3, attachments: vec![attached], ..Status::default() };
    Case { snapshot, status, tables, health: health(&[]), ledger_error: None }
}

impl Case {
    fn advice(&self) -> Option<Advice> {
        let Self { snapshot, status, tables, health, ledger_error } = self;
        let facts = Facts { snapshot, status, tables, health, ledger_error: *ledger_error, now: at(10) };
        advice::of(LbId::from_uuid(Uuid::from_u128(1)), &facts)
    }

    fn codes(&self) -> Vec<Code> {
        let advice = self.advice().unwrap();
        assert_eq!(advice.safe, advice.reasons.is_empty());
        assert!(advice.reasons.iter().all(|reason| !reason.what.is_empty()));
        advice.reasons.into_iter().map(|reason| reason.code).collect()
    }
}

#[test]
fn it_is_safe_to_act_on_a_settled_load_balancer_only() {
    assert_eq!(settled().codes(), []);
    let mut case = settled();
    case.health.mass_failure =
        Some(MassFailure { since: at(1), down: 9, checked: 10, cause: Cause::Unanswered, probe_sources: vec![] });
    assert_eq!(case.codes(), [Code::MassFailure]);
    let mut case = settled();
    case.status.attachments.clear();
    assert_eq!(case.codes(), [Code::Detached]);
    let mut case = settled();
    case.status.last_error = Some("a map is full".to_owned());
    assert_eq!(case.codes(), [Code::Failing]);
    let mut case = settled();
    case.ledger_error = Some("the file is gone");
    assert_eq!(case.codes(), [Code::LedgerLost]);
}

#[test]
fn nobody_acts_on_a_load_balancer_that_is_deleted_quarantined_or_on_its_way_to_the_maps() {
    let mut case = settled();
    case.snapshot = snapshot(4, &[lb(1, Some(5))]);
    assert_eq!(case.codes(), [Code::Deleted]);

    let mut case = settled();
    let Document::Lb(held) = lb(1, None) else { unreachable!("it is a load balancer") };
    let quarantine = Document::Measure(Measure {
        id: MeasureId::from_uuid(Uuid::from_u128(1)),
        by: Person::agent("ts"),
        reason: Reason::try_from("abuse".to_owned()).unwrap(),
        expires_at: None,
        what: What::Quarantine { place: Place::Lb { lb: held.id } },
        times: Times::created(at(1)),
    });
    case.snapshot = case.snapshot.after(case.snapshot.generation(), case.snapshot.head(), &[quarantine]);
    assert_eq!(case.codes(), [Code::Quarantined]);

    let mut case = settled();
    case.status.applied_generation = 2;
    assert_eq!(case.codes(), [Code::Pending], "its change is not in the maps yet");

    let mut case = settled();
    case.tables = Arc::default();
    assert_eq!(case.codes(), [Code::Pending], "its service is not planned");
}

fn freeze(place: Place, ends: i64) -> Document {
    Document::Measure(Measure {
        id: MeasureId::from_uuid(Uuid::from_u128(2)),
        by: Person::agent("breaker"),
        reason: Reason::try_from("a budget is used up".to_owned()).unwrap(),
        expires_at: Some(at(ends)),
        what: What::Freeze { place, verb: Some("lb.delete".to_owned()), operations: Vec::new() },
        times: Times::created(at(1)),
    })
}

#[test]
fn nobody_acts_where_something_is_held_or_frozen_or_where_nothing_can_be_reached() {
    let mut case = settled();
    case.status.held = vec![format!("{} 8080/tcp", vip(1)), format!("{}1 80/tcp", vip(1))];
    assert_eq!(case.codes(), [Code::Held], "its own address, and not one that begins like it");
    assert!(case.advice().unwrap().reasons[0].what.contains("holds 1 of its services"));

    let here = Place::Project { project: owner().project };
    let elsewhere = Place::Project { project: lb_userspace::model::ProjectId::new() };
    let lb_itself = Place::Lb { lb: LbId::from_uuid(Uuid::from_u128(1)) };
    let codes = |place: &Place, ends| {
        let mut case = settled();
        let (generation, head) = (case.snapshot.generation(), case.snapshot.head());
        case.snapshot = case.snapshot.after(generation, head, &[freeze(place.clone(), ends)]);
        case.codes()
    };
    assert_eq!(codes(&here, 11), [Code::Frozen]);
    assert_eq!(codes(&lb_itself, 11), [Code::Frozen]);
    assert_eq!(codes(&Place::Zone, 11), [Code::Frozen]);
    assert_eq!(codes(&here, 10), [], "it has ended");
    assert_eq!(codes(&elsewhere, 11), []);

    let denies = {
        let Document::Acl(mut rule) = acl(1, false, &[], None) else { unreachable!("it is a rule") };
        rule.subnets = vec!["0.0.0.0/0".parse().unwrap()];
        Document::Acl(rule)
    };
    for taken in [ip(1, None, None), frontend(1, 1, 1, 80, Some(1)), backend(1, 1, &[], None), denies] {
        let mut case = settled();
        case.snapshot =
            case.snapshot.after(case.snapshot.generation(), case.snapshot.head(), std::slice::from_ref(&taken));
        assert!(case.codes().contains(&Code::Unreachable), "{taken:?}");
    }
}

#[test]
fn there_is_no_advice_about_what_is_not_there() {
    let mut case = settled();
    case.snapshot = Snapshot::default();
    assert_eq!(case.advice(), None);
}
