//! Writes captured packets: a pcapng file as it grows, or a line of JSON for each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Decision, pcapng};
use crate::dataplane::capture::Captured;

/// How a capture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The packets, with decisions as their comments: `application/x-pcapng`.
    Pcapng,
    /// The decisions, a line of JSON each: `application/x-ndjson`.
    Lines,
}

/// Writes one capture.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    snap: u32,
    /// Position of each interface in the file.
    interfaces: BTreeMap<u32, u32>,
    captured: u64,
}

/// The last line.
#[derive(Serialize)]
struct End<'a> {
    end: &'a str,
    captured: u64,
    lost: u64,
}

impl Writer {
    /// A writer that has written nothing.
    #[must_use]
    pub const fn new(format: Format, snap: u32) -> Self {
        Self { format, snap, interfaces: BTreeMap::new(), captured: 0 }
    }

    /// Packets written; what left in their place is not counted.
    #[must_use]
    pub const fn captured(&self) -> u64 {
        self.captured
    }

    /// What stands before the first packet.
    #[must_use]
    pub fn begin(&self) -> Vec<u8> {
        match self.format {
            Format::Pcapng => pcapng::section(),
            Format::Lines => Vec::new(),
        }
    }

    /// A packet and what left in its place. `name_of` knows the names of interfaces.
    pub fn packet(&mut self, captured: &Captured, decision: &Decision, name_of: impl Fn(u32) -> String) -> Vec<u8> {
        self.captured += 1;
        if self.format == Format::Lines {
            return line(decision);
        }
        let mut written = Vec::new();
        let (at_ns, id, action) = (nanoseconds(decision.at), self.captured, captured.record.action);
        let sides = [
            (pcapng::Way::In, "in", &captured.came, Some(&decision.came)),
            (pcapng::Way::Out, "out", &captured.sent, decision.sent.as_ref()),
        ];
        for (way, word, bytes, packet) in sides {
            let Some(packet) = packet else { continue };
            let interface = self.interface(&mut written, packet.ifindex, &name_of);
            let comment = decision.comment(word);
            let len = packet.bytes;
            written.extend(pcapng::packet(&pcapng::Packet {
                interface,
                at_ns,
                bytes,
                len,
                way,
                id,
                action,
                comment: &comment,
            }));
        }
        written
    }

    /// What stands behind the last packet.
    #[must_use]
    pub fn end(&self, why: &str, at: Timestamp, lost: u64) -> Vec<u8> {
        match self.format {
            Format::Lines => line(&End { end: why, captured: self.captured, lost }),
            // Of no interface if there was no packet.
            Format::Pcapng if self.interfaces.is_empty() => Vec::new(),
            Format::Pcapng => pcapng::statistics(0, nanoseconds(at), self.captured, lost),
        }
    }

    /// The interface's position; one that is new is described first.
    fn interface(&mut self, written: &mut Vec<u8>, ifindex: u32, name_of: &impl Fn(u32) -> String) -> u32 {
        let next = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        *self.interfaces.entry(ifindex).or_insert_with(|| {
            written.extend(pcapng::interface(&name_of(ifindex), self.snap));
            next
        })
    }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(mut line) => {
            line.push(b'\n');
            line
        }
        Err(error) => {
            log::error!("a captured packet cannot be written: {error}");
            Vec::new()
        }
    }
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}
