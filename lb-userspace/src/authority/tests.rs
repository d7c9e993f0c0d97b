//! What each role may do where.

use super::*;
use crate::ledger::{ChainHash, Ledger, MemoryLedger};
use crate::model::{Document, Generation, Lb, LbId, LbType, Name, Tags, Times, TokenId};

fn owner(organization: u128, project: u128) -> Owner {
    let id = uuid::Uuid::from_u128;
    Owner { organization: OrganizationId::from_uuid(id(organization)), project: ProjectId::from_uuid(id(project)) }
}

fn name(text: &str) -> Name {
    Name::try_from(text.to_owned()).unwrap()
}

const START: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

/// Projects 11 and 12 of organization 1, 21 of organization 2; a load balancer in 11.
fn world() -> (Snapshot, LbId) {
    let ledger = MemoryLedger::new();
    let key = TokenKey::new([1; 32]);
    let wanted = [(1, 11), (1, 12), (2, 21)].map(|(organization, project)| Bootstrap {
        name: name(&format!("p{project}")),
        role: Role::ProjectEditor,
        reach: Reach::Project { owner: owner(organization, project) },
        digest: key.digest(&format!("secret-{project}")),
    });
    bootstrap(&ledger, &wanted, START).unwrap();
    let generation = ledger.snapshot().generation();
    bootstrap(&ledger, &wanted, START).unwrap();
    assert_eq!(ledger.snapshot().generation(), generation, "what is known is not made again");
    let lb = Lb {
        id: LbId::new(),
        owner: owner(1, 11),
        name: name("web"),
        description: String::new(),
        tags: Tags::default(),
        kind: LbType::S,
        answers_echo: true,
        on_closed_port: crate::model::ClosedPort::Reject,
        protected: false,
        subscriber: None,
        at_once: false,
        taken_down: None,
        times: Times::created(START),
    };
    let id = lb.id;
    (ledger.snapshot().after(Generation(99), ChainHash::GENESIS, &[Document::Lb(lb)]), id)
}

fn actor(role: Role, reach: Reach) -> Actor {
    Actor { token: Some(TokenId::new()), name: "somebody".to_owned(), role, reach }
}

#[test]
fn every_role_does_what_it_may_within_its_reach_and_sees_nothing_beyond() {
    let (world, lb) = world();
    let project = |organization, project| Reach::Project { owner: owner(organization, project) };
    let organization = |number| Reach::Organization { organization: owner(number, 0).organization };
    let in_lb = Scope::Lb { lb, project: owner(1, 11).project };
    let (ok, unseen, role) = ("ok", "unseen", "role");
    let table = [
        (Role::Operator, Reach::Fleet, Act::Edit, ok),
        (Role::Operator, Reach::Fleet, Act::Contain, ok),
        (Role::TrustSafety, Reach::Fleet, Act::Contain, ok),
        (Role::TrustSafety, Reach::Fleet, Act::Edit, role),
        (Role::OrgAdmin, organization(1), Act::Edit, ok),
        (Role::OrgAdmin, organization(1), Act::Contain, role),
        (Role::OrgAdmin, organization(2), Act::Edit, unseen),
        (Role::ProjectEditor, project(1, 11), Act::Edit, ok),
        (Role::ProjectEditor, project(1, 11), Act::Administer, role),
        (Role::ProjectEditor, project(1, 12), Act::Edit, unseen),
        (Role::ProjectEditor, project(2, 11), Act::Edit, unseen),
        (Role::Viewer, project(1, 11), Act::Edit, role),
        (Role::Viewer, project(2, 21), Act::Edit, unseen),
        (Role::Viewer, Reach::Fleet, Act::Edit, role),
    ];
    for (who, reach, act, expected) in table {
        let actor = actor(who, reach);
        let found = match Write::authorize(&world, &actor, act, in_lb.clone()) {
            Ok(write) => {
                assert_eq!(write.scope(), &in_lb);
                ok
            }
            Err(Denied::Unseen) => unseen,
            Err(Denied::Role { .. }) => role,
        };
        assert_eq!(found, expected, "{who:?} {reach:?} {act:?}");
        let sees = Sight::new(&world, &actor).lb(lb).is_some();
        assert_eq!(sees, expected != unseen, "{who:?} {reach:?}");
        assert_eq!(Sight::new(&world, &actor).lbs().count(), usize::from(sees), "{who:?} {reach:?}");
    }
}

