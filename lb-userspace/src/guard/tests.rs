//! Tests of the guard: the same inputs give the same report, and each rule refuses what the API cannot even ask for.

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Limits, Proposed, Refusal, Report, Violation, judge};
use crate::ledger::{ChainHash, Change, Snapshot};
use crate::model::{
    Actor, ClosedPort, Document, Generation, Ip, IpId, Lb, LbId, LbType, Name, OrganizationId, Owner, Pools, ProjectId,
    Scope, Tags, Times,
};

mod rules;

fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

fn owner(number: u128) -> Owner {
    Owner { organization: OrganizationId::from_uuid(uuid(1000 + number)), project: ProjectId::from_uuid(uuid(number)) }
}

fn lb(number: u128, of: u128) -> Lb {
    Lb {
        id: LbId::from_uuid(uuid(number)),
        owner: owner(of),
        name: Name::try_from("lb".to_owned()).unwrap(),
        description: String::new(),
        tags: Tags::default(),
        kind: LbType::S,
        answers_echo: true,
        on_closed_port: ClosedPort::Reject,
        protected: false,
        subscriber: None,
        at_once: false,
        taken_down: None,
        times: Times::created(Timestamp::UNIX_EPOCH),
    }
}

fn ip(number: u128, of: u128, address: [u8; 4], lb: Option<u128>) -> Ip {
    Ip {
        id: IpId::from_uuid(uuid(number)),
        owner: owner(of),
        address: address.into(),
        lb: lb.map(|number| LbId::from_uuid(uuid(number))),
        reverse: String::new(),
        tags: Tags::default(),
        times: Times::created(Timestamp::UNIX_EPOCH),
    }
}

fn judged(current: &Snapshot, scope: Scope, changes: Vec<Change>) -> Report {
    let actor = Actor::editor("tester", owner(1));
    let pools = Pools::new(["192.0.2.0/24".parse().unwrap()]);
    judge(current, &Proposed::new(scope, changes, "test", Timestamp::UNIX_EPOCH), &actor, &Limits::default(), &pools)
}

fn in_project(number: u128) -> Scope {
    Scope::Project { project: owner(number).project }
}

fn snapshot(documents: &[Document]) -> Snapshot {
    Snapshot::default().after(Generation(1), ChainHash::GENESIS, documents)
}

const fn create(after: Document) -> Change {
    Change { before: None, after }
}

#[test]
fn a_scope_or_a_document_of_another_project_is_out_of_scope() {
    let current = snapshot(&[Document::Lb(lb(10, 2))]);
    let cases = [
        (in_project(2), vec![create(Document::Lb(lb(11, 2)))]),
        (in_project(1), vec![create(Document::Lb(lb(11, 2)))]),
        (in_project(1), vec![create(Document::Ip(ip(12, 1, [192, 0, 2, 1], Some(10))))]),
        (Scope::Lb { lb: LbId::from_uuid(uuid(10)), project: owner(1).project }, vec![create(Document::Lb(lb(11, 1)))]),
    ];
    for (scope, changes) in cases {
        let report = judged(&current, scope, changes);
        let is_told = |refusal: &Refusal| matches!(refusal, Refusal::OutOfScope { .. });
        assert!(report.violations.iter().any(|violation| is_told(&violation.refusal)), "{report:?}");
    }
}

#[test]
fn what_never_changes_is_refused_by_its_name() {
    let before = ip(12, 1, [192, 0, 2, 1], None);
    let current = snapshot(&[Document::Ip(before.clone())]);
    let after = Ip { address: [192, 0, 2, 2].into(), ..before.clone() };
    let change = Change { before: Some(Document::Ip(before)), after: Document::Ip(after) };
    let report = judged(&current, in_project(1), vec![change]);
    let refusals: Vec<_> = report.violations.iter().map(|violation| (violation.rule, &violation.refusal)).collect();
    assert!(matches!(refusals[..], [("immutable", Refusal::Argument { argument: "ip_address", .. })]), "{refusals:?}");
}

proptest! {
    #[test]
    fn the_same_inputs_give_the_same_report(
        there in prop::collection::vec((1u8..20, prop::option::of(30u128..34)), 0..8),
        wanted in prop::collection::vec((0u8..20, prop::option::of(30u128..34), 1u128..3), 0..8),
    ) {
        let lbs = (30..33).map(|number| Document::Lb(lb(number, 1)));
        let ips = there.into_iter().map(|(last, of)| Document::Ip(ip(u128::from(last), 1, [192, 0, 2, last], of)));
        let documents: Vec<Document> = lbs.chain(ips).collect();
        let current = snapshot(&documents);
        let changes: Vec<Change> = wanted
            .into_iter()
            .enumerate()
            .map(|(number, (last, of, owner))| {
                create(Document::Ip(ip(100 + number as u128, owner, [192, 0, 2, last], of)))
            })
            .collect();
        let first = judged(&current, in_project(1), changes.clone());
        prop_assert_eq!(&first, &judged(&current.clone(), in_project(1), changes.clone()));
        // What is allowed leaves no address with two owners and no load balancer with two of a family.
        if first.is_allowed() {
            let after = current.after(Generation(2), ChainHash::GENESIS, changes.iter().map(|change| &change.after));
            let mut addresses: Vec<_> = after.ips().map(|ip| ip.address).collect();
            let count = addresses.len();
            addresses.sort();
            addresses.dedup();
            prop_assert!(changes.is_empty() || addresses.len() == count);
            for lb in changes.iter().filter_map(|change| match &change.after { Document::Ip(ip) => ip.lb, _ => None }) {
                prop_assert!(after.ips_of(lb).count() <= 1);
            }
        }
    }
}
