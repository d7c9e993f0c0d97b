//! `snowshed top`: what passes per second, from the difference of two looks at the counters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::to_value;

use super::client::Client;
use super::failure::Failure;
use super::output::{self, Format, cell, table};
use super::terminal::Terminal;
use super::value;
use crate::api::wire::{ServiceStatus, StatusReport};

/// Arguments of `top`.
#[derive(Args, Debug)]
pub struct Top {
    /// Time between two looks, for example 500ms or 5s
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = value::duration)]
    interval: Duration,
    /// Show one interval and end; for scripts, with -o json
    #[arg(long)]
    once: bool,
}

/// What passed in an interval, per second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// Seconds between the two looks.
    pub interval_s: f64,
    /// Packets by the reason they left for, of the whole edge; only those above 0.
    pub verdicts: BTreeMap<String, f64>,
    /// Services, the busiest first.
    pub services: Vec<ServiceRates>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceRates {
    /// Name of its load balancer.
    pub lb: String,
    /// `address:port/protocol`.
    pub service: String,
    /// Packets of clients.
    pub packets: f64,
    /// Their bits, as received.
    pub bits: f64,
    /// Packets that open a TCP connection.
    pub opened: f64,
    /// Packets that its protection refused, by reason; only those above 0.
    pub refused: BTreeMap<String, f64>,
    /// Its servers.
    pub servers: Vec<ServerRates>,
}

/// A server; its rates are over all services of its pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerRates {
    /// Its address.
    pub address: String,
    /// Packets sent to it.
    pub packets: f64,
    /// Their bits, as received.
    pub bits: f64,
}

impl Top {
    /// Looks again and again until the output is closed, or once.
    ///
    /// # Errors
    /// When the agent cannot be asked; of more than one look that is shown, and asked again.
    pub async fn run(self, client: &Client, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let mut last = (client.status().await?, Instant::now());
        loop {
            tokio::time::sleep(self.interval).await;
            let answer = client.status().await;
            let at = Instant::now();
            if self.once {
                return show(&rates(&last.0, &answer?, at - last.1), terminal, format);
            }
            terminal.clear()?;
            match answer {
                Ok(report) => {
                    show(&rates(&last.0, &report, at - last.1), terminal, format)?;
                    last = (report, at);
                }
                Err(failure) => terminal.report(&failure),
            }
        }
    }
}

/// What passed between two looks. What was made anew between them began at 0.
#[must_use]
pub fn rates(before: &StatusReport, after: &StatusReport, elapsed: Duration) -> Rates {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let per_second = |before: u64, after: u64| after.checked_sub(before).unwrap_or(after) as f64 / seconds;
    let each = |before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>| -> BTreeMap<String, f64> {
        let rate = |(name, count): (&String, &u64)| {
            let rate = per_second(before.get(name).copied().unwrap_or(0), *count);
            (rate > 0.0).then(|| (name.clone(), rate))
        };
        after.iter().filter_map(rate).collect()
    };
    let of = |service: &ServiceStatus| (service.address, service.port, service.port_end, service.protocol);
    let mut services: Vec<ServiceRates> = Vec::with_capacity(after.services.len());
    for service in &after.services {
        let earlier = before.services.iter().find(|earlier| of(earlier) == of(service));
        let count = |pick: fn(&ServiceStatus) -> u64| per_second(earlier.map_or(0, pick), pick(service));
        let nothing = BTreeMap::new();
        let servers = service.servers.iter().map(|server| {
            let earlier = earlier.and_then(|it| it.servers.iter().find(|one| one.address == server.address));
            ServerRates {
                address: server.address.to_string(),
                packets: per_second(earlier.map_or(0, |one| one.packets), server.packets),
                bits: per_second(earlier.map_or(0, |one| one.bytes), server.bytes) * 8.0,
            }
        });
        services.push(ServiceRates {
            lb: service.lb_name.clone(),
            service: super::status::listener(service),
            packets: count(|service| service.packets),
            bits: count(|service| service.bytes) * 8.0,
            opened: count(|service| service.opened),
            refused: each(earlier.map_or(&nothing, |earlier| &earlier.refused), &service.refused),
            servers: servers.collect(),
        });
    }
    services.sort_by(|a, b| b.packets.total_cmp(&a.packets).then_with(|| a.service.cmp(&b.service)));
    Rates { interval_s: seconds, verdicts: each(&before.verdicts, &after.verdicts), services }
}

