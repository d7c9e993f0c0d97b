//! The answers that operations keep: for how long, and for whom.

use jiff::{SignedDuration, Timestamp};
use lb_userspace::ledger::{Attempt, Kept, Ledger, MemoryLedger, Proposal};
use lb_userspace::model::{Actor, Generation, TokenId};

use super::{create, lb, owner, proposal};

#[test]
fn a_key_is_known_for_a_day_and_can_then_be_used_again() {
    let ledger = MemoryLedger::new();
    let start = Timestamp::UNIX_EPOCH;
    let after = |hours| start + SignedDuration::from_hours(hours);
    let token = TokenId::new();
    let append = |key: &str, at| {
        let answer = Kept { status: 200, etag: None, body: String::new() };
        let attempt = Some(Attempt { key: key.to_owned(), request: String::new(), answer });
        let change = create(lb("x", owner(1)));
        let proposal = proposal(&ledger.snapshot(), vec![change]);
        let actor = Actor { token: Some(token), ..proposal.actor };
        ledger.append(Proposal { at, attempt, actor, ..proposal }).unwrap();
    };
    let found = |key: &str, at| ledger.snapshot().attempt(token, key, at);
    append("a", start);
    append("b", after(1));
    assert_eq!((found("a", after(23)), found("b", after(23))), (Some(Generation(1)), Some(Generation(2))));
    assert_eq!(ledger.snapshot().attempt(TokenId::new(), "a", start), None, "a key is of one token");
    assert_eq!((found("a", after(24)), found("b", after(24))), (None, Some(Generation(2))));
    append("c", after(24));
    assert_eq!(found("a", start), None, "what is too old is forgotten, not only hidden");
    append("a", after(30));
    assert_eq!(found("a", after(53)), Some(Generation(4)));
    append("d", after(54));
    assert_eq!((found("a", after(53)), found("c", after(47))), (None, None));
}
