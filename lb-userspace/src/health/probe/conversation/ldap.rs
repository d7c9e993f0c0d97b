//! LDAP version 3 (RFC 4511): an anonymous bind is answered with success.

use super::{Step, unexpected};
use crate::health::ProbeOutcome;

/// Message 1: bind, version 3, no name, simple authentication without a password (RFC 4511 §4.2, RFC 4513 §5.1.1).
pub(super) const BIND: &[u8] = &[0x30, 0x0c, 0x02, 0x01, 0x01, 0x60, 0x07, 0x02, 0x01, 0x03, 0x04, 0x00, 0x80, 0x00];

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIND_RESPONSE: u8 = 0x61;
const ENUMERATED: u8 = 0x0a;

/// Passes on a bind response with result code 0 (success).
pub(super) fn hear(heard: &[u8]) -> Step {
    match result_code(heard) {
        Ok(Some(0)) => Step::Done(ProbeOutcome::Passed),
        Ok(Some(code)) => Step::Done(unexpected(format!("LDAP result code {code}, expected 0"))),
        Ok(None) => Step::More,
        Err(NoLdap) => Step::Done(unexpected("the answer is not LDAP")),
    }
}

struct NoLdap;

/// The result code, once it is there.
fn result_code(heard: &[u8]) -> Result<Option<u8>, NoLdap> {
    let Some(message) = enter(heard, SEQUENCE)? else { return Ok(None) };
    let Some(number) = enter(message, INTEGER)? else { return Ok(None) };
    // The number of the message is as long as its length says: one byte, since ours is 1.
    let Some((id, rest)) = number.split_first() else { return Ok(None) };
    if *id != 1 {
        return Err(NoLdap);
    }
    let Some(response) = enter(rest, BIND_RESPONSE)? else { return Ok(None) };
    let Some(code) = enter(response, ENUMERATED)? else { return Ok(None) };
    Ok(code.first().copied())
}

/// What stands in an element of this type, as far as it is there (BER: a tag, a length of one byte, or of the number
/// of bytes that the first one says).
fn enter(bytes: &[u8], tag: u8) -> Result<Option<&[u8]>, NoLdap> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    if *first != tag {
        return Err(NoLdap);
    }
    let Some((length, rest)) = rest.split_first() else { return Ok(None) };
    match *length {
        0..=0x7f => Ok(Some(rest)),
        0x81..=0x84 => Ok(rest.get(usize::from(*length & 0x7f)..)),
        _ => Err(NoLdap),
    }
}
