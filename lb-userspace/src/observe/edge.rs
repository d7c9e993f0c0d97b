//! What is read at each scrape: the kernel's counters, and the newest state of ledger, health and reconciler.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::watch;

use lb_common::abi::Reason;
use lb_common::abi::nat::PORTS;
use lb_common::abi::stats::REFUSALS;

use crate::api::Requests;
use crate::dataplane::{Counters, DataplaneError, NatUsage};
use crate::delivery::{Counts, Outbox};
use crate::health::{HealthView, ProbeCounts};
use crate::ledger::Snapshot;
use crate::model::ports_text;
use crate::plan::{ServerRef, ServiceAddress, Tables, Unresolved};
use crate::reconcile::{Directory, Status};
use crate::recovery::heal::{Board, Fault, State};

/// Reads the counters of the maps.
pub type CounterSource = Arc<dyn Fn() -> Result<Counters, DataplaneError> + Send + Sync>;

/// Counts the translated flows by their phase.
pub type NatUsageSource = Arc<dyn Fn() -> NatUsage + Send + Sync>;

/// The scoreboard now.
pub type HealSource = Arc<dyn Fn() -> Board + Send + Sync>;

type Label = (&'static str, String);

/// Where the metrics of an edge are read from.
pub struct Edge {
    /// The ledger's snapshots.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Whether the ledger refuses changes, or soon will.
    pub ledger_is_failing: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What the reconciler last did.
    pub status: watch::Receiver<Arc<Status>>,
    /// What the maps should hold.
    pub tables: watch::Receiver<Arc<Tables>>,
    /// What the numbers in the maps mean.
    pub directory: watch::Receiver<Arc<Directory>>,
    /// What the checkers know.
    pub health: watch::Receiver<Arc<HealthView>>,
    /// Probes so far.
    pub probes: watch::Receiver<ProbeCounts>,
    /// Requests to the API so far.
    pub requests: Arc<Requests>,
    /// Reads the maps' counters, without the data plane's lock.
    pub counters: CounterSource,
    /// Counts the translated flows.
    pub nat_usage: NatUsageSource,
    /// The scoreboard.
    pub heal: HealSource,
    /// The clock.
    pub clock: fn() -> Timestamp,
    /// What is told to the outside.
    pub outbox: Arc<Outbox>,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}

impl Collector for Edge {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.state(&mut page)?;
        self.health(&mut page)?;
        self.probes(&mut page)?;
        self.requests(&mut page)?;
        self.translation(&mut page)?;
        self.heal(&mut page)?;
        self.deliveries(&mut page)?;
        let counters = (self.counters)();
        page.gauge(
            "snowshed_dataplane_readable",
            "1 when the maps' counters could be read",
            [(vec![], i64::from(counters.is_ok()))],
        )?;
        match counters {
            Ok(counters) => self.traffic(&mut page, &counters),
            Err(error) => {
                log::error!("metrics: the counters cannot be read: {error}");
                Ok(())
            }
        }
    }
}

impl Edge {
    fn state(&self, page: &mut Page<'_>) -> fmt::Result {
        let status = Arc::clone(&self.status.borrow());
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let (generation, now) = (snapshot.generation().0, (self.clock)());
        let freezes = snapshot.freezes().filter(|freeze| freeze.is_in_force(now)).count();
        let remaining = crate::ledger::zone_budget_remaining(&snapshot, now);
        let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        page.gauge("snowshed_build_info", "The agent's version", [(build, 1)])?;
        let numbers = [
            ("snowshed_ledger_generation", "Newest operation of the ledger", generation),
            ("snowshed_applied_generation", "Operation of the ledger that the maps hold", status.applied_generation),
            ("snowshed_services", "Services in the maps", status.services as u64),
            ("snowshed_backends", "Servers in the maps", status.backends as u64),
            (
                "snowshed_exceptions",
                "Connections that are kept on another server than their slot's, as the last sweep counted them",
                status.exceptions,
            ),
            (
                "snowshed_marked_slots",
                "Slots whose moves are over and whose packets are still looked up for such connections",
                status.marked_slots as u64,
            ),
            ("snowshed_held_services", "Services held in the maps against the ledger", status.held.len() as u64),
            ("snowshed_empty_services", "Services without a usable server", status.empty_services.len() as u64),
            ("snowshed_freezes", "Freezes in force: parts of the API that are in read-only mode", freezes as u64),
            ("snowshed_quarantines", "Quarantines in force", snapshot.quarantines().count() as u64),
            (
                "snowshed_removal_budget_remaining",
                "Load balancers that may still leave service in this zone within the window without an approved plan",
                remaining as u64,
            ),
            (
                "snowshed_ledger_failing",
                "1 while changes cannot be recorded, or soon not: the ledger's file is gone, or its disk is full or fails",
                u64::from((self.ledger_is_failing)()),
            ),
            (
                "snowshed_reconcile_failing",
                "1 while the last activation could not apply everything",
                u64::from(status.last_error.is_some()),
            ),
        ];
        for (name, help, number) in numbers {
            page.gauge(name, help, [(vec![], signed(number))])?;
        }
        page.counter(
            "snowshed_repairs",
            "Map entries found altered by somebody else, and repaired",
            status.repaired.iter().map(|(map, count)| (vec![("map", map.clone())], *count)),
        )?;
        let mut unresolved: BTreeMap<Unresolved, i64> = BTreeMap::new();
        for why in status.unresolved.values() {
            *unresolved.entry(*why).or_default() += 1;
        }
        page.gauge(
            "snowshed_unresolved_next_hops",
            "Servers that packets cannot be sent to, by reason",
            unresolved.into_iter().map(|(why, count)| (vec![("reason", word(&why))], count)),
        )?;
        let attached = status.attachments.iter().map(|attachment| {
            (vec![("interface", attachment.interface.clone()), ("mode", attachment.mode.clone())], 1)
        });
        page.gauge("snowshed_attached", "Interfaces the XDP program is attached to", attached)
    }

