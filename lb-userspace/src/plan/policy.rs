//! Which servers of a pool take new flows, and how much of what their weights say: drain, standby, slow start and
//! measured load become shares of their slots.

use jiff::{SignedDuration, Timestamp};

use super::slots::{self, Candidate, FULL};
use super::{PlannedServer, ServerRef, Shares};
use crate::model::{Algorithm, Backend};

/// Steps in which a slow start rises: each moves a sixteenth of the server's slots.
const STEPS: u32 = 16;

/// Whether a server takes flows.
type TakesFlows = fn(&PlannedServer) -> bool;

/// A pool's servers, and what is known of them.
pub(super) struct Members<'a> {
    /// The pool.
    pub(super) backend: &'a Backend,
    /// Servers that are in it now, in ascending order.
    pub(super) servers: &'a [(ServerRef, PlannedServer)],
    /// Measured shares, for [`Algorithm::Leastconn`].
    pub(super) shares: &'a Shares,
    /// When it is.
    pub(super) now: Timestamp,
}

impl Members<'_> {
    /// The pool's table: for each slot the position in its servers; empty when no server is usable.
    pub(super) fn table(&self, seed: u64) -> Vec<u16> {
        let Some((positions, takes_flows)) = self.on_duty() else { return Vec::new() };
        let shares = self.shares(&positions, takes_flows);
        let candidates: Vec<Candidate> = positions
            .iter()
            .zip(shares)
            .map(|(&position, share)| {
                let (reference, server) = &self.servers[position];
                Candidate { address: reference.address, port: server.port, weight: server.weight.get(), share }
            })
            .collect();
        let slots = slots::table(seed, &candidates);
        slots.into_iter().map(|slot| positions[usize::from(slot)] as u16).collect()
    }

    /// When the table becomes another one by itself: every step of every slow start, past and to come.
    pub(super) fn changes(&self) -> impl Iterator<Item = Timestamp> {
        self.servers.iter().filter_map(|(_, server)| self.slow_start(server)).flat_map(|(since, time)| {
            (1..STEPS).filter_map(move |step| {
                let after = (time.as_millis() * i128::from(step)).div_euclid(i128::from(STEPS)) + 1;
                since.checked_add(SignedDuration::from_millis(i64::try_from(after).ok()?)).ok()
            })
        })
    }

    /// The servers that the table is made over, and which of them take flows: those that do not stand by while one
    /// of them may be given new flows, then those that do. Where every server that is up drains, they serve on.
    fn on_duty(&self) -> Option<(Vec<usize>, TakesFlows)> {
        let takes_new: TakesFlows = |server| server.up && !server.drain;
        let goes_on: TakesFlows = |server| server.up;
        let tiers = [(false, takes_new), (true, takes_new), (false, goes_on), (true, goes_on)];
        tiers.into_iter().find_map(|(backup, takes_flows)| {
            let of_tier = |position: &usize| self.servers[*position].1.backup == backup;
            let positions: Vec<usize> = (0..self.servers.len()).filter(of_tier).collect();
            positions.iter().any(|&position| takes_flows(&self.servers[position].1)).then_some((positions, takes_flows))
        })
    }

    /// How much of its slots each of these servers keeps; the greatest is [`FULL`].
    fn shares(&self, positions: &[usize], takes_flows: TakesFlows) -> Vec<u32> {
        let of = |&position: &usize| {
            let (reference, server) = &self.servers[position];
            if !takes_flows(server) {
                return 0;
            }
            let measured = match self.backend.algorithm {
                Algorithm::Leastconn => self.shares.get(reference).map_or(FULL, |share| u32::from(*share).min(FULL)),
                Algorithm::Roundrobin | Algorithm::First => FULL,
            };
            (measured * self.risen(server) / STEPS).max(1)
        };
        let mut shares: Vec<u32> = positions.iter().map(of).collect();
        if self.backend.algorithm == Algorithm::First {
            let first = shares.iter().position(|share| *share > 0);
            for (position, share) in shares.iter_mut().enumerate() {
                *share = if Some(position) == first { FULL } else { 0 };
            }
        }
        let greatest = shares.iter().copied().max().unwrap_or(FULL).max(1);
        for share in shares.iter_mut().filter(|share| **share > 0) {
            *share = (*share * FULL / greatest).max(1);
        }
        shares
    }

    /// How far a server's slow start has come: 1 to [`STEPS`].
    fn risen(&self, server: &PlannedServer) -> u32 {
        let Some((since, time)) = self.slow_start(server) else { return STEPS };
        let passed = self.now.duration_since(since).as_millis().max(0);
        let step = passed * i128::from(STEPS) / time.as_millis().max(1);
        u32::try_from(step).map_or(STEPS, |step| (step + 1).min(STEPS))
    }

    /// When a server began to take flows, and the time in which it gets its whole share.
    fn slow_start(&self, server: &PlannedServer) -> Option<(Timestamp, SignedDuration)> {
        let time = SignedDuration::try_from(self.backend.slow_start?).ok()?;
        server.begun.map(|since| (since, time))
    }
}
