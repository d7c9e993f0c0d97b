//! PostgreSQL (protocol 3.0): a startup message is answered with a request to authenticate, or with an error.

use super::{Step, unexpected, words};
use crate::health::ProbeOutcome;

/// Protocol 3.0.
const VERSION: u32 = 3 << 16;
/// Longest message that is waited for.
const MAX_LENGTH: usize = 4000;

/// The startup message of a user. The database is the server's own, which every server has.
pub(super) fn startup(user: &str) -> Vec<u8> {
    let mut body = VERSION.to_be_bytes().to_vec();
    for text in ["user", user, "database", "postgres", "application_name", "snowshed-health"] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body].concat()
}

/// Passes when the server wants a password or none (`R`): it takes connections. An error (`E`) is told in its words.
pub(super) fn hear(heard: &[u8]) -> Step {
    let Some((kind, rest)) = heard.split_first() else { return Step::More };
    match kind {
        b'R' => {}
        b'E' => {}
        // A server before 7.4, or one that could not start a process for us, sends an error without a length.
        _ => return Step::Done(unexpected("the answer is not PostgreSQL")),
    }
    let Some((length, fields)) = rest.split_first_chunk::<4>() else { return Step::More };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(8..=MAX_LENGTH).contains(&length) {
        return Step::Done(unexpected("the answer is not PostgreSQL"));
    }
    match fields.get(..length - 4) {
        None => Step::More,
        Some(_) if *kind == b'R' => Step::Done(ProbeOutcome::Passed),
        Some(fields) => Step::Done(unexpected(error(fields))),
    }
}

/// The message (`M`) among an error's fields.
fn error(fields: &[u8]) -> String {
    let message = fields.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"M"));
    message.map_or_else(|| "an error without a message".to_owned(), words)
}
