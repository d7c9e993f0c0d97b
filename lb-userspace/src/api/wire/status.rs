//! The answer of `GET /snowshed/v1/status`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::measure::Containment;
use crate::delivery::Counts;
use crate::health::MassFailure;
use crate::model::{BackendId, Forwarding, FrontendId, LbId, Protocol};
use crate::plan::Unresolved;
use crate::reconcile::Status;
use crate::recovery::heal::Summary;

/// How the edge stands, as far as the token may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StatusReport {
    /// Version of the agent.
    pub version: String,
    /// Zone.
    pub zone: String,
    /// Generation of the ledger.
    pub ledger_generation: u64,
    /// Why changes are refused, or soon will be: the ledger's file was destroyed, or its disk is full or fails. Forwarding
    /// goes on.
    #[serde(default)]
    pub ledger_error: Option<String>,
    /// What the reconciler last did; `applied_generation` below `ledger_generation` is a change on its way.
    #[schema(value_type = Object)]
    pub reconcile: Status,
    /// A suspected failure of the checker: the last good state of the servers is kept.
    pub mass_failure: Option<MassFailure>,
    /// What contains harm: read-only mode, quarantines, plans that wait, releases of what is held.
    #[serde(default)]
    pub containment: Containment,
    /// Packets of the whole edge by the reason they left for; only those above 0.
    #[serde(default)]
    pub verdicts: BTreeMap<String, u64>,
    /// Why there are no counters.
    #[serde(default)]
    pub counters_error: Option<String>,
    /// The scoreboard's counts.
    #[serde(default)]
    pub heal: Summary,
    /// Webhooks and e-mails of the edge that wait and that were given up; told to the fleet's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Counts>,
    /// The services of the token's project, in the order of address, port and protocol.
    pub services: Vec<ServiceStatus>,
}

/// An address and port that is listened on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceStatus {
    /// The load balancer.
    pub lb: LbId,
    /// Its name.
    pub lb_name: String,
    /// The frontend.
    pub frontend: FrontendId,
    /// The backend.
    pub backend: BackendId,
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The port, or the first of a range.
    pub port: u16,
    /// The last port of a range; null for one port.
    #[serde(default)]
    pub port_end: Option<u16>,
    /// The protocol.
    pub protocol: Protocol,
    /// How packets travel to its servers.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// Nothing is forwarded: the load balancer, its project or its organization is quarantined.
    #[serde(default)]
    pub quarantined: bool,
    /// Packets of its clients.
    #[serde(default)]
    pub packets: u64,
    /// Their bytes, as received.
    #[serde(default)]
    pub bytes: u64,
    /// Packets that open a TCP connection.
    #[serde(default)]
    pub opened: u64,
    /// Packets that its protection refused, by reason; only those above 0.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// The servers in the order of their addresses.
    pub servers: Vec<ServerStatus>,
}

/// A server behind a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServerStatus {
    /// Its address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its weight.
    pub weight: u32,
    /// Share of new flows, 0 to 1: the part of the service's slot table that is this server's.
    pub share: f64,
    /// It stands by: it gets flows only while no server that does not takes any.
    #[serde(default)]
    pub backup: bool,
    /// It keeps its connections and gets no new ones.
    pub drain: bool,
    /// When its drain ends, if it does: from then on it gets nothing at all.
    #[serde(default)]
    pub drain_deadline: Option<Timestamp>,
    /// Until when its slow start lasts, while it does.
    #[serde(default)]
    pub slow_start_until: Option<Timestamp>,
    /// What the probes say; true before the first one ended.
    pub up: bool,
    /// What the data plane is told: `up`, or the last good state while a mass failure holds it.
    pub usable: bool,
    /// When `up` last changed.
    pub since: Option<Timestamp>,
    /// How the last probe ended.
    pub last_probe: Option<String>,
    /// Why the way to it is not known.
    pub unresolved: Option<Unresolved>,
    /// Packets sent to it, for every service of its pool.
    #[serde(default)]
    pub packets: u64,
    /// Their bytes, as received.
    #[serde(default)]
    pub bytes: u64,
}