#[test]
fn a_scope_that_is_not_there_is_like_one_that_is_not_seen() {
    let (world, lb) = world();
    let operator = actor(Role::Operator, Reach::Fleet);
    for scope in [
        Scope::Lb { lb: LbId::new(), project: owner(1, 11).project },
        Scope::Lb { lb, project: owner(1, 12).project },
        Scope::Project { project: owner(1, 99).project },
        Scope::Organization { organization: owner(9, 1).organization },
        Scope::Token { token: TokenId::new() },
    ] {
        assert_eq!(Write::authorize(&world, &operator, Act::Edit, scope), Err(Denied::Unseen));
    }
}

#[test]
fn filters_narrow_what_is_seen_and_never_widen_it() {
    let (world, _) = world();
    let table = [
        (Reach::Fleet, None, None, 3),
        (Reach::Fleet, Some(1), None, 2),
        (Reach::Fleet, Some(1), Some(21), 0),
        (Reach::Fleet, None, Some(21), 1),
        (Reach::Organization { organization: owner(1, 0).organization }, None, None, 2),
        (Reach::Organization { organization: owner(1, 0).organization }, Some(2), None, 0),
        (Reach::Organization { organization: owner(1, 0).organization }, None, Some(21), 0),
        (Reach::Organization { organization: owner(1, 0).organization }, None, Some(12), 1),
        (Reach::Project { owner: owner(1, 11) }, None, None, 1),
        (Reach::Project { owner: owner(1, 11) }, Some(1), None, 1),
        (Reach::Project { owner: owner(1, 11) }, Some(2), None, 0),
        (Reach::Project { owner: owner(1, 11) }, None, Some(12), 0),
    ];
    for (reach, organization, project, expected) in table {
        let sight = Sight::new(&world, &actor(Role::Viewer, reach));
        let organization = organization.map(|number| owner(number, 0).organization);
        let project = project.map(|number| owner(0, number).project);
        let seen = sight.narrowed(organization, project).map_or(0, |sight| sight.projects().count());
        assert_eq!(seen, expected, "{reach:?} {organization:?} {project:?}");
    }
}

#[test]
fn nobody_gives_away_more_than_he_has() {
    let (world, _) = world();
    let organization = |number| Reach::Organization { organization: owner(number, 0).organization };
    let project = Reach::Project { owner: owner(1, 11) };
    let grant = |who: Actor, role, reach| Write::new_token(&world, &who, TokenId::new(), role, &reach).is_ok();
    let admin = || actor(Role::OrgAdmin, organization(1));
    assert!(grant(admin(), Role::ProjectEditor, project) && grant(admin(), Role::OrgAdmin, organization(1)));
    assert!(!grant(admin(), Role::Operator, organization(1)), "a higher role");
    assert!(!grant(admin(), Role::Viewer, Reach::Fleet), "a wider reach");
    assert!(!grant(admin(), Role::OrgAdmin, organization(2)), "another's");
    assert!(!grant(actor(Role::ProjectEditor, project), Role::Viewer, project), "no administrator");
    assert!(!grant(actor(Role::TrustSafety, Reach::Fleet), Role::Viewer, project), "no administrator");
    assert!(grant(actor(Role::Operator, Reach::Fleet), Role::Operator, Reach::Fleet));
}

#[test]
fn a_digest_is_of_the_key_and_the_secret_and_a_secret_has_the_form_of_a_uuid() {
    let (first, second) = (TokenKey::new([1; 32]), TokenKey::new([2; 32]));
    assert_ne!(first.digest("a"), second.digest("a"));
    assert_ne!(first.digest("a"), first.digest("b"));
    let secrets: std::collections::BTreeSet<String> = (0..100).map(|_| Secret::draw().as_str().to_owned()).collect();
    assert_eq!(secrets.len(), 100);
    assert!(secrets.iter().all(|secret| uuid::Uuid::try_parse(secret).is_ok()));
}
