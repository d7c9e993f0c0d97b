//! `snowshed status`: what an operator reads at three in the morning. What is wrong comes first.

use clap::Args;
use jiff::Timestamp;
use serde_json::to_value;

use super::client::Client;
use super::failure::Failure;
use super::output::{self, Format, cell, table};
use super::terminal::{Paint, Terminal};
use crate::api::wire::measure::Containment;
use crate::api::wire::{ServerStatus, ServiceStatus, StatusReport};
use crate::delivery::Counts;
use crate::model::Family;

/// A letter that waits longer is told.
const LONG_WAITING: jiff::SignedDuration = jiff::SignedDuration::from_mins(15);

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct Status {}

impl Status {
    /// Asks and shows the answer.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub async fn run(self, client: &Client, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let report = client.status().await?;
        show(&report, Timestamp::now(), terminal, format)
    }
}

fn show(report: &StatusReport, now: Timestamp, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
    if !format.is_table() {
        let value = to_value(report).map_err(|error| Failure::error(error.to_string()))?;
        return output::value(terminal, format, &value);
    }
    terminal.line(headline(report, now))?;
    for (paint, alarm) in alarms(report, now) {
        let alarm = terminal.paint(paint, &alarm);
        terminal.line(format!("  {} {alarm}", terminal.paint(paint, "!")))?;
    }
    if report.services.is_empty() {
        return terminal.line("no services: `snowshed apply -f FILE` makes some");
    }
    terminal.line("")?;
    services(report, now, terminal)?;
    for service in report.services.iter().filter(|service| !service.refused.is_empty()) {
        let reasons: Vec<String> = service.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let of = format!("{} of {}", listener(service), service.lb_name);
        terminal.line(format!("{of} refused of {} packets: {}", service.packets, reasons.join(", ")))?;
    }
    Ok(())
}

fn headline(report: &StatusReport, now: Timestamp) -> String {
    let reconcile = &report.reconcile;
    let attached: Vec<String> =
        reconcile.attachments.iter().map(|it| format!("{} ({})", it.interface, it.mode)).collect();
    let when = reconcile.applied_at.map_or_else(String::new, |at| format!(", {} ago", age(at, now)));
    let exceptions = match (reconcile.exceptions, reconcile.marked_slots) {
        (_, 0) => String::new(),
        (flows, slots) => {
            format!(
                "\n{flows} connections are kept on the server that they began with; {slots} slots are looked up for them"
            )
        }
    };
    format!(
        "agent {}  zone {}  generation {} applied{when} of {}\nattached to {}  {} services, {} backend entries in the maps{exceptions}",
        report.version,
        report.zone,
        reconcile.applied_generation,
        report.ledger_generation,
        if attached.is_empty() { "nothing".to_owned() } else { attached.join(", ") },
        reconcile.services,
        reconcile.backends,
    )
}

