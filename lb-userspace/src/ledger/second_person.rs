//! Whether who approves something is somebody else than who asked for it, as far as tokens can tell.

use jiff::{SignedDuration, Timestamp};

use super::Snapshot;
use crate::model::{Actor, ActorId, Measure, Token, TokenId};

/// Most tokens that a token is followed back through to its maker.
const MOST_MAKERS: usize = 64;

/// Tokens of one maker are those of two persons when both are at least so old at the request: who makes a token to agree
/// with itself must have planned that a day before, in a log that everybody with the same reach reads.
pub const SETTLES: SignedDuration = SignedDuration::from_hours(24);

/// Why an approval is not a second person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSecond {
    /// The token is that of the request.
    #[error("whoever made it cannot approve it: ask somebody with another token")]
    Same,
    /// The requester made the token, or a token that made it.
    #[error("this token was made with the one that asks: ask somebody who has a token of their own")]
    Made,
    /// The token is younger than the request.
    #[error("this token was made after it: ask somebody who had a token before")]
    Younger,
    /// The token made the requester's, or one that made it, shortly before the request.
    #[error("this token made the one that asks less than 24 hours before: ask somebody else")]
    Maker,
    /// One token made both, or tokens that made them, at least one of them shortly before the request.
    #[error(
        "one token made this one and the one that asks, not both of them 24 hours before: ask somebody who had a token \
         the day before"
    )]
    Siblings,
    /// There is no such token.
    #[error("the token is not known")]
    Unknown,
}

/// Checks that an actor is not whoever made a measure: not with the same token, nor with one made by it, nor with one made
/// after the measure; nor with one that comes from the same token as the requester's, unless what each of them comes from
/// was made at least [`SETTLES`] before the measure.
///
/// # Errors
/// [`NotSecond`].
pub fn second_person(current: &Snapshot, measure: &Measure, approver: &Actor) -> Result<(), NotSecond> {
    if approver.id() == measure.by.id {
        return Err(NotSecond::Same);
    }
    let Some(id) = approver.token else { return Ok(()) };
    let approvers = line(current, id)?;
    let asked_at = measure.times.created_at;
    if approvers.first().is_none_or(|token| token.times.created_at > asked_at) {
        return Err(NotSecond::Younger);
    }
    let ActorId::Token(requester) = measure.by.id else { return Ok(()) };
    let requesters = line(current, requester)?;
    // The nearest token that both come from, and how far it is from each.
    let common = approvers.iter().enumerate().find_map(|(far, token)| {
        requesters.iter().position(|other| other.id == token.id).map(|other_far| (far, other_far))
    });
    match common {
        None => Ok(()),
        Some((_, 0)) => Err(NotSecond::Made),
        Some((0, other_far)) if is_settled(&requesters, other_far, asked_at) => Ok(()),
        Some((0, _)) => Err(NotSecond::Maker),
        Some((far, other_far)) => {
            let are_settled = is_settled(&approvers, far, asked_at) && is_settled(&requesters, other_far, asked_at);
            if are_settled { Ok(()) } else { Err(NotSecond::Siblings) }
        }
    }
}

/// Whether the token that the one at `far` made, towards the beginning of the line, was old enough.
fn is_settled(line: &[&Token], far: usize, asked_at: Timestamp) -> bool {
    let made = far.checked_sub(1).and_then(|child| line.get(child));
    made.is_some_and(|token| asked_at.duration_since(token.times.created_at) >= SETTLES)
}

/// A token, the one that made it, and so on.
fn line(current: &Snapshot, id: TokenId) -> Result<Vec<&Token>, NotSecond> {
    let (mut line, mut next) = (Vec::new(), Some(id));
    while let Some(id) = next {
        if line.len() == MOST_MAKERS {
            return Err(NotSecond::Made);
        }
        let token: &Token = current.tenants().token(id).ok_or(NotSecond::Unknown)?;
        next = token.made_by;
        line.push(token);
    }
    Ok(line)
}
