//! MySQL and MariaDB (client/server protocol 4.1): the server's greeting is answered with a user without a password.

use super::{Step, unexpected, words};
use crate::health::ProbeOutcome;

/// Version of the greeting.
const GREETING: u8 = 10;
/// Longest packet that is waited for.
const MAX_LENGTH: usize = 4000;
/// Long password, 4.1 protocol, secure connection, named authentication plugins.
const CAPABILITIES: u32 = 0x0000_0001 | 0x0000_0200 | 0x0000_8000 | 0x0008_0000;
const MAX_PACKET: u32 = 1 << 24;
/// `utf8mb4_general_ci`.
const CHARSET: u8 = 45;
const PLUGIN: &[u8] = b"mysql_native_password";

/// First the greeting, then, as often as the server asks, the answer to what we said.
pub(super) fn hear(heard: &[u8], turn: u8, user: &str) -> Step {
    let (sequence, payload) = match packet(heard) {
        Ok(Some(packet)) => packet,
        Ok(None) => return Step::More,
        Err(outcome) => return Step::Done(outcome),
    };
    let Some((kind, rest)) = payload.split_first() else { return Step::Done(no_mysql()) };
    match (turn, *kind) {
        (_, 0xff) => Step::Done(unexpected(error(rest))),
        (0, GREETING) => Step::Say(framed(sequence.wrapping_add(1), &login(user))),
        (1.., 0x00) => Step::Done(ProbeOutcome::Passed),
        // Another plugin: the user has no password there either.
        (1..=2, 0xfe) => Step::Say(framed(sequence.wrapping_add(1), &[])),
        // caching_sha2_password: 3 says that all is well, the verdict follows.
        (1.., 0x01) if rest.first() == Some(&3) && heard.len() == payload.len() + 4 => Step::More,
        (1.., 0x01) if rest.first() == Some(&3) => hear(&heard[payload.len() + 4..], turn, user),
        (1.., 0x01 | 0xfe) => Step::Done(unexpected(format!("the server wants a password of `{user}`"))),
        _ => Step::Done(no_mysql()),
    }
}

/// The first packet's number and payload, if it is there as a whole.
fn packet(heard: &[u8]) -> Result<Option<(u8, &[u8])>, ProbeOutcome> {
    let Some(([a, b, c, sequence], rest)) = heard.split_first_chunk::<4>() else { return Ok(None) };
    let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
    if length == 0 || length > MAX_LENGTH {
        return Err(no_mysql());
    }
    Ok(rest.get(..length).map(|payload| (*sequence, payload)))
}

fn framed(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&[a, b, c, sequence][..], payload].concat()
}

/// HandshakeResponse41 without a password.
fn login(user: &str) -> Vec<u8> {
    let mut login = CAPABILITIES.to_le_bytes().to_vec();
    login.extend_from_slice(&MAX_PACKET.to_le_bytes());
    login.push(CHARSET);
    login.extend_from_slice(&[0; 23]);
    login.extend_from_slice(user.as_bytes());
    // The name's end, and a password of no bytes.
    login.extend_from_slice(&[0, 0]);
    login.extend_from_slice(PLUGIN);
    login.push(0);
    login
}

/// The message of an error packet: a number of two bytes, perhaps `#` and a state of five, the words.
fn error(rest: &[u8]) -> String {
    let said = rest.get(2..).unwrap_or_default();
    words(if said.first() == Some(&b'#') { said.get(6..).unwrap_or_default() } else { said })
}

fn no_mysql() -> ProbeOutcome {
    unexpected("the answer is not MySQL")
}