/// What is wrong, the worst first.
fn alarms(report: &StatusReport, now: Timestamp) -> Vec<(Paint, String)> {
    let reconcile = &report.reconcile;
    let mut alarms = Vec::new();
    if let Some(failure) = &report.mass_failure {
        alarms.push((Paint::Red, format!("MASS FAILURE for {}: {failure}", age(failure.since, now))));
    }
    if let Some(error) = &report.ledger_error {
        alarms.push((Paint::Red, error.clone()));
    }
    if let Some(error) = &reconcile.last_error {
        alarms.push((Paint::Red, format!("the maps could not be brought up to date, it is tried again: {error}")));
    }
    if !reconcile.held.is_empty() {
        alarms.push((
            Paint::Red,
            format!(
                "HOLD: {} services forward on although the ledger says they are gone, too many would have left without a \
                 plan: `snowshed undo` brings them back, `snowshed hold list` shows them",
                reconcile.held.len()
            ),
        ));
    }
    alarms.extend(contained(&report.containment, now));
    if reconcile.attachments.is_empty() {
        alarms.push((Paint::Red, "the program is attached to no interface: no traffic is balanced".into()));
    }
    for service in &reconcile.empty_services {
        alarms.push((Paint::Red, format!("{service} has no usable server")));
    }
    for family in &reconcile.untranslatable {
        let (of, key) = match family {
            Family::V4 => ("IPv4", "nat_v4"),
            Family::V6 => ("IPv6", "nat_v6"),
        };
        alarms.push((
            Paint::Red,
            format!(
                "{of} services with `nat` forwarding drop everything: there is no source address for their flows; give \
                 `addresses.{key}` one in agent.toml, or let them use `ipip`"
            ),
        ));
    }
    if reconcile.applied_generation < report.ledger_generation {
        let (applied, ledger) = (reconcile.applied_generation, report.ledger_generation);
        alarms.push((Paint::Yellow, format!("changes {} to {ledger} are not in the maps yet", applied + 1)));
    }
    let heal = &report.heal;
    if heal.needs_attention > 0 {
        let (count, total) = (heal.needs_attention, heal.total);
        alarms.push((
            Paint::Red,
            format!("{count} of {total} load balancers need a person: `snowshed heal list` says why"),
        ));
    }
    if heal.healing + heal.pending > 0 {
        let eta = heal.progress.and_then(|progress| progress.eta_seconds);
        let eta = eta.map_or_else(String::new, |eta| format!(", {eta:.1} s left"));
        let (ready, total) = (heal.ready, heal.total);
        alarms.push((Paint::Yellow, format!("healing: {ready} of {total} load balancers are ready{eta}")));
    }
    if let Some(error) = &report.counters_error {
        alarms.push((Paint::Yellow, format!("the counters cannot be read: {error}")));
    }
    for service in report.services.iter().filter(|service| service.quarantined) {
        let (lb, address) = (&service.lb_name, listener(service));
        alarms.push((Paint::Yellow, format!("{address} of {lb} is quarantined: nothing is forwarded to its servers")));
    }
    if let Some(Counts { waiting, dead, oldest_waiting, .. }) = &report.deliveries {
        if *dead > 0 {
            let what = format!("{dead} webhooks or e-mails were given up: `snowshed delivery list --state dead`");
            alarms.push((Paint::Yellow, what));
        }
        if let Some(oldest) = oldest_waiting.filter(|oldest| now.duration_since(*oldest) > LONG_WAITING) {
            let what = format!("{waiting} webhooks or e-mails wait, the oldest for {}", age(oldest, now));
            alarms.push((Paint::Yellow, what));
        }
    }
    for (address, why) in &reconcile.unresolved {
        alarms.push((Paint::Yellow, format!("no way to {address}: {why}")));
    }
    let repaired: u64 = reconcile.repaired.values().sum();
    if repaired > 0 {
        let last = reconcile.repairs.last().map_or_else(String::new, |repair| {
            format!("; the last {} ago in {}: {}", age(repair.at, now), repair.map, repair.what)
        });
        alarms
            .push((Paint::Yellow, format!("{repaired} map entries were altered by somebody else and repaired{last}")));
    }
    alarms
}

