//! What the engine refuses by itself, the same on every engine.

use std::collections::BTreeSet;

use lb_userspace::ledger::{Change, Ledger, LedgerError, MemoryLedger, Proposal, SqliteLedger};
use lb_userspace::model::{Document, Generation, Lb, LbId, LbSet, Name, Scope};

use super::{create, fill, lb, owner, proposal};

/// Runs a check on each engine, with a ledger of one load balancer.
fn on_every_engine(check: impl Fn(&dyn Ledger, Lb)) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = SqliteLedger::open(&directory.path().join("ledger.db")).unwrap();
    let memory = MemoryLedger::new();
    for ledger in [&sqlite as &dyn Ledger, &memory] {
        fill(ledger, 1);
        let first = Lb::clone(ledger.snapshot().lbs().next().unwrap());
        check(ledger, first);
    }
}

fn renamed(lb: &Lb, name: &str) -> Lb {
    Lb { name: Name::try_from(name.to_owned()).unwrap(), ..lb.clone() }
}

fn in_lbs(lbs: &[LbId]) -> Scope {
    let lbs = lbs.iter().copied().collect::<BTreeSet<_>>().try_into().unwrap();
    Scope::Lbs { lbs, project: owner(1).project }
}

fn update(before: &Lb, after: Lb) -> Change {
    Change { before: Some(Document::Lb(before.clone())), after: Document::Lb(after) }
}

#[test]
fn an_operation_is_in_the_snapshot_and_in_the_log() {
    on_every_engine(|ledger, first| {
        let operation =
            ledger.append(proposal(&ledger.snapshot(), vec![update(&first, renamed(&first, "new"))])).unwrap();
        let snapshot = ledger.snapshot();
        assert_eq!(snapshot.lb(first.id).unwrap().name.as_str(), "new");
        assert_eq!((snapshot.generation(), snapshot.head()), (Generation(2), operation.hash));
        assert_eq!(snapshot.touched(first.id), Generation(2));
        assert_eq!(ledger.operations(Generation(1), 10).unwrap(), vec![(*operation).clone()]);
        assert_eq!(ledger.operations(Generation(0), 1).unwrap()[0].hash, operation.previous);
    });
}

#[test]
fn of_two_changes_made_from_one_generation_the_second_is_a_conflict() {
    on_every_engine(|ledger, first| {
        let stale = proposal(&ledger.snapshot(), vec![update(&first, renamed(&first, "second"))]);
        ledger.append(proposal(&ledger.snapshot(), vec![update(&first, renamed(&first, "first"))])).unwrap();
        let error = ledger.append(stale).expect_err("stale");
        assert!(matches!(error, LedgerError::Conflict { expected: Generation(1), actual: Generation(2) }), "{error}");
        assert_eq!(ledger.snapshot().lb(first.id).unwrap().name.as_str(), "first");
    });
}

