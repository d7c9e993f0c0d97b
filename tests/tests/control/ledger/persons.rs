//! Who acts is a token and not its name: budgets and freezes of one are not another's, and a second person is no token of
//! the first.

use jiff::{SignedDuration, Timestamp};
use lb_userspace::ledger::{Change, Ledger, LedgerError, MemoryLedger, Proposal, SqliteLedger};
use lb_userspace::model::{
    Actor, ActorId, Digest, Document, Lb, Measure, MeasureId, Name, Person, Place, Plan, Reach, Reason, Role, Scope,
    Times, Token, TokenId, What,
};

use super::{create, lb, owner, proposal};

/// Load balancers of each project: what its own budget allows.
const EACH: usize = 20;
const PROJECTS: u128 = 3;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn on_every_engine(check: impl Fn(&dyn Ledger)) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = SqliteLedger::open(&directory.path().join("ledger.db")).unwrap();
    let memory = MemoryLedger::new();
    [&sqlite as &dyn Ledger, &memory].into_iter().for_each(check);
}

/// Whoever holds a token named `ci`.
fn ci(token: TokenId, project: u128) -> Actor {
    Actor { token: Some(token), ..Actor::editor("ci", owner(project)) }
}

fn stock(ledger: &dyn Ledger, project: u128) {
    let changes = (0..EACH).map(|number| create(lb(&format!("lb-{number}"), owner(project)))).collect();
    let scope = Scope::Project { project: owner(project).project };
    let actor = Actor::editor("tester", owner(project));
    ledger.append(Proposal { actor, scope, ..proposal(&ledger.snapshot(), changes) }).unwrap();
}

/// Deletes ten load balancers of a project.
fn delete_ten(ledger: &dyn Ledger, actor: Actor, project: u128) -> Result<(), LedgerError> {
    let snapshot = ledger.snapshot();
    let live = snapshot.lbs_in(owner(project).project).filter(|lb| lb.times.is_live());
    let deleted = live.take(10).map(|lb| {
        let after = Lb { times: lb.times.deleted(at(1)), ..Lb::clone(lb) };
        Change { before: Some(Document::Lb(Lb::clone(lb))), after: Document::Lb(after) }
    });
    let changes: Vec<Change> = deleted.collect();
    let scope = Scope::Project { project: owner(project).project };
    let verb = "lb.delete".to_owned();
    ledger.append(Proposal { actor, scope, verb, at: at(1), ..proposal(&snapshot, changes) }).map(drop)
}

#[test]
fn tokens_of_one_name_share_no_budget_and_one_token_has_one() {
    on_every_engine(|ledger| {
        (1..=PROJECTS).for_each(|project| stock(ledger, project));
        for project in 1..=PROJECTS {
            let own = ci(TokenId::new(), project);
            delete_ten(ledger, own.clone(), project).unwrap();
            delete_ten(ledger, own, project).unwrap_or_else(|error| panic!("project {project}: {error}"));
        }
    });
    on_every_engine(|ledger| {
        (1..=PROJECTS).for_each(|project| stock(ledger, project));
        let one = TokenId::new();
        let names = ["ci", "cd", "ops"];
        for (project, name) in (1..=PROJECTS).zip(names) {
            let actor = || Actor { name: name.to_owned(), ..ci(one, project) };
            delete_ten(ledger, actor(), project).unwrap();
            let second = delete_ten(ledger, actor(), project);
            match second {
                Ok(()) => assert!(project < PROJECTS, "60 by one token, whatever it is called"),
                Err(LedgerError::Frozen(freeze)) => {
                    let place = Place::Actor { id: ActorId::Token(one) };
                    assert_eq!((project, freeze.place()), (PROJECTS, Some(&place)));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(ledger.snapshot().freezes().next().is_some());
    });
}

fn token(made_by: Option<TokenId>, made_at: Timestamp) -> Token {
    Token {
        id: TokenId::new(),
        name: Name::try_from("ci".to_owned()).unwrap(),
        role: Role::Operator,
        reach: Reach::Fleet,
        digest: Digest(rand::random()),
        expires_at: None,
        made_by,
        times: Times::created(made_at),
    }
}

/// Appends a change of one document.
fn append(ledger: &dyn Ledger, actor: Actor, scope: Scope, change: Change) -> Result<(), LedgerError> {
    let proposal = Proposal { actor, scope, verb: "test".to_owned(), ..proposal(&ledger.snapshot(), vec![change]) };
    ledger.append(proposal).map(drop)
}

fn operator(token: &Token) -> Actor {
    Actor { token: Some(token.id), name: token.name.to_string(), role: token.role, reach: token.reach }
}

#[test]
fn a_second_person_is_no_token_that_the_first_made_and_none_that_was_made_after_the_request() {
    on_every_engine(|ledger| {
        let maker = token(None, at(0));
        let (first, sibling) = (token(Some(maker.id), at(0)), token(Some(maker.id), at(0)));
        let made = token(Some(first.id), at(0));
        let made_by_made = token(Some(made.id), at(0));
        let (other, younger) = (token(None, at(0)), token(None, at(3)));
        for one in [&maker, &first, &sibling, &made, &made_by_made, &other, &younger] {
            let change = Change { before: None, after: Document::Token(one.clone()) };
            append(ledger, Actor::agent("test"), Scope::Token { token: one.id }, change).unwrap();
        }
        let services: Vec<String> = (0..11).map(|number| format!("192.0.2.{number} 80/tcp")).collect();
        let release = Measure {
            id: MeasureId::new(),
            by: operator(&first).person(),
            reason: Reason::try_from("test".to_owned()).unwrap(),
            expires_at: Some(Timestamp::UNIX_EPOCH + Plan::KEEPS),
            what: What::LetGo { services: services.clone(), agreed_by: None },
            times: Times::created(at(2)),
        };
        let scope = Scope::Measure { measure: release.id };
        let change = Change { before: None, after: Document::Measure(release.clone()) };
        let early = Proposal { at: at(2), ..proposal(&ledger.snapshot(), vec![change]) };
        ledger.append(Proposal { actor: operator(&first), scope: scope.clone(), ..early }).unwrap();
        let approve = |by: &Token, as_whom: Person| {
            let what = What::LetGo { services: services.clone(), agreed_by: Some(as_whom) };
            let after = Document::Measure(Measure { what, ..release.clone() });
            let change = Change { before: Some(Document::Measure(release.clone())), after };
            append(ledger, operator(by), scope.clone(), change)
        };
        for (approver, why) in [
            (&first, "whoever made it"),
            (&made, "was made with the one that asks"),
            (&made_by_made, "was made with the one that asks"),
            (&younger, "made after it"),
            (&maker, "made the one that asks"),
            (&sibling, "one token made this one and the one that asks"),
        ] {
            let error = approve(approver, operator(approver).person()).expect_err(why);
            assert!(matches!(&error, LedgerError::Refused(said) if said.contains(why)), "{error}");
        }
        let error = approve(&made, operator(&other).person()).expect_err("in another's name");
        assert!(matches!(error, LedgerError::Refused(_)), "{error}");
        approve(&other, operator(&other).person()).expect("the same name is not the same person");
    });
}
