//! What the demo measured: the table, the JSON, and what had been promised.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::Table;
use serde::Serialize;

use crate::table::{align_right, table};

/// Fewest requests of the whole demo.
const REQUESTS: usize = 20_000;
/// Largest distance between share and weight over new connections: slots are exact, so this is sampling noise.
const SHARE_ERROR: f64 = 0.02;
/// The same over the fewer datagrams of the UDP act.
const UDP_SHARE_ERROR: f64 = 0.06;
/// Longest time in which requests may still fail after a server died: interval and timeout of its check, and some.
const FAILOVER_MS: f64 = 1_000.0;

/// Everything the demo measured; `target/demo.json` has these keys.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// HTTP requests of all acts.
    pub requests: usize,
    /// Requests that failed in an act other than the failover, or after its end.
    pub failed_outside_failover: usize,
    /// Weight of each server.
    pub weights: BTreeMap<String, u32>,
    /// Answers by server over new IPv4 connections.
    pub answers: BTreeMap<String, usize>,
    /// Answers by server over new IPv6 connections.
    pub answers_ipv6: BTreeMap<String, usize>,
    /// Answers by server over UDP, each datagram from another port.
    pub answers_udp: BTreeMap<String, usize>,
    /// Largest distance between a server's share and its weight, 0 … 1, over new IPv4 connections.
    pub share_error_max: f64,
    /// The same over IPv6.
    pub share_error_ipv6: f64,
    /// The same over UDP.
    pub share_error_udp: f64,
    /// UDP datagrams sent.
    pub udp_sent: usize,
    /// UDP datagrams without an answer.
    pub udp_lost: usize,
    /// Requests per second, a new connection each.
    pub new_connections_per_second: f64,
    /// Requests per second on kept connections.
    pub keep_alive_per_second: f64,
    /// Median time of a request on a new connection, microseconds.
    pub p50_us: u128,
    /// 99th percentile of the same.
    pub p99_us: u128,
    /// From the death of a server to the end of the last request that failed, milliseconds.
    pub failover_ms: f64,
    /// Requests that failed in that time.
    pub failover_failed: usize,
    /// From the restart of the server to its first answer through the load balancer, milliseconds.
    pub recovery_ms: f64,
    /// Requests that failed while a server came back.
    pub recovery_failed: usize,
    /// Requests that failed while a server was drained.
    pub drain_failed: usize,
    /// Connections opened after the drain was applied that reached the drained server.
    pub drain_new_connections: usize,
    /// Requests that the drained server answered on connections it had before.
    pub drain_kept_requests: usize,
    /// Requests that failed while the agent was dead and while the new one took over.
    pub agent_kill_failed: usize,
    /// Requests made while no agent ran.
    pub agent_kill_requests: usize,
    /// Connections that changed their server without being opened anew.
    pub wandering: usize,
    /// Length of the demo after the build.
    pub seconds: f64,
}

impl Figures {
    /// What was promised and not kept.
    pub fn broken_promises(&self) -> Vec<String> {
        let promises = [
            (self.requests >= REQUESTS, format!("at least {REQUESTS} requests, not {}", self.requests)),
            (
                self.failed_outside_failover == 0,
                format!("{} failed outside the failover", self.failed_outside_failover),
            ),
            (self.share_error_max <= SHARE_ERROR, format!("share error {:.4} over IPv4", self.share_error_max)),
            (self.share_error_ipv6 <= SHARE_ERROR, format!("share error {:.4} over IPv6", self.share_error_ipv6)),
            (self.share_error_udp <= UDP_SHARE_ERROR, format!("share error {:.4} over UDP", self.share_error_udp)),
            (self.udp_lost == 0, format!("{} datagrams lost", self.udp_lost)),
            (self.failover_ms <= FAILOVER_MS, format!("failover took {:.0} ms", self.failover_ms)),
            (self.recovery_failed == 0, format!("{} failed while a server came back", self.recovery_failed)),
            (self.drain_failed == 0, format!("{} failed during the drain", self.drain_failed)),
            (
                self.drain_new_connections == 0,
                format!("{} new connections reached the drained server", self.drain_new_connections),
            ),
            (self.agent_kill_failed == 0, format!("{} failed without an agent", self.agent_kill_failed)),
            (self.wandering == 0, format!("{} connections changed their server", self.wandering)),
        ];
        promises.into_iter().filter(|(kept, _)| !kept).map(|(_, what)| what).collect()
    }

    /// Prints the tables.
    pub fn show(&self) {
        println!("\n{}\n\n{}", self.shares(), self.results());
    }

    /// Writes the JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the figures are no JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        println!("\nthe same as JSON: {}", path.display());
        Ok(())
    }

    fn shares(&self) -> Table {
        let mut table = table(&["server", "weight", "wanted", "IPv4", "IPv6", "UDP"]);
        let weights = self.weights.values().sum::<u32>().max(1);
        for (server, weight) in &self.weights {
            let wanted = f64::from(*weight) / f64::from(weights);
            let mut row = vec![server.clone(), weight.to_string(), percent(wanted)];
            row.extend([&self.answers, &self.answers_ipv6, &self.answers_udp].map(|answers| share(answers, server)));
            table.add_row(row);
        }
        align_right(&mut table, 1..6);
        table
    }

    fn results(&self) -> Table {
        let mut table = table(&["what", "measured", "promised"]);
        let rows: [[String; 3]; 13] = [
            ["HTTP requests".into(), self.requests.to_string(), format!("≥ {REQUESTS}")],
            ["failed outside the failover".into(), self.failed_outside_failover.to_string(), "0".into()],
            ["largest share error".into(), percent(self.share_error_max), format!("≤ {}", percent(SHARE_ERROR))],
            ["new connections/s".into(), format!("{:.0}", self.new_connections_per_second), String::new()],
            ["requests/s, keep-alive".into(), format!("{:.0}", self.keep_alive_per_second), String::new()],
            ["UDP datagrams lost".into(), format!("{} of {}", self.udp_lost, self.udp_sent), "0".into()],
            ["server killed: failover".into(), millis(self.failover_ms), format!("≤ {}", millis(FAILOVER_MS))],
            ["server killed: requests failed meanwhile".into(), self.failover_failed.to_string(), String::new()],
            ["server back: first answer after".into(), millis(self.recovery_ms), String::new()],
            ["server back: requests failed".into(), self.recovery_failed.to_string(), "0".into()],
            ["server drained: requests failed".into(), self.drain_failed.to_string(), "0".into()],
            ["agent killed: requests failed".into(), self.agent_kill_failed.to_string(), "0".into()],
            ["agent killed: requests without an agent".into(), self.agent_kill_requests.to_string(), String::new()],
        ];
        for row in rows {
            table.add_row(row);
        }
        align_right(&mut table, 1..3);
        table
    }
}

fn share(answers: &BTreeMap<String, usize>, server: &str) -> String {
    let total = answers.values().sum::<usize>().max(1);
    percent(answers.get(server).copied().unwrap_or_default() as f64 / total as f64)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn millis(duration_ms: f64) -> String {
    format!("{duration_ms:.0} ms")
}
