//! What a probe says and hears, protocol by protocol, as bytes: no socket, no clock, bounded memory.
//!
//! What comes in is collected until it decides; how it was cut into pieces on the way makes no difference.

use crate::health::ProbeOutcome;
use crate::model::Probe;

mod http;
mod ldap;
mod mysql;
mod pgsql;
mod redis;

/// Most bytes of an answer that are looked at.
const MAX_ANSWER_BYTES: usize = 4096;
/// Most characters of a server's own words in an outcome.
const MAX_SAID_CHARS: usize = 120;

/// PROXY protocol version 2, command `LOCAL`: the connection is the proxy's own, not a client's (HAProxy's
/// proxy-protocol.txt §2.2).
pub(super) const PROXY_HEADER: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read on.
    More,
    /// Say this, forget what was read, and read on.
    Say(Vec<u8>),
    /// It is decided.
    Done(ProbeOutcome),
}

/// One probe's conversation.
#[derive(Clone, Debug)]
pub(super) struct Conversation<'a> {
    probe: &'a Probe,
    /// What is expected next of a protocol that speaks in turns.
    turn: u8,
    heard: Vec<u8>,
}

impl<'a> Conversation<'a> {
    /// The conversation of a probe; nothing was said yet.
    pub(super) const fn new(probe: &'a Probe) -> Self {
        Self { probe, turn: 0, heard: Vec::new() }
    }

    /// What is said first to a server at an address; nothing where the server speaks first, or where a connection is
    /// enough.
    pub(super) fn opening(&self, address: std::net::SocketAddr) -> Vec<u8> {
        match self.probe {
            Probe::Tcp | Probe::Mysql { .. } => Vec::new(),
            Probe::Http { uri, method, host_header, .. } | Probe::Https { uri, method, host_header, .. } => {
                http::request(address, uri, method, host_header)
            }
            Probe::Pgsql { user } => pgsql::startup(user),
            Probe::Ldap => ldap::BIND.to_vec(),
            Probe::Redis => redis::PING.to_vec(),
        }
    }

    /// Takes what was read.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Step {
        self.heard.extend_from_slice(bytes);
        let heard = &self.heard[..];
        let step = match self.probe {
            Probe::Tcp => Step::Done(ProbeOutcome::Passed),
            Probe::Http { code, .. } | Probe::Https { code, .. } => http::judge(heard, *code),
            Probe::Mysql { user } => mysql::hear(heard, self.turn, user),
            Probe::Pgsql { .. } => pgsql::hear(heard),
            Probe::Ldap => ldap::hear(heard),
            Probe::Redis => redis::hear(heard),
        };
        match step {
            Step::Say(_) => {
                self.turn = self.turn.saturating_add(1);
                self.heard.clear();
                step
            }
            Step::More if self.heard.len() >= MAX_ANSWER_BYTES => Step::Done(unexpected("the answer does not end")),
            step => step,
        }
    }

    /// The server closed the connection before it was decided.
    pub(super) fn closed(&self) -> ProbeOutcome {
        unexpected("the connection was closed before an answer")
    }
}

fn unexpected(what: impl Into<String>) -> ProbeOutcome {
    ProbeOutcome::Unexpected(what.into())
}

/// A server's own words: printable, and not too many.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|char| !char.is_control()).take(MAX_SAID_CHARS).collect()
}

#[cfg(test)]
mod tests;
