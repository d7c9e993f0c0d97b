//! Whether who approves something is somebody else than who asked for it, as far as tokens can tell.

use super::Snapshot;
use crate::model::{Actor, ActorId, Measure};

/// Most tokens that a token is followed back through to its maker.
const MOST_MAKERS: usize = 64;

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
    /// There is no such token.
    #[error("the token is not known")]
    Unknown,
}

/// Checks that an actor is not whoever made a measure: not with the same token, nor with one made by it, nor with one made
/// after the measure.
///
/// # Errors
/// [`NotSecond`].
pub fn second_person(current: &Snapshot, measure: &Measure, approver: &Actor) -> Result<(), NotSecond> {
    if approver.id() == measure.by.id {
        return Err(NotSecond::Same);
    }
    let Some(mut id) = approver.token else { return Ok(()) };
    for step in 0..MOST_MAKERS {
        let token = current.tenants().token(id).ok_or(NotSecond::Unknown)?;
        if step == 0 && token.times.created_at > measure.times.created_at {
            return Err(NotSecond::Younger);
        }
        match token.made_by {
            None => return Ok(()),
            Some(maker) if ActorId::Token(maker) == measure.by.id => return Err(NotSecond::Made),
            Some(maker) => id = maker,
        }
    }
    Err(NotSecond::Made)
}