fn show(rates: &Rates, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
    if format != Format::Table {
        let value = to_value(rates).map_err(|error| Failure::error(error.to_string()))?;
        return output::value(terminal, format, &value);
    }
    let reasons = |rates: &BTreeMap<String, f64>| {
        rates.iter().map(|(reason, rate)| format!("{reason} {}", short(*rate))).collect::<Vec<_>>().join(", ")
    };
    terminal.line(format!("per second over {:.1} s: {}", rates.interval_s, reasons(&rates.verdicts)))?;
    let mut table = table(terminal);
    table.set_header(vec!["LB", "SERVICE", "SERVER", "PACKETS/S", "BITS/S", "NEW/S", "REFUSED/S"]);
    for service in &rates.services {
        table.add_row(vec![
            cell(&service.lb, false),
            cell(&service.service, false),
            cell("all", false),
            cell(&short(service.packets), true),
            cell(&short(service.bits), true),
            cell(&short(service.opened), true),
            cell(&reasons(&service.refused), false),
        ]);
        for server in &service.servers {
            let row = ["", "", &server.address, &short(server.packets), &short(server.bits), "", ""];
            table.add_row(row.map(comfy_table::Cell::new));
        }
    }
    output::print_table(terminal, &table)
}

/// A number in three digits or so: `0`, `12`, `1.5k`, `230M`.
fn short(number: f64) -> String {
    for (unit, size) in [("G", 1e9), ("M", 1e6), ("k", 1e3)] {
        if number >= size {
            let scaled = number / size;
            return if scaled < 10.0 { format!("{scaled:.1}{unit}") } else { format!("{scaled:.0}{unit}") };
        }
    }
    if number > 0.0 && number < 10.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(service: u64, opened: u64, denied: u64, server: u64) -> StatusReport {
        let value = json!({
            "version": "0", "zone": "z", "ledger_generation": 1, "mass_failure": null, "reconcile": {
                "applied_generation": 1, "applied_at": null, "services": 1, "backends": 1, "unresolved": {}, "nat_sources": [], "untranslatable": [],
                "empty_services": [], "repaired": {}, "repairs": [], "last_error": null, "attachments": [],
            },
            "verdicts": {"transmitted": service, "not_ip": 5},
            "services": [{
                "lb": "11111111-1111-4111-8111-111111111111", "lb_name": "web",
                "frontend": "11111111-1111-4111-8111-111111111111", "backend": "11111111-1111-4111-8111-111111111111",
                "address": "192.0.2.1", "port": 80, "protocol": "tcp", "packets": service, "bytes": service * 100,
                "opened": opened, "refused": {"acl_denied": denied},
                "servers": [{
                    "address": "10.0.0.5", "port": 80, "weight": 1, "share": 1.0, "drain": false, "up": true,
                    "usable": true, "since": null, "last_probe": null, "unresolved": null, "packets": server,
                    "bytes": server * 100,
                }],
            }],
        });
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn rates_are_differences_per_second_and_what_was_made_anew_begins_at_nothing() {
        let rates = rates(&report(1000, 10, 4, 500), &report(3000, 30, 4, 100), Duration::from_secs(2));
        let service = &rates.services[0];
        assert_eq!((service.packets, service.bits, service.opened), (1000.0, 800_000.0, 10.0));
        assert_eq!(service.refused, BTreeMap::new(), "nothing was refused since");
        assert_eq!((service.servers[0].packets, service.servers[0].bits), (50.0, 40_000.0), "the counter began anew");
        assert_eq!(rates.verdicts, BTreeMap::from([("transmitted".to_owned(), 1000.0)]));
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [(0.0, "0"), (0.5, "0.5"), (12.4, "12"), (1500.0, "1.5k"), (23e6, "23M"), (4.2e9, "4.2G")]
        {
            assert_eq!(short(number), text);
        }
    }
}