    fn health(&self, page: &mut Page<'_>) -> fmt::Result {
        let health = Arc::clone(&self.health.borrow());
        let all = |is: fn(&crate::health::ServerHealth) -> bool| {
            let health = Arc::clone(&health);
            let servers: Vec<_> =
                health.servers.iter().map(|(server, state)| (server_labels(server), i64::from(is(state)))).collect();
            servers
        };
        page.gauge("snowshed_server_up", "1 when the probes hold the server for up", all(|server| server.up))?;
        page.gauge("snowshed_server_usable", "1 when traffic may be sent to the server", all(|server| server.usable))?;
        page.gauge(
            "snowshed_mass_failure",
            "1 while so many servers look down that the checker is suspected and their last state is held",
            [(vec![], i64::from(health.mass_failure.is_some()))],
        )
    }

    fn probes(&self, page: &mut Page<'_>) -> fmt::Result {
        let ProbeCounts { passed, refused, timed_out, unreachable, unexpected, not_made, checked } =
            *self.probes.borrow();
        let outcomes = [
            ("passed", passed),
            ("refused", refused),
            ("timed_out", timed_out),
            ("unreachable", unreachable),
            ("unexpected", unexpected),
            ("not_made", not_made),
        ];
        page.counter(
            "snowshed_probes",
            "Probes by how they ended; not_made: this machine had no descriptors or ports for them",
            outcomes.map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count)),
        )?;
        page.gauge("snowshed_checked_servers", "Servers that are probed", [(vec![], signed(checked as u64))])
    }

    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = self.requests.counts().into_iter().map(|(asked, count)| {
            let route = ("route", asked.route.to_string());
            (vec![route, ("method", asked.method.to_owned()), ("status", asked.status.to_string())], count)
        });
        page.counter("snowshed_api_requests", "Requests to the API by route, method and status", counts)
    }

    fn heal(&self, page: &mut Page<'_>) -> fmt::Result {
        let board = (self.heal)();
        let summary = &board.summary;
        let states = [
            (State::Ready, summary.ready),
            (State::Pending, summary.pending),
            (State::Healing, summary.healing),
            (State::NeedsAttention, summary.needs_attention),
        ];
        page.gauge(
            "snowshed_heal_load_balancers",
            "Load balancers by how they stand on this edge",
            states.map(|(state, count)| (vec![("state", state.as_str().to_owned())], signed(count as u64))),
        )?;
        let by_fault = board.by_fault();
        let count = |fault: Fault| signed(by_fault.get(&fault).copied().unwrap_or_default() as u64);
        page.gauge(
            "snowshed_heal_queue",
            "What is amiss and not marked as dealt with, by reason",
            Fault::ALL.map(|fault| (vec![("reason", fault.as_str().to_owned())], count(fault))),
        )?;
        let eta = summary.progress.and_then(|progress| progress.eta_seconds).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds, from 0 on")]
        let eta = eta.ceil() as i64;
        page.gauge(
            "snowshed_heal_eta_seconds",
            "Time until what is being written is done; 0 when nothing is",
            [(vec![], eta)],
        )
    }

    fn translation(&self, page: &mut Page<'_>) -> fmt::Result {
        let usage = (self.nat_usage)();
        let sources = Arc::clone(&self.tables.borrow()).nat_sources.iter().filter(|source| source.takes_new).count();
        let usable = usage.places.min(sources as u64 * u64::from(PORTS));
        page.gauge(
            "snowshed_nat_places",
            "Translated flows there are source addresses, ports and room for at once",
            [(vec![], signed(usable))],
        )?;
        page.gauge(
            "snowshed_nat_flows",
            "Translated flows by phase; evictions and failures are among the verdicts: nat_evicted, nat_ports_exhausted",
            usage.flows.into_iter().map(|(phase, count)| (vec![("phase", phase.to_owned())], signed(count))),
        )
    }

    fn deliveries(&self, page: &mut Page<'_>) -> fmt::Result {
        let attempts = self.outbox.attempts().into_iter().map(|((channel, result), count)| {
            (vec![("channel", channel.as_str().to_owned()), ("result", result.to_owned())], count)
        });
        page.counter(
            "snowshed_delivery_attempts",
            "Attempts to deliver webhooks and e-mails by how they ended; failed ones are repeated, refused ones are not",
            attempts,
        )?;
        let counts = match self.outbox.counts() {
            Ok(counts) => counts,
            Err(error) => {
                log::error!("metrics: {}", super::chain(&error));
                return Ok(());
            }
        };
        let Counts { waiting, dead, delivered: _, oldest_waiting } = counts;
        let states = [("waiting", waiting), ("dead", dead)];
        page.gauge(
            "snowshed_deliveries",
            "Webhooks and e-mails that wait to be delivered, and dead letters that are kept",
            states.map(|(state, count)| (vec![("state", state.to_owned())], signed(count))),
        )?;
        let oldest = oldest_waiting.map_or(0, jiff::Timestamp::as_second);
        page.gauge(
            "snowshed_delivery_oldest_waiting_timestamp_seconds",
            "When the oldest webhook or e-mail that waits was written, seconds since 1970; 0 when none waits",
            [(vec![], oldest)],
        )
    }

    fn traffic(&self, page: &mut Page<'_>, counters: &Counters) -> fmt::Result {
        let packets = |reason: &Reason| counters.verdicts.get(&(*reason as u32)).copied().unwrap_or_default();
        page.counter(
            "snowshed_verdicts",
            "Packets by the reason they left the program for",
            Reason::ALL.iter().map(|reason| (vec![("reason", reason.label().to_owned())], packets(reason))),
        )?;

        let (directory, tables) = (Arc::clone(&self.directory.borrow()), Arc::clone(&self.tables.borrow()));
        let services: Vec<_> = directory
            .services
            .iter()
            .map(|(id, address)| {
                (service_labels(address, &tables), counters.services.get(id).copied().unwrap_or_default())
            })
            .collect();
        let of_services = |pick: fn(&lb_common::abi::ServiceStats) -> u64| {
            services.iter().map(move |(labels, stats)| (labels.clone(), pick(stats)))
        };
        let help = "Packets of a service";
        page.counter("snowshed_service_packets", help, of_services(|stats| stats.packets))?;
        page.bytes("snowshed_service", "Bytes of a service, as received", of_services(|stats| stats.bytes))?;
        let help = "Packets that open a TCP connection to a service";
        page.counter("snowshed_service_opened", help, of_services(|stats| stats.opened))?;

        let refused = services.iter().flat_map(|(labels, stats)| {
            REFUSALS.iter().zip(stats.refused).map(|(reason, count)| {
                (labels.iter().cloned().chain([("reason", reason.label().to_owned())]).collect(), count)
            })
        });
        let help = "Packets that a service's protection refused, by reason";
        page.counter("snowshed_service_refused_packets", help, refused)?;

        let servers: Vec<_> = directory
            .backends
            .iter()
            .map(|(index, server)| (server_labels(server), counters.backends.get(index).copied().unwrap_or_default()))
            .collect();
        let of_servers = |pick: fn(&lb_common::abi::BackendStats) -> u64| {
            servers.iter().map(move |(labels, stats)| (labels.clone(), pick(stats)))
        };
        page.counter("snowshed_backend_packets", "Packets sent to a server", of_servers(|stats| stats.packets))?;
        page.bytes("snowshed_backend", "Bytes sent to a server, as received", of_servers(|stats| stats.bytes))
    }
}

