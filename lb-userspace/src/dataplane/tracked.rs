//! The flow tables of moved slots, read piece by piece: they hold millions, and nothing may wait for all of them.

use std::time::Duration;

use lb_common::abi::{FlowEntry, FlowKey};
use lb_common::nat::lifetime;

/// One of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowTable {
    /// `FLOWS_OPENED`.
    Opened,
    /// `FLOWS_PINNED`.
    Pinned,
}

/// An entry of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackedFlow {
    /// Where it stands.
    pub table: FlowTable,
    /// The flow.
    pub key: FlowKey,
    /// Where its packets go.
    pub entry: FlowEntry,
    /// Time since its last packet.
    pub idle: Duration,
}

/// How far both tables were read. What is written meanwhile may be read or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowCursor {
    /// Not at all.
    #[default]
    Start,
    /// Up to here; nowhere in the table yet when there is no place.
    At(FlowTable, Option<[u8; 64]>),
    /// Both.
    End,
}

impl FlowCursor {
    /// The table to read on, and where; `None` at the end.
    pub(super) const fn place(self) -> Option<(FlowTable, Option<[u8; 64]>)> {
        match self {
            Self::Start => Some((FlowTable::Opened, None)),
            Self::At(table, place) => Some((table, place)),
            Self::End => None,
        }
    }

    /// Behind the last entry of a table.
    pub(super) const fn behind(table: FlowTable) -> Self {
        match table {
            FlowTable::Opened => Self::At(FlowTable::Pinned, None),
            FlowTable::Pinned => Self::End,
        }
    }
}

/// An entry as it is told, at a tick of the flows' clock.
pub(super) fn told(table: FlowTable, key: FlowKey, entry: FlowEntry, now: u32) -> TrackedFlow {
    let ticks = now.wrapping_sub(entry.seen);
    // Another CPU's clock may be ahead of ours.
    let ticks = if ticks > u32::MAX / 2 { 0 } else { ticks };
    TrackedFlow { table, key, entry, idle: lifetime::length(ticks) }
}
