//! The ledger: what it refuses, and what it never loses.

use std::path::Path;

use lb_userspace::ledger::{Change, Ledger, Proposal, Snapshot};
use lb_userspace::model::{
    Actor, ClosedPort, Document, Lb, LbId, LbType, Name, OrganizationId, Owner, ProjectId, Scope, Tags, Times,
};
use uuid::Uuid;

mod attempts;
mod backup;
mod damage;
mod kill;
mod layers;
mod persons;
mod rules;
mod size;

pub(crate) fn owner(number: u128) -> Owner {
    Owner {
        organization: OrganizationId::from_uuid(Uuid::from_u128(number + 1000)),
        project: ProjectId::from_uuid(Uuid::from_u128(number)),
    }
}

pub(crate) fn lb(name: &str, owner: Owner) -> Lb {
    Lb {
        id: LbId::new(),
        owner,
        name: Name::try_from(name.to_owned()).unwrap(),
        description: String::new(),
        tags: Tags::default(),
        kind: LbType::S,
        answers_echo: true,
        on_closed_port: ClosedPort::Reject,
        protected: false,
        subscriber: None,
        at_once: false,
        taken_down: None,
        times: Times::created(jiff::Timestamp::UNIX_EPOCH),
    }
}

pub(crate) fn create(lb: Lb) -> Change {
    Change { before: None, after: Document::Lb(lb) }
}

fn proposal(current: &Snapshot, changes: Vec<Change>) -> Proposal {
    let owner = owner(1);
    Proposal {
        expected: current.generation(),
        actor: Actor::editor("tester", owner),
        scope: Scope::Project { project: owner.project },
        verb: "lb.create".to_owned(),
        reason: String::new(),
        at: jiff::Timestamp::UNIX_EPOCH,
        attempt: None,
        plan: None,
        changes,
    }
}

/// Appends load balancers, one operation each.
fn fill(ledger: &dyn Ledger, count: usize) {
    for number in 0..count {
        let change = create(lb(&format!("lb-{number}"), owner(1)));
        ledger.append(proposal(&ledger.snapshot(), vec![change])).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
}