#[test]
fn what_breaks_a_rule_of_the_log_is_refused_and_nothing_changes() {
    on_every_engine(|ledger, first| {
        let snapshot = ledger.snapshot();
        let base = |changes| proposal(&snapshot, changes);
        let other = lb("theirs", owner(2));
        let theirs = other.id;
        let deleted = |lb: &Lb| Lb { times: lb.times.deleted(jiff::Timestamp::UNIX_EPOCH), ..lb.clone() };
        let remade = Lb { times: lb_userspace::model::Times::created(jiff::Timestamp::MAX), ..first.clone() };
        let in_lb = Scope::Lb { lb: first.id, project: owner(1).project };
        let cases: Vec<(&str, Proposal)> = vec![
            ("changes 0 documents", base(vec![])),
            (
                "a document twice",
                base(vec![update(&first, renamed(&first, "a")), update(&first, renamed(&first, "b"))]),
            ),
            ("no verb", Proposal { verb: String::new(), ..base(vec![create(lb("x", owner(1)))]) }),
            ("which exists", base(vec![create(first.clone())])),
            ("as a deleted one", base(vec![create(deleted(&lb("x", owner(1))))])),
            ("is not what the operation says", base(vec![update(&renamed(&first, "wrong"), renamed(&first, "x"))])),
            ("the same before and after", base(vec![update(&first, first.clone())])),
            ("changes when", base(vec![update(&first, remade)])),
            ("it turns", base(vec![update(&first, lb("another", owner(1)))])),
            ("does not belong to the actor's project", base(vec![create(other)])),
            ("does not belong", base(vec![update(&first, Lb { owner: owner(2), ..first.clone() })])),
            (
                "lies outside the operation's scope",
                Proposal {
                    scope: Scope::Project { project: owner(2).project },
                    ..base(vec![create(lb("x", owner(1)))])
                },
            ),
            ("lies outside", Proposal { scope: in_lbs(&[first.id]), ..base(vec![create(lb("x", owner(1)))]) }),
            (
                "is no load balancer of the actor's project",
                Proposal { scope: in_lbs(&[first.id, theirs]), ..base(vec![update(&first, renamed(&first, "x"))]) },
            ),
            ("lies outside", Proposal { scope: in_lb, ..base(vec![create(lb("x", owner(1)))]) }),
            (
                "is no load balancer of the actor's project",
                Proposal {
                    scope: Scope::Lb { lb: lb_userspace::model::LbId::new(), project: owner(1).project },
                    ..base(vec![update(&first, renamed(&first, "x"))])
                },
            ),
        ];
        for (why, proposal) in cases {
            let error = ledger.append(proposal).expect_err(why);
            assert!(matches!(error, LedgerError::Refused(_)) && error.to_string().contains(why), "{why}: {error}");
            assert_eq!(ledger.snapshot().head(), snapshot.head(), "{why}");
        }
    });
}

#[test]
fn thousands_of_documents_are_one_operation_within_their_load_balancers() {
    on_every_engine(|ledger, _| {
        fill(ledger, 2_000);
        let snapshot = ledger.snapshot();
        let changes: Vec<Change> = snapshot.lbs().map(|lb| update(lb, renamed(lb, "again"))).collect();
        let lbs: Vec<LbId> = snapshot.lbs().map(|lb| lb.id).collect();
        ledger.append(Proposal { scope: in_lbs(&lbs), ..proposal(&snapshot, changes) }).unwrap();
        let snapshot = ledger.snapshot();
        assert_eq!(snapshot.lbs().filter(|lb| lb.name.as_str() == "again").count(), 2_001);
        assert_eq!(snapshot.generation(), Generation(2_002), "one operation");
    });
}

#[test]
fn a_selection_of_no_load_balancers_cannot_be_built_or_read() {
    assert!(LbSet::try_from(BTreeSet::new()).is_err());
    let text = format!(r#"{{"kind": "lbs", "lbs": [], "project": "{}"}}"#, owner(1).project);
    assert!(serde_json::from_str::<Scope>(&text).is_err());
}

#[test]
fn a_reopened_ledger_has_the_same_snapshot_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = SqliteLedger::open(&path).unwrap();
    fill(&ledger, 5);
    let before = ledger.snapshot();
    drop(ledger);
    let ledger = SqliteLedger::open(&path).unwrap();
    let after = ledger.snapshot();
    assert_eq!((before.generation(), before.head()), (after.generation(), after.head()));
    assert!(before.lbs().eq(after.lbs()));
    fill(&ledger, 1);
    assert_eq!(ledger.snapshot().generation(), Generation(6));
}

#[test]
fn a_subscriber_sees_the_newest_snapshot() {
    let ledger = MemoryLedger::new();
    let mut newest = ledger.subscribe();
    assert!(!newest.has_changed().unwrap());
    fill(&ledger, 3);
    assert!(newest.has_changed().unwrap());
    assert_eq!(newest.borrow_and_update().generation(), Generation(3));
}
