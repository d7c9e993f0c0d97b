//! Snapshots for the tests of this folder.

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::ledger::{ChainHash, Snapshot};
use crate::model::{
    Algorithm, Backend, BackendId, Document, EmptyPool, Forwarding, Generation, HealthCheck, LbId, Name, PrefixV6,
    Probe, Protocol, Proxied, Server, StickySessions, Times, Weight,
};
use crate::plan::ServerRef;

pub(super) fn backend_id() -> BackendId {
    BackendId::from_uuid(uuid::Uuid::from_u128(1))
}

pub(super) fn server(number: u16) -> ServerRef {
    ServerRef { backend: backend_id(), address: address(number) }
}

fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    [10, 1, high, low].into()
}

pub(crate) fn health_check(interval: Duration) -> HealthCheck {
    HealthCheck {
        port: NonZeroU16::new(80).unwrap(),
        interval,
        timeout: interval / 2,
        fall: NonZeroU8::new(2).unwrap(),
        rise: NonZeroU8::new(2).unwrap(),
        transient_interval: None,
        send_proxy: false,
        probe: Probe::Tcp,
    }
}

/// A pool with servers `1..=servers`.
pub(crate) fn backend(servers: u16, health_check: HealthCheck) -> Backend {
    let server = |number| Server::serving(address(number), Weight::ONE, Timestamp::UNIX_EPOCH);
    Backend {
        id: backend_id(),
        lb: LbId::from_uuid(uuid::Uuid::from_u128(2)),
        name: Name::try_from("pool".to_owned()).unwrap(),
        protocol: Protocol::Tcp,
        forward_port: NonZeroU16::new(80).unwrap(),
        algorithm: Algorithm::Roundrobin,
        sticky_sessions: StickySessions::None,
        sticky_prefix_v6: PrefixV6::WHOLE,
        quic: None,
        slow_start: None,
        forwarding: Forwarding::Ipip,
        on_empty: EmptyPool::Reject,
        servers: (1..=servers).map(server).collect(),
        health_check,
        proxied: Proxied::default(),
        times: Times::created(Timestamp::UNIX_EPOCH),
    }
}

/// One pool with servers `1..=servers`.
pub(super) fn snapshot(generation: u64, servers: u16, health_check: HealthCheck) -> Arc<Snapshot> {
    let documents = [Document::Backend(backend(servers, health_check))];
    Arc::new(Snapshot::default().after(Generation(generation), ChainHash::GENESIS, &documents))
}