/// Writes families of one type each.
struct Page<'e>(DescriptorEncoder<'e>);

impl Page<'_> {
    fn counter(
        &mut self,
        name: &'static str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        self.counters(name, help, None, values)
    }

    /// A counter of bytes; the unit becomes part of the name.
    fn bytes(
        &mut self,
        name: &'static str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        self.counters(name, help, Some(&Unit::Bytes), values)
    }

    fn counters(
        &mut self,
        name: &'static str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(
        &mut self,
        name: &'static str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<Label>, i64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn server_labels(server: &ServerRef) -> Vec<Label> {
    vec![("backend", server.backend.to_string()), ("server", server.address.to_string())]
}

fn service_labels(address: &ServiceAddress, tables: &Tables) -> Vec<Label> {
    let planned = tables.services.get(address);
    let last = planned.map(|service| service.last_port).filter(|_| address.is_range);
    let port = ports_text(address.port, last);
    let mut labels = vec![
        ("address", address.address.to_string()),
        ("port", port),
        ("protocol", address.protocol.as_str().to_owned()),
    ];
    if let Some(service) = planned {
        labels.push(("lb", service.lb.to_string()));
        labels.push(("frontend", service.frontend.to_string()));
    }
    labels
}

/// The snake-case name of a variant, as in JSON.
fn word(why: &Unresolved) -> String {
    serde_json::to_value(why).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Gauges are signed; no count here comes near the limit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
