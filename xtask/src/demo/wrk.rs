//! wrk: much load, counted by the server that answered.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use ::tests::network::Network;
use ::tests::process::Process;
use ::tests::wait;
use anyhow::{Context, Result, ensure};

use super::Interrupt;

/// Counts the bodies, which are the servers' names, and prints one `key value` line per figure.
const SCRIPT: &str = r#"
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) counts = {} end
function response(status, headers, body) counts[body] = (counts[body] or 0) + 1 end
function done(summary, latency, requests)
  local total = {}
  for _, thread in ipairs(threads) do
    for name, count in pairs(thread:get("counts")) do total[name] = (total[name] or 0) + count end
  end
  for name, count in pairs(total) do io.write(string.format("answers.%s %d\n", name, count)) end
  local e = summary.errors
  io.write(string.format("failed %d\n", e.connect + e.read + e.write + e.status + e.timeout))
  io.write(string.format("duration_us %d\n", summary.duration))
  io.write(string.format("p50_us %d\n", latency:percentile(50)))
  io.write(string.format("p99_us %d\n", latency:percentile(99)))
end
"#;

/// A run of wrk.
pub struct Wrk<'a> {
    /// What to ask for.
    pub url: &'a str,
    /// Connections at the same time.
    pub connections: u32,
    /// Whole seconds.
    pub seconds: u32,
    /// Each connection carries many requests.
    pub keep_alive: bool,
}

/// What it brought.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Answers by server.
    pub answers: BTreeMap<String, usize>,
    /// Requests that failed.
    pub failed: usize,
    /// Requests per second.
    pub rate: f64,
    /// Median time of a request.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
}

impl Outcome {
    /// Requests that were answered or failed.
    pub fn requests(&self) -> usize {
        self.answers.values().sum::<usize>() + self.failed
    }
}

impl Wrk<'_> {
    /// Runs it on the network's client.
    pub fn run(&self, network: &Network, interrupt: &Interrupt) -> Result<Outcome> {
        let script = network.directory().join("count.lua");
        std::fs::write(&script, SCRIPT).context("write wrk's script")?;
        let log = network.directory().join("wrk.log");
        // The log is appended to; each run reads only its own.
        let _first_run = std::fs::remove_file(&log);
        let mut command = Command::new("wrk");
        command.args(["-t", "2", "-c", &self.connections.to_string(), "-d", &format!("{}s", self.seconds)]);
        if !self.keep_alive {
            command.args(["-H", "Connection: close"]);
        }
        command.arg("-s").arg(&script).arg(self.url);
        let mut wrk = Process::start(&network.client, "wrk", command, &log)?;
        let limit = Duration::from_secs(u64::from(self.seconds) + 20);
        wait::until_some("wrk to end", limit, || {
            interrupt.check()?;
            Ok((!wrk.is_running()?).then_some(()))
        })?;
        let status = wrk.wait(Duration::from_secs(1))?;
        ensure!(status.success(), "wrk: {status}:\n{}", wrk.last_words());
        read(&std::fs::read_to_string(&log).context("read wrk's output")?)
    }
}

fn read(output: &str) -> Result<Outcome> {
    let figures: BTreeMap<&str, usize> = output
        .lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key, value.parse().ok()?))
        })
        .collect();
    let figure = |key: &str| figures.get(key).copied().with_context(|| format!("wrk did not print {key}:\n{output}"));
    let micros = |key: &str| -> Result<Duration> { Ok(Duration::from_micros(u64::try_from(figure(key)?)?)) };
    let named = figures.iter().filter_map(|(key, count)| Some((key.strip_prefix("answers.")?.to_owned(), *count)));
    let answers: BTreeMap<String, usize> = named.collect();
    let rate = answers.values().sum::<usize>() as f64 / micros("duration_us")?.as_secs_f64().max(1e-6);
    Ok(Outcome { answers, failed: figure("failed")?, rate, p50: micros("p50_us")?, p99: micros("p99_us")? })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_figures_are_read_beside_wrks_own_words() {
        let outcome = read(
            "Running 1s test @ http://x/\n  2 threads and 4 connections\n  Requests/sec: 9\nanswers.server1 30\n\
             answers.server2 10\nfailed 2\nduration_us 2000000\np50_us 150\np99_us 900\n",
        )
        .expect("complete");
        assert_eq!(outcome.requests(), 42);
        assert_eq!(outcome.answers["server1"], 30);
        assert!((outcome.rate - 20.0).abs() < 1e-9);
        assert!(read("failed 2\n").is_err());
    }
}
