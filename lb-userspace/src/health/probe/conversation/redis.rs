//! Redis (RESP): `PING` is answered with `+PONG`.

use super::{Step, unexpected, words};
use crate::health::ProbeOutcome;

/// The inline command.
pub(super) const PING: &[u8] = b"PING\r\n";
const PONG: &[u8] = b"+PONG\r\n";

/// Passes on `+PONG`; an error (`-NOAUTH …`, `-LOADING …`) is told in the server's words.
pub(super) fn hear(heard: &[u8]) -> Step {
    if heard.starts_with(PONG) {
        return Step::Done(ProbeOutcome::Passed);
    }
    if PONG.starts_with(heard) {
        return Step::More;
    }
    if heard.first() != Some(&b'-') {
        return Step::Done(unexpected("the answer is not Redis"));
    }
    match heard.iter().position(|byte| *byte == b'\n') {
        Some(end) => Step::Done(unexpected(format!("`{}`, expected `+PONG`", words(&heard[..end])))),
        None => Step::More,
    }
}