/// Read-only mode, quarantines and what waits for somebody.
fn contained(containment: &Containment, now: Timestamp) -> Vec<(Paint, String)> {
    let left = |end: Option<Timestamp>| end.map_or_else(String::new, |end| format!(", {} left", age(now, end)));
    let mut alarms = Vec::new();
    for freeze in &containment.freezes {
        let verb = freeze.verb.as_ref().map_or_else(|| "every change".to_owned(), |verb| format!("`{verb}`"));
        let (place, by, reason) = (&freeze.place, &freeze.by, &freeze.reason);
        let text = format!(
            "READ-ONLY: {verb} at {place} is refused{}, by {by}: {reason} (`snowshed thaw {}`)",
            left(freeze.expires_at),
            freeze.id
        );
        alarms.push((Paint::Red, text));
    }
    for quarantine in &containment.quarantines {
        let (place, count, by, reason) =
            (&quarantine.place, quarantine.load_balancers, &quarantine.by, &quarantine.reason);
        alarms.push((Paint::Yellow, format!("quarantine of {place}, {count} load balancers, by {by}: {reason}")));
    }
    for plan in &containment.plans {
        let waits = if plan.waits_for_approval { "for a second person" } else { "to be applied" };
        let text = format!(
            "the plan {} to {} {} load balancers, by {}, waits {waits}{}: {}",
            plan.id,
            plan.action,
            plan.count,
            plan.by,
            left(plan.expires_at),
            plan.reason
        );
        alarms.push((Paint::Yellow, text));
    }
    for purge in &containment.purges {
        let documents: Vec<String> =
            purge.documents.iter().map(|(kind, count)| format!("{count} {}", kind.replace('_', " "))).collect();
        let text = format!(
            "deleted long ago, gone for good after {}: {} of project {} (`snowshed purge show {}`)",
            purge.not_before,
            documents.join(", "),
            purge.project_id,
            purge.id
        );
        alarms.push((Paint::Yellow, text));
    }
    for release in &containment.hold_releases {
        let waits = release.needs_approval && release.approved_by.is_none();
        let state = if waits { "waits for a second person" } else { "is in force" };
        let (count, by) = (release.services.len(), &release.by);
        let text = format!("the release of {count} held services by {by} {state}{}", left(release.expires_at));
        alarms.push((Paint::Yellow, text));
    }
    alarms
}

fn services(report: &StatusReport, now: Timestamp, terminal: &mut Terminal) -> Result<(), Failure> {
    let mut table = table(terminal);
    table.set_header(vec!["LB", "SERVICE", "SERVER", "WEIGHT", "SHARE", "STATE", "FOR", "WHY"]);
    for service in &report.services {
        let mut head = (service.lb_name.clone(), listener(service));
        if service.servers.is_empty() {
            table.add_row(vec![cell(&head.0, false), cell(&head.1, false), cell("no servers", false)]);
        }
        for server in &service.servers {
            let (name, address) = std::mem::take(&mut head);
            table.add_row(vec![
                comfy_table::Cell::new(name),
                comfy_table::Cell::new(address),
                cell(&server.address.to_string(), false),
                cell(&server.weight.to_string(), true),
                cell(&format!("{:.1}%", server.share * 100.0), true),
                cell(state(server, now), false),
                cell(&server.since.map(|since| age(since, now)).unwrap_or_default(), true),
                cell(&why(server, now), false),
            ]);
        }
    }
    output::print_table(terminal, &table)
}

pub(super) fn listener(service: &ServiceStatus) -> String {
    let address = std::net::SocketAddr::new(service.address, service.port);
    let range = service.port_end.map(|last| format!("-{last}")).unwrap_or_default();
    format!("{address}{range}/{}", service.protocol.as_str())
}

fn state(server: &ServerStatus, now: Timestamp) -> &'static str {
    match (server.up, server.drain) {
        (false, _) => "down",
        (true, true) if server.drain_deadline.is_some_and(|deadline| deadline <= now) => "out",
        (true, true) => "drain",
        (true, false) if server.backup && server.share == 0.0 => "standby",
        (true, false) => "up",
    }
}

/// Why a server does not get its share, or why it gets one although it looks down.
fn why(server: &ServerStatus, now: Timestamp) -> String {
    let mut reasons = Vec::new();
    if let Some(unresolved) = server.unresolved {
        reasons.push(unresolved.to_string());
    }
    if !server.up {
        reasons.extend(server.last_probe.clone());
        if server.usable {
            reasons.push("kept in use: mass failure".into());
        }
    } else if let Some(deadline) = server.drain_deadline {
        reasons.push(if deadline <= now {
            "its drain is over: it gets nothing at all".into()
        } else {
            format!("keeps its connections for {} more, gets no new ones", age(now, deadline))
        });
    } else if server.drain {
        reasons.push("keeps its connections, gets no new ones".into());
    } else if let Some(end) = server.slow_start_until {
        reasons.push(format!("slow start: all of its share in {}", age(now, end)));
    } else if server.backup {
        reasons.push("stands by".into());
    }
    reasons.join("; ")
}

/// Time since `at` in its largest unit or two: `8s`, `5m 10s`, `3h 2m`, `12d 4h`.
fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests;
